"""Measures of a clustering that scikit-learn does not have."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.metrics import silhouette_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_array, check_consistent_length, column_or_1d, resample

from ._sklearn import parameters_named


def clustering_accuracy(labels_true: Any, labels_pred: Any) -> float:
    """Use this if you know the classes: the share of samples in the right cluster.

    Each cluster is matched with one class, so that the share is as large as possible.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes, of any label type.
    labels_pred : array-like of shape (n_samples,)
        Clusters, of any label type.

    Returns
    -------
    accuracy : float in [0, 1]
        Share of samples whose cluster is matched with their class. Samples of a cluster or a class
        that has no partner count as wrong.

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


@dataclass(frozen=True)
class SilhouetteScorer:
    """Use this as ``scoring`` without labels if clusters are compact in the space of the samples.

    It is the silhouette of the predicted clusters in a space that no candidate of a
    :class:`~sklearn.model_selection.GridSearchCV` changes. The silhouette in a candidate's own
    embedding would reward a network that draws samples together, whether they belong together or
    not. It also cannot be compared between candidates.

    Parameters
    ----------
    space : fitted transformer, callable or None, default=None
        Distances are measured in the space of ``space.transform(X)``, or ``space(X)``. None is the
        space of the samples. It must not depend on the candidate.
    max_samples : int, default=5000
        Use at most this number of samples, chosen at random.
    random_state : int, default=0
        Seed of this choice.

    References
    ----------
    Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis", J. Comput. Appl. Math. 20, 1987.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdeepcluster.metrics import SilhouetteScorer
    >>> X = load_iris().data
    >>> grid = {"n_clusters": [2, 3, 4]}
    >>> search = GridSearchCV(KMeans(random_state=0), grid, scoring=SilhouetteScorer(), cv=2)
    >>> search.fit(X).best_params_
    {'n_clusters': 2}
    """

    space: Any = None
    max_samples: int = 5000
    random_state: int = 0

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        """Score a fitted clusterer, or a pipeline that ends in one.

        Parameters
        ----------
        estimator : object
            With ``predict`` and a parameter ``n_clusters``.
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float in [-1, 1]
            Higher is better. -1 if a cluster holds none of the samples, so that a collapse is never
            the best, and if each holds only one.
        """
        fewest = max(2, _n_clusters(estimator))
        labels = np.asarray(estimator.predict(X))
        if len(np.unique(labels)) < fewest:
            return -1.0
        space = self.space
        if space is not None:
            X = space.transform(X) if hasattr(space, "transform") else space(X)
        try:
            X = check_array(X, accept_sparse="csr", allow_nd=True)
        except ValueError as error:
            reason = str(error).splitlines()[0][:80]
            what = "X" if space is None else f"the result of space={space!r}"
            raise ValueError(
                f"SilhouetteScorer measures distances, but {what} is no array of finite numbers: "
                f"{reason} Pass a fitted transformer, for instance "
                "SilhouetteScorer(space=pipeline[:-1])."
            ) from error
        X = X if issparse(X) else X.reshape(len(X), -1)
        if len(labels) > self.max_samples:
            some = resample(
                np.arange(len(labels)),
                replace=False,
                n_samples=self.max_samples,
                stratify=labels,
                random_state=self.random_state,
            )
            # one sample of each cluster that is too small for its share
            missing = np.setdiff1d(labels, labels[some])
            some = np.append(some, [np.flatnonzero(labels == k)[0] for k in missing]).astype(int)
            X, labels = X[some], labels[some]
        if len(np.unique(labels)) == len(labels):
            return -1.0  # no cluster has two samples
        return float(silhouette_score(X, labels))


@dataclass(frozen=True)
class StabilityScorer:
    """Use this as ``scoring`` without labels, to see if fits to different samples agree.

    It is the prediction strength, for :class:`~sklearn.model_selection.GridSearchCV`. The candidate
    is fitted to the training fold, and a clone with another seed to the test fold. In each cluster
    of the clone, the score looks at the pairs of test samples, and counts the share that the
    candidate puts into one cluster too. The score is the smallest share. If there are too many
    clusters, each fit cuts the groups in other places. Few clusters score highest, so do not use
    ``best_params_``: take the largest `n_clusters` in ``cv_results_`` with a mean of 0.8 or more
    (the authors: 0.8 to 0.9). Each score costs one more fit.

    Parameters
    ----------
    random_state : int, default=0
        Draws the seed of the clone, and of every step of a pipeline that has one.

    References
    ----------
    Tibshirani, Walther, "Cluster Validation by Prediction Strength", J. Comput. Graph. Stat. 14,
    2005, section 2.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn.model_selection import GridSearchCV, KFold
    >>> from skdeepcluster.metrics import StabilityScorer
    >>> X, _ = make_blobs(300, centers=3, random_state=1)
    >>> grid, folds = {"n_clusters": [2, 3, 4, 5]}, KFold(2, shuffle=True, random_state=0)
    >>> model = KMeans(n_init=10, random_state=0)
    >>> search = GridSearchCV(model, grid, scoring=StabilityScorer(), cv=folds).fit(X)
    >>> search.cv_results_["mean_test_score"] > 0.8
    array([ True,  True, False, False])
    """

    random_state: int = 0

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        """Score a fitted clusterer, or a pipeline that ends in one.

        Parameters
        ----------
        estimator : object
            With ``fit``, ``predict`` and a parameter ``n_clusters``.
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples that it was not fitted to.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float in [0, 1]
            Higher is better. 0 if one of the two leaves a cluster without samples, so that a
            collapse is never the best.
        """
        n_clusters = _n_clusters(estimator)
        other = clone(estimator)
        seeded = parameters_named("random_state", other)
        seed = np.random.RandomState(self.random_state).randint(np.iinfo(np.int32).max)
        other.set_params(**dict.fromkeys(seeded, seed)).fit(X)
        together = contingency_matrix(other.predict(X), estimator.predict(X))
        if min(together.shape) < n_clusters:
            return 0.0
        sizes = together.sum(axis=1)
        pairs = (together * (together - 1)).sum(axis=1)
        # a cluster of one sample has no pair to disagree about
        return float(np.min(pairs[sizes > 1] / (sizes * (sizes - 1))[sizes > 1], initial=1.0))


def _n_clusters(estimator: Any) -> int:
    """The parameter, of the estimator or the last step of a pipeline that has it."""
    found = list(parameters_named("n_clusters", estimator).values())
    if not found:
        raise TypeError(
            f"{type(estimator).__name__} has no parameter n_clusters: pass a clusterer that has "
            "one, or a pipeline that ends in one."
        )
    return int(found[-1])
