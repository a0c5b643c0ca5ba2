"""A fit that was killed goes on, and ends as if nothing had been."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from _instances import ESTIMATORS, OVERCLUSTERING, BatchNormPair, digits, small
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from skdeepcluster import DCCS, DCEC, DMAE, _checkpoint

X = digits()[0]
each = pytest.mark.parametrize("estimator", ESTIMATORS)
every_epoch = pytest.mark.usefixtures("_every_epoch")
# two starts, an optimiser with dropout and batch statistics, augmented samples
PARAMETERS = {
    "n_clusters": 4,
    "random_state": 0,
    "n_init": 2,
    "tol": 0.0,
    "pretrain_epochs": 2,
    "max_epochs": 4,
    "architecture": BatchNormPair(8),
    "image_shape": (8, 8),
    "augmentation": "affine",
}


@pytest.fixture
def _every_epoch(monkeypatch):
    monkeypatch.setattr(_checkpoint, "_SECONDS", 0.0)


class Killed(Exception):
    pass


class KillAt(Callback):
    """Raise when an epoch of the fit begins, the state of those before it being in the file."""

    def __init__(self, number):
        self.number = number
        self.begun = []

    def on_epoch_begin(self, net, **kwargs):
        self.begun.append(net.phase.name)
        if len(self.begun) == self.number:
            raise Killed


def model_for(estimator, **parameters):
    return small(estimator, **{**PARAMETERS, **parameters})


def fit(model, samples=X):
    """How good a model is does not matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(samples)


def kill(model, number, samples=X):
    """Fit, and die in the epoch of that number."""
    killer = KillAt(number)
    with pytest.raises(Killed):
        fit(clone(model).set_params(callbacks=[killer]), samples)
    assert len(files(model)) == (number > 1)
    return killer.begun


def files(model):
    return list(Path(model.checkpoint).iterdir())


def epochs_of(model, samples=X):
    """Fit; the model, and the phase of each epoch that was run."""
    watch = KillAt(-1)
    fit(model.set_params(callbacks=[watch]), samples)
    return model, watch.begun


def assert_same(model, other):
    np.testing.assert_array_equal(model.labels_, other.labels_)
    np.testing.assert_array_equal(model.cluster_centers_, other.cluster_centers_)
    np.testing.assert_equal(model.history_, other.history_)
    assert model.converged_ == other.converged_
    left, right = model.module_.state_dict(), other.module_.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())
    trained = [[p.requires_grad for p in m.module_.parameters()] for m in (model, other)]
    assert trained[0] == trained[1]


VARIANTS = {
    "network of the user": {},
    "vectors": {"architecture": "mlp", "image_shape": None, "augmentation": None},
}
CASES = [(e, name, VARIANTS[name]) for e in ESTIMATORS for name in VARIANTS]
CASES += [
    (e, "overclustered", {"init": "overclustered", "batch_size": 82, "max_epochs": 1})
    for e in OVERCLUSTERING[:1]
]
CASES += [
    (DCEC, "rare refresh", {"update_interval": 3}),
    (DMAE, "fixed embedding", {"train_encoder": False}),
    (DMAE, "no network", {"architecture": None, "image_shape": None, "augmentation": None}),
    (DCCS, "from nothing", {"init": None, "n_critic": 3}),
]


@every_epoch
@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [pytest.param(e, parameters, id=f"{e.__name__}-{name}") for e, name, parameters in CASES],
)
def test_a_fit_killed_in_any_epoch_ends_as_the_undisturbed_one(estimator, parameters, tmp_path):
    """In one fit after the other, each killed in its next epoch but one."""
    whole, phases = epochs_of(model_for(estimator, **parameters))
    model = model_for(estimator, checkpoint=str(tmp_path), **parameters)
    run, begun = 0, []
    while run + 2 <= len(phases):
        begun += kill(model, 2)[:1]
        run += 1
        assert begun == phases[:run]
    again, rest = epochs_of(clone(model))
    assert begun + rest == phases
    assert_same(whole, again)
    assert files(model) == []
