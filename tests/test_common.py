"""Every contract on every estimator of _instances.py."""

import functools
import inspect
import pickle
import re
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from _instances import (
    ALL,
    ANY_WIDTH,
    CHECKED,
    DEFAULTS,
    ESTIMATORS,
    SMALL,
    BatchNormPair,
    digits,
    embedding_width,
    small,
)
from numpydoc import docscrape, validate
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks as checks
from sklearn.utils._testing import check_docstring_parameters
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from skdeepcluster import DCCS, DCEC, DualAESpectral

each = pytest.mark.parametrize("model", ALL.values(), ids=ALL.keys())
each_small = pytest.mark.parametrize("model", SMALL.values(), ids=SMALL.keys())
each_any_width = pytest.mark.parametrize("model", ANY_WIDTH.values(), ids=ANY_WIDTH.keys())
each_class = pytest.mark.parametrize("estimator", ESTIMATORS)
each_default = pytest.mark.parametrize("model", DEFAULTS.values(), ids=DEFAULTS.keys())

INFERENCE = ("predict", "predict_proba", "transform")


def fitted(model, X=None, **parameters):
    X = digits()[0] if X is None else X
    return clone(model).set_params(**{"n_clusters": 4, "random_state": 0, **parameters}).fit(X)


def answers(model, X):
    return [model.labels_, model.cluster_centers_, *(getattr(model, m)(X) for m in INFERENCE)]


def assert_bit_equal(model, other, X):
    for left, right in zip(answers(model, X), answers(other, X), strict=True):
        np.testing.assert_array_equal(left, right, strict=True)


# ---------------------------------------------------------------- scikit-learn's own checks


def run_check(model, check):
    # the checks fit tiny and hopeless data too: to say that clusters died there is right
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # what scikit-learn's estimators say too, to a check that mixes frames and arrays
        warnings.filterwarnings("ignore", "X (has|does not have valid) feature", UserWarning)
        check(model)


@parametrize_with_checks(list(CHECKED.values()))
def test_sklearn_contract(estimator, check):
    run_check(estimator, check)


@each_any_width
def test_sklearn_contract_is_complete(model):
    yielded = list(checks.estimator_checks_generator(model))
    assert len(yielded) == 51


@pytest.mark.slow
@each_default
def test_check_estimator_at_true_defaults(model):
    report = []
    run_check(model, lambda model: report.extend(check_estimator(model, on_skip=None)))
    skipped = {row["check_name"] for row in report if row["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert sum(row["status"] == "passed" for row in report) == len(report) - len(skipped)
    assert len(report) == 51


def check_in_pipeline(name, model):
    checks.check_dataframe_column_names_consistency(name, make_pipeline(model))


def check_not_an_array(name, model, obj_type="NotAnArray"):
    X, y = make_blobs(30, centers=[[0, 0, 0], [5, 5, 5]], random_state=1)
    checks.check_estimators_data_not_an_array(name, model, X, y, obj_type)


def check_data_frame(name, model):
    check_not_an_array(name, model, "PandasDataframe")


def check_init_docstring(name, model):
    assert check_docstring_parameters(type(model).__init__, type(model).__doc__) == []
    documented = [p.name for p in docscrape.ClassDoc(type(model))["Parameters"]]
    assert documented == list(inspect.signature(type(model)).parameters)


def check_fitted_attributes_documented(name, model):
    X, _ = make_blobs(40, n_features=3, random_state=2)
    frame = pd.DataFrame(X, columns=list("abc"))
    documented = docscrape.ClassDoc(type(model))["Attributes"]
    attributes = {a.name for a in documented}
    # as of DMAE: with other dissimilarities it raises AttributeError
    conditional = {a.name for a in documented if "where the dissimilarity is" in " ".join(a.desc)}
    model = clone(model).fit(frame)
    properties = {n for n in dir(type(model)) if isinstance(getattr(type(model), n), property)}
    public = {a for a in {*vars(model), *properties} if a.endswith("_") and a[0] != "_"}
    assert public == {a for a in attributes if a.endswith("_")}
    for attribute in attributes - conditional:
        assert hasattr(model, attribute)


def _docstring_errors(path, ignored):
    return [error for error in validate.validate(path)["errors"] if error[0] not in ignored]


def check_class_docstring(name, model):
    # the codes that scikit-learn ignores too
    path = f"{type(model).__module__}.{type(model).__qualname__}"
    assert _docstring_errors(path, {"RT02", "GL01", "GL02"}) == []


def check_method_docstrings(name, model):
    cls = type(model)
    methods = [m for m in dir(cls) if not m.startswith("_") and callable(getattr(cls, m))]
    ours = [m for m in methods if getattr(cls, m).__module__.startswith("skdeepcluster")]
    # scikit-learn's fit_predict says that labels are int64
    assert {"fit", "fit_predict", "predict", "transform", "score"} <= set(ours)
    for method in ours:
        path = f"{cls.__module__}.{cls.__qualname__}.{method}"
        ignored = {"RT02", "GL01", "GL02", "EX01", "SA01", "ES01"}
        assert _docstring_errors(path, ignored) == [], method


FURTHER_CHECKS = [
    checks.check_param_validation,
    checks.check_set_output_transform,
    checks.check_set_output_transform_pandas,
    checks.check_global_output_transform_pandas,
    checks.check_set_output_transform_polars,
    checks.check_global_set_output_transform_polars,
    checks.check_transformer_get_feature_names_out,
    checks.check_transformer_get_feature_names_out_pandas,
    checks.check_get_feature_names_out_error,
    checks.check_dataframe_column_names_consistency,
    checks.check_inplace_ensure_writeable,
    checks.check_requires_y_none,
    check_in_pipeline,
    check_not_an_array,
    check_data_frame,
    check_init_docstring,
    check_fitted_attributes_documented,
    check_class_docstring,
    check_method_docstrings,
]
each_further = pytest.mark.parametrize("check", FURTHER_CHECKS, ids=lambda c: c.__name__)


@each_further
@each_small
def test_further_check(model, check):
    run_check(model, lambda model: check(type(model).__name__, model))


@pytest.mark.slow
@each_further
@each_default
def test_further_check_at_true_defaults(model, check):
    run_check(model, lambda model: check(type(model).__name__, model))


# ---------------------------------------------------------------- answers


@each
def test_predict_is_labels(model):
    X, _ = digits()
    model = fitted(model, X)
    np.testing.assert_array_equal(model.predict(X), model.labels_, strict=True)
    np.testing.assert_array_equal(model.predict_proba(X).argmax(axis=1), model.labels_)
    refit = clone(model)
    np.testing.assert_array_equal(refit.fit_predict(X), model.labels_, strict=True)


@each
def test_labels_are_contiguous(model):
    model = fitted(model)
    assert model.labels_.dtype == np.int32
    used = np.unique(model.labels_)
    np.testing.assert_array_equal(used, np.arange(len(used)))
    assert model.cluster_centers_.shape == (4, embedding_width(model))


@each
def test_rows_do_not_depend_on_their_company(model):
    X, _ = digits()
    model = fitted(model, X)
    some = np.array([7, 3, 81, 3])
    for method in INFERENCE:
        whole = getattr(model, method)(X)
        np.testing.assert_array_equal(getattr(model, method)(X[some]), whole[some])
        np.testing.assert_array_equal(getattr(model, method)(X[:1]), whole[:1])


@each
def test_answers_are_finite_and_typed(model):
    X, _ = digits()
    model = fitted(model, X)
    single = fitted(model, X.astype(np.float32))
    for method in ("predict_proba", "transform"):
        assert getattr(model, method)(X).dtype == np.float64
        assert getattr(single, method)(X.astype(np.float32)).dtype == np.float32
        assert np.isfinite(getattr(model, method)(X)).all()
    assert model.transform(X).shape == (len(X), embedding_width(model))
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-5)
    assert isinstance(model.score(X), float)
    assert np.isfinite(model.score(X))
    assert all(p.dtype == torch.float32 for p in model.module_.parameters())


@each_any_width
def test_inverse_transform_has_the_shape_of_the_data(model):
    X, _ = digits()
    model = fitted(model, X.reshape(-1, 1, 8, 8))
    assert model.inverse_transform(model.cluster_centers_).shape == (4, 1, 8, 8)


@each_any_width
def test_inverse_transform_answers_in_the_units_of_the_data(model):
    X, _ = digits()
    model = fitted(model, X, pretrain_epochs=60, max_epochs=0)
    decoded = model.inverse_transform(model.transform(X))
    assert np.square(decoded - X).mean() < 0.8 * np.square(X - X.mean(axis=0)).mean()
    assert model.inverse_transform(model.cluster_centers_).shape == (4, X.shape[1])
    width = embedding_width(model)
    with pytest.raises(
        ValueError, match=f"{width + 1} columns, but the embedding has {width} columns"
    ):
        model.inverse_transform(np.zeros((2, width + 1)))


@each_small
def test_inference_needs_fit(model):
    X, _ = digits()
    for method in (*INFERENCE, "score", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(clone(model), method)(X)


# ---------------------------------------------------------------- repeatability


@pytest.mark.filterwarnings("ignore:Clusters collapsed in phase")  # a tiny budget
@each
def test_refit_is_bit_identical(model):
    X, _ = digits()
    first, second = fitted(model, X), fitted(model, X)
    assert_bit_equal(first, second, X)
    before = answers(first, X)
    for left, right in zip(before, answers(first.fit(X), X), strict=True):
        np.testing.assert_array_equal(left, right)
    assert first.n_iter_ == second.n_iter_
    np.testing.assert_equal(first.history_, second.history_)
    assert not np.array_equal(fitted(model, X, random_state=1).transform(X), first.transform(X))


@each
def test_global_random_states_are_untouched(model):
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.rand(3), torch.rand(3)
    np.random.seed(3)
    torch.manual_seed(3)
    model = fitted(model)
    model.transform(digits()[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[0])
    np.testing.assert_array_equal(torch.rand(3), expected[1])


@each_any_width
def test_result_does_not_depend_on_global_random_states(model):
    X, _ = digits()
    torch.manual_seed(0)
    first = fitted(model, X)
    torch.manual_seed(1)
    np.random.seed(1)
    assert_bit_equal(first, fitted(model, X), X)


@each_small
def test_random_state_instance_moves_on(model):
    X, _ = digits()
    state = np.random.RandomState(0)
    first, second = fitted(model, X, random_state=state), fitted(model, X, random_state=0)
    assert_bit_equal(first, second, X)
    model = clone(model).set_params(n_clusters=4, random_state=np.random.RandomState(0))
    before = model.fit(X).transform(X)
    assert not np.array_equal(before, model.fit(X).transform(X))


@each_small
def test_fit_under_no_grad(model):
    X, _ = digits()
    expected = fitted(model, X)
    with torch.no_grad():
        assert_bit_equal(expected, fitted(model, X), X)
        assert not torch.is_grad_enabled()


# ---------------------------------------------------------------- copies and processes


@each
def test_parameters_are_not_changed_by_fit(model):
    model = clone(model).set_params(n_clusters=4, random_state=0)
    before = {name: pickle.dumps(value) for name, value in model.get_params().items()}
    model.fit(digits()[0])
    assert {name: pickle.dumps(value) for name, value in model.get_params().items()} == before


@each
def test_clone_is_unfitted_and_fits_alike(model):
    model = fitted(model)
    twin = clone(model)
    assert not hasattr(twin, "labels_")
    assert set(vars(twin)) == set(model.get_params())


@each
def test_pickle(model):
    X, _ = digits()
    model = fitted(model, X)
    assert_bit_equal(model, pickle.loads(pickle.dumps(model)), X)


@each
def test_joblib_dump_and_memory_mapped_load(model, tmp_path):
    X, _ = digits()
    model = fitted(model, X)
    joblib.dump(model, tmp_path / "model.joblib")
    assert_bit_equal(model, joblib.load(tmp_path / "model.joblib"), X)
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert not mapped.labels_.flags.writeable
    assert_bit_equal(model, mapped, X)
    assert np.isfinite(mapped.score(X))


def _answers_after_fit(model, X):
    torch.set_num_threads(1)
    return answers(model.fit(X), X)


def test_processes_are_bit_equal_to_serial():
    X, _ = digits()
    models = [clone(m).set_params(n_clusters=4, random_state=0) for m in ANY_WIDTH.values()]
    parallel = joblib.Parallel(n_jobs=2, backend="loky")(
        joblib.delayed(_answers_after_fit)(clone(model), X) for model in models
    )
    for model, apart in zip(models, parallel, strict=True):
        for left, right in zip(_answers_after_fit(clone(model), X), apart, strict=True):
            np.testing.assert_array_equal(left, right)


# ---------------------------------------------------------------- what the user sees


@each
def test_silent_by_default(model, capfd):
    X, _ = digits()
    model = fitted(model, X)
    for method in (*INFERENCE, "score"):
        getattr(model, method)(X)
    assert capfd.readouterr() == ("", "")


@each
def test_progress_bar_on_stderr(model, capfd):
    model = fitted(model, verbose=1)
    out, err = capfd.readouterr()
    assert out == ""
    for phase in {row["phase"] for row in model.history_}:
        assert re.search(rf"{type(model).__name__}( \d/\d)? {phase}", err)
    assert "epoch" in err
    # it ends full, also when the stop rule cut the fit short
    assert "100%" in err.rsplit("\r", 1)[-1]


@each
def test_one_line_an_epoch(model, capfd):
    model = fitted(model, verbose=2, n_init=1)
    out, err = capfd.readouterr()
    assert err == ""
    settings, *lines = out.splitlines()
    for name, value in model.settings_.items():
        brief = f"<{type(value).__name__}>" if "\n" in repr(value) else repr(value)
        assert f"{name}={brief}" in settings
    assert len(lines) == model.n_iter_
    for line, row in zip(lines, model.history_, strict=True):
        assert row["phase"] in line
        assert f"epoch {row['epoch']}:" in line
        assert "=" in line


@each
def test_history(model):
    model = fitted(model, tol=0.0)
    table = pd.DataFrame(model.history_)
    assert {"phase", "epoch", "label_change", "cluster_sizes"} <= set(table.columns)
    losses = table.drop(columns=["phase", "epoch", "label_change", "cluster_sizes"])
    losses = losses.drop(columns=["collapsed", "taken_back"], errors="ignore")
    assert len(losses.columns) > 0
    assert all(losses.dtypes == np.float64)
    for _, phase in table.groupby("phase", sort=False):
        assert phase["epoch"].tolist() == list(range(1, len(phase) + 1))
        known = pd.DataFrame(np.isfinite(phase[losses.columns]))
        assert known.all().any()
        # a loss is of every epoch of a phase; what is measured of all samples, where they were
        # looked at
        looked_at = phase["label_change"].notna()
        for column in losses.columns[~known.all()]:
            assert phase[column].isna().all() or (known[column] == looked_at).all()
    assert model.n_iter_ == len(table)
    assert model.converged_ is False
    counts = table["phase"].value_counts()
    assert counts["pretrain"] == model.pretrain_epochs
    assert counts["cluster"] <= model.max_epochs
    last = table.iloc[-1]
    assert sum(last["cluster_sizes"]) == len(model.labels_)
    assert sorted(last["cluster_sizes"]) == sorted(np.bincount(model.labels_, minlength=4))
    assert 0 <= last["label_change"] <= 1
    # in rows where nothing was looked at, as those of pretraining
    unknown = table["label_change"].isna()
    assert unknown[table["phase"] == "pretrain"].all()
    assert (unknown == table["cluster_sizes"].isna()).all()


# ---------------------------------------------------------------- data


@each_any_width
def test_samples_are_never_written_to(model):
    X, _ = digits()
    for dtype in (np.float64, np.float32, np.uint8):
        frozen = X.astype(dtype)
        kept = frozen.copy()
        frozen.flags.writeable = False
        model = fitted(model, frozen)
        for method in (*INFERENCE, "score"):
            getattr(model, method)(frozen)
        np.testing.assert_array_equal(frozen, kept, strict=True)


@each_any_width
def test_writeable_samples_are_not_written_to(model):
    X = digits()[0].astype(np.float32)
    kept = X.copy()
    fitted(model, X).score(X)
    np.testing.assert_array_equal(X, kept)


@each_any_width
def test_memory_layouts_give_the_same_answers(model, tmp_path):
    X, _ = digits()
    expected = fitted(model, X)
    joblib.dump(X, tmp_path / "X.joblib")
    for same in (
        np.asfortranarray(X),
        X[::-1].copy()[::-1],
        joblib.load(tmp_path / "X.joblib", mmap_mode="r"),
        torch.from_numpy(X),
    ):
        assert_bit_equal(expected, fitted(model, same), X)
        np.testing.assert_array_equal(expected.transform(same), expected.transform(X))


@each_small
def test_fit_takes_no_weights(model):
    X, y = digits()
    with pytest.raises(TypeError, match="sample_weight"):
        clone(model).fit(X, sample_weight=np.ones(len(X)))
    labels = clone(model).set_params(random_state=0).fit(X, y).labels_
    np.testing.assert_array_equal(labels, clone(model).set_params(random_state=0).fit(X).labels_)


X_OF_MANY, _ = digits(300)  # more than the narrow integers hold


@functools.cache
def many_clusters(estimator):
    model = small(estimator, n_clusters=70, batch_size=100, n_init=2, random_state=0)
    if "overclustered" in estimator._parameter_constraints["init"][0].options:
        model.set_params(init="overclustered")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many clusters
        return model.fit(X_OF_MANY)


@each_class
@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.uint64])
def test_numpy_integers_are_integers(estimator, integer):
    model = many_clusters(estimator)
    integers = {
        name: integer(value)
        for name, value in model.get_params().items()
        if isinstance(value, int) and not isinstance(value, bool) and name != "verbose"
        if value <= np.iinfo(integer).max
    }
    assert {"n_clusters", "batch_size"} <= integers.keys()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        again = clone(model).set_params(**integers).fit(X_OF_MANY)
    assert_bit_equal(again, model, X_OF_MANY)


@each_small
def test_a_bool_is_no_number_of_clusters(model):
    with pytest.raises(ValueError, match="must be an int in the range"):
        fitted(model, n_clusters=True)


@pytest.mark.filterwarnings("ignore:Only . of n_clusters")  # with one sample a cluster
@each_small
def test_fewer_samples_than_clusters(model):
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=4"):
        clone(model).fit(digits(3)[0])
    assert fitted(model, digits(4)[0], max_epochs=30).labels_.shape == (4,)


@each_any_width
def test_duplicates_only(model):
    X = np.repeat([[1.0, 2.0, 3.0], [8.0, 9.0, 7.0]], 20, axis=0)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model = fitted(model, X)
    assert any("Only 2 of n_clusters=4" in str(warning.message) for warning in record)
    # k-means inside does not say so in its own words
    assert not any("distinct clusters" in str(warning.message) for warning in record)
    assert sorted(np.unique(model.labels_)) == [0, 1]
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(model.predict_proba(X).argmax(axis=1), model.labels_)
    assert model.cluster_centers_.shape == (4, embedding_width(model))
    assert all(warning.category is ConvergenceWarning for warning in record)


@each_any_width
def test_constant_data(model):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model = fitted(model, np.full((40, 3), 7.0))
    assert any("Only 1 of n_clusters=4" in str(warning.message) for warning in record)
    assert all(warning.category is ConvergenceWarning for warning in record)
    np.testing.assert_array_equal(model.labels_, 0)
    assert np.isfinite(model.transform(np.full((2, 3), 7.0))).all()


@each_small
def test_one_cluster(model):
    model = fitted(model, n_clusters=1)
    np.testing.assert_array_equal(model.labels_, 0)
    np.testing.assert_array_equal(model.predict_proba(digits()[0]), 1.0)


@each_any_width
def test_feature_names_and_output_containers(model):
    X, _ = digits()
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    model = fitted(model, frame)
    np.testing.assert_array_equal(model.feature_names_in_, frame.columns)
    assert model.n_features_in_ == 64
    names = [f"{type(model).__name__.lower()}{i}" for i in range(embedding_width(model))]
    assert model.get_feature_names_out().tolist() == names
    plain = model.transform(frame)
    as_pandas = model.set_output(transform="pandas").transform(frame)
    assert isinstance(as_pandas, pd.DataFrame)
    assert as_pandas.columns.tolist() == names
    np.testing.assert_array_equal(as_pandas, plain)
    as_polars = model.set_output(transform="polars").transform(pl.from_pandas(frame))
    assert isinstance(as_polars, pl.DataFrame)
    assert as_polars.columns == names
    np.testing.assert_array_equal(as_polars.to_numpy(), plain)
    assert isinstance(model.predict(frame), np.ndarray)
    for wrong in (frame[frame.columns[::-1]], frame.rename(columns={"pixel0": "other"})):
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(wrong)


# ---------------------------------------------------------------- inside scikit-learn


@each_small
def test_pipeline(model):
    X, _ = digits()
    model = clone(model).set_params(n_clusters=4, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model).fit(X)
    scaled = StandardScaler().fit_transform(X)
    expected = clone(model).fit(scaled)
    np.testing.assert_array_equal(pipeline.predict(X), expected.labels_)
    np.testing.assert_array_equal(pipeline.fit_predict(X), expected.labels_)
    np.testing.assert_array_equal(pipeline.transform(X), expected.transform(scaled))
    np.testing.assert_array_equal(pipeline.predict_proba(X), expected.predict_proba(scaled))
    assert pipeline.score(X) == expected.score(scaled)


def corpus(n=90):
    generator = np.random.RandomState(0)
    topics = [
        "goal match team coach player league season referee",
        "planet orbit rocket moon launch star telescope comet",
        "butter flour oven sugar bake dough cream recipe",
    ]
    y = np.arange(n) % 3
    return [" ".join(generator.choice(topics[topic].split(), 6)) for topic in y], y


@each_class
def test_text_stays_sparse(estimator, monkeypatch):
    texts, y = corpus()
    model = small(estimator, n_clusters=3, pretrain_epochs=20, max_epochs=10, random_state=0)
    pipeline = make_pipeline(TfidfVectorizer(max_features=2000), model)
    seen, dense_rows = [], []
    fit = estimator.fit
    monkeypatch.setattr(
        estimator, "fit", lambda self, X, y=None: (seen.append(X), fit(self, X, y))[1]
    )
    toarray = sparse.csr_matrix.toarray
    for kind in (sparse.csr_matrix, sparse.csr_array):
        monkeypatch.setattr(
            kind,
            "toarray",
            lambda self, *args, **more: (
                dense_rows.append(self.shape[0]),
                toarray(self, *args, **more),
            )[1],
        )
    labels = pipeline.fit_predict(texts)
    assert sparse.issparse(seen[0])
    assert max(rows for rows in dense_rows) <= len(texts)
    assert adjusted_rand_score(y, labels) > 0.9
    monkeypatch.undo()
    np.testing.assert_array_equal(pipeline.predict(texts), labels)
    X = pipeline[0].transform(texts)
    np.testing.assert_array_equal(pipeline[1].predict(X.toarray()), labels)


@each_class
def test_sparse_rows_are_densified_batch_by_batch(estimator, monkeypatch):
    X = sparse.random_array((900, 60), density=0.2, format="csr", random_state=0)
    largest = []
    toarray = sparse.csr_array.toarray
    monkeypatch.setattr(
        sparse.csr_array,
        "toarray",
        lambda self, *a, **k: (largest.append(self.shape), toarray(self, *a, **k))[1],
    )
    model = small(estimator, n_clusters=2, init="k-means", max_epochs=0, pretrain_epochs=2)
    model.fit(X).score(X)
    monkeypatch.undo()
    assert max(rows for rows, columns in largest if columns == 60) <= 256


@each_small
def test_grid_search(model):
    X, y = digits()
    names = np.array(["zero", "one", "two", "three"])[y]
    model = clone(model).set_params(n_clusters=4, random_state=0, pretrain_epochs=30)
    parameter = {"gamma": [0.1, 1.0]} if hasattr(model, "gamma") else {"tol": [0.0, 0.1]}
    search = GridSearchCV(model, parameter, cv=2, error_score="raise").fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(search.predict(X), search.best_estimator_.labels_)
    search = GridSearchCV(model, parameter, cv=2, scoring="adjusted_rand_score")
    search.set_params(error_score="raise").fit(X, names)
    assert search.best_score_ > 0.4


@pytest.mark.filterwarnings("ignore:Only . of n_clusters")  # tiny budgets, half of the samples
@each_small
def test_grid_search_in_processes_equals_serial(model):
    X, _ = digits()
    model = clone(model).set_params(n_clusters=4, random_state=0)
    searches = [
        GridSearchCV(model, {"tol": [0.0, 0.1]}, cv=2, n_jobs=jobs, refit=False).fit(X)
        for jobs in (None, 2)
    ]
    serial, parallel = (s.cv_results_["mean_test_score"] for s in searches)
    # processes may have another number of threads
    np.testing.assert_allclose(serial, parallel, rtol=1e-4)


@each_class
def test_n_init_takes_the_auto_of_k_means(estimator):
    assert estimator().n_init == KMeans().n_init == "auto"
    entry = " ".join(re.search(r"n_init : .*?\n\n", estimator.__doc__, re.S)[0].split())
    usual, of_samples = re.search(
        r'"auto" is (\d)(?:, but (\d) if `init` is "samples")?', entry
    ).groups()
    X, _ = digits(60)
    for init, documented in (("graph", int(usual)), ("samples", int(of_samples or usual))):
        model = small(estimator, n_init="auto", init=init, random_state=0).fit(X)
        assert model.settings_["n_init"] == documented


@each_class
def test_several_starts_of_no_epochs(estimator):
    """Where neither a graph nor a loss tells which is the best."""
    model = small(estimator, n_clusters=1, pretrain_epochs=0, max_epochs=0, n_init=2)
    assert model.fit(np.zeros((20, 1))).labels_.tolist() == [0] * 20


@each_class
def test_almost_as_many_clusters_as_samples(estimator):
    """Of which no library inside says anything."""
    X, _ = digits(31)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        small(estimator, n_clusters=30, init="auto", max_epochs=0, random_state=0).fit(X)
    assert {warning.category for warning in record} <= {ConvergenceWarning}


CHANGED_IN_VAIN = [
    (DCEC, {"image_shape": (8, 8), "architecture": "conv"}, {"hidden_units": (7,)}),
    (DCEC, {"architecture": BatchNormPair()}, {"hidden_units": (7,)}),
    (DualAESpectral, {"relative_weight": 0.0}, {"noise": 0.1}),
    (DCCS, {"adversarial_weight": 0.0}, {"n_critic": 2}),
    (DCCS, {"adversarial_weight": 0.0}, {"gradient_penalty": 1.0}),
    (DCCS, {"adversarial_weight": 0.0, "mutual_information": None}, {"critic_units": (7,)}),
]


@pytest.mark.parametrize(("estimator", "setting", "changed"), CHANGED_IN_VAIN)
def test_a_parameter_changed_in_vain_is_told_of(estimator, setting, changed):
    """And it is really in vain: the embedding has the same bits."""
    (name,) = changed
    budget = {"pretrain_epochs": 2, "max_epochs": 2, "n_init": 1, "init": "k-means"}
    fits = [estimator(4, **budget, **setting, **own, random_state=0) for own in ({}, changed)]
    X = digits()[0][:60]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embeddings = [fit.fit(X).transform(X) for fit in fits]
    told = [str(w.message) for w in caught if "has no effect" in str(w.message)]
    assert len(told) == 1
    assert told[0].startswith(f"{name}=")
    np.testing.assert_array_equal(*embeddings)
