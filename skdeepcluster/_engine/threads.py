"""Set the number of CPU threads during fit or another method, and restore it after."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController

Call = TypeVar("Call", bound=Callable[..., Any])

_BLAS = threading.Lock()
_blas_users = 0
_blas_limits: Any = None


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads; the setting belongs to the calling thread.

    Parameters
    ----------
    count : int
        At least 1.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
        with threads(effective_n_jobs(getattr(self, "n_jobs", None))):
            return method(self, *args, **kwargs)

    return cast(Call, limited)


def fit_threads(method: Call) -> Call:
    """Run a method like fit, which trains, with the number of threads in `n_jobs`."""
    return _in(all_threads, method)


def answer_threads(method: Call) -> Call:
    """Run a method like predict, which does not train, with the number of threads in `n_jobs`."""
    return _in(torch_threads, method)
