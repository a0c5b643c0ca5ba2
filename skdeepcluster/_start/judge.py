"""Compare partitions without labels: the normalised cut of the samples' neighbour graph."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from .._data.rows import Rows
from .._engine.plan import Plan
from .neighbors import nearest_graph, rows_as_features, some_rows, symmetric

MAX_ROWS = 10_000  # rows for which start partitions are computed and compared
# share of a cluster's edges, as a mean over clusters: a larger difference is not noise. A network
# for images sees more than pixels show, and may cut more of their graph
_CLEARLY = {"table": 0.01, "embeddings": 0.03}
_CLEARLY_ELSEWHERE = 0.1
# beside k-means on the samples themselves. On pixels, that cuts little even if its clusters are
# wrong: on Fashion-MNIST by 1.1 with ACC .44, the embedding by 2.7 with ACC .67, the classes by 2.3
BESIDE_K_MEANS = _CLEARLY | {"images": 0.25}


def input_graph(
    rows: Rows, kind: str, random_state: np.random.RandomState
) -> tuple[np.ndarray, sp.csr_array, np.ndarray]:
    """Neighbour graph of the samples themselves (at most 10 000 of them).

    Do not use it for bags of words: there, neighbours share a topic less often than members of a
    cluster of the embedding. For texts, it preferred the worse of two partitions in three of four
    cases (doc/benchmarks/judges.py).

    Parameters
    ----------
    rows : Rows
        The samples.
    kind : str
        Their kind.
    random_state : numpy.random.RandomState
        Draws the sample of rows.

    Returns
    -------
    index : ndarray of shape (s,)
        The rows that are nodes.
    graph : CSR array of shape (s, s)
        Symmetric; 1 where either is among the 5 nearest neighbours of the other.
    features : ndarray of shape (s, m)
        Their samples, scaled; directions of embeddings, wide sparse samples in 50 dimensions.
    """
    index = some_rows(rows, MAX_ROWS, random_state)
    features = rows_as_features(rows, index, kind, random_state)
    return index, symmetric(nearest_graph(features, n_neighbors=5)), features


def normalized_cut(graph: sp.csr_array, labels: np.ndarray, n_clusters: int) -> float:
    """Share of a cluster's edges that leave the cluster, summed over clusters.

    Shi and Malik 2000, equation 2 for k clusters; an empty cluster counts 1, so that a
    collapsed partition is the worst, not the best.

    Parameters
    ----------
    graph : CSR array of shape (n, n)
        Symmetric neighbour graph.
    labels : int ndarray of shape (n,)
        A partition.
    n_clusters : int
        Number of clusters that the user set.

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


def least_cut(
    graph: sp.csr_array, partitions: list[np.ndarray], n_clusters: int, share: float = 1.0
) -> np.ndarray:
    """The partition with the least cut; but the first, if no cut is below this share of its cut.

    A partition with empty clusters is not taken if another has fewer: all rows in one cluster cut
    nothing.
    """
    cuts = [normalized_cut(graph, labels, n_clusters) for labels in partitions]
    used = [len(np.unique(labels)) for labels in partitions]
    best = min(range(len(cuts)), key=lambda i: (-used[i], cuts[i]))
    better = used[best] > used[0] or cuts[best] < share * cuts[0]
    return partitions[best if better else 0]


def clearly_worse(
    cut: float, other: float, plan: Plan, margins: Mapping[str, float] = _CLEARLY
) -> bool:
    """Whether a partition is worse than another by more than noise, judged by normalised cuts."""
    margin = margins.get(plan.data.kind, _CLEARLY_ELSEWHERE)
    return bool(cut > other + margin * plan.n_clusters)
