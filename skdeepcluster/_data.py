"""The one door for data: what every method accepts, how it is scaled, how it is batched."""

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import PurePath
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.sparsefuncs import mean_variance_axis, min_max_axis
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

# Rows of one inference batch. float32 answers depend on the shape of the matrix product
# in their last bits, so every batch is padded to this size and a row's answer does not
# depend on the company it comes in.
INFERENCE_BATCH = 256
_CHUNK_ITEMS = 4096  # of a torch Dataset, that are stacked at a time
_CHUNK_BYTES = 1 << 24  # what scaling and its statistics may hold at a time


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


@dataclass(frozen=True)
class Scaler:
    """An affine map of the features, fixed in fit: ``(x - shift) * factor``.

    Attributes
    ----------
    kind : {"global", "standard", "none"}
        What was asked for, "auto" resolved.
    shift, factor : float64 ndarrays of shape (1,) or (n_features,)
        The map.
    """

    kind: str
    shift: np.ndarray
    factor: np.ndarray

    @classmethod
    def fit(cls, X: Any, kind: str, *, images: bool) -> Self:
        """Choose the map for `X`; `kind` is the parameter ``scaling`` of the estimators."""
        if kind == "none":
            return cls(kind, np.zeros(1), np.ones(1))
        low, high, mean, variance = _column_statistics(X)
        if kind == "auto":
            one_unit = images or sp.issparse(X) or _one_unit(high - low)
            kind = "global" if one_unit else "standard"
        if kind == "standard":
            return cls(kind, mean, _inverse(np.sqrt(variance)))
        # one factor for all: distances keep their meaning, and the mean square of an entry
        # is 1, which a reconstruction loss needs and rows of norm 1 do not have
        factor = _inverse(np.sqrt(np.atleast_1d(variance.mean())))
        # the background of an image stays 0, which is what convolutions pad with
        return cls(kind, np.atleast_1d(low.min()) if images else mean, factor)

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        """Scaled float32 rows; the arithmetic is that of the wider of dtype and float32."""
        wide = chunk.dtype.kind in "iu" or chunk.dtype.itemsize > 4
        dtype = np.float64 if wide else np.float32
        # inference tells which sample is too far from those of fit
        with np.errstate(over="ignore"):
            scaled = np.subtract(chunk, self.shift.astype(dtype), dtype=dtype)
            scaled *= self.factor.astype(dtype)
            rows: np.ndarray = scaled.astype(np.float32, copy=False)
        return rows

    def inverse(self, rows: np.ndarray) -> np.ndarray:
        """Rows in the user's units, float64."""
        factor = np.where(self.factor == 0.0, 1.0, self.factor)
        restored: np.ndarray = np.where(self.factor == 0.0, 0.0, rows / factor) + self.shift
        return restored


def _column_statistics(X: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Minimum, maximum, mean and variance of each column, float64, in bounded memory."""
    if sp.issparse(X):
        low, high = (np.asarray(bound, dtype=np.float64) for bound in min_max_axis(X, axis=0))
        # squares of large or small float32 values are not in its range
        mean, variance = mean_variance_axis(X.astype(np.float64, copy=False), axis=0)
        return low, high, mean, variance
    n, d = X.shape
    low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    origin = X[0].astype(np.float64)  # moments about a row: no cancellation at large offsets
    total, total_square = np.zeros(d), np.zeros(d)
    for rows in _row_chunks(n, d):
        chunk = X[rows] - origin
        total += chunk.sum(axis=0)
        total_square += np.square(chunk).sum(axis=0)
    variance = np.maximum(total_square / n - np.square(total / n), 0.0)
    # rounding noise around a constant is no signal
    variance[high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))] = 0.0
    return low, high, origin + total / n, variance


def _inverse(deviation: np.ndarray) -> np.ndarray:
    """1 / deviation, and 0 for what is constant, or as good as that in float32."""
    varies = deviation > np.finfo(np.float32).tiny  # of smaller ones the inverse may overflow
    inverse: np.ndarray = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return inverse


def _one_unit(spread: np.ndarray) -> bool:
    """Whether columns seem to be measured in one unit, as pixels or coordinates are.

    Three quarters of the columns that vary span a tenth of the widest column or more.
    """
    varying = spread[spread > 0.0]
    if not len(varying):
        return True
    return bool(np.quantile(varying, 0.25, method="lower") >= 0.1 * varying.max())


def _row_chunks(n: int, d: int) -> Iterator[slice]:
    size = max(1, _CHUNK_BYTES // (8 * d))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


class Rows(Dataset):  # type: ignore[type-arg]
    """Scaled float32 samples on a device, taken by index.

    Nothing is resident beyond `X` and, when `resident` and `X` is neither sparse nor
    contiguous float32, one scaled float32 copy. On an accelerator that copy lies there
    if it fills less than half of the free memory.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The samples.
    scaler : Scaler
        Their scaling.
    image_shape : tuple of 3 ints or None
        Shape of one sample as the network sees it, None for vectors.
    device : torch.device
        Where batches go.
    resident : bool, default=False
        True when the rows are read many times.
    """

    def __init__(
        self,
        X: Any,
        scaler: Scaler,
        image_shape: tuple[int, ...] | None,
        device: torch.device,
        *,
        resident: bool = False,
    ) -> None:
        self.X = X
        self.scaler = scaler
        self.sample_shape = image_shape or (X.shape[1],)
        self.device = device
        self._scaled: Tensor | None = None  # the copy
        self._view: Tensor | None = None  # X itself, to be scaled batch by batch
        if sp.issparse(X):
            return
        on_device = device.type == "cuda" and (
            4 * X.shape[0] * X.shape[1] < torch.cuda.mem_get_info(device)[0] // 2
        )
        # one row counts as contiguous with strides of any sign, but torch takes no negative ones
        viewable = X.dtype == np.float32 and X.flags.c_contiguous and min(X.strides) >= 0
        if viewable and not (resident and on_device):
            with warnings.catch_warnings():
                # X may be read-only, and is only read
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                self._view = torch.from_numpy(X)
            self._shift = torch.from_numpy(scaler.shift.astype(np.float32))
            self._factor = torch.from_numpy(scaler.factor.astype(np.float32))
        elif resident:
            self._scaled = torch.empty(
                X.shape, dtype=torch.float32, device=device if on_device else None
            )
            for rows in _row_chunks(*X.shape):
                self._scaled[rows] = torch.from_numpy(scaler(X[rows]))

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def take(self, index: np.ndarray) -> Tensor:
        """The samples at `index`, of shape ``(len(index), *sample_shape)``."""
        # index_select: on CPU, brackets take twice as long
        if self._scaled is not None:
            batch = self._scaled.index_select(0, torch.from_numpy(index).to(self._scaled.device))
        elif self._view is not None:
            batch = self._view.index_select(0, torch.from_numpy(index))
            batch.sub_(self._shift).mul_(self._factor)
        else:
            rows = self.X[index]
            batch = torch.from_numpy(self.scaler(rows.toarray() if sp.issparse(rows) else rows))
        return batch.to(self.device).view(-1, *self.sample_shape)

    def padded_batches(self) -> Iterator[tuple[slice, Tensor]]:
        """All samples in order, as (rows, batch), every batch of the same size."""
        for start in range(0, len(self), INFERENCE_BATCH):
            rows = slice(start, min(start + INFERENCE_BATCH, len(self)))
            batch = self.take(np.arange(rows.start, rows.stop))
            missing = INFERENCE_BATCH - len(batch)
            if missing:
                batch = torch.cat([batch, batch.new_zeros(missing, *self.sample_shape)])
            yield rows, batch
