"""Fits in threads of one process do not disturb each other, nor the caller's random generators."""

import random
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from _instances import ESTIMATORS, digits, small
from sklearn.exceptions import ConvergenceWarning

from skdeepcluster import DCCS, DMAE, DualAESpectral
from skdeepcluster._warnings import ignoring

each = pytest.mark.parametrize("estimator", ESTIMATORS)
SEEDS = range(4)
# the estimators with their default losses, and the other losses that draw random numbers
FITS = {
    **{estimator.__name__: (estimator, {}) for estimator in ESTIMATORS},
    "DMAE, euclidean": (DMAE, {"dissimilarity": "euclidean"}),
    "DualAESpectral, jensen-shannon": (
        DualAESpectral,
        {"mutual_information": "jensen-shannon", "prior_weight": 0.1, "neighborhood": "batch"},
    ),
    "DCCS, adversarial": (DCCS, {"augmentation": "adversarial"}),
}
DEFAULT_LOSSES = [estimator.__name__ for estimator in ESTIMATORS]


def samples(images=False):
    X, _ = digits(50)
    return X.reshape(-1, 1, 8, 8) if images else X


def fit(name, seed, X, precision):
    """What a fit ends with."""
    estimator, parameters = FITS[name]
    budget = {"pretrain_epochs": 2, "max_epochs": 2, "tol": 0.0, "precision": precision}
    model = small(estimator, n_clusters=4, random_state=seed, **budget, **parameters).fit(X)
    return model.labels_, model.transform(X), model.history_


def generators():
    return torch.get_rng_state().numpy(), np.random.get_state(legacy=False), random.getstate()


# In Python 3.11 the filters of warnings are one for all threads. scikit-learn changes them for
# moments, so a warning that one thread ignores may be an error in another.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "images", "precision"),
    [
        *[pytest.param(name, False, "bf16", id=f"{name}, vectors") for name in FITS],
        *[pytest.param(name, True, "32", id=f"{name}, images") for name in DEFAULT_LOSSES],
    ],
)
def test_fits_in_threads_equal_the_same_fits_one_by_one(name, images, precision):
    X = samples(images)
    serial = [fit(name, seed, X, precision) for seed in SEEDS]
    before = generators()
    with ThreadPoolExecutor(len(SEEDS), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        in_threads = list(pool.map(lambda seed: fit(name, seed, X, precision), SEEDS))
    np.testing.assert_equal(in_threads, serial)
    np.testing.assert_equal(generators(), before)
    assert not np.array_equal(serial[0][1], serial[1][1])  # seeds make a difference


@each
@pytest.mark.parametrize("images", [False, True], ids=["vectors", "images"])
def test_the_generators_of_the_caller_are_not_touched(estimator, images):
    X = samples(images)
    before = generators()
    model = small(estimator, n_clusters=4, random_state=0).fit(X)
    np.testing.assert_equal(generators(), before)
    for method in (model.predict, model.transform, model.predict_proba, model.score):
        method(X)
    model.inverse_transform(model.cluster_centers_)
    np.testing.assert_equal(generators(), before)


def test_partial_fit_does_not_touch_the_generators_of_the_caller():
    X = samples()
    model = small(DMAE, n_clusters=4, random_state=0).fit(X)
    before = generators()
    model.partial_fit(X)
    np.testing.assert_equal(generators(), before)


@each
def test_the_generators_of_the_caller_do_not_change_a_fit(estimator):
    X, embeddings = samples(), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        model = small(estimator, n_clusters=4, random_state=0, pretrain_epochs=2, max_epochs=2)
        embeddings.append(model.fit_transform(X))
    np.testing.assert_array_equal(*embeddings)


def test_ignored_warnings_of_threads_leave_the_filters_as_they_were():
    before = list(warnings.filters)

    def ignore(number):
        for _ in range(200):
            with ignoring(ConvergenceWarning, f"number {number}"):
                time.sleep(0)  # let another thread run

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ignore, range(8)))
    assert warnings.filters == before
