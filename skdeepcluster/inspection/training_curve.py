"""The course of a fit."""

import math
from typing import Any, Self

import numpy as np

from .._sklearn import check_matplotlib_support
from ._drawing import draw_legend, split_axes
from ._fitted import check_clusterer


class TrainingCurveDisplay:
    """Use this to see whether training went well: losses, label changes and cluster sizes.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    history : list of dict
        The attribute ``history_`` of a fitted estimator, one dict per epoch.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes in whose place the panels are drawn. They are invisible themselves.
    axes_ : ndarray of matplotlib Axes
        The panels. Their y labels are "loss", "label change" (share of samples), "cluster size"
        (number of samples, one line per cluster) and "measure" (other values that the method
        records). Panels without values are left out.
    figure_ : matplotlib Figure
        The figure that holds the panels.

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
        """Draw how an estimator was trained.

        Parameters
        ----------
        estimator : estimator
            A fitted deep clustering estimator, or a fitted Pipeline that ends with one.
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : TrainingCurveDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `estimator` is not a deep clustering estimator, or `ax` is not one Axes.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If its ``history_`` is empty or missing.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        return cls(getattr(check_clusterer(estimator), "history_", [])).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the curves.

        The phases of training follow each other from left to right. Vertical lines separate them,
        and their names are written above. If the losses differ by a factor of more than 10, their
        axis is logarithmic; if some losses are negative too, it is linear around zero. The largest
        and the smallest cluster of the last epoch are marked, and a dashed line shows the size
        that equal clusters would have. A red line marks the epoch in which the clusters collapsed
        and training stopped.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        self : TrainingCurveDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `ax` is not one Axes.
        ValueError
            If `ax` was already divided by another Display, or turned off.
        ImportError
            If matplotlib is missing.
        """
        if not self.history:
            raise ValueError(
                "There is no epoch to draw: the estimator was not trained, so its history_ is "
                "empty or missing. Fit with max_epochs of 1 or more."
            )
        names = [row["phase"] for row in self.history]
        begins = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
        phases = np.split(np.arange(len(names)), begins[1:])
        panels = self._curves()
        self.ax_, axes = split_axes(
            ax,
            "TrainingCurveDisplay.plot",
            (8.0, 1.2 + 1.7 * len(panels)),
            (len(panels), 1),
            sharex=True,
        )
        self.axes_, self.figure_ = axes[:, 0], self.ax_.figure
        for panel, (name, curves) in zip(self.axes_, panels.items(), strict=True):
            panel.set(ylabel=name, xlim=(0.5, len(names) + 0.5))
            self._mark_epochs(panel, begins)
            if name == "cluster size":
                self._draw_sizes(panel, phases)
            else:
                _draw_curves(panel, curves, phases)
        above = self.axes_[0].get_xaxis_transform()
        for begin in begins:
            self.axes_[0].text(
                begin + 0.5, 1.02, names[begin], transform=above, rotation=30, fontsize="small"
            )
        self.axes_[-1].set_xlabel("epoch")
        self.axes_[-1].xaxis.get_major_locator().set_params(integer=True)
        return self

    def _curves(self) -> dict[str, dict[str, np.ndarray]]:
        """Curves (n_epochs,) by name, for each panel; nan where a value is unknown.

        In a row of the history, losses come before the cluster sizes and measures after them.
        """
        panels: dict[str, dict[str, np.ndarray]] = {"loss": {}, "label change": {}}
        panels |= {"cluster size": {}, "measure": {}}
        for i, row in enumerate(self.history):
            place = "loss"
            for name, value in row.items():
                if name == "cluster_sizes":
                    place = "measure"
                elif isinstance(value, float) and math.isfinite(value):
                    panel = panels["label change" if name == "label_change" else place]
                    panel.setdefault(name, np.full(len(self.history), np.nan))[i] = value
        sized = any(row.get("cluster_sizes") for row in self.history)
        return {
            name: curves
            for name, curves in panels.items()
            if curves or (name == "cluster size" and sized)
        }

    def _mark_epochs(self, panel: Any, begins: list[int]) -> None:
        """Draw a line between phases and at a collapse."""
        for begin in begins[1:]:
            panel.axvline(begin + 0.5, color="0.7", linewidth=0.8)
        for epoch, row in enumerate(self.history, 1):
            if row.get("collapsed"):
                panel.axvline(epoch, color="red", linestyle=":", label="collapse")

    def _draw_sizes(self, panel: Any, phases: list[np.ndarray]) -> None:
        """Draw a line for each cluster, and mark the sizes of the last epoch."""
        for phase in phases:
            epochs = [i for i in phase if self.history[i].get("cluster_sizes")]
            if epochs:
                sizes = np.array([self.history[i]["cluster_sizes"] for i in epochs])
                panel.plot(np.array(epochs) + 1, sizes, ".-", color="C0", alpha=0.6, markersize=4)
                last = sizes[-1]
        style = {"transform": panel.get_yaxis_transform(), "fontsize": "small"}
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0}
        mean = last.mean()
        panel.axhline(mean, color="0.4", linestyle="--", linewidth=0.8)
        panel.text(0.01, mean, f"even: {mean:.0f}", va="bottom", color="0.4", bbox=box, **style)
        panel.text(1.01, last.max(), f"largest: {last.max()}", va="bottom", **style)
        panel.text(1.01, last.min(), f"smallest: {last.min()}", va="top", **style)
        panel.set_ylim(bottom=0)


def _draw_curves(panel: Any, curves: dict[str, np.ndarray], phases: list[np.ndarray]) -> None:
    """Draw each curve, with a gap between phases."""
    for number, (name, curve) in enumerate(curves.items()):
        label = name
        for phase in phases:
            epochs = phase[np.isfinite(curve[phase])]
            if len(epochs):
                panel.plot(
                    epochs + 1, curve[epochs], ".-", color=f"C{number}", markersize=4, label=label
                )
                label = "_"  # so that the legend has each name once
    if panel.get_ylabel() == "label change":
        panel.set_ylim(bottom=0.0)
        return
    draw_legend(panel, len(curves))
    if panel.get_ylabel() == "loss":
        _scale_losses(panel, list(curves.values()))


def _scale_losses(panel: Any, curves: list[np.ndarray]) -> None:
    """Make the axis of losses logarithmic if a linear one would hide the small ones."""
    low = min(np.nanmin(curve) for curve in curves)
    sizes = [np.nanmax(np.abs(curve)) for curve in curves]
    least = min((size for size in sizes if size > 0.0), default=0.0)
    if 0.0 < 10.0 * low < max(sizes):
        panel.set_yscale("log")
    elif 0.0 < 10.0 * least < max(sizes):
        # negative losses, such as a critic's, beside much larger losses of another phase
        panel.set_yscale("symlog", linthresh=least)
