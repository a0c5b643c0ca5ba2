"""Pictures of fitted estimators, as scikit-learn's Displays.

Each class is made by ``from_estimator`` and holds what was computed; ``plot`` draws it, again if
need be. An estimator is a fitted one of this package, or a fitted
:class:`~sklearn.pipeline.Pipeline` whose last step is one: then ``X`` is what the pipeline takes,
and what is drawn is what its last step sees, ``pipeline[:-1].transform(X)``. Matplotlib is needed,
and imported, only here. Legends stand beside the axes: give a figure that holds several Displays
``layout="constrained"``, which makes room for them.
"""

import math
import textwrap
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted

from .._data.scaling import column_statistics
from .._sklearn import Interval, StrOptions, check_matplotlib_support, validate_params
from ..base import BaseDeepClusterer
from ..nn import DissimilarityMixture, SpectralAssignment

__all__ = [
    "ClusterGalleryDisplay",
    "EmbeddingDisplay",
    "ReconstructionDisplay",
    "TrainingCurveDisplay",
]

_COUNT = [Interval(Integral, 1, None, closed="left")]
_PERPLEXITY = 30  # of t-SNE, scikit-learn's default
_NEIGHBORS = 15  # of UMAP, its default
_THUMBNAIL = 20  # points a side
_SPACING = 0.08  # of the width of a plot, between thumbnails
_MARKERS = "o^sDvP*X"  # for ten clusters each
_TERMS = 12  # of a cluster, at most
_LETTERS = 46  # in a line of terms
_FEATURES = 30  # of a table, at most
_LIMIT = 2.0  # of its colours, in standard deviations
_NAME = 24  # letters of the name of a feature, at most
_ROW = 20  # prototypes in a row, at most


# ---------------------------------------------------------------- what is drawn of whom


def _clusterer(estimator: Any) -> BaseDeepClusterer:
    """The fitted clusterer that an estimator is or ends with."""
    model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(model, BaseDeepClusterer):
        raise TypeError(
            f"estimator={estimator!r} is none of this package's estimators (DCCS, DCEC, DMAE, "
            "DualAESpectral), nor a Pipeline that ends with one. Pass a fitted one; of a search, "
            "its best_estimator_."
        )
    check_is_fitted(model)
    return model


def _samples(estimator: Any, X: Any) -> tuple[BaseDeepClusterer, Any]:
    """The clusterer, and the samples as checked rows: an ndarray or CSR matrix."""
    model = _clusterer(estimator)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return model, model._check(X)


def _embed(model: BaseDeepClusterer, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and soft assignments of checked rows, in one pass."""
    answers = [(z.cpu().numpy(), q.cpu().numpy()) for *_, z, q in model._stream(X)]
    Z, q = zip(*answers, strict=True)
    return np.concatenate(Z), np.concatenate(q)


def _dense(rows: Any) -> np.ndarray:
    return rows.toarray() if sp.issparse(rows) else np.asarray(rows)


def _feature_names(estimator: Any, feature_names: Any) -> np.ndarray:
    """Names that were given, or those that the samples have."""
    model = _clusterer(estimator)
    if feature_names is not None:
        names = np.asarray(feature_names, dtype=object)
        if names.shape != (model.n_features_in_,):
            raise ValueError(
                f"feature_names has shape {names.shape}, but X has {model.n_features_in_} "
                "features: pass one name for each."
            )
        return names
    if hasattr(model, "feature_names_in_"):
        return np.asarray(model.feature_names_in_, dtype=object)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        try:
            return np.asarray(estimator[:-1].get_feature_names_out(), dtype=object)
        except AttributeError:  # a step that has no names for what it makes
            pass
    return np.array([f"feature {j}" for j in range(model.n_features_in_)], dtype=object)


# ---------------------------------------------------------------- how it is drawn


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


class EmbeddingDisplay:
    """The embedding of samples in the plane, in the colours of their clusters.

    It is recommended to use :meth:`from_estimator` to make one.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
        The projection of the embedding.
    labels : ndarray of shape (n_samples,)
        What the colours tell, of any type that can be sorted.
    xlabel, ylabel : str, default=None
        Labels of the axes.
    legend_title : str, default=None
        What the labels are.
    thumbnails : dict of int to ndarray, default=None
        Pictures, (height, width) or (height, width, 3), to be drawn at some of the points.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdeepcluster import DCEC
    >>> from skdeepcluster.inspection import EmbeddingDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DCEC(3, init="graph", n_init=1, pretrain_epochs=20, max_epochs=10, random_state=0)
    >>> display = EmbeddingDisplay.from_estimator(model.fit(X), X)
    >>> display.points.shape
    (150, 2)
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['0', '1', '2']
    """

    def __init__(
        self,
        points: np.ndarray,
        labels: np.ndarray,
        *,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend_title: str | None = None,
        thumbnails: dict[int, np.ndarray] | None = None,
    ) -> None:
        self.points = points
        self.labels = labels
        self.xlabel = xlabel
        self.ylabel = ylabel
        self.legend_title = legend_title
        self.thumbnails = thumbnails

    @classmethod
    @validate_params(
        {
            "labels": ["array-like", None],
            "method": [StrOptions({"pca", "tsne", "umap"})],
            "max_samples": [*_COUNT, None],
            "thumbnails": [Interval(Integral, 0, None, closed="left")],
            "random_state": ["random_state"],
        },
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        labels: Any = None,
        method: str = "pca",
        max_samples: int | None = 2000,
        thumbnails: int = 0,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Embed samples, project the embedding to the plane and draw it.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator of this package, or a fitted Pipeline that ends with one.
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit, 3 or more.
        labels : array-like of shape (n_samples,), default=None
            What the colours tell, as classes; None for the predicted clusters.
        method : {"pca", "tsne", "umap"}, default="pca"
            The projection. Where an embedding has a direction for each cluster, as those of
            ``DualAESpectral`` and ``DCCS``, "pca" shows some clusters on top of each other; its
            axes tell their share of the variance. "tsne" takes seconds for 2000 samples; its
            perplexity is 30, or a third of the other samples where that is less. "umap" needs
            the package umap-learn.
        max_samples : int or None, default=2000
            Of more samples, so many are drawn at random. None takes all.
        thumbnails : int, default=0
            Most samples to show as pictures, where they are images. Those that would cover
            another one are left out.
        random_state : int, RandomState instance or None, default=None
            Draws samples, and is that of the projection.
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        TypeError
            If `estimator` is not of this package, or `ax` is no Axes.
        NotFittedError
            If it is not fitted.
        ValueError
            If `X` is invalid, or a parameter; for `thumbnails` of samples that are no images.
        ImportError
            For "umap" without umap-learn, and without matplotlib.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        model, X = _samples(estimator, X)
        if thumbnails and model.image_shape_ is None:
            raise ValueError(
                f"thumbnails={thumbnails} needs images, but {type(model).__name__} was fitted on "
                "vectors: fit it with image_shape= where rows hold images, or set thumbnails=0."
            )
        if labels is not None:
            labels = column_or_1d(labels)
            check_consistent_length(X, labels)
        random_state = check_random_state(random_state)
        if max_samples is not None and X.shape[0] > max_samples:
            drawn = np.sort(random_state.choice(X.shape[0], max_samples, replace=False))
            X, labels = X[drawn], None if labels is None else labels[drawn]
        if X.shape[0] < 3:
            raise ValueError(f"A projection needs 3 samples or more, got {X.shape[0]}.")
        Z, q = _embed(model, X)
        points, (xlabel, ylabel) = _project(Z, method, random_state)
        chosen = _apart(points, thumbnails, random_state)
        return cls(
            points,
            q.argmax(axis=1) if labels is None else labels,
            xlabel=xlabel,
            ylabel=ylabel,
            legend_title="cluster" if labels is None else "label",
            thumbnails=dict(
                zip(chosen, _pictures(_dense(X[chosen]), model.image_shape_), strict=True)
            )
            if chosen and model.image_shape_ is not None
            else None,
        ).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        self : EmbeddingDisplay
        """
        self.ax_ = _axes(ax, "EmbeddingDisplay.plot", (7.0, 5.2))
        self.figure_ = self.ax_.figure
        names, numbers = np.unique(self.labels, return_inverse=True)
        colors = _colors(len(names))
        few = len(self.points) <= 300
        kwargs = {"s": 24 if few else 10, "linewidths": 0, "alpha": 0.8} | kwargs
        for number, name in enumerate(names):
            marker = _MARKERS[number // 10 % len(_MARKERS)]
            self.ax_.scatter(
                *self.points[numbers == number].T,
                **{"color": colors[number], "marker": marker, "label": str(name)} | kwargs,
            )
        self.ax_.set(xlabel=self.xlabel, ylabel=self.ylabel, xticks=[], yticks=[])
        _legend_beside(self.ax_, len(names), self.legend_title)
        for handle in self.ax_.get_legend().legend_handles:
            handle.set(sizes=[30], alpha=1.0)
        if self.thumbnails:
            self._draw_thumbnails([colors[number] for number in numbers])
        return self

    def _draw_thumbnails(self, colors: list[Any]) -> None:
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        pictures = np.stack(list((self.thumbnails or {}).values()))
        pictures = _brightness(pictures, (pictures.min(), pictures.max()))
        for i, picture in zip(self.thumbnails or {}, pictures, strict=True):
            image = OffsetImage(
                picture, zoom=_THUMBNAIL / max(picture.shape[:2]), cmap="gray", norm=None
            )
            image.image.set_clim(0.0, 1.0)
            frame = {"edgecolor": colors[i], "linewidth": 1.5}
            box = AnnotationBbox(image, self.points[i], pad=0.1, bboxprops=frame)
            self.ax_.add_artist(box)


def _project(
    Z: np.ndarray, method: str, random_state: np.random.RandomState
) -> tuple[np.ndarray, tuple[str, str]]:
    """Points in the plane, and what the axes are called."""
    Z = Z.astype(np.float64)  # covariances of float32 hold half of its digits
    if Z.shape[1] == 1:  # what projects asks for two columns
        Z = np.column_stack([Z, np.zeros_like(Z)])
    if method == "pca":
        pca = PCA(2, random_state=random_state)
        with np.errstate(invalid="ignore"):  # of an embedding without any variance
            points = pca.fit_transform(Z)
        shares = np.nan_to_num(pca.explained_variance_ratio_)
        first, second = (
            f"component {i} ({share:.0%} of the variance)" for i, share in enumerate(shares, 1)
        )
        return points, (first, second)
    if method == "tsne":
        perplexity = min(_PERPLEXITY, (len(Z) - 1) / 3)
        points = TSNE(perplexity=perplexity, random_state=random_state).fit_transform(Z)
        return points, ("t-SNE 1", "t-SNE 2")
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "method='umap' needs the package umap-learn: pip install umap-learn, or use "
            "method='tsne'."
        ) from error
    # its spectral start fails on 3 samples; more than one thread would not repeat random_state
    umap = UMAP(
        n_neighbors=min(_NEIGHBORS, len(Z) - 1), init="pca", n_jobs=1, random_state=random_state
    )
    points = umap.fit_transform(Z)
    return points, ("UMAP 1", "UMAP 2")


def _apart(points: np.ndarray, most: int, random_state: np.random.RandomState) -> list[int]:
    """At most so many points, drawn at random, none near another."""
    spread = np.ptp(points, axis=0)
    unit = points / np.where(spread > 0, spread, 1.0)
    chosen: list[int] = []
    for i in random_state.permutation(len(unit)).tolist() if most else []:
        if len(chosen) == most:
            break
        gaps = np.abs(unit[chosen] - unit[i]).max(axis=1)
        if (gaps > _SPACING).all():
            chosen.append(i)
    return chosen


def _colors(n: int) -> list[Any]:
    """Ten colours that are told apart, over and over."""
    import matplotlib as mpl

    colors = mpl.color_sequences["petroff10"]
    return [colors[i % len(colors)] for i in range(n)]


class ClusterGalleryDisplay:
    """What each cluster is: its mean, its most typical samples and its least typical ones.

    It is recommended to use :meth:`from_estimator` to make one.

    Parameters
    ----------
    kind : {"images", "text", "table"}
        How samples are drawn.
    profiles : ndarray of shape (n_clusters, n_features)
        What a cluster is like: the mean of its samples (images), its mean less that of all other
        samples (text), its mean in standard deviations from that of all samples (table). Rows of
        nan for empty clusters.
    most_typical, least_typical : list of n_clusters ndarrays of shape (<= n_samples, n_features)
        Samples of each cluster, the most and the least typical one first; of a table in the
        units of the profiles.
    most_typical_index, least_typical_index : list of n_clusters ndarrays
        Their rows in X.
    cluster_sizes : ndarray of shape (n_clusters,)
        Samples of each cluster.
    feature_names : ndarray of shape (n_features,), default=None
        Names of the features, for text and tables.
    image_shape : tuple of 3 ints, default=None
        Channels, height and width of images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The frame, itself not drawn, whose place the panels take.
    axes_ : ndarray of 3 matplotlib Axes
        The panels: cluster, most typical and least typical samples.
    figure_ : matplotlib Figure
        Figure of the panels.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdeepcluster import DCEC
    >>> from skdeepcluster.inspection import ClusterGalleryDisplay
    >>> X = load_iris(as_frame=True).data
    >>> model = DCEC(3, init="graph", n_init=1, pretrain_epochs=20, max_epochs=10, random_state=0)
    >>> display = ClusterGalleryDisplay.from_estimator(model.fit(X), X, n_samples=3)
    >>> display.kind, display.profiles.shape, len(display.most_typical[0])
    ('table', (3, 4), 3)
    >>> [panel.get_title() for panel in display.axes_]
    ['cluster mean', 'most typical', 'least typical']
    """

    def __init__(
        self,
        kind: str,
        profiles: np.ndarray,
        most_typical: list[np.ndarray],
        least_typical: list[np.ndarray],
        *,
        most_typical_index: list[np.ndarray],
        least_typical_index: list[np.ndarray],
        cluster_sizes: np.ndarray,
        feature_names: np.ndarray | None = None,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.kind = kind
        self.profiles = profiles
        self.most_typical = most_typical
        self.least_typical = least_typical
        self.most_typical_index = most_typical_index
        self.least_typical_index = least_typical_index
        self.cluster_sizes = cluster_sizes
        self.feature_names = feature_names
        self.image_shape = image_shape

    @classmethod
    @validate_params(
        {
            "n_samples": _COUNT,
            "feature_names": ["array-like", None],
            "kind": [StrOptions({"auto", "images", "text", "table"})],
        },
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_samples: int = 5,
        feature_names: Any = None,
        kind: str = "auto",
        ax: Any = None,
    ) -> Self:
        """Find and draw the most and the least typical samples of each cluster.

        A sample is the more typical the larger its soft assignment to its cluster is, by
        predict_proba, rounded to two digits; estimators that decide sharply answer 1.00 for
        nearly all. Ties go by the distance to the center of the cluster in the embedding, the
        nearer the more typical: the Euclidean distance, and of ``DMAE`` its own dissimilarity.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator of this package, or a fitted Pipeline that ends with one.
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.
        n_samples : int, default=5
            Most samples to show of either sort. A small cluster has less; none is shown twice.
        feature_names : array-like of shape (n_features,), default=None
            Words or columns. None takes the names that the estimator was fitted with, or those
            that the steps before it give.
        kind : {"auto", "images", "text", "table"}, default="auto"
            How samples are drawn. "images" are pictures. "text" is the terms of largest weight: of
            a cluster by the difference of its mean from that of the other samples, of a sample
            by its own values. "table" is a heat map of means in standard deviations, of at
            most 30 features, those in which clusters differ most. "auto" is "images" where the
            estimator was fitted on images, "text" where `X` is sparse or less than 5 % of the
            entries were not 0 in fit, else "table".
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : ClusterGalleryDisplay

        Raises
        ------
        TypeError
            If `estimator` is not of this package, or `ax` is no Axes.
        NotFittedError
            If it is not fitted.
        ValueError
            If `X` is invalid, or a parameter; for "images" where there are none.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        model, X = _samples(estimator, X)
        if kind == "auto":
            vectors = "text" if sp.issparse(X) or model._bag_of_words else "table"
            kind = vectors if model.image_shape_ is None else "images"
        if kind == "images" and model.image_shape_ is None:
            raise ValueError(
                f"kind='images' but {type(model).__name__} was fitted on vectors: fit it with "
                "image_shape= where rows hold images, or set kind='auto'."
            )
        names = _feature_names(estimator, feature_names)
        Z, q = _embed(model, X)
        labels, n_clusters = q.argmax(axis=1), q.shape[1]
        sizes = np.bincount(labels, minlength=n_clusters)
        ranked = _rank(model, Z, q)
        most = [rows[:n_samples] for rows in ranked]
        least = [rows[n_samples:][: -n_samples - 1 : -1] for rows in ranked]
        means = _means(X, labels, n_clusters)
        shift, factor = np.zeros(1), np.ones(1)
        if kind == "text":
            rest = len(labels) - sizes
            total = np.asarray(X.sum(axis=0)).reshape(1, -1)
            others = total - np.nan_to_num(means) * sizes[:, None]
            means = means - others / np.maximum(rest, 1)[:, None]
        if kind == "table":
            *_, shift, variance = column_statistics(X)
            factor = 1.0 / np.sqrt(np.where(variance > 0, variance, 1.0))
            means = (means - shift) * factor

        samples = [
            [(_dense(X[index]) - shift) * factor for index in typical] for typical in (most, least)
        ]
        return cls(
            kind,
            means,
            *samples,
            most_typical_index=most,
            least_typical_index=least,
            cluster_sizes=sizes,
            feature_names=names,
            image_shape=model.image_shape_,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the gallery, a row a cluster.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        self : ClusterGalleryDisplay
        """
        n_clusters = len(self.profiles)
        n_samples = max(1, *(len(rows) for rows in self.most_typical_index))
        draw, figsize, ratios = {
            "images": (self._draw_images, *self._size_of_images(n_samples)),
            "text": (self._draw_text, (12.0, 0.8 + 0.16 * n_clusters * (n_samples + 1)), (1, 1, 1)),
            "table": (self._draw_table, *self._size_of_table(n_samples)),
        }[self.kind]
        self.ax_, axes = _panels(
            ax, "ClusterGalleryDisplay.plot", figsize, (1, 3), width_ratios=ratios
        )
        self.axes_, self.figure_ = axes[0], self.ax_.figure
        draw(n_samples)
        sizes = [f"{i} ({size})" for i, size in enumerate(self.cluster_sizes)]
        self.axes_[0].set_yticks(self.axes_[0].get_yticks(), sizes)
        self.axes_[0].set_ylabel("cluster (samples)")
        titles = ("cluster terms" if self.kind == "text" else "cluster mean",)
        for panel, title in zip(
            self.axes_, (*titles, "most typical", "least typical"), strict=True
        ):
            panel.set_title(title, fontsize="medium")
        return self

    def _size_of_images(self, n_samples: int) -> tuple[tuple[float, float], tuple[int, ...]]:
        _, height, width = self.image_shape or (1, 1, 1)
        n_clusters = len(self.profiles)
        side = min(0.5, 16 / n_clusters)  # inches
        figsize = (2.0 + side * (1 + 2 * n_samples), 0.8 + side * height / width * n_clusters)
        return figsize, (1, n_samples, n_samples)

    def _size_of_table(self, n_samples: int) -> tuple[tuple[float, float], tuple[int, ...]]:
        n_features = min(self.profiles.shape[1], _FEATURES)
        height = 1.8 + max(0.1 * n_samples, 0.25) * len(self.profiles)
        return (4.5 + 0.4 * n_features, min(max(height, 4.0), 16.0)), (1, 1, 1)

    def _draw_images(self, n_samples: int) -> None:
        shape = self.image_shape or ()
        shown = [rows for rows in (*self.most_typical, *self.least_typical) if len(rows)]
        low = min(_pictures(rows, shape).min() for rows in shown)
        high = max(_pictures(rows, shape).max() for rows in shown)
        profiles = [_pictures(row[None], shape) for row in np.nan_to_num(self.profiles, nan=high)]
        samples = [
            [_pictures(rows, shape) for rows in typical]
            for typical in (self.most_typical, self.least_typical)
        ]
        for panel, grid in zip(self.axes_, (profiles, *samples), strict=True):
            _mosaic(panel, grid, (low, high))

    def _draw_table(self, n_samples: int) -> None:
        """Heat maps; a cluster's row is cut into one for each of its samples."""
        spread = np.nanmax(self.profiles, axis=0) - np.nanmin(self.profiles, axis=0)
        kept = np.sort(np.argsort(-spread, kind="stable")[:_FEATURES])
        n_clusters = len(self.profiles)
        most, least = (np.full((n_clusters, n_samples, len(kept)), np.nan) for _ in range(2))
        for values, typical in ((most, self.most_typical), (least, self.least_typical)):
            for i, rows in enumerate(typical):
                values[i, : len(rows)] = rows[:, kept]
        for panel, values in zip(self.axes_, (self.profiles[:, kept], most, least), strict=True):
            picture = panel.imshow(
                values.reshape(-1, len(kept)),
                cmap="RdBu_r",
                vmin=-_LIMIT,
                vmax=_LIMIT,
                aspect="auto",
                interpolation="nearest",
                extent=(-0.5, len(kept) - 0.5, n_clusters - 0.5, -0.5),
            )
            for i in range(1, n_clusters):
                panel.axhline(i - 0.5, color="white", linewidth=2)
            _name_features(panel, np.asarray(self.feature_names)[kept])
            panel.set_yticks(range(n_clusters), [])
        self.figure_.colorbar(
            picture, ax=list(self.axes_), label="standard deviations", extend="both", aspect=30
        )

    def _draw_text(self, n_samples: int) -> None:
        """Columns of terms; a line for each sample, as many for the terms of its cluster."""
        names = np.asarray(self.feature_names)
        columns = [
            [_wrap(_top_terms(row, names, _TERMS), n_samples) for row in self.profiles],
            *(
                [[_shorten(_top_terms(row, names, _TERMS)) for row in rows] for rows in typical]
                for typical in (self.most_typical, self.least_typical)
            ),
        ]
        n_clusters = len(self.profiles)
        for panel, cells in zip(self.axes_, columns, strict=True):
            panel.set(xlim=(0, 1), ylim=(n_clusters - 0.5, -0.5), xticks=[])
            panel.set_yticks(range(n_clusters), [])
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
            for i, lines in enumerate(cells):
                panel.text(0.02, i, "\n".join(lines), va="center", fontsize=8, clip_on=True)
            for i in range(n_clusters + 1):
                panel.axhline(i - 0.5, color="0.8", linewidth=0.8)


def _rank(model: BaseDeepClusterer, Z: np.ndarray, q: np.ndarray) -> list[np.ndarray]:
    """Samples of each cluster, the most typical one first."""
    labels = q.argmax(axis=1)
    own = np.arange(len(labels))
    assign = getattr(model.module_, "assign", None)
    if isinstance(assign, DissimilarityMixture):
        with torch.no_grad():
            to_centers = assign.distances(torch.from_numpy(Z).to(model._device)).cpu().numpy()
        distances = to_centers[own, model._cluster_order[labels]]
    else:
        distances = np.linalg.norm(Z - model.cluster_centers_[labels], axis=1)
    order = np.lexsort((distances, -q.max(axis=1).round(2)))
    return [order[labels[order] == cluster] for cluster in range(q.shape[1])]


def _means(X: Any, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Mean of the rows of each cluster, float64; nan for an empty one."""
    n = len(labels)
    member = sp.csr_array((np.ones(n), (labels, np.arange(n))), shape=(n_clusters, n))
    sizes = np.bincount(labels, minlength=n_clusters).astype(float)
    sums = _dense(member @ X)
    return sums / np.where(sizes > 0, sizes, np.nan)[:, None]


def _top_terms(values: np.ndarray, names: np.ndarray, most: int) -> list[str]:
    """Names of the largest values above 0."""
    order = np.argsort(-np.nan_to_num(values), kind="stable")[:most]
    return [str(names[j]) for j in order if values[j] > 0] or ["(no terms)"]


def _shorten(terms: list[str]) -> str:
    """As many terms as go into a line."""
    line = terms[0][:_LETTERS]
    for term in terms[1:]:
        if len(line) + len(term) + 2 > _LETTERS:
            break
        line += f", {term}"
    return line


def _wrap(terms: list[str], n_lines: int) -> list[str]:
    """As many terms as go into so many lines."""
    lines = textwrap.wrap(", ".join(terms), _LETTERS)[:n_lines]
    return [*lines[:-1], lines[-1].rstrip(",")]


class ReconstructionDisplay:
    """Samples beside what the decoder makes of their embeddings, and the clusters' prototypes.

    It is recommended to use :meth:`from_estimator` to make one.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
        Some samples.
    reconstructions : ndarray of shape (n_samples, n_features)
        ``inverse_transform(transform(samples))``.
    prototypes : ndarray of shape (n_clusters, n_features)
        ``inverse_transform(cluster_centers_)``.
    title : str, default="reconstructions"
        What the reconstructions are.
    image_shape : tuple of 3 ints, default=None
        Channels, height and width, where samples are images.
    feature_names : ndarray of shape (n_features,), default=None
        Names of the features, where samples are vectors.
    ylabel : str, default=None
        What the values of vectors are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The frame, itself not drawn, whose place the panels take.
    axes_ : ndarray of matplotlib Axes
        The panels. Of images, one for samples and reconstructions and one for prototypes; of
        vectors, one for each sample, then one for each prototype.
    figure_ : matplotlib Figure
        Figure of the panels.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdeepcluster import DCEC
    >>> from skdeepcluster.inspection import ReconstructionDisplay
    >>> X = load_digits(n_class=3).data
    >>> model = DCEC(3, image_shape=(8, 8), init="graph", n_init=1, pretrain_epochs=10,
    ...              max_epochs=5, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(model, X, random_state=0)
    >>> display.reconstructions.shape, display.prototypes.shape
    ((6, 64), (3, 64))
    >>> [panel.get_title() for panel in display.axes_]
    ['samples and reconstructions', 'prototypes of the clusters']
    """

    def __init__(
        self,
        samples: np.ndarray,
        reconstructions: np.ndarray,
        prototypes: np.ndarray,
        *,
        title: str = "reconstructions",
        image_shape: tuple[int, ...] | None = None,
        feature_names: np.ndarray | None = None,
        ylabel: str | None = None,
    ) -> None:
        self.samples = samples
        self.reconstructions = reconstructions
        self.prototypes = prototypes
        self.title = title
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.ylabel = ylabel

    @classmethod
    @validate_params(
        {"n_samples": _COUNT, "random_state": ["random_state"]},
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_samples: int = 6,
        random_state: Any = None,
        ax: Any = None,
    ) -> Self:
        """Decode some samples and the centers of the clusters, and draw them.

        Images are drawn as pictures, vectors as lines over their features: in the units of X, or
        standardised where the estimator standardises columns of unlike units. Lines over words
        tell little: of texts draw a :class:`ClusterGalleryDisplay`.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator of this package, or a fitted Pipeline that ends with one. The spectral
            embedding of ``DualAESpectral`` tells little more than the cluster, so that a
            sample is decoded to the prototypes it is near; with ``embedding="latent"`` it
            is reconstructed. The title says which of the two is shown.
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.
        n_samples : int, default=6
            Most samples to draw, at random.
        random_state : int, RandomState instance or None, default=None
            Draws them.
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        TypeError
            If `estimator` is not of this package, or `ax` is no Axes.
        NotFittedError
            If it is not fitted.
        ValueError
            If `X` is invalid, or a parameter.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        model, X = _samples(estimator, X)
        drawn = check_random_state(random_state).permutation(X.shape[0])[:n_samples]
        Z, _ = _embed(model, X[drawn])
        drawings = [
            _dense(X[drawn]).astype(np.float64),
            model.inverse_transform(Z).reshape(len(Z), -1),
            model.inverse_transform(model.cluster_centers_).reshape(model.n_clusters, -1),
        ]
        ylabel = "value"
        if model.image_shape_ is None and model._scaler.kind == "standard":
            drawings = [model._scaler(rows) for rows in drawings]
            ylabel = "standardised value"
        assign = getattr(model.module_, "assign", None)
        by_cluster = isinstance(assign, SpectralAssignment) and not assign.latent
        return cls(
            *drawings,
            title="nearest prototypes" if by_cluster else "reconstructions",
            image_shape=model.image_shape_,
            feature_names=_feature_names(estimator, None),
            ylabel=ylabel,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the samples, what they are decoded to, and the prototypes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        self : ReconstructionDisplay
        """
        caller = "ReconstructionDisplay.plot"
        n, k = len(self.samples), len(self.prototypes)
        if self.image_shape is None:
            figsize = (11.0, min(1.2 + 0.7 * max(n, k), 40.0))
            self.ax_, frames = _panels(ax, caller, figsize, (1, 2))
            columns = [
                _panels(frame, caller, figsize, (count, 1), sharex=True, sharey=True)[1][:, 0]
                for frame, count in zip(frames[0], (n, k), strict=True)
            ]
            self.axes_, self.figure_ = np.concatenate(columns), self.ax_.figure
            self._draw_lines()
            return self
        rows = math.ceil(k / _ROW)
        figsize = (1.5 + 0.6 * max(n, min(k, _ROW)), 1.2 + 0.6 * (2 + rows))
        self.ax_, axes = _panels(ax, caller, figsize, (2, 1), height_ratios=(2, rows))
        self.axes_, self.figure_ = axes[:, 0], self.ax_.figure
        self._draw_images()
        return self

    def _draw_images(self) -> None:
        limits = (self.samples.min(), self.samples.max())
        samples, decoded, prototypes = (
            _pictures(rows, self.image_shape or ())
            for rows in (self.samples, self.reconstructions, self.prototypes)
        )
        _mosaic(self.axes_[0], [samples, decoded], limits)
        self.axes_[0].set_yticks(self.axes_[0].get_yticks(), ["sample", self.title[:-1]])
        rows = [prototypes[i : i + _ROW] for i in range(0, len(prototypes), _ROW)]
        _mosaic(self.axes_[1], rows, limits)
        columns = [str(i) for i in range(len(rows[0]))]
        self.axes_[1].set_xticks(self.axes_[1].get_xticks(), columns)
        self.axes_[1].set_yticks(
            self.axes_[1].get_yticks(), [f"{_ROW * i} +" if i else "" for i in range(len(rows))]
        )
        self.axes_[1].set_xlabel("cluster")
        self.axes_[0].set_title(f"samples and {self.title}", fontsize="medium")
        self.axes_[1].set_title("prototypes of the clusters", fontsize="medium")

    def _draw_lines(self) -> None:
        n = len(self.samples)
        places = np.arange(self.samples.shape[1])
        marker = "." if len(places) <= _FEATURES else ""
        colors = _colors(len(self.prototypes))
        for panel, sample, decoded in zip(
            self.axes_[:n], self.samples, self.reconstructions, strict=True
        ):
            panel.plot(places, sample, marker=marker, color="0.4", label="sample")
            panel.plot(places, decoded, "--", marker=marker, color="C1", label=self.title[:-1])
        for i, (panel, prototype) in enumerate(zip(self.axes_[n:], self.prototypes, strict=True)):
            panel.plot(places, prototype, marker=marker, color=colors[i])
            panel.set_title(f"prototype of cluster {i}", loc="left", fontsize="small", pad=2)
        self.axes_[0].legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, borderaxespad=0.1
        )
        self.axes_[n // 2].set_ylabel(self.ylabel)
        for lowest in (self.axes_[n - 1], self.axes_[-1]):
            lowest.set_xlabel("" if marker else "feature")
            if marker:
                _name_features(lowest, np.asarray(self.feature_names))
