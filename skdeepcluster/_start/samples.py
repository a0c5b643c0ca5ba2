"""Partitions of the samples themselves, which no training may make clearly worse."""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from .._warnings import ignoring
from .judge import least_cut
from .neighbors import TINY, directions, nearest_graph, smooth_on_graph, symmetric

_K_MEANS_ROWS = 1_000  # for the k-means that training is compared with
# with 3 runs, a cluster of 3 % was missed in one of 10 seeds; with 20, one of 1 %
_K_MEANS_RUNS, _MANY_RUNS = 20, 100
_SPECTRAL_ROWS = 2_000  # for a spectral start
# neighbours for a spectral start, divided by the root of the number of rows. Contracted samples lie
# in clumps: fewer neighbours stay within a clump, more reach across the gap for 300 or 400 rows
_SPECTRAL_REACH = 1.25
_CONTRACTIONS = 5
_NEGLIGIBLE = 1e-9  # weight of an edge beside edges of 1
_MIXTURE_RUNS = 5
_RIDGE = 1e-3  # added to the diagonals of covariances, for scaled samples
# rounds of smoothing: many join the parts of a large cluster that is not round, but also small ones
_SMOOTHING = (20, 2)
# cosine to the mean direction: .12 or less for sentences, .47 or more for photographs
_CONE = 0.3
_BETTER = 0.8  # a partition replaces the first one if its cut is less than this share of that cut
_FEW_VALUES = 10  # of a column of categories or counts
# weights of such columns, and the least adjusted Rand index between the spectral partitions with
# these weights and with 1
_LIGHTER = {0.7: 0.75, 0.5: 0.6}


def sample_partition(
    features: np.ndarray, graph: sp.csr_array, n_clusters: int, kind: str, seed: int
) -> np.ndarray:
    """Partition of samples without a network, by a method for their kind.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Scaled samples, of embeddings the directions.
    graph : CSR array of shape (n, n)
        Their neighbour graph.
    n_clusters : int
        Number of clusters.
    kind : str
        Kind of the samples. For a "table", it is the best of k-means, a Gaussian mixture and
        spectral clustering by the normalised cut. If there are columns with few values, such as
        one-hot columns, the mixture is left out, and spectral clustering if its clusters depend on
        the weight of these columns. On the 26 tables of doc/benchmarks/battery.py the estimators
        that start from this choice had a mean ARI of .81 to .82, the three methods of scikit-learn
        .55, .59 and .75. For "embeddings", it is k-means on directions: not smoothed, smoothed a
        little, or smoothed much. The partition with the smallest cut is used. Directions in a
        narrow cone are decorrelated first, and there the much smoothed ones are used if no other
        partition cuts clearly less. For other kinds, it is k-means.
    seed : int
        Seed of all random numbers.

    Returns
    -------
    int ndarray of shape (n,)
    """
    if kind == "embeddings":
        return _of_embeddings(features, graph, n_clusters, seed)
    if kind == "table":
        return _of_table(features, graph, n_clusters, seed)
    some = np.random.RandomState(seed).permutation(len(features))
    some = some[: max(_K_MEANS_ROWS, n_clusters)]
    return _k_means(features, features[some], n_clusters, seed)


def _of_embeddings(
    features: np.ndarray, graph: sp.csr_array, n_clusters: int, seed: int
) -> np.ndarray:
    narrow = _narrow(features)
    points = _decorrelated(features) if narrow else features
    near = nearest_graph(points)
    views = [*(directions(smooth_on_graph(points, near, n)) for n in _SMOOTHING), features]
    partitions = [_k_means(view, view, n_clusters, seed) for view in views]
    return least_cut(graph, partitions, n_clusters, _BETTER if narrow else 1.0)


def _of_table(features: np.ndarray, graph: sp.csr_array, n_clusters: int, seed: int) -> np.ndarray:
    runs = int(np.clip(_MANY_RUNS * _K_MEANS_ROWS / len(features), _K_MEANS_RUNS, _MANY_RUNS))
    k_means = _k_means(features, features, n_clusters, seed, runs)
    spectral = spectral_partition(features, n_clusters, seed)
    coarse = _coarse_columns(features)
    if not coarse.any():
        mixture = _gaussian_mixture(features, n_clusters, seed)
        return least_cut(graph, [k_means, mixture, spectral], n_clusters, _BETTER)
    best = least_cut(graph, [k_means, spectral], n_clusters, _BETTER)
    if best is spectral and not _stays(spectral, features, coarse, n_clusters, seed):
        return k_means
    return best


def _coarse_columns(features: np.ndarray) -> np.ndarray:
    """Which columns hold few values, as one-hot columns and small counts do."""
    counts = np.array([len(np.unique(column)) for column in features.T])
    coarse: np.ndarray = (counts > 1) & (counts <= min(_FEW_VALUES, len(features) // 4))
    return coarse


def _stays(
    labels: np.ndarray, features: np.ndarray, coarse: np.ndarray, n_clusters: int, seed: int
) -> bool:
    """Whether a spectral partition stays nearly the same if coarse columns weigh less.

    In a neighbour graph, rows with the same answer to a yes/no question are near each other. If the
    question has nothing to do with the clusters, the smallest cut may follow the answers: it cuts a
    cluster in two and joins two others. For the same reason, a Gaussian mixture is not used then.
    """
    for weight, least in _LIGHTER.items():
        lighter = features * np.where(coarse, weight, 1.0)
        if adjusted_rand_score(labels, spectral_partition(lighter, n_clusters, seed)) < least:
            return False
    return True


def _narrow(features: np.ndarray) -> bool:
    """Whether directions lie in a narrow cone, as those of networks that end with a ReLU do."""
    axis = directions(features.mean(axis=0, keepdims=True))[0]
    return bool(np.quantile(features @ axis, 0.01) > _CONE)


def _decorrelated(features: np.ndarray) -> np.ndarray:
    """Directions of the principal components, divided by the roots of their deviations.

    This is half of the way to unit variance: a few wide directions no longer hide the others.
    """
    components = PCA(random_state=0).set_output(transform="default").fit_transform(features)
    deviation = np.maximum(components.std(axis=0), TINY)
    return directions(components / np.sqrt(deviation))


def _k_means(
    features: np.ndarray, some: np.ndarray, n_clusters: int, seed: int, runs: int = _K_MEANS_RUNS
) -> np.ndarray:
    """Clusters by k-means on some of the points."""
    with ignoring(ConvergenceWarning):  # about duplicated samples
        k_means = KMeans(n_clusters, n_init=runs, random_state=seed).fit(some)
    labels: np.ndarray = k_means.predict(features)
    return labels


def _gaussian_mixture(features: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Components of a Gaussian mixture, with full covariances where there are rows for them."""
    n, m = features.shape
    kind = "full" if n > 2 * n_clusters * m else "diag"
    mixture = GaussianMixture(
        n_clusters,
        covariance_type=kind,
        n_init=_MIXTURE_RUNS,
        reg_covar=_RIDGE,
        random_state=seed,
    )
    with ignoring(Warning):  # it did not converge, duplicated samples
        labels: np.ndarray = mixture.fit_predict(features)
    return labels


def spectral_partition(features: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Spectral clustering of (at most 2000 of) the samples, contracted to curves and sheets.

    Noise across a curve fills the gap to the next one, and the smallest cut of a neighbour graph
    of 1000 points may then go through the curve: without the contraction, spectral clustering of
    `make_moons` with noise .1 had a mean ACC of .87, with it .99.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Scaled samples.
    n_clusters : int
        Number of clusters.
    seed : int
        Draws the sample of rows, and for the k-means inside.

    Returns
    -------
    int ndarray of shape (n,)
        Labels; a row outside of the sample takes that of its nearest row inside.
    """

    def spectral(points: np.ndarray) -> np.ndarray:
        if len(points) <= n_clusters:
            return np.arange(len(points))  # there are not enough eigenvectors
        n_neighbors = round(_SPECTRAL_REACH * len(points) ** 0.5)
        contracted = smooth_on_graph(points, nearest_graph(points), _CONTRACTIONS)
        graph = _joined(symmetric(nearest_graph(contracted, n_neighbors)))
        found = SpectralClustering(n_clusters, affinity="precomputed", random_state=seed)
        with ignoring(Warning):  # about duplicates and few rows
            labels: np.ndarray = found.fit_predict(sp.csr_matrix(graph))
        return labels

    n = len(features)
    index = np.arange(n)
    if n > _SPECTRAL_ROWS:
        drawn = np.random.RandomState(seed).choice(n, _SPECTRAL_ROWS, replace=False)
        index = np.sort(drawn)
    return by_nearest(features, index, spectral(features[index]))


def _joined(graph: sp.csr_array) -> sp.csr_array:
    """The graph with negligible edges between its parts.

    Clusters in several parts are good here, but scikit-learn warns about them. `ignoring` is not
    enough: until Python 3.14, another thread that leaves `warnings.catch_warnings` ends it.
    """
    _, part = connected_components(graph)
    first = np.unique(part, return_index=True)[1]
    weight = np.full(len(first) - 1, _NEGLIGIBLE)
    edges = sp.coo_array((weight, (first[:-1], first[1:])), shape=graph.shape)
    return sp.csr_array(graph + edges + edges.T)


def by_nearest(features: np.ndarray, index: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels of some rows as labels of all: a row takes that of the nearest row with a label.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        All rows.
    index : ndarray of shape (s,)
        The rows that have a label.
    labels : int ndarray of shape (s,)
        Their labels.

    Returns
    -------
    int ndarray of shape (n,)
    """
    if len(index) == len(features):
        return labels
    nearest = NearestNeighbors(n_neighbors=1).fit(features[index])
    everywhere: np.ndarray = labels[nearest.kneighbors(features, return_distance=False)[:, 0]]
    everywhere[index] = labels
    return everywhere
