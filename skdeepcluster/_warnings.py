"""Ignore warnings of other libraries that do not help the user."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

_FILTERS = threading.RLock()


@contextlib.contextmanager
def ignoring(category: type[Warning], message: str = "") -> Iterator[None]:
    """Ignore warnings, in one thread at a time.

    Python's list of warning filters belongs to all threads. Two threads that change and restore it
    at the same time can leave a filter behind, which would hide our own warnings.

    Parameters
    ----------
    category : warning class
        Which warnings.
    message : str, default=""
        Regular expression that the beginning of their text must match.

    Examples
    --------
    >>> import warnings
    >>> with ignoring(UserWarning, "few"):
    ...     warnings.warn("few samples", UserWarning)
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield
