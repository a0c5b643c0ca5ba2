"""Choose the number of clusters without labels."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from ._sklearn import validate_parameter_constraints
from ._start.neighbors import rows_as_features, some_rows
from .base import BaseDeepClusterer

__all__ = ["NClustersSuggestion", "suggest_n_clusters"]

_DRAWS = 5  # random parts of the samples; each shows a few valleys that the next does not have
_SHARE = 0.8  # of the samples, in each draw
_MAX_ROWS = 3_000  # in a draw, because all pairs of them are compared
# number of neighbours to measure the density: one for each 75 rows, within these limits
_ROWS_PER_NEIGHBOR = 75
_LEAST_NEIGHBORS, _MOST_NEIGHBORS = 10, 30
_CLEAR = 0.3  # samples without clusters had a score of at most .28


@dataclass(frozen=True, eq=False)
class NClustersSuggestion:
    """What :func:`suggest_n_clusters` returns. Print it to see a table.

    Attributes
    ----------
    n_clusters : int
        The suggestion: the candidate with the highest score.
    n_clusters_range : ndarray of shape (n_candidates,), int
        The candidates.
    separations : ndarray of shape (n_candidates,)
        In [0, 1], in descending order. At the candidate k: how deep the valley is that separates
        the k-th dense region from the others. 1 means an empty valley, 0 means no valley.
    scores : ndarray of shape (n_candidates,)
        In [0, 1]: the separation at the candidate k minus that at k + 1. The scores of all
        candidates add up to at most 1.
    """

    n_clusters: int
    n_clusters_range: np.ndarray
    separations: np.ndarray
    scores: np.ndarray

    def __str__(self) -> str:
        columns = zip(self.n_clusters_range, self.separations, self.scores, strict=True)
        lines = [f"{'n_clusters':>10}{'separation':>12}{'score':>8}"]
        lines += [
            f"{k:10d}{separation:12.2f}{score:8.2f}{'  <-' if k == self.n_clusters else ''}"
            for k, separation, score in columns
        ]
        if self.scores.max() < _CLEAR:
            near = [k for step in (-2, -1, 1, 2) if (k := self.n_clusters + step) > 1]
            numbers = ", ".join(map(str, near))
            lines.append(f"No score reaches {_CLEAR}, so this is not clear: also try {numbers}.")
        if self.n_clusters == self.n_clusters_range[-1]:
            lines.append("The last candidate is the best: ask again with a wider range.")
        return "\n".join(lines)


def suggest_n_clusters(
    estimator: Any, X: Any, n_clusters_range: Iterable[int] = range(2, 26)
) -> NClustersSuggestion:
    """Use this if you do not know the number of clusters: it suggests one, without labels.

    It counts the dense regions of the data that deep valleys of low density separate. For images
    and texts it looks at the embedding of `estimator`, which it pretrains once for all candidates
    (DCEC and DMAE as with ``init="k-means"``). For other data it trains nothing and looks at the
    scaled samples: at the directions of embeddings in 100 dimensions, and at wide sparse samples in
    50. :doc:`/n_clusters` explains how to read the answer, and how often it was right.

    Parameters
    ----------
    estimator : estimator
        A deep clustering estimator, or a Pipeline that ends with one. It is cloned, and its
        `n_clusters` does not matter. For images use :class:`~skdeepcluster.DualAESpectral`, whose
        pretraining separates the clusters best.
    X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
            (n_samples, channels, height, width)
        The samples, as for ``estimator.fit``.
    n_clusters_range : iterable of int, default=range(2, 26)
        The candidates, in ascending order: at least 2, and less than `n_samples`.

    Returns
    -------
    suggestion : NClustersSuggestion
        Its ``n_clusters`` is the number. ``print(suggestion)`` shows a table, and
        :class:`~skdeepcluster.inspection.NClustersDisplay` draws it.

    Raises
    ------
    TypeError
        If `estimator` is not a deep clustering estimator, or a candidate is not an int.
    ValueError
        If the candidates are not as described, if the pretraining of `estimator` depends on
        `n_clusters` (``DCCS`` on images and texts), or if fit would refuse `X` or a parameter.

    Notes
    -----
    All this is computed for five draws of n samples: 80 % of all, at most 3000. The density at a
    sample is the density of a ball that reaches to its k-th nearest neighbour. Here k is n / 75,
    but at least 10 and at most 30. The number of dimensions of the ball is estimated from the
    distances to these neighbours [1]_. Dense regions and the valleys between them come from
    the single linkage of mutual reachability distances [2]_. A valley lies between two peaks.
    Its depth is ``log(p / s)``, where p is the density at the lower peak and s that at the saddle
    between the peaks. This is the persistence of the lower peak [3]_. The separation is
    ``1 - exp(-depth)``. Separations and scores are means of the five draws.

    We chose these constants, and the rule that the largest difference between two separations
    decides, with 12 data sets. :doc:`/n_clusters` has the results for them and for others.

    References
    ----------
    .. [1] E. Levina, P. Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension", NIPS 2004.
    .. [2] R. Campello, D. Moulavi, J. Sander, "Density-Based Clustering Based on Hierarchical
       Density Estimates", PAKDD 2013, section 3.
    .. [3] F. Chazal, L. Guibas, S. Oudot, P. Skraba, "Persistence-Based Clustering in Riemannian
       Manifolds", J. ACM 60, 2013.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skdeepcluster import DCEC
    >>> from skdeepcluster.model_selection import suggest_n_clusters
    >>> X, _ = make_blobs(300, centers=4, n_features=8, random_state=0)
    >>> suggestion = suggest_n_clusters(DCEC(random_state=0), X, range(2, 7))
    >>> suggestion.n_clusters
    4
    >>> print(suggestion)
    n_clusters  separation   score
             2        1.00    0.00
             3        1.00    0.00
             4        1.00    0.81  <-
             5        0.19    0.12
             6        0.07    0.06
    """
    candidates = _check_candidates(n_clusters_range)
    model, X = _last_step(estimator, X)
    most = int(candidates[-1])
    seed = check_random_state(model.random_state).randint(np.iinfo(np.int32).max)
    random_state = np.random.RandomState(seed)
    points = _points(model, X, most, random_state)
    size = min(_MAX_ROWS, math.ceil(_SHARE * len(points)))
    draws = [random_state.choice(len(points), size, replace=False) for _ in range(_DRAWS)]
    separations = np.mean([_separations(points[draw], most) for draw in draws], axis=0)
    here, following = separations[candidates - 2], separations[candidates - 1]
    scores = here - following
    best = int(candidates[scores.argmax()])
    return NClustersSuggestion(best, candidates, here, scores)


def _last_step(estimator: Any, X: Any) -> tuple[BaseDeepClusterer, Any]:
    """A clone of the clusterer, and the samples as it sees them."""
    model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(model, BaseDeepClusterer):
        raise TypeError(
            f"estimator={estimator!r} is not a deep clustering estimator, and not a Pipeline that "
            "ends with one. Pass one, for instance DualAESpectral()."
        )
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        X = clone(estimator[:-1]).fit_transform(X)
    return clone(model), X


def _check_candidates(n_clusters_range: Iterable[int]) -> np.ndarray:
    given = [*n_clusters_range] if isinstance(n_clusters_range, Iterable) else [None]
    if not all(isinstance(k, Integral) and not isinstance(k, bool) for k in given):
        raise TypeError(
            f"n_clusters_range={n_clusters_range!r} must hold ints, for instance range(2, 26)."
        )
    if not given or given[0] < 2 or any(a >= b for a, b in pairwise(given)):
        raise ValueError(
            f"n_clusters_range={given} must hold numbers of at least 2 in ascending order, for "
            "instance range(2, 26)."
        )
    return np.array(given, dtype=np.int64)


def _points(
    model: BaseDeepClusterer, X: Any, most: int, random_state: np.random.RandomState
) -> np.ndarray:
    """The points to search for dense regions: samples or their embeddings, at most 15 000."""
    validate_parameter_constraints(
        model._parameter_constraints, model.get_params(deep=False), type(model).__name__
    )
    rows_of_X, image_shape, _ = model._admit(X, again=False)
    cpu = torch.device("cpu")
    plan = model._make_plan(rows_of_X, image_shape, model._given(), cpu, again=False)
    data = plan.data
    if most >= data.n_samples:
        raise ValueError(
            f"n_clusters_range ends with {most}, which should be < "
            f"n_samples={data.n_samples}: pass more samples, or fewer candidates."
        )
    rows = plan.rows(rows_of_X, cpu)
    index = some_rows(rows, _DRAWS * _MAX_ROWS, random_state)
    # for vectors, pretraining uses neighbours as views: that adds noise to the density, and the
    # embedding holds no more information than the samples
    if data.kind in ("vectors", "table", "embeddings"):
        return rows_as_features(rows, index, data.kind, random_state)
    embedding: np.ndarray = _embedding(model, X)[index]
    return embedding


def _embedding(model: BaseDeepClusterer, X: Any) -> np.ndarray:
    """The embedding after the pretraining."""
    if "n_clusters" not in model.not_in_pretraining:
        raise ValueError(
            f"{type(model).__name__} pretrains for one n_clusters, so it cannot compare several. "
            "Pass DualAESpectral with the same image_shape. You can use its number here, too."
        )
    wanted = {"n_clusters": 1, "init": "k-means", "n_init": 1, "max_epochs": 0}
    known = model.get_params(deep=False)
    model.set_params(**{name: value for name, value in wanted.items() if name in known})
    return np.asarray(model.fit(X).transform(X))  # from a frame, if the user set transform_output


def _separations(points: np.ndarray, most: int) -> np.ndarray:
    """Separation of the dense regions number 2 to `most` + 1, in descending order."""
    distances = pdist(points.astype(np.float64))
    n_neighbors = len(points) // _ROWS_PER_NEIGHBOR
    n_neighbors = min(max(_LEAST_NEIGHBORS, n_neighbors), _MOST_NEIGHBORS, len(points) - 1)
    near = np.partition(squareform(distances), n_neighbors, axis=1)[:, : n_neighbors + 1]
    near = np.sort(near)[:, 1:]  # without the point itself
    apart = distances[distances > 0]
    # duplicates are closer than the closest others, but not infinitely dense
    near = np.maximum(near, apart.min() / 2 if len(apart) else 1.0)
    radius = near[:, -1]
    growth = np.log(radius[:, None] / near[:, :-1]).mean() if n_neighbors > 1 else 0.0
    dimension = 1.0 / growth if growth > 0 else 1.0
    reachability = squareform(np.maximum.outer(radius, radius), checks=False)
    merges = linkage(np.maximum(reachability, distances), "single")
    depths = dimension * np.sort(_persistences(merges, radius))[::-1]
    separations = np.zeros(max(most, len(depths)))
    separations[: len(depths)] = 1.0 - np.exp(-depths)
    return separations[:most]


def _persistences(merges: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Logarithm of the ratio of two radii: of the ball at a saddle, and at the lower peak."""
    smallest = [*radius.tolist()]  # the ball at the peak of each cluster of the hierarchy
    persistences = []
    for left, right, saddle, _ in merges:
        peaks = smallest[int(left)], smallest[int(right)]
        persistences.append(np.log(saddle / max(peaks)))
        smallest.append(min(peaks))
    return np.array(persistences)
