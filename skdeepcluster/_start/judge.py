"""The label-free judge of partitions: the normalised cut of the samples' neighbour graph."""

import numpy as np
import scipy.sparse as sp

from .._data.rows import Rows
from .._engine.plan import Plan
from .neighbors import neighbor_graph, rows_as_features, some_rows

MAX_ROWS = 10_000  # that start partitions are computed on, and judged
# of its edges, on average over the clusters: a difference that is no noise. Training on images
# sees more than pixels show, and may cut more of their graph
_CLEARLY = {"table": 0.01, "embeddings": 0.03}
_CLEARLY_ELSEWHERE = 0.1


def input_graph(
    rows: Rows, kind: str, random_state: np.random.RandomState
) -> tuple[np.ndarray, sp.csr_array, np.ndarray]:
    """Neighbour graph of (at most 10 000 of) the samples as they came in.

    It is no judge for bags of words: neighbours among them share a topic less often than a
    cluster of the embedding does. Of two partitions of texts it preferred the worse one in three
    of four cases (doc/benchmarks/judges.py).

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


def clearly_worse(cut: float, other: float, plan: Plan) -> bool:
    """Whether a partition is worse than another by more than noise, judged by normalised cuts."""
    margin: float = _CLEARLY.get(plan.data.kind, _CLEARLY_ELSEWHERE)
    return bool(cut > other + margin * plan.n_clusters)
