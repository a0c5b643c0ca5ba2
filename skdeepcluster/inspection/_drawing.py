"""What the Displays draw with."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._sklearn import check_matplotlib_support

_FEATURES = 30  # of a table, at most
_NAME = 24  # letters of the name of a feature, at most
_ROW = 20  # prototypes in a row, at most


def _axes(ax: Any, caller: str, figsize: tuple[float, float]) -> Any:
    """The axes that were given, or those of a new figure."""
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax must be one matplotlib Axes, or None for a new figure; got {type(ax).__name__}. "
            "Of several subplots pass one, as axes[0]."
        )
    return ax


def _panels(
    ax: Any, caller: str, figsize: tuple[float, float], shape: tuple[int, int], **grid: Any
) -> tuple[Any, np.ndarray]:
    """Axes, and panels of their own that take their place."""
    ax = _axes(ax, caller, figsize)
    if not ax.axison:
        raise ValueError(
            "ax already is the frame of another Display, or was turned off: pass other axes."
        )
    ax.set_axis_off()
    share = {name: grid.pop(name) for name in ("sharex", "sharey") if name in grid}
    place = ax.get_subplotspec()
    if place is None:  # axes that are in no grid
        x, y, width, height = ax.get_position().bounds
        place = ax.figure.add_gridspec(1, 1, left=x, bottom=y, right=x + width, top=y + height)[0]
    return ax, place.subgridspec(*shape, **grid).subplots(squeeze=False, **share)


def _pictures(rows: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Images of shape (n, height, width), or (n, height, width, 3) in colour.

    Images of neither 1 nor 3 channels are shown by the mean of their channels.
    """
    images = rows.reshape(len(rows), *image_shape).astype(np.float64)
    return images.transpose(0, 2, 3, 1) if image_shape[0] == 3 else images.mean(axis=1)


def _brightness(pictures: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Values between the limits as 0 to 1."""
    low, high = limits
    light: np.ndarray = np.clip((pictures - low) / (high - low if high > low else 1.0), 0.0, 1.0)
    return light


def _mosaic(ax: Any, grid: Sequence[np.ndarray], limits: tuple[float, float]) -> None:
    """Rows of pictures, (n, height, width[, 3]) each, as one image with a tick a picture."""
    sample = grid[0]
    height, width = sample.shape[1:3]
    gap = max(1, width // 14)
    n_columns = max(1, *(len(row) for row in grid))
    canvas = np.ones(
        (len(grid) * (height + gap) - gap, n_columns * (width + gap) - gap, *sample.shape[3:])
    )
    for i, row in enumerate(grid):
        for j, picture in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = _brightness(picture, limits)
    ax.imshow(canvas, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xticks(np.arange(n_columns) * (width + gap) + (width - 1) / 2, [])
    ax.set_yticks(np.arange(len(grid)) * (height + gap) + (height - 1) / 2, [])


def _name_features(ax: Any, names: np.ndarray) -> None:
    """Ticks with names, long ones cut."""
    short = [name if len(name) <= _NAME else f"{name[: _NAME - 1]}…" for name in map(str, names)]
    ax.set_xticks(range(len(short)), short, rotation=90, fontsize="small")


def _legend_beside(ax: Any, n_entries: int, title: str | None = None) -> None:
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        title=title,
        fontsize="small",
        ncols=math.ceil(n_entries / _ROW),
    )


def _colors(n: int) -> list[Any]:
    """Ten colours that are told apart, over and over."""
    import matplotlib as mpl

    colors = mpl.color_sequences["petroff10"]
    return [colors[i % len(colors)] for i in range(n)]
