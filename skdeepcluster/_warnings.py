"""Warn at the user's line, and ignore warnings of other libraries that do not help the user."""

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator

_FILTERS = threading.RLock()
# a warning is about the first line outside of these packages
_LIBRARIES = {"skdeepcluster", "sklearn", "skorch", "joblib"}


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the user that called the package.

    Parameters
    ----------
    message : str
        What the user should know, with the remedy.
    category : warning class
        Its class.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _LIBRARIES:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


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
