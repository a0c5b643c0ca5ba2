"""One fit in several processes, connected by accelerate. Each takes a part of every batch."""

import atexit
import contextlib
import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

LAUNCHED = "accelerate"  # the value of ``device`` for a fit by several processes
_PATIENCE = 60.0  # seconds that a process waits for the others before it warns


@dataclass(frozen=True)
class Processes:
    """Processes that fit one estimator to the same samples.

    All have the same weights and targets, and shuffle the samples in the same order. Gradients
    are averaged over the processes. If the loss is a mean over the samples of a batch, the result
    is the gradient for the whole batch. Other results, for example those of k-means, are taken
    from the first process, because processors may differ in the last bits.

    Attributes
    ----------
    index : int
        Number of this process, from 0.
    count : int
        Number of processes.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def launched(cls) -> Self:
        """The processes that a launcher started."""
        state = _state()
        return cls(state.process_index, state.num_processes)

    def share(self, index: np.ndarray) -> tuple[np.ndarray, float]:
        """The part of a batch for this process, and its weight in the mean over all parts.

        If a batch has fewer than two samples per process, every process takes all of it: batch
        statistics need two samples.
        """
        if len(index) < 2 * self.count:
            return index, 1.0
        own = index[self.index :: self.count]
        return own, len(own) * self.count / len(index)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor, in place, by its mean over the processes."""
        if self.count == 1 or not (tensors := list(tensors)):
            return
        together = torch.cat([tensor.flatten() for tensor in tensors])
        mean = _accelerate().utils.reduce(together, "mean")
        parts = mean.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor, in place, by the tensor of the first process."""
        if self.count > 1:
            for tensor in tensors:
                tensor.copy_(_accelerate().utils.broadcast(tensor.contiguous()))

    def of_all(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their numbers."""
        if self.count == 1:
            return [value]
        with _patience():
            values: list[Any] = _accelerate().utils.gather_object([value])
        return values


def launched_device() -> torch.device:
    """The device that accelerate assigns to this process."""
    device: torch.device = _state().device
    return device


def _state() -> Any:
    """The state of accelerate in this process. The first call connects it to the others."""
    accelerate = _accelerate()
    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > 1 and not joined and multiprocessing.parent_process() is not None:
        raise ValueError(
            f"device='{LAUNCHED}' cannot be used in a worker that a launched process has started, "
            "for example through n_jobs: set n_jobs=1 there. If you start the processes yourself, "
            "create an accelerate.PartialState in each of them before the fit."
        )
    only_cpu = accelerate.utils.parse_flag_from_env("ACCELERATE_USE_CPU")
    accelerator = getattr(torch, "accelerator", torch.cuda)  # torch before 2.6 has only the latter
    with _patience():
        state = accelerate.PartialState(cpu=only_cpu or not accelerator.is_available())
    if not joined and state.num_processes > 1:
        atexit.register(_leave)
    if launched > state.num_processes:
        raise ValueError(
            f"device='{LAUNCHED}': {launched} processes were launched, but accelerate joins "
            f"{state.num_processes}. To train on CPUs set ACCELERATE_USE_CPU=1; if you create an "
            "Accelerator yourself, pass cpu=True to it."
        )
    return state


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Warn the user if this process waits long for the others."""
    message = (
        f"This process has waited {_PATIENCE:.0f} s for the others. Every process must call the "
        "same fits in the same order. Check whether one of them has ended or failed, or has "
        "skipped a fit."
    )
    timer = threading.Timer(_PATIENCE, warnings.warn, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave() -> None:
    """Disconnect from the other processes; otherwise torch's threads abort this one at its end."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _accelerate() -> Any:
    try:
        import accelerate
    except ImportError as error:
        raise ImportError(
            f"device='{LAUNCHED}' needs accelerate: pip install accelerate, or "
            'pip install "skdeepcluster[distributed]".'
        ) from error
    return accelerate
