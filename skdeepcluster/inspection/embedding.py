"""The embedding, projected to the plane."""

from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d

from .._engine.threads import torch_threads
from .._sklearn import Interval, StrOptions, check_matplotlib_support, validate_params
from ._drawing import as_pictures, brightness, check_axes, cluster_colors, draw_legend
from ._fitted import COUNT, call, check_samples, dense, refuse_vectors

_PERPLEXITY = 30  # scikit-learn's default for t-SNE
_NEIGHBORS = 15  # umap-learn's default
_THUMBNAIL = 20  # points, the longer side
_SPACING = 0.08  # between thumbnails, as a share of the width of the plot
_MARKERS = "o^sDvP*X"  # one for each ten clusters


class EmbeddingDisplay:
    """Use this to see whether the clusters are separate: the embedding in two dimensions.

    Make it with :meth:`from_estimator`. Each point is a sample; colours are clusters or labels.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
        The embedding, projected to two dimensions.
    labels : ndarray of shape (n_samples,)
        One label per sample, of any type that can be sorted. Each label has its colour.
    xlabel, ylabel : str, default=None
        Labels of the axes.
    legend_title : str, default=None
        Title of the legend.
    thumbnails : dict of int to ndarray, default=None
        Pictures of some samples, (height, width) or (height, width, 3), by the number of their
        point.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure of the plot.

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
            "max_samples": [*COUNT, None],
            "n_thumbnails": [Interval(Integral, 0, None, closed="left")],
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
        n_thumbnails: int = 0,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Embed samples, project the embedding to two dimensions and draw it.

        Parameters
        ----------
        estimator : estimator
            A fitted deep clustering estimator, or a fitted Pipeline that ends with one.
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples with the same features as in fit. At least 3.
        labels : array-like of shape (n_samples,), default=None
            One label per sample, which decides its colour. None uses the predicted clusters.
        method : {"pca", "tsne", "umap"}, default="pca"
            The projection. "pca" is fast, and its axes show their share of the variance. If the
            embedding has one direction per cluster, as that of ``DualAESpectral`` and ``DCCS``,
            "pca" draws some clusters on top of each other; use "tsne". "tsne" takes seconds for
            2000 samples. Its perplexity is 30, or (n_samples - 1) / 3 if that is less. "umap"
            needs the package umap-learn.
        max_samples : int or None, default=2000
            Draw at most this number of samples, chosen at random. None draws all.
        n_thumbnails : int, default=0
            Draw at most this number of samples as pictures, if the samples are images. Pictures
            that would cover another one are left out.
        random_state : int, RandomState instance or None, default=None
            Chooses the samples and seeds the projection. Pass an int for the same plot each time.
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : EmbeddingDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `estimator` is not a deep clustering estimator, or `ax` is not one Axes.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If `X` or a parameter is invalid, or if `n_thumbnails` is not 0 and samples are vectors.
        ImportError
            If matplotlib is missing, or umap-learn for "umap".
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        model, X = check_samples(estimator, X)
        if n_thumbnails:
            refuse_vectors(model, f"n_thumbnails={n_thumbnails} needs images,", "n_thumbnails=0")
        legend_title = "cluster" if labels is None else "label"
        if labels is not None:
            labels = column_or_1d(labels)
            check_consistent_length(X, labels)
        random_state = check_random_state(random_state)
        if max_samples is not None and X.shape[0] > max_samples:
            drawn = np.sort(random_state.choice(X.shape[0], max_samples, replace=False))
            X, labels = X[drawn], None if labels is None else labels[drawn]
        if X.shape[0] < 3:
            raise ValueError(f"A projection needs 3 samples or more, got {X.shape[0]}: pass more.")
        points, (xlabel, ylabel) = _project(call(model.transform, X), method, random_state)
        chosen = _apart(points, n_thumbnails, random_state)
        pictures = as_pictures(dense(X[chosen]), model.image_shape_) if chosen else ()
        return cls(
            points,
            call(model.predict, X) if labels is None else labels,
            xlabel=xlabel,
            ylabel=ylabel,
            legend_title=legend_title,
            thumbnails=dict(zip(chosen, pictures, strict=True)),
        ).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        self : EmbeddingDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `ax` is not one Axes.
        ImportError
            If matplotlib is missing.
        """
        self.ax_ = check_axes(ax, "EmbeddingDisplay.plot", (7.0, 5.2))
        self.figure_ = self.ax_.figure
        names, numbers = np.unique(self.labels, return_inverse=True)
        colors = cluster_colors(len(names))
        size = 24 if len(self.points) <= 300 else 10
        kwargs = {"s": size, "linewidths": 0, "alpha": 0.8} | kwargs
        for number, name in enumerate(names):
            marker = _MARKERS[number // 10 % len(_MARKERS)]
            self.ax_.scatter(
                *self.points[numbers == number].T,
                **{"color": colors[number], "marker": marker, "label": str(name)} | kwargs,
            )
        self.ax_.set(xlabel=self.xlabel, ylabel=self.ylabel, xticks=[], yticks=[])
        draw_legend(self.ax_, len(names), self.legend_title)
        for handle in self.ax_.get_legend().legend_handles:
            handle.set(sizes=[30], alpha=1.0)
        if self.thumbnails:
            self._draw_thumbnails(self.thumbnails, [colors[number] for number in numbers])
        return self

    def _draw_thumbnails(self, thumbnails: dict[int, np.ndarray], colors: list[Any]) -> None:
        """Draw pictures at their points, framed in the colours of the points."""
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        pictures = np.stack(list(thumbnails.values()))
        pictures = brightness(pictures, (pictures.min(), pictures.max()))
        for i, picture in zip(thumbnails, pictures, strict=True):
            zoom = _THUMBNAIL / max(picture.shape[:2])
            image = OffsetImage(picture, zoom=zoom, cmap="gray")
            image.image.set_clim(0.0, 1.0)
            frame = {"edgecolor": colors[i], "linewidth": 1.5}
            box = AnnotationBbox(image, self.points[i], pad=0.1, bboxprops=frame)
            self.ax_.add_artist(box)


def _project(
    Z: np.ndarray, method: str, random_state: np.random.RandomState
) -> tuple[np.ndarray, tuple[str, str]]:
    """Project an embedding to points (n, 2), and name the axes."""
    Z = Z.astype(np.float64)  # a covariance in float32 keeps only half of its digits
    if Z.shape[1] == 1:  # the projections need two columns
        Z = np.column_stack([Z, np.zeros_like(Z)])
    if method == "pca":
        # arrays, for any global transform_output of the user
        pca = PCA(2, random_state=random_state).set_output(transform="default")
        with np.errstate(invalid="ignore"):  # an embedding may have no variance
            points = pca.fit_transform(Z)
        shares = np.nan_to_num(pca.explained_variance_ratio_)
        first, second = (
            f"component {i} ({share:.0%} of the variance)" for i, share in enumerate(shares, 1)
        )
        return points, (first, second)
    if method == "tsne":
        perplexity = min(_PERPLEXITY, (len(Z) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, random_state=random_state)
        points = tsne.set_output(transform="default").fit_transform(Z)
        return points, ("t-SNE 1", "t-SNE 2")
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "method='umap' needs the package umap-learn: pip install umap-learn, or use "
            "method='tsne'."
        ) from error
    n_neighbors = min(_NEIGHBORS, len(Z) - 1)
    # umap's spectral start fails on 3 samples; with several threads, results do not repeat
    umap = UMAP(n_neighbors=n_neighbors, init="pca", n_jobs=1, random_state=random_state)
    with torch_threads(torch.get_num_threads()):  # numba leaves its own number to torch
        points = umap.fit_transform(Z)
    return points, ("UMAP 1", "UMAP 2")


def _apart(points: np.ndarray, most: int, random_state: np.random.RandomState) -> list[int]:
    """Choose points at random that are not close to each other."""
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
