"""Measures of a clustering that scikit-learn does not have."""

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_consistent_length, column_or_1d


def clustering_accuracy(labels_true: Any, labels_pred: Any) -> float:
    """Accuracy under the best one-to-one match of clusters with classes.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes, of any label type.
    labels_pred : array-like of shape (n_samples,)
        Clusters, of any label type.

    Returns
    -------
    accuracy : float in [0, 1]
        Share of samples whose cluster is matched with their class. With more clusters
        than classes, or fewer, the ones left over count as wrong.

    Raises
    ------
    ValueError
        If the lengths differ or there are no samples.

    References
    ----------
    Guo, Liu, Zhu, Yin, "Deep Clustering with Convolutional Autoencoders", ICONIP 2017,
    section 4.3. The match is found by the Hungarian method of scipy.

    Examples
    --------
    >>> from skdeepcluster.metrics import clustering_accuracy
    >>> clustering_accuracy(["a", "a", "b", "b"], [1, 1, 0, 1])
    0.75
    """
    labels_true, labels_pred = column_or_1d(labels_true), column_or_1d(labels_pred)
    check_consistent_length(labels_true, labels_pred)
    if not len(labels_true):
        raise ValueError("No labels were given; at least one sample is needed.")
    counts = contingency_matrix(labels_true, labels_pred)
    matched = counts[linear_sum_assignment(-counts)].sum()
    return float(matched / np.int64(len(labels_true)))
