"""The loop over phases: progress, guards against divergence and collapse, caching, resuming."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from joblib import Memory
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from tqdm import tqdm

from .checkpoint import Checkpoint, load_module_state, module_state
from .device import load_torch_random_state, torch_random_state
from .net import PhaseNet, ShuffledBatches
from .phases import Phase, Run
from .progress import Progress as Progress

_FEWEST_UPDATES = 100  # of a phase before its stop rule is asked: an epoch may be one batch
_LARGEST_SHARE = 0.9  # of the samples, that a cluster may hold


class InterruptedTraining(Exception):
    """The user stopped training; the module is that of the last finished epoch."""


@dataclass
class Trainer:
    """Takes a module through phases.

    Attributes
    ----------
    run : Run
        Module, samples and targets.
    batch_size : int
        Samples a batch.
    augment : callable
        Given to each batch.
    autocast : bool
        Whether matrix products are taken in bfloat16.
    callbacks : list
        The user's skorch callbacks.
    progress : Progress
        What the user sees.
    history : list of dict
        One row per epoch.
    converged : bool
        Whether the last phase was ended by its stop rule.
    checkpoint : Checkpoint
        Where the state is kept.
    name : str
        Of this training, there.
    finished : list of str
        Names of the phases that are done.
    passed : list of str
        Those of them that were done when training was gone on with, and are not run again.
    unfinished : dict or None
        The state of a phase that is to be gone on with.
    """

    run: Run
    batch_size: int
    augment: Callable[[Tensor, torch.Generator], Tensor]
    autocast: bool
    callbacks: list[Any]
    progress: Progress
    history: list[dict[str, Any]] = field(default_factory=list)
    converged: bool = False
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    name: str = ""
    finished: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    unfinished: dict[str, Any] | None = None

    def state(self, unfinished: dict[str, Any] | None = None) -> dict[str, Any]:
        """All that goes on from here depends on, inside a phase with the state of that."""
        return {
            "module": module_state(self.run.module),
            "label_change": self.run.label_change,
            "history": self.history,
            "converged": self.converged,
            "finished": self.finished,
            "unfinished": unfinished,
            "progress": (self.progress.epochs, self.progress.done),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state that :meth:`state` gave of a training like this one."""
        load_module_state(self.run.module, state["module"])
        self.run.label_change = state["label_change"]
        self.history, self.converged = state["history"], state["converged"]
        self.finished, self.passed = [*state["finished"]], [*state["finished"]]
        self.unfinished = state["unfinished"]
        self.progress.go_on(*state["progress"])
        if self.progress.verbose:
            tqdm.write(
                f"{self.progress.title}{self.progress.part} goes on from the checkpoint, "
                f"{len(self.history)} epochs done"
            )

    def train(self, phases: Sequence[Phase], seed: int) -> None:
        """Run the phases that are not passed; raise InterruptedTraining if the user stops them.

        A phase draws from generators of its own, so that it does the same whether the
        phases before it were run or came from a cache.
        """
        for number, phase in enumerate(phases):
            if phase.name in self.passed:
                continue
            try:
                self._run_phase(phase, (seed + number) % 2**31)
            except KeyboardInterrupt:
                raise InterruptedTraining from None
            self.finished.append(phase.name)
            self.checkpoint.keep(self.name, self.state())

    def train_cached(
        self, phases: Sequence[Phase], seed: int, memory: Memory, key: dict[str, Any]
    ) -> None:
        """Run the phases, or take what `memory` holds for the samples and `key`."""
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

    def _run_phase(self, phase: Phase, seed: int) -> None:
        run = self.run
        run.random_state, run.over = np.random.RandomState(seed), False
        own_seed = seed + run.processes.index
        torch.manual_seed(own_seed)  # for draws that are not ours, as dropout's
        begun = self._unfinished(phase)
        if begun is None:
            run.targets, run.measures = dict(run.constants), {}
            first_targets = phase.setup(run) if phase.setup is not None else {}
            self._refresh(phase)
            run.targets |= first_targets or {}
            run.follow_first()
        else:
            own = {name: t.to(run.rows.device) for name, t in begun["targets"].items()}
            run.targets, run.measures = run.constants | own, begun["measures"]
        if not phase.epochs:
            return
        labels, sizes = self._assignment()
        guarded = phase.guarded and sizes is not None and not _collapsed(sizes)
        finished = healthy = copy.deepcopy(run.module.state_dict())
        first = 1
        generator = torch.Generator(run.rows.device).manual_seed(own_seed)
        net = self._net(phase, seed, generator)
        if begun is not None:
            first, guarded = begun["epoch"] + 1, begun["guarded"]
            healthy = begun["healthy"] or finished
            self._load_phase_state(begun, net, generator)
        an_epoch = phase.updates(len(run.rows), self.batch_size)
        for epoch in range(first, phase.epochs + 1):
            try:
                net.fit_loop(run.rows, epochs=1)
            except KeyboardInterrupt:
                run.module.load_state_dict(finished)
                raise
            run.processes.average(b for b in run.module.buffers() if b.is_floating_point())
            row = {"phase": phase.name, "epoch": epoch, **net.means_}
            _refuse_divergence(row, run.module)
            row |= {"label_change": np.nan, "cluster_sizes": None}
            run.over = epoch == phase.epochs
            due = epoch % phase.refresh_every == 0 or run.over
            if due:
                self._refresh(phase)
                run.follow_first()
                previous, (labels, sizes) = labels, self._assignment()
            if due and sizes is not None:
                run.label_change = float(np.mean(labels != previous))
                row |= {"label_change": run.label_change, "cluster_sizes": tuple(sizes.tolist())}
            if due:
                row |= run.measures
            self.history.append(row)
            self.progress.epoch(row)
            if guarded and _collapsed(sizes):
                run.module.load_state_dict(healthy)
                row["collapsed"] = True
                break
            finished = copy.deepcopy(run.module.state_dict())
            if due:
                healthy = finished
            settled = epoch * an_epoch >= _FEWEST_UPDATES
            if due and settled and phase.stop is not None and phase.stop(run):
                self.converged = True
                break
            if any(run.processes.of_all(net.stopped_)):
                break
            if epoch < phase.epochs and self.checkpoint.due():
                state = {"phase": phase.name, "epoch": epoch, "guarded": guarded}
                state["healthy"] = None if healthy is finished else dict(healthy)
                state |= self._phase_state(net, generator)
                self.checkpoint.keep(self.name, self.state(state))
        if not phase.guarded and sizes is not None and sizes.min() > 0 and _collapsed(sizes):
            row["collapsed"] = True  # empty clusters are told of with the labels
        self.progress.skip(phase.epochs - epoch)
        net.notify("on_train_end", X=run.rows, y=None)

    def _unfinished(self, phase: Phase) -> dict[str, Any] | None:
        """The state of the phase to go on from, once."""
        state, self.unfinished = self.unfinished, None
        return state if state is not None and state["phase"] == phase.name else None

    def _phase_state(self, net: PhaseNet, generator: torch.Generator) -> dict[str, Any]:
        """What the phase has besides the module: optimisers, targets, random generators."""
        run = self.run
        own = {n: t for n, t in run.targets.items() if t is not run.constants.get(n)}
        return {
            "net": net.state(),
            "targets": own,
            "measures": run.measures,
            "random_state": run.random_state.get_state(legacy=False),
            "generator": generator.get_state(),
            "torch_random_state": torch_random_state(run.rows.device),
        }

    def _load_phase_state(
        self, state: dict[str, Any], net: PhaseNet, generator: torch.Generator
    ) -> None:
        run = self.run
        net.load_state(state["net"])
        run.random_state.set_state(state["random_state"])
        generator.set_state(state["generator"])
        load_torch_random_state(state["torch_random_state"], run.rows.device)

    def _refresh(self, phase: Phase) -> None:
        """New targets."""
        if phase.refresh is not None:
            self.run.targets = self.run.constants | phase.refresh(self.run)

    def _assignment(self) -> tuple[Any, Any]:
        """Hard labels and cluster sizes, where the targets hold an assignment."""
        if "q" not in self.run.targets:
            return None, None
        q = self.run.targets["q"]
        labels = q.argmax(dim=1).cpu().numpy()
        return labels, np.bincount(labels, minlength=q.shape[1])

    def _net(self, phase: Phase, seed: int, generator: torch.Generator) -> PhaseNet:
        augment = phase.augment or self.augment
        iterator = ShuffledBatches(
            phase,
            self.run,
            self.batch_size,
            lambda x: augment(x, generator),
            np.random.default_rng(seed),
        )
        net = PhaseNet(
            phase,
            self.run,
            iterator,
            total_updates=phase.epochs * phase.updates(len(self.run.rows), self.batch_size),
            autocast=self.autocast,
            callbacks=self.callbacks,
        )
        net.initialize()
        net.notify("on_train_begin", X=self.run.rows, y=None)
        return net


def _call(key: dict[str, Any], X: Any, compute: Callable[[], Any]) -> Any:
    """What ``memory`` caches: the outcome for these parameters and data."""
    return compute()


def _collapsed(sizes: np.ndarray) -> bool:
    return bool(sizes.min() == 0 or sizes.max() > _LARGEST_SHARE * sizes.sum())


def _refuse_divergence(row: dict[str, Any], module: nn.Module) -> None:
    bad = [name for name, value in row.items() if isinstance(value, float) and value - value != 0]
    what = f"the loss '{bad[0]}' is {row[bad[0]]}" if bad else ""
    if not bad and not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
        what = "the network's weights are not finite"
    if what:
        raise FloatingPointError(
            f"Training diverged: {what} in phase '{row['phase']}', epoch {row['epoch']}. Lower "
            "learning_rate, set precision='32', or check X for outliers and columns of very "
            "unlike scale (scaling='standard')."
        )


def warn_collapse(history: list[dict[str, Any]]) -> None:
    """Warn where a training was ended by a collapse of its clusters.

    Parameters
    ----------
    history : list of dict
        The rows of the training.
    """
    for row in history:
        if not row.get("collapsed"):
            continue
        sizes = np.array(row["cluster_sizes"])
        what = f"{int((sizes == 0).sum())} of {len(sizes)} clusters are empty"
        if sizes.min() > 0:
            what = f"one cluster holds {sizes.max() / sizes.sum():.0%} of the samples"
        warnings.warn(
            f"Clusters collapsed in phase '{row['phase']}', epoch {row['epoch']}: {what}. The last "
            "healthy state is kept, if the phase began with one. Fewer clusters, a smaller "
            "learning_rate or a longer pretraining may help.",
            ConvergenceWarning,
            stacklevel=4,
        )
