"""Generators of the synthetic data that dissimilarities are compared on.

They follow the code of Lara and Gonzalez 2020, "Dissimilarity Mixture Autoencoder for Deep
Clustering" (arXiv 2006.08177); the defaults are the settings of the paper. Its two other sets are
``make_moons(1000, noise=0.1)`` and ``make_circles(1000, noise=0.1, factor=0.1)`` of scikit-learn.
"""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.utils import check_random_state
from sklearn.utils import shuffle as shuffle_rows

from ._sklearn import Interval, validate_params

_TORUS_CENTERS = [[1, 0], [-1, 1], [0, -1], [0, 0]]
_SIMPLEX_CENTERS = [[0, 0.2, 0.8], [0.33, 0.33, 0.33], [1, 0, 0], [0, 0.9, 0.1]]
_COUNT = [Interval(Integral, 1, None, closed="left")]
_DEVIATION = [Interval(Real, 0, None, closed="left")]


@validate_params(
    {
        "n_samples": _COUNT,
        "n_clusters": _COUNT,
        "radial_std": _DEVIATION,
        "tangential_std": _DEVIATION,
        "rate": [Interval(Real, None, None, closed="neither")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_painwheel(
    n_samples: int = 1000,
    *,
    n_clusters: int = 5,
    radial_std: float = 0.3,
    tangential_std: float = 0.05,
    rate: float = 0.25,
    shuffle: bool = True,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the arms of a wheel, elongated and bent, in the plane.

    Euclidean clusters are round; these need a covariance each.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of points, shared equally among the clusters.
    n_clusters : int, default=5
        Number of arms.
    radial_std : float, default=0.3
        Standard deviation along an arm, around a distance of 1 from the hub.
    tangential_std : float, default=0.05
        Standard deviation across an arm.
    rate : float, default=0.25
        How far the arms bend; 0 is straight.
    shuffle : bool, default=True
        Whether to shuffle the samples, which are sorted by cluster otherwise.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; pass an int for the same data each time.

    Returns
    -------
    X : ndarray of shape (n_samples, 2)
        Points.
    y : ndarray of shape (n_samples,)
        Their clusters.

    Examples
    --------
    >>> from skdeepcluster.datasets import make_painwheel
    >>> X, y = make_painwheel(100, random_state=0)
    >>> X.shape, y.shape
    ((100, 2), (100,))
    """
    rng = check_random_state(random_state)
    y = np.arange(n_samples) * n_clusters // n_samples
    along, across = rng.normal([1, 0], [radial_std, tangential_std], size=(n_samples, 2)).T
    angle = 2 * np.pi * y / n_clusters + rate * np.exp(along)
    cos, sin = np.cos(angle), np.sin(angle)
    X = np.column_stack([along * cos + across * sin, across * cos - along * sin])
    return shuffle_rows(X, y, random_state=rng) if shuffle else (X, y)


@validate_params(
    {
        "n_samples": _COUNT,
        "cluster_std": _DEVIATION,
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_toroidal(
    n_samples: int = 1000,
    *,
    cluster_std: float = 0.05,
    shuffle: bool = True,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make four round clusters on a torus of period 2, three of them cut by the border.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of points, shared equally among the clusters.
    cluster_std : float, default=0.05
        Standard deviation of the clusters in each direction.
    shuffle : bool, default=True
        Whether to shuffle the samples, which are sorted by cluster otherwise.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; pass an int for the same data each time.

    Returns
    -------
    X : ndarray of shape (n_samples, 2)
        Points, in [-1, 1).
    y : ndarray of shape (n_samples,)
        Their clusters.

    Examples
    --------
    >>> from skdeepcluster.datasets import make_toroidal
    >>> X, y = make_toroidal(100, random_state=0)
    >>> X.shape, y.shape
    ((100, 2), (100,))
    """
    X, y = make_blobs(
        n_samples,
        centers=_TORUS_CENTERS,
        cluster_std=cluster_std,
        shuffle=shuffle,
        random_state=random_state,
    )
    return X - 2 * np.floor((X + 1) / 2), y


@validate_params(
    {
        "n_samples": _COUNT,
        "cluster_std": _DEVIATION,
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_simplex(
    n_samples: int = 1000,
    *,
    cluster_std: float = 0.03,
    shuffle: bool = True,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make four clusters of compositions of three parts.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of points, shared equally among the clusters.
    cluster_std : float, default=0.03
        Standard deviation of the parts, before they are made to sum to one.
    shuffle : bool, default=True
        Whether to shuffle the samples, which are sorted by cluster otherwise.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; pass an int for the same data each time.

    Returns
    -------
    X : ndarray of shape (n_samples, 3)
        Points; rows are not negative and sum to one.
    y : ndarray of shape (n_samples,)
        Their clusters.

    Examples
    --------
    >>> from skdeepcluster.datasets import make_simplex
    >>> X, y = make_simplex(100, random_state=0)
    >>> X.sum(axis=1).round(6).min(), y.shape
    (np.float64(1.0), (100,))
    """
    X, y = make_blobs(
        n_samples,
        centers=_SIMPLEX_CENTERS,
        cluster_std=cluster_std,
        shuffle=shuffle,
        random_state=random_state,
    )
    X = np.abs(X)
    return X / X.sum(axis=1, keepdims=True), y
