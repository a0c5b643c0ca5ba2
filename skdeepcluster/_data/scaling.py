"""How samples are scaled: an affine map of the features, fixed in fit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.utils.sparsefuncs import mean_variance_axis, min_max_axis

_CHUNK_BYTES = 1 << 24  # size of the chunks in which samples are scaled
_MOST_IMAGES = 1000  # that are looked at for their background
_ONE_COLOUR = 0.1  # largest difference of a pixel of the background, as a share of the range


@dataclass(frozen=True)
class Scaler:
    """An affine map of the features, fixed in fit: ``(x - shift) * factor``.

    Attributes
    ----------
    kind : {"global", "standard", "none"}
        The parameter ``scaling``, with "auto" replaced by its choice.
    shift, factor : float64 ndarrays of shape (1,) or (n_features,)
        The map.
    """

    kind: str
    shift: np.ndarray
    factor: np.ndarray

    @classmethod
    def fit(
        cls,
        X: Any,
        kind: str,
        image_shape: tuple[int, ...] | None = None,
        *,
        backgrounds_differ: bool = False,
    ) -> Self:
        """Choose the map for `X`. `kind` is the parameter ``scaling`` of the estimators."""
        if kind == "none":
            return cls(kind, np.zeros(1), np.ones(1))
        low, high, mean, variance = column_statistics(X)
        if kind == "auto":
            alike = image_shape is not None or sp.issparse(X) or one_unit(high - low)
            kind = "global" if alike else "standard"
        if kind == "standard":
            return cls(kind, mean, _inverse(np.sqrt(variance)))
        # one factor for all columns: distances keep their proportions. The mean square of an
        # entry becomes 1, as a reconstruction loss needs; in rows of norm 1 it is 1/d
        factor = _inverse(np.sqrt(np.atleast_1d(variance.mean())))
        if image_shape is None:
            return cls(kind, mean, factor)
        # the background of images becomes 0, which is what convolutions pad with
        background, share = _background(X, image_shape, _ONE_COLOUR * (high.max() - low.min()))
        # photographs have none: there black is 0, as changes of brightness multiply the pixels
        found = share >= 0.5 or backgrounds_differ
        return cls(kind, background if found else np.atleast_1d(low.min()), factor)

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        """Scaled float32 rows, computed in float32 or in the dtype of `chunk` if it is wider."""
        wide = chunk.dtype.kind in "iu" or chunk.dtype.itemsize > 4
        dtype = np.float64 if wide else np.float32
        # inference reports overflows, because it knows the sample
        with np.errstate(over="ignore"):
            scaled = np.subtract(chunk, self.shift.astype(dtype), dtype=dtype)
            scaled *= self.factor.astype(dtype)
            rows: np.ndarray = scaled.astype(np.float32, copy=False)
        return rows

    def inverse(self, rows: np.ndarray) -> np.ndarray:
        """Rows in the units of the data, float64. Infinite entries remain infinite."""
        factor = np.where(self.factor == 0.0, 1.0, self.factor)
        restored: np.ndarray = np.where(self.factor == 0.0, 0.0, rows / factor) + self.shift
        return restored


def _background(X: Any, image_shape: tuple[int, ...], tolerance: float) -> tuple[np.ndarray, float]:
    """Median of the pixels at the border, one for each channel, and how many are like it.

    When black was 0 in dark digits on white, a dense network had ACC .65 instead of .95.
    """
    channels, height, width = image_shape
    some = every_nth(X, _MOST_IMAGES)
    images = (some.toarray() if sp.issparse(some) else some).reshape(-1, *image_shape)
    pixels = border(images).astype(np.float64)  # (n, channels, pixels)
    found = np.median(pixels, axis=(0, 2), keepdims=True)  # (1, channels, 1)
    share = float((np.abs(pixels - found) <= tolerance).mean())
    return found.ravel() if channels == 1 else np.repeat(found, height * width), share


IDENTITY = Scaler("none", np.zeros(1), np.ones(1))


def column_bounds(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum of each column, float64."""
    low, high = min_max_axis(X, axis=0) if sp.issparse(X) else (X.min(axis=0), X.max(axis=0))
    return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)


def column_statistics(X: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Minimum, maximum, mean and variance of each column, float64, in bounded memory."""
    low, high = column_bounds(X)
    if sp.issparse(X):
        # squares of large or small values exceed the range of float32
        mean, variance = mean_variance_axis(X.astype(np.float64, copy=False), axis=0)
        return low, high, mean, variance
    n, d = X.shape
    origin = X[0].astype(np.float64)  # moments around a row: no cancellation at large offsets
    total, total_square = np.zeros(d), np.zeros(d)
    for rows in row_chunks(n, d):
        chunk = X[rows] - origin
        total += chunk.sum(axis=0)
        total_square += np.square(chunk).sum(axis=0)
    variance = np.maximum(total_square / n - np.square(total / n), 0.0)
    # a column that is constant up to rounding is constant
    variance[high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))] = 0.0
    return low, high, origin + total / n, variance


def _inverse(deviation: np.ndarray) -> np.ndarray:
    """1 / deviation, and 0 where the deviation is 0 or too small for float32."""
    varies = deviation > np.finfo(np.float32).tiny  # else the inverse may overflow
    inverse: np.ndarray = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return inverse


def one_unit(spread: np.ndarray) -> bool:
    """Whether all columns seem to have the same unit, as pixels or coordinates have.

    They do if at least three quarters of the columns that vary have a range of at least a tenth
    of the widest range.
    """
    varying = spread[spread > 0.0]
    if not len(varying):
        return True
    return bool(np.quantile(varying, 0.25, method="lower") >= 0.1 * varying.max())


def border(images: np.ndarray) -> np.ndarray:
    """Pixels at the border of images (n, channels, height, width), as (n, channels, pixels)."""
    return np.concatenate(edges(images), axis=2)


def edges(images: Any) -> tuple[Any, Any, Any, Any]:
    """Top, bottom, left and right pixels of images, an array or a tensor of 4 dimensions."""
    return images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]


def row_chunks(n: int, d: int) -> Iterator[slice]:
    """Slices of rows that together cover n rows of d float64 numbers in chunks of fixed size."""
    size = max(1, _CHUNK_BYTES // (8 * d))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def every_nth(X: Any, most: int) -> Any:
    """At most so many rows, evenly spaced: enough to look at, for a property of all."""
    return X[:: math.ceil(X.shape[0] / most)]
