"""The autoencoder that the parameters ``architecture`` and ``hidden_units`` stand for."""

import copy
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from .._data.rows import Rows
from ..nn import glorot_
from .plan import Plan

_WIDE_LAYER = 4_000_000  # weights of the first layer that hidden_units="auto" allows


def build_autoencoder(
    plan: Plan,
    rows: Rows,
    width: int,
    seed: int,
    *,
    builders: Mapping[str, Callable[..., tuple[nn.Module, nn.Module]]],
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for the samples; those of this package are initialised from the seed.

    Parameters
    ----------
    plan : Plan
        Its `architecture` and `hidden_units` say what to build.
    rows : Rows
        Training samples.
    width : int
        Outputs of the encoder.
    seed : int
        Seed of the weights.
    builders : mapping of str to callable
        What the names of architectures stand for: each makes a pair from sample shape and
        `width`, "mlp" also from the widths of the hidden layers.

    Returns
    -------
    encoder, decoder : torch.nn.Module

    Raises
    ------
    ValueError
        If the parameters do not fit the samples or each other.
    """
    shape, architecture = rows.sample_shape, plan.architecture
    if architecture is None:
        return nn.Flatten(), nn.Unflatten(1, shape)
    if isinstance(architecture, str) and architecture != "mlp" and len(shape) != 3:
        raise ValueError(
            f"architecture={architecture!r} needs images: pass X of shape (n_samples, channels, "
            "height, width), or flat rows with image_shape=(channels, height, width)."
        )
    if isinstance(architecture, str):
        widths = [_check_widths(plan.hidden_units)] if architecture == "mlp" else []
        pair = builders[architecture](shape, width, *widths)
        generator = torch.Generator().manual_seed(seed)
        for part in pair:
            glorot_(part, generator)
        return pair
    if isinstance(architecture, nn.Module):
        raise ValueError(
            f"architecture is one {type(architecture).__name__}; pass a tuple (encoder, decoder) "
            "of torch.nn.Module, or a function that makes one of the shape of a sample and the "
            "width of the embedding."
        )
    if isinstance(architecture, tuple):
        pair = copy.deepcopy(architecture)
    else:
        pair = architecture(shape, width)
    _check_autoencoder(pair, rows, width)
    return pair


def default_widths(n_features: int) -> tuple[int, int]:
    """Hidden widths of the encoder, which bound the weights for very wide data."""
    return (min(512, max(32, _WIDE_LAYER // n_features)), 256)


def _check_widths(hidden_units: Any) -> tuple[int, ...]:
    widths = tuple(hidden_units)
    if not all(isinstance(width, Integral) and int(width) > 0 for width in widths):
        raise ValueError(
            f"hidden_units={hidden_units!r} must hold positive integers, for instance "
            "(500, 500, 2000), or be 'auto'."
        )
    return widths


def _check_autoencoder(pair: Any, rows: Rows, n_components: int) -> None:
    """Refuse a user's encoder and decoder that do not fit the data or each other."""
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or not all(isinstance(part, nn.Module) for part in pair)
    ):
        raise ValueError(
            f"architecture gives {pair!r}; a pair (encoder, decoder) of torch.nn.Module is needed."
        )
    encoder, decoder = (copy.deepcopy(part).eval() for part in pair)
    x = rows.take(np.arange(2)).cpu()
    with torch.no_grad():
        try:
            z = encoder.cpu()(x)
        except RuntimeError as error:
            raise ValueError(
                f"The encoder fails on a float32 batch of shape {tuple(x.shape)}: {error}"
            ) from error
        if tuple(z.shape) != (2, n_components):
            raise ValueError(
                f"The encoder maps samples of shape {tuple(x.shape)} to {tuple(z.shape)}; "
                f"(2, {n_components}) is needed. Change n_components or the encoder."
            )
        x_hat = decoder.cpu()(z)
    if x_hat.shape != x.shape:
        raise ValueError(
            f"The decoder gives shape {tuple(x_hat.shape)} for samples of shape {tuple(x.shape)}; "
            "they must be equal."
        )
