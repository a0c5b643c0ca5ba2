"""The skorch callbacks that the estimators accept, and Ctrl-C while they run."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    NeptuneLogger,
    PassthroughScoring,
    WandbLogger,
    WarmRestartLR,
)

_NO_SCHEDULER = (
    "fit sets the learning rate at each update. Use the parameters learning_rate and "
    "learning_rate_schedule instead."
)
_NO_SCORING = (
    "fit has neither y nor a validation set. Read history_ after fit, call score(X), or compute "
    "your score in the on_epoch_end of your own subclass of skorch.callbacks.Callback instead."
)
# callback: why it cannot work, and what to use instead
_REFUSED: dict[type, str] = {
    LRScheduler: _NO_SCHEDULER,
    WarmRestartLR: _NO_SCHEDULER,
    EpochScoring: _NO_SCORING,
    BatchScoring: _NO_SCORING,
    PassthroughScoring: (
        "fit records the mean of each loss, train_loss and train_loss_best without it. Remove it; "
        "monitor='train_loss' works for the other callbacks."
    ),
    InputShapeSetter: (
        "fit builds the network for the width of X. Remove it; the parameters architecture and "
        "hidden_units change the network."
    ),
    Initializer: (
        "it would initialise the weights again in each phase of fit. Pass a function as "
        "architecture that returns networks with your weights instead."
    ),
    LoadInitState: (
        "each phase of fit has optimisers of its own. Use checkpoint='folder' to resume an "
        "interrupted fit, or warm_start=True to train a fitted estimator further instead."
    ),
    NeptuneLogger: (
        "it reads net.optimizer_, and each step of a phase has an optimiser of its own. Use "
        "TensorBoard, WandbLogger or MlflowLogger, or log net.history[-1] in the on_epoch_end of "
        "your own subclass of skorch.callbacks.Callback instead."
    ),
}
# callback: the default of skorch that cannot work, as (name, value), and what to pass instead
_REFUSED_DEFAULTS: dict[type, tuple[str, Any, str]] = {
    EarlyStopping: (
        "monitor",
        "valid_loss",
        "fit has no validation set. Pass monitor='train_loss'.",
    ),
    Checkpoint: (
        "monitor",
        "valid_loss_best",
        "fit has no validation set. Pass monitor='train_loss_best', or monitor=None to save after "
        "each epoch.",
    ),
    WandbLogger: (
        "save_model",
        True,
        "fit has no validation set that tells the best epoch. Pass save_model=False, and save the "
        "fitted estimator with skdeepcluster.save_model.",
    ),
    MlflowLogger: (
        "create_artifact",
        True,
        "each step of a phase has an optimiser of its own. Pass create_artifact=False, and save "
        "the fitted estimator with skdeepcluster.save_model.",
    ),
}


def check_callbacks(callbacks: Sequence[Any] | None) -> list[Any]:
    """The parameter ``callbacks`` of the estimators as a list of callbacks that work.

    Parameters
    ----------
    callbacks : sequence or None
        Callbacks of skorch, their classes, or pairs of a name and one of these.

    Returns
    -------
    callbacks : list

    Raises
    ------
    ValueError
        If an item is none of these, or a callback of skorch that cannot work here.
    """
    for item in callbacks or ():
        named = isinstance(item, tuple | list) and len(item) == 2
        callback = item[1] if named else item
        kind = callback if isinstance(callback, type) else type(callback)
        for refused, reason in _REFUSED.items():
            if issubclass(kind, refused):
                raise ValueError(
                    f"callbacks holds {item!r}. {refused.__name__} does not work here: {reason}"
                )
        if not issubclass(kind, Callback):
            raise ValueError(
                f"callbacks holds {item!r}, which is not a callback of skorch. Each item is an "
                "instance or a subclass of skorch.callbacks.Callback, or a pair (name, callback): "
                "derive your own callback from that class."
            )
        for known, (name, default, reason) in _REFUSED_DEFAULTS.items():
            # skorch makes an instance of a class, with the defaults
            if issubclass(kind, known) and getattr(callback, name, default) == default:
                raise ValueError(
                    f"callbacks holds {item!r}. {known.__name__} with {name}={default!r} does not "
                    f"work here: {reason}"
                )
    return list(callbacks or ())


@contextmanager
def noting_ctrl_c() -> Iterator[list[int]]:
    """Give a list that is empty until the user presses Ctrl-C. Ctrl-C still interrupts.

    A callback stops training with ``raise KeyboardInterrupt``, which looks the same as the user's
    Ctrl-C to the code that catches it. Only the handler of the signal can tell them apart. Outside
    of the main thread the list stays empty: Python runs signal handlers in the main thread only.
    The same holds if SIGINT is ignored or handled outside of Python.
    """
    pressed: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield pressed
        return

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, handler)
