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

_BLAS, _TORCH = threading.Lock(), threading.Lock()
_blas_users, _torch_users = 0, 0
_blas_limits: Any = None
_torch_before = 1
_inside = threading.local()


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
    global _torch_users, _torch_before
    outermost = not getattr(_inside, "call", False)
    before = torch.get_num_threads()
    if outermost:
        with _TORCH:
            _torch_before = before if _torch_users == 0 else _torch_before
            _torch_users += 1
            before = _torch_before
        _inside.call = True
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if outermost:
            _inside.call = False
            with _TORCH:
                _torch_users -= 1


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
    global _blas_users, _blas_limits
    libraries = ThreadpoolController()  # looks through all loaded libraries, 6 ms
    with _BLAS:
        _blas_users += 1
        if _blas_users == 1:
            _blas_limits = libraries.limit(limits=count, user_api="blas")
    try:
        with torch_threads(count), libraries.limit(limits=count, user_api="openmp"):
            yield
    finally:
        with _BLAS:
            _blas_users -= 1
            if _blas_users == 0:
                _blas_limits.restore_original_limits()


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
