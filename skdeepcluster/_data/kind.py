"""What kind of data samples are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from .scaling import column_bounds, every_nth, one_unit, row_chunks

_BAG_OF_WORDS = 0.05  # vectors with a smaller share of entries that are not zero count as text
_MANY_COLUMNS, _FEW_COLUMNS = 128, 40
_LIKE_NORM = 0.25  # deviation of the lengths of embeddings, as a share of their mean
_ROWS = 500  # rows whose lengths are compared
_FILLED = 0.5  # share of entries that are not zero, in the mean column of numbers
_EXCLUSIVE = 0.5  # variance of the ones of a row, as a share of that in independent columns
_PART = 1 << 20  # stored entries that are looked at together

KINDS = ("images", "bag of words", "embeddings", "table", "vectors")
# for these kinds, a partition without a network is better than one that a network learns alone
FROM_SAMPLES = ("embeddings", "table")


def data_kind(X: Any, image_shape: tuple[int, ...] | None) -> str:
    """Kind of the samples.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Checked samples.
    image_shape : tuple of 3 ints or None
        Channels, height and width of the images that the rows hold.

    Returns
    -------
    {"images", "bag of words", "embeddings", "table", "vectors"}
        A bag of words has less than 5 % entries that are not zero. A table has at most 40 columns,
        or columns with very different ranges, or at most 40 columns of numbers beside one-hot
        columns, which then may be many. Embeddings of pretrained networks are dense, have at least
        128 columns, and rows of similar length. The rest are vectors.
    """
    if image_shape is not None:
        return "images"
    n_samples, n_features = X.shape
    words = _count_entries(X) < _BAG_OF_WORDS * n_samples * n_features
    if n_features <= _FEW_COLUMNS:
        return "bag of words" if words else "table"
    low, high = column_bounds(X)
    numbers = _columns_of_numbers(X, low, high)
    # in a small bag of words, few columns may have more than two values, too, but mostly zeros
    few = 0 < len(numbers) <= _FEW_COLUMNS
    if few and _count_entries(X[:, numbers]) >= _FILLED * n_samples * len(numbers):
        return "table"
    if words:
        return "bag of words"
    if not one_unit(high - low) or (not len(numbers) and _one_hot(X, low)):
        return "table"
    if sp.issparse(X) or n_features < _MANY_COLUMNS:
        return "vectors"
    length = np.linalg.norm(every_nth(X, _ROWS).astype(np.float64), axis=1)
    return "embeddings" if length.std() <= _LIKE_NORM * length.mean() else "vectors"


def _count_entries(X: Any) -> int:
    """How many entries are not zero."""
    return int(X.count_nonzero() if sp.issparse(X) else np.count_nonzero(X))


def _columns_of_numbers(X: Any, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Columns with more than two values; the search ends soon after 40 of them."""
    found = np.zeros(X.shape[1], dtype=bool)
    for column, value in _values(X):
        found[column[(value != low[column]) & (value != high[column])]] = True
        if found.sum() > _FEW_COLUMNS:
            break
    if sp.issparse(X):  # zeros that are not stored
        stored = np.bincount(X.indices, minlength=X.shape[1])
        found |= (stored < X.shape[0]) & (low < 0) & (high > 0)
    return np.flatnonzero(found)


def _values(X: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Columns and values of the entries, in parts; of a sparse matrix, those that are stored."""
    if sp.issparse(X):
        for start in range(0, X.nnz, _PART):
            part = slice(start, start + _PART)
            yield X.indices[part], X.data[part]
    else:
        columns = np.arange(X.shape[1])
        for rows in row_chunks(*X.shape):
            yield np.tile(columns, len(X[rows])), X[rows].ravel()


def _one_hot(X: Any, low: np.ndarray) -> bool:
    """Whether columns of two values exclude each other, as those of a category do.

    Each row then has nearly the same number of ones: one for each category. In independent columns,
    this number would vary as much as the columns do together.
    """
    n_samples, n_features = X.shape
    if sp.issparse(X):
        row = np.repeat(np.arange(n_samples), np.diff(X.indptr))
        # beside a row of zeros
        more = (X.data != low[X.indices]).astype(float) - (low[X.indices] != 0)
        ones = np.bincount(row, more, n_samples) + np.sum(low != 0)
        columns = np.bincount(X.indices, more, n_features) + n_samples * (low != 0)
    else:
        ones, columns = np.empty(n_samples), np.zeros(n_features)
        for rows in row_chunks(n_samples, n_features):
            part = X[rows] != low
            ones[rows] = part.sum(axis=1)
            columns += part.sum(axis=0)
    shares = columns / n_samples
    independent = float(np.sum(shares * (1.0 - shares)))
    return bool(independent > 0.0 and ones.var() <= _EXCLUSIVE * independent)
