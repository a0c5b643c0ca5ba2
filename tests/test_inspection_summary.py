"""The summary of clusters: its numbers, what it draws, and what it refuses."""

import datetime
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from _instances import small
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skdeepcluster import DMAE
from skdeepcluster.inspection import ClusterSummaryDisplay

mpl.use("Agg")
import matplotlib.pyplot as plt

TABLE = pd.DataFrame(
    {
        "age": [20.0, 30.0, None, 60.0, 64.0, 80.0],
        "plan": ["basic", "basic", "plus", "gold", "plus", None],
        "owns": ["no", "no", "no", "no", "yes", "yes"],
    }
)
LABELS = np.array([0, 0, 0, 1, 1, 1])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def customers():
    """Two kinds of customers in 60 rows, some values missing."""
    rng = np.random.default_rng(0)
    old = np.arange(60) % 3 == 0
    table = pd.DataFrame(
        {
            "age": np.where(old, 70.0, 25.0) + rng.normal(size=60),
            "plan": np.where(old, "gold", "basic").astype(object),
        }
    )
    table.loc[:5, "age"] = np.nan
    table.loc[7:9, "plan"] = None
    return table, old


def test_sizes_means_medians_and_shares():
    table = ClusterSummaryDisplay.from_labels(TABLE, LABELS).table
    assert table == {
        "cluster": [0, 1],
        "size": [3, 3],
        "share": [0.5, 0.5],
        "age mean": [25.0, pytest.approx(68.0)],
        "age median": [25.0, 64.0],
        "age missing": [pytest.approx(1 / 3), 0.0],
        "plan = basic": [pytest.approx(2 / 3), 0.0],
        "plan = gold": [0.0, pytest.approx(1 / 2)],
        "plan = plus": [pytest.approx(1 / 3), pytest.approx(1 / 2)],
        "plan missing": [0.0, pytest.approx(1 / 3)],
        "owns = yes": [0.0, pytest.approx(2 / 3)],  # of two values, the second
    }
    assert pd.DataFrame(table).shape == (2, 11)
    assert pl.DataFrame(table).shape == (2, 11)


def test_differences_are_standardised_and_ranked():
    labels = np.array([0, 0, 1, 1, 2, 2])
    differences = pd.DataFrame(ClusterSummaryDisplay.from_labels(TABLE, labels).differences)
    assert differences["cluster"].is_monotonic_increasing
    for _, ranked in differences.groupby("cluster"):
        assert ranked["difference"].abs().is_monotonic_decreasing
        assert len(ranked) == 7  # medians are not compared
    known = TABLE["age"].dropna()
    (age,) = differences.query("cluster == 2 and column == 'age' and statistic == 'mean'").iloc
    assert (age["in_cluster"], age["elsewhere"]) == (72.0, pytest.approx(110 / 3))
    assert age["difference"] == pytest.approx((72.0 - 110 / 3) / known.std(ddof=0))
    (plus,) = differences.query("cluster == 1 and statistic == '= plus'").iloc
    assert (plus["in_cluster"], plus["elsewhere"]) == (0.5, pytest.approx(1 / 3))
    assert plus["difference"] == pytest.approx((1 / 2 - 1 / 3) / np.sqrt(0.4 * 0.6))


def test_the_ranking_is_that_of_the_correlation_with_membership():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(200, 5)), rng.integers(3, size=200)
    X[:, 3] += labels == 1
    differences = pd.DataFrame(ClusterSummaryDisplay.from_labels(X, labels).differences)
    for cluster, ranked in differences.groupby("cluster"):
        correlations = [abs(np.corrcoef(column, labels == cluster)[0, 1]) for column in X.T]
        expected = [f"feature {j}" for j in np.argsort(-np.array(correlations))]
        assert ranked["column"].tolist() == expected
    assert differences.query("cluster == 1")["column"].iloc[0] == "feature 3"


def test_the_most_common_values_of_each_cluster_are_listed():
    towns = ["Rome"] * 5 + ["Oslo"] * 3 + ["Bonn", "Graz"] + ["Oslo"] * 4 + ["Bonn"] * 5 + ["Kyiv"]
    labels = [0] * 10 + [1] * 10
    X = pd.DataFrame({"town": towns})
    table = ClusterSummaryDisplay.from_labels(X, labels, n_values=1).table
    assert list(table)[3:] == ["town = Bonn", "town = Rome"]
    assert table["town = Bonn"] == [0.1, 0.5]
    table = ClusterSummaryDisplay.from_labels(X, labels, n_values=2).table
    assert list(table)[3:] == ["town = Bonn", "town = Oslo", "town = Rome"]


def forms():
    """The same table in other containers, with their names for a missing value."""
    columns = TABLE.astype(object).where(TABLE.notna(), None).to_dict("list")
    typed = TABLE.astype({"age": "Float64", "plan": "category", "owns": "string"})
    polars = pl.DataFrame(columns, strict=False)
    return {
        "typed pandas": typed,
        "objects": TABLE.astype(object),
        "polars": polars,
        "polars categories": polars.with_columns(pl.col("plan").cast(pl.Categorical)),
        "pyarrow": polars.to_arrow(),
        "array": TABLE.to_numpy(dtype=object),
        "list": [list(row) for row in zip(*columns.values(), strict=True)],
    }


@pytest.mark.parametrize("form", forms().values(), ids=forms())
def test_every_form_of_the_table_gives_the_same(form):
    expected = ClusterSummaryDisplay.from_labels(TABLE, LABELS).table
    display = ClusterSummaryDisplay.from_labels(form, LABELS, feature_names=list(TABLE.columns))
    assert display.table == expected


def test_columns_that_are_not_float():
    table = {
        "flag": [True, False, True, True],
        "count": np.array([1, 2, 3, 4], dtype=np.uint8),
        "code": pd.Categorical([10, 20, 30, 30]),
        "mixed": [1, "a", None, "a"],
        "empty": [None] * 4,
        "constant": [0.1] * 4,
    }
    X = pd.DataFrame(table)
    display = ClusterSummaryDisplay.from_labels(X, list("aabb"))
    table = pd.DataFrame(display.table).set_index("cluster")
    assert table["flag = True"].tolist() == [0.5, 1.0]
    assert table["count mean"].tolist() == [1.5, 3.5]
    assert table["code = 30"].tolist() == [0.0, 1.0]
    assert table["mixed = a"].tolist() == [0.5, 1.0]
    assert table["mixed missing"].tolist() == [0.0, 0.5]
    assert table["empty mean"].isna().all()
    assert table["empty missing"].tolist() == [1.0, 1.0]
    differences = pd.DataFrame(display.differences)
    assert differences.query("column == 'constant'")["difference"].tolist() == [0.0, 0.0]
    assert not ((differences["column"] == "empty") & (differences["statistic"] == "mean")).any()


def test_a_tensor_is_an_array():
    X = torch.arange(6.0).reshape(3, 2)
    table = ClusterSummaryDisplay.from_labels(X, [0, 1, 1]).table
    assert table["feature 1 mean"] == [1.0, 4.0]


def test_a_pipeline_takes_the_original_table(customers):
    table, old = customers
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["plan"]),
    )
    model = small(DMAE, n_clusters=2, architecture=None, dissimilarity="euclidean", random_state=0)
    pipeline = make_pipeline(columns, model.set_params(scaling="none")).fit(table)
    before = table.copy()
    display = ClusterSummaryDisplay.from_estimator(pipeline, table, n_values=2)
    pd.testing.assert_frame_equal(table, before)
    labels = pipeline.predict(table)
    assert display.table == ClusterSummaryDisplay.from_labels(table, labels).table
    assert sorted(display.table["size"]) == [20, 40]
    assert display.table["age mean"][labels[0]] == pytest.approx(table["age"][old].mean())
    # shallow clusterers are summarised too
    k_means = make_pipeline(columns, KMeans(2, n_init=1, random_state=0)).fit(table)
    shallow = ClusterSummaryDisplay.from_estimator(k_means, table)
    assert sorted(shallow.table["size"]) == [20, 40]


def test_labels_may_be_strings_and_in_a_series_of_any_index():
    labels = pd.Series(["b", "b", "b", "a", "a", "a"], index=range(10, 16))
    display = ClusterSummaryDisplay.from_labels(TABLE, labels)
    assert display.table["cluster"] == ["a", "b"]
    assert display.table["age median"] == [64.0, 25.0]
    noise = ClusterSummaryDisplay.from_labels(TABLE, [-1, 0, 0, 2, 2, 2]).table
    assert (noise["cluster"], noise["size"]) == ([-1, 0, 2], [1, 2, 3])


# ---------------------------------------------------------------- picture


def test_the_picture_holds_differences_values_and_sizes():
    X = TABLE.assign(income=[900.0, 1e3, 1100.0, 52e3, 52e3, 52e3])
    display = ClusterSummaryDisplay.from_labels(X, LABELS)
    (picture,) = display.ax_.images
    compared = [j for j, (_, name) in enumerate(display.statistics) if name != "median"]
    np.testing.assert_array_equal(picture.get_array(), display.difference[:, compared])
    names = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert names[:3] == ["age", "age missing", "plan = basic"]
    assert names[-1] == "income"
    cells = {text.get_position(): text.get_text() for text in display.ax_.texts}
    assert (cells[0, 0], cells[1, 0], cells[7, 0], cells[7, 1]) == ("25", "33%", "1,000", "52,000")
    sizes = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert sizes == ["0 (3, 50%)", "1 (3, 50%)"]


def test_a_wide_table_is_drawn_by_its_most_telling_columns():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(300, 40)), rng.integers(2, size=300)
    X[:, 7::8] += labels[:, None]
    X[0, 0] = np.nan
    display = ClusterSummaryDisplay.from_labels(X, labels)
    names = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert len(names) == 20
    assert set(names) >= {f"feature {j}" for j in range(7, 40, 8)}
    assert names == sorted(names, key=lambda name: int(name.split()[1]))


def test_it_is_drawn_where_it_is_told():
    figure, axes = plt.subplots(1, 2)
    display = ClusterSummaryDisplay.from_labels(TABLE, LABELS, ax=axes[1])
    assert (display.ax_, display.figure_) == (axes[1], figure)
    assert not axes[0].has_data()
    assert display.plot() is display
    assert display.figure_ is not figure
    with pytest.raises(TypeError, match=r"ax must be one matplotlib Axes.*got ndarray"):
        display.plot(ax=axes)


def test_without_matplotlib_there_is_a_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ClusterSummaryDisplay\.from_labels requires"):
        ClusterSummaryDisplay.from_labels(TABLE, LABELS)


# ---------------------------------------------------------------- refusals

REFUSED_TABLES = {
    "one column": (TABLE["age"], r"must be a table.*shape is \(6,\)"),
    "images": (np.zeros((6, 1, 2, 2)), r"\(6, 1, 2, 2\).*ClusterGalleryDisplay"),
    "no columns": (TABLE[[]], r"shape is \(6, 0\)"),
    "sparse": (sp.csr_array(np.eye(6)), r"X is sparse.*X\.toarray"),
    "dates": (pd.DataFrame({"since": pd.date_range("2024", periods=6)}), "'since'.*holds dates"),
    "times": (np.full((6, 1), datetime.time(8), dtype=object), "'feature 0'.*holds dates"),
    "infinity": (np.array([[np.inf]] * 6), "'feature 0' of X contains infinity"),
    "names": (TABLE.set_axis(["a", "b", "a"], axis=1), "Several columns of X have the name 'a'"),
}


@pytest.mark.parametrize(("X", "match"), REFUSED_TABLES.values(), ids=REFUSED_TABLES)
def test_what_is_no_table_is_refused(X, match):
    with pytest.raises(ValueError, match=match):
        ClusterSummaryDisplay.from_labels(X, LABELS)


REFUSED_LABELS = {
    "too few": (LABELS[:4], r"labels has shape \(4,\), but X has 6 samples"),
    "probabilities": (np.eye(2)[LABELS], r"labels has shape \(6, 2\)"),
    "missing": ([0.0, np.nan, 1, 1, 1, 1], "labels holds missing values"),
    "one cluster": (np.zeros(6, dtype=int), "All samples have the label 0"),
}


@pytest.mark.parametrize(("labels", "match"), REFUSED_LABELS.values(), ids=REFUSED_LABELS)
def test_what_are_no_labels_is_refused(labels, match):
    with pytest.raises(ValueError, match=match):
        ClusterSummaryDisplay.from_labels(TABLE, labels)


def test_other_parameters_are_validated():
    with pytest.raises(ValueError, match=r"The 'n_values' parameter of .* must be an int"):
        ClusterSummaryDisplay.from_labels(TABLE, LABELS, n_values=0)
    with pytest.raises(ValueError, match="feature_names has 1 names, but X has 3 columns"):
        ClusterSummaryDisplay.from_labels(TABLE, LABELS, feature_names=["age"])


def test_what_cannot_predict_is_refused():
    X = TABLE[["age"]].fillna(50.0)
    with pytest.raises(NotFittedError, match="KMeans instance is not fitted"):
        ClusterSummaryDisplay.from_estimator(KMeans(2), X)
    model = HDBSCAN(min_cluster_size=2, copy=True).fit(X)
    with pytest.raises(TypeError, match=r"HDBSCAN has no predict.*from_labels\(X, labels\)"):
        ClusterSummaryDisplay.from_estimator(model, X)
