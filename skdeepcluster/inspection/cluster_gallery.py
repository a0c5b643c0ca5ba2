"""What each cluster is."""

import textwrap
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch

from .._data.scaling import column_statistics
from .._sklearn import StrOptions, check_matplotlib_support, validate_params
from ..base import BaseDeepClusterer
from ..nn import DissimilarityMixture
from ._drawing import _FEATURES, _mosaic, _name_features, _panels, _pictures
from ._fitted import _COUNT, _dense, _embed, _feature_names, _samples

_TERMS = 12  # of a cluster, at most
_LETTERS = 46  # in a line of terms
_LIMIT = 2.0  # of its colours, in standard deviations


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
