"""What the user sees of a fit."""

import sys
from typing import Any

from tqdm import tqdm

_SECONDS_A_LINE = 10.0  # of progress that goes into a file


class Progress:
    """What the user sees of a fit: nothing, a bar, or a line an epoch.

    Parameters
    ----------
    verbose : {0, 1, 2}
        The parameter of the estimators.
    title : str
        Name of the estimator.
    epochs : int
        Epochs of the whole fit, for the bar.
    """

    def __init__(self, verbose: int, title: str, epochs: int) -> None:
        self.verbose = verbose
        self.title = title
        self.part = ""  # which of several trainings this is
        self.epochs, self.done = epochs, 0
        # a file is not redrawn: there a line now and then
        seconds = 0.1 if sys.stderr.isatty() else _SECONDS_A_LINE
        self.bar = tqdm(
            total=epochs, disable=verbose != 1, desc=title, unit="epoch", mininterval=seconds
        )

    def epoch(self, row: dict[str, Any]) -> None:
        """Tell that an epoch has ended."""
        losses = {k: f"{v:.4g}" for k, v in row.items() if isinstance(v, float) and v == v}
        self.bar.set_description(f"{self.title}{self.part} {row['phase']}", refresh=False)
        self.bar.set_postfix(losses, refresh=False)
        self.done += 1
        self.bar.update()
        if self.verbose == 2:
            values = " ".join(f"{name}={value}" for name, value in losses.items())
            self.write(f"{row['phase']} epoch {row['epoch']}: {values}")

    def write(self, message: str) -> None:
        """Write a line, above the bar if there is one."""
        tqdm.write(f"{self.title}{self.part} {message}")

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()

    def skip(self, epochs: int) -> None:
        """Tell that some epochs will not be run."""
        self.resume(self.epochs - epochs, self.done)

    def resume(self, epochs: int, done: int) -> None:
        """Tell how many epochs the fit has, and how many of them are done."""
        self.bar.update(done - self.done)
        self.epochs, self.done = epochs, done
        if self.bar.total is not None:
            self.bar.total = epochs
            self.bar.refresh()
