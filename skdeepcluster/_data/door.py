"""Validation of input: every method accepts the same data."""

import itertools
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from .explain import DATES, MISSING, explain

_CHUNK_ITEMS = 4096  # items of a torch Dataset that are stacked at once


def check_X(estimator: Any, X: Any, *, reset: bool) -> tuple[Any, tuple[int, ...] | None]:
    """Validate input as scikit-learn does, for every kind that this package accepts.

    Parameters
    ----------
    estimator : estimator
        If `reset`, its ``n_features_in_`` and ``feature_names_in_`` are set; otherwise `X` is
        compared with them.
    X : array-like, CSR matrix, data frame or tensor of shape (n_samples, n_features) \
            or (n_samples, channels, height, width), or torch Dataset of such samples
        The data. It is never written to.
    reset : bool
        True in fit.

    Returns
    -------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The same numbers, of any real dtype. A copy is made only where numpy needs one, for
        example of a list, a data frame or a 4-D array that is not contiguous.
    image_shape : tuple of 3 ints or None
        Channels, height and width if `X` holds images.

    Raises
    ------
    ValueError
        If `X` holds NaN, infinity, complex numbers or anything that is not a number, has too
        few samples or 1 or 3 dimensions, or its features or images differ from those of fit.
    TypeError
        If scikit-learn cannot convert `X` to CSR or its entries to numbers.
    """
    if isinstance(X, DataLoader):
        raise ValueError(
            "X is a DataLoader, but the estimator makes batches itself. Pass X.dataset."
        )
    X, image_shape = _as_rows(X, getattr(estimator, "image_shape", None))
    if image_shape is not None and not reset:
        _refuse_other_images(estimator, image_shape)
    try:
        checked = validate_data(
            estimator,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype="numeric",
            ensure_min_samples=2 if reset else 1,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise _with_remedy(error, X) from error
    if sp.issparse(checked) and not checked.has_canonical_format:
        checked = checked.copy()
        checked.sum_duplicates()
    values = checked.data if sp.issparse(checked) else checked
    if values.dtype.kind not in "buif":
        remedy = DATES if values.dtype.kind in "mM" else "Pass X.astype(float)."
        dtype = f"X has dtype {values.dtype}, but real numbers are needed. {remedy}"
        raise ValueError(explain(X) or dtype)
    _refuse_beyond_float32(values)
    return checked, image_shape


def _as_rows(X: Any, expected: Any) -> tuple[Any, tuple[int, ...] | None]:
    """`X` as rows, not validated yet, and the shape of one image if it came as images.

    The user may say which shape is `expected`.
    """
    array = X
    if isinstance(X, Dataset):
        array = _stack(X)
    elif isinstance(X, Tensor):
        array = _as_array(X)
    if sp.issparse(array) or _is_frame(array):
        return array, None
    array = _with_shape(array)
    spelled = "X" if hasattr(X, "shape") else "np.stack(X)"
    if len(array.shape) == 3:
        raise ValueError(
            f"X has shape {tuple(array.shape)}. Images need a channel axis: pass {spelled}[:, None]"
            " for grayscale images, or flat rows of shape (n_samples, n_features) with "
            "image_shape=. One image that has several channels is X[None]."
        )
    if len(array.shape) != 4:
        return array, None
    shape = tuple(array.shape[1:])
    sure = expected is not None and shape == tuple(expected)
    if shape[-1] in (1, 3, 4) and shape[0] > 4 and not sure:
        swapped = "X.permute" if isinstance(X, Tensor) else f"{spelled}.transpose"
        raise ValueError(
            f"X has shape {tuple(array.shape)}, which looks like images with channels last. Images "
            f"are (n_samples, channels, height, width): pass {swapped}(0, 3, 1, 2). If they have "
            f"{shape[0]} channels, set image_shape={shape}."
        )
    return np.asarray(array).reshape(len(array), math.prod(shape)), shape


def _is_frame(X: Any) -> bool:
    """Whether `X` is a data frame; refuses one without data yet, such as a LazyFrame."""
    frame = hasattr(type(X), "columns")
    if frame and not hasattr(X, "shape"):
        raise ValueError(
            f"X is a {type(X).__name__}, which holds no data yet. Load it first, for example with "
            "X.collect() in polars."
        )
    return frame


def _with_shape(X: Any) -> Any:
    """`X`, or the array that numpy makes of it; refuses what is not a block of values."""
    try:
        array = X if hasattr(X, "shape") else np.asanyarray(X)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(explain(X) or str(error)) from error
    kind = getattr(getattr(array, "dtype", None), "kind", "O")
    if len(array.shape) < 2 and kind in "OSUV" and (problem := explain(X)):
        raise ValueError(problem)
    if np.ma.is_masked(array):
        count = int(np.ma.getmaskarray(array).sum())
        raise ValueError(
            f"X is a masked array, and {count} of its entries are masked. The mask would be lost: "
            "fill in these entries, or drop their rows."
        )
    return array


def _refuse_other_images(estimator: Any, image_shape: tuple[int, ...]) -> None:
    """Refuse images of another shape than those of fit."""
    fitted = estimator.image_shape_
    if image_shape != fitted:
        remedy = "Pass samples like those of fit, resized or cropped in the same way."
        if math.prod(image_shape) == estimator.n_features_in_:
            remedy = "Pass samples like those of fit, or X.reshape(len(X), -1) for flat rows."
        raise ValueError(
            f"X holds images of shape {image_shape}, but {type(estimator).__name__} was fitted on "
            f"{'images of shape ' + str(fitted) if fitted else 'vectors'}. "
            f"{_if_channels_last(image_shape, fitted) or remedy}"
        )


def _refuse_beyond_float32(values: np.ndarray) -> None:
    """Refuse numbers that are infinite in float32."""
    limit = float(np.finfo(np.float32).max)
    if values.dtype.itemsize > 4 and values.size:
        largest = max(abs(float(values.max())), abs(float(values.min())))
        if largest > limit:
            raise ValueError(
                f"X holds the value {largest:.3g}, which is too large: networks compute in "
                f"float32, up to {limit:.3g}. Divide X by a constant."
            )


def _as_array(X: Tensor) -> np.ndarray:
    """A tensor as an array: on the CPU, without gradient; 8-bit and bfloat16 become float32."""
    if X.is_nested:
        raise ValueError(
            "X is a nested tensor, so its samples may have different shapes. Pass "
            "torch.nested.to_padded_tensor(X, 0.0), or samples of one shape."
        )
    narrow = X.is_floating_point() and X.dtype not in (torch.float16, torch.float32, torch.float64)
    try:
        X = X.detach().cpu().resolve_conj().resolve_neg()
        array: np.ndarray = (X.float() if narrow else X).numpy()
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"X is a tensor of dtype {X.dtype}, layout {X.layout} and device {X.device}, which "
            f"cannot become a numpy array ({error}). Pass a dense tensor of real numbers, for "
            "example X.to_dense().float()."
        ) from error
    return array


def _sample(item: Any) -> Any:
    """The sample in an item of a torch Dataset: all of it, or the first part of a pair."""
    if isinstance(item, list) and (not item or np.ndim(item[0]) == 0):
        return item  # numbers
    if isinstance(item, list) and len(item) > 1 and np.shape(item[0]) == np.shape(item[1]):
        return np.stack([_as_array(x) if isinstance(x, Tensor) else x for x in item])
    return item[0] if isinstance(item, tuple | list) else item


def _stack(dataset: Any) -> np.ndarray:
    """Samples of a torch Dataset. Items may be pairs such as (sample, label)."""
    countable = not isinstance(dataset, IterableDataset)
    items = (dataset[i] for i in range(len(dataset))) if countable else iter(dataset)
    parts: list[np.ndarray] = []
    try:
        while chunk := list(itertools.islice(items, _CHUNK_ITEMS)):
            samples = [_sample(item) for item in chunk]
            arrays = [_as_array(x) if isinstance(x, Tensor) else np.asarray(x) for x in samples]
            if arrays[0].dtype == object:
                raise ValueError(f"they hold objects of type {type(samples[0]).__name__}")
            parts.append(np.stack(arrays))
        return np.concatenate(parts) if parts else np.empty((0, 1))
    except ValueError as error:
        raise ValueError(
            f"The items of {type(dataset).__name__} cannot be stacked: {error}. Each item must "
            "be a sample or a pair that begins with one, and all samples must be arrays or tensors "
            "of the same shape."
        ) from error


def _with_remedy(error: Exception, X: Any) -> Exception:
    """scikit-learn's error about `X`, with what to do about it."""
    message = str(error)
    if isinstance(error, OverflowError):  # from Python's integers
        return ValueError(f"X holds a value that is too large: {error}. Divide X by a constant.")
    if message.startswith("Complex data"):
        return ValueError("Complex data not supported. Pass np.hstack([X.real, X.imag]).")
    if "contains NaN" in message:
        return ValueError(MISSING)
    if "contains infinity" in message:
        return ValueError(f"{message}\nReplace or remove these values, for instance by np.clip.")
    if sp.issparse(X) or "feature names" in message or np.asarray(X).dtype.kind not in "OSU":
        return error
    problem = explain(X)
    if type(error) is TypeError and problem != MISSING:  # as scikit-learn's checks expect
        return TypeError(f"{message}\n{problem}")
    return ValueError(problem or message)


def resolve_image_shape(
    image_shape: Sequence[int] | None, found: tuple[int, ...] | None, n_features: int
) -> tuple[int, ...] | None:
    """The shape of one image, from the parameter or from 4-D input.

    Parameters
    ----------
    image_shape : sequence of 2 or 3 ints, or None
        The parameter of the estimators. Two numbers are height and width of one channel.
    found : tuple of 3 ints or None
        The shape of the images, if the input is 4-D.
    n_features : int
        Number of features of a flat row.

    Returns
    -------
    tuple of 3 ints, or None for vectors

    Raises
    ------
    ValueError
        If the parameter does not fit the data.
    """
    if image_shape is None:
        return found
    shape = (1, *image_shape) if len(image_shape) == 2 else tuple(image_shape)
    counts = all(isinstance(side, Integral) and side > 0 for side in shape)
    shape = tuple(map(int, shape)) if counts else shape  # products of numpy integers may overflow
    if len(shape) != 3 or not counts or math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={tuple(image_shape)} does not fit "
            + (
                f"X, which holds images of shape {found}: leave it out."
                if found
                else f"rows of {n_features} features. Pass (channels, height, width), or (height, "
                "width) for one channel. The product must be the number of features."
            )
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
            f"image_shape={tuple(image_shape)} looks like channels last. The order is (channels, "
            f"height, width): {remedy} If there are {height} channels, also pass "
            f"X.reshape(-1, {height}, {width}, {channels})."
        )
    if found is not None and shape != found:
        remedy = "Drop image_shape: the shape of 4-D input is known."
        raise ValueError(
            f"image_shape={tuple(image_shape)}, but X holds images of shape {found}. "
            f"{_if_channels_last(found, shape) or remedy}"
        )
    return shape


def _if_channels_last(found: tuple[int, ...], expected: tuple[int, ...] | None) -> str:
    """The remedy if images have the expected shape with channels last, else ""."""
    if expected is None or found != (*expected[1:], expected[0]):
        return ""
    return "Channels come before height and width: pass X.transpose(0, 3, 1, 2)."
