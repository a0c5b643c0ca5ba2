"""The partition that training starts from.

Training makes the clusters of the start sharper but does not correct them, so the start decides.
All estimators use this module, and nothing in it uses labels.
"""

from collections.abc import Callable
from itertools import combinations
from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, silhouette_score
from torch import Tensor
from torch.nn.functional import one_hot

from .._data.rows import INFERENCE_BATCH
from .._engine.phases import Run
from .._warnings import ignoring
from ..dissimilarities import Dissimilarity
from ..nn import StudentTAssignment
from .judge import BESIDE_K_MEANS, MAX_ROWS, clearly_worse, least_cut, normalized_cut
from .neighbors import (
    MANY_ROWS,
    TINY,
    directions,
    nearest_graph,
    rows_as_features,
    smooth_on_graph,
    symmetric,
)
from .samples import by_nearest, spectral_partition

_K_MEANS_RUNS = 20  # Guo et al. 2017, the authors' code
_SMOOTHING = (20, 40)  # rounds of smoothing, and further rounds
_PARTS = 3  # of a cluster of average size, before parts are joined
_FEWEST = 60  # rows for each cluster, from which two halves of the rows show the same parts
# halves of how many rows, how often, and runs of k-means on each. With 3 splits, not 10, clusters
# were joined in three sets of texts where they should not be
_SPLIT_ROWS, _SPLITS, _SPLIT_RUNS = 5_000, 10, 5
_SILHOUETTE_ROWS = 2_000


def start_partition(
    run: Run, n_clusters: int, init: str, Z: np.ndarray | None = None
) -> tuple[StudentTAssignment, dict[str, Tensor]]:
    """Assignment layer to start from, and the target of the first epoch.

    Parameters
    ----------
    run : Run
        Module and samples. Without a `judge` "graph" and "overclustered" are k-means on the
        embeddings of all starts side by side, or on their directions: the one for which the starts
        agree more. A cluster that k-means cuts is kept whole if that is clearer.
    n_clusters : int
        Number of centers.
    init : {"overclustered", "graph", "k-means", "spectral", "samples"}
        "k-means" is the best of 20 runs on the embedding, as in the paper. "spectral" is spectral
        clustering of the samples. "samples" is the run's partition of the samples; if an earlier
        phase started from it, it is the same partition again. The others are k-means on the
        embedding, or on its directions after 20 or 60 rounds of smoothing: the one with the
        smallest normalised cut of the embedding's neighbour graph. If the run has `others`, the
        same is done with all embeddings side by side, and the one with the smaller cut of the judge
        is taken. Different starts make different errors: one embedding may separate clusters that
        another joins.
    Z : ndarray of shape (n_samples, m), default=None
        What is clustered. By default it is the embedding.

    Returns
    -------
    assign : StudentTAssignment
        Its centers are the means of the partition in `Z`, on the run's device.
    targets : dict of str to tensor
        "p", the partition itself as one-hot rows: smoothing finds clusters that are not round yet,
        and the centers alone do not describe these. Empty for "k-means", because there the centers
        describe the clusters exactly.
    """
    Z = run.embed() if Z is None else Z
    random_state = np.random.RandomState(run.draw_seed())

    def k_means(features: np.ndarray) -> np.ndarray:
        labels: np.ndarray = best_k_means(features, n_clusters, random_state).labels_
        return labels

    if init == "k-means":
        return _layer(best_k_means(Z, n_clusters, random_state).cluster_centers_, run), {}
    if init in ("samples", "spectral"):
        labels = _partition_of_samples(run, n_clusters, init)
    elif run.judge is None:
        points = _agreed_view([Z, *run.others], k_means)
        labels = _kept_whole(points, k_means(points), n_clusters, random_state)
    else:
        labels = _smallest_cut(run, Z, k_means, n_clusters)
    if init == "samples":
        run.start = labels
    elif n_clusters == run.plan.n_clusters:  # not in an over-clustered round
        labels = run.start = _do_no_harm(run, Z, labels)
    targets = one_hot(torch.from_numpy(labels).long(), n_clusters).float().to(run.rows.device)
    return _layer(_class_means(Z, labels, n_clusters), run), {"p": targets}


def start_clusters(run: Run) -> dict[str, Tensor]:
    """Replace the assignment layer of the module by one that starts from the plan's `init`.

    Parameters
    ----------
    run : Run
        Module and samples.

    Returns
    -------
    targets : dict of str to tensor
        The targets of the first epoch.
    """
    run.module.assign, targets = start_partition(run, run.plan.n_clusters, run.plan.init)
    return targets


def _partition_of_samples(run: Run, n_clusters: int, init: str) -> np.ndarray:
    """Clusters of the samples themselves, of all rows."""
    if init == "samples" and run.start is not None:
        return run.start
    random_state = np.random.RandomState(run.draw_seed())
    nodes, labels = run.simple or (np.empty(0), np.empty(0))
    if init == "samples" and len(nodes) == len(run.rows):
        return labels
    index = np.arange(len(run.rows))
    features = rows_as_features(run.rows, index, run.plan.data.kind, random_state)
    if init == "spectral":
        return spectral_partition(features, n_clusters, run.draw_seed())
    return by_nearest(features, nodes, labels)


def _smallest_cut(
    run: Run, Z: np.ndarray, k_means: Callable[[np.ndarray], np.ndarray], n_clusters: int
) -> np.ndarray:
    """The partition of the embeddings, by k-means, that cuts the judge's graph least."""
    nodes, graph = cast(tuple[np.ndarray, sp.csr_array], run.judge)
    embeddings = [Z[nodes]]
    if run.others:
        beside = [Z[nodes], *(other[nodes] for other in run.others)]
        embeddings.append(np.hstack([part / _rms(part) for part in beside]))
    partitions = [_smoothed_partition(points, k_means, n_clusters) for points in embeddings]
    return _everywhere(run, Z, least_cut(graph, partitions, n_clusters), n_clusters)


def _smoothed_partition(
    points: np.ndarray, k_means: Callable[[np.ndarray], np.ndarray], n_clusters: int
) -> np.ndarray:
    """k-means on an embedding: as it is, or on the directions of the smoothed embedding.

    The graph of the embedding itself decides. The judge preferred clusters that are not smoothed if
    there were less than 100 samples for each: of 4 starts of DCCS on COIL-20, 2 had an ACC of .70
    and .75 by it, and .83 smoothed. With 12 samples for each, smoothing joins clusters, and the
    embedding shows that. With 20 rounds of smoothing alone, 3 of 11 starts on USPS joined two
    digits; with 60 alone, 1 of 6 on digits did.
    """
    near = nearest_graph(points)
    partitions = [k_means(points)]
    for n_steps in _SMOOTHING:
        points = smooth_on_graph(points, near, n_steps)
        partitions.append(k_means(directions(points)))
    return least_cut(symmetric(near), partitions, n_clusters)


def _do_no_harm(run: Run, Z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return k-means on the samples themselves if the partition is clearly worse than that."""
    if run.judge is None or run.simple is None:
        return labels
    (nodes, graph), (_, simple), n_clusters = run.judge, run.simple, run.plan.n_clusters
    cut = normalized_cut(graph, labels[nodes], n_clusters)
    simple_cut = normalized_cut(graph, simple, n_clusters)
    if clearly_worse(cut, simple_cut, run.plan, BESIDE_K_MEANS):
        return _everywhere(run, Z, simple, n_clusters)
    return labels


def _everywhere(run: Run, Z: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Extend clusters of the judge's nodes to all rows: the other rows take the nearest center."""
    nodes, _ = cast(tuple[np.ndarray, sp.csr_array], run.judge)
    assign = _layer(_class_means(Z[nodes], labels, n_clusters), run)
    with torch.no_grad():
        batches = torch.split(torch.from_numpy(Z).to(run.rows.device), INFERENCE_BATCH)
        everywhere = torch.cat([assign(z).argmax(dim=1) for z in batches]).cpu().numpy()
    everywhere[nodes] = labels
    return everywhere


def best_k_means(
    features: np.ndarray,
    n_clusters: int,
    random_state: np.random.RandomState,
    n_runs: int = _K_MEANS_RUNS,
) -> KMeans:
    """The best of some runs of k-means: the one with the smallest inertia.

    Above 20 000 rows, the runs use 20 000 of them, and the best continues with all: on 250 000 rows
    this takes a tenth of the time and gives the same inertia.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Points.
    n_clusters : int
        Number of centers.
    random_state : numpy.random.RandomState
        Seeds the runs, and draws the rows.
    n_runs : int, default=20
        Number of runs.

    Returns
    -------
    KMeans
        Fitted to all rows.
    """
    seed = random_state.randint(np.iinfo(np.int32).max)
    k_means = KMeans(n_clusters, n_init=n_runs, random_state=seed)
    # k-means warns about duplicated samples; fit warns about its final labels
    with ignoring(ConvergenceWarning):
        if len(features) > MANY_ROWS:
            some = random_state.choice(len(features), MANY_ROWS, replace=False)
            centers = k_means.fit(features[some]).cluster_centers_
            k_means.set_params(init=centers, n_init=1)
        return k_means.fit(features)


def seed_centers(
    Z: np.ndarray,
    dissimilarity: Dissimilarity,
    n_clusters: int,
    random_state: np.random.RandomState,
) -> Tensor:
    """Samples that are far apart by a dissimilarity, as first centers.

    This is the seeding of k-means++ (Arthur and Vassilvitskii 2007), with any dissimilarity instead
    of the squared distance. Of 20 seedings, the one with the smallest sum of dissimilarities to the
    nearest center is used.

    Parameters
    ----------
    Z : ndarray of shape (n, m)
        Embeddings.
    dissimilarity : Dissimilarity
        A dissimilarity that needs no factors.
    n_clusters : int
        Number of centers.
    random_state : numpy.random.RandomState
        Draws the samples.

    Returns
    -------
    tensor of shape (n_clusters, m)
    """
    points = torch.from_numpy(Z)
    if len(points) > MAX_ROWS:
        points = points[random_state.choice(len(points), MAX_ROWS, replace=False)]
    best, least = points[:n_clusters], np.inf
    for _ in range(_K_MEANS_RUNS):
        chosen = [random_state.randint(len(points))]
        nearest = dissimilarity.pairwise(points, points[chosen])[:, 0]
        while len(chosen) < n_clusters:
            weight = (nearest - nearest.min()).double().numpy() + TINY
            chosen.append(random_state.choice(len(points), p=weight / weight.sum()))
            nearest = nearest.minimum(dissimilarity.pairwise(points, points[chosen[-1:]])[:, 0])
        if float(nearest.sum()) < least:
            best, least = points[chosen], float(nearest.sum())
    return best


def _rms(values: np.ndarray) -> float:
    return max(float(np.sqrt(np.mean(values**2))), TINY)


def _agreed_view(
    embeddings: list[np.ndarray], k_means: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The embeddings of all starts side by side, or their directions.

    Of the two, it is the one for which k-means on different starts agrees more: two starts find a
    structure twice if it is in the data.
    """
    views = [[part / _rms(part) for part in embeddings], [directions(p) for p in embeddings]]

    def agreement(view: list[np.ndarray]) -> float:
        pairs = combinations([k_means(part) for part in view], 2)
        return float(np.mean([adjusted_rand_score(*pair) for pair in pairs]))

    best = max(views, key=agreement) if len(embeddings) > 1 else views[0]
    return np.hstack(best)


def _kept_whole(
    points: np.ndarray, labels: np.ndarray, n_clusters: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Return clusters of k-means, or joined parts, which keep a large cluster whole.

    k-means cuts a cluster that holds half of the samples. Three times as many clusters, whose
    centers are joined by Ward's method, do not cut it, because each center counts once. They are
    used only if they are clearer. On 20newsgroups, where all clusters have the same size, they
    had an ACC of .36, k-means .47; on R8 .59 to .69, k-means .39 to .58.
    """
    if n_clusters == 1 or len(points) < _FEWEST * n_clusters:
        return labels
    some = random_state.permutation(len(points))[:_SPLIT_ROWS]
    clear = [_clarity(points[some], n_clusters, parts, random_state) for parts in (1, _PARTS)]
    if clear[1] <= clear[0]:
        return labels
    return _joined(points, points, n_clusters, _PARTS, random_state)


def _clarity(
    points: np.ndarray, n_clusters: int, parts: int, random_state: np.random.RandomState
) -> float:
    """Silhouette, times the agreement of the partitions that two halves of the points give.

    Neither alone knows which partition of texts is better. Random seeds change the product little
    compared to the difference between partitions, except on R8, where both partitions are good.
    """
    agreements, silhouettes = [], []
    for _ in range(_SPLITS):
        order = random_state.permutation(len(points))
        labels, others = (
            _joined(points[half], points, n_clusters, parts, random_state, _SPLIT_RUNS)
            for half in np.array_split(order, 2)
        )
        agreements.append(adjusted_rand_score(labels, others))
        some = order[:_SILHOUETTE_ROWS]
        one = len(np.unique(labels[some])) == 1
        silhouettes.append(0.0 if one else silhouette_score(points[some], labels[some]))
    # two negative numbers, of two bad partitions, would have a positive product
    return max(0.0, float(np.mean(agreements))) * max(0.0, float(np.mean(silhouettes)))


def _joined(
    points: np.ndarray,
    others: np.ndarray,
    n_clusters: int,
    parts: int,
    random_state: np.random.RandomState,
    n_runs: int = _K_MEANS_RUNS,
) -> np.ndarray:
    """Clusters of the others, by k-means on the points with more clusters that are then joined."""
    k_means = best_k_means(points, parts * n_clusters, random_state, n_runs)
    cluster = AgglomerativeClustering(n_clusters).fit_predict(k_means.cluster_centers_)
    labels: np.ndarray = cluster[k_means.predict(others)]
    return labels


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
