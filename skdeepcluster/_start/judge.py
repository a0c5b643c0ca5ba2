"""The label-free judge of partitions: the normalised cut of the samples' neighbour graph."""

import numpy as np
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from .._data.rows import Rows
from .._warnings import ignoring
from .neighbors import neighbor_graph, rows_as_features, some_rows

MAX_ROWS = 10_000  # that start partitions are computed on, and judged
_K_MEANS_ROWS = 1_000  # of the k-means that training is compared with
_K_MEANS_RUNS = 20  # with 3, a cluster of 3 % was missed in one of 10 seeds
_CLEARLY = 0.1  # of its edges, on average over the clusters: a difference that is no noise


def input_graph(
    rows: Rows, random_state: np.random.RandomState
) -> tuple[np.ndarray, sp.csr_array, np.ndarray]:
    """Neighbour graph of (at most 10 000 of) the samples as they came in.

    It is no judge for bags of words: neighbours among them share a topic less often than a
    cluster of the embedding does. On R8 the partition with the smallest cut had ACC .38, k-means
    on the embedding .55 to .62.

    Parameters
    ----------
    rows : Rows
        The samples.
    random_state : numpy.random.RandomState
        Draws the sample of rows.

    Returns
    -------
    index : ndarray of shape (s,)
        The rows that are nodes.
    graph : CSR array of shape (s, s)
        Symmetric; 1 where either is among the 5 nearest neighbours of the other.
    features : ndarray of shape (s, m)
        Their samples, scaled, wide sparse ones in 50 dimensions.
    """
    index = some_rows(rows, MAX_ROWS, random_state)
    features = rows_as_features(rows, index, random_state)
    return index, neighbor_graph(features, n_neighbors=5), features


def normalized_cut(graph: sp.csr_array, labels: np.ndarray, n_clusters: int) -> float:
    """Share of its edges that a cluster sends outside, summed over clusters.

    Shi and Malik 2000, equation 2 for k clusters; an empty cluster counts 1, so that a
    collapsed partition is the worst, not the best.

    Parameters
    ----------
    graph : CSR array of shape (n, n)
        Symmetric neighbour graph.
    labels : int ndarray of shape (n,)
        A partition.
    n_clusters : int
        Clusters that were asked for.

    Returns
    -------
    float in [0, n_clusters], the lower the better
    """
    member = sp.csr_array(
        (np.ones(len(labels)), (np.arange(len(labels)), labels)), (len(labels), n_clusters)
    )
    weight = (member.T @ graph @ member).toarray()  # (k, k)
    volume = weight.sum(axis=1)
    kept = np.divide(weight.diagonal(), volume, out=np.zeros(n_clusters), where=volume > 0)
    return float(n_clusters - kept.sum())


def clearly_worse(cut: float, other: float, n_clusters: int) -> bool:
    """Whether a partition is worse than another by more than noise, judged by normalised cuts."""
    return cut > other + _CLEARLY * n_clusters


def quick_k_means(features: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Clusters by k-means on at most 1000 of the points, as labels of all.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Points.
    n_clusters : int
        Number of clusters.
    seed : int
        Seed of k-means.

    Returns
    -------
    int ndarray of shape (n,)
    """
    some = np.random.RandomState(seed).permutation(len(features))[: max(_K_MEANS_ROWS, n_clusters)]
    with ignoring(ConvergenceWarning):  # about duplicated samples
        k_means = KMeans(n_clusters, n_init=_K_MEANS_RUNS, random_state=seed, copy_x=False)
        k_means.fit(features[some])
    labels: np.ndarray = k_means.predict(features)
    return labels
