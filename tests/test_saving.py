"""A saved model is the same model, and a file can do nothing but be refused."""

import contextlib
import copy
import json
import random
import re
import subprocess
import sys
import warnings
from numbers import Real
from typing import ClassVar, NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from _instances import ALL, ESTIMATORS, SMALL, BatchNormPair, digits, small
from numpydoc import validate
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.kernel_approximation import RBFSampler
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback
from torch import nn

from skdeepcluster import (
    DCCS,
    DCEC,
    DMAE,
    DualAESpectral,
    _encoding,
    _saving,
    load_model,
    save_model,
)
from skdeepcluster.base import (
    BaseDeepClusterer,
    Interval,
    Phase,
    Step,
    start_partition,
    start_phases,
)
from skdeepcluster.dissimilarities import names
from skdeepcluster.functional import reconstruction_error, squared_distances
from skdeepcluster.nn import ClusteringAutoencoder, StudentTAssignment

X = digits()[0]
_PARAMS = {"toroidal": {"period": [20.0] * 63 + [None]}, "minkowski": {"p": 4}}
MODELS = ALL | {
    f"DMM-{name}": small(
        DMAE, dissimilarity=name, dissimilarity_params=_PARAMS.get(name), architecture=None
    )
    for name in names()
}
MODELS |= {
    "latents only": small(DualAESpectral, max_epochs=0),
    "paper's estimate": small(DualAESpectral, mutual_information="jensen-shannon", max_epochs=1),
    "from nothing": small(DCCS, init=None, cluster_prior=np.array([0.4, 0.3, 0.2, 0.1])),
}
each = pytest.mark.parametrize("name", MODELS)
each_small = pytest.mark.parametrize("name", SMALL)


@pytest.fixture(scope="module")
def fitted():
    """Fitted models by name, each fitted once; not to be changed."""
    found = {}

    def get(name):
        if name not in found:
            model = clone((MODELS | SMALL)[name]).set_params(n_clusters=4, random_state=0)
            if name != "latents only":
                model.set_params(max_epochs=1)
            if model.get_params().get("architecture") is not None:
                model.set_params(pretrain_epochs=2)
            found[name] = fit(model, X + 1.0 if name == "DMM-itakura_saito" else X)
        return found[name]

    return get


def fit(model, samples=X):
    """Saving does not ask how good a model is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(samples)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def given(model):
    """What the caller has to pass again of the models here."""
    architecture = model.get_params().get("architecture")
    own = architecture is None or isinstance(architecture, str)
    return {} if own else {"architecture": architecture}


def round_trip(model, path, **parameters):
    save_model(model, path)
    return load_model(path, **(given(model) | parameters))


def answers(model):
    samples = X + 1.0  # positive, for all dissimilarities
    return {
        "predict": model.predict(samples),
        "predict_proba": model.predict_proba(samples),
        "transform": model.transform(samples),
        "inverse_transform": model.inverse_transform(model.cluster_centers_),
        "score": model.score(samples),
    }


def assert_same(model, other):
    assert type(model) is type(other)
    for (name, left), right in zip(answers(model).items(), answers(other).values(), strict=True):
        np.testing.assert_array_equal(left, right, strict=True, err_msg=name)
    assert {*vars(model)} == {*vars(other)}
    for name, value in vars(model).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, vars(other)[name], strict=True, err_msg=name)
        elif name != "_model":
            assert repr(value) == repr(vars(other)[name]), name  # nan too, and array or list
    left, right = model._model, other._model
    assert left.answer_shape == right.answer_shape
    assert left.plan.data == right.plan.data
    assert vars(left.plan.scaler).keys() == vars(right.plan.scaler).keys()
    for name, value in vars(left.plan.scaler).items():
        np.testing.assert_array_equal(value, vars(right.plan.scaler)[name], strict=True)
    for name in ("values", "given"):
        assert repr(getattr(left.plan, name)) == repr(getattr(right.plan, name)), name
    assert repr(model.settings_) == repr(other.settings_)
    assert model.image_shape_ == other.image_shape_
    left, right = model.module_.state_dict(), other.module_.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())
    assert repr(model.module_) == repr(other.module_)
    trained = [
        {name: parameter.requires_grad for name, parameter in module.named_parameters()}
        for module in (model.module_, other.module_)
    ]
    assert trained[0] == trained[1]
    assert not any(module.training for module in other.module_.modules())


# ---------------------------------------------------------------- there and back


@each
def test_round_trip(name, fitted, path):
    model = fitted(name)
    assert_same(model, round_trip(model, path))


def test_every_estimator_can_be_saved():
    assert {*_saving._estimators().values()} == {*ESTIMATORS}


@each_small
def test_training_goes_on_alike(name, fitted, path):
    model = copy.deepcopy(fitted(name))
    loaded = round_trip(model, path)
    for one in (model, loaded):
        fit(one.set_params(warm_start=True))
    assert_same(model, loaded)
    for one in (model, loaded):
        fit(one.set_params(warm_start=False, random_state=1))
    assert_same(model, loaded)


@pytest.mark.parametrize("name", ["DMAE", "DMM-toroidal"])
def test_partial_fit_goes_on_alike(name, fitted, path):
    model = copy.deepcopy(fitted(name))
    loaded = round_trip(model, path)
    for one in (model, loaded):
        one.partial_fit(X[:20])
    assert len(loaded.history_) == len(fitted(name).history_) + 1
    assert_same(model, loaded)


def test_names_of_features_and_the_output_of_frames(path):
    frame = pd.DataFrame(X[:, :8]).add_prefix("pixel ")
    model = small(DCEC, n_clusters=np.int64(4), hidden_units=[16], random_state=0)
    loaded = round_trip(model.set_output(transform="pandas").fit(frame), path)
    assert loaded.feature_names_in_.tolist() == frame.columns.tolist()
    assert loaded.feature_names_in_.dtype == object
    pd.testing.assert_frame_equal(loaded.transform(frame), model.transform(frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns=str.upper))
    assert loaded.get_params() == model.get_params()


def test_float32_and_images(path):
    images = X.astype(np.float32).reshape(-1, 1, 8, 8)
    model = small(DCEC, random_state=0).fit(images)
    loaded = round_trip(model, path)
    np.testing.assert_array_equal(loaded.transform(images), model.transform(images), strict=True)
    assert loaded.inverse_transform(loaded.cluster_centers_).shape == (4, 1, 8, 8)


def test_values_of_parameters_keep_their_kinds(path):
    model = small(
        DMAE,
        architecture=None,
        dissimilarity="toroidal",
        dissimilarity_params={"period": np.array([7, None, 24.5], dtype=object)},
        device=torch.device("cpu"),
        alpha=np.float64(0.5),
        random_state=0,
    )
    loaded = round_trip(fit(model, X[:, 10:13]).set_params(n_init=np.int32(2)), path)
    period = loaded.dissimilarity_params["period"]
    assert period.dtype == object
    assert period.tolist() == [7, None, 24.5]
    assert loaded.device == torch.device("cpu")
    assert loaded.n_init == 2
    assert loaded.alpha_ == 0.5


class Shape(NamedTuple):
    height: int
    width: int


@pytest.mark.parametrize(
    "value",
    [
        np.ma.array([1.0, 2.0], mask=[True, False]),
        np.array([1j]),
        np.array(["a"]),
        np.array([[None]], dtype=object),
        nn.Parameter(torch.zeros(2)),
        {1: "a"},
        {"a": {1, 2}},
        Shape(8, 8),
        [1, (2, len)],
    ],
    ids=repr,
)
def test_what_would_come_back_as_something_else_is_no_data(value):
    with pytest.raises(TypeError, match="is not data that can be saved"):
        _encoding.encode(value, "name", {})


@pytest.mark.parametrize("function", [save_model, load_model])
def test_docstrings(function):
    errors = validate.validate(f"skdeepcluster.{function.__name__}")["errors"]
    assert [error for error in errors if error[0] != "RT02"] == []  # as in test_common


def test_a_model_in_a_memory_map(fitted, tmp_path, path):
    joblib.dump(fitted("DCEC"), tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    loaded = round_trip(mapped, path)
    assert loaded.labels_.flags.writeable
    assert_same(fitted("DCEC"), loaded)


LOAD = """
import sys
import numpy as np
import torch
from skdeepcluster import load_model
torch.set_num_threads(1)
X = np.load(sys.argv[1])
for path in sys.argv[2:]:
    model = load_model(path)
    np.save(path + ".npy", np.column_stack([model.predict_proba(X), model.transform(X)]))
assert "skops" not in sys.modules
"""


def test_another_process_answers_alike(fitted, tmp_path):
    np.save(tmp_path / "X.npy", X)
    paths = {name: str(tmp_path / name) for name in SMALL}
    for name, path in paths.items():
        save_model(fitted(name), path)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, tmp_path / "X.npy", *paths.values()], check=True
    )
    for name, path in paths.items():
        model = fitted(name)
        expected = np.column_stack([model.predict_proba(X), model.transform(X)])
        np.testing.assert_array_equal(np.load(path + ".npy"), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_small
def test_from_a_gpu_and_back(name, path):
    model = clone(SMALL[name]).set_params(device="cuda", random_state=0, max_epochs=1).fit(X)
    loaded = round_trip(model, path)
    assert loaded._model.device == torch.device("cpu")
    np.testing.assert_allclose(loaded.transform(X), model.transform(X), rtol=1e-3, atol=1e-3)
    again = load_model(path, device="cuda")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_the_network_is_put_where_it_is_asked_for(fitted, path):
    save_model(fitted("DCEC"), path)
    assert load_model(path, device=torch.device("cpu"))._model.device == torch.device("cpu")
    with pytest.raises(ValueError, match="device='nowhere' cannot be used here"):
        load_model(path, device="nowhere")


def test_random_generators_and_the_model_are_left_alone(fitted, path):
    model = fitted("DCCS")
    before, kept = copy.deepcopy(model), (torch.get_rng_state(), np.random.get_state()[1])
    round_trip(model, path)
    assert torch.equal(torch.get_rng_state(), kept[0])
    np.testing.assert_array_equal(np.random.get_state()[1], kept[1])
    assert_same(model, before)


@each_small
def test_the_same_model_is_the_same_file(name, fitted, path):
    contents = set()
    for model in [fitted(name)] * 5 + [copy.deepcopy(fitted(name))]:
        save_model(model, path)
        contents.add(path.read_bytes())
    save_model(load_model(path), path)
    assert contents == {path.read_bytes()}
    start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert start % 8 == 0  # the arrays are aligned
    assert {*safetensors.torch.load_file(path)} == {*safetensors.torch.load(path.read_bytes())}


# ---------------------------------------------------------------- what only the caller has


class Darken:
    def __call__(self, x):
        return x * 0.9


def mean_gap(x, center):
    return (x - center).abs().mean(dim=-1)


@pytest.mark.parametrize(
    ("estimator", "own"),
    [
        (DCEC, {"augmentation": Darken(), "callbacks": [Callback()]}),
        (DCEC, {"memory": joblib.Memory(None), "random_state": np.random.RandomState(0)}),
        (DMAE, {"dissimilarity": mean_gap}),
        (DMAE, {"pretrain_target": RBFSampler(n_components=4, random_state=0)}),
        (DualAESpectral, {"architecture": BatchNormPair()}),
        (DCCS, {"cluster_prior": pd.Series([0.25] * 4)}),
    ],
)
def test_objects_of_the_caller_are_asked_for(estimator, own, path):
    model = fit(small(estimator, **{"random_state": 0, "max_epochs": 1, **own}))
    save_model(model, path)
    for name in own:
        with pytest.raises(ValueError, match=rf"pass load_model {name}= \("):
            load_model(path, **{other: own[other] for other in own if other != name})
    with pytest.raises(ValueError, match="tol is already in the file"):
        load_model(path, **own, tol=0.1)
    loaded = load_model(path, **own)
    assert all(loaded.get_params(deep=False)[name] is value for name, value in own.items())
    for method in ("predict_proba", "transform", "inverse_transform"):
        Z = X if method != "inverse_transform" else model.cluster_centers_
        np.testing.assert_array_equal(getattr(loaded, method)(Z), getattr(model, method)(Z))
    fit(loaded.set_params(warm_start=True))


def test_another_network_is_refused(path):
    pair = BatchNormPair()((64,), 4)
    model = small(DCEC, architecture=pair, random_state=0, max_epochs=1).fit(X)
    untrained = copy.deepcopy(pair)
    save_model(model, path)
    load_model(path, architecture=pair)
    for part, before in zip(pair, untrained, strict=True):  # fit and load copy the modules
        assert all(torch.equal(v, before.state_dict()[n]) for n, v in part.state_dict().items())
    encoder, decoder = pair
    with pytest.raises(
        ValueError, match=r"'encoder.1.weight' of shape \(32, 64\).* architecture as given here"
    ):
        load_model(path, architecture=BatchNormPair(width=16))
    with pytest.raises(ValueError, match=r"differ in .*architecture as given here"):
        load_model(path, architecture="mlp")
    with pytest.raises(ValueError, match=r"TypeError\('no network today'\)"):
        load_model(path, architecture=no_network)
    # the same weights in the same places, which mean something else
    with pytest.raises(ValueError, match="gives other results"):
        load_model(
            path, architecture=(encoder, nn.Sequential(*decoder[:2], nn.Tanh(), *decoder[3:]))
        )


def test_a_file_that_cannot_be_loaded_is_not_written(path):
    widths = {"hidden": 32}

    def factory(sample_shape, n_components):
        return BatchNormPair(widths["hidden"])(sample_shape, n_components)

    model = small(DCEC, architecture=factory, random_state=0, max_epochs=1).fit(X)
    widths["hidden"] = 16  # so the factory no longer gives the network of the fit
    with pytest.raises(ValueError, match=r"^Nothing was saved, .* could not be loaded again: "):
        save_model(model, path)
    assert not path.exists()


def no_network(sample_shape, n_components):
    raise TypeError("no network today")


def test_state_that_is_no_tensor_is_refused(path):
    class Counting(nn.Flatten):
        def get_extra_state(self):
            return {"calls": 1}

        def set_extra_state(self, state):
            pass

    encoder, decoder = BatchNormPair()((64,), 4)
    pair = (nn.Sequential(Counting(), encoder), decoder)
    model = small(DCEC, architecture=pair, random_state=0, max_epochs=1).fit(X)
    with pytest.raises(ValueError, match=r"'encoder.0._extra_state' in .* not a tensor"):
        save_model(model, path)


# ---------------------------------------------------------------- classes of the caller


class MyDCEC(DCEC):
    """One of ours with another objective."""

    @staticmethod
    def sample_loss(plan, module, x, z, q):
        return 2 * DCEC.sample_loss(plan, module, x, z, q)


class DeepKMeans(BaseDeepClusterer):
    """A method of the caller: k-means in an embedding that is trained with it."""

    parameter_constraints: ClassVar = {
        "compactness": [Interval(Real, 0, None, closed="left")],
        "data": [dict, None],
    }

    def __init__(self, n_clusters, *, compactness=0.1, init="graph", data=None, random_state=None):
        self.n_clusters = n_clusters
        self.compactness = compactness
        self.init = init
        self.data = data
        self.random_state = random_state

    @classmethod
    def defaults(cls, data, given):
        chosen = {"pretrain_epochs": 2, "max_epochs": 1, "n_components": 4, "hidden_units": (32,)}
        # of no parameter: data, and a function, which is none
        own = {"sharpness": 2.0, "error": reconstruction_error, "augmentation": torch.clone}
        return super().defaults(data, given) | chosen | own

    @staticmethod
    def make_module(plan, encoder, decoder):
        assign = StudentTAssignment(plan.n_clusters, plan.n_components)
        return ClusteringAutoencoder(encoder, decoder, assign)

    @staticmethod
    def make_phases(plan):
        def start(run):
            run.module.assign, targets = start_partition(run, plan.n_clusters, plan.init)
            return targets

        steps = (Step("joint", _joint, trains=("encoder", "decoder", "assign")),)
        cluster = Phase("cluster", plan.max_epochs, steps, plan.learning_rate, setup=start)
        return *start_phases(plan), cluster

    @staticmethod
    def sample_loss(plan, module, x, z, q):
        to_own = squared_distances(z, module.assign.centers).min(dim=1).values
        return plan.compactness * plan.sharpness * to_own + plan.error(module.decoder(z), x)


def _joint(module, batch):
    plan, z = batch.plan, module.encoder(batch.augment(batch.x))
    to_own = squared_distances(z, module.assign.centers).min(dim=1).values
    error = plan.error(module.decoder(z), batch.x)
    return {"compactness": plan.compactness * to_own.mean(), "reconstruction": error.mean()}


SHORT = {"init": "graph", "pretrain_epochs": 2, "max_epochs": 1, "n_init": 1, "random_state": 0}
OWN = {
    "MyDCEC": lambda: MyDCEC(4, **SHORT),
    "DeepKMeans": lambda: DeepKMeans(4, data={"n_samples": np.arange(3)}, random_state=0),
}


@pytest.mark.parametrize("name", OWN)
def test_classes_of_the_caller(name, path):
    model = fit(OWN[name]())
    own = type(model)
    loaded = round_trip(model, path, estimator=own)
    assert_same(model, loaded)
    for one in (model, loaded):
        fit(one.set_params(random_state=1))
    assert_same(model, loaded)
    begins = f"^{re.escape(str(path))} cannot be loaded: it is a {name}"
    with pytest.raises(ValueError, match=rf"{begins} of test_saving, .* as estimator={name}\. "):
        load_model(path)
    for wrong in (DCEC, MyDCEC, DeepKMeans):
        if wrong is not own:
            refused = rf"{begins}, not a {wrong.__name__}: pass estimator={name}\.$"
            with pytest.raises(ValueError, match=refused):
                load_model(path, estimator=wrong)


def test_a_class_with_the_name_of_another(fitted, path):
    """A name alone says nothing: the network and the settings must be those of the class."""
    mine = type("DCEC", (MyDCEC,), {"__module__": "mine"})
    model = fit(mine(4, **SHORT))
    assert_same(model, round_trip(model, path, estimator=mine))
    with pytest.raises(ValueError, match="it is a DCEC of mine, which is not in skdeepcluster"):
        load_model(path)
    other = type("DCEC", (DeepKMeans,), {})
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} cannot be loaded: DCEC has no"):
        load_model(path, estimator=other)
    save_model(fitted("DCEC"), path)
    assert_same(fitted("DCEC"), load_model(path, estimator=DCEC))


@pytest.mark.parametrize("wrong", [KMeans, DCEC(), "DCEC", BaseDeepClusterer.fit])
def test_what_is_no_class_of_an_estimator(wrong, fitted, path):
    save_model(fitted("DCEC"), path)
    with pytest.raises(TypeError, match="must be a class that derives from BaseDeepClusterer"):
        load_model(path, estimator=wrong)


# ---------------------------------------------------------------- what is not saved


def test_what_cannot_be_saved(fitted, path):
    with pytest.raises(NotFittedError):
        save_model(DCEC(), path)
    pipeline = make_pipeline(fitted("DCEC"))
    with pytest.raises(TypeError, match=r"DMAE, DualAES.*, not Pipeline\..*pipeline\[-1\]"):
        save_model(pipeline, path)
    save_model(pipeline[-1], path)
    with pytest.raises(NotFittedError):
        save_model(MyDCEC(), path)
    for stranger in (MyDCEC().fit, KMeans(), DCEC, MyDCEC, None):
        with pytest.raises(TypeError, match="save_model takes a fitted"):
            save_model(stranger, path)


def test_parameters_that_no_longer_fit_the_network(fitted, path):
    model = copy.deepcopy(fitted("DCCS")).set_params(n_clusters=3)
    with pytest.raises(
        ValueError, match="n_clusters=3 but the estimator was fitted with 4: set it"
    ):
        save_model(model, path)
    model.set_params(n_clusters=4, init=None)  # styles would be of any length
    with pytest.raises(ValueError, match="init=None but the estimator was fitted with 'graph'"):
        save_model(model, path)
    assert not path.exists()
    model.set_params(init="graph", gradient_penalty=5)
    assert round_trip(model, path).gradient_penalty == 5


def test_an_unfinished_file_replaces_nothing(fitted, path, monkeypatch):
    save_model(fitted("DCEC"), path)

    def full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(fitted("DMAE"), path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert isinstance(load_model(path), DCEC)
    monkeypatch.undo()
    save_model(fitted("DMAE"), str(path))
    assert isinstance(load_model(str(path)), DMAE)


def test_the_system_says_why_a_file_cannot_be_used(fitted, path, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(path)
    with pytest.raises(FileNotFoundError):
        save_model(fitted("DCEC"), tmp_path / "nowhere" / "model")
    with pytest.raises(IsADirectoryError):
        save_model(fitted("DCEC"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_safetensors(fitted, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for call in (lambda: save_model(fitted("DCEC"), path), lambda: load_model(path)):
        with pytest.raises(ImportError, match=r"pip install safetensors"):
            call()


# ---------------------------------------------------------------- files of others


def unpack(path):
    """Tensors, metadata and description of a file."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    metadata = json.loads(raw[8 : 8 + size])["__metadata__"]
    return safetensors.torch.load(raw), metadata, json.loads(metadata["description"])


def pack(path, tensors, metadata, description):
    """A file whose checksum is right, whatever is in it."""
    text = description if isinstance(description, str) else json.dumps(description)
    checksum = _encoding.checksum(text, tensors)
    metadata = metadata | {"description": text, "sha256": checksum}
    path.write_bytes(safetensors.torch.save(tensors, metadata))


def test_foreign_and_later_files(fitted, path):
    path.write_bytes(b"PK not one")
    with pytest.raises(ValueError, match="is no safetensors file, or is damaged or incomplete"):
        load_model(path)
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"a": torch.zeros(2)}, path, metadata)
        with pytest.raises(ValueError, match="not one that save_model wrote"):
            load_model(path)
    save_model(fitted("DCEC"), path)
    tensors, metadata, description = unpack(path)
    earlier = {name: description[name] for name in ("estimator", "version", "parameters")}
    for version, content in (("1", earlier), ("1", description), ("3", description)):
        pack(path, tensors, metadata | {"format_version": version}, content)
        message = rf"format version {version}; skdeepcluster .* reads only 2\. Load it with the ver"
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))} has {message}"):
            load_model(path)
    pack(path, tensors, metadata, description | {"estimator": "os.system"})
    with pytest.raises(ValueError, match=r"it is a os\.system of .*it loads DCCS, DCEC"):
        load_model(path)


def test_parameters_of_another_version(fitted, path):
    save_model(fitted("DCEC"), path)
    tensors, metadata, description = unpack(path)
    description["version"] = "99.0"
    parameters = description["parameters"]
    description["parameters"] = parameters | {"n_dreams": 2}
    pack(path, tensors, metadata, description)
    with pytest.raises(ValueError, match=r"no parameters \['n_dreams'\]; the file is of .* 99.0"):
        load_model(path)
    description["parameters"] = parameters | {"gamma": -1.0}
    pack(path, tensors, metadata, description)
    with pytest.raises(ValueError, match="'gamma' parameter of DCEC must be"):
        load_model(path)
    # of before there was such a parameter
    description["parameters"] = {n: v for n, v in parameters.items() if n != "tol"}
    pack(path, tensors, metadata, description)
    assert load_model(path).tol == DCEC().tol


@pytest.mark.parametrize("name", ["DCEC", "DCCS", "DMM-manhattan", "DCEC-factory"])
def test_absurd_sizes_take_no_memory(name, fitted, path):
    save_model(fitted(name), path)
    tensors, metadata, description = unpack(path)
    shape = {"tuple": [1, 10**7, 10**7]}
    for part, change in (
        ("parameters", {"n_clusters": 10**13}),
        ("parameters", {"n_components": 10**13}),
        ("parameters", {"hidden_units": [10**7, 10**7]}),
        ("parameters", {"n_clusters": 10**30}),
        ("attributes", {"n_features_in_": 10**13}),
        ("settings", {"n_components": 10**13}),
        ("settings", {"hidden_units": [10**7, 10**7]}),
        ("data", {"n_features": 10**13}),
        ("data", {"n_samples": 10**30}),
        ("data", {"kind": "images", "image_shape": shape}),
        ("data", {"kind": "images", "image_shape": shape, "n_features": 10**14}),
        ("data", {"n_features": 10**13, "kind": "images", "image_shape": {"tuple": [1, 8, 8]}}),
    ):
        if name == "DMM-manhattan" and {"n_components", "hidden_units"} & change.keys():
            continue  # there is no network to build
        if name == "DCEC-factory" and "hidden_units" in change:
            continue
        forged = copy.deepcopy(description)
        (forged[part]["dict"] if part == "data" else forged[part]).update(change)
        pack(path, tensors, metadata, forged)
        with pytest.raises(ValueError, match="cannot be loaded") as raised:
            load_model(path, **given(fitted(name)))
        assert "emory" not in str(raised.value)


def test_deeply_nested_descriptions(fitted, path):
    save_model(fitted("DCEC"), path)
    tensors, metadata, _ = unpack(path)
    for text in ("[" * 10**5 + "]" * 10**5, '{"a":' * 10**5 + "1" + "}" * 10**5, "", "1", "null"):
        pack(path, tensors, metadata, text)
        with pytest.raises(ValueError, match="cannot be loaded"):
            load_model(path)
    header = ('{"__metadata__":' + "[" * 10**5 + "]" * 10**5 + "}").encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="no safetensors file"):
        load_model(path)


NO_SETTINGS = {
    "a number that is none": {"max_epochs": "many"},
    "not in the range": {"gamma": -1.0},
    "a choice that there is not": {"init": "os.system"},
    "still auto": {"learning_rate": "auto"},
    "not of its kind": {"overcluster_epochs": [1]},
    "no kind": {"overcluster_epochs": None},
    "truth": {"overcluster_epochs": True},
    "an array": {"batch_size": {"array": "labels_"}},
    "an array that is not there": {"tol": {"array": "nowhere"}},
    "another scaling": {"scaling": "none"},
    "no setting": {"n_dreams": 2},
    "of the run": {"device": "cpu"},
    "a parameter, again": {"n_clusters": 4},
    "a parameter, otherwise": {"n_clusters": 5},
    "a network": {"architecture": "conv"},
    "no architecture": {"architecture": None},
}
NO_DATA = {
    "kind": {"kind": "os.system"},
    "a kind that is a list": {"kind": ["vectors"]},
    "images without a shape": {"kind": "images"},
    "a shape without images": {"image_shape": {"tuple": [1, 8, 8]}},
    "another shape": {"kind": "images", "image_shape": {"tuple": [1, 4, 16]}},
    "flat shape": {"kind": "images", "image_shape": {"tuple": [64]}},
    "a shape of numbers": {"kind": "images", "image_shape": {"tuple": [1.0, 8.0, 8.0]}},
    "a shape of truths": {"kind": "images", "image_shape": {"tuple": [True, 8, 8]}},
    "a list as shape": {"kind": "images", "image_shape": [1, 8, 8]},
    "text as shape": {"kind": "images", "image_shape": "188"},
    "other features": {"n_features": 63},
    "features with a point": {"n_features": 64.0},
    "no features": {"n_features": 0},
    "fewer than none": {"n_features": -64},
    "no samples": {"n_samples": 0},
    "samples with a point": {"n_samples": 82.0},
    "a sample": {"n_samples": True},
    "text": {"n_samples": "82"},
    "endless": {"n_samples": {"float": "inf"}},
    "half different": {"backgrounds_differ": 0.5},
    "unknown": {"n_dreams": 2},
}
NO_SCALER = {
    "another kind": {"kind": "standard"},
    "no kind": {"kind": "os.system"},
    "auto": {"kind": "auto"},
    "a number": {"shift": 1.0},
    "whole numbers": {"factor": {"array": "labels_"}},
    "another size": {"factor": {"array": "cluster_centers_"}},
    "not there": {"factor": {"array": "nowhere"}},
    "nothing": {"shift": None},
    "unknown": {"n_dreams": 2},
}
FORGED = {
    f"{part}: {why}": (part, change)
    for part, changes in (("settings", NO_SETTINGS), ("data", NO_DATA), ("scaler", NO_SCALER))
    for why, change in changes.items()
}
FORGED |= {
    f"answer_shape: {value}": ("answer_shape", value)
    for value in (None, "64", [64], {"tuple": [63]}, {"tuple": [64.0]}, {"tuple": [1, 8, 8]})
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_settings_are_refused(case, fitted, path):
    """Of vectors with 64 features, scaled by "global"."""
    part, change = FORGED[case]
    save_model(fitted("DCEC"), path)
    tensors, metadata, description = unpack(path)
    assert description["data"]["dict"]["kind"] == "vectors"
    assert description["scaler"]["dict"]["kind"] == "global"
    if part == "answer_shape":
        description[part] = change
    else:
        (description[part] if part == "settings" else description[part]["dict"]).update(change)
    pack(path, tensors, metadata, description)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} cannot be loaded: "):
        load_model(path)


@pytest.mark.parametrize("part", ["data", "scaler", "settings", "answer_shape", "package"])
def test_a_part_that_is_missing_or_something_else(part, fitted, path):
    save_model(fitted("DCEC"), path)
    tensors, metadata, description = unpack(path)
    rest = {name: value for name, value in description.items() if name != part}
    changed = [description | {part: value} for value in (None, 1, [], "x", {"list": []})]
    for forged in [rest, *changed]:
        pack(path, tensors, metadata, forged)
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))} cannot be loaded: "):
            load_model(path)


def test_settings_of_before_there_was_such_a_parameter(fitted, path):
    save_model(fitted("DCEC"), path)
    tensors, metadata, description = unpack(path)
    del description["settings"]["tol"], description["parameters"]["tol"]
    del description["data"]["dict"]["backgrounds_differ"]
    pack(path, tensors, metadata, description)
    assert_same(fitted("DCEC"), load_model(path))


def test_unknown_settings_are_named(fitted, path):
    save_model(fitted("DCEC"), path)
    tensors, metadata, description = unpack(path)
    description["settings"]["n_dreams"] = description["settings"]["device"] = 2
    pack(path, tensors, metadata, description)
    with pytest.raises(ValueError, match=r"settings that no fit has, \['device', 'n_dreams'\]"):
        load_model(path)


def change_bytes(raw, rng):
    """Damage anywhere, as often in the header as in the arrays."""
    raw = bytearray(raw)
    header = 8 + int.from_bytes(raw[:8], "little")
    start, stop = rng.choice([(0, 8), (8, header), (8, header), (header, len(raw))])
    where = rng.randrange(start, stop)
    kind = rng.choice(["flip", "cut", "insert", "swap", "zero"])
    if kind == "flip":
        raw[where] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del raw[where : where + rng.choice([1, 100, len(raw)])]
    elif kind == "insert":
        raw[where:where] = rng.randbytes(rng.randrange(1, 20))
    elif kind == "swap":
        other = rng.randrange(start, stop)
        raw[where : where + 4], raw[other : other + 4] = (
            raw[other : other + 4],
            raw[where : where + 4],
        )
    else:
        raw[where : where + 16] = bytes(16)
    return bytes(raw)


STRANGE = [None, True, -1, 0, 3, 10**12, 0.5, "", "os.system", "auto", [], [1, 2], {}]
STRANGE += [{"float": "nan"}, {"tuple": [[]]}, {"array": "labels_"}, {"device": "nowhere"}]
STRANGE += [{"objects": [1]}, {"object": "os.system"}, {"dict": {"a": 1}}]


def places(value):
    """Each (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


def change_description(description, rng):
    container, key = rng.choice(list(places(description)))
    if rng.random() < 0.2:
        del container[key]
    else:
        container[key] = rng.choice(STRANGE)


def change_tensor(tensors, rng):
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    kind = rng.choice(["drop", "grow", "flatten", "type", "nan", "rename"])
    if kind == "drop":
        del tensors[name]
    elif kind == "grow":
        tensors[name] = torch.cat([tensor.reshape(-1), tensor.reshape(-1)])
    elif kind == "flatten":
        tensors[name] = tensor.reshape(1, -1)
    elif kind == "type":
        tensors[name] = tensor.to(rng.choice([torch.float64, torch.int8, torch.bfloat16]))
    elif kind == "nan":
        tensors[name] = torch.full_like(tensor.float(), torch.nan)
    else:
        tensors[name + "x"] = tensors.pop(name)


class Watch:
    """What the interpreter is asked for that loading a file of arrays needs not."""

    FORBIDDEN = ("import", "exec", "compile", "pickle.", "marshal.", "os.", "subprocess.")
    FORBIDDEN += ("socket.", "ctypes.", "shutil.", "code.__new__", "sys.addaudithook")

    def __init__(self):
        self.on, self.seen = False, []
        sys.addaudithook(self.hook)  # stays until the process ends

    def hook(self, event, arguments):
        writes = event == "open" and arguments[1] not in ("r", "rb", None)
        if self.on and (writes or event.startswith(self.FORBIDDEN)):
            self.seen.append((event, arguments))

    @contextlib.contextmanager
    def __call__(self):
        self.on = True
        try:
            yield
        finally:
            self.on = False


@pytest.fixture(scope="module")
def watch():
    found = Watch()
    with found():
        eval("1 + 1")
    assert {event for event, _ in found.seen} >= {"exec", "compile"}  # it does see
    found.seen.clear()
    return found


FUZZED = ["DCEC", "DMM-toroidal", "DualAESpectral", "DCCS"]
FIT_PARTS = ["data", "scaler", "settings", "answer_shape"]


@pytest.mark.parametrize("name", FUZZED)
def test_damaged_files_are_refused(name, fitted, path, watch):
    model = fitted(name)
    save_model(model, path)
    original = path.read_bytes()
    load_model(path)  # what is imported the first time
    rng = random.Random(name)
    for _ in range(50):
        path.write_bytes(change_bytes(original, rng))
        if path.read_bytes() == original:
            continue
        with watch(), pytest.raises(ValueError, match=r"damaged|not one that|format version"):
            load_model(path)
    assert watch.seen == []


@pytest.mark.parametrize("name", FUZZED)
def test_forged_files_are_refused_or_a_model(name, fitted, path, watch):
    """With a checksum that is right, which is no signature."""
    model = fitted(name)
    save_model(model, path)
    original = unpack(path)
    load_model(path)
    rng = random.Random(name)
    refused = 0
    for turn in range(50):
        tensors, metadata, description = copy.deepcopy(original)
        if turn % 2:
            change_tensor(tensors, rng)
        else:
            change_description(description, rng)
        pack(path, tensors, metadata, description)
        try:
            with watch():
                labels = load_model(path).predict(X)
            assert labels.shape == (len(X),)
            assert {*labels} <= {*range(4)}
        except ValueError as error:
            refused += "cannot be loaded" in str(error)
    assert watch.seen == []
    assert refused >= 30


@pytest.mark.parametrize("name", [*FUZZED, *OWN])
def test_forged_settings_are_refused_or_a_model(name, fitted, path, watch):
    """As above, in the parts that say what the fit did."""
    model = fit(OWN[name]()) if name in OWN else fitted(name)
    save_model(model, path)
    original = unpack(path)
    load_model(path, estimator=type(model))
    rng = random.Random(name)
    refused = 0
    for turn in range(60):
        tensors, metadata, description = copy.deepcopy(original)
        part = FIT_PARTS[turn % len(FIT_PARTS)]
        forged = {part: description.pop(part)}
        change_description(forged, rng)
        pack(path, tensors, metadata, description | forged)
        try:
            with watch():
                loaded = load_model(path, estimator=type(model))
                labels = loaded.predict(X)
            np.testing.assert_array_equal(labels, model.predict(X))
            assert isinstance(loaded.score(X), float)
        except ValueError as error:
            assert str(error).startswith(f"{path} cannot be loaded: ")  # noqa: PT017
            refused += 1
    assert watch.seen == []
    assert refused >= 40


def test_a_folder_that_is_not_there(tmp_path):
    model = small(DCEC, n_clusters=4, random_state=0).fit(digits()[0])
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*missing"):
        save_model(model, tmp_path / "missing" / "model.safetensors")
