"""Samples and prototypes, decoded from the embedding."""

from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from .._data.scaling import Scaler
from .._sklearn import check_matplotlib_support, validate_params
from ..base import BaseDeepClusterer
from ..nn import SpectralAssignment
from ._drawing import (
    MOST_FEATURES,
    as_pictures,
    cluster_colors,
    draw_mosaic,
    name_ticks,
    split_axes,
)
from ._fitted import COUNT, call, check_feature_names, check_samples, dense

_ROW = 20  # prototypes in a row, at most


class ReconstructionDisplay:
    """Use this to see what the embedding keeps of a sample, and what each cluster looks like.

    Make it with :meth:`from_estimator`. It shows samples beside their reconstructions, and the
    decoded center of each cluster, its prototype.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
        Some samples.
    reconstructions : ndarray of shape (n_samples, n_features)
        ``inverse_transform(transform(samples))``.
    prototypes : ndarray of shape (n_clusters, n_features)
        ``inverse_transform(cluster_centers_)``.
    title : str, default="reconstructions"
        The plural name of the reconstructions.
    image_shape : tuple of 3 ints, default=None
        Channels, height and width, if the samples are images.
    feature_names : ndarray of shape (n_features,), default=None
        Names of the features, if the samples are vectors.
    ylabel : str, default=None
        Label of the y axis, if the samples are vectors.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes in whose place the panels are drawn. They are invisible themselves.
    axes_ : ndarray of matplotlib Axes
        The panels. For images: one for samples and reconstructions, one for prototypes. For
        vectors: one for each sample, then one for each prototype.
    figure_ : matplotlib Figure
        The figure that holds the panels.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdeepcluster import DCEC
    >>> from skdeepcluster.inspection import ReconstructionDisplay
    >>> X = load_digits(n_class=3).data
    >>> model = DCEC(3, image_shape=(8, 8), init="graph", n_init=1, pretrain_epochs=100,
    ...              max_epochs=20, random_state=0).fit(X)
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
        {"n_samples": COUNT, "random_state": ["random_state"]},
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
        """Decode some samples and the cluster centers, and draw them.

        Images are drawn as pictures. Vectors are drawn as lines over their features, in the units
        of X; if the columns of X have different units, they are standardised. For texts, use
        :class:`ClusterGalleryDisplay`: lines over thousands of words are hard to read.

        Parameters
        ----------
        estimator : estimator
            A fitted deep clustering estimator, or a fitted Pipeline that ends with one. The
            spectral embedding of ``DualAESpectral`` keeps little more than the cluster, so a
            sample is decoded to the prototypes near it. With ``embedding="latent"`` it is
            reconstructed. The title says which of the two is shown.
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples with the same features as in fit.
        n_samples : int, default=6
            Draw at most this number of samples, chosen at random.
        random_state : int, RandomState instance or None, default=None
            Chooses the samples. Pass an int for the same plot each time.
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ReconstructionDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `estimator` is not a deep clustering estimator or cannot decode its embedding, or
            if `ax` is not one Axes.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If `X` or a parameter is invalid.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        model, X = check_samples(estimator, X)
        chosen = check_random_state(random_state).permutation(X.shape[0])[:n_samples]
        drawings = [
            dense(X[chosen]).astype(np.float64),
            _decode(model, call(model.transform, X[chosen])),
            _decode(model, model.cluster_centers_),
        ]
        ylabel = "value"
        scaler = Scaler.fit(X, "auto", image_shape=model.image_shape_)
        if scaler.kind == "standard":  # the columns have different units
            drawings = [scaler(rows) for rows in drawings]
            ylabel = "standardised value"
        assign = getattr(model.module_, "assign", None)
        # a spectral embedding is decoded through the mean latents of its clusters
        by_cluster = isinstance(assign, SpectralAssignment) and not assign.latent
        return cls(
            *drawings,
            title="nearest prototypes" if by_cluster else "reconstructions",
            image_shape=model.image_shape_,
            feature_names=check_feature_names(estimator, None),
            ylabel=ylabel,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the samples, their reconstructions and the prototypes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        self : ReconstructionDisplay
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
        if self.image_shape is None:
            self._plot_lines(ax)
        else:
            self._plot_images(ax)
        self.figure_ = self.ax_.figure
        return self

    def _plot_images(self, ax: Any) -> None:
        limits = (self.samples.min(), self.samples.max())
        samples, decoded, prototypes = (
            as_pictures(rows, self.image_shape)
            for rows in (self.samples, self.reconstructions, self.prototypes)
        )
        starts = range(0, len(prototypes), _ROW)
        rows = [prototypes[start : start + _ROW] for start in starts]
        size = (1.5 + 0.6 * max(len(samples), len(rows[0])), 1.2 + 0.6 * (2 + len(rows)))
        shape, ratios = (2, 1), (2, len(rows))
        caller = "ReconstructionDisplay.plot"
        self.ax_, axes = split_axes(ax, caller, size, shape, height_ratios=ratios)
        self.axes_ = axes[:, 0]
        above, below = self.axes_
        draw_mosaic(above, [samples, decoded], limits)
        above.set_yticks(above.get_yticks(), ["sample", self.title[:-1]])
        above.set_title(f"samples and {self.title}", fontsize="medium")
        draw_mosaic(below, rows, limits)
        below.set_xticks(below.get_xticks(), [str(i) for i in range(len(rows[0]))])
        below.set_yticks(below.get_yticks(), [f"{start} +" if start else "" for start in starts])
        below.set_xlabel("cluster")
        below.set_title("prototypes of the clusters", fontsize="medium")

    def _plot_lines(self, ax: Any) -> None:
        n, k = len(self.samples), len(self.prototypes)
        caller, size = "ReconstructionDisplay.plot", (11.0, min(1.2 + 0.7 * max(n, k), 40.0))
        self.ax_, frames = split_axes(ax, caller, size, (1, 2))
        left, right = (
            split_axes(frame, caller, size, (count, 1), sharex=True, sharey=True)[1][:, 0]
            for frame, count in zip(frames[0], (n, k), strict=True)
        )
        self.axes_ = np.concatenate([left, right])
        places = np.arange(self.samples.shape[1])
        names = self.feature_names if len(places) <= MOST_FEATURES else None
        marker = "" if names is None else "."
        for panel, sample, decoded in zip(left, self.samples, self.reconstructions, strict=True):
            panel.plot(places, sample, marker=marker, color="0.4", label="sample")
            panel.plot(places, decoded, "--", marker=marker, color="C1", label=self.title[:-1])
        colors = cluster_colors(k)
        for i, (panel, prototype) in enumerate(zip(right, self.prototypes, strict=True)):
            panel.plot(places, prototype, marker=marker, color=colors[i])
            panel.set_title(f"prototype of cluster {i}", loc="left", fontsize="small", pad=2)
        left[0].legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, borderaxespad=0.1
        )
        left[n // 2].set_ylabel(self.ylabel)
        for lowest in (left[-1], right[-1]):
            if names is None:
                lowest.set_xlabel("feature")
            else:
                name_ticks(lowest, names)


def _decode(model: BaseDeepClusterer, Z: np.ndarray) -> np.ndarray:
    """Decode embeddings to rows (n, n_features)."""
    try:
        return model.inverse_transform(Z).reshape(len(Z), -1)
    except (AttributeError, NotImplementedError) as error:
        raise TypeError(
            f"{type(model).__name__} cannot decode its embedding, which this Display shows: "
            f"{error}. Use EmbeddingDisplay or ClusterGalleryDisplay instead, or give its module "
            "a method decode."
        ) from error
