"""Which skorch callbacks work, which are refused, and how callbacks stop training."""

import itertools
import math
import signal
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skorch.callbacks
import torch
from _instances import ESTIMATORS, digits, plan_of, small
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    NeptuneLogger,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
    WarmRestartLR,
)
from torch import nn

from skdeepcluster import DCCS, DCEC, DMAE
from skdeepcluster._engine.callbacks import check_callbacks
from skdeepcluster._engine.net import PhaseNet
from skdeepcluster._engine.phases import Phase, Step
from skdeepcluster._engine.processes import Processes

PAGE = Path(__file__).parent.parent / "doc" / "callbacks.rst"
EPOCHS = {"pretrain": 6, "cluster": 3}  # of the small DCEC


def fitted(*callbacks, estimator=DCEC, **parameters):
    parameters = {"n_clusters": 4, "random_state": 0, "tol": 0.0, **parameters}
    return small(estimator, callbacks=list(callbacks), **parameters).fit(digits()[0])


def epochs_of(model):
    """Phase -> how many epochs it had."""
    phases = [row["phase"] for row in model.history_]
    return {phase: phases.count(phase) for phase in phases}


class Epochs(Callback):
    """What the net had recorded at the end of each epoch, as (phase, row)."""

    def __init__(self):
        self.rows = []

    def on_epoch_end(self, net, **kwargs):
        self.rows.append((net.phase.name, dict(net.history[-1])))


class Parameters(Callback):
    """A copy of each parameter at the end of each epoch, as (phase, {name: value})."""

    def __init__(self):
        self.copies = []

    def on_epoch_end(self, net, **kwargs):
        copies = {name: p.detach().clone() for name, p in net.module_.named_parameters()}
        self.copies.append((net.phase.name, copies))


class Tracker:
    """Stands in for the service of a logger: keeps what is called with which arguments."""

    dir = "."
    info = SimpleNamespace(run_id="7")

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


def impatient(**parameters):
    """Stops each phase after its second epoch."""
    return EarlyStopping(
        "train_loss", patience=1, threshold=1e6, threshold_mode="abs", sink=str, **parameters
    )


# ---------------------------------------------------------------- those that work


def test_early_stopping_ends_each_phase_and_not_the_fit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fitted(impatient())
    assert epochs_of(model) == {"pretrain": 2, "cluster": 2}


def test_early_stopping_restores_the_best_weights():
    copies = Parameters()
    model = fitted(copies, impatient(load_best=True))
    best = copies.copies[2][1]  # first epoch of the second phase
    for name, value in model.module_.named_parameters():
        assert torch.equal(value, best[name]), name
    np.testing.assert_array_equal(model.predict(digits()[0]), model.labels_)


def test_a_subclass_of_early_stopping_may_look_at_one_phase():
    class StopPretraining(EarlyStopping):
        def on_epoch_end(self, net, **kwargs):
            if net.phase.name == "pretrain":
                super().on_epoch_end(net, **kwargs)

    model = fitted(StopPretraining("train_loss", patience=1, threshold=1e6, threshold_mode="abs"))
    assert epochs_of(model) == {"pretrain": 2, "cluster": 3}


def test_gradient_norm_clipping():
    norms = []

    class Norms(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            grads = [p.grad for _, p in named_parameters if p.grad is not None]
            norms.append(float(torch.stack([g.square().sum() for g in grads]).sum().sqrt()))

    fitted(Norms(), GradientNormClipping(1e-3), ("after", Norms()))
    before, after = norms[::2], norms[1::2]
    assert min(before) > 2e-3
    assert after == pytest.approx([1e-3] * len(after), rel=0.01)


def test_epoch_timer():
    epochs = Epochs()
    fitted(EpochTimer(), epochs)
    assert len(epochs.rows) == 9
    assert all(0 < row["dur"] < 60 for _, row in epochs.rows)


def test_print_log_writes_a_table_for_each_phase():
    lines = []
    model = fitted(PrintLog(sink=lines.append))
    rows = [line.split() for line in lines]
    assert rows[0] == ["epoch", "reconstruction", "train_loss"]
    assert [row[0] for row in rows[2:8]] == ["1", "2", "3", "4", "5", "6"]
    assert rows[8] == ["epoch", "clustering", "reconstruction", "train_loss"]
    assert len(rows) == 8 + 2 + 3
    assert f"{model.history_[0]['reconstruction']:.4f}" in lines[2]


def test_print_log_and_early_stopping_print_nothing_by_themselves(capsys):
    fitted(PrintLog(), EarlyStopping("train_loss", patience=1, threshold=1e6))
    assert capsys.readouterr() == ("", "")


def test_progress_bar_counts_the_batches():
    bars = []

    class Bars(Callback):
        def on_batch_end(self, net, **kwargs):
            bar = dict(net.callbacks_)["ProgressBar"].pbar_
            bars.append((bar.n, bar.total))

    fitted(ProgressBar(), Bars())
    assert bars == [(n, 6) for _ in range(9) for n in range(1, 7)]  # 82 samples, 16 a batch


def test_checkpoint_saves_after_each_epoch(tmp_path):
    saving = Checkpoint(
        monitor=None, f_params="{net.phase.name}{last_epoch[epoch]}.pt", dirname=str(tmp_path)
    )
    model = fitted(saving)
    wanted = {f"{phase}{n + 1}.pt" for phase, count in EPOCHS.items() for n in range(count)}
    assert {path.name for path in tmp_path.glob("*[0-9].pt")} == wanted
    saved = torch.load(tmp_path / "cluster3.pt", weights_only=True)
    for name, value in model.module_.named_parameters():
        assert torch.equal(saved[name], value), name


def test_checkpoint_saves_the_best_epoch(tmp_path):
    epochs = Epochs()
    saving = Checkpoint(monitor="train_loss_best", dirname=str(tmp_path))
    worse = ParamMapper("decoder*", fn=lambda p: p.data.mul_(3.0), at=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a spoilt decoder harms the clusters
        fitted(saving, epochs, worse)
    for phase in EPOCHS:
        losses = [row["train_loss"] for name, row in epochs.rows if name == phase]
        best = [row["event_cp"] for name, row in epochs.rows if name == phase]
        assert best == [loss < min(losses[:n], default=math.inf) for n, loss in enumerate(losses)]
        assert best[:3] == [True, True, False]
    assert (tmp_path / "params.pt").exists()


def test_train_end_checkpoint(tmp_path):
    saving = TrainEndCheckpoint(f_params="{net.phase.name}.pt", dirname=str(tmp_path))
    model = fitted(saving)
    assert (tmp_path / "train_end_pretrain.pt").exists()
    saved = torch.load(tmp_path / "train_end_cluster.pt", weights_only=True)
    for name, value in model.module_.state_dict().items():
        assert torch.equal(saved[name], value), name


def test_freezer_and_unfreezer():
    copies = Parameters()
    model = fitted(copies, Freezer("decoder*", at=2), Unfreezer("decoder*", at=5))
    changed = [
        any(not torch.equal(new[name], old[name]) for name in new if name.startswith("decoder"))
        for (_, old), (_, new) in zip(copies.copies[:5], copies.copies[1:6], strict=True)
    ]
    assert changed == [False, False, False, True, True]  # epochs 2 to 6 of the first phase
    encoder = [copy["encoder.1.weight"] for _, copy in copies.copies[:6]]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(encoder))
    assert not model.module_.decoder[0].weight.requires_grad  # frozen in epoch 2 of 3


def test_param_mapper():
    """Its epochs are those of each phase."""
    copies = Parameters()
    fitted(ParamMapper("decoder*bias", fn=lambda p: p.data.fill_(7.0), at=3), copies)
    sevens = [
        [bool(((p - 7.0).abs() < 0.5).all()) for name, p in copy.items() if name in biases]
        for _, copy in copies.copies
        for biases in [[n for n in copy if n.startswith("decoder") and n.endswith("bias")]]
    ]
    assert [all(row) for row in sevens] == [False] * 2 + [True] * 7
    assert [any(row) for row in sevens] == [False] * 2 + [True] * 7


def test_tensorboard_and_sacred_log_each_epoch():
    writer, run = Tracker(), Tracker()
    model = fitted(TensorBoard(writer), SacredLogger(run))
    scalars = [kwargs for name, _, kwargs in writer.calls if name == "add_scalar"]
    logged = [
        (k["global_step"], k["scalar_value"]) for k in scalars if k["tag"] == "reconstruction"
    ]
    losses = [(row["epoch"], row["reconstruction"]) for row in model.history_]
    assert logged == losses
    assert [name for name, *_ in writer.calls].count("close") == 2  # a writer opens itself again
    sacred = [args for _, args, _ in run.calls if args[0] == "reconstruction"]
    assert [(epoch, loss) for _, loss, epoch in sacred] == losses


def test_mlflow_and_wandb_log_each_epoch():
    run, client = Tracker(), Tracker()
    model = fitted(
        MlflowLogger(Tracker(), client, create_artifact=False), WandbLogger(run, save_model=False)
    )
    losses = [row["reconstruction"] for row in model.history_]
    metrics = [args for name, args, _ in client.calls if name == "log_metric"]
    assert [value for _, key, value in metrics if key == "reconstruction"] == losses
    rows = [args[0] for name, args, _ in run.calls if name == "log"]
    assert [row["reconstruction"] for row in rows] == losses


# ---------------------------------------------------------------- those that are refused

REFUSED = [
    (LRScheduler, LRScheduler("StepLR", step_size=3), "learning_rate_schedule"),
    (WarmRestartLR, WarmRestartLR, "learning_rate_schedule"),
    (EpochScoring, EpochScoring("accuracy"), r"history_.*score\(X\).*Callback"),
    (BatchScoring, BatchScoring("accuracy", on_train=True), r"history_.*score\(X\).*Callback"),
    (PassthroughScoring, PassthroughScoring("train_loss", on_train=True), "train_loss.*Remove it"),
    (InputShapeSetter, InputShapeSetter(), "Remove it.*architecture"),
    (Initializer, Initializer("encoder*"), "architecture"),
    (LoadInitState, LoadInitState(Checkpoint()), "checkpoint='folder'.*warm_start"),
    (NeptuneLogger, NeptuneLogger(Tracker()), "TensorBoard, WandbLogger or MlflowLogger"),
    # with the defaults of skorch only
    (EarlyStopping, EarlyStopping(), "monitor='valid_loss'.*monitor='train_loss'"),
    (Checkpoint, Checkpoint(), "monitor='valid_loss_best'.*monitor='train_loss_best'.*None"),
    (WandbLogger, WandbLogger(Tracker()), "save_model=True.*save_model=False.*save_model"),
    (MlflowLogger, MlflowLogger(), "create_artifact=True.*create_artifact=False.*save_model"),
]
WORK = {
    *(EarlyStopping, GradientNormClipping, EpochTimer, PrintLog, ProgressBar, Checkpoint),
    *(TrainEndCheckpoint, ParamMapper, Freezer, Unfreezer, TensorBoard, SacredLogger),
    *(MlflowLogger, WandbLogger, Callback),
}


@pytest.mark.parametrize(("kind", "callback", "remedy"), REFUSED)
def test_others_are_refused_by_name_at_the_start_of_fit(kind, callback, remedy):
    class Own(kind):
        pass

    message = f"(?s)callbacks holds .*{kind.__name__} .*{remedy}"
    for given in (callback, kind, ("mine", callback), ("mine", kind), Own):
        model = DCEC(4, callbacks=[EpochTimer(), given])
        with pytest.raises(ValueError, match=message) as caught:
            model.fit(digits()[0])
        assert repr(given) in str(caught.value)
        assert not hasattr(model, "n_features_in_")


def test_partial_fit_refuses_them_too():
    model = small(DMAE, n_clusters=4, architecture=None, callbacks=[LRScheduler])
    with pytest.raises(ValueError, match=r"LRScheduler.*learning_rate_schedule"):
        model.partial_fit(digits()[0])


def test_every_callback_of_skorch_works_or_is_refused():
    """And the page names it."""
    page = PAGE.read_text()
    names = {kind.__name__ for kind, *_ in REFUSED} | {kind.__name__ for kind in WORK}
    assert names == set(skorch.callbacks.__all__)
    assert [name for name in names if f"``{name}" not in page] == []


def test_the_name_of_a_callback_does_not_matter():
    class LRScheduler(Callback):
        pass

    given = [LRScheduler(), ("EpochScoring", Callback)]
    assert check_callbacks(given) == given
    assert check_callbacks(None) == []


# ---------------------------------------------------------------- stopping


@pytest.fixture
def _ctrl_c():
    """Python's own handler of Ctrl-C, also where the runner of the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # fit put it back
    signal.signal(signal.SIGINT, before)


class PressCtrlC(Callback):
    """The user presses Ctrl-C while this callback works at the end of an epoch."""

    def __init__(self, phase, epoch, press):
        self.phase, self.epoch, self.press = phase, epoch, press

    def on_epoch_end(self, net, **kwargs):
        if (net.phase.name, len(net.history)) == (self.phase, self.epoch):
            self.press()


def press_at_once():
    signal.raise_signal(signal.SIGINT)


def press_while_sleeping():
    main = threading.main_thread().ident
    timer = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    try:
        time.sleep(60)
    finally:
        timer.join()


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("press", [press_at_once, press_while_sleeping])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_ctrl_c_in_a_callback_ends_the_fit(estimator, press):
    begun = []

    class Begun(Callback):
        def on_epoch_begin(self, net, **kwargs):
            begun.append((net.phase.name, len(net.history)))

    callbacks = [Begun(), PressCtrlC("pretrain", 3, press)]
    with pytest.warns(ConvergenceWarning, match="Interrupted after 2 epochs"):
        model = fitted(*callbacks, estimator=estimator)
    assert begun == [("pretrain", 1), ("pretrain", 2), ("pretrain", 3)]
    assert epochs_of(model) == {"pretrain": 2}
    np.testing.assert_array_equal(model.predict(digits()[0]), model.labels_)


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_in_the_first_epoch_is_the_users():
    with pytest.raises(KeyboardInterrupt):
        fitted(PressCtrlC("pretrain", 1, press_at_once))


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_beside_early_stopping():
    """Pretraining is stopped by the one, the fit by the other, in the same epoch of its phase."""
    press = PressCtrlC("cluster", 2, press_at_once)
    with pytest.warns(ConvergenceWarning, match="Interrupted after 3 epochs"):
        model = fitted(press, impatient())
    assert epochs_of(model) == {"pretrain": 2, "cluster": 1}


@pytest.mark.usefixtures("_ctrl_c")
def test_a_callback_that_cleans_up_after_ctrl_c():
    def press():
        try:
            press_at_once()
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("cleaned up") from error

    with pytest.warns(ConvergenceWarning, match="Interrupted after 6 epochs"):
        model = fitted(PressCtrlC("cluster", 1, press))
    assert epochs_of(model) == {"pretrain": 6}


def test_early_stopping_where_ctrl_c_is_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        model = fitted(impatient())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert epochs_of(model) == {"pretrain": 2, "cluster": 2}


def test_early_stopping_in_a_thread():
    models = []
    thread = threading.Thread(target=lambda: models.append(fitted(impatient())))
    thread.start()
    thread.join()
    assert epochs_of(models[0]) == {"pretrain": 2, "cluster": 2}


@pytest.mark.parametrize(
    "event",
    [
        *("on_train_begin", "on_epoch_begin", "on_batch_begin", "on_grad_computed"),
        *("on_batch_end", "on_epoch_end", "on_train_end"),
    ],
)
@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyError("mine"), SystemExit(3)])
def test_an_exception_of_a_callback_is_not_changed(event, error):
    def fail(self, net, *args, **kwargs):
        raise error

    with pytest.raises(type(error)) as caught:
        fitted(type("Fails", (Callback,), {event: fail})())
    assert caught.value is error
    assert not hasattr(error, "__notes__")


def test_a_monitor_that_is_not_recorded():
    """As skorch raises it, with a note on what there is."""
    with pytest.raises(KeyError, match=r"reconstrucshun. was not found in history") as caught:
        fitted(EarlyStopping("reconstrucshun"))
    assert "Phase 'pretrain' records reconstruction and their sum" in caught.value.__notes__[0]
    assert "monitor='train_loss'" in caught.value.__notes__[0]


# ---------------------------------------------------------------- the losses of steps in turn


class OneBatch:
    """An epoch of one batch of one sample."""

    weight = 1.0

    def __iter__(self):
        yield self

    def __len__(self):
        return 1


def toy_net(values, callbacks=()):
    """A phase whose critic has three turns, then its encoder one; `values` are the losses."""

    def step(name, **more):
        def losses(module, batch):
            return {name: 0.0 * module[name].weight.sum() + values[net.updates_ - 1]}

        return Step(name, losses, (name,), **more)

    phase = Phase("toy", 9, (step("critic", repeat=3), step("encoder")), 0.01)
    module = nn.ModuleDict({"critic": nn.Linear(1, 1), "encoder": nn.Linear(1, 1)})
    rows = SimpleNamespace(device=torch.device("cpu"))
    plan = plan_of(small(DCEC, n_clusters=4, precision="32"), digits()[0])
    run = SimpleNamespace(module=module, rows=rows, plan=plan, processes=Processes())
    net = PhaseNet(phase, run, OneBatch(), total_updates=9, callbacks=list(callbacks))
    net.initialize().notify("on_train_begin", X=rows, y=None)
    return net


# of critic, critic, critic, encoder, and again; an epoch has one of them
LOSSES = [5.0, 4.0, 3.0, 10.0, 2.0, 1.0, 0.0, 8.0]


def test_train_loss_is_the_sum_of_the_last_known_losses():
    epochs = Epochs()
    net = toy_net(LOSSES, [epochs])
    means = []
    for _ in LOSSES:
        net.fit_loop(net.run.rows, epochs=1)
        means.append(dict(net.means_))
    assert means[:4] == [{"critic": 5}, {"critic": 4}, {"critic": 3}, {"critic": 3, "encoder": 10}]
    assert means[4:] == [
        {"critic": c, "encoder": e} for c, e in ((2, 10), (1, 10), (0, 10), (0, 8))
    ]
    rows = [row for _, row in epochs.rows]
    totals = [row["train_loss"] for row in rows]
    # before the encoder had its turn, there is no sum to compare with
    np.testing.assert_array_equal(totals, [math.nan, math.nan, math.nan, 13, 12, 11, 10, 8])
    assert [row["train_loss_best"] for row in rows] == [False] * 3 + [True] * 5
    assert [row.get("encoder") for row in rows] == [None] * 3 + [10, 10, 10, 10, 8]


def test_early_stopping_waits_until_each_step_had_its_turn():
    net = toy_net([*LOSSES[:4], 3.0, 3.0, 3.0, 10.0], [EarlyStopping("train_loss", patience=2)])
    stopped = []
    for _ in range(7):
        net.fit_loop(net.run.rows, epochs=1)
        stopped.append(net.stopped_)
    # the fourth epoch is the first with a sum, two more do not improve it
    assert stopped == [False] * 5 + [True, True]


def test_the_last_known_losses_are_part_of_the_state():
    net, epochs = toy_net(LOSSES), Epochs()
    net.fit_loop(net.run.rows, epochs=5)
    again = toy_net(LOSSES, [epochs])
    again.load_state(net.state())
    again.fit_loop(again.run.rows, epochs=1)
    assert again.means_ == {"critic": 1, "encoder": 10}
    assert epochs.rows[0][1]["train_loss"] == 11


def test_early_stopping_on_few_rows():
    """An epoch has one batch, and the encoder every fifth."""
    X = digits()[0][:16]
    parameters = {"n_clusters": 2, "n_critic": 4, "pretrain_epochs": 1, "max_epochs": 40}
    stopping = EarlyStopping("train_loss", threshold=1e6, threshold_mode="abs", sink=str)
    model = small(DCCS, random_state=0, tol=0.0, callbacks=[stopping], **parameters)
    with pytest.warns(ConvergenceWarning, match="clearly worse"):  # each phase ends early
        model.fit(X)
    rows = [row for row in model.history_ if row["phase"] == "cluster"]
    assert len(rows) == 5 + 5  # the first encoder update, and the patience
    assert ["information" in row for row in rows] == [False] * 4 + [True] * 6
