"""The loop over phases and epochs, with its guards, its cache and its checkpoints."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from joblib import Memory
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from .._warnings import warn
from .checkpoint import Checkpoint, load_module_state, module_state
from .device import load_torch_random_state, torch_random_state
from .net import PhaseNet, ShuffledBatches
from .phases import Phase, Run
from .progress import Progress

_FEWEST_UPDATES = 100  # before the stop rule of a phase is asked: an epoch may be one batch
_LARGEST_SHARE = 0.9  # of the samples in one cluster, if it did not hold most of them at the start


@dataclass
class Trainer:
    """Train a module through phases.

    Attributes
    ----------
    run : Run
        Module, samples and targets.
    callbacks : list
        The user's skorch callbacks.
    progress : Progress
        What the user sees.
    history : list of dict
        One row per epoch.
    converged : bool
        Whether the stop rule ended the last phase.
    checkpoint : Checkpoint
        Where the state is kept.
    name : str
        Name of this training in the checkpoint.
    finished : list of str
        Names of the phases that are done.
    passed : list of str
        The phases that were done when training was resumed. They are not run again.
    unfinished : dict or None
        The state of a phase that is to be resumed.
    first : tuple of int ndarray of shape (n_samples,) and state, or None
        Clusters and module before the first epoch of the last phase, if it is guarded.
    """

    run: Run
    callbacks: list[Any]
    progress: Progress
    history: list[dict[str, Any]] = field(default_factory=list)
    converged: bool = False
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    name: str = ""
    finished: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    unfinished: dict[str, Any] | None = None
    first: tuple[np.ndarray, dict[str, Tensor]] | None = None

    def state(self, unfinished: dict[str, Any] | None = None) -> dict[str, Any]:
        """All that the rest of the training depends on, with the state of an unfinished phase."""
        return {
            "module": module_state(self.run.module),
            "label_change": self.run.label_change,
            "start": self.run.start,
            "first": self.first,
            "history": self.history,
            "converged": self.converged,
            "finished": self.finished,
            "unfinished": unfinished,
            "progress": (self.progress.epochs, self.progress.done),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from a state that :meth:`state` gave for a training like this one."""
        load_module_state(self.run.module, state["module"])
        self.run.label_change, self.run.start = state["label_change"], state["start"]
        self.first = state["first"]
        self.history, self.converged = state["history"], state["converged"]
        self.finished, self.passed = [*state["finished"]], [*state["finished"]]
        self.unfinished = state["unfinished"]
        self.progress.go_on(*state["progress"])
        if self.progress.verbose:
            self.progress.tell(f"resumes from the checkpoint, {len(self.history)} epochs done")

    def train(self, phases: Sequence[Phase], seed: int) -> None:
        """Run the phases that are not passed.

        Each phase seeds the generator anew, so that it does the same whether the phases before it
        were run or came from a cache.
        """
        for number, phase in enumerate(phases):
            if phase.name in self.passed:
                continue
            _PhaseTraining(self, phase, (seed + number) % 2**31).train()
            self.finished.append(phase.name)
            self.checkpoint.keep(self.name, self.state())

    def train_cached(
        self, phases: Sequence[Phase], seed: int, memory: Memory, key: dict[str, Any]
    ) -> None:
        """Run the phases, or take the result that `memory` holds for the samples and `key`."""
        if all(phase.name in self.passed for phase in phases):
            return
        computed = False

        def compute() -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
            nonlocal computed
            computed = True
            self.train(phases, seed)
            trained = {name for phase in phases for step in phase.steps for name in step.trains}
            state = {
                name: value.cpu().numpy()
                for name, value in self.run.module.state_dict().items()
                if name.split(".")[0] in trained
            }
            return state, self.history

        call = memory.cache(_call, ignore=["compute"])
        state, self.history = call(key, self.run.rows.X, compute)
        loaded = {name: torch.tensor(value) for name, value in state.items()}
        self.run.module.load_state_dict(self.run.module.state_dict() | loaded)
        if not computed:
            self.finished = [phase.name for phase in phases]
            self.progress.skip(sum(phase.epochs for phase in phases))


def _call(key: dict[str, Any], X: Any, compute: Callable[[], Any]) -> Any:
    """The function that ``memory`` caches: the result for these parameters and data."""
    return compute()


class _PhaseTraining:
    """One phase of a training: its start, its epochs, and the state between two epochs."""

    def __init__(self, trainer: Trainer, phase: Phase, seed: int) -> None:
        self.trainer, self.phase, self.seed = trainer, phase, seed
        self.run = trainer.run
        self.first = 1  # epoch
        self.guarded = False
        self.largest_share = _LARGEST_SHARE
        self.labels: Any = None
        self.sizes: Any = None
        self.finished: dict[str, Tensor] = {}  # state of the module after the last epoch
        self.healthy: dict[str, Tensor] = {}  # the same before clusters collapsed

    def train(self) -> None:
        """Run the phase to its end."""
        begun = self._begin()
        if not self.phase.epochs:
            return
        self._prepare(begun)
        for epoch in range(self.first, self.phase.epochs + 1):
            row, due = self._epoch(epoch)
            if self._ends(epoch, row, due):
                break
            self._keep(epoch)
        if not self.phase.guarded and self.sizes is not None and self.sizes.min() > 0:
            # fit warns about empty clusters together with the labels
            row |= {"collapsed": True} if _collapsed(self.sizes) else {}
        self.trainer.progress.skip(self.phase.epochs - epoch)
        self.net.notify("on_train_end", X=self.run.rows, y=None)

    def _begin(self) -> dict[str, Any] | None:
        """Seed, and make the first targets or take those of the state to resume."""
        run, phase = self.run, self.phase
        run.over, run.progress = False, 0.0
        seed = self.seed + run.processes.index
        run.generator = torch.Generator(run.rows.device).manual_seed(seed)
        if run.foreign_code:
            torch.manual_seed(seed)  # dropout, for instance, draws from the global generator
        begun, self.trainer.unfinished = self.trainer.unfinished, None
        if begun is not None and begun["phase"] == phase.name:
            own = {name: t.to(run.rows.device) for name, t in begun["targets"].items()}
            run.targets, run.measures = run.constants | own, begun["measures"]
            return begun
        run.targets, run.measures, self.trainer.first = dict(run.constants), {}, None
        first_targets = phase.setup(run) if phase.setup is not None else {}
        self._refresh()
        run.targets |= first_targets or {}
        run.follow_first()
        return None

    def _prepare(self, begun: dict[str, Any] | None) -> None:
        """Make the net, and load the state to resume."""
        run, phase = self.run, self.phase
        self._look()
        self.guarded = phase.guarded and self.sizes is not None and not _collapsed(self.sizes)
        if self.guarded:  # a cluster that starts with 90 % of the samples may gain a few
            share = self.sizes.max() / self.sizes.sum()
            self.largest_share = max(_LARGEST_SHARE, float(1 + share) / 2)
        self.finished = self.healthy = copy.deepcopy(run.module.state_dict())
        if begun is None and phase.guarded and self.labels is not None:
            self.trainer.first = self.labels, dict(self.finished)
        augment = phase.augment or run.augment
        self.iterator = ShuffledBatches(phase, run, lambda x: augment(x, run.generator), self.seed)
        self.net = PhaseNet(
            phase,
            run,
            self.iterator,
            total_updates=phase.epochs * phase.updates(len(run.rows), run.plan.batch_size),
            callbacks=self.trainer.callbacks,
        )
        self.net.initialize()
        self.net.notify("on_train_begin", X=run.rows, y=None)
        if begun is not None:
            self._load_state(begun)

    def _epoch(self, epoch: int) -> tuple[dict[str, Any], bool]:
        """Train one epoch; the row for the history, and whether the targets were refreshed."""
        run, phase = self.run, self.phase
        self.iterator.epoch = epoch
        try:
            self.net.fit_loop(run.rows, epochs=1)
        except KeyboardInterrupt:
            run.module.load_state_dict(self.finished)
            raise
        run.processes.average(b for b in run.module.buffers() if b.is_floating_point())
        row = {"phase": phase.name, "epoch": epoch, **self.net.means_}
        _refuse_divergence(row, run.module)
        row |= {"label_change": np.nan, "cluster_sizes": None}
        run.over = epoch == phase.epochs
        due = epoch % phase.refresh_every == 0 or run.over
        if due:
            self._refresh()
            run.follow_first()
            previous = self.labels
            self._look()
            if self.sizes is not None:
                run.label_change = float(np.mean(self.labels != previous))
                row["label_change"] = run.label_change
                row["cluster_sizes"] = tuple(self.sizes.tolist())
            row |= run.measures
        self.trainer.history.append(row)
        self.trainer.progress.epoch(row)
        return row, due

    def _ends(self, epoch: int, row: dict[str, Any], due: bool) -> bool:
        """Whether the phase ends here: by a collapse, its stop rule or a callback."""
        run, phase = self.run, self.phase
        if self.guarded and _collapsed(self.sizes, self.largest_share):
            run.module.load_state_dict(self.healthy)
            row["collapsed"] = True
            return True
        self.finished = copy.deepcopy(run.module.state_dict())
        if due:
            self.healthy = self.finished
        updates = epoch * phase.updates(len(run.rows), run.plan.batch_size)
        if due and updates >= _FEWEST_UPDATES and phase.stop is not None and phase.stop(run):
            self.trainer.converged = True
            return True
        return any(run.processes.of_all(self.net.stopped_))

    def _refresh(self) -> None:
        """New targets."""
        if self.phase.refresh is not None:
            self.run.targets = self.run.constants | self.phase.refresh(self.run)

    def _look(self) -> None:
        """Hard labels and cluster sizes, if the targets hold an assignment."""
        self.labels, self.sizes = None, None
        if "q" in self.run.targets:
            q = self.run.targets["q"]
            self.labels = q.argmax(dim=1).cpu().numpy()
            self.sizes = np.bincount(self.labels, minlength=q.shape[1])

    def _keep(self, epoch: int) -> None:
        """Keep what the next epoch depends on, when it is time."""
        run, checkpoint = self.run, self.trainer.checkpoint
        if epoch == self.phase.epochs or not checkpoint.due():
            return
        own = {n: t for n, t in run.targets.items() if t is not run.constants.get(n)}
        state = {
            "phase": self.phase.name,
            "epoch": epoch,
            "guarded": self.guarded,
            "largest_share": self.largest_share,
            "healthy": None if self.healthy is self.finished else dict(self.healthy),
            "net": self.net.state(),
            "targets": own,
            "measures": run.measures,
            "generator": run.generator.get_state(),
            "torch_random_state": torch_random_state(run.rows.device),
        }
        checkpoint.keep(self.trainer.name, self.trainer.state(state))

    def _load_state(self, state: dict[str, Any]) -> None:
        self.first, self.guarded = state["epoch"] + 1, state["guarded"]
        self.largest_share = state["largest_share"]
        self.healthy = state["healthy"] or self.finished
        self.net.load_state(state["net"])
        self.run.generator.set_state(state["generator"])
        if self.run.foreign_code:
            load_torch_random_state(state["torch_random_state"], self.run.rows.device)


def _collapsed(sizes: np.ndarray, largest_share: float = _LARGEST_SHARE) -> bool:
    if len(sizes) == 1:
        return False
    return bool(sizes.min() == 0 or sizes.max() > largest_share * sizes.sum())


def _refuse_divergence(row: dict[str, Any], module: nn.Module) -> None:
    bad = [name for name, value in row.items() if isinstance(value, float) and value - value != 0]
    what = f"the loss '{bad[0]}' is {row[bad[0]]}" if bad else ""
    if not bad and not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
        what = "the network's weights are not finite"
    if what:
        raise FloatingPointError(
            f"Training diverged: {what} in phase '{row['phase']}', epoch {row['epoch']}. Lower "
            "learning_rate, set precision='32', or check X for outliers and columns of very "
            "different scale (scaling='standard')."
        )


def warn_collapse(history: list[dict[str, Any]], phases: Sequence[Phase]) -> None:
    """Warn if its clusters collapsed in a training.

    Parameters
    ----------
    history : list of dict
        The rows of the training.
    phases : sequence of Phase
        What was trained. A collapse ends a guarded phase; in another, it remains.
    """
    guarded = {phase.name for phase in phases if phase.guarded}
    for row in history:
        if not row.get("collapsed"):
            continue
        sizes = np.array(row["cluster_sizes"])
        what = f"{int((sizes == 0).sum())} of {len(sizes)} clusters are empty"
        if sizes.min() > 0:
            what = f"one cluster holds {sizes.max() / sizes.sum():.0%} of the samples"
        now = "Fit went back to the state before that."
        if row["phase"] not in guarded:
            now = "It began with random weights, so there is no better state to go back to."
        warn(
            f"Clusters collapsed in phase '{row['phase']}', epoch {row['epoch']}: {what}. {now} "
            "Fewer clusters, a smaller learning_rate or a longer pretraining may help.",
            ConvergenceWarning,
        )
