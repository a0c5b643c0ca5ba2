"""What kind of data samples are."""

from typing import Any

import numpy as np
import scipy.sparse as sp

_BAG_OF_WORDS = 0.05  # share of entries that are not zero, up to which vectors are taken for text


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
    {"images", "bag of words", "vectors"}
        Vectors in which less than 5 % of the entries are not zero are a bag of words.
    """
    if image_shape is not None:
        return "images"
    stored = X.count_nonzero() if sp.issparse(X) else np.count_nonzero(X)
    return "bag of words" if stored < _BAG_OF_WORDS * X.shape[0] * X.shape[1] else "vectors"
