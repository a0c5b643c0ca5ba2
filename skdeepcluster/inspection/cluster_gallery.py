"""What each cluster contains."""

import textwrap
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch

from .._data.kind import data_kind
from .._data.scaling import column_statistics
from .._sklearn import StrOptions, check_matplotlib_support, validate_params
from ..base import BaseDeepClusterer
from ._drawing import MOST_FEATURES, as_pictures, draw_mosaic, name_ticks, split_axes
from ._fitted import (
    COUNT,
    call,
    check_feature_names,
    check_samples,
    dense,
    refuse_vectors,
)

_TERMS = 12  # at most, for a cluster or a sample
_LETTERS = 46  # at most, in a line of terms
_LIMIT = 2.0  # standard deviations, where the colours of a table end


class ClusterGalleryDisplay:
    """Use this to see what is in each cluster: its mean, and its most and least typical samples.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    kind : {"images", "text", "table"}
        How samples are drawn.
    profiles : ndarray of shape (n_clusters, n_features)
        A summary of each cluster. For images: the mean of its samples. For text: that mean minus
        the mean of all other samples. For tables: the mean of its standardised samples. Rows of
        empty clusters are nan.
    most_typical, least_typical : list of n_clusters ndarrays of shape (<= n_samples, n_features)
        Samples of each cluster, starting with the most typical one or the least typical one. For
        tables they are standardised.
    most_typical_index, least_typical_index : list of n_clusters ndarrays
        The row numbers of these samples in X.
    cluster_sizes : ndarray of shape (n_clusters,)
        Number of samples in each cluster.
    feature_names : ndarray of shape (n_features,), default=None
        Names of the features, for text and tables.
    image_shape : tuple of 3 ints, default=None
        Channels, height and width, for images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes in whose place the panels are drawn. They are invisible themselves.
    axes_ : ndarray of 3 matplotlib Axes
        The panels: summaries of the clusters, most typical samples, least typical samples.
    figure_ : matplotlib Figure
        The figure that holds the panels.

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
            "n_samples": COUNT,
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

        A sample is typical of its cluster if ``predict_proba`` gives it a high probability. These
        probabilities are compared after rounding to two digits, because many methods give 1.00 to
        nearly all samples. Equal ones are ordered by the distance to the center of the cluster in
        the embedding, the nearest first. This is the Euclidean distance, unless the assignment
        layer ``module_.assign`` has a method ``distances``, as in ``DMAE``.

        Parameters
        ----------
        estimator : estimator
            A fitted deep clustering estimator, or a fitted Pipeline that ends with one.
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples with the same features as in fit.
        n_samples : int, default=5
            Show at most this number of most typical samples, and as many least typical ones.
            Small clusters have fewer; no sample is shown twice.
        feature_names : array-like of shape (n_features,), default=None
            Names of the words or columns. None uses the names that the estimator was fitted with,
            or the names that the steps before it in the Pipeline give.
        kind : {"auto", "images", "text", "table"}, default="auto"
            How samples are drawn. "images" draws pictures. "text" writes the terms with the largest
            weights; the weights of a cluster are its mean minus the mean of all other samples.
            "table" draws a heat map of standardised values; if there are more than 30 features, it
            shows those that differ most between clusters. "auto" is "images" if the estimator was
            fitted on images, "text" if `X` is sparse or less than 5 % of its values are not 0, and
            "table" otherwise.
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ClusterGalleryDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `estimator` is not a deep clustering estimator, or `ax` is not one Axes.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If `X` or a parameter is invalid, or if `kind` is "images" and samples are vectors.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        model, X = check_samples(estimator, X)
        if kind == "auto":
            kind = _kind_of(X, model.image_shape_)
        if kind == "images":
            refuse_vectors(model, f"kind={kind!r}", "kind='auto'")
        q = call(model.predict_proba, X)
        ranked = _rank(model, call(model.transform, X), q)
        most = [rows[:n_samples] for rows in ranked]
        least = [rows[n_samples:][: -n_samples - 1 : -1] for rows in ranked]
        mean, scale = _units(X) if kind == "table" else (np.zeros(1), np.ones(1))
        return cls(
            kind,
            (_profiles(X, ranked, contrast=kind == "text") - mean) / scale,
            [(dense(X[rows]) - mean) / scale for rows in most],
            [(dense(X[rows]) - mean) / scale for rows in least],
            most_typical_index=most,
            least_typical_index=least,
            cluster_sizes=np.array([len(rows) for rows in ranked]),
            feature_names=check_feature_names(estimator, feature_names),
            image_shape=model.image_shape_,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the gallery, one row per cluster.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        self : ClusterGalleryDisplay
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
        n_samples = max(1, *(len(rows) for rows in self.most_typical_index))
        size, ratios = self._layout(n_samples)
        self.ax_, axes = split_axes(
            ax, "ClusterGalleryDisplay.plot", size, (1, 3), width_ratios=ratios
        )
        self.axes_, self.figure_ = axes[0], self.ax_.figure
        if self.kind == "images":
            self._draw_images()
        elif self.kind == "text":
            self._draw_text(n_samples)
        else:
            self._draw_table(n_samples)
        sizes = [f"{i} ({size})" for i, size in enumerate(self.cluster_sizes)]
        self.axes_[0].set_yticks(self.axes_[0].get_yticks(), sizes)
        self.axes_[0].set_ylabel("cluster (samples)")
        summary = "cluster terms" if self.kind == "text" else "cluster mean"
        for panel, title in zip(
            self.axes_, (summary, "most typical", "least typical"), strict=True
        ):
            panel.set_title(title, fontsize="medium")
        return self

    def _layout(self, n_samples: int) -> tuple[tuple[float, float], tuple[int, int, int]]:
        """Size of a new figure in inches, and relative widths of the panels."""
        n_clusters, n_features = self.profiles.shape
        if self.kind == "images":
            _, height, width = self.image_shape or (1, 1, 1)
            side = min(0.5, 16 / n_clusters)
            size = (2.0 + side * (1 + 2 * n_samples), 0.8 + side * height / width * n_clusters)
            return size, (1, n_samples, n_samples)
        if self.kind == "text":
            return (12.0, 0.8 + 0.16 * n_clusters * (n_samples + 1)), (1, 1, 1)
        height = 1.8 + max(0.1 * n_samples, 0.25) * n_clusters
        size = (4.5 + 0.4 * min(n_features, MOST_FEATURES), min(max(height, 4.0), 16.0))
        return size, (1, 1, 1)

    def _draw_images(self) -> None:
        grids = [
            [as_pictures(rows, self.image_shape) for rows in typical]
            for typical in (self.most_typical, self.least_typical)
        ]
        shown = [pictures for grid in grids for pictures in grid if len(pictures)]
        low = min(pictures.min() for pictures in shown)
        high = max(pictures.max() for pictures in shown)
        profiles = np.nan_to_num(self.profiles, nan=high)  # an empty cluster is white
        means = [as_pictures(row[None], self.image_shape) for row in profiles]
        for panel, grid in zip(self.axes_, (means, *grids), strict=True):
            draw_mosaic(panel, grid, (low, high))

    def _draw_table(self, n_samples: int) -> None:
        """Draw heat maps; a cluster's row is divided into one row for each of its samples."""
        spread = np.nanmax(self.profiles, axis=0) - np.nanmin(self.profiles, axis=0)
        kept = np.sort(np.argsort(-spread, kind="stable")[:MOST_FEATURES])
        n_clusters = len(self.profiles)
        most, least = np.full((2, n_clusters, n_samples, len(kept)), np.nan)
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
            name_ticks(panel, np.asarray(self.feature_names)[kept])
            panel.set_yticks(range(n_clusters), [])
        self.figure_.colorbar(
            picture, ax=list(self.axes_), label="standard deviations", extend="both", aspect=30
        )

    def _draw_text(self, n_samples: int) -> None:
        """Write one line for each sample, and as many lines for the terms of its cluster."""
        names = np.asarray(self.feature_names)
        columns = [
            [_wrap(_top_terms(row, names), n_samples) for row in self.profiles],
            *(
                [[_shorten(_top_terms(row, names)) for row in rows] for rows in typical]
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


def _kind_of(X: Any, image_shape: tuple[int, ...] | None) -> str:
    """Choose how samples are drawn."""
    if image_shape is not None:
        return "images"
    words = data_kind(X, None) == "bag of words"
    return "text" if words or sp.issparse(X) else "table"


def _rank(model: BaseDeepClusterer, Z: np.ndarray, q: np.ndarray) -> list[np.ndarray]:
    """Return the samples of each cluster, the most typical one first."""
    labels = q.argmax(axis=1)
    assign: Any = getattr(model.module_, "assign", None)
    if hasattr(assign, "distances"):  # the method has its own
        with torch.no_grad():
            z = torch.tensor(Z).to(assign.centers)
            nearest = assign(z).argmax(dim=1, keepdim=True)
            distances = assign.distances(z).gather(1, nearest)[:, 0].cpu().numpy()
    else:
        distances = np.linalg.norm(Z - model.cluster_centers_[labels], axis=1)
    order = np.lexsort((distances, -q.max(axis=1).round(2)))
    return [order[labels[order] == cluster] for cluster in range(q.shape[1])]


def _profiles(X: Any, members: list[np.ndarray], *, contrast: bool) -> np.ndarray:
    """Mean of the rows of each cluster, with `contrast` minus the mean of all other rows."""
    sizes = np.array([len(rows) for rows in members])
    indicator = sp.csr_array(
        (np.ones(sizes.sum()), np.concatenate(members), np.append(0, sizes.cumsum())),
        shape=(len(members), X.shape[0]),
    )
    sums = dense(indicator @ X)  # (n_clusters, n_features)
    means: np.ndarray = sums / np.where(sizes > 0, sizes, np.nan)[:, None]
    if contrast:
        others = X.shape[0] - sizes
        means -= (sums.sum(axis=0) - sums) / np.maximum(others, 1)[:, None]
    return means


def _units(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column; 1 instead of a standard deviation of 0."""
    *_, mean, variance = column_statistics(X)
    return mean, np.sqrt(np.where(variance > 0, variance, 1.0))


def _top_terms(values: np.ndarray, names: np.ndarray) -> list[str]:
    """Return the names of the largest values above 0."""
    order = np.argsort(-np.nan_to_num(values), kind="stable")[:_TERMS]
    return [str(names[j]) for j in order if values[j] > 0] or ["(no terms)"]


def _shorten(terms: list[str]) -> str:
    """Join as many terms as fit in one line."""
    line = terms[0][:_LETTERS]
    for term in terms[1:]:
        if len(line) + len(term) + 2 > _LETTERS:
            break
        line += f", {term}"
    return line


def _wrap(terms: list[str], n_lines: int) -> list[str]:
    """Join as many terms as fit in a number of lines."""
    lines = textwrap.wrap(", ".join(terms), _LETTERS)[:n_lines]
    return [*lines[:-1], lines[-1].rstrip(",")]
