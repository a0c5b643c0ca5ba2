"""One fit: several starts, then the last phase from the best of them."""

import contextlib
import copy
import dataclasses
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_memory
from torch import nn

from ._data.rows import Rows
from ._engine.architecture import build_autoencoder
from ._engine.checkpoint import VERSIONS, Checkpoint, hashes
from ._engine.device import local_torch_seed, seeded_layers
from ._engine.method import Method
from ._engine.phases import Phase, Run
from ._engine.plan import Plan
from ._engine.processes import LAUNCHED, Processes
from ._engine.progress import Progress
from ._engine.trainer import Trainer
from ._start.judge import clearly_worse, input_graph, normalized_cut
from ._start.samples import sample_partition
from ._warnings import warn
from .nn import StudentTAssignment

# starts that are used even if a partition of the samples is better
_NOT_COMPARED = ("k-means", "seeded", None)


class Fit:
    """Trains a module by a method's phases.

    Parameters
    ----------
    method : Method class
        Module, phases and losses.
    plan : Plan
        What the fit does.
    rows : Rows
        Training samples, on the training device.
    callbacks : list
        The user's skorch callbacks, checked.
    judged : bool, default=True
        Whether partitions are compared by the neighbour graph of the samples.
    """

    def __init__(
        self,
        method: type[Method],
        plan: Plan,
        rows: Rows,
        callbacks: list[Any],
        *,
        judged: bool = True,
    ) -> None:
        self.method, self.plan, self.rows, self.callbacks = method, plan, rows, callbacks
        self.judged = judged and plan.data.kind != "bag of words"
        self.foreign_code = method.runs_foreign_code(plan)
        self.title = f"{method.__module__}.{method.__qualname__}"
        self.processes = self._join_processes()

    def train(self, phases: Sequence[Phase], previous: nn.Module | None) -> Trainer:
        """Make `n_init` starts, then train the best of them through the last phases.

        Parameters
        ----------
        phases : sequence of Phase
            Each start runs those before the first that is run `once`, or before the last.
        previous : torch.nn.Module or None
            The module of the last fit, to start from it instead of new weights.

        Returns
        -------
        Trainer
            The finished training.
        """
        shared = next((i for i, phase in enumerate(phases) if phase.once), len(phases) - 1)
        start, rest = phases[:shared], phases[shared:]
        last = rest[-1]
        n_init = self.plan.n_init if start and previous is None else 1
        seed, *seeds = self._draw_seeds(1 + n_init)
        kept = self._checkpoint(seed, previous)
        if "last" in kept.states:
            seeds = seeds[:1]  # the best start has been chosen
        self._look_at_samples(seed, starts=any(phase.setup is not None for phase in phases))
        progress = self._progress(n_init * _epochs(start) + _epochs(rest))
        trainer: Trainer | None = None
        started: list[Trainer] = []
        try:
            for number, own in enumerate(seeds, 1):
                progress.part = f" {number}/{n_init}" if n_init > 1 else ""
                with self._foreign_code(own):
                    trainer = self._new_trainer(own, progress, kept, str(number), previous)
                    self._train_start(trainer, start, own)
                started.append(trainer)
            progress.part = ""
            with self._foreign_code(seed):
                trainer = self._best_start(started, rest[0], seed)
                kept.states, trainer.name = {}, "last"
                trainer.train(rest, seed)
            kept.remove()
            self._take_back(trainer)
        except KeyboardInterrupt:
            # if a start is finished, use it and not one that has just begun
            trainer = started[0] if 0 < len(started) < n_init else trainer
            self._keep_interrupted(trainer, last)
        finally:
            progress.close()
        trainer = cast(Trainer, trainer)
        self.method.finish(trainer.run)
        return trainer

    # ---------------------------------------------------------------- before the training

    def _draw_seeds(self, count: int) -> list[int]:
        random_state = check_random_state(self.plan.random_state)
        drawn: list[int] = random_state.randint(np.iinfo(np.int32).max, size=count).tolist()
        seeds: list[int] = self.processes.of_all(drawn)[0]
        return seeds

    def _look_at_samples(self, seed: int, starts: bool) -> None:
        """Compute the neighbour graph that judges partitions, and the constants for the losses.

        If no phase `starts` from a partition, none of the samples is needed.
        """
        self.judge: tuple[np.ndarray, csr_array] | None = None
        self.simple: tuple[np.ndarray, np.ndarray] | None = None
        kind, n_clusters = self.plan.data.kind, self.plan.n_clusters
        if self.judged or (starts and self.plan.init == "samples"):
            nodes, graph, samples = input_graph(self.rows, kind, np.random.RandomState(seed))
            self.judge = (nodes, graph) if self.judged else None
            if starts and self.plan.init not in _NOT_COMPARED:
                self.simple = nodes, sample_partition(samples, graph, n_clusters, kind, seed)
        self.constants = self.method.constants(self.plan, self.rows, np.random.RandomState(seed))

    def _progress(self, epochs: int) -> Progress:
        """What the user sees; with several processes, only the first one shows it."""
        verbose = int(self.plan.verbose) if self.processes.index == 0 else 0
        progress = Progress(verbose, self.method.__name__, epochs)
        if verbose == 2:
            settings = (f"{n}={_brief(value)}" for n, value in self.plan.settings().items())
            progress.tell(f"settings: {', '.join(settings)}")
        return progress

    @contextlib.contextmanager
    def _foreign_code(self, seed: int) -> Iterator[None]:
        """Seed torch's global generator for the user's networks and functions, then restore it."""
        with contextlib.ExitStack() as stack:
            if self.foreign_code:
                stack.enter_context(local_torch_seed(seed, self.rows.device))
            yield

    def _new_trainer(
        self,
        seed: int,
        progress: Progress,
        kept: Checkpoint,
        name: str,
        previous: nn.Module | None,
    ) -> Trainer:
        state = kept.states.get("last", kept.states.get(name))
        module = copy.deepcopy(previous) if previous is not None else self._build(seed, state)
        run = Run(
            module.to(self.rows.device),
            self.rows,
            self.plan,
            augment=self.method.make_augmentation(self.plan),
            judge=self.judge,
            simple=self.simple,
            constants=self.constants,
            processes=self.processes,
            foreign_code=self.foreign_code,
        )
        trainer = Trainer(run, self.callbacks, progress, checkpoint=kept, name=name)
        if state is not None:
            trainer.load_state(state)
        return trainer

    def _build(self, seed: int, state: Mapping[str, Any] | None) -> nn.Module:
        """A new module; with the layers of the state of a training, if there is one."""
        with seeded_layers(seed, self.rows.device):
            pair = autoencoder(self.method, self.plan, self.rows, seed)
            if state is None:
                return self.method.make_module(self.plan, *pair)
            tensors = state["module"]["tensors"]
            module = self.method.fitted_module(self.plan, *pair, tensors)
        if "assign.frequencies" in tensors:  # with too many clusters, in the over-clustered round
            module.assign = StudentTAssignment(*tensors["assign.centers"].shape)
        return module

    # ---------------------------------------------------------------- the starts

    def _train_start(self, trainer: Trainer, phases: Sequence[Phase], seed: int) -> None:
        """Run the phases before the last; `memory` may hold the result of the first of them."""
        pretraining = [phase for phase in phases if phase.cached]
        if self.plan.memory is None:
            trainer.train(pretraining, seed)
        elif pretraining:
            memory = check_memory(self._memory_folder())
            key = self._hashes("memory", self.method.not_in_pretraining) | {"seed": seed}
            key |= hashes({"callbacks": self.callbacks}, "memory")  # they may change the training
            trainer.train_cached(pretraining, seed, memory, key)
        trainer.train(phases[len(pretraining) :], seed + len(pretraining))

    def _memory_folder(self) -> Any:
        memory = self.plan.memory
        return os.fspath(memory) if isinstance(memory, os.PathLike) else memory

    def _best_start(self, started: list[Trainer], following: Phase, seed: int) -> Trainer:
        """The start whose clusters cut the neighbour graph of the samples the least.

        It gets the embeddings of the others, which make other errors. Without that graph, it is the
        start with the smallest loss if its clusters are decided already, else the first.
        """
        best = started[0]
        if len(started) > 1 and self.judge is not None:
            best = min(started, key=lambda trainer: self._cut(trainer.run, following, seed))
        elif len(started) > 1 and self.method.start_decides:
            best = min(started, key=_last_loss)
        best.run.others = [trainer.run.embed() for trainer in started if trainer is not best]
        return best

    def _cut(self, run: Run, following: Phase, seed: int) -> float:
        """Normalised cut of the judge's graph by the clusters that a run would start from."""
        nodes, graph = cast(tuple[np.ndarray, csr_array], run.judge)
        generator = torch.Generator(run.rows.device).manual_seed(seed)
        run = dataclasses.replace(
            run, module=copy.deepcopy(run.module), generator=generator, targets={}
        )
        if following.setup is not None:
            following.setup(run)
        return normalized_cut(graph, _labels(run)[nodes], self.plan.n_clusters)

    # ---------------------------------------------------------------- after the training

    def _keep_interrupted(self, trainer: Trainer | None, last: Phase) -> None:
        """Give clusters to a training that the user stopped, if one epoch is done."""
        if trainer is None or not trainer.history:
            raise KeyboardInterrupt from None  # there is nothing to keep
        reached = trainer.history[-1]["phase"] == last.name
        if last.setup is not None and not reached:
            last.setup(trainer.run)
        if last.refresh is not None:
            last.refresh(trainer.run)
        learned = reached or last.setup is not None
        unlearned = "" if learned else ", but its clusters are not learned yet"
        warn(
            f"Interrupted after {len(trainer.history)} epochs. The estimator is fitted, with "
            f"the state of the last finished epoch{unlearned}; fit again for the full training.",
            ConvergenceWarning,
        )

    def _take_back(self, trainer: Trainer) -> None:
        """Undo a last phase that made the clusters clearly worse."""
        run, first, start = trainer.run, trainer.first, trainer.run.start
        if run.judge is None or (first is None and start is None):
            return
        nodes, graph = run.judge

        def cut(labels: np.ndarray) -> float:
            own = normalized_cut(graph, labels[nodes], self.plan.n_clusters)
            # the first process decides for all, because processors may differ in the last bits
            return float(self.processes.of_all(own)[0])

        after = cut(_labels(run))
        if first is not None and clearly_worse(after, before := cut(first[0]), self.plan):
            labels, state = first
            run.module.load_state_dict(state)
            sizes = tuple(np.bincount(labels, minlength=self.plan.n_clusters).tolist())
            trainer.converged = False
            trainer.history[-1] |= {"cluster_sizes": sizes, "taken_back": True}
            what = "Training made the clusters clearly worse, and the last phase was taken back"
        elif start is not None and clearly_worse(after, before := cut(start), self.plan):
            what = "The clusters are clearly worse than the start, which the network did not learn"
        else:
            return
        warn(
            f"{what}: they separate more neighbours than the clusters of the start do (normalised "
            f"cut {after:.2f}, start {before:.2f}; the lower, the better). Common reasons are "
            "short training, columns with very different scales, columns of few values, such as "
            "yes and no, and clusters of very different sizes. Compare with "
            "sklearn.cluster.KMeans, and with init='k-means' and "
            "max_epochs=0.",
            ConvergenceWarning,
        )

    # ---------------------------------------------------------------- what a fit depends on

    def _hashes(self, by: str, without: Collection[str] = ()) -> dict[str, Any]:
        """The method's name, hashes of its settings, and the versions of the code."""
        settings = {n: v for n, v in self.plan.settings().items() if n not in without}
        return {"estimator": self.title, "versions": VERSIONS, **hashes(settings, by)}

    def _checkpoint(self, seed: int, previous: nn.Module | None) -> Checkpoint:
        """The checkpoint of this fit; it keeps nothing if fit starts from another fit's module."""
        if self.plan.checkpoint is None or previous is not None:
            return Checkpoint()
        key = self._hashes("checkpoint") | hashes({"X": self.rows.X}, "checkpoint")
        return Checkpoint(
            self.plan.checkpoint, key | {"seed": seed, "device": str(self.rows.device)}
        )

    def _join_processes(self) -> Processes:
        """The processes that fit together; only this one if it was not launched with others."""
        if self.plan.device != LAUNCHED:
            return Processes()
        processes = Processes.launched()
        if processes.count == 1:
            return processes
        for name in ("memory", "checkpoint"):
            if getattr(self.plan, name) is not None:
                raise ValueError(
                    f"{name}={getattr(self.plan, name)!r} with {processes.count} processes, but "
                    f"they cannot share it: set {name}=None."
                )
        own = self._hashes("device") | hashes({"X": self.rows.X}, "device")
        for other in processes.of_all(own):
            names = own.keys() | other.keys()
            unlike = sorted(name for name in names if own.get(name) != other.get(name))
            if unlike:
                raise ValueError(
                    f"device='{LAUNCHED}' with {processes.count} processes that have different "
                    f"{', '.join(unlike)}. All must fit the same estimator to the same X: each "
                    "takes its share of the batches by itself."
                )
        return processes


def autoencoder(
    method: type[Method], plan: Plan, rows: Rows, seed: int
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of a plan, with new weights."""
    width = method.encoder_width(plan)
    return build_autoencoder(plan, rows, width, seed, builders=method.architectures(plan))


def _epochs(phases: Sequence[Phase]) -> int:
    return sum(phase.epochs for phase in phases)


def _labels(run: Run) -> np.ndarray:
    labels: np.ndarray = run.assign().argmax(dim=1).cpu().numpy()
    return labels


def _brief(value: Any) -> str:
    """A value on one line; for a network, whose representation has many lines, the type."""
    text = repr(value)
    return text if "\n" not in text else f"<{type(value).__name__}>"


def _last_loss(trainer: Trainer) -> float:
    """The losses of the last epoch, summed as in training; 0 before there is one."""
    if not trainer.history:
        return 0.0
    values = [value for value in trainer.history[-1].values() if isinstance(value, float)]
    return math.fsum(value for value in values if not math.isnan(value))
