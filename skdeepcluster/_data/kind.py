"""What kind of data samples are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from .scaling import column_bounds, one_unit, row_chunks

_BAG_OF_WORDS = 0.05  # vectors with a smaller share of entries that are not zero count as text
_MANY_COLUMNS, _FEW_COLUMNS = 128, 40
_LIKE_NORM = 0.25  # deviation of the lengths of embeddings, as a share of their mean
_ROWS = 500  # rows whose lengths are compared
_FILLED = 0.5  # share of entries that are not zero, in the mean column of numbers
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
        A table has at most 40 columns, beside any number of one-hot columns, or columns with very
        different ranges. A bag of words has less than 5 % entries that are not zero. Embeddings of
        pretrained networks are dense, have at least 128 columns, and rows of similar length. The
        rest are vectors.
    """
    if image_shape is not None:
        return "images"
    n_features = X.shape[1]
    low, high = column_bounds(X)
    if n_features > _FEW_COLUMNS and _numbers_and_categories(X, low, high):
        return "table"
    stored = X.count_nonzero() if sp.issparse(X) else np.count_nonzero(X)
    if stored < _BAG_OF_WORDS * X.shape[0] * n_features:
        return "bag of words"
    if n_features <= _FEW_COLUMNS or not one_unit(high - low):
        return "table"
    if sp.issparse(X) or n_features < _MANY_COLUMNS:
        return "vectors"
    length = np.linalg.norm(X[:: -(-len(X) // _ROWS)].astype(np.float64), axis=1)
    return "embeddings" if length.std() <= _LIKE_NORM * length.mean() else "vectors"


def _numbers_and_categories(X: Any, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a few columns hold numbers, and all others have one or two values, as one-hot ones.

    In a small bag of words, few columns may have more than two values, too. But they are nearly
    empty, and a column of numbers is not.
    """
    numbers = np.zeros(X.shape[1], dtype=bool)
    filled = np.zeros(X.shape[1], dtype=np.int64)
    for column, value in _values(X):
        numbers[column[(value != low[column]) & (value != high[column])]] = True
        if numbers.sum() > _FEW_COLUMNS:
            return False
        filled += np.bincount(column[value != 0], minlength=X.shape[1])
    return bool(numbers.any() and filled[numbers].mean() >= _FILLED * X.shape[0])


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
