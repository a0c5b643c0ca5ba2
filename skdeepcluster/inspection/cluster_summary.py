"""What sets each cluster apart, in the columns of the original table."""

import datetime
from collections.abc import Iterator
from numbers import Number
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from .._data.explain import DATES
from .._sklearn import _safe_indexing, check_matplotlib_support, validate_params
from ._drawing import check_axes, name_ticks
from ._fitted import COUNT

_MOST_DRAWN = 20  # statistics with a value in each cell
_LIMIT = 2.0  # standard deviations, where the colours end
_TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


class ClusterSummaryDisplay:
    """Use this to describe the clusters of a table: their sizes, means, shares and differences.

    The table is the one before preprocessing, so that its columns have their own units and
    categories. Make the summary with :meth:`from_estimator` or :meth:`from_labels`.

    Parameters
    ----------
    clusters : ndarray of shape (n_clusters,)
        The label of each cluster, sorted.
    cluster_sizes : ndarray of shape (n_clusters,)
        Number of samples in each cluster.
    statistics : list of n_statistics pairs of str
        Columns of the table and what is computed from them: ("age", "mean"), ("age", "median"),
        ("plan", "= basic") for the share of a value, ("age", "missing") for the share of missing
        values. Missing values are left out of the other statistics.
    in_cluster, elsewhere : ndarray of shape (n_clusters, n_statistics)
        Each statistic in each cluster, and in all samples outside it. `elsewhere` is nan for
        medians.
    difference : ndarray of shape (n_clusters, n_statistics)
        (`in_cluster` - `elsewhere`) / standard deviation of the column. For a share, the column is
        1 where a sample has the value and 0 elsewhere. It is nan for medians, and where a cluster
        or its outside has no known value.

    Attributes
    ----------
    table : dict of lists
        The summary. One entry for each cluster in each list: "cluster", "size", "share" (of all
        samples), and the statistics, such as "age mean" and "plan = basic".
    differences : dict of lists
        What sets each cluster apart. One entry for each cluster and statistic in each list:
        "cluster", "column", "statistic", "in_cluster", "elsewhere", "difference". The largest
        differences of each cluster come first.
    ax_ : matplotlib Axes
        The axes with the heat map.
    figure_ : matplotlib Figure
        The figure that holds the axes.

    Notes
    -----
    ``pandas.DataFrame(display.table)`` and ``polars.DataFrame(display.table)`` make frames of the
    tables. The difference divides by the standard deviation in the whole table, not within the
    clusters, so that it is finite for a category that all samples of a cluster share. For one
    cluster, sorting the columns by this difference gives the same order as sorting them by their
    correlation with "is in the cluster", if no values are missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdeepcluster.inspection import ClusterSummaryDisplay
    >>> table = pd.DataFrame({"age": [25, 31, None, 64, 59, 70],
    ...                       "plan": ["basic", "basic", "plus", "gold", "gold", "plus"]})
    >>> display = ClusterSummaryDisplay.from_labels(table, [0, 0, 0, 1, 1, 1])
    >>> print(pd.DataFrame(display.table).set_index("cluster").T.round(2))
    cluster           0      1
    size           3.00   3.00
    share          0.50   0.50
    age mean      28.00  64.33
    age median    28.00  64.00
    age missing    0.33   0.00
    plan = basic   0.67   0.00
    plan = gold    0.00   0.67
    plan = plus    0.33   0.33
    >>> ranked = pd.DataFrame(display.differences).round(2)
    >>> print(ranked.groupby("cluster").head(2).to_string(index=False))
     cluster column statistic  in_cluster  elsewhere  difference
           0    age      mean       28.00      64.33       -1.99
           0   plan   = basic        0.67       0.00        1.41
           1    age      mean       64.33      28.00        1.99
           1   plan   = basic        0.00       0.67       -1.41
    """

    def __init__(
        self,
        clusters: np.ndarray,
        cluster_sizes: np.ndarray,
        statistics: list[tuple[str, str]],
        in_cluster: np.ndarray,
        elsewhere: np.ndarray,
        difference: np.ndarray,
    ) -> None:
        self.clusters = clusters
        self.cluster_sizes = cluster_sizes
        self.statistics = statistics
        self.in_cluster = in_cluster
        self.elsewhere = elsewhere
        self.difference = difference

    @property
    def table(self) -> dict[str, list[Any]]:
        """The summary: lists with one entry for each cluster."""
        columns = zip(self.statistics, self.in_cluster.T, strict=True)
        return {
            "cluster": self.clusters.tolist(),
            "size": self.cluster_sizes.tolist(),
            "share": self._shares().tolist(),
            **{f"{name} {statistic}": values.tolist() for (name, statistic), values in columns},
        }

    @property
    def differences(self) -> dict[str, list[Any]]:
        """What sets each cluster apart: lists with one entry for each cluster and statistic."""
        order = np.argsort(-np.abs(self.difference), axis=1, kind="stable")  # nan comes last
        cells = [(i, j) for i, row in enumerate(order) for j in row]
        cells = [cell for cell in cells if not np.isnan(self.difference[cell])]
        return {
            "cluster": [self.clusters[i].item() for i, _ in cells],
            "column": [self.statistics[j][0] for _, j in cells],
            "statistic": [self.statistics[j][1] for _, j in cells],
            "in_cluster": [self.in_cluster[cell].item() for cell in cells],
            "elsewhere": [self.elsewhere[cell].item() for cell in cells],
            "difference": [self.difference[cell].item() for cell in cells],
        }

    def _shares(self) -> np.ndarray:
        shares: np.ndarray = self.cluster_sizes / self.cluster_sizes.sum()
        return shares

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_values: int = 3,
        feature_names: Any = None,
        ax: Any = None,
    ) -> Self:
        """Summarise the clusters that ``estimator.predict(X)`` gives.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator with ``predict``; usually a Pipeline of the preprocessing and a
            clusterer, so that it takes the original table.
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            The table that `estimator` takes. See :meth:`from_labels`.
        n_values : int, default=3
            For each column of categories, list this many of the most common values of each
            cluster.
        feature_names : array-like of shape (n_features,), default=None
            Names of the columns. None uses those of the frame, or "feature 0" and so on.
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ClusterSummaryDisplay
            The Display, drawn.

        Raises
        ------
        NotFittedError
            If `estimator` is not fitted.
        TypeError
            If `estimator` has no ``predict``, or `ax` is not one Axes.
        ValueError
            If `X`, the labels or a parameter are invalid; see :meth:`from_labels`.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "predict"):
            raise TypeError(
                f"{type(estimator).__name__} has no predict. Pass the labels that fit_predict "
                f"gave: {cls.__name__}.from_labels(X, labels)."
            )
        labels = estimator.predict(X)
        display: Self = cls.from_labels(
            X, labels, n_values=n_values, feature_names=feature_names, ax=ax
        )
        return display

    @classmethod
    @validate_params(
        {"n_values": COUNT, "feature_names": ["array-like", None]},
        prefer_skip_nested_validation=True,
    )
    def from_labels(
        cls,
        X: Any,
        labels: Any,
        *,
        n_values: int = 3,
        feature_names: Any = None,
        ax: Any = None,
    ) -> Self:
        """Summarise the clusters that labels give.

        Parameters
        ----------
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            The table: a frame of pandas or polars, or an array. A column of numbers is summarised
            by its mean and median. Any other column, also one of booleans or of the pandas dtype
            "category", holds categories. Missing values (NaN, None, NA) are allowed.
        labels : array-like of shape (n_samples,)
            The cluster of each row of `X`, in the order of the rows: numbers or strings. A label
            for noise, such as -1, is a cluster like the others.
        n_values : int, default=3
            For each column of categories, list this many of the most common values of each
            cluster. If a column has only two values, the second in sorted order is listed.
        feature_names : array-like of shape (n_features,), default=None
            Names of the columns. None uses those of the frame, or "feature 0" and so on.
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : ClusterSummaryDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `ax` is not one Axes.
        ValueError
            If `X` is not a table, holds dates or infinite numbers, or two columns have the same
            name; if `labels` do not match its rows, or hold fewer than two clusters; or if a
            parameter is invalid.
        """
        check_matplotlib_support(f"{cls.__name__}.from_labels")
        columns = _columns(X, feature_names)
        clusters, codes = _check_labels(labels, len(columns[0][1]))
        statistics, computed = [], []
        for name, cells in columns:
            for statistic, *numbers in _summarise(cells, codes, n_values):
                statistics.append((name, statistic))
                computed.append(numbers)
        in_cluster, elsewhere, difference = np.array(computed).transpose(1, 2, 0)
        sizes = np.bincount(codes)
        return cls(clusters, sizes, statistics, in_cluster, elsewhere, difference).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the differences as a heat map, one row per cluster.

        The colour of a cell is the standardised difference of the cluster from all other samples;
        its text is the mean or share in the cluster. If there are more than 20 statistics, only
        those that differ most in any cluster are drawn.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        self : ClusterSummaryDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `ax` is not one Axes.
        ImportError
            If matplotlib is missing.
        """
        telling = np.nan_to_num(np.abs(self.difference), nan=-1.0).max(axis=0)
        drawn = np.sort(np.argsort(-telling, kind="stable")[:_MOST_DRAWN])
        drawn = drawn[telling[drawn] >= 0.0]
        size = (3.0 + 0.55 * len(drawn), max(3.5, 2.2 + 0.35 * len(self.clusters)))
        self.ax_ = check_axes(ax, "ClusterSummaryDisplay.plot", size)
        self.figure_ = self.ax_.figure
        picture = self.ax_.imshow(
            self.difference[:, drawn],
            cmap="RdBu_r",
            vmin=-_LIMIT,
            vmax=_LIMIT,
            aspect="auto",
            interpolation="nearest",
        )
        for i, j in np.ndindex(len(self.clusters), len(drawn)):
            self._write(i, j, drawn[j])
        titles = [" ".join(self.statistics[j]).removesuffix(" mean") for j in drawn]
        name_ticks(self.ax_, np.array(titles, dtype=object))
        sizes = zip(self.clusters, self.cluster_sizes, self._shares(), strict=True)
        labels = [f"{cluster} ({size}, {share:.0%})" for cluster, size, share in sizes]
        self.ax_.set_yticks(range(len(labels)), labels)
        self.ax_.set_ylabel("cluster (samples)")
        self.figure_.colorbar(picture, ax=self.ax_, label="standard deviations", extend="both")
        return self

    def _write(self, cluster: int, place: int, statistic: int) -> None:
        """Write a mean or share into its cell."""
        value = self.in_cluster[cluster, statistic]
        if np.isnan(value):
            return
        dark = abs(self.difference[cluster, statistic]) > 0.7 * _LIMIT
        if self.statistics[statistic][1] != "mean":
            text = f"{value:.0%}"
        else:
            text = f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.3g}"
        self.ax_.text(
            place,
            cluster,
            text,
            ha="center",
            va="center",
            fontsize="x-small",
            color="white" if dark else "black",
        )


def _columns(X: Any, feature_names: Any) -> list[tuple[str, np.ndarray]]:
    """Name and cells of each column: floats with nan, or strings with None for missing ones."""
    if sp.issparse(X):
        raise ValueError("X is sparse. Pass a frame, or a dense array: X.toarray().")
    if type(X).__module__.startswith("pyarrow"):
        X = X.to_pandas()
    if not hasattr(X, "shape"):
        X = np.array(X, dtype=object)
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(
            f"X must be a table of samples and columns, but its shape is {tuple(X.shape)}. For "
            "images, use ClusterGalleryDisplay."
        )
    names = getattr(X, "columns", [f"feature {j}" for j in range(X.shape[1])])
    names = [str(name) for name in (names if feature_names is None else feature_names)]
    if len(names) != X.shape[1]:
        raise ValueError(
            f"feature_names has {len(names)} names, but X has {X.shape[1]} columns: pass one name "
            "for each."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Several columns of X have the name {twice[0]!r}. Rename them.")
    return [(name, _cells(_safe_indexing(X, j, axis=1), name)) for j, name in enumerate(names)]


def _cells(column: Any, name: str) -> np.ndarray:
    """A column as floats with nan, or as strings with None for the missing ones."""
    cells = np.asarray(column)
    category = getattr(getattr(column, "dtype", None), "name", None) == "category"
    if cells.dtype.kind not in "iuf" or category:
        cells = cells.astype(object)
        missing = np.array([_is_missing(cell) for cell in cells])
        cells[missing] = None
        known = cells[~missing]
        if any(isinstance(cell, _TIMES) for cell in known):
            raise ValueError(
                f"Column {name!r} of X holds dates or times. {DATES} If the estimator needs the "
                "column as it is, pass X without it, and estimator.predict(X), to from_labels."
            )
        if category or any(
            isinstance(cell, bool) or not isinstance(cell, Number) for cell in known
        ):
            cells[~missing] = [str(cell) for cell in known]
            return cells
    cells = cells.astype(np.float64)  # None becomes nan
    if np.isinf(cells).any():
        raise ValueError(f"Column {name!r} of X contains infinity. Replace or remove these values.")
    return cells


def _is_missing(cell: Any) -> bool:
    """Whether a cell is None, a missing value of pandas, or nan."""
    nan = isinstance(cell, float | np.floating) and np.isnan(cell)
    return cell is None or nan or type(cell).__name__ in ("NAType", "NaTType")


def _check_labels(labels: Any, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels that occur, sorted, and the position of each sample's label among them."""
    labels = np.asarray(labels)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"labels has shape {labels.shape}, but X has {n_samples} samples: pass one label for "
            "each, for example from estimator.predict(X)."
        )
    if any(_is_missing(label) for label in labels.tolist()):
        raise ValueError("labels holds missing values. Drop these samples from X and labels.")
    if labels.dtype == object:
        labels = labels.astype(str)
    clusters, codes = np.unique(labels, return_inverse=True)
    if len(clusters) < 2:
        raise ValueError(
            f"All samples have the label {clusters[0]}. A summary compares each cluster with the "
            "others: pass two clusters or more."
        )
    return clusters, codes


def _summarise(
    cells: np.ndarray, codes: np.ndarray, n_values: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Statistics of a column: a name, and three arrays of shape (n_clusters,) as in the class."""
    if cells.dtype == object:
        missing = np.array([cell is None for cell in cells])
        for value in _common_values(cells[~missing], codes[~missing], n_values):
            share = np.where(missing, np.nan, cells == value)
            yield f"= {value}", *_compare(share, codes)
    else:
        missing = np.isnan(cells)
        yield "mean", *_compare(cells, codes)
        unknown = np.full(codes.max() + 1, np.nan)
        yield "median", _medians(cells, codes), unknown, unknown
    if missing.any():
        yield "missing", *_compare(missing.astype(np.float64), codes)


def _common_values(texts: np.ndarray, codes: np.ndarray, n_values: int) -> list[str]:
    """The most common values of each cluster, sorted; only the second if there are two values."""
    values, numbers = np.unique(texts.astype(str), return_inverse=True)
    if len(values) == 2:
        return [str(values[1])]
    chosen: set[int] = set()
    for cluster in np.unique(codes):
        counts = np.bincount(numbers[codes == cluster], minlength=len(values))
        chosen.update(j for j in np.argsort(-counts, kind="stable")[:n_values] if counts[j] > 0)
    return [str(values[j]) for j in sorted(chosen)]


def _compare(values: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean in each cluster, mean elsewhere, and their difference in standard deviations."""
    known = ~np.isnan(values)
    n_clusters = codes.max() + 1
    values, codes = values[known], codes[known]
    sizes = np.bincount(codes, minlength=n_clusters)
    sums = np.bincount(codes, weights=values, minlength=n_clusters)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is known
        inside = sums / sizes
        outside = (sums.sum() - sums) / (len(values) - sizes)
    constant = len(values) == 0 or values.min() == values.max()
    spread = np.inf if constant else values.std()  # then differences are rounding errors
    return inside, outside, (inside - outside) / spread + 0.0  # no -0.0


def _medians(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Median of the known values in each cluster, nan where there are none."""
    medians = np.full(codes.max() + 1, np.nan)
    for cluster in np.unique(codes[~np.isnan(values)]):
        medians[cluster] = np.nanmedian(values[codes == cluster])
    return medians
