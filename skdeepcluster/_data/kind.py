"""What kind of data samples are."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from .scaling import column_bounds, one_unit, row_chunks

_BAG_OF_WORDS = 0.05  # vectors with a smaller share of entries that are not zero count as text
_MANY_COLUMNS, _FEW_COLUMNS = 128, 40
_LIKE_NORM = 0.25  # deviation of the lengths of embeddings, as a share of their mean
_ROWS = 500  # rows whose lengths are compared

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
        A bag of words has less than 5 % entries that are not zero, and none below zero. Embeddings
        of pretrained networks are dense, have at least 128 columns, and rows of similar length. A
        table has at most 40 columns, beside any number of one-hot columns, or columns with very
        different ranges. The rest are vectors.
    """
    if image_shape is not None:
        return "images"
    n_features = X.shape[1]
    stored = X.count_nonzero() if sp.issparse(X) else np.count_nonzero(X)
    if stored < _BAG_OF_WORDS * X.shape[0] * n_features and X.min() >= 0:
        return "bag of words"
    low, high = column_bounds(X)
    if n_features <= _FEW_COLUMNS or not one_unit(high - low):
        return "table"
    if 0 < _count_numbers(X, low, high) <= _FEW_COLUMNS:
        return "table"
    if sp.issparse(X) or n_features < _MANY_COLUMNS:
        return "vectors"
    length = np.linalg.norm(X[:: -(-len(X) // _ROWS)].astype(np.float64), axis=1)
    return "embeddings" if length.std() <= _LIKE_NORM * length.mean() else "vectors"


def _count_numbers(X: Any, low: np.ndarray, high: np.ndarray) -> int:
    """How many columns have more values than two; the count ends soon after `_FEW_COLUMNS`."""
    numbers = np.zeros(X.shape[1], dtype=bool)
    for rows in row_chunks(*X.shape):
        part = X[rows]
        if sp.issparse(part):
            column, value = part.indices, part.data
            numbers[column[(value != low[column]) & (value != high[column])]] = True
        else:
            numbers |= ((part != low) & (part != high)).any(axis=0)
        if numbers.sum() > _FEW_COLUMNS:
            break
    return int(numbers.sum())
