"""The parts of a training: runs, batches, steps and phases."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._data.rows import Rows
from ..functional import constant
from .plan import Plan
from .processes import Processes


def unchanged(x: Tensor, generator: Any) -> Tensor:
    """No augmentation."""
    return x


@dataclass
class Run:
    """One training, as the functions of a phase see it.

    Attributes
    ----------
    module : torch.nn.Module
        The module being trained.
    rows : Rows
        The training samples.
    plan : Plan
        What the fit does: all parameters, with each "auto" resolved.
    generator : torch.Generator
        The only source of randomness, on the device of the samples. Pass it to all functions that
        draw random numbers.
    augment : callable
        ``(x, generator) -> x``, from samples to randomly augmented samples. It never writes to `x`.
    judge : tuple of index and graph, or None
        Neighbour graph of the samples themselves; None for text and in ``partial_fit``.
    simple : tuple of index and int ndarray, or None
        Some rows, and their clusters in a partition of the samples themselves.
    start : int ndarray of shape (n_samples,) or None
        The start partition, once there is one.
    constants : dict of str to tensor of shape (n_samples, ...)
        Values for each sample that do not change during the fit.
    others : list of ndarray of shape (n_samples, n_components)
        Embeddings of the samples by the other starts of the fit.
    targets : dict of str to tensor of shape (n_samples, ...)
        The last refresh, and the constants.
    label_change : float
        Share of labels that differ between the last two refreshes.
    measures : dict of str to float
        What the last refresh measured, for ``history_``.
    progress : float
        Share of the phase that is done, in [0, 1].
    over : bool
        True when no batch of the phase follows, so that a refresh is for the labels only.
    processes : Processes
        The processes that train the module together.
    foreign_code : bool
        Whether code from outside of this package may draw from torch's global generator.
    """

    module: Any
    rows: Rows
    plan: Plan
    generator: torch.Generator = field(default_factory=torch.Generator)
    augment: Callable[[Tensor, torch.Generator], Tensor] = unchanged
    judge: tuple[np.ndarray, Any] | None = None
    simple: tuple[np.ndarray, np.ndarray] | None = None
    start: np.ndarray | None = None
    constants: dict[str, Tensor] = field(default_factory=dict)
    others: list[np.ndarray] = field(default_factory=list)
    targets: dict[str, Tensor] = field(default_factory=dict)
    label_change: float = 1.0
    measures: dict[str, float] = field(default_factory=dict)
    progress: float = 0.0
    over: bool = False
    processes: Processes = field(default_factory=Processes)
    foreign_code: bool = False

    def draw_seed(self) -> int:
        """A seed for code that takes no torch generator, such as scikit-learn's estimators."""
        device = self.generator.device
        seed = torch.randint(2**31 - 1, (1,), generator=self.generator, device=device)
        return int(seed)

    def follow_first(self) -> None:
        """Take module, targets and measures from the first process."""
        tensors = [*self.module.state_dict().values()]
        self.processes.copy_first(tensors + [self.targets[name] for name in sorted(self.targets)])
        self.measures = self.processes.of_all(self.measures)[0]

    def embed(self) -> np.ndarray:
        """Embeddings of all samples, of shape (n_samples, n_components), float32."""
        batches = forward_batches(self.module, self.rows)
        whole = gather(((where, z.cpu()) for where, _, z, _ in batches), self.rows)
        embeddings: np.ndarray = whole.numpy()
        return embeddings

    def assign(self) -> Tensor:
        """Soft assignments of all samples, of shape (n_samples, n_clusters), on the device."""
        batches = forward_batches(self.module, self.rows)
        return gather(((where, q) for where, _, _, q in batches), self.rows)


@dataclass(frozen=True)
class Batch:
    """Some training samples, as a loss sees them.

    Attributes
    ----------
    x : tensor of shape (b, ...)
        Scaled samples.
    targets : mapping of str to tensor of shape (b, ...)
        The run's constants and what the phase's `refresh` returned, for these samples.
    augment : callable
        From samples to randomly augmented samples; the identity if the estimator augments nothing.
        It never writes to its argument.
    run : Run
        The training that the batch belongs to.
    weight : float
        Weight of the mean over these samples, in the mean over all processes.
    """

    x: Tensor
    targets: Mapping[str, Tensor]
    augment: Callable[[Tensor], Tensor]
    run: Run
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.x)

    @property
    def plan(self) -> Plan:
        """What the fit does."""
        return self.run.plan

    @property
    def progress(self) -> float:
        """Share of the phase that is done, in [0, 1]; use it to anneal a weight."""
        return self.run.progress

    @property
    def generator(self) -> torch.Generator:
        """The source of randomness, on the device of `x`."""
        return self.run.generator

    def neighbors(self, index: Tensor, weights: Tensor | None = None) -> Tensor:
        """A neighbour of each sample, drawn from `index` (b, j) by `weights`, evenly by default."""
        if weights is None:
            weights = torch.ones(index.shape, device=index.device, dtype=torch.float32)
        drawn = index.gather(1, torch.multinomial(weights, 1, generator=self.generator)).squeeze(1)
        return self.run.rows.take(drawn.cpu().numpy())


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode: no dropout, and no batch statistics."""
    training = module.training
    if training:  # each change of mode takes as long as a small network with one row
        module.eval()
    try:
        yield
    finally:
        if training:
            module.train()


def forward_batches(
    module: nn.Module, rows: Rows
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """All samples in order, as (rows, samples, embedding, soft assignment).

    In eval mode, without gradients.
    """
    with evaluating(module):
        for where, x in rows.padded_batches():
            with torch.no_grad():
                z, q = module(x)
            count = where.stop - where.start
            yield where, x[:count], z[:count], q[:count]


def gather(parts: Iterable[tuple[slice, Tensor]], rows: Rows) -> Tensor:
    """Join what was computed batch by batch into one tensor of shape (n_samples, ...).

    Each result is copied at once. A list of small results would keep the memory of the large
    intermediate tensors around them, which then grows with the number of batches.
    """
    whole = torch.empty(0)
    for where, part in parts:
        if where.start == 0:
            whole = part.new_empty(len(rows), *part.shape[1:])
        whole[where] = part
    return whole


def _no_rates(run: Run) -> Mapping[str, float]:
    return {}


@dataclass(frozen=True)
class Step:
    """One optimiser and what it minimises.

    Attributes
    ----------
    name : str
        Name of the optimiser.
    losses : callable
        ``(module, batch) -> {name: scalar tensor}``. Their sum is minimised, and each is a
        column of ``history_``.
    trains : tuple of str
        The submodules whose parameters the optimiser holds.
    repeat : int
        Number of consecutive batches for this step before the next step of the phase.
    rates : callable
        ``(run) -> {name: float}``, learning rates of single parameters, in units of the phase's
        learning rate, which the others have. It is asked once, after the phase's setup.
    betas : tuple of 2 floats
        Decay of Adam's two averages.
    """

    name: str
    losses: Callable[[Any, Batch], dict[str, Tensor]]
    trains: tuple[str, ...]
    repeat: int = 1
    rates: Callable[[Run], Mapping[str, float]] = _no_rates
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Phase:
    """A part of training with fixed losses.

    Attributes
    ----------
    name : str
        The name in ``history_``, progress and errors.
    epochs : int
        Maximum number of passes over the data.
    steps : tuple of Step
        Taken in turn, one batch each (or `repeat` batches).
    learning_rate : float
        Learning rate of every step, but for its own `rates`.
    schedule : callable
        From the share of the phase done, in [0, 1], to a factor on the learning rate.
    setup : callable, optional
        ``(run) -> {name: tensor (n_samples, ...)} or None``, called once before the first epoch.
        It may replace submodules. What it returns replaces the first refresh, name by name.
    refresh : callable, optional
        ``(run) -> {name: tensor (n_samples, ...)}``, the target of each sample. The soft
        assignment has the name "q": label changes and cluster sizes are read from it.
    refresh_every : int
        Epochs between two refreshes.
    stop : callable, optional
        ``(run) -> bool``, whether the phase has converged. It is asked after each refresh, but not
        before the 100th batch of the phase.
    whole_batches : bool
        Whether a last batch of fewer samples is left out, for losses that compare the samples of a
        batch with each other.
    guarded : bool
        Whether a collapse of clusters ends the phase. A cluster that is empty, or one that holds
        more than 90 % of the samples, is a collapse; a phase that starts with one is not guarded.
        If the largest cluster starts with more than 80 %, it may gain half of the rest. The module
        then goes back to its last healthy state, and fit warns. A last phase that is not guarded is
        never taken back either: False is for clusters that start from random weights.
    cached : bool
        Whether the estimator's ``memory`` may hold the result of this phase and those before it.
    augment : callable, optional
        ``(x, generator) -> x``, used instead of the estimator's augmentation.
    once : bool
        Whether only the best of several starts runs this phase and those after it. The last phase
        is always run once.
    """

    name: str
    epochs: int
    steps: tuple[Step, ...]
    learning_rate: float
    schedule: Callable[[float], float] = constant
    setup: Callable[[Run], dict[str, Tensor] | None] | None = None
    refresh: Callable[[Run], dict[str, Tensor]] | None = None
    refresh_every: int = 1
    stop: Callable[[Run], bool] | None = None
    whole_batches: bool = False
    guarded: bool = True
    cached: bool = False
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    once: bool = False

    def updates(self, n_samples: int, batch_size: int) -> int:
        """Batches in one epoch; a last batch of one row is never taken."""
        full, rest = divmod(n_samples, batch_size)
        return full + (rest > 1 and not (self.whole_batches and full))


def labels_stable(run: Run) -> bool:
    """Stop when fewer than `tol` of the labels changed (Guo et al. 2017, section 3.4)."""
    return bool(run.label_change < run.plan.tol)
