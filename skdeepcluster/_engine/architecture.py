"""The autoencoder that the parameters ``architecture`` and ``hidden_units`` stand for."""

import copy
import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from .._data.rows import Rows
from ..nn import glorot_

_WIDE_LAYER = 4_000_000  # weights of the first layer that hidden_units="auto" allows


def build_autoencoder(
    architecture: Any,
    rows: Rows,
    n_components: int,
    hidden_units: Any,
    seed: int,
    *,
    builders: Mapping[str, Callable[..., tuple[nn.Module, nn.Module]]],
    small_image: int,
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for the samples, ours initialised from the seed.

    Parameters
    ----------
    architecture, n_components, hidden_units
        The parameters of the estimators.
    rows : Rows
        Training samples.
    seed : int
        Of the weights.
    builders : mapping of str to callable
        What the names of architectures stand for: each makes a pair from sample shape and
        `n_components`, "mlp" also from the widths of the hidden layers.
    small_image : int
        Pixels of an image up to which "auto" is "mlp".

    Returns
    -------
    encoder, decoder : torch.nn.Module

    Raises
    ------
    ValueError
        If the parameters do not fit the samples or each other.
    """
    shape = rows.sample_shape
    images = len(shape) == 3
    if architecture is None:
        return nn.Flatten(), nn.Unflatten(1, shape)
    if architecture == "auto":
        small = not images or math.prod(shape[1:]) <= small_image
        architecture = "mlp" if small else "conv"
    if isinstance(architecture, str) and architecture != "mlp" and not images:
        raise ValueError(
            f"architecture={architecture!r} needs images: pass X of shape (n_samples, channels, "
            "height, width), or flat rows with image_shape=(channels, height, width)."
        )
    if isinstance(architecture, str):
        generator = torch.Generator().manual_seed(seed)
        widths = [_widths(hidden_units, rows.X.shape[1])] if architecture == "mlp" else []
        pair = builders[architecture](shape, n_components, *widths)
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
        pair = architecture(shape, n_components)
    _check_autoencoder(pair, rows, n_components)
    return pair


def _widths(hidden_units: Any, n_features: int) -> tuple[int, ...]:
    """Hidden widths of the encoder; "auto" bounds the weights of very wide data."""
    if hidden_units == "auto":
        return (min(512, max(32, _WIDE_LAYER // n_features)), 256)
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
