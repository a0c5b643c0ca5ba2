"""A fit or partial_fit that fails leaves the estimator as it was."""

import copy
import functools

import numpy as np
import pandas as pd
import pytest
from _instances import ESTIMATORS, digits, small
from safetensors import safe_open
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from skdeepcluster import DMAE, save_model

each = pytest.mark.parametrize("estimator", ESTIMATORS)
FITTED = (
    "labels_",
    "cluster_centers_",
    "history_",
    "n_iter_",
    "converged_",
    "image_shape_",
    "n_features_in_",
    "feature_names_in_",
    "settings_",
)


class Failure(Exception):
    """An error of the user's own code."""


class RaiseAt(Callback):
    """Raise an error when an event happens for the n-th time in a fit."""

    def __init__(self, event, number, error=Failure):
        self.event, self.left, self.error = event, number, error

    def notify(self, event, net):
        self.left -= event == self.event
        if self.left == 0 and event == self.event:
            raise self.error

    def on_train_begin(self, net, **kwargs):
        self.notify("on_train_begin", net)

    def on_train_end(self, net, **kwargs):
        self.notify("on_train_end", net)

    def on_epoch_end(self, net, **kwargs):
        self.notify("on_epoch_end", net)

    def on_batch_end(self, net, **kwargs):
        self.notify("on_batch_end", net)


def raise_at_call(number, error):
    """An augmentation that changes nothing, and raises an error when called for the n-th time."""
    calls = []

    def augment(x):
        calls.append(1)
        if len(calls) == number:
            raise error
        return x

    return augment


# ---------------------------------------------------------------- what must not change


def answers(model, X):
    """All that a user can ask the estimator, apart from what depends on its parameters."""
    found = {name: copy.deepcopy(getattr(model, name, "absent")) for name in FITTED}
    for method in ("predict", "transform", "predict_proba"):
        found[method] = getattr(model, method)(X)
    found["prototypes"] = model.inverse_transform(model.cluster_centers_)
    found["names out"] = model.get_feature_names_out()
    found["module"] = {name: t.numpy().copy() for name, t in model.module_.state_dict().items()}
    return found


def file_content(model, folder):
    """What save_model writes; the order of the entries in its header is not fixed."""
    path = folder / "model.safetensors"
    save_model(model, path)
    with safe_open(path, "np") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def frame(n_samples=82):
    X, _ = digits(n_samples)
    return pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])


def other_unit(X):
    return X * 1000 + 50


@functools.cache
def _fitted(estimator, **parameters):
    return small(estimator, n_clusters=4, tol=0.0, random_state=0, **parameters).fit(frame())


def fitted(estimator, **parameters):
    """A copy of a fitted estimator, and the data frame that it was fitted on."""
    return copy.deepcopy(_fitted(estimator, **parameters)), frame()


def assert_fails_without_a_trace(model, X, error, changes, call, folder):
    """`call(model)` raises `error` with some parameters changed; then all is as before."""
    before, parameters = copy.deepcopy(model), model.get_params(deep=False)
    with pytest.raises(error):
        call(model.set_params(**changes))
    np.testing.assert_equal(answers(model, X), answers(before, X))
    model.set_params(**parameters)
    np.testing.assert_equal(file_content(model, folder), file_content(before, folder))


# ---------------------------------------------------------------- fit


def no_network(sample_shape, n_components):
    raise Failure


# name -> (error, makes the changed parameters, makes the other samples)
REFITS = {
    "refused parameter": (ValueError, lambda: {"augmentation": "affine"}, other_unit),
    "more clusters than samples": (ValueError, lambda: {"n_clusters": 1000}, other_unit),
    "image shape": (ValueError, lambda: {"image_shape": (3, 7)}, other_unit),
    "device": (ValueError, lambda: {"device": "nope"}, other_unit),
    "NaN in fewer columns": (ValueError, dict, lambda X: X.mask(X > 15).iloc[:, :40]),
    "divergence": (
        FloatingPointError,
        lambda: {"learning_rate": 1e30, "learning_rate_schedule": "constant"},
        other_unit,
    ),
    "the user's network": (Failure, lambda: {"architecture": no_network}, other_unit),
    "memory": (
        MemoryError,
        lambda: {"augmentation": raise_at_call(8, MemoryError)},
        other_unit,
    ),
    "another width": (
        MemoryError,
        lambda: {"augmentation": raise_at_call(8, MemoryError)},
        lambda X: other_unit(X).iloc[:, :40],
    ),
    "other names": (
        MemoryError,
        lambda: {"augmentation": raise_at_call(8, MemoryError)},
        lambda X: other_unit(X).rename(columns=str.upper),
    ),
    "no names": (
        MemoryError,
        lambda: {"augmentation": raise_at_call(8, MemoryError)},
        lambda X: other_unit(X).to_numpy(),
    ),
    "images": (
        MemoryError,
        lambda: {"augmentation": raise_at_call(8, MemoryError)},
        lambda X: other_unit(X).to_numpy().reshape(-1, 1, 8, 8),
    ),
    "a phase begins": (
        Failure,
        lambda: {"callbacks": [RaiseAt("on_train_begin", 2)]},
        other_unit,
    ),
    "an epoch ends": (Failure, lambda: {"callbacks": [RaiseAt("on_epoch_end", 5)]}, other_unit),
    "first batch": (Failure, lambda: {"callbacks": [RaiseAt("on_batch_end", 1)]}, other_unit),
    "batch of the last phase": (
        Failure,
        lambda: {"callbacks": [RaiseAt("on_batch_end", 44)]},
        other_unit,
    ),
    "second start": (
        Failure,
        lambda: {"n_init": 2, "callbacks": [RaiseAt("on_batch_end", 44)]},
        other_unit,
    ),
    "Ctrl-C in the first batch": (
        KeyboardInterrupt,
        lambda: {"augmentation": raise_at_call(1, KeyboardInterrupt)},
        other_unit,
    ),
    "Ctrl-C in the first epoch": (
        KeyboardInterrupt,
        lambda: {"callbacks": [RaiseAt("on_batch_end", 3, KeyboardInterrupt)]},
        other_unit,
    ),
    "a warning that is an error": (
        ConvergenceWarning,
        dict,
        lambda X: pd.concat([other_unit(X)[:2]] * 20),  # four clusters of two different samples
    ),
    "warm start, more clusters": (
        ValueError,
        lambda: {"warm_start": True, "n_clusters": 5},
        other_unit,
    ),
    "warm start, other names": (
        ValueError,
        lambda: {"warm_start": True},
        lambda X: X.rename(columns=str.upper),
    ),
    "warm start, divergence": (
        FloatingPointError,
        lambda: {
            "warm_start": True,
            "learning_rate": 1e30,
            "learning_rate_schedule": "constant",
        },
        other_unit,
    ),
    "warm start, a batch ends": (
        Failure,
        lambda: {"warm_start": True, "callbacks": [RaiseAt("on_batch_end", 9)]},
        lambda X: X[::-1],
    ),
    "warm start, Ctrl-C in the first epoch": (
        KeyboardInterrupt,
        lambda: {
            "warm_start": True,
            "callbacks": [RaiseAt("on_batch_end", 3, KeyboardInterrupt)],
        },
        other_unit,
    ),
}


@each
@pytest.mark.parametrize("name", REFITS)
def test_a_refit_that_fails_changes_nothing(estimator, name, tmp_path):
    error, changes, data = REFITS[name]
    model, X = fitted(estimator)
    other = data(X)
    assert_fails_without_a_trace(model, X, error, changes(), lambda m: m.fit(other), tmp_path)


@each
def test_a_keyword_that_fit_does_not_know_changes_nothing(estimator, tmp_path):
    model, X = fitted(estimator)
    weights = np.ones(len(X))
    assert_fails_without_a_trace(
        model, X, TypeError, {}, lambda m: m.fit(other_unit(X), sample_weight=weights), tmp_path
    )


@each
def test_a_model_trains_on_after_a_failed_refit(estimator):
    """The failed fit leaves nothing behind that a later fit would read."""
    model, X = fitted(estimator)
    model.set_params(augmentation=raise_at_call(8, MemoryError))
    with pytest.raises(MemoryError):
        model.fit(other_unit(X).iloc[:, :40])
    model.set_params(augmentation="auto", warm_start=True).fit(X)
    expected, _ = fitted(estimator)
    expected.set_params(warm_start=True).fit(X)
    np.testing.assert_equal(answers(model, X), answers(expected, X))


@each
@pytest.mark.parametrize(
    "name",
    [
        "refused parameter",
        "NaN in fewer columns",
        "divergence",
        "the user's network",
        "another width",
        "an epoch ends",
        "batch of the last phase",
        "Ctrl-C in the first batch",
    ],
)
def test_a_first_fit_that_fails_leaves_the_estimator_unfitted(estimator, name):
    error, changes, data = REFITS[name]
    model = small(estimator, n_clusters=4, tol=0.0, random_state=0).set_params(**changes())
    before = dict(vars(model))
    with pytest.raises(error):
        model.fit(data(frame()))
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    with pytest.raises(NotFittedError):
        model.predict(frame())
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[attribute] is value for attribute, value in before.items())


# ---------------------------------------------------------------- partial_fit

DEEP, SHALLOW = {}, {"architecture": None, "scaling": "standard"}
BATCHES = {
    "NaN": (ValueError, dict, lambda X: X.mask(X > 15)),
    "one sample": (ValueError, dict, lambda X: X[:1]),
    "another width": (ValueError, dict, lambda X: X.iloc[:, :40]),
    "other names": (ValueError, dict, lambda X: X.rename(columns=str.upper)),
    "changed parameter": (ValueError, lambda: {"n_clusters": 3}, other_unit),
    "no callback": (ValueError, lambda: {"callbacks": [3]}, other_unit),
    "divergence": (FloatingPointError, dict, lambda X: X * 1e25),
    "memory": (MemoryError, lambda: {"augmentation": raise_at_call(3, MemoryError)}, other_unit),
    "a batch ends": (Failure, lambda: {"callbacks": [RaiseAt("on_batch_end", 3)]}, other_unit),
    "an epoch ends": (Failure, lambda: {"callbacks": [RaiseAt("on_epoch_end", 1)]}, other_unit),
    "training ends": (Failure, lambda: {"callbacks": [RaiseAt("on_train_end", 1)]}, other_unit),
    "Ctrl-C": (
        KeyboardInterrupt,
        lambda: {"augmentation": raise_at_call(1, KeyboardInterrupt)},
        other_unit,
    ),
    "Ctrl-C in a later batch": (
        KeyboardInterrupt,
        lambda: {"callbacks": [RaiseAt("on_batch_end", 4, KeyboardInterrupt)]},
        other_unit,
    ),
}


@pytest.mark.parametrize("parameters", [DEEP, SHALLOW], ids=["deep", "shallow"])
@pytest.mark.parametrize("name", BATCHES)
def test_a_partial_fit_that_fails_changes_nothing(parameters, name, tmp_path):
    error, changes, data = BATCHES[name]
    model, X = fitted(DMAE, init="k-means", **parameters)
    batch = data(X)
    assert_fails_without_a_trace(
        model, X, error, changes(), lambda m: m.partial_fit(batch), tmp_path
    )


@pytest.mark.parametrize("name", ["NaN", "memory", "a batch ends", "Ctrl-C"])
def test_a_first_partial_fit_that_fails_leaves_the_estimator_unfitted(name):
    error, changes, data = BATCHES[name]
    model = small(DMAE, random_state=0).set_params(**changes())
    before = dict(vars(model))
    with pytest.raises(error):
        model.partial_fit(data(frame()))
    assert vars(model) == before


# ---------------------------------------------------------------- drawn failures


def drawn_samples(rng, warm_start):
    """Other samples than those of the first fit, of which 60 make 4 batches at least."""
    X = frame(int(rng.integers(60, 83))) * rng.uniform(0.1, 100) + rng.uniform(-50, 50)
    kinds = [lambda X: X, lambda X: X.iloc[::-1]]
    if not warm_start:
        kinds += [
            lambda X: X.iloc[:, : rng.integers(20, 64)],
            lambda X: X.rename(columns=str.upper),
            lambda X: X.to_numpy(np.float32),
        ]
    return kinds[rng.integers(len(kinds))](X)


def drawn_failure(rng, X, warm_start):
    """The error, the parameters that cause it, and the samples."""
    # one phase of few batches, or three with 27 and more; so many calls are in the first epoch
    batches, calls = (8, 2) if warm_start else (26, 4)
    kind = rng.choice(["refused", "callback", "memory", "Ctrl-C"])
    if kind == "refused":
        change, X = [
            ({"augmentation": "affine"}, X),
            ({"n_clusters": 10**6}, X),
            ({"n_components": "many"}, X),
            ({"image_shape": (5, 1000)}, X),
            ({}, X * np.nan),
            ({}, X[:0]),
        ][rng.integers(6)]
        return ValueError, change, X
    if kind == "callback":
        return Failure, {"callbacks": [RaiseAt("on_batch_end", int(rng.integers(1, batches)))]}, X
    if kind == "memory":
        call = int(rng.integers(1, calls + 1 if warm_start else batches // 2))
        return MemoryError, {"augmentation": raise_at_call(call, MemoryError)}, X
    call = int(rng.integers(1, calls + 1))
    return KeyboardInterrupt, {"augmentation": raise_at_call(call, KeyboardInterrupt)}, X


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_drawn_refits_that_fail(count, tmp_path):
    for number in range(count):
        rng = np.random.default_rng(number)
        model, X = fitted(ESTIMATORS[number % len(ESTIMATORS)])
        warm_start = bool(rng.random() < 0.25)
        error, changes, other = drawn_failure(rng, drawn_samples(rng, warm_start), warm_start)
        n_init = int(rng.integers(1, 3))
        changes |= {"warm_start": warm_start, "n_init": n_init, "random_state": number}
        # a collapse before the failure is a warning, which is an error in this suite
        errors = error, ConvergenceWarning
        try:
            assert_fails_without_a_trace(
                model, X, errors, changes, lambda m, other=other: m.fit(other), tmp_path
            )
        except BaseException as wrong:
            wrong.add_note(f"number {number}: {type(model).__name__}, {changes}, {other.shape}")
            raise
