"""Drawn data and parameters: each outcome is a correct fit, or an error that says what is wrong."""

import pickle
import re
import tempfile
import traceback
import warnings
from datetime import timedelta
from numbers import Integral, Real

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from _instances import ESTIMATORS, BatchNormPair, small
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import Interval, StrOptions
from test_data import contents

from skdeepcluster import DCCS, DualAESpectral

SHARED = {
    "deadline": timedelta(seconds=60),  # a fit takes a tenth of a second, on a busy machine several
    "suppress_health_check": list(HealthCheck),
    "database": None,
}
FAST = settings(max_examples=40, derandomize=True, **SHARED)
MANY = settings(max_examples=2000, derandomize=True, print_blob=True, **SHARED)

# ---------------------------------------------------------------- data

VALUES = [
    "blobs",
    "constant",
    "constant columns",
    "zeros",
    "duplicates",
    "huge",
    "tiny",
    "denormal",
    "outlier",
    "unlike scales",
    "far from zero",
    "few entries",
    "counts",
]
UNUSABLE = ["nan", "inf"]
DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint64", "float16", "float32"]
DENSE = ["C", "Fortran", "negative strides", "strided", "read-only", "memmap", "list", "object"]
SPARSE = ["CSR", "CSC", "COO", "explicit zeros", "duplicate entries", "int64 indices", "matrix"]
FRAMES = ["pandas", "pandas objects", "polars"]
TENSORS = ["torch", "bfloat16", "requires_grad", "not contiguous"]
REFUSED = [
    "complex",
    "strings",
    "words",
    "1-D",
    "3-D",
    "no samples",
    "no features",
    "complex torch",
]


def values(kind, n, d, rng):
    """float64 array of shape (n, d)."""
    X = rng.normal(size=(n, d)) + 4 * rng.integers(3, size=(n, 1))
    if kind == "constant":
        X[:] = 3.7
    elif kind == "constant columns":
        X[:, ::2] = 5.0
    elif kind == "zeros":
        X[:] = 0.0
    elif kind == "duplicates":
        X = X[rng.integers(min(n, 2), size=n)]
    elif kind in ("huge", "tiny", "denormal"):
        X *= {"huge": 1e30, "tiny": 1e-30, "denormal": 1e-42}[kind]
    elif kind == "outlier":
        X[0, 0] = 1e30
    elif kind == "unlike scales":
        X *= 10 ** rng.uniform(-6, 6, size=d)
    elif kind == "far from zero":
        X += 1e8
    elif kind == "few entries":
        X *= rng.random(X.shape) < 0.04
    elif kind == "counts":
        X = rng.poisson(0.5, size=(n, d)).astype(float)
    elif kind in UNUSABLE:
        X.flat[rng.integers(X.size)] = float(kind)
    return X


def cast(X, dtype):
    """As far as the values go."""
    if dtype in ("float64", "float32"):
        return X.astype(dtype)
    if dtype == "bool":
        return X > 2
    if dtype == "float16":
        return np.clip(X, -6e4, 6e4).astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    bounded = np.clip(np.nan_to_num(np.round(X)), low / 2, high / 2)
    return bounded.astype(dtype)


def reversed_view(X):
    return X[::-1, ::-1].copy()[::-1, ::-1]


def every_third_row(X):
    wide = np.full((3 * len(X), *X.shape[1:]), 1, dtype=X.dtype)
    wide[::3] = X
    return wide[::3]


def read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def memmap(X):
    with tempfile.TemporaryFile() as file:
        X.tofile(file)
        return np.memmap(file, dtype=X.dtype, mode="r", shape=X.shape)


def with_explicit_zeros(X):
    X = sp.csr_array(X)
    X.data[::3] = 0
    return X


def with_duplicate_entries(X):
    X = sp.csr_array(X)
    twice = np.repeat(np.arange(X.nnz), 2)
    return sp.csr_array((X.data[twice], X.indices[twice], 2 * X.indptr), shape=X.shape)


def with_int64_indices(X):
    X = sp.csr_array(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def tensor(X):
    return torch.tensor(np.ascontiguousarray(X))


def frame(X):
    return pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])


CONTAINERS = {
    "C": lambda X: X,
    "Fortran": np.asfortranarray,
    "negative strides": reversed_view,
    "strided": every_third_row,
    "read-only": read_only,
    "memmap": memmap,
    "list": lambda X: X.tolist(),
    "object": lambda X: X.astype(object),
    "CSR": sp.csr_array,
    "CSC": sp.csc_array,
    "COO": sp.coo_array,
    "matrix": sp.csr_matrix,
    "explicit zeros": with_explicit_zeros,
    "duplicate entries": with_duplicate_entries,
    "int64 indices": with_int64_indices,
    "pandas": frame,
    "pandas objects": lambda X: frame(X).astype(object),
    "polars": lambda X: pl.from_numpy(np.ascontiguousarray(X)),
    "torch": tensor,
    "bfloat16": lambda X: tensor(X).bfloat16(),
    "requires_grad": lambda X: tensor(X).float().requires_grad_(),
    "not contiguous": lambda X: tensor(X).transpose(0, -1).contiguous().transpose(0, -1),
    "complex": lambda X: X + 1j,
    "complex torch": lambda X: tensor(X) + 1j,
    "strings": lambda X: X.astype(str),
    "words": lambda X: np.full(X.shape, "cat", dtype=object),
    "1-D": lambda X: X[0],
    "3-D": lambda X: X.reshape(len(X), 1, -1),
    "no samples": lambda X: X[:0],
    "no features": lambda X: X[..., :0],
}


@st.composite
def samples(draw, *, refused=True, like=None):
    """Some data, perhaps of the shape of a sample of others."""
    one_in_eight = st.integers(0, 7).map(lambda number: refused and number == 5)
    image = draw(st.booleans()) and draw(st.booleans())
    if like is not None:
        image = len(like) == 3
    kinds = UNUSABLE if draw(one_in_eight) else VALUES
    kind = draw(st.sampled_from(kinds))
    containers = [*DENSE, *TENSORS] if image else [*DENSE, *SPARSE, *FRAMES, *TENSORS]
    container = draw(st.sampled_from(REFUSED if draw(one_in_eight) else containers))
    dtype = draw(st.sampled_from(["float64", "float32", *DTYPES]))
    n = draw(st.integers(20, 60) | st.integers(1, 60))
    shape = (draw(st.integers(1, 20)),)
    if image:
        sides = st.integers(1, 12)
        shape = (draw(st.integers(1, 3)), draw(sides), draw(sides))
    shape = shape if like is None else like
    X = values(kind, n, int(np.prod(shape)), np.random.default_rng(draw(st.integers(0, 99))))
    if container in (*SPARSE, "polars", "complex torch") and dtype == "float16":
        dtype = "float32"  # which these do not know
    X = cast(X, dtype).reshape(n, *shape)
    X = CONTAINERS[container](X)
    note(f"X: {kind}, {dtype}, {container}, {n} of shape {shape}")
    return X


def rows_of(X, rows):
    """Some rows of any of these."""
    return sp.csr_array(X)[rows] if sp.issparse(X) else X[rows]


# ---------------------------------------------------------------- parameters

EPOCHS = [0, 1, 2]
NOTHING = object()
# where the constraints do not tell which values are valid, or such values would take long
TRIED = {
    "n_clusters": [1, 2, 3, 5, 8, 30, 61, np.uint8(3)],
    "n_components": [1, 2, 7, 25, np.int8(3), "auto"],
    "pretrain_epochs": EPOCHS,
    "max_epochs": EPOCHS,
    "batch_size": [2, 3, 7, 60, 256, np.uint8(9)],
    "learning_rate": [1e-4, 1e-2, 1.0, 1e3, np.inf, np.float32(0.01), "auto"],
    "n_init": [1, 2, 3],
    "architecture": ["auto", "mlp", "conv", "resnet", None, BatchNormPair(8)],
    "hidden_units": [(8,), [5, 3], (), (np.int64(4),), "auto"],
    "image_shape": [None, (1, 1, 1), (2, 2), [1, 2, 3]],
    "augmentation": [
        None,
        torch.clone,
        *sorted(DCCS._parameter_constraints["augmentation"][0].options),
    ],
    "device": ["auto", "cpu", torch.device("cpu")],
    "memory": [None],
    "checkpoint": [None],
    "callbacks": [None, [], ()],
    "verbose": [0, False],
    "random_state": [0, None, np.int64(7), np.random.RandomState(3)],
    "critic_units": [(4,), [3, 2], (np.int64(5),)],
    "cluster_prior": ["uniform", "estimated", [0.5, 0.5], (0.2, 0.3, 0.5), np.full(8, 1 / 8)],
    "dissimilarity_params": [None, {}, {"log_determinant": False}, {"p": 3}],
    "pretrain_target": [None, StandardScaler()],
}
INVALID = {
    "architecture": [None, 5, "nope", (1, 2), (torch.nn.Identity(),), lambda shape, width: None],
    "hidden_units": [(0,), (-3, 2), ("a",), [2.5], 3, None],
    "image_shape": [(0, 5), (1, 2, 3, 4), ("a", "b"), (-1, -4), 16, (2.0, 2)],
    "augmentation": ["nope", 3, lambda x: x[:1], lambda x: None],
    "device": ["nope", "cuda:99", "meta", 3, ""],
    "memory": [3, 2.5],
    "checkpoint": [3, b"somewhere"],
    "callbacks": [[3], "nope", 3],
    "verbose": [3, -1, "much"],
    "random_state": ["nope", -1, 2**40, 1.5],
    "critic_units": [(), (0,), ("a",), 3, None],
    "cluster_prior": ["nope", [1.0], [0.9, 0.9], [np.nan, 1.0], [[0.5, 0.5]], ["a", "b"], 3],
    "dissimilarity_params": [3, {"nope": 1}, {"log_determinant": 3}],
    "pretrain_target": [3, "nope"],
}


def valid_values(name, constraints):
    if name in TRIED:
        return TRIED[name]
    found = []
    for constraint in constraints:
        if isinstance(constraint, StrOptions):
            found += sorted(constraint.options)
        elif constraint == "boolean":
            found += [True, False, np.True_]
        elif constraint is None:
            found.append(None)
        elif isinstance(constraint, Interval) and constraint.type is Integral:
            found += [constraint.left, constraint.left + 1, np.uint8(constraint.left + 4), 80]
        elif isinstance(constraint, Interval) and constraint.type is Real:
            found += [1e-3, 1.0, 1, np.float32(0.5), 1e4, 1e30, np.inf]
            found += [constraint.left] if constraint.closed in ("left", "both") else []
    assert found, name
    return found


def invalid_values(name, constraints):
    if name in INVALID:
        return INVALID[name]
    found = ["nope", "", b"auto", [1], np.nan, -1, object]
    for constraint in constraints:
        if isinstance(constraint, Interval) and constraint.type is Integral:
            found += [constraint.left - 1, constraint.left + 0.5]
    return found


@st.composite
def models(draw, *, refused=True):
    """An estimator of a small budget, some of its parameters drawn."""
    estimator = draw(st.sampled_from(ESTIMATORS))
    constraints = estimator._parameter_constraints
    names = draw(st.lists(st.sampled_from(sorted(constraints)), max_size=8, unique=True))
    # over-clustering and spare budgets take seconds
    parameters = {"n_clusters": draw(st.sampled_from([1, 2, 3, 4])), "random_state": 0}
    parameters |= {"pretrain_epochs": 1, "max_epochs": draw(st.sampled_from(EPOCHS))}
    for name in names:
        parameters[name] = draw(st.sampled_from(valid_values(name, constraints[name])))
    if "init" in names and parameters["init"] in ("auto", "overclustered"):
        parameters["init"] = "graph" if draw(st.integers(0, 3)) else parameters["init"]
    if refused and names and draw(st.integers(0, 5)) == 3:
        parameters[names[0]] = draw(
            st.sampled_from(invalid_values(names[0], constraints[names[0]]))
        )
    note(f"{estimator.__name__}: {parameters}")
    return small(estimator, **parameters)


# ---------------------------------------------------------------- outcomes

ERRORS = (ValueError, TypeError, FloatingPointError, ImportError)
# words of the inside, which tell a user nothing
INTERNAL = re.compile(
    "mat1 and mat2|size mismatch|sizes? of tensor|index out of|out of bounds|probability tensor|"
    "Expected more than 1 value|must match the size|zero-size|KMeans|NearestNeighbors|"
    "SpectralClustering|TruncatedSVD|kneighbors|broadcast|unexpected keyword|NoneType|"
    "not subscriptable|object has no|unsupported operand|ufunc|positional argument"
)
EXPECTED_WARNINGS = re.compile(
    "X does not have valid feature names|X has feature names, but|"
    "Only .* of n_clusters=|Clusters collapsed in phase|"
    "Training made the clusters clearly worse|The clusters are clearly worse than the start|"
    "^[a-z_]+=.* has no effect on the training with "
)


def assert_documented(error):
    """Raised by this package or by scikit-learn's validation, in words about the input."""
    assert isinstance(error, ERRORS), f"{type(error).__name__}: {error}"
    message = str(error)
    assert len(message) > 20
    assert not INTERNAL.search(message), message
    files = [step.filename.replace("\\", "/") for step in traceback.extract_tb(error.__traceback__)]
    ours = [number for number, name in enumerate(files) if "/skdeepcluster/" in name]
    beyond = files[ours[-1] + 1 :] if ours else files[2:]  # the first ones are of this file
    validation = ("/sklearn/utils/", "/sklearn/base.py")
    assert all(any(part in name for part in validation) for name in beyond), (message, beyond)


def outcome(call, *arguments, draws=False):
    """What it returns, or None where it raised an error as it should.

    `draws` where it may draw from numpy's global generator.
    """
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = call(*arguments)
        except Exception as error:
            note(f"{type(error).__name__}: {error}")
            assert_documented(error)
            answer = None
    for warning in caught:
        text = str(warning.message)
        assert EXPECTED_WARNINGS.search(text), f"{warning.category.__name__}: {text}"
        if text.startswith(("Only", "Clusters", "Training")):
            assert warning.category is ConvergenceWarning
    assert draws or np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    return answer


def assert_answers(model, X, n):
    """The answers about `X` agree with each other, and each row's is its own."""
    labels, proba = outcome(model.predict, X), outcome(model.predict_proba, X)
    embedding = outcome(model.transform, X)
    if labels is None or proba is None or embedding is None:
        assert labels is proba is embedding is None
        return None
    width = len(model.get_feature_names_out())
    assert (labels.shape, labels.dtype) == ((n,), np.int32)
    assert labels.min() >= 0
    assert labels.max() < model.n_clusters
    assert proba.shape == (n, model.n_clusters)
    assert ((proba >= 0) & (proba <= 1)).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(proba.argmax(axis=1), labels)
    assert embedding.shape == (n, width)
    assert np.isfinite(embedding).all()
    assert embedding.dtype == proba.dtype
    for some in (slice(0, 1), slice(0, n // 2 + 1)):
        part = rows_of(X, some)
        np.testing.assert_array_equal(outcome(model.predict, part), labels[some])
        np.testing.assert_array_equal(outcome(model.predict_proba, part), proba[some])
        np.testing.assert_array_equal(outcome(model.transform, part), embedding[some])
    # at another place in a batch, narrow matrix products round differently
    last = outcome(model.transform, rows_of(X, slice(n - 1, n)))
    scale = np.abs(embedding).max()
    np.testing.assert_allclose(last, embedding[-1:], rtol=1e-5, atol=1e-5 * scale)
    return embedding


def assert_fitted(model, X):
    """The promises of a fit that returned."""
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    used = np.unique(model.labels_)
    assert (model.labels_.shape, model.labels_.dtype) == ((n,), np.int32)
    np.testing.assert_array_equal(used, np.arange(len(used)))
    assert len(used) <= model.n_clusters
    assert model.n_iter_ == len(model.history_)
    embedding = assert_answers(model, X, n)
    assert embedding is not None
    assert embedding.dtype == model.cluster_centers_.dtype
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.cluster_centers_.shape == (model.n_clusters, embedding.shape[1])
    assert np.isfinite(model.cluster_centers_).all()
    assert model.score(X) <= np.inf  # not NaN; a large weight can make it -inf
    if not (isinstance(model, DualAESpectral) and model.embedding == "spectral"):
        decoded = model.inverse_transform(embedding)
        assert decoded.shape == (tuple(X.shape) if hasattr(X, "shape") else np.shape(X))
        assert np.isfinite(decoded).all()


def parameters_of(model):
    return {name: (id(value), repr(value)) for name, value in model.get_params().items()}


def check_fit(model, X, again):
    before, parameters = repr(contents(X)), parameters_of(model)  # NaN differs from itself
    state = pickle.dumps(model.random_state)
    fitted = outcome(model.fit, X, draws=model.random_state is None)
    assert repr(contents(X)) == before
    assert parameters_of(model) == parameters
    if fitted is None:
        return
    assert fitted is model
    assert_fitted(model, X)
    assert repr(contents(X)) == before
    if again:
        restored = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(restored.predict_proba(X), model.predict_proba(X))
    if again and model.random_state is not None:
        seed = pickle.loads(state)
        refit = outcome(clone(model).set_params(random_state=seed, warm_start=False).fit, X)
        np.testing.assert_array_equal(refit.transform(X), model.transform(X))
        np.testing.assert_array_equal(refit.labels_, model.labels_)


def check_sequence(model, X, others):
    """Fit on one kind of data, ask about others."""
    if outcome(model.fit, X, draws=model.random_state is None) is None:
        return
    for other in others:
        n = other.shape[0] if hasattr(other, "shape") else len(other)
        before = repr(contents(other))
        assert_answers(model, other, n)
        outcome(model.score, other)
        assert repr(contents(other)) == before
    np.testing.assert_array_equal(outcome(model.predict, X), model.labels_)


def run_fits(profile):
    @profile
    @given(data=st.data())
    def fits(data):
        model = data.draw(models())
        check_fit(model, data.draw(samples()), data.draw(st.booleans()))

    fits()


def run_sequences(profile):
    @profile
    @given(data=st.data())
    def sequences(data):
        model = data.draw(models(refused=False))
        X = data.draw(samples(refused=False))
        shape = np.shape(X)[1:] if isinstance(X, list) else tuple(X.shape)[1:]
        flat = (int(np.prod(shape)),)
        others = [data.draw(samples(like=like)) for like in (shape, flat, None)]
        check_sequence(model, X, others)

    sequences()


def test_fits():
    run_fits(FAST)


def test_sequences():
    run_sequences(settings(FAST, max_examples=10))


@pytest.mark.slow
def test_many_fits():
    run_fits(MANY)


@pytest.mark.slow
def test_many_sequences():
    run_sequences(settings(MANY, max_examples=500))
