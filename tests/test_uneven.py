"""Clusters of very unlike size are found, or a warning says what to do; never cut in silence."""

import re
import warnings

import numpy as np
import pytest
from _instances import ESTIMATORS, small
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from skdeepcluster import DCEC, DMAE

# far apart, so that KMeans has an adjusted Rand index of 1 on each
SETS = {
    "388, 12": make_blobs([388, 12], centers=None, n_features=8, random_state=2),
    "970, 30": make_blobs([970, 30], centers=np.eye(2, 8) * 8, random_state=0),
    "950, 30, 20": make_blobs([950, 30, 20], centers=np.eye(3, 8) * 8, random_state=0),
}
# a parameter that keeps uneven clusters, or an estimator that finds them
REMEDY = re.compile(
    "init=|max_epochs=|balance_weight=|cluster_prior=|KMeans|GaussianMixture|SpectralClustering"
)
# enough for a k-means of the embedding to be right; a fit takes a second
BUDGET = {
    "n_components": 10,
    "hidden_units": (64,),
    "pretrain_epochs": 60,
    "max_epochs": 30,
    "n_init": 1,
}


def assert_found_or_told(model, X, y):
    """The clusters are right, or a ConvergenceWarning names a remedy."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    found = adjusted_rand_score(y, model.labels_)
    told = [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert found >= 0.9 or any(map(REMEDY.search, told)), (found, told)


@pytest.mark.parametrize("name", SETS)
def test_the_sets_are_easy(name):
    X, y = SETS[name]
    labels = KMeans(len(np.unique(y)), n_init=10, random_state=0).fit_predict(X)
    assert adjusted_rand_score(y, labels) == 1.0


@pytest.mark.parametrize("estimator", [DCEC, DMAE])
@pytest.mark.parametrize("name", SETS)
def test_an_overclustered_start_does_not_cut_in_silence(estimator, name):
    X, y = SETS[name]
    model = estimator(len(np.unique(y)), init="overclustered", random_state=0, **BUDGET)
    assert_found_or_told(model, X, y)


def test_training_does_not_cut_what_the_start_had_right_in_silence():
    X, y = SETS["388, 12"]
    model = DCEC(2, init="k-means", random_state=0, **BUDGET)
    start = DCEC(2, init="k-means", random_state=0, **{**BUDGET, "max_epochs": 0})
    assert adjusted_rand_score(y, start.fit_predict(X)) == 1.0
    assert_found_or_told(model, X, y)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_clusters_of_usual_sizes_raise_no_alarm(estimator):
    """Any warning would be an error here."""
    X, y = make_blobs([120, 80, 40], centers=np.eye(3, 8) * 8, random_state=0)
    model = small(estimator, n_clusters=3, pretrain_epochs=20, max_epochs=10, random_state=0)
    assert adjusted_rand_score(y, model.fit_predict(X)) > 0.9


def test_a_cluster_that_begins_with_nine_tenths_may_gain_a_sample():
    """Any warning would be an error here: for an epoch it holds a little more than that."""
    X, y = make_blobs([900, 100], centers=np.eye(2, 8) * 8, random_state=0)
    assert adjusted_rand_score(y, DCEC(2, random_state=0).fit_predict(X)) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", SETS)
def test_the_defaults_do_not_cut_in_silence(estimator, name):
    X, y = SETS[name]
    assert_found_or_told(estimator(len(np.unique(y)), random_state=0), X, y)
