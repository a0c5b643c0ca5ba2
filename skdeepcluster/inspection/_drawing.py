"""Functions that the Displays use to draw."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._sklearn import check_matplotlib_support

MOST_FEATURES = 30  # drawn or named one by one
_NAME_LENGTH = 24  # letters; longer names of features are cut
_LEGEND_ROWS = 20


def check_axes(ax: Any, caller: str, figsize: tuple[float, float]) -> Any:
    """Return the given axes, or the axes of a new figure."""
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax must be one matplotlib Axes, or None for a new figure; got {type(ax).__name__}. "
            "If you have several subplots, pass one of them, for instance axes[0]."
        )
    return ax


def split_axes(
    ax: Any,
    caller: str,
    figsize: tuple[float, float],
    shape: tuple[int, int],
    *,
    sharex: bool = False,
    sharey: bool = False,
    **ratios: Any,
) -> tuple[Any, np.ndarray]:
    """Return the axes, now invisible, and a grid of panels in their place."""
    ax = check_axes(ax, caller, figsize)
    if not ax.axison:
        raise ValueError(
            "ax already is the frame of another Display, or was turned off: pass other axes."
        )
    ax.set_axis_off()
    place = ax.get_subplotspec()
    if place is None:  # axes that are not in a grid
        x, y, width, height = ax.get_position().bounds
        place = ax.figure.add_gridspec(1, 1, left=x, bottom=y, right=x + width, top=y + height)[0]
    grid = place.subgridspec(*shape, **ratios)
    return ax, grid.subplots(squeeze=False, sharex=sharex, sharey=sharey)


def as_pictures(rows: np.ndarray, image_shape: tuple[int, ...] | None) -> np.ndarray:
    """Rows as images of shape (n, height, width), or (n, height, width, 3) in colour.

    Images with 1 or 3 channels are shown as they are; others by the mean of their channels.
    """
    images = rows.reshape(len(rows), *(image_shape or ())).astype(np.float64)
    return images.transpose(0, 2, 3, 1) if images.shape[1] == 3 else images.mean(axis=1)


def brightness(pictures: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Scale values between the limits to 0 to 1."""
    low, high = limits
    light: np.ndarray = np.clip((pictures - low) / (high - low if high > low else 1.0), 0.0, 1.0)
    return light


def draw_mosaic(ax: Any, grid: Sequence[np.ndarray], limits: tuple[float, float]) -> None:
    """Draw rows of pictures, (n, height, width[, 3]) each, as one image with a tick per picture."""
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
            canvas[top : top + height, left : left + width] = brightness(picture, limits)
    ax.imshow(canvas, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xticks(np.arange(n_columns) * (width + gap) + (width - 1) / 2, [])
    ax.set_yticks(np.arange(len(grid)) * (height + gap) + (height - 1) / 2, [])


def name_ticks(ax: Any, names: np.ndarray) -> None:
    """Write the name of each feature under its tick."""
    short = [
        name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
        for name in map(str, names)
    ]
    ax.set_xticks(range(len(short)), short, rotation=90, fontsize="small")


def draw_legend(ax: Any, n_entries: int, title: str | None = None) -> None:
    """Draw the legend to the right of the axes."""
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        title=title,
        fontsize="small",
        ncols=math.ceil(n_entries / _LEGEND_ROWS),
    )


def cluster_colors(n: int) -> list[Any]:
    """Return n colours; they repeat after ten, because the eye cannot tell more apart."""
    import matplotlib as mpl

    colors = mpl.color_sequences["petroff10"]
    return [colors[i % len(colors)] for i in range(n)]
