"""The loop over phases: guards, interruption, callbacks, caching, steps, batches."""

import collections
import copy
import math
import warnings

import joblib
import numpy as np
import pytest
import torch
from _instances import (
    ESTIMATORS,
    OVERCLUSTERING,
    BatchNormPair,
    digits,
    encoder_width,
    plan_of,
    small,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from torch import nn

from skdeepcluster import DCCS, DCEC, DMAE, _fit
from skdeepcluster._data.rows import Rows
from skdeepcluster._data.scaling import Scaler
from skdeepcluster._engine import trainer as training
from skdeepcluster._engine.net import PhaseNet, ShuffledBatches
from skdeepcluster._engine.phases import Phase, Run, Step
from skdeepcluster._engine.trainer import Progress, Trainer
from skdeepcluster.functional import constant, cosine, one_cycle
from skdeepcluster.nn import conv_autoencoder, glorot_

each = pytest.mark.parametrize("estimator", ESTIMATORS)


def model_for(estimator, **parameters):
    return small(estimator, **{"n_clusters": 4, "random_state": 0, "tol": 0.0, **parameters})


def state(model):
    return {name: value.clone() for name, value in model.module_.state_dict().items()}


def assert_same_state(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def phases_of(model):
    return list(dict.fromkeys(row["phase"] for row in model.history_))


class At(Callback):
    """Do something at an event of an epoch of a phase."""

    def __init__(self, phase, epoch, event, action):
        self.phase, self.epoch, self.event, self.action = phase, epoch, event, action

    def _maybe(self, net, event):
        # skorch counts the epochs that were begun
        here = net.phase.name == self.phase and len(net.history) == self.epoch
        if here and event == self.event:
            self.action(net)

    def on_epoch_begin(self, net, **kwargs):
        self._maybe(net, "on_epoch_begin")

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self._maybe(net, "on_batch_begin")

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        self._maybe(net, "on_batch_end")

    def on_epoch_end(self, net, **kwargs):
        self._maybe(net, "on_epoch_end")


def interrupt(net):
    raise KeyboardInterrupt


def poison(net):
    with torch.no_grad():
        next(net.module_.encoder.parameters()).fill_(float("nan"))


class Recorder(Callback):
    """What happened, as (phase, event)."""

    def __init__(self):
        self.events = []
        self.batches = {}

    def on_train_begin(self, net, **kwargs):
        self.events.append((net.phase.name, "train_begin"))
        self.batches[net.phase.name] = 5 if net.phase.whole_batches else 6  # of 82 samples

    def on_train_end(self, net, **kwargs):
        self.events.append((net.phase.name, "train_end"))

    def on_epoch_end(self, net, **kwargs):
        self.events.append((net.phase.name, "epoch_end"))

    def on_batch_end(self, net, **kwargs):
        self.events.append((net.phase.name, "batch_end"))

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.events.append((net.phase.name, "grad"))
        assert any(p.grad is not None for _, p in named_parameters)


# ---------------------------------------------------------------- divergence


@each
@pytest.mark.parametrize("phase", ["pretrain", "cluster"])
def test_divergence_names_phase_epoch_and_remedy(estimator, phase):
    model = model_for(estimator, callbacks=[At(phase, 2, "on_epoch_begin", poison)])
    with pytest.raises(FloatingPointError, match=f"phase '{phase}', epoch 2.*learning_rate"):
        model.fit(digits()[0])


@each
def test_divergence_by_learning_rate(estimator):
    model = model_for(estimator, learning_rate=1e12, learning_rate_schedule="constant")
    with pytest.raises(FloatingPointError, match="phase 'pretrain', epoch 1"):
        model.fit(digits()[0])


@each
@pytest.mark.parametrize("phase", ["pretrain", "cluster"])
def test_divergence_in_the_last_update(estimator, phase):
    """The loss is finite before the update that ruins the network."""
    model = model_for(estimator, pretrain_epochs=1, max_epochs=1)
    model.set_params(callbacks=[At(phase, 1, "on_epoch_end", poison)])
    with pytest.raises(FloatingPointError, match=f"phase '{phase}'"):
        model.fit(digits()[0])


# ---------------------------------------------------------------- collapse


class Snapshots(Callback):
    """State of the module at the begin of each epoch of the cluster phase."""

    def __init__(self):
        self.states = []

    def on_epoch_begin(self, net, **kwargs):
        if net.phase.name == "cluster":
            self.states.append(copy.deepcopy(net.module_.state_dict()))
            self.refresh_every = net.phase.refresh_every


def merge_centers(net):
    """Leave all samples to the first cluster."""
    assign = getattr(net.module_, "assign", None)
    with torch.no_grad():
        if assign is None:
            net.module_.encoder[-1].bias[1:4] -= 1e3
        elif hasattr(assign, "head"):
            assign.head[-1].bias[1:] -= 1e3
        else:
            assign.centers[1:] = 1e3 + assign.centers[1:]


@each
def test_collapse_restores_the_last_healthy_state(estimator):
    snapshots = Snapshots()
    ruin = At("cluster", 3, "on_batch_end", merge_centers)
    model = model_for(estimator, max_epochs=6, callbacks=[snapshots, ruin])
    with pytest.warns(
        ConvergenceWarning, match="Clusters collapsed in phase 'cluster', epoch"
    ) as w:
        model.fit(digits()[0])
    look = 3 if snapshots.refresh_every == 1 else 4
    assert f"epoch {look}:" in str(w[0].message)
    assert_same_state(state(model), snapshots.states[2])
    last = model.history_[-1]
    assert (last["phase"], last["epoch"], last["collapsed"]) == ("cluster", look, True)
    assert min(last["cluster_sizes"]) == 0
    assert not any("collapsed" in row for row in model.history_[:-1])
    assert not model.converged_
    assert len(np.unique(model.labels_)) == 4
    np.testing.assert_array_equal(model.predict(digits()[0]), model.labels_)


@each
def test_collapse_between_two_refreshes(estimator):
    """The state of the epoch before is as sick when the target is refreshed every 4 epochs."""
    snapshots = Snapshots()
    ruin = At("cluster", 2, "on_epoch_end", merge_centers)
    model = model_for(estimator, max_epochs=4, callbacks=[snapshots, ruin])
    if "update_interval" in model.get_params():
        model.set_params(update_interval=4)
    with pytest.warns(ConvergenceWarning, match="Clusters collapsed in phase 'cluster'"):
        model.fit(digits()[0])
    assert len(np.unique(model.labels_)) == 4


@each
def test_no_collapse_where_the_start_was_as_bad(estimator):
    X = np.repeat(digits(2)[0], 20, axis=0)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model = model_for(estimator).fit(X)
    assert not any("collapsed" in str(warning.message) for warning in record)
    assert not any("collapsed" in row for row in model.history_)


# ---------------------------------------------------------------- starts


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if e.start_decides])
def test_best_start_of_text_is_that_of_the_smallest_loss(estimator, monkeypatch):
    """The neighbour graph of a text tells nothing, so there is no judge."""
    losses = {}
    measure = _fit._last_loss

    def last_loss(trainer):
        losses[id(trainer.history)] = measure(trainer)
        return losses[id(trainer.history)]

    monkeypatch.setattr(_fit, "_last_loss", last_loss)
    X = sparse.random_array((90, 300), density=0.03, rng=np.random.default_rng(0)).tocsr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = model_for(estimator, n_init=3).fit(X)
    assert len(set(losses.values())) == 3
    assert id(model.history_) == min(losses, key=losses.get)
    last = [row for row in model.history_ if row["phase"] != "cluster"][-1]
    assert min(losses.values()) == pytest.approx(
        sum(v for v in last.values() if isinstance(v, float) and v == v)
    )


# ---------------------------------------------------------------- interruption


def fit_interrupted(model, X):
    """Fit; a KeyboardInterrupt that comes through would end pytest, not fail the test."""
    try:
        with pytest.warns(ConvergenceWarning, match="Interrupted"):
            fitted = model.fit(X)
    except KeyboardInterrupt:
        pytest.fail("KeyboardInterrupt came out of fit")
    assert fitted is model
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    return model


@each
def test_interrupt_before_an_epoch_is_finished_is_an_interrupt(estimator):
    model = model_for(estimator, callbacks=[At("pretrain", 1, "on_batch_end", interrupt)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(digits()[0])
    assert not hasattr(model, "labels_")


@each
@pytest.mark.parametrize(("phase", "epoch"), [("pretrain", 3), ("cluster", 1), ("cluster", 3)])
@pytest.mark.parametrize("event", ["on_epoch_begin", "on_batch_end"])
def test_interrupt_keeps_the_last_finished_epoch(estimator, phase, epoch, event):
    X, _ = digits()
    begun = []

    class Begun(Callback):
        def on_epoch_begin(self, net, **kwargs):
            begun.append(copy.deepcopy(net.module_.encoder.state_dict()))

    callbacks = [Begun(), At(phase, epoch, event, interrupt)]
    model = model_for(estimator, callbacks=callbacks)
    fit_interrupted(model, X)
    assert_same_state(model.module_.encoder.state_dict(), begun[-1])
    rows = [row for row in model.history_ if row["phase"] == phase]
    assert len(rows) == epoch - 1
    assert model.n_iter_ == len(model.history_)
    assert not model.converged_
    assert len(np.unique(model.labels_)) == 4
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.score(X))
    assert not model.module_.training
    assert model.set_params(callbacks=None).fit(X).n_iter_ > epoch


@pytest.mark.parametrize("estimator", OVERCLUSTERING)
def test_interrupt_in_the_overclustered_round(estimator):
    callbacks = [At("overcluster", 2, "on_batch_end", interrupt)]
    model = model_for(estimator, init="overclustered", callbacks=callbacks)
    fit_interrupted(model, digits()[0])
    assert phases_of(model) == ["pretrain", "overcluster"]
    assert model.cluster_centers_.shape[0] == 4


@each
@pytest.mark.parametrize("phase", ["pretrain", "cluster"])
@pytest.mark.filterwarnings("ignore:Only")  # categories that no one has trained yet
def test_interrupt_in_a_setup_or_refresh(estimator, phase, monkeypatch):
    """Ctrl-C comes at any time, also between epochs."""
    X, _ = digits()
    # what is called first after the phase
    in_refresh = Run.embed if estimator is DCCS else Run.assign
    method = Run.draw_seed if phase == "pretrain" else in_refresh
    number = 2 if method is Run.embed else 1  # the start partition embeds, too
    calls = []

    def once(self):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return method(self)

    monkeypatch.setattr(Run, method.__name__, once)
    model = model_for(estimator)
    fit_interrupted(model, X)
    assert phases_of(model) == (["pretrain"] if phase == "pretrain" else start_of(estimator))


def start_of(estimator):
    """Phases before the last."""
    return phases_of(model_for(estimator).fit(digits()[0]))[:-1]


@each
@pytest.mark.parametrize("epoch", [0, 2])
def test_interrupt_in_a_later_start_keeps_a_finished_one(estimator, epoch):
    begun = []

    class SecondStart(Callback):
        def on_epoch_begin(self, net, **kwargs):
            begun.append(net)
            if len(begun) == n_start + epoch + 1:
                raise KeyboardInterrupt

    X, _ = digits()
    model = model_for(estimator, n_init=3, callbacks=[SecondStart()])
    whole = model_for(estimator).fit(X).history_
    n_start = sum(row["phase"] != "cluster" for row in whole)
    fit_interrupted(model, X)
    assert len(model.history_) == n_start
    assert phases_of(model) == start_of(estimator)
    assert model.module_ is begun[0].module_


@each
def test_interrupt_while_the_starts_are_judged(estimator, monkeypatch):
    X, _ = digits()
    cut, calls = _fit.Fit._cut, []

    def second(self, *args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return cut(self, *args)

    monkeypatch.setattr(_fit.Fit, "_cut", second)
    model = fit_interrupted(model_for(estimator, n_init=3), X)
    assert phases_of(model) == start_of(estimator)


# ---------------------------------------------------------------- progress


@pytest.mark.parametrize(
    ("estimator", "init"),
    [*((e, "overclustered") for e in OVERCLUSTERING), *((e, "graph") for e in ESTIMATORS)],
)
def test_bar_ends_full(estimator, init, capfd):
    model = model_for(estimator, init=init, n_init=2, verbose=1, batch_size=82)
    model.fit(digits()[0])
    assert "100%" in capfd.readouterr().err.rsplit("\r", 1)[-1]


@pytest.mark.parametrize("estimator", OVERCLUSTERING)
def test_bar_ends_full_on_a_warm_start(estimator, capfd):
    model = model_for(estimator, init="overclustered", warm_start=True, batch_size=82)
    model.fit(digits()[0]).set_params(verbose=1).fit(digits()[0])
    assert "100%" in capfd.readouterr().err.rsplit("\r", 1)[-1]


# ---------------------------------------------------------------- callbacks


@each
def test_callbacks_are_called(estimator):
    recorder = Recorder()
    model = model_for(estimator, callbacks=[recorder]).fit(digits()[0])
    for phase, epochs in (("pretrain", model.pretrain_epochs), ("cluster", model.max_epochs)):
        count = {e: recorder.events.count((phase, e)) for _, e in recorder.events}
        assert count["train_begin"] == count["train_end"] == 1
        assert count["epoch_end"] == epochs
        assert count["batch_end"] == count["grad"] == epochs * recorder.batches[phase]


@each
def test_gradient_clipping_acts(estimator):
    X, _ = digits()
    norms = []

    class Norms(Callback):
        def on_batch_end(self, net, **kwargs):
            grads = [p.grad for p in net.module_.parameters() if p.grad is not None]
            norms.append(float(torch.stack([g.square().sum() for g in grads]).sum().sqrt()))

    model_for(estimator, callbacks=[GradientNormClipping(1e-3), Norms()]).fit(X)
    assert max(norms) <= 1.01e-3
    norms.clear()
    model_for(estimator, callbacks=[Norms()]).fit(X)
    assert max(norms) > 1e-2


@each
def test_early_stopping_ends_its_phase(estimator):
    """skorch's callbacks stop by KeyboardInterrupt at the end of an epoch: no warning."""
    stop = EarlyStopping("train_loss", patience=2, threshold=1e6, threshold_mode="abs", sink=str)
    model = model_for(estimator, callbacks=[stop], max_epochs=5).fit(digits()[0])
    assert phases_of(model) == [*start_of(estimator), "cluster"]
    assert len([r for r in model.history_ if r["phase"] == "pretrain"]) < model.pretrain_epochs
    np.testing.assert_array_equal(model.predict(digits()[0]), model.labels_)


@each
def test_callbacks_change_nothing_by_being_there(estimator):
    X, _ = digits()
    plain = model_for(estimator).fit(X)
    watched = model_for(estimator, callbacks=[Recorder()]).fit(X)
    assert_same_state(state(plain), state(watched))


@each
@pytest.mark.parametrize(
    ("callback", "name"),
    [(1, "1"), ("stop", "'stop'"), (("clip", 1), r"\('clip', 1\)"), (dict, "<class 'dict'>")],
)
def test_what_is_no_callback_is_refused_at_once(estimator, callback, name):
    model = model_for(estimator, callbacks=[Recorder(), callback])
    with pytest.raises(ValueError, match=f"callbacks holds {name}.*skorch.callbacks.Callback"):
        model.fit(digits()[0])
    assert not hasattr(model, "n_features_in_")


def test_partial_fit_refuses_what_is_no_callback():
    X, _ = digits()
    model = model_for(DMAE, architecture=None).partial_fit(X)
    with pytest.raises(ValueError, match=r"callbacks holds 1.*skorch.callbacks.Callback"):
        model.set_params(callbacks=[1]).partial_fit(X)


@each
def test_callbacks_may_be_classes_and_have_names(estimator):
    """As in skorch."""
    begun = []

    class Begun(Callback):
        def on_train_begin(self, net, **kwargs):
            begun.append(net.phase.name)

    model = model_for(estimator, callbacks=(Begun, ("again", Begun()))).fit(digits()[0])
    assert begun == [name for name in phases_of(model) for _ in range(2)]


# ---------------------------------------------------------------- memory


class PretrainedEpochs(Callback):
    """Counts in the class, because scikit-learn clones callbacks."""

    count = 0

    def on_epoch_end(self, net, **kwargs):
        type(self).count += net.phase.name == "pretrain"


@pytest.fixture
def pretrained():
    PretrainedEpochs.count = 0

    def since():
        count, PretrainedEpochs.count = PretrainedEpochs.count, 0
        return count

    return since


def other_clustering(model):
    """A parameter of the clustering phase, with another value than the model's."""
    return {"gamma": 0.3} if "gamma" in model.get_params() else {"tol": 0.5}


@each
def test_memory_pretrains_once(estimator, tmp_path, pretrained):
    X, _ = digits()
    model = model_for(estimator, memory=str(tmp_path), callbacks=[PretrainedEpochs()])
    first = clone(model).fit(X)
    assert pretrained() == model.pretrain_epochs
    again = clone(model).fit(X)
    assert pretrained() == 0
    assert_same_state(state(first), state(again))
    np.testing.assert_equal(first.history_, again.history_)
    clone(model).set_params(**other_clustering(model)).fit(X)
    assert pretrained() == 0


@each
@pytest.mark.parametrize("parameters", [{}, {"architecture": BatchNormPair()}, {"n_init": 2}])
def test_memory_does_not_change_the_outcome(estimator, tmp_path, parameters):
    X, _ = digits()
    plain = model_for(estimator, **parameters).fit(X)
    for memory in (str(tmp_path / "a"), joblib.Memory(tmp_path / "b", verbose=0)):
        for _ in range(2):  # a miss, then a hit
            model = model_for(estimator, memory=memory, **parameters).fit(X)
            assert_same_state(state(plain), state(model))
            np.testing.assert_equal(plain.history_, model.history_)
            np.testing.assert_array_equal(plain.labels_, model.labels_)


@each
@pytest.mark.parametrize(
    "change",
    [
        {"pretrain_epochs": 5},
        {"learning_rate": 1e-3},
        {"batch_size": 32},
        {"hidden_units": (16,)},
        {"n_components": 3},
        {"scaling": "standard"},
        {"precision": "bf16"},
        {"image_shape": (8, 8)},
        {"random_state": 1},
        {"learning_rate_schedule": "constant"},
        {"architecture": BatchNormPair(16)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_pretraining_misses_the_cache(estimator, change, tmp_path, pretrained):
    X, _ = digits()
    model = model_for(estimator, memory=str(tmp_path), callbacks=[PretrainedEpochs()])
    model.set_params(pretrain_epochs=10, max_epochs=0, init="k-means", precision="32")
    clone(model).fit(X)
    pretrained()
    changed = clone(model).set_params(**change).fit(X)
    assert pretrained() == changed.pretrain_epochs


@each
def test_other_data_misses_the_cache(estimator, tmp_path, pretrained):
    X, _ = digits()
    model = model_for(estimator, memory=str(tmp_path), callbacks=[PretrainedEpochs()])
    model.set_params(pretrain_epochs=2, max_epochs=0, init="k-means")
    clone(model).fit(X)
    assert pretrained() == 2
    for other in (X + 1, X[:-1], X[::-1]):
        clone(model).fit(other)
        assert pretrained() == 2


@each
def test_memory_serves_another_number_of_clusters(estimator, tmp_path):
    X, _ = digits()
    model_for(estimator, memory=str(tmp_path)).fit(X)
    model = model_for(estimator, n_clusters=3, memory=str(tmp_path)).fit(X)
    assert_same_state(state(model_for(estimator, n_clusters=3).fit(X)), state(model))


@each
@pytest.mark.parametrize(
    "parameters",
    [
        lambda width: {"architecture": BatchNormPair()((64,), width)},
        lambda width: {"architecture": BatchNormPair()},
        lambda width: {"augmentation": torch.abs},
    ],
    ids=["modules", "factory", "augmentation"],
)
def test_memory_with_what_a_user_may_pass(estimator, parameters, tmp_path, pretrained):
    X, _ = digits()
    torch.manual_seed(0)  # the user's network is trained as it comes
    model = model_for(estimator, memory=str(tmp_path), callbacks=[PretrainedEpochs()])
    parameters = parameters(encoder_width(model))
    model.set_params(pretrain_epochs=2, max_epochs=1, **parameters)
    first = model.fit(X).labels_
    assert pretrained() == 2
    np.testing.assert_array_equal(model.fit(X).labels_, first)
    assert pretrained() == 0


@each
@pytest.mark.parametrize("name", ["augmentation", "architecture"])
def test_memory_refuses_what_it_cannot_tell_apart(estimator, name, tmp_path):
    """A lambda cannot be pickled, so joblib has no key for it."""
    parameter = {
        "augmentation": lambda x: x + 0.01,
        "architecture": lambda shape, m: BatchNormPair()(shape, m),
    }[name]
    model = model_for(estimator, memory=str(tmp_path)).set_params(**{name: parameter})
    with pytest.raises(ValueError, match=f"{name}.*memory|memory.*{name}"):
        model.fit(digits()[0])


@each
def test_bar_is_full_after_a_hit(estimator, tmp_path, capfd):
    model = model_for(estimator, memory=str(tmp_path)).fit(digits()[0])
    model.set_params(verbose=1).fit(digits()[0])
    assert "100%" in capfd.readouterr().err.rsplit("\r", 1)[-1]


@pytest.mark.filterwarnings("ignore:Only . of n_clusters")  # the fits are tiny
@each
def test_grid_search_pretrains_once_a_fold(estimator, tmp_path, pretrained):
    X, _ = digits()
    model = model_for(estimator, memory=str(tmp_path), callbacks=[PretrainedEpochs()])
    name, value = next(iter(other_clustering(model).items()))
    grid = {name: [getattr(model, name), value, value / 2]}
    GridSearchCV(model, grid, cv=2, refit=False, error_score="raise").fit(X)
    assert pretrained() == 2 * model.pretrain_epochs


@each
def test_interrupted_pretraining_is_not_cached(estimator, tmp_path, pretrained):
    X, _ = digits()
    stop = At("pretrain", 3, "on_batch_end", interrupt)
    model = model_for(estimator, memory=str(tmp_path), callbacks=[stop])
    with pytest.warns(ConvergenceWarning, match="Interrupted"):
        model.fit(X)
    model.set_params(callbacks=[PretrainedEpochs()]).fit(X)
    assert pretrained() == model.pretrain_epochs


# ---------------------------------------------------------------- warm start


@each
def test_warm_start_goes_on(estimator):
    X, _ = digits()
    snapshots = Snapshots()
    model = model_for(estimator, warm_start=True).fit(X)
    first = state(model)
    model.set_params(callbacks=[snapshots]).fit(X)
    for name, value in snapshots.states[0].items():
        if name not in ("assign.frequencies", "prior_score"):  # of the first refresh
            assert torch.equal(value, first[name]), name
    assert phases_of(model) == ["cluster"]
    assert any(not torch.equal(value, first[name]) for name, value in state(model).items())
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def test_warm_start_goes_on_with_modules_of_the_user():
    X, _ = digits()
    pair = (nn.Linear(64, 4), nn.Sequential(nn.Linear(4, 64)))  # numpy makes no array of it
    model = model_for(DCEC, warm_start=True, architecture=pair).fit(X)
    assert phases_of(model.fit(X)) == ["cluster"]
    with pytest.raises(ValueError, match=r"(?s)architecture=.*warm_start=False"):
        model.set_params(architecture=copy.deepcopy(pair)).fit(X)


@each
def test_warm_start_does_not_touch_the_module_of_before(estimator):
    X, _ = digits()
    model = model_for(estimator, warm_start=True).fit(X)
    module, kept = model.module_, state(model)
    model.fit(X)
    assert_same_state(module.state_dict(), kept)
    assert model.module_ is not module


@each
def test_warm_start_keeps_the_scaling(estimator):
    X, _ = digits()
    model = model_for(estimator, warm_start=True, max_epochs=0).fit(X)
    embedding = model.transform(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # clusters may be empty there
        model.fit(X[:40] * 3)
    np.testing.assert_array_equal(model.transform(X), embedding)


@each
def test_warm_start_refuses_another_problem(estimator):
    X, _ = digits()
    model = model_for(estimator, warm_start=True).fit(X)
    with pytest.raises(ValueError, match="X has 63 features"):
        model.fit(X[:, 1:])
    with pytest.raises(ValueError, match=r"n_clusters=3 .*warm_start=False"):
        model.set_params(n_clusters=3).fit(X)
    with pytest.raises(ValueError, match="n_components"):
        model.set_params(n_clusters=4, n_components=2).fit(X)
    model.set_params(n_components=4)
    with pytest.raises(ValueError, match="fitted on vectors"):
        model.fit(X.reshape(-1, 1, 8, 8))


@each
def test_without_warm_start_another_problem_is_fine(estimator):
    X, _ = digits()
    model = model_for(estimator).fit(X)
    fresh = model_for(estimator, n_clusters=3).fit(X[:, 1:])
    assert_same_state(state(model.set_params(n_clusters=3).fit(X[:, 1:])), state(fresh))


# ---------------------------------------------------------------- phases, steps, batches


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.critic, self.encoder = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x):
        z = self.encoder(x)
        return z, torch.softmax(torch.cat([z, self.critic(x)], dim=1), dim=1)


def toy_rows(n=40):
    X = np.random.RandomState(0).normal(size=(n, 3)).astype(np.float32)
    return Rows(X, Scaler("none", np.zeros(1), np.ones(1)), None, torch.device("cpu"))


def toy_run(n=40, **more):
    rows = toy_rows(n)
    return Run(Toy(), rows, plan_of(small(DCEC, n_clusters=2, precision="32"), rows.X), **more)


def toy_trainer(run, callbacks=()):
    return Trainer(run, list(callbacks), Progress(0, "Toy", 0))


def toy_batches(run, whole_batches=False):
    phase = Phase("any", 1, (), 0.01, whole_batches=whole_batches)
    return ShuffledBatches(phase, run, lambda x: x, seed=0)


def epochs_of(batches, count):
    for batches.epoch in range(1, count + 1):
        yield list(batches)


def toy_loss(part):
    def loss(module, batch):
        # both parts are differentiated, whoever's turn it is
        both = module.critic(batch.x).square().mean() + module.encoder(batch.x).square().mean()
        return {part: both}

    return loss


def adversarial_phase(epochs=3, **more):
    steps = (
        Step("critic", toy_loss("of_critic"), trains=("critic",), repeat=4),
        Step("encode", toy_loss("of_encoder"), trains=("encoder",)),
    )
    return Phase("adversarial", epochs, steps, 0.01, **more)


class Changes(Callback):
    """Which part of the module each batch changed."""

    def __init__(self):
        self.changed = []

    def on_batch_begin(self, net, **kwargs):
        self.before = copy.deepcopy(net.module_.state_dict())

    def on_batch_end(self, net, **kwargs):
        after = net.module_.state_dict()
        names = {k.split(".")[0] for k in after if not torch.equal(after[k], self.before[k])}
        self.changed.append((net.step_.name, tuple(sorted(names))))


def test_steps_take_turns_across_epochs_and_leave_each_other_alone():
    changes = Changes()
    trainer = toy_trainer(toy_run(), callbacks=[changes])
    trainer.train([adversarial_phase(epochs=4)], seed=0)
    # 3 batches an epoch, so the turns of 4 + 1 cross the borders
    turn = [("critic", ("critic",))] * 4 + [("encode", ("encoder",))]
    assert changes.changed == (turn * 3)[:12]
    assert [set(row) & {"of_critic", "of_encoder"} for row in trainer.history] == [
        {"of_critic"},
        {"of_critic", "of_encoder"},
        {"of_critic", "of_encoder"},  # the third epoch has no turn of the encoder
        {"of_critic", "of_encoder"},
    ]


def test_gradients_of_a_step_are_its_own():
    """What another step left in a shared module is not added."""
    run = toy_run(16)
    grads = []

    class Grads(Callback):
        def on_grad_computed(self, net, named_parameters, batch=None, **kwargs):
            # copies, the loss of a full batch is the same in any order
            loss = toy_loss("x")(net.module_, batch)["x"]
            wanted = torch.autograd.grad(loss, list(net.module_.parameters()))
            got = [p.grad for _, p in named_parameters]
            grads.append(
                all(torch.allclose(w, g, atol=1e-6) for w, g in zip(wanted, got, strict=True))
            )

    toy_trainer(run, callbacks=[Grads()]).train([adversarial_phase(epochs=7)], seed=0)
    assert grads == [True] * 7


def test_each_phase_has_fresh_optimisers():
    nets = []

    class Nets(Callback):
        def on_train_begin(self, net, **kwargs):
            nets.append((net.critic_optimizer_, dict(net.critic_optimizer_.state)))

    trainer = toy_trainer(toy_run(), callbacks=[Nets()])
    trainer.train([adversarial_phase(), adversarial_phase()], seed=0)
    (first, _), (second, second_state) = nets
    assert first is not second
    assert len(first.state) > 0
    assert second_state == {}
    assert isinstance(first, torch.optim.Adam)


def test_setup_may_replace_a_module_that_is_then_trained():
    run = toy_run()
    replacement = nn.Linear(3, 1)
    before = replacement.weight.detach().clone()

    def setup(run):
        run.module.critic = replacement

    toy_trainer(run).train([adversarial_phase(setup=setup)], seed=0)
    assert run.module.critic is replacement
    assert not torch.equal(replacement.weight, before)


def test_refresh_and_stop_rhythm(monkeypatch):
    monkeypatch.setattr(training, "_FEWEST_UPDATES", 0)
    refreshes, asked = [], []
    run = toy_run()

    def refresh(run):
        refreshes.append(len(trainer.history))
        return {"q": run.assign()}

    def stop(run):
        asked.append(len(trainer.history))
        return len(asked) == 2

    trainer = toy_trainer(run)
    phase = adversarial_phase(epochs=7, refresh=refresh, refresh_every=3, stop=stop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        trainer.train([phase], seed=0)
    assert refreshes == [0, 2, 5]
    assert asked == [3, 6]
    assert trainer.converged
    assert [row["cluster_sizes"] is not None for row in trainer.history] == [
        *(False, False, True, False, False, True)
    ]


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (32, 16, [16, 16]),
        (33, 16, [16, 16]),
        (34, 16, [16, 16, 2]),
        (16, 16, [16]),
        (5, 16, [5]),
        (2, 2, [2]),
        (3, 2, [2]),
    ],
)
def test_batches(n, batch_size, sizes):
    run = toy_run(n, targets={"row": torch.arange(n)})
    run.plan = run.plan.replace(batch_size=batch_size)
    batches = toy_batches(run)
    epochs = [*epochs_of(batches, 2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == sizes
        seen = torch.cat([batch.targets["row"] for batch in epoch])
        assert len(set(seen.tolist())) == len(seen) >= n - 1
        for batch in epoch:
            np.testing.assert_array_equal(batch.x, run.rows.X[batch.targets["row"]])
    assert batches.phase.updates(n, batch_size) == len(sizes)
    if n > 3:
        orders = [torch.cat([b.targets["row"] for b in epoch]).tolist() for epoch in epochs]
        assert orders[0] != orders[1]
        assert orders[0] != sorted(orders[0])


@pytest.mark.parametrize(
    ("n", "sizes"), [(32, [16, 16]), (33, [16, 16]), (47, [16, 16]), (16, [16]), (5, [5]), (2, [2])]
)
def test_whole_batches(n, sizes):
    batches = toy_batches(toy_run(n), whole_batches=True)
    assert [len(batch) for batch in batches] == sizes
    assert batches.phase.updates(n, 16) == len(sizes)


def test_a_dropped_row_is_another_one_each_epoch():
    batches = toy_batches(toy_run(33, targets={"row": torch.arange(33)}))
    dropped = {
        33 * 16 - int(torch.cat([batch.targets["row"] for batch in epoch]).sum())
        for epoch in epochs_of(batches, 10)
    }
    assert len(dropped) > 3


@each
def test_one_row_tail_with_batch_norm(estimator):
    X, _ = digits(33)
    model = model_for(estimator, architecture=BatchNormPair(), max_epochs=1).fit(X)
    assert len(model.labels_) == 33


@pytest.mark.parametrize("schedule", [constant, cosine, one_cycle])
def test_learning_rate_follows_the_schedule(schedule):
    rates = []

    class Rates(Callback):
        def on_batch_end(self, net, **kwargs):
            (group,) = net.optimizer_of(net.step_).param_groups
            rates.append(group["lr"])

    phase = adversarial_phase(epochs=4, schedule=schedule)
    toy_trainer(toy_run(), callbacks=[Rates()]).train([phase], seed=0)
    np.testing.assert_allclose(rates, [0.01 * schedule(i / 12) for i in range(12)], rtol=1e-12)


def test_a_step_has_its_own_rates_and_betas():
    seen = []

    class Groups(Callback):
        def on_batch_end(self, net, **kwargs):
            groups = net.optimizer_of(net.step_).param_groups
            rates = {p.ndim: group["lr"] for group in groups for p in group["params"]}
            seen.append((net.step_.name, rates, groups[0]["betas"]))

    def halved(run):
        return {"weight": 0.5}

    steps = (
        Step("critic", toy_loss("a"), trains=("critic",), rates=halved, betas=(0.5, 0.9)),
        Step("encode", toy_loss("b"), trains=("encoder",)),
    )
    phase = Phase("own", 2, steps, 0.01, schedule=cosine)
    toy_trainer(toy_run(64), callbacks=[Groups()]).train([phase], seed=0)
    assert [(name, betas) for name, _, betas in seen] == [
        ("critic", (0.5, 0.9)),
        ("encode", (0.9, 0.999)),
    ] * 4
    for i, (_, rates, _) in enumerate(seen):
        rate = 0.01 * cosine(i / 8)
        of_weight = rate * (0.5, 1.0)[i % 2]
        np.testing.assert_allclose([rates[2], rates[1]], [of_weight, rate], rtol=1e-12)


def test_constants_are_known_in_every_phase():
    """With a refresh and without, and before and after it."""
    constants = {"row": torch.arange(40), "shared": torch.zeros(40)}
    run = toy_run(constants=constants)
    seen = []

    class Targets(Callback):
        def on_batch_begin(self, net, batch=None, **kwargs):
            x = torch.from_numpy(run.rows.X[batch.targets["row"]])
            assert torch.equal(batch.x, x)
            seen.append((net.phase.name, set(batch.targets), float(batch.targets["shared"][0])))

    def refresh(run):
        assert {"row"} <= set(run.targets)
        return {"own": torch.ones(40), "shared": torch.ones(40)}

    phases = [
        adversarial_phase(epochs=1),
        adversarial_phase(epochs=2, refresh=refresh, setup=lambda run: {"first": torch.ones(40)}),
        adversarial_phase(epochs=1),
    ]
    toy_trainer(run, callbacks=[Targets()]).train(phases, seed=0)
    plain, own = {"row", "shared"}, {"row", "shared", "own"}
    # what a refresh gives goes before a constant of its name, and is forgotten with its phase
    assert [names for _, names, _ in seen[::3]] == [plain, own | {"first"}, own, plain]
    assert [value for *_, value in seen[::3]] == [0.0, 1.0, 1.0, 0.0]
    assert set(run.constants) == plain


def test_measures_stand_in_the_rows_of_their_looks():
    run = toy_run()
    looks = []

    def refresh(run):
        looks.append(run.measures)
        run.measures = {"measure": float(len(looks))}
        return {}

    phases = [
        adversarial_phase(epochs=5, refresh=refresh, refresh_every=2),
        adversarial_phase(epochs=1),
        adversarial_phase(epochs=1, refresh=refresh),
    ]
    trainer = toy_trainer(run)
    trainer.train(phases, seed=0)
    assert [row.get("measure") for row in trainer.history] == [
        *(None, 2.0, None, 3.0, 4.0),
        None,
        6.0,
    ]
    assert looks[0] == looks[4] == {}


@each
@pytest.mark.parametrize("kind", ["annealed", "constant"])
def test_schedules_of_the_estimator(estimator, kind):
    rates, peaks = collections.defaultdict(list), {}

    class Rates(Callback):
        def on_batch_end(self, net, **kwargs):
            rate = net.optimizer_of(net.step_).param_groups[0]["lr"]
            rates[net.phase.name].append(rate / net.phase.learning_rate)
            peaks[net.phase.name] = net.phase.learning_rate

    model = model_for(estimator, learning_rate=3e-3, pretrain_epochs=20, callbacks=[Rates()])
    model.set_params(learning_rate_schedule=kind).fit(digits()[0])
    assert peaks["pretrain"] == model.learning_rate
    for seen in rates.values():
        assert max(seen) <= 1
        if kind == "constant":
            assert set(seen) == {1}
    if kind == "annealed":
        assert rates["pretrain"][0] == pytest.approx(0.04)
        assert rates["cluster"][-1] < 0.1
        assert rates["pretrain"][-1] < 0.1
        if estimator in (DCEC, DMAE):
            assert peaks["cluster"] == model.learning_rate
            assert rates["cluster"][0] == pytest.approx(1)
            assert rates["cluster"] == sorted(rates["cluster"], reverse=True)
    assert math.isclose(max(rates["pretrain"]), 1, rel_tol=0.02)


def test_a_phase_does_the_same_after_another_one_or_from_a_cache():
    """Its draws do not depend on what was drawn before it."""
    outcomes = []
    for warm_up in (0, 5):
        run = toy_run()
        start = copy.deepcopy(run.module.state_dict())

        def rewind(run, start=start):
            run.module.load_state_dict(start)

        phases = [adversarial_phase(warm_up), adversarial_phase(setup=rewind)]
        toy_trainer(run).train(phases, seed=3)
        outcomes.append(run.module.state_dict())
    assert_same_state(*outcomes)


def test_phase_net_has_no_default_callbacks():
    run = toy_run()
    net = PhaseNet(adversarial_phase(), run, toy_batches(run), total_updates=9, callbacks=[])
    net.initialize()
    assert net.callbacks_ == []
    assert net.module_ is run.module


# ---------------------------------------------------------------- precision and device


@each
def test_bfloat16_is_for_training_only(estimator):
    X, _ = digits()
    used = []

    class Watch(nn.Module):
        def forward(self, x):
            used.append((self.training, x.dtype))
            return x

    encoder, decoder = BatchNormPair()((64,), encoder_width(small(estimator)))
    encoder = nn.Sequential(encoder[:2], Watch(), *encoder[2:])
    model = model_for(estimator, precision="bf16", max_epochs=1, architecture=(encoder, decoder))
    # copies of a module write into the same list, which is a global of this test
    model.fit(X)
    assert {dtype for training, dtype in used if training} == {torch.bfloat16}
    assert {dtype for training, dtype in used if not training} == {torch.float32}
    assert all(parameter.dtype == torch.float32 for parameter in model.module_.parameters())
    assert model.transform(X.astype(np.float32)).dtype == np.float32
    full = model_for(estimator, precision="32", max_epochs=1).fit(X)
    half = model_for(estimator, precision="bf16", max_epochs=1).fit(X)
    assert not np.array_equal(full.transform(X), half.transform(X))


@each
def test_device_as_string_or_torch_device(estimator):
    X, _ = digits()
    by_name, by_device = (
        model_for(estimator, device=device).fit(X) for device in ("cpu", torch.device("cpu"))
    )
    assert_same_state(state(by_name), state(by_device))
    assert {p.device.type for p in by_name.module_.parameters()} == {"cpu"}


@each
@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_bad_device_is_refused(estimator, device):
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used here.*'auto'"):
        model_for(estimator, device=device).fit(digits()[0])


def test_collapse_rule():
    assert training._collapsed(np.array([5, 0]))
    assert training._collapsed(np.array([91, 9]))
    assert not training._collapsed(np.array([90, 10]))


@pytest.mark.parametrize("shape", [(1, 5, 5), (1, 5, 16), (3, 9, 14), (1, 28, 28), (1, 40, 30)])
def test_bfloat16_convolutions_have_the_gradient_of_float32(shape):
    # torch 2.13 on CPU gives arbitrary ones for maps that are one pixel wide and taller
    x = torch.rand(16, *shape, generator=torch.Generator().manual_seed(0))
    encoder, decoder = conv_autoencoder(shape, 4)
    for part in (encoder, decoder):
        glorot_(part, torch.Generator().manual_seed(0))
    weights = [*encoder.parameters(), *decoder.parameters()]

    def gradients(enabled):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            x_hat = decoder(encoder(x))
        return torch.autograd.grad((x_hat.float() - x).square().mean(), weights)

    for wide, narrow in zip(gradients(False), gradients(True), strict=True):
        assert (narrow - wide).norm() < 0.2 * wide.norm() + 1e-6  # 8 bits of mantissa, 6 layers


@pytest.mark.parametrize("size", [(8, 4), (16, 12), (29, 28)])
def test_bfloat16_is_refused_where_it_is_wrong(size):
    X = np.random.RandomState(0).uniform(size=(40, 1, *size)).astype(np.float32)
    model = DCEC(2, architecture="conv", precision="bf16", pretrain_epochs=1, max_epochs=0)
    with pytest.raises(ValueError, match=r"precision='32'"):
        model.fit(X)
    assert np.isfinite(model.set_params(precision="auto", n_init=1).fit(X).transform(X)).all()


@each
def test_callbacks_see_the_losses(estimator):
    seen = []

    class Losses(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.history[-1])

    model = model_for(estimator, callbacks=[Losses()]).fit(digits()[0])
    for row, told in zip(model.history_, seen, strict=True):
        losses = {k: v for k, v in row.items() if k in told and k != "epoch"}
        assert losses
        assert {name: told[name] for name in losses} == losses
        assert told["train_loss"] == pytest.approx(sum(losses.values()))


def test_early_stopping_of_skorch_ends_a_phase():
    stop = EarlyStopping("reconstruction", patience=1, threshold=1e6, threshold_mode="abs")
    model = model_for(DCEC, callbacks=[stop]).fit(digits()[0])
    assert [row["phase"] for row in model.history_].count("pretrain") == 2


def test_progress_that_goes_into_a_file_is_a_few_lines(capsys):
    model_for(DCEC, verbose=1).fit(digits()[0])
    assert capsys.readouterr().err.count("\r") <= 4
