"""Nearest neighbours of samples and embeddings, and graphs of them."""

import math

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from .._data.rows import Rows
from .._engine.threads import torch_threads

# most rows for the exact search of neighbours, which is quadratic, for the starts of k-means, and
# for a singular value decomposition
MANY_ROWS = 20_000
_EMBEDDING_WIDTH, _SVD_ROWS = 100, 1_000  # dimensions, and the rows to find them
_SPARSE_WIDTH = 50  # dimensions in which neighbours of sparse samples are searched
_DENSE_ENTRIES = 50_000_000  # most entries of a sparse table that is made dense
TINY = float(np.finfo(np.float32).tiny)


def some_rows(rows: Rows, most: int, random_state: np.random.RandomState) -> np.ndarray:
    """Numbers of at most `most` rows, in order."""
    if len(rows) <= most:
        return np.arange(len(rows))
    return np.sort(random_state.choice(len(rows), most, replace=False))


def rows_as_features(
    rows: Rows, index: np.ndarray, kind: str, random_state: np.random.RandomState
) -> np.ndarray:
    """Samples in the form that a search for neighbours needs.

    They are scaled, and wide sparse ones are reduced to 50 dimensions. A table keeps its columns if
    it needs at most 200 MB, because its partition depends on which columns hold few values.
    Neighbours of embeddings are those with the smallest angle, so their directions are taken,
    without scaling and in 100 dimensions.

    Parameters
    ----------
    rows : Rows
        The samples.
    index : ndarray of shape (s,)
        Which of them.
    kind : str
        Kind of the samples.
    random_state : numpy.random.RandomState
        Source of randomness for the truncated singular value decomposition of sparse samples.

    Returns
    -------
    ndarray of shape (s, m)
    """
    if kind == "embeddings":
        return _directions_of_embeddings(rows.X, index, random_state)
    width = rows.X.shape[1]
    dense = width <= _SPARSE_WIDTH or (kind == "table" and len(index) * width <= _DENSE_ENTRIES)
    if dense or not sp.issparse(rows.X):
        features: np.ndarray = rows.take(index).flatten(1).cpu().numpy()
        return features

    def scaled(part: np.ndarray) -> sp.csr_array:
        return rows.X[part].multiply(rows.scaler.factor).tocsr()

    svd = TruncatedSVD(min(_SPARSE_WIDTH, len(index) - 1), random_state=random_state)
    svd.set_output(transform="default")  # arrays, for any global setting of the user
    with np.errstate(invalid="ignore"):  # samples without variance give 0 / 0
        if len(index) <= MANY_ROWS:
            reduced: np.ndarray = svd.fit_transform(scaled(index))
            return reduced
        svd.fit(scaled(random_state.choice(index, MANY_ROWS, replace=False)))
    parts = np.array_split(index, math.ceil(len(index) / MANY_ROWS))
    return np.concatenate([svd.transform(scaled(part)).astype(np.float32) for part in parts])


def _directions_of_embeddings(
    X: np.ndarray, index: np.ndarray, random_state: np.random.RandomState
) -> np.ndarray:
    """Directions of rows, in 100 dimensions and in bounded memory."""

    def unit(part: np.ndarray) -> np.ndarray:
        return directions(X[part].astype(np.float32, copy=False))

    svd = TruncatedSVD(min(_EMBEDDING_WIDTH, len(index) - 1), random_state=random_state)
    svd.set_output(transform="default")
    some = min(len(index), _SVD_ROWS)
    svd.fit(unit(random_state.choice(index, some, replace=False)))
    parts = np.array_split(index, math.ceil(len(index) / _SVD_ROWS))
    return np.concatenate([directions(svd.transform(unit(part))) for part in parts])


def nearest_neighbors(
    features: np.ndarray, n_neighbors: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest other rows of each row, in time that grows linearly from 20 000 rows on.

    For more rows the search is approximate with pynndescent if that is installed, else it is exact
    among 20 000 of them.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Points.
    n_neighbors : int
        If it is more than n - 1, only n - 1 are found.
    random_state : numpy.random.RandomState
        Draws the 20 000 rows that are searched, or seeds the approximate search.

    Returns
    -------
    distances : ndarray of shape (n, n_neighbors)
        Euclidean, ascending.
    index : int64 ndarray of shape (n, n_neighbors)
    """
    n = len(features)
    n_neighbors = min(n_neighbors, n - 1)
    if n <= MANY_ROWS:
        found: tuple[np.ndarray, np.ndarray]
        found = NearestNeighbors(n_neighbors=n_neighbors).fit(features).kneighbors()
        return found
    try:
        from pynndescent import NNDescent

        # one thread: the neighbours depend on the number of threads, and two threads of numba
        # wait for each other on a busy machine. numba leaves its own number of threads to torch
        with torch_threads(torch.get_num_threads()):
            graph = NNDescent(
                features, n_neighbors=n_neighbors + 1, random_state=random_state, n_jobs=1
            )
            index, distances = graph.neighbor_graph
    except ImportError:
        some = np.sort(random_state.choice(n, MANY_ROWS, replace=False))
        nearest = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(features[some])
        distances, among = nearest.kneighbors(features)
        index = some[among]
    # remove each row from its own neighbours, or the last neighbour if the row is not among them
    lost = index == np.arange(n)[:, None]
    lost[~lost.any(axis=1), -1] = True
    shape = (n, n_neighbors)
    return distances[~lost].reshape(shape), index[~lost].astype(np.int64).reshape(shape)


def nearest_graph(features: np.ndarray, n_neighbors: int = 10) -> sp.csr_array:
    """Directed graph from each row to its nearest neighbours.

    Parameters
    ----------
    features : ndarray of shape (n, m)
        Points.
    n_neighbors : int, default=10
        Number of neighbours of each row, at most n - 1.

    Returns
    -------
    CSR array of shape (n, n), entries 0 or 1
    """
    n_neighbors = min(n_neighbors, len(features) - 1)
    return sp.csr_array(
        kneighbors_graph(features, n_neighbors, mode="connectivity", include_self=False)
    )


def symmetric(graph: sp.csr_array) -> sp.csr_array:
    """The graph that joins two rows if either is a neighbour of the other."""
    return sp.csr_array(graph.maximum(graph.T))


def smooth_on_graph(Z: np.ndarray, graph: sp.csr_array, n_steps: int = 20) -> np.ndarray:
    """Average each embedding with those of its nearest neighbours, repeatedly.

    ``Z <- (Z + P Z) / 2`` with the random-walk matrix P of the directed neighbour graph. It
    contracts clusters that are curves or sheets. Without this, k-means would cut them.

    Parameters
    ----------
    Z : ndarray of shape (n, m)
        Embeddings.
    graph : CSR array of shape (n, n)
        Their directed neighbour graph; all rows have the same number of neighbours.
    n_steps : int, default=20
        Rounds of averaging.

    Returns
    -------
    ndarray of shape (n, m)
    """
    walk = graph * (len(Z) / max(graph.nnz, 1))
    for _ in range(n_steps):
        Z = 0.5 * (Z + walk @ Z)
    return Z


def directions(points: np.ndarray) -> np.ndarray:
    """Points divided by their lengths; a point at the origin stays there."""
    length = np.linalg.norm(points, axis=1, keepdims=True)
    unit: np.ndarray = points / np.maximum(length, TINY)
    return unit
