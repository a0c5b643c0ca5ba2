"""What kind of data the samples are."""

import numpy as np
import scipy.sparse as sp

from .rows import Rows

_BAG_OF_WORDS = 0.05  # vectors with a smaller share of nonzero entries are treated as text


def is_bag_of_words(rows: Rows) -> bool:
    """Whether the samples are vectors, and less than 5 % of their entries are not zero."""
    stored = rows.X.count_nonzero() if sp.issparse(rows.X) else np.count_nonzero(rows.X)
    share = stored / (rows.X.shape[0] * rows.X.shape[1])
    return len(rows.sample_shape) == 1 and bool(share < _BAG_OF_WORDS)
