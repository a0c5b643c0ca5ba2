"""One optimiser per step and named losses, on top of skorch; nothing else."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn

from .._data.rows import Rows
from .callbacks import noting_ctrl_c
from .phases import Batch, Phase, Run, Step


class ShuffledBatches:
    """The samples of a run in a new random order in each epoch, as :class:`Batch`.

    A last batch of one row is dropped, since batch statistics do not exist there, and so is any
    smaller last batch if the phase needs whole batches. The order depends only on the seed and on
    the number of the epoch, so that all processes use the same order and a resumed fit has nothing
    to restore.
    """

    def __init__(
        self, phase: Phase, run: Run, augment: Callable[[Tensor], Tensor], seed: int
    ) -> None:
        self.phase = phase
        self.run = run
        self.augment = augment
        self.seed = seed
        self.epoch = 1

    def __iter__(self) -> Iterator[Batch]:
        run, size = self.run, self.run.plan.batch_size
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(run.rows))
        for number in range(self.phase.updates(len(order), size)):
            index = order[number * size : (number + 1) * size]
            index, weight = run.processes.share(index)
            where = torch.from_numpy(index).to(run.rows.device)
            targets = {name: values[where] for name, values in run.targets.items()}
            yield Batch(run.rows.take(index), targets, self.augment, run, weight)


class PhaseNet(NeuralNet):
    """Train a module through the steps of one phase.

    Parameters
    ----------
    phase : Phase
        What to train.
    run : Run
        Module, samples and targets.
    iterator : ShuffledBatches
        Batches of the run.
    total_updates : int
        Optimiser steps of the whole phase, for its learning-rate schedule.
    callbacks : list
        The user's skorch callbacks.
    """

    def __init__(
        self,
        phase: Phase,
        run: Run,
        iterator: ShuffledBatches,
        *,
        total_updates: int,
        callbacks: list[Any],
    ) -> None:
        super().__init__(
            run.module,
            criterion=nn.Identity,
            lr=phase.learning_rate,
            batch_size=run.plan.batch_size,  # for ProgressBar
            train_split=None,
            callbacks=callbacks,
            verbose=0,
            device=run.rows.device,
        )
        self.phase = phase
        self.run = run
        self.iterator = iterator
        self.total_updates = total_updates
        self.updates_ = 0
        self.stopped_ = False  # by a callback, as skorch's EarlyStopping
        self.losses_: dict[str, list[Tensor]] = {}
        self.means_: dict[str, float] = {}  # of each loss in the last epoch that had it
        self.best_ = math.inf  # the lowest train_loss so far
        self._turns = [s for s in phase.steps for _ in range(s.repeat)]

    @property
    def _default_callbacks(self) -> list[Any]:
        return []

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> "PhaseNet":
        """One fresh Adam for each step of the phase."""
        for step in self.phase.steps:
            modules = [getattr(self.module_, name) for name in step.trains]
            rates = step.rates(self.run)
            # networks may share weights: each is trained once
            parameters = {p: rates.get(n, 1.0) for m in modules for n, p in m.named_parameters()}
            if not any(parameter.requires_grad for parameter in parameters):
                raise ValueError(
                    f"The phase {self.phase.name!r} trains {', '.join(step.trains)}, which has no "
                    "parameter to train: change architecture, or set requires_grad to True."
                )
            optimizer = torch.optim.Adam(
                [
                    {"params": [p for p in parameters if parameters[p] == rate], "rate": rate}
                    for rate in dict.fromkeys(parameters.values())
                ],
                lr=self.lr,
                betas=step.betas,
                fused=self.run.rows.device.type in ("cpu", "cuda"),
            )
            setattr(self, f"{step.name}_optimizer_", optimizer)
        return self

    def optimizer_of(self, step: Step) -> torch.optim.Optimizer:
        """The optimiser of a step."""
        optimizer: torch.optim.Optimizer = getattr(self, f"{step.name}_optimizer_")
        return optimizer

    def state(self) -> dict[str, Any]:
        """What the next epoch depends on, besides module and samples."""
        optimizers = {
            step.name: {str(n): s for n, s in self.optimizer_of(step).state_dict()["state"].items()}
            for step in self.phase.steps
        }
        return {
            "updates": self.updates_,
            "means": dict(self.means_),
            "best": self.best_,
            "optimizers": optimizers,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from a state that :meth:`state` gave."""
        self.updates_, self.means_ = state["updates"], dict(state["means"])
        self.best_ = state["best"]
        for step in self.phase.steps:
            optimizer = self.optimizer_of(step)
            moments = {int(n): s for n, s in state["optimizers"][step.name].items()}
            optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call the callbacks; one that stops training at the end of an epoch ends the phase."""
        if method_name != "on_epoch_end":
            super().notify(method_name, **cb_kwargs)
            return
        self._record_losses()
        with noting_ctrl_c() as pressed:
            try:
                super().notify(method_name, **cb_kwargs)
            except KeyboardInterrupt:
                if pressed:
                    raise
                # skorch's callbacks stop training in this way; before each step had its turn,
                # there is no train_loss to stop by
                self.stopped_ = self._had_all_turns
            except Exception as error:
                if "not found in history" in str(error):
                    error.add_note(
                        f"Phase '{self.phase.name}' records {', '.join(self.means_)} and their "
                        "sum, train_loss, which every phase has: monitor='train_loss'."
                    )
                raise

    @property
    def _had_all_turns(self) -> bool:
        return self.updates_ > len(self._turns) - self.phase.steps[-1].repeat

    def _record_losses(self) -> None:
        """Record the mean of each loss, and their sum.

        Steps take turns across epochs, so an epoch with few batches may lack some losses. These
        keep the mean of the last epoch that had them, so that the sums of two epochs have the same
        terms. Until each step had a turn, the sum is not known.
        """
        means = {name: torch.stack(values).mean() for name, values in self.losses_.items()}
        self.run.processes.average(means.values())
        self.means_ |= {name: float(mean) for name, mean in means.items()}
        self.losses_ = {}
        for name, value in self.means_.items():
            self.history.record(name, value)
        total = math.fsum(self.means_.values()) if self._had_all_turns else math.nan
        self.history.record("train_loss", total)
        self.history.record("train_loss_best", total < self.best_)
        if total < self.best_:
            self.best_ = total

    def get_dataset(self, X: Rows, y: None = None) -> Rows:
        """The samples as they are: they batch themselves."""
        return X

    def get_iterator(self, dataset: Rows, training: bool = False) -> ShuffledBatches:
        """The run's own batches."""
        return self.iterator

    def train_step(self, batch: Batch, **fit_params: Any) -> Any:
        """Choose the step whose turn it is and the learning rate; skorch does the rest."""
        self.step_ = self._turns[self.updates_ % len(self._turns)]
        self.run.progress = min(1.0, self.updates_ / max(1, self.total_updates))
        factor = self.phase.schedule(self.run.progress)
        for group in self.optimizer_of(self.step_).param_groups:
            group["lr"] = self.phase.learning_rate * group["rate"] * factor
        self.updates_ += 1
        return super().train_step(batch, **fit_params)

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Losses of the step on a batch, summed and differentiated."""
        if not self.module_.training:
            self._set_training(True)
        bfloat16 = self.run.plan.precision == "bf16"
        # no cache: threads share it, and a thread that leaves autocast clears it for all
        with torch.autocast(
            self.run.rows.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False
        ):
            losses = self.step_.losses(self.module_, batch)
        loss = functools.reduce(torch.add, losses.values()) * batch.weight
        loss.backward()  # type: ignore[no-untyped-call]
        groups = self.optimizer_of(self.step_).param_groups
        trained = [p for group in groups for p in group["params"]]
        self.run.processes.average(p.grad for p in trained if p.grad is not None)
        for name, value in losses.items():
            self.losses_.setdefault(name, []).append(value.detach() * batch.weight)
        return {"loss": loss, "y_pred": None}

    def _zero_grad_optimizer(self, set_to_none: bool | None = None) -> None:
        # gradients that another step left in shared modules are not this step's
        for step in self.phase.steps:
            self.optimizer_of(step).zero_grad()

    def _step_optimizer(self, step_fn: Callable[[], Tensor]) -> None:
        self.optimizer_of(self.step_).step(cast(Callable[[], float], step_fn))
