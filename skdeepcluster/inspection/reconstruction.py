"""What the decoder makes of embeddings."""

import math
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from .._sklearn import check_matplotlib_support, validate_params
from ..nn import SpectralAssignment
from ._drawing import (
    _FEATURES,
    _ROW,
    _colors,
    _mosaic,
    _name_features,
    _panels,
    _pictures,
)
from ._fitted import _COUNT, _dense, _embed, _feature_names, _samples


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
