"""The partition that training starts from, and the label-free judge of partitions.

Fine-tuning an embedding sharpens the clusters it starts from and does not repair them, so
the start decides. Shared by the estimators; nothing here sees a label.
"""

import math
import warnings
from collections.abc import Callable
from itertools import combinations

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors, kneighbors_graph
from torch import Tensor
from torch.nn.functional import one_hot

from ._data import INFERENCE_BATCH, Rows
from ._phases import Run
from .dissimilarities import Dissimilarity
from .nn import StudentTAssignment

_MAX_ROWS = 10_000  # that start partitions are computed on, and judged
_BAG_OF_WORDS = 0.05  # share of entries that are not zero, up to which vectors are taken for text
# among which neighbours are looked for, as the search is quadratic, that k-means starts from, and
# that a singular value decomposition is of
_MANY_ROWS = 20_000
_TINY = float(np.finfo(np.float32).tiny)
_K_MEANS_RUNS = 20  # Guo et al. 2017, the authors' code
_SPECTRAL_ROWS = 2_000  # of a spectral start
# neighbours there, over the root of the rows: fewer do not see past the clumps that contracted
# samples lie in, more reach across the gap of 300 or 400 rows
_SPECTRAL_REACH = 1.25
_CONTRACTIONS = 5
_SPARSE_WIDTH = 50  # dimensions that neighbours of sparse samples are looked for in


def input_graph(
    rows: Rows, random_state: np.random.RandomState
) -> tuple[np.ndarray, sp.csr_array] | None:
    """Neighbour graph of (at most 10 000 of) the samples as they came in; None for text.

    Neighbours among bags of words share a topic less often than a cluster of the embedding
    does: on R8 the partition of the smallest cut had ACC .38, k-means on the embedding .55 to .62.

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
    """
    if is_bag_of_words(rows):
        return None
    index = _some_rows(rows, _MAX_ROWS, random_state)
    return index, neighbor_graph(rows_as_features(rows, index, random_state), n_neighbors=5)


def is_bag_of_words(rows: Rows) -> bool:
    """Whether the samples are vectors of which less than 5 % of the entries are not zero."""
    stored = rows.X.count_nonzero() if sp.issparse(rows.X) else np.count_nonzero(rows.X)
    share = stored / (rows.X.shape[0] * rows.X.shape[1])
    return len(rows.sample_shape) == 1 and bool(share < _BAG_OF_WORDS)


def _some_rows(rows: Rows, most: int, random_state: np.random.RandomState) -> np.ndarray:
    """Numbers of at most so many rows, in order."""
    if len(rows) <= most:
        return np.arange(len(rows))
    return np.sort(random_state.choice(len(rows), most, replace=False))


def rows_as_features(
    rows: Rows, index: np.ndarray, random_state: np.random.RandomState
) -> np.ndarray:
    """Samples for a search of neighbours: scaled, and wide sparse ones in 50 dimensions.

    Parameters
    ----------
    rows : Rows
        The samples.
    index : ndarray of shape (s,)
        Which of them.
    random_state : numpy.random.RandomState
        Of the truncated singular value decomposition of sparse samples.

    Returns
    -------
    ndarray of shape (s, m)
    """
    if not sp.issparse(rows.X) or rows.X.shape[1] <= _SPARSE_WIDTH:
        features: np.ndarray = rows.take(index).flatten(1).cpu().numpy()
        return features

    def scaled(part: np.ndarray) -> sp.csr_array:
        return rows.X[part].multiply(rows.scaler.factor).tocsr()

    svd = TruncatedSVD(min(_SPARSE_WIDTH, len(index) - 1), random_state=random_state)
    with np.errstate(invalid="ignore"):  # the share of the variance that samples without one have
        if len(index) <= _MANY_ROWS:
            reduced: np.ndarray = svd.fit_transform(scaled(index))
            return reduced
        svd.fit(scaled(random_state.choice(index, _MANY_ROWS, replace=False)))
    parts = np.array_split(index, math.ceil(len(index) / _MANY_ROWS))
    return np.concatenate([svd.transform(scaled(part)).astype(np.float32) for part in parts])


def nearest_neighbors(
    features: np.ndarray, n_neighbors: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest other rows of each row, in time that grows linearly from 20 000 rows on.

    Among more rows the search is approximate, by pynndescent where that is installed, else it is
    exact among 20 000 of them.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Points.
    n_neighbors : int
        At most n - 1, or so many are found.
    random_state : numpy.random.RandomState
        Draws the rows among which many rows are looked for, or seeds the approximate search.

    Returns
    -------
    distances : ndarray of shape (n, n_neighbors)
        Euclidean, ascending.
    index : int64 ndarray of shape (n, n_neighbors)
    """
    n = len(features)
    n_neighbors = min(n_neighbors, n - 1)
    if n <= _MANY_ROWS:
        found: tuple[np.ndarray, np.ndarray]
        found = NearestNeighbors(n_neighbors=n_neighbors).fit(features).kneighbors()
        return found
    try:
        from pynndescent import NNDescent

        graph = NNDescent(features, n_neighbors=n_neighbors + 1, random_state=random_state)
        index, distances = graph.neighbor_graph
    except ImportError:
        some = np.sort(random_state.choice(n, _MANY_ROWS, replace=False))
        nearest = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(features[some])
        distances, among = nearest.kneighbors(features)
        index = some[among]
    # each row loses itself, or the last of its neighbours where it is not among them
    lost = index == np.arange(n)[:, None]
    lost[~lost.any(axis=1), -1] = True
    shape = (n, n_neighbors)
    return distances[~lost].reshape(shape), index[~lost].astype(np.int64).reshape(shape)


def neighbor_graph(features: np.ndarray, n_neighbors: int) -> sp.csr_array:
    """Symmetric graph that joins each row to its nearest neighbours.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Points.
    n_neighbors : int
        Neighbours a row, at most n - 1.

    Returns
    -------
    CSR array of shape (n, n), entries 0 or 1
    """
    n_neighbors = min(n_neighbors, len(features) - 1)
    graph = kneighbors_graph(features, n_neighbors, mode="connectivity", include_self=False)
    return sp.csr_array(graph.maximum(graph.T))


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


def smooth_on_graph(Z: np.ndarray, n_steps: int = 20) -> np.ndarray:
    """Average each embedding with those of its 10 nearest neighbours, again and again.

    ``Z <- (Z + P Z) / 2`` with the random-walk matrix P of the directed neighbour graph. It
    contracts clusters that are manifolds, which k-means would cut.

    Parameters
    ----------
    Z : ndarray of shape (n, m)
        Embeddings.
    n_steps : int, default=20
        Rounds of averaging.

    Returns
    -------
    ndarray of shape (n, m)
    """
    n_neighbors = min(10, len(Z) - 1)
    walk = kneighbors_graph(Z, n_neighbors, mode="connectivity", include_self=False) / n_neighbors
    for _ in range(n_steps):
        Z = 0.5 * (Z + walk @ Z)
    return Z


def spectral_partition(
    rows: Rows, n_clusters: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Spectral clustering of (at most 2000 of) the samples, contracted to curves and sheets.

    Noise across a curve fills the gap to the next one, and the smallest cut of a neighbour graph
    of 1000 points may then go through the curve: without the contraction, spectral clustering of
    `make_moons` with noise .1 had a mean ACC of .87, with it .99.

    Parameters
    ----------
    rows : Rows
        The samples.
    n_clusters : int
        Number of clusters.
    random_state : numpy.random.RandomState
        Draws the sample of rows, and for the k-means inside.

    Returns
    -------
    int ndarray of shape (n_samples,)
        Labels; a row outside of the sample takes that of its nearest row inside.
    """
    features = rows_as_features(rows, np.arange(len(rows)), random_state)
    index = _some_rows(rows, _SPECTRAL_ROWS, random_state)
    points = features[index]
    if len(points) <= n_clusters:
        return np.arange(len(rows)) % len(points)  # as many eigenvectors do not exist
    n_neighbors = round(_SPECTRAL_REACH * len(points) ** 0.5)
    graph = neighbor_graph(smooth_on_graph(points, _CONTRACTIONS), n_neighbors)
    with warnings.catch_warnings():
        # of a graph in several parts, which is what one hopes for; of duplicates and few rows
        warnings.simplefilter("ignore")
        found = SpectralClustering(
            n_clusters, affinity="precomputed", random_state=random_state
        ).fit_predict(sp.csr_matrix(graph))
    nearest = NearestNeighbors(n_neighbors=1).fit(points)
    labels: np.ndarray = found[nearest.kneighbors(features, return_distance=False)[:, 0]]
    labels[index] = found
    return labels


def start_partition(
    run: Run, n_clusters: int, init: str
) -> tuple[StudentTAssignment, dict[str, Tensor]]:
    """Assignment layer to start from, and the target of the first epoch.

    Parameters
    ----------
    run : Run
        Module and samples. Without a `judge` "graph" and "overclustered" are k-means on the
        embeddings of all starts side by side, or on their directions, whichever the starts
        agree on more.
    n_clusters : int
        Number of centers.
    init : {"overclustered", "graph", "k-means", "spectral"}
        "k-means" is :func:`best_k_means` on the embedding, as in the paper. "spectral" is
        :func:`spectral_partition`. The others also take k-means on the directions of the smoothed
        embedding, and of the embeddings of the run's `others` and this side by side, and keep the
        partition with the smallest normalised cut of the judge. Starts err apart: what one
        embedding joins, another keeps separate.

    Returns
    -------
    assign : StudentTAssignment
        Its centers are the means of the partition in the embedding, on the run's device.
    targets : dict of str to tensor
        "p", the partition itself as rows of zeros and a one: smoothing finds clusters that
        are not round yet, which the centers alone would forget. Empty for "k-means",
        whose clusters the centers tell exactly.
    """
    Z = run.embed()
    random_state = run.random_state

    def k_means(features: np.ndarray) -> np.ndarray:
        labels: np.ndarray = best_k_means(features, n_clusters, random_state).labels_
        return labels

    if init == "k-means":
        return _layer(best_k_means(Z, n_clusters, random_state).cluster_centers_, run), {}
    if init == "spectral" or run.judge is None:
        labels = (
            spectral_partition(run.rows, n_clusters, random_state)
            if init == "spectral"
            else _agreed_partition([Z, *run.others], k_means)
        )
        targets = one_hot(torch.from_numpy(labels).long(), n_clusters).float().to(run.rows.device)
        return _layer(_class_means(Z, labels, n_clusters), run), {"p": targets}
    nodes, graph = run.judge
    points = Z[nodes]
    candidates = [points, _smooth_directions(points)]
    if run.others:
        beside = [points, *(other[nodes] for other in run.others)]
        candidates.append(_smooth_directions(np.hstack([part / _rms(part) for part in beside])))
    partitions = [k_means(features) for features in candidates]
    cuts = [normalized_cut(graph, labels, n_clusters) for labels in partitions]
    labels = partitions[int(np.argmin(cuts))]
    assign = _layer(_class_means(points, labels, n_clusters), run)
    # rows outside the graph take the nearest center
    with torch.no_grad():
        batches = torch.split(torch.from_numpy(Z).to(run.rows.device), INFERENCE_BATCH)
        everywhere = torch.cat([assign(z).argmax(dim=1) for z in batches])
    where = torch.from_numpy(nodes).to(everywhere.device)
    everywhere[where] = torch.from_numpy(labels).to(everywhere)
    return assign, {"p": one_hot(everywhere, n_clusters).float()}


def best_k_means(
    features: np.ndarray, n_clusters: int, random_state: np.random.RandomState
) -> KMeans:
    """The run of the least inertia of 20.

    Of more than 20 000 rows the runs are on so many, and the best goes on with all: a tenth of the
    time on 250 000 rows, to the same inertia.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Points.
    n_clusters : int
        Number of centers.
    random_state : numpy.random.RandomState
        Seeds the runs, and draws the rows.

    Returns
    -------
    KMeans
        Fitted to all rows.
    """
    seed = random_state.randint(np.iinfo(np.int32).max)
    k_means = KMeans(n_clusters, n_init=_K_MEANS_RUNS, random_state=seed)
    with warnings.catch_warnings():
        # of duplicated samples; fit says so of the labels it ends with
        warnings.simplefilter("ignore", ConvergenceWarning)
        if len(features) > _MANY_ROWS:
            some = random_state.choice(len(features), _MANY_ROWS, replace=False)
            centers = k_means.fit(features[some]).cluster_centers_
            k_means.set_params(init=centers, n_init=1)
        return k_means.fit(features)


def seed_centers(
    Z: np.ndarray,
    dissimilarity: Dissimilarity,
    n_clusters: int,
    random_state: np.random.RandomState,
) -> Tensor:
    """Samples that are far apart by a dissimilarity, to start its centers from.

    The seeding of k-means++ (Arthur and Vassilvitskii 2007) with any dissimilarity in the place of
    the squared distance; the best of 20 by the sum of dissimilarities to the nearest.

    Parameters
    ----------
    Z : ndarray of shape (n, m)
        Embeddings.
    dissimilarity : Dissimilarity
        One that needs no factors.
    n_clusters : int
        Number of centers.
    random_state : numpy.random.RandomState
        Draws the samples.

    Returns
    -------
    tensor of shape (n_clusters, m)
    """
    points = torch.from_numpy(Z)
    if len(points) > _MAX_ROWS:
        points = points[random_state.choice(len(points), _MAX_ROWS, replace=False)]
    best, least = points[:n_clusters], np.inf
    for _ in range(_K_MEANS_RUNS):
        chosen = [random_state.randint(len(points))]
        nearest = dissimilarity.pairwise(points, points[chosen])[:, 0]
        while len(chosen) < n_clusters:
            weight = (nearest - nearest.min()).double().numpy() + _TINY
            chosen.append(random_state.choice(len(points), p=weight / weight.sum()))
            nearest = nearest.minimum(dissimilarity.pairwise(points, points[chosen[-1:]])[:, 0])
        if float(nearest.sum()) < least:
            best, least = points[chosen], float(nearest.sum())
    return best


def _rms(values: np.ndarray) -> float:
    return max(float(np.sqrt(np.mean(values**2))), _TINY)


def _smooth_directions(Z: np.ndarray) -> np.ndarray:
    return _directions(smooth_on_graph(Z))


def _directions(Z: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(Z, axis=1, keepdims=True)
    directions: np.ndarray = Z / np.maximum(length, _TINY)
    return directions


def _agreed_partition(
    embeddings: list[np.ndarray], k_means: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """k-means on the embeddings of all starts side by side, or on their directions.

    Of the two, the view in which k-means on one start and on another agree more: what is in
    the data is found twice.
    """
    views = [[part / _rms(part) for part in embeddings], [_directions(p) for p in embeddings]]

    def agreement(view: list[np.ndarray]) -> float:
        pairs = combinations([k_means(part) for part in view], 2)
        return float(np.mean([adjusted_rand_score(*pair) for pair in pairs]))

    best = max(views, key=agreement) if len(embeddings) > 1 else views[0]
    return k_means(np.hstack(best))


def _layer(centers: np.ndarray, run: Run) -> StudentTAssignment:
    assign = StudentTAssignment(*centers.shape)
    with torch.no_grad():
        assign.centers.copy_(torch.from_numpy(centers))
    return assign.to(run.rows.device)


def _class_means(points: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    # k-means leaves a label unused when there are fewer distinct points than clusters
    fallback = points.mean(axis=0)
    return np.stack(
        [
            points[labels == k].mean(axis=0) if (labels == k).any() else fallback
            for k in range(n_clusters)
        ]
    )
