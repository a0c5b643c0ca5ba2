"""The one door for data: what every method accepts, how it is scaled, how it is batched."""

import itertools
import math
from collections.abc import Sequence
from numbers import Integral
from pathlib import PurePath
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

_CHUNK_ITEMS = 4096  # of a torch Dataset, that are stacked at a time


def check_X(estimator: Any, X: Any, *, reset: bool) -> tuple[Any, tuple[int, ...] | None]:
    """Validate `X` as scikit-learn does, for any input this package takes.

    Parameters
    ----------
    estimator : estimator
        Receives ``n_features_in_`` and ``feature_names_in_`` when `reset`, is compared
        with them otherwise.
    X : array-like, CSR matrix, data frame or tensor of shape (n_samples, n_features) \
            or (n_samples, channels, height, width), or torch Dataset of such samples
        The data. It is never written to.
    reset : bool
        True in fit.

    Returns
    -------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Of any real dtype; a view, except of 4-D arrays that are not contiguous.
    image_shape : tuple of 3 ints or None
        Channels, height and width when `X` came as images.

    Raises
    ------
    ValueError
        For NaN, infinity, complex numbers, text, too few samples, 1-D or 3-D input and
        features or images that differ from those of fit.
    TypeError
        For sparse input that scikit-learn cannot convert to CSR.
    """
    if isinstance(X, DataLoader):
        raise ValueError(
            "X is a DataLoader, but the estimator makes the batches: pass its dataset, X.dataset."
        )
    if isinstance(X, Dataset):
        X = _stack(X)
    elif isinstance(X, Tensor):
        X = _as_array(X)
    image_shape = None
    if not sp.issparse(X) and not hasattr(X, "columns"):
        X = np.asanyarray(X) if not hasattr(X, "shape") else X
        _refuse_texts(X)
        if np.ma.is_masked(X):
            count = int(np.ma.getmaskarray(X).sum())
            raise ValueError(
                f"X is an array of which {count} entries are masked, and the mask would be lost. "
                "Impute them, or drop the rows."
            )
        if len(X.shape) == 4:
            image_shape = tuple(X.shape[1:])
            X = _flatten_images(np.asarray(X))
            if not reset and image_shape != estimator.image_shape_:
                fitted = estimator.image_shape_
                remedy = "Pass samples like those of fit, or X.reshape(len(X), -1) for flat rows."
                raise ValueError(
                    f"X holds images of shape {image_shape}, but {type(estimator).__name__} was "
                    f"fitted on {'images of shape ' + str(fitted) if fitted else 'vectors'}. "
                    f"{_if_channels_last(image_shape, fitted) or remedy}"
                )
        elif len(X.shape) == 3:
            raise ValueError(
                f"X has shape {X.shape}. Images need a channel axis: pass X[:, None] for "
                "grayscale, or flat rows of shape (n_samples, n_features) with image_shape=. One "
                "image of several channels is X[None]."
            )
    try:
        X = validate_data(
            estimator,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype="numeric",
            ensure_min_samples=2 if reset else 1,
        )
    except ValueError as error:
        raise ValueError(_with_remedy(str(error))) from error
    except np.exceptions.DTypePromotionError as error:
        raise ValueError(
            f"The columns of X cannot be numbers of one array: {error}. Turn dates into numbers, "
            "as days since the first, categories with sklearn.preprocessing.OneHotEncoder."
        ) from error
    except OverflowError as error:  # of Python's integers
        raise ValueError(f"X holds a value too large: {error}. Divide X by a constant.") from error
    if sp.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    values = X.data if sp.issparse(X) else X
    if values.dtype.kind not in "buif":
        raise ValueError(
            f"X has dtype {values.dtype}; a real numeric dtype is needed. Use X.astype(float) for "
            "numbers, sklearn.preprocessing.OneHotEncoder for categories."
        )
    limit = float(np.finfo(np.float32).max)
    if values.dtype.itemsize > 4 and values.size:
        largest = max(abs(float(values.max())), abs(float(values.min())))
        if largest > limit:
            raise ValueError(
                f"X holds the value {largest:.3g}, too large for float32 (limit {limit:.3g}), in "
                "which the networks compute. Divide X by a constant."
            )
    return X, image_shape


def _refuse_texts(X: Any) -> None:
    """scikit-learn would print them all, and say to reshape."""
    if len(X.shape) < 2:
        values = np.asarray(X)
        first = values.flat[0] if values.size else None
        if isinstance(first, str | bytes | PurePath):
            raise ValueError(
                f"X is text, which begins with {str(first)[:40]!r}. Convert it to numbers first: "
                "read files, and vectorize texts, as in make_pipeline(TfidfVectorizer(), ...)."
            )


def _as_array(X: Tensor) -> np.ndarray:
    """A tensor as numpy knows it: without narrow floats, gradients, lazy signs, other devices."""
    narrow = X.is_floating_point() and X.dtype not in (torch.float16, torch.float32, torch.float64)
    try:
        X = X.detach().cpu().resolve_conj().resolve_neg()
        array: np.ndarray = (X.float() if narrow else X).numpy()
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"X is a tensor of dtype {X.dtype}, layout {X.layout} and device {X.device}, which "
            f"cannot be made a numpy array ({error}). Pass a dense tensor of real numbers, for "
            "instance X.to_dense().float()."
        ) from error
    return array


def _stack(dataset: Any) -> np.ndarray:
    """Samples of a torch Dataset; of items that are pairs, as (sample, label), the first part."""
    countable = not isinstance(dataset, IterableDataset)
    items = (dataset[i] for i in range(len(dataset))) if countable else iter(dataset)
    parts: list[np.ndarray] = []
    try:
        while chunk := list(itertools.islice(items, _CHUNK_ITEMS)):
            samples = [item[0] if isinstance(item, tuple | list) else item for item in chunk]
            arrays = [_as_array(x) if isinstance(x, Tensor) else np.asarray(x) for x in samples]
            if arrays[0].dtype == object:
                raise ValueError(f"they hold objects of type {type(samples[0]).__name__}")
            parts.append(np.stack(arrays))
        return np.concatenate(parts) if parts else np.empty((0, 1))
    except ValueError as error:
        raise ValueError(
            f"The items of {type(dataset).__name__} cannot be stacked: {error}. Each must be a "
            "sample, or a pair that begins with one, and samples must be arrays or tensors of one "
            "shape."
        ) from error


def _flatten_images(X: np.ndarray) -> np.ndarray:
    """Images as rows: a view, or a copy in their own dtype where they are not contiguous."""
    if X.shape[-1] in (1, 3, 4) and X.shape[1] > 4:
        raise ValueError(
            f"X has shape {X.shape}, which looks like images with channels last. Images are "
            "(n_samples, channels, height, width): pass X.transpose(0, 3, 1, 2)."
        )
    return X.reshape(len(X), math.prod(X.shape[1:]))


def _with_remedy(message: str) -> str:
    """scikit-learn's words on unusable values, and what to do about them."""
    if message.startswith("Complex data"):
        return "Complex data not supported. Pass real features, for instance abs(X) and angle(X)."
    if "contains infinity" in message:
        return f"{message}\nReplace or remove such values, for instance with np.clip."
    if "could not convert" in message or "not compatible with arrays of bytes/strings" in message:
        return (
            f"{message}\nConvert X to numbers first, for instance with "
            "sklearn.preprocessing.OneHotEncoder or TfidfVectorizer."
        )
    return message


def resolve_image_shape(
    image_shape: Sequence[int] | None, found: tuple[int, ...] | None, n_features: int
) -> tuple[int, ...] | None:
    """The shape of one image from the parameter and from 4-D input, checked.

    Parameters
    ----------
    image_shape : sequence of 2 or 3 ints, or None
        The parameter of the estimators; height and width alone mean one channel.
    found : tuple of 3 ints or None
        The shape that 4-D input has.
    n_features : int
        Length of a flat row.

    Returns
    -------
    tuple of 3 ints, or None for vectors

    Raises
    ------
    ValueError
        If the parameter disagrees with the data.
    """
    if image_shape is None:
        return found
    shape = (1, *image_shape) if len(image_shape) == 2 else tuple(image_shape)
    counts = all(isinstance(side, Integral) and side > 0 for side in shape)
    shape = tuple(map(int, shape)) if counts else shape  # products of numpy's may overflow
    if len(shape) != 3 or not counts or math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={tuple(image_shape)} does not describe rows of {n_features} features. "
            "It is (channels, height, width), or (height, width) for one channel, and its "
            "product must be the number of features."
        )
    if found is None and shape[-1] in (1, 3, 4) and shape[0] > 4:
        height, width, channels = shape
        remedy = f"pass ({channels}, {height}, {width})"
        if channels == 1:
            remedy += f" or ({height}, {width})."
        else:
            remedy += (
                f" where rows hold one channel after the other, else X.reshape(-1, {height}, "
                f"{width}, {channels}).transpose(0, 3, 1, 2) without image_shape."
            )
        raise ValueError(
            f"image_shape={tuple(image_shape)} looks like channels last. It is (channels, height, "
            f"width): {remedy}"
        )
    if found is not None and shape != found:
        remedy = "Drop image_shape: 4-D input carries its own."
        raise ValueError(
            f"image_shape={tuple(image_shape)} but X holds images of shape {found}. "
            f"{_if_channels_last(found, shape) or remedy}"
        )
    return shape


def _if_channels_last(found: tuple[int, ...], expected: tuple[int, ...] | None) -> str:
    """The remedy for images of a shape that is the expected one with channels last, else ""."""
    if expected is None or found != (*expected[1:], expected[0]):
        return ""
    return "Channels come before height and width: pass X.transpose(0, 3, 1, 2)."
