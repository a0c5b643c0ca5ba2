"""Builds the autoencoder from the parameters ``architecture`` and ``hidden_units``."""

import copy
import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._data.rows import Rows
from ..nn import FeatureEncoder, glorot_
from .phases import evaluating
from .plan import Plan

_WIDE_LAYER = 4_000_000  # largest number of weights in the first layer of hidden_units="auto"
_MOST_COLUMNS = 50_000  # of vectors; a batch of 131 072 columns takes a second, a fit over an hour


def build_autoencoder(
    plan: Plan,
    rows: Rows,
    width: int,
    seed: int,
    *,
    builders: Mapping[str, Callable[..., tuple[nn.Module, nn.Module]]],
) -> tuple[nn.Module, nn.Module]:
    """Build the encoder and the decoder.

    Parameters
    ----------
    plan : Plan
        Its `architecture` and `hidden_units` say what to build.
    rows : Rows
        Training samples.
    width : int
        Outputs of the encoder.
    seed : int
        Seed of the weights. Two calls with the same seed build the same networks.
    builders : mapping of str to callable
        A function for each name of an architecture. It takes the shape of one sample and
        `width`, for "mlp" also the widths of the hidden layers, and returns the pair.

    Returns
    -------
    encoder, decoder : torch.nn.Module
        float32 networks. Modules that the user passes are copied.

    Raises
    ------
    ValueError
        If the parameters do not fit the samples or each other.
    """
    shape, architecture = rows.sample_shape, plan.architecture
    if architecture is None:
        return nn.Flatten(), nn.Unflatten(1, shape)
    if isinstance(architecture, nn.Module):
        raise ValueError(
            f"architecture is one {type(architecture).__name__}, but two networks are needed. Pass "
            "a tuple (encoder, decoder) of torch.nn.Module, or a function that takes the shape of "
            "a sample and the width of the embedding and returns such a tuple."
        )
    if not isinstance(architecture, str):
        given = isinstance(architecture, tuple)
        pair = architecture if given else architecture(shape, width)
        return _checked(copy.deepcopy(pair), rows, width)
    widths = [_check_widths(plan.hidden_units)] if architecture == "mlp" else []
    pair = builders[architecture](shape, width, *widths)
    generator = torch.Generator().manual_seed(seed)
    for part in pair:
        glorot_(part.float(), generator)  # float32 for any default dtype of torch
    return pair


def refuse_architecture(plan: Plan) -> None:
    """Refuse vectors for a network for images, or on which our networks would train for hours.

    Parameters
    ----------
    plan : Plan
        What the fit does.

    Raises
    ------
    ValueError
        If they are not images, or have more than 50 000 columns.
    """
    architecture = plan.architecture
    if isinstance(architecture, str) and architecture != "mlp" and plan.data.image_shape is None:
        raise ValueError(
            f"architecture={architecture!r} needs images: pass X of shape (n_samples, channels, "
            "height, width), or flat rows with image_shape=(channels, height, width)."
        )
    n_features = math.prod(plan.data.sample_shape)  # that the network sees
    if plan.architecture == "mlp" and n_features > _MOST_COLUMNS:
        raise ValueError(
            f"X has {n_features} columns, and a fit would take hours: architecture='mlp' takes at "
            f"most {_MOST_COLUMNS}. For text, set max_features=2000 in TfidfVectorizer or "
            "n_features=2**14 in HashingVectorizer. Otherwise put sklearn.decomposition."
            "TruncatedSVD(100) before this estimator, or pass images as images (image_shape=)."
        )


def feature_shape(encoder: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of what a discriminator sees of a sample: the features, if the encoder gives them."""
    if not isinstance(encoder, FeatureEncoder):
        return shape
    features = copy.deepcopy(encoder.features).eval()
    with torch.no_grad():
        return tuple(features(torch.zeros(1, *shape, dtype=torch.float32)).shape[1:])


def default_widths(n_features: int) -> tuple[int, int]:
    """Hidden widths of the encoder. For very wide data, they limit the number of weights."""
    return (min(512, max(32, _WIDE_LAYER // n_features)), 256)


def _check_widths(hidden_units: Any) -> tuple[int, ...]:
    widths = tuple(hidden_units)
    if not all(isinstance(width, Integral) and int(width) > 0 for width in widths):
        raise ValueError(
            f"hidden_units={hidden_units!r} must hold positive integers, for example "
            "(500, 500, 2000), or be 'auto'."
        )
    return widths


def _checked(pair: Any, rows: Rows, n_components: int) -> tuple[nn.Module, nn.Module]:
    """A user's encoder and decoder in float32; refuses what does not fit the data."""
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or not all(isinstance(part, nn.Module) for part in pair)
    ):
        raise ValueError(
            f"architecture gives {pair!r}, but must give a pair (encoder, decoder) of "
            "torch.nn.Module."
        )
    encoder, decoder = (part.cpu().float() for part in pair)
    x = rows.take(np.arange(2)).cpu()
    z = _forward("encoder", encoder, x)
    if tuple(z.shape) != (2, n_components):
        raise ValueError(
            f"The encoder turns samples of shape {tuple(x.shape)} into {tuple(z.shape)}, but "
            f"(2, {n_components}) is needed. Change n_components or the encoder."
        )
    x_hat = _forward("decoder", decoder, z)
    if x_hat.shape != x.shape:
        raise ValueError(
            f"The decoder gives shape {tuple(x_hat.shape)} for samples of shape "
            f"{tuple(x.shape)}. Both must be equal: change the decoder."
        )
    return encoder, decoder


def _forward(name: str, network: nn.Module, x: Tensor) -> Tensor:
    """What a user's network returns; lazy layers get their shapes here."""
    try:
        with evaluating(network), torch.no_grad():
            answer = network(x)
    except RuntimeError as error:
        raise ValueError(
            f"The {name} fails on a float32 batch of shape {tuple(x.shape)}: {error}. "
            "Change architecture so that it takes this shape."
        ) from error
    if not isinstance(answer, Tensor):
        raise ValueError(
            f"The {name} returns an object of type {type(answer).__name__}, but must return one "
            "tensor."
        )
    return answer
