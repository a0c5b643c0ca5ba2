"""One fit by several processes that accelerate joins: each takes a share of every batch."""

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

LAUNCHED = "accelerate"  # the device that stands for what accelerate finds
_PATIENCE = 60.0  # seconds of waiting before the user hears of it


@dataclass(frozen=True)
class Processes:
    """Processes that fit one estimator to the same samples.

    All hold the same weights and targets, and shuffle the samples alike. Gradients are averaged,
    which for losses that are means over the samples of a batch gives those of the whole batch.
    What else is computed, for instance by k-means, every process takes from the first, since
    processors may differ in the last bits.

    Attributes
    ----------
    index, count : int
        Which this one is, and how many there are.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def launched(cls) -> Self:
        """Those that a launcher started."""
        state = _state()
        return cls(state.process_index, state.num_processes)

    def share(self, index: np.ndarray) -> tuple[np.ndarray, float]:
        """The part of a batch that this process takes, and its weight in the mean of all parts.

        A batch of fewer than two samples a process is taken whole by each of them, since batch
        statistics of one sample do not exist.
        """
        if len(index) < 2 * self.count:
            return index, 1.0
        own = index[self.index :: self.count]
        return own, len(own) * self.count / len(index)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over the processes in the place of each tensor."""
        if self.count == 1 or not (tensors := list(tensors)):
            return
        together = torch.cat([tensor.flatten() for tensor in tensors])
        mean = _accelerate().utils.reduce(together, "mean")
        parts = mean.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Put what the first process has in the place of each tensor."""
        if self.count > 1:
            for tensor in tensors:
                tensor.copy_(_accelerate().utils.broadcast(tensor.contiguous()))

    def of_all(self, value: Any) -> list[Any]:
        """The value that each process has."""
        if self.count == 1:
            return [value]
        with _patience():
            values: list[Any] = _accelerate().utils.gather_object([value])
        return values


def launched_device() -> torch.device:
    """The device that accelerate gives to this process."""
    device: torch.device = _state().device
    return device


def _state() -> Any:
    """What accelerate knows of this process, which joins the others when it is first asked."""
    accelerate = _accelerate()
    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > 1 and not joined and multiprocessing.parent_process() is not None:
        raise ValueError(
            f"device='{LAUNCHED}' in a worker, which a process that was launched has started, as "
            "n_jobs does: set n_jobs=1 around it. A launcher of your own creates an "
            "accelerate.PartialState in each process before the fit."
        )
    only_cpu = accelerate.utils.parse_flag_from_env("ACCELERATE_USE_CPU")
    with _patience():
        state = accelerate.PartialState(cpu=only_cpu or not torch.accelerator.is_available())
    if not joined and state.num_processes > 1:
        atexit.register(_leave)
    if launched > state.num_processes:
        raise ValueError(
            f"device='{LAUNCHED}': {launched} processes were launched, but accelerate joins "
            f"{state.num_processes}. Set ACCELERATE_USE_CPU=1 to train on CPUs, and create an "
            "Accelerator, if at all, with cpu=True then."
        )
    return state


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Tell the user when the other processes let this one wait."""
    message = (
        f"This process has waited {_PATIENCE:.0f} s for the others. Every process must call the "
        "same fits in the same order: has one ended, failed, or left out a fit?"
    )
    timer = threading.Timer(_PATIENCE, warnings.warn, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave() -> None:
    """Leave the other processes; torch's threads would abort this one at its end otherwise."""
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
