"""Fits in threads of one process do not disturb each other, nor the caller's random generators."""

import random
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from _instances import ESTIMATORS, digits, small
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from threadpoolctl import threadpool_info, threadpool_limits

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
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


# ---------------------------------------------------------------- n_jobs


class Seen(Callback):
    """Notes the settings while a network trains."""

    def on_epoch_end(self, net, **kwargs):
        self.torch, self.others = torch.get_num_threads(), pools()


def pools():
    """Threads of numpy's and scikit-learn's libraries."""
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


@pytest.fixture
def three_threads():
    """Settings of a user who has set torch, and numpy, to three threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    with threadpool_limits(3):
        yield pools()
    torch.set_num_threads(before)


@pytest.mark.parametrize(("n_jobs", "count"), [(None, 1), (1, 1), (2, 2), (-1, joblib.cpu_count())])
def test_a_fit_takes_n_jobs_threads_and_puts_the_settings_back(n_jobs, count, three_threads):
    seen = Seen()
    model = small(DCEC, n_clusters=4, n_jobs=n_jobs, callbacks=[seen], random_state=0)
    model.fit(samples())
    assert seen.torch == count
    assert set(seen.others.values()) == {count}
    assert (torch.get_num_threads(), pools()) == (3, three_threads)


def test_joblib_says_what_none_is():
    seen = Seen()
    with joblib.parallel_config("threading", n_jobs=2):
        small(DCEC, n_clusters=4, callbacks=[seen], random_state=0).fit(samples())
    assert seen.torch == 2


def test_a_fit_that_fails_puts_the_settings_back(three_threads):
    with pytest.raises(ValueError, match="n_samples=50 should be >= n_clusters=60"):
        small(DCEC, n_clusters=60).fit(samples())
    assert (torch.get_num_threads(), pools()) == (3, three_threads)


@each
def test_results_do_not_depend_on_the_callers_threads(estimator, three_threads):
    X = samples()
    model = small(estimator, n_clusters=4, random_state=0).fit(X)
    assert torch.get_num_threads() == 3
    answers = [model.predict(X), model.transform(X), model.predict_proba(X), model.score(X)]
    torch.set_num_threads(1)
    again = small(estimator, n_clusters=4, random_state=0).fit(X)
    expected = [again.predict(X), again.transform(X), again.predict_proba(X), again.score(X)]
    for answer, other in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(answer, other)


def test_overlapping_fits_put_the_settings_back(three_threads):
    def one(seed):
        small(DCEC, n_clusters=4, random_state=seed, max_epochs=seed).fit(samples())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, [1, 20, 3, 10, 2]))
    assert (torch.get_num_threads(), pools()) == (3, three_threads)


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        small(DCEC, n_clusters=4, n_jobs=0).fit(samples())


def test_a_warning_of_fit_names_the_line_that_called_it():
    X = np.zeros((60, 4))
    X[55:] = np.random.default_rng(0).normal(size=(5, 4))
    with pytest.warns(ConvergenceWarning, match="clusters hold training samples") as caught:
        DMAE(8, architecture=None, random_state=0, max_epochs=3).fit(X)
    assert {warning.filename for warning in caught} == {__file__}
