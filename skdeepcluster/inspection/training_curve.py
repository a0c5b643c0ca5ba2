"""Training over its epochs."""

import math
from typing import Any, Self

import numpy as np

from .._sklearn import check_matplotlib_support
from ._drawing import (
    _legend_beside,
    _panels,
)
from ._fitted import _clusterer


class TrainingCurveDisplay:
    """Losses, changes of labels and sizes of clusters over the epochs of a fit.

    It is recommended to use :meth:`from_estimator` to make one.

    Parameters
    ----------
    history : list of dict
        The rows of ``history_``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The frame, itself not drawn, whose place the panels take.
    axes_ : ndarray of matplotlib Axes
        The panels, named by their y labels: "loss", "label change" (share of samples),
        "cluster size" (samples, a line a cluster), and "measure" for what else an estimator
        measured. A panel that would be empty is left out.
    figure_ : matplotlib Figure
        Figure of the panels.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdeepcluster import DCEC
    >>> from skdeepcluster.inspection import TrainingCurveDisplay
    >>> X = load_iris().data
    >>> model = DCEC(3, init="graph", n_init=1, pretrain_epochs=20, max_epochs=10, random_state=0)
    >>> display = TrainingCurveDisplay.from_estimator(model.fit(X))
    >>> [panel.get_ylabel() for panel in display.axes_]
    ['loss', 'label change', 'cluster size']
    """

    def __init__(self, history: list[dict[str, Any]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the training of an estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator of this package, or a fitted Pipeline that ends with one.
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        TypeError
            If `estimator` is not of this package, or `ax` is no Axes.
        NotFittedError
            If it is not fitted.
        ValueError
            If nothing was trained.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        return cls(_clusterer(estimator).history_).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the curves.

        Phases follow each other from left to right, each between two lines and under its name.
        Losses that span a factor of 10 have a logarithmic axis, linear
        around zero where some are not positive. Of the last cluster sizes the
        largest and the smallest are named, and the dashed line is an even size. An epoch in
        which clusters collapsed, which ends a training, is marked in red.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        self : TrainingCurveDisplay
        """
        if not self.history:
            raise ValueError(
                "There is no epoch to draw: nothing was trained, as the epochs of all phases are "
                "0. Fit with max_epochs of 1 or more."
            )
        panels = self._panels()
        height = 1.2 + 1.7 * len(panels)
        self.ax_, axes = _panels(
            ax, "TrainingCurveDisplay.plot", (8.0, height), (len(panels), 1), sharex=True
        )
        self.axes_, self.figure_ = axes[:, 0], self.ax_.figure
        phases = [row["phase"] for row in self.history]
        begins = [i for i, name in enumerate(phases) if i == 0 or phases[i - 1] != name]
        for panel, (name, curves) in zip(self.axes_, panels.items(), strict=True):
            panel.set(ylabel=name, xlim=(0.5, len(phases) + 0.5))
            for begin in begins[1:]:
                panel.axvline(begin + 0.5, color="0.7", linewidth=0.8)
            for epoch, row in enumerate(self.history, 1):
                if row.get("collapsed"):
                    panel.axvline(epoch, color="red", linestyle=":", label="collapse")
            if name == "cluster size":
                self._draw_sizes(panel)
            else:
                self._draw_curves(panel, curves, begins)
            if name in ("loss", "measure"):
                _legend_beside(panel, len(curves))
        first, last = self.axes_[0], self.axes_[-1]
        over = first.get_xaxis_transform()
        for begin in begins:
            first.text(
                begin + 0.5, 1.02, phases[begin], transform=over, rotation=30, fontsize="small"
            )
        last.set_xlabel("epoch")
        last.xaxis.get_major_locator().set_params(integer=True)
        return self

    def _panels(self) -> dict[str, dict[str, np.ndarray]]:
        """Curves of each panel that has any; the order of a row tells losses from measures."""
        panels: dict[str, dict[str, np.ndarray]] = {"loss": {}, "label change": {}}
        panels |= {"cluster size": {}, "measure": {}}
        for i, row in enumerate(self.history):
            panel = "loss"
            for name, value in row.items():
                if name == "cluster_sizes":
                    panel = "measure"
                    if value is not None:
                        panels["cluster size"] = {name: np.zeros(1)}  # drawn from the rows
                elif isinstance(value, float):
                    where = "label change" if name == "label_change" else panel
                    curve = panels[where].setdefault(name, np.full(len(self.history), np.nan))
                    curve[i] = value if math.isfinite(value) else np.nan
        return {
            name: curves
            for name, curves in panels.items()
            if any(np.isfinite(curve).any() for curve in curves.values())
        }

    def _draw_curves(self, panel: Any, curves: dict[str, np.ndarray], begins: list[int]) -> None:
        """A line for each curve, which ends with each phase."""
        epochs = np.arange(1, len(self.history) + 1)
        for number, (name, curve) in enumerate(curves.items()):
            label = name
            for part in np.split(epochs, begins[1:]):
                part = part[np.isfinite(curve[part - 1])]
                if len(part):
                    panel.plot(
                        part, curve[part - 1], ".-", color=f"C{number}", markersize=4, label=label
                    )
                    label = "_"  # in the legend once
        if panel.get_ylabel() == "label change":
            panel.set_ylim(bottom=0.0)
        if panel.get_ylabel() == "loss":
            low = min(np.nanmin(curve) for curve in curves.values())
            sizes = [np.nanmax(np.abs(curve)) for curve in curves.values()]
            least = min((size for size in sizes if size > 0.0), default=0.0)
            if 0.0 < 10.0 * low < max(sizes):
                panel.set_yscale("log")
            elif 0.0 < 10.0 * least < max(sizes):
                # a loss below zero, as a critic's, beside much larger ones of another phase
                panel.set_yscale("symlog", linthresh=least)

    def _draw_sizes(self, panel: Any) -> None:
        known = [(i, row) for i, row in enumerate(self.history, 1) if row["cluster_sizes"]]
        for phase in dict.fromkeys(row["phase"] for _, row in known):
            of_phase = [(i, row["cluster_sizes"]) for i, row in known if row["phase"] == phase]
            epochs, sizes = zip(*of_phase, strict=True)
            panel.plot(epochs, np.array(sizes), ".-", color="C0", alpha=0.6, markersize=4)
        last = np.array(known[-1][1]["cluster_sizes"])
        panel.axhline(last.mean(), color="0.4", linestyle="--", linewidth=0.8)
        panel.text(
            0.01,
            last.mean(),
            f"even: {last.mean():.0f}",
            transform=panel.get_yaxis_transform(),
            va="bottom",
            color="0.4",
            fontsize="small",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0},
        )
        panel.set_ylim(bottom=0)
        for number, word, side in (
            (last.argmax(), "largest", "bottom"),
            (last.argmin(), "smallest", "top"),
        ):
            panel.text(
                1.01,
                last[number],
                f"{word}: {last[number]}",
                transform=panel.get_yaxis_transform(),
                va=side,
                fontsize="small",
            )
