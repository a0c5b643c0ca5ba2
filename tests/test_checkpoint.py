"""A fit that was killed resumes, and ends as if nothing had happened."""

import copy
import dataclasses
import random
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from _instances import ESTIMATORS, OVERCLUSTERING, BatchNormPair, digits, small
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import RBFSampler
from skorch.callbacks import Callback
from torch import nn

from skdeepcluster import DCCS, DCEC, DMAE, _dmae
from skdeepcluster._engine import checkpoint as checkpoints

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
    monkeypatch.setattr(checkpoints, "_SECONDS", 0.0)


class Killed(Exception):
    pass


def die():
    raise Killed


class KillAt(Callback):
    """Die when an epoch of the fit begins, the state of those before it being in the file."""

    def __init__(self, number, action=die):
        self.number = number
        self.action = action
        self.begun = []

    def on_epoch_begin(self, net, **kwargs):
        self.begun.append(net.phase.name)
        if len(self.begun) == self.number:
            self.action()


class At(Callback):
    """Do something after each batch of an epoch, counted as skorch does."""

    def __init__(self, phase, epoch, action):
        self.phase, self.epoch, self.action = phase, epoch, action

    def on_batch_end(self, net, **kwargs):
        if net.phase.name == self.phase and len(net.history) == self.epoch:
            self.action(net)


def model_for(estimator, **parameters):
    chosen = small(estimator if estimator in ESTIMATORS else DCEC, **{**PARAMETERS, **parameters})
    return estimator(**chosen.get_params(deep=False))


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
    assert number == 1 or files(model)
    return killer.begun


def begins_with(model, samples=X):
    """The phase of the first epoch that is run."""
    return kill(model, 1, samples)[0]


def files(model):
    return list(Path(model.checkpoint).iterdir())


def fit_and_watch(model, samples=X):
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


class Capricious(DCEC):
    """Its target depends on all that a refresh may read."""

    @staticmethod
    def make_phases(plan):
        *start, cluster = DCEC.make_phases(plan)
        return *start, dataclasses.replace(cluster, refresh=partial(_capricious, cluster.refresh))


def _capricious(refresh, run):
    targets = refresh(run)
    draw = torch.rand(targets["p"].shape, generator=run.generator)
    last = run.measures.get("draw", 0.0)
    run.measures = {"draw": float(draw[0, 0])}
    p = targets["p"] + draw * (run.label_change + last)
    return targets | {"p": p / p.sum(dim=1, keepdim=True)}


def at_rest():
    """Networks that a user leaves in eval mode, one of them with a layer that is not trained."""
    encoder, decoder = BatchNormPair(8)((1, 8, 8), 4)
    decoder[0].requires_grad_(False)
    return encoder.eval(), decoder


ONE = {"n_init": 1}
VECTORS = {"image_shape": None, "augmentation": None, **ONE}
CASES = [(e, "two starts", {}) for e in ESTIMATORS]
CASES += [(e, "vectors", {"architecture": "mlp", **VECTORS}) for e in ESTIMATORS]
CASES += [
    (e, "overclustered", {"init": "overclustered", "batch_size": 82, **VECTORS})
    for e in OVERCLUSTERING
]
CASES += [
    (DCEC, "rare refresh", {"update_interval": 3, **ONE}),
    (DCEC, "at rest", {"architecture": at_rest(), **ONE}),
    (DMAE, "fixed embedding", {"train_encoder": False, **ONE}),
    (DMAE, "no network", {"architecture": None, **VECTORS}),
    (DMAE, "target", {"pretrain_target": RBFSampler(n_components=4), **ONE}),
    (DCCS, "from nothing", {"init": None, "n_critic": 3}),
    (Capricious, "target", ONE),
]


@every_epoch
@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [pytest.param(e, parameters, id=f"{e.__name__}-{name}") for e, name, parameters in CASES],
)
def test_a_fit_that_is_killed_again_and_again_ends_as_the_undisturbed_one(
    estimator, parameters, tmp_path
):
    """Each fit is killed in its second epoch, or where there are many epochs, a bit later."""
    whole, phases = fit_and_watch(model_for(estimator, **parameters))
    model = model_for(estimator, checkpoint=str(tmp_path), **parameters)
    step = 1 + len(phases) // 15
    begun = []
    while len(begun) + step < len(phases):
        begun += kill(model, step + 1)[:step]
        assert begun == phases[: len(begun)]
    again, rest = fit_and_watch(clone(model))
    assert begun + rest == phases
    assert_same(whole, again)
    assert files(model) == []


@every_epoch
def test_a_fit_that_is_killed_between_the_choice_of_a_start_and_the_last_phase(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(_dmae, "_IMAGES_TO_SHARPEN", 20)
    test_a_fit_that_is_killed_again_and_again_ends_as_the_undisturbed_one(
        DMAE, {"init": "graph"}, tmp_path
    )


def merge_centers(net):
    with torch.no_grad():
        net.module_.assign.centers[1:] = 1e3


@every_epoch
def test_a_collapse_after_the_kill_restores_the_state_before_it(tmp_path):
    ruin = At("cluster", 2, merge_centers)
    model = model_for(DCEC, update_interval=3, n_init=1)
    whole = fit(clone(model).set_params(callbacks=[ruin]))
    assert whole.history_[-1]["collapsed"]
    model.set_params(checkpoint=str(tmp_path))
    assert kill(model, 4)[-2:] == ["cluster", "cluster"]
    # skorch counts from where the fit resumes
    again = fit(clone(model).set_params(callbacks=[At("cluster", 1, merge_centers)]))
    assert_same(whole, again)


@every_epoch
@each
def test_with_memory(estimator, tmp_path):
    whole = fit(model_for(estimator))
    keep = {"checkpoint": tmp_path / "checkpoint", "memory": str(tmp_path / "memory")}
    model = model_for(estimator, **keep)
    assert kill(model, 2)[0] == "pretrain"  # before memory holds anything
    assert kill(model, 3)[0] == "pretrain"  # in the second epoch, and then after it
    assert kill(model, 4)
    assert_same(whole, fit(clone(model)))
    assert_same(whole, fit(clone(model)))
    assert files(model) == []


# ---------------------------------------------------------------- real kills


CHILD = """
import os, signal, sys, threading
number, epoch, delay, checkpoint, tests = sys.argv[1:]
sys.path.insert(0, tests)
import torch, test_checkpoint as tests
torch.set_num_threads(1)
tests.checkpoints._SECONDS = 0.0
kill = threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL))
callbacks = [tests.KillAt(int(epoch), kill.start)]
tests.fit(tests.long_model(int(number), checkpoint=checkpoint, callbacks=callbacks))
"""


def long_model(number, **parameters):
    estimator = ESTIMATORS[number % len(ESTIMATORS)]
    return model_for(estimator, pretrain_epochs=10, max_epochs=10, **parameters)


@every_epoch
@pytest.mark.parametrize(
    "number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 20))]
)
def test_a_kill_at_a_random_moment(number, tmp_path):
    begun = time.monotonic()
    whole, phases = fit_and_watch(long_model(number))
    epoch_seconds = (time.monotonic() - begun) / len(phases)
    draw = random.Random(number)
    moment = draw.randint(2, len(phases) - 6), draw.uniform(0.0, 2.0) * epoch_seconds
    arguments = [number, *moment, tmp_path, Path(__file__).parent]
    child = subprocess.run([sys.executable, "-c", CHILD, *map(str, arguments)])
    assert child.returncode == -signal.SIGKILL
    again, rest = fit_and_watch(long_model(number, checkpoint=str(tmp_path)))
    assert rest == phases[-len(rest) :]
    assert len(rest) < len(phases)
    assert_same(whole, again)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- whose checkpoint it is


@pytest.fixture
def model(tmp_path, _every_epoch):
    return model_for(DCEC, checkpoint=str(tmp_path), n_init=1)


@pytest.fixture(scope="module")
def whole():
    """The model, not disturbed; not to be changed."""
    return fit(model_for(DCEC, n_init=1))


def damage(content, how):
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut off": content[:middle],
        "one byte less": content[:-1],
        "no header": content[8:],
        "one byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "the last byte": content[:-1] + bytes([content[-1] ^ 1]),
        "epoch": content.replace(b"epoch", b"epohc", 1),
    }[how]


@pytest.mark.parametrize(
    "how", ["empty", "cut off", "one byte less", "no header", "one byte", "the last byte", "epoch"]
)
def test_a_damaged_file_is_told_of_and_not_loaded(model, whole, how):
    kill(model, 4)
    (path,) = files(model)
    path.write_bytes(damage(path.read_bytes(), how))
    with pytest.warns(
        UserWarning, match=r"checkpoint .* cannot be used: .*\. Fit starts from scratch"
    ):
        assert kill(model, 4)[0] == "pretrain"
    assert_same(whole, fit(model))  # from the good one that was written in its place


def test_the_file_of_another_fit_is_not_loaded_under_any_name(model):
    kill(model, 4)
    (path,) = files(model)
    content = path.read_bytes()
    other = clone(model).set_params(gamma=0.5)
    kill(other, 3)
    (theirs,) = {*files(model)} - {path}
    theirs.write_bytes(content)
    with pytest.warns(UserWarning, match="it belongs to another fit"):
        _, begun = fit_and_watch(other)
    assert len(begun) == 6
    assert files(model) == [path]


def test_what_a_kill_leaves_of_an_unfinished_file_is_not_loaded(model):
    kill(model, 4)
    (path,) = files(model)
    half = path.with_name(f".{path.name}.0123")
    half.write_bytes(path.read_bytes()[:1000])
    path.unlink()
    _, begun = fit_and_watch(model)
    assert len(begun) == 6
    assert files(model) == []


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 0.5},
        {"n_clusters": 3},
        {"max_epochs": 5},
        {"n_init": 2},
        {"tol": 1e-9},
        {"random_state": 1},
        {"architecture": BatchNormPair(9)},
        {"image_shape": (4, 16)},
        {"augmentation": None},
    ],
    ids=str,
)
def test_other_parameters_do_not_take_it(model, change):
    kill(model, 4)
    (path,) = files(model)
    other = clone(model).set_params(**change)
    assert begins_with(other) == "pretrain"
    assert files(model) == [path]
    assert begins_with(model) == "cluster"


@pytest.mark.parametrize(
    "samples",
    [X[:-1], X[::-1], X + 1e-9, X.astype(np.float32), sparse.csr_array(X)],
    ids=["fewer", "order", "values", "dtype", "sparse"],
)
def test_other_samples_do_not_take_it(model, samples):
    kill(model, 4)
    assert begins_with(model, samples) == "pretrain"
    kill(model, 4, samples)
    assert len(files(model)) == 2
    assert begins_with(model, samples) == begins_with(model) == "cluster"


def test_another_estimator_does_not_take_it(model):
    kill(model, 4)
    assert begins_with(Capricious(**model.get_params())) == "pretrain"


def test_another_version_does_not_take_it(model, monkeypatch):
    kill(model, 4)
    monkeypatch.setitem(checkpoints.VERSIONS, "skdeepcluster", "0")
    assert begins_with(model) == "pretrain"


def test_what_changes_nothing_does_not_matter(model, whole):
    kill(model, 4)
    changes = {"verbose": 1, "warm_start": True, "device": "cpu", "random_state": np.int64(0)}
    again, begun = fit_and_watch(clone(model).set_params(**changes))
    assert len(begun) == 3
    assert_same(whole, again)


def test_networks_are_told_apart_by_what_they_are():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))
    others = [copy.deepcopy(network) for _ in range(3)]
    with torch.no_grad():
        others[0][0].weight[0, 0] += 1e-6
    others[1][1].p = 0.2
    others[2][1].inplace = True

    def of(value):
        return checkpoints.hashes({"architecture": (value, nn.Identity())}, "checkpoint")

    assert of(network) == of(copy.deepcopy(network))
    assert len({of(value)["architecture"] for value in (network, *others)}) == 4


def test_a_lambda_is_refused(model):
    model.set_params(augmentation=lambda x: x)
    with pytest.raises(
        ValueError, match=r"checkpoint must recognise augmentation.* cannot be pickled"
    ):
        fit(model)


# ---------------------------------------------------------------- when there is one


@each
@every_epoch
def test_nothing_is_left_and_nothing_changes(estimator, tmp_path):
    model = model_for(estimator, checkpoint=tmp_path / "a" / "b", n_init=1)
    assert_same(fit(model_for(estimator, n_init=1)), fit(model))
    assert files(model) == []


def test_short_fits_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "write", None)
    fit(model_for(DCEC, checkpoint=str(tmp_path), n_init=1))


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    kept = checkpoints.Checkpoint(tmp_path, {})

    def write(path, content):
        now[0] += 3.0

    monkeypatch.setattr(checkpoints, "write", write)
    written = []
    for _ in range(1000):
        now[0] += 1.0
        if kept.due():
            kept.keep("1", {})
            written.append(now[0])
    assert written[0] == 13.0
    np.testing.assert_array_equal(np.diff(written), 33.0)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)], ids=str)
def test_what_does_not_repeat_is_refused(model, random_state):
    model.set_params(random_state=random_state)
    with pytest.raises(ValueError, match=r"checkpoint=.*Pass an int as random_state"):
        fit(model)


def test_without_safetensors(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match="checkpoints need safetensors: pip install"):
        fit(model)


def test_ctrl_c_keeps_it(model, whole):
    def interrupt(net):
        raise KeyboardInterrupt

    stopped = clone(model).set_params(callbacks=[At("cluster", 2, interrupt)])
    with pytest.warns(ConvergenceWarning, match="Interrupted after 3 epochs"):
        stopped.fit(X)
    assert stopped.n_iter_ == 3
    assert len(files(model)) == 1
    again, rest = fit_and_watch(stopped)
    assert rest == ["cluster"] * 3
    assert_same(whole, again)
    assert files(model) == []


def test_a_full_disk_does_not_end_the_fit(model, whole, monkeypatch):
    def full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(UserWarning, match=r"could not be written: No space left .* continues"):
        assert_same(whole, fit(model))
    assert files(model) == []


def test_a_folder_that_cannot_be_is_told_of_at_once(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file: pass a folder"):
        fit(model.set_params(checkpoint=tmp_path / "file"))


def test_what_goes_on_from_a_fitted_state_keeps_none(model, monkeypatch):
    fit(model.set_params(warm_start=True))
    mixture = fit(model_for(DMAE, architecture=None, checkpoint=model.checkpoint, **VECTORS))
    monkeypatch.setattr(checkpoints, "write", None)
    fit(model)
    mixture.partial_fit(X)


def test_bar_goes_on(model, capfd):
    kill(model, 4)
    fit(clone(model).set_params(verbose=1))
    shown = capfd.readouterr().err
    assert "| 3/6 [" in shown
    assert "| 6/6 [" in shown.rsplit("\r", 1)[-1]
