"""What the user sees while a fit runs."""

import sys
from typing import Any

from tqdm import tqdm

_SECONDS_PER_LINE = 10.0  # between lines of the bar if a line cannot be redrawn


class Progress:
    """What the user sees of a fit: nothing, a bar, or one line per epoch.

    Parameters
    ----------
    verbose : {0, 1, 2}
        The parameter of the estimators. 1 draws the bar on ``sys.stderr``, 2 writes lines to
        ``sys.stdout``. If a stream is None, as under pythonw, nothing is shown.
    title : str
        Name of the estimator.
    epochs : int
        Epochs of the whole fit, for the bar.

    Examples
    --------
    >>> progress = Progress(2, "DCEC", epochs=1)
    >>> progress.epoch({"phase": "pretrain", "epoch": 1, "reconstruction": 0.25})
    DCEC pretrain epoch 1: reconstruction=0.25
    """

    def __init__(self, verbose: int, title: str, epochs: int) -> None:
        self.verbose = verbose
        self.title = title
        self.part = ""  # which of several trainings this is
        self.epochs, self.done = epochs, 0
        self.bar: Any = None
        if verbose == 1 and sys.stderr is not None:
            seconds = 0.1 if _is_terminal(sys.stderr) else _SECONDS_PER_LINE
            self.bar = tqdm(total=epochs, desc=title, unit="epoch", mininterval=seconds)

    def epoch(self, row: dict[str, Any]) -> None:
        """Show that an epoch has ended."""
        self.done += 1
        losses = {k: f"{v:.4g}" for k, v in row.items() if isinstance(v, float) and v == v}
        where = f"{self.title}{self.part} {row['phase']}"
        if self.bar is not None:
            self.bar.set_description(where, refresh=False)
            self.bar.set_postfix(losses, refresh=False)
            self.bar.update()
        if self.verbose == 2:
            values = " ".join(f"{name}={value}" for name, value in losses.items())
            self.tell(f"{row['phase']} epoch {row['epoch']}: {values}")

    def tell(self, text: str) -> None:
        """Write a line to ``sys.stdout``, above the bar if there is one; nothing at verbose=0."""
        if self.verbose:
            tqdm.write(f"{self.title}{self.part} {text}")

    def skip(self, epochs: int) -> None:
        """Subtract epochs that will not run from the total."""
        self.go_on(self.epochs - epochs, self.done)

    def go_on(self, epochs: int, done: int) -> None:
        """Set how many epochs the fit has, and how many of them are done."""
        moved = done - self.done
        self.epochs, self.done = epochs, done
        if self.bar is not None:
            self.bar.total = epochs
            self.bar.update(moved)
            self.bar.refresh()

    def close(self) -> None:
        """End the bar; what it shows remains on the screen."""
        if self.bar is not None:
            self.bar.close()


def _is_terminal(stream: Any) -> bool:
    """Whether a line can be redrawn; loggers may have write() only, or be closed."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
