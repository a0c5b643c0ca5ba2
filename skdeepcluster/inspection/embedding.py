"""The embedding in the plane."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d

from .._sklearn import Interval, StrOptions, check_matplotlib_support, validate_params
from ._drawing import _axes, _brightness, _colors, _legend_beside, _pictures
from ._fitted import _COUNT, _dense, _embed, _samples

_PERPLEXITY = 30  # of t-SNE, scikit-learn's default
_NEIGHBORS = 15  # of UMAP, its default
_THUMBNAIL = 20  # points a side
_SPACING = 0.08  # of the width of a plot, between thumbnails
_MARKERS = "o^sDvP*X"  # for ten clusters each


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
        pca = PCA(2, random_state=random_state).set_output(transform="default")
        with np.errstate(invalid="ignore"):  # of an embedding without any variance
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
