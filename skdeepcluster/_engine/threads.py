"""Settings of torch and BLAS during fit or another method, and restore them after."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController

Call = TypeVar("Call", bound=Callable[..., Any])

_inside = threading.local()


class _Overlapping:
    """Calls in several threads that share what the first of them found."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls = 0
        self.found: Any = None

    @contextlib.contextmanager
    def call(self, begin: Callable[[], Any], end: Callable[[Any], Any]) -> Iterator[Any]:
        """What `begin` answered to the first call; after the last call, `end` gets it."""
        with self.lock:
            self.calls += 1
            if self.calls == 1:
                self.found = begin()
        try:
            yield self.found
        finally:
            with self.lock:
                self.calls -= 1
                if self.calls == 0:
                    end(self.found)


_blas, _torch = _Overlapping(), _Overlapping()


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads, then restore its setting.

    torch keeps a number for each thread, and gives new threads the last one that was set. A thread
    that begins during a call of another would take the number of that call for its own. So calls
    that overlap restore what the first of them found.

    Parameters
    ----------
    count : int
        At least 1.
    """
    within = getattr(_inside, "call", False)  # a method that another one called
    own = contextlib.nullcontext(torch.get_num_threads())
    # each thread restores its number itself, so nothing is left to do after the last call
    with own if within else _torch.call(torch.get_num_threads, lambda found: None) as before:
        _inside.call = True
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            _inside.call = within


@contextlib.contextmanager
def _no_autocast() -> Iterator[None]:
    """Leave the caller's `torch.autocast`: the precision is a parameter of the estimator."""
    with contextlib.ExitStack() as stack:
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextlib.contextmanager
def all_threads(count: int) -> Iterator[None]:
    """Let torch, scikit-learn and numpy use `count` threads, then restore their settings.

    The setting of numpy's linear algebra belongs to the process. If fits in threads overlap, the
    first one changes it and the last one restores it.

    Parameters
    ----------
    count : int
        At least 1.
    """
    libraries = ThreadpoolController()  # looks through all loaded libraries, 6 ms

    def limit_blas() -> Any:
        return libraries.limit(limits=count, user_api="blas")

    with (
        _blas.call(limit_blas, lambda limits: limits.restore_original_limits()),
        torch_threads(count),
        libraries.limit(limits=count, user_api="openmp"),
    ):
        yield


def _in(threads: Callable[[int], Any], method: Call) -> Call:
    @functools.wraps(method)
    def limited(self: Any, *args: Any, **kwargs: Any) -> Any:
        with threads(effective_n_jobs(getattr(self, "n_jobs", None))), _no_autocast():
            return method(self, *args, **kwargs)

    return cast(Call, limited)


def fit_threads(method: Call) -> Call:
    """Run a method like fit, which trains, with `n_jobs` threads and without autocast."""
    return _in(all_threads, method)


def answer_threads(method: Call) -> Call:
    """Run a method like predict, which does not train: `n_jobs` threads, no autocast."""
    return _in(torch_threads, method)
