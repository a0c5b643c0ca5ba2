"""Faults that were found in use. Each has the right value here, so that it does not come back."""

import contextlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from _instances import ESTIMATORS, BatchNormPair, Items, digits, embedding_width, plan_of, small
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.kernel_approximation import RBFSampler
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, GradientNormClipping
from torch import nn

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral, _fit, load_model, save_model
from skdeepcluster._data.kind import data_kind
from skdeepcluster._engine.architecture import feature_shape
from skdeepcluster._engine.checkpoint import hashes
from skdeepcluster.dissimilarities import manhattan
from skdeepcluster.metrics import SilhouetteScorer
from skdeepcluster.nn import FeatureEncoder

each = pytest.mark.parametrize("estimator", ESTIMATORS)
# what a test with little training is not about
clusters_may_die = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def model_for(estimator, **parameters):
    return small(estimator, **{"n_clusters": 4, "random_state": 0, "tol": 0.0, **parameters})


def answers(model, X):
    return {
        "labels": model.labels_,
        "embedding": model.transform(X),
        "responsibilities": model.predict_proba(X),
        "prototypes": model.inverse_transform(model.cluster_centers_),
        "history": model.history_,
    }


class CtrlC(Callback):
    """The user stops training in the second epoch of a phase."""

    def __init__(self, phase):
        self.phase = phase

    def on_batch_end(self, net, **kwargs):
        if net.phase.name == self.phase and len(net.history) == 2:
            raise KeyboardInterrupt


class CountEpochs(Callback):
    """Count epochs; the count is not an attribute, so that `memory` sees the same callback."""

    counts: ClassVar[list[int]] = [0]

    @property
    def count(self):
        return self.counts[0]

    @count.setter
    def count(self, value):
        self.counts[0] = value

    def on_epoch_end(self, net, **kwargs):
        self.count += 1


class StopAfter(Callback):
    """End each phase after some epochs, as callbacks of skorch do."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epochs:
            raise KeyboardInterrupt


class PhasesTrained(Callback):
    """Names of the phases that were trained."""

    def __init__(self):
        self.names = []

    def on_train_begin(self, net, **kwargs):
        self.names.append(net.phase.name)


# ---------------------------------------------------------------- augmentation


def in_place(x):
    x += 0.5
    return x


def out_of_place(x):
    return x + 0.5


@clusters_may_die
@each
def test_an_augmentation_in_place_does_not_change_the_target(estimator):
    X, _ = digits()
    model = model_for(estimator, pretrain_epochs=1, max_epochs=1)
    found = [
        answers(model.set_params(augmentation=augmentation).fit(X), X)
        for augmentation in (in_place, out_of_place)
    ]
    np.testing.assert_equal(*found)


@clusters_may_die
@pytest.mark.parametrize("parameters", [{}, {"architecture": None}], ids=["deep", "mixture"])
def test_an_augmentation_in_place_does_not_change_what_partial_fit_sees(parameters):
    X, found = digits()[0].astype(np.float32), []
    for augmentation in (in_place, out_of_place):
        before = X.copy()
        model = model_for(DMAE, augmentation=augmentation, init="k-means", **parameters)
        found.append(answers(model.partial_fit(X).partial_fit(X), X))
        np.testing.assert_array_equal(X, before)
    np.testing.assert_equal(*found)


# ---------------------------------------------------------------- widths


@clusters_may_die
@pytest.mark.parametrize(("n_clusters", "width"), [(15, 15), (10, 10), (3, 10)])
@pytest.mark.parametrize("images", [False, True], ids=["vectors", "images"])
def test_auto_latents_are_as_many_as_clusters_and_ten_at_least(n_clusters, width, images):
    X, _ = digits(90, n_class=10)
    model = DualAESpectral(
        n_clusters,
        n_components="auto",
        embedding="latent",
        architecture="mlp",
        hidden_units=(16,),
        image_shape=(8, 8) if images else None,
        pretrain_epochs=1,
        max_epochs=0,
        random_state=0,
    )
    model.fit(X)
    assert model.transform(X).shape == (90, width)
    assert model.cluster_centers_.shape == (n_clusters, width)


# ---------------------------------------------------------------- warm start

FIXED = {
    "train_encoder": (DMAE, {"train_encoder": True}, {"train_encoder": False}),
    "train_encoder, back": (DMAE, {"train_encoder": False}, {"train_encoder": True}),
    **{
        f"image_shape, {estimator.__name__}": (
            estimator,
            {"image_shape": (8, 8)},
            {"image_shape": image_shape},
        )
        for estimator, image_shape in zip(ESTIMATORS, [None, (4, 16), (4, 4, 4), None], strict=True)
    },
    "image_shape, given later": (DCEC, {"image_shape": None}, {"image_shape": (8, 8)}),
    "init, DCCS": (DCCS, {"init": "graph"}, {"init": None}),
}


@clusters_may_die
@pytest.mark.parametrize("name", FIXED)
def test_warm_start_refuses_what_it_cannot_follow(name):
    X, _ = digits()
    estimator, first, then = FIXED[name]
    model = model_for(estimator, warm_start=True, pretrain_epochs=1, max_epochs=1, **first).fit(X)
    (parameter,) = then
    with pytest.raises(ValueError, match=rf"{parameter}=.*warm_start=False"):
        model.set_params(**then).fit(X)
    assert model.set_params(**first).fit(X).labels_.shape == (82,)


@each
def test_warm_start_after_a_fit_that_left_out_its_last_phase(estimator):
    X, _ = digits()
    model = model_for(estimator, warm_start=True, max_epochs=0).fit(X)
    model.set_params(max_epochs=2).fit(X)
    assert [row["epoch"] for row in model.history_ if row["phase"] == "cluster"] == [1, 2]
    assert len(np.unique(model.labels_)) == 4
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.transform(X).shape == (82, embedding_width(model))


@clusters_may_die
@each
def test_warm_start_after_ctrl_c_in_pretraining(estimator):
    X, _ = digits()
    model = model_for(estimator, warm_start=True, callbacks=[CtrlC("pretrain")])
    model.fit(X)
    model.set_params(callbacks=None).fit(X)
    assert model.history_[-1]["phase"] == "cluster"
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.transform(X).shape == (82, embedding_width(model))


# ---------------------------------------------------------------- parameters without effect

WITHOUT_EFFECT = {
    "prototype_weight, fixed encoder": (
        "prototype_weight",
        {"train_encoder": False, "prototype_weight": 0.5},
    ),
    "reconstruction_weight, fixed encoder": (
        "reconstruction_weight",
        {"train_encoder": False, "reconstruction_weight": 0.5},
    ),
    "prototype_weight, no network": (
        "prototype_weight",
        {"architecture": None, "prototype_weight": 0.5},
    ),
    "reconstruction_weight, no network": (
        "reconstruction_weight",
        {"architecture": None, "reconstruction_weight": 0.5},
    ),
    "clustering_weight, no network": (
        "clustering_weight",
        {"architecture": None, "clustering_weight": 0.5},
    ),
    "masking": ("augmentation", {"augmentation": "masking", "pretrain_target": PCA(4)}),
}


@pytest.mark.parametrize("case", WITHOUT_EFFECT)
def test_a_parameter_without_effect_is_not_taken_in_silence(case):
    name, parameters = WITHOUT_EFFECT[case]
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model_for(DMAE, init="k-means", max_epochs=1, **parameters).fit(digits()[0])
        except ValueError as error:
            said = [str(error)]
    said += [str(warning.message) for warning in caught if warning.category is UserWarning]
    assert any(name in message for message in said), said


# ---------------------------------------------------------------- empty clusters


def duplicates(seed=0):
    """60 samples, of which 3 are different: fewer than the clusters."""
    rng = np.random.default_rng(seed)
    different = 4 * rng.normal(size=(3, 6))
    return different[rng.integers(3, size=60)].astype(np.float32)


@each
@pytest.mark.parametrize(("n_clusters", "seed"), [(5, 0), (5, 1), (8, 1)])
def test_clusters_have_one_number_everywhere_after_one_died(estimator, n_clusters, seed):
    X = duplicates(seed)
    # this start leaves out numbers in the middle
    parameters = {"n_clusters": n_clusters, "random_state": seed, "init": "spectral"}
    model = model_for(estimator, scaling="none", **parameters)
    with pytest.warns(ConvergenceWarning, match=rf"Only \d of n_clusters={n_clusters}"):
        model.fit(X)
    sizes = np.bincount(model.labels_, minlength=n_clusters)
    assert (np.diff((sizes > 0).astype(int)) <= 0).all()  # empty ones come last
    np.testing.assert_array_equal(model.history_[-1]["cluster_sizes"], sizes)
    with torch.no_grad():
        z, q = model.module_(torch.from_numpy(X))
    np.testing.assert_array_equal(q.argmax(dim=1).numpy(), model.labels_)
    np.testing.assert_allclose(q.numpy(), model.predict_proba(X), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(z.numpy(), model.transform(X), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(model.predict(X), model.labels_)


@each
@pytest.mark.parametrize("parameters", [{}, {"max_epochs": 0}], ids=["trained", "start"])
def test_the_center_of_a_dead_cluster_is_a_place(estimator, parameters):
    X = duplicates()
    model = model_for(estimator, n_clusters=5, **parameters)
    with pytest.warns(ConvergenceWarning):
        model.fit(X)
    largest = np.abs(model.transform(X)).max()
    assert np.isfinite(model.cluster_centers_).all()
    assert np.abs(model.cluster_centers_).max() < 1e5
    assert np.abs(model.cluster_centers_).max() < 100 * largest
    assert np.isfinite(model.inverse_transform(model.cluster_centers_)).all()


@each
def test_one_cluster_is_no_collapse(estimator):
    model = model_for(estimator, n_clusters=1).fit(digits()[0])
    assert not model.labels_.any()
    assert not any(row.get("collapsed") for row in model.history_)


def test_one_category_from_nothing_is_no_collapse():
    model = model_for(DCCS, n_clusters=1, init=None).fit(digits()[0])
    assert not model.labels_.any()
    assert not any(row.get("collapsed") for row in model.history_)


# ---------------------------------------------------------------- out of range


@clusters_may_die
@each
def test_inverse_transform_of_values_beyond_float32(estimator):
    model = model_for(estimator, pretrain_epochs=1, max_epochs=1, init="k-means")
    model.fit(digits()[0])
    for value in (1e300, -1e300, 1e39):
        Z = model.cluster_centers_.copy()
        Z[1, 2] = value
        with pytest.raises(ValueError, match="too large"):
            model.inverse_transform(Z)


@clusters_may_die
@each
def test_inverse_transform_answers_numbers_or_refuses(estimator):
    """The layers of the decoder may overflow where the embedding does not."""
    model = model_for(estimator, pretrain_epochs=1, max_epochs=1, init="k-means")
    model.fit(digits()[0])
    Z = np.full_like(model.cluster_centers_, np.finfo(np.float32).max / 2)
    with contextlib.suppress(ValueError):
        assert np.isfinite(model.inverse_transform(Z)).all()


# ---------------------------------------------------------------- default dtype


@pytest.fixture
def float64():
    """A program in which another library has changed torch's default."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


ANY_DTYPE = {
    **{estimator.__name__: (estimator, {}) for estimator in ESTIMATORS},
    "DMAE, mixture": (DMAE, {"architecture": None, "init": "k-means"}),
    "DMAE, euclidean": (DMAE, {"dissimilarity": "euclidean", "pretrain_target": PCA(4)}),
    "DualAESpectral, jensen-shannon": (
        DualAESpectral,
        {"mutual_information": "jensen-shannon", "prior_weight": 0.1, "affinity": "self-tuned"},
    ),
    "DCCS, from nothing": (DCCS, {"init": None, "cluster_prior": [0.4, 0.3, 0.2, 0.1]}),
    "DCEC, images": (DCEC, {"image_shape": (8, 8), "architecture": "conv"}),
    "DualAESpectral, images": (DualAESpectral, {"image_shape": (8, 8)}),
    "DCCS, images": (DCCS, {"image_shape": (8, 8)}),
}


@clusters_may_die
@pytest.mark.parametrize("name", ANY_DTYPE)
def test_the_default_dtype_of_torch_does_not_matter(name, float64, tmp_path):
    X, _ = digits()
    estimator, parameters = ANY_DTYPE[name]
    model = model_for(estimator, pretrain_epochs=1, max_epochs=1, **parameters)
    found = answers(model.fit(X), X)
    save_model(model, tmp_path / "float64.safetensors")
    assert torch.get_default_dtype() == torch.float64
    assert all(p.dtype == torch.float32 for p in model.module_.parameters())
    given = {"pretrain_target": model.pretrain_target} if "pretrain_target" in parameters else {}
    loaded = load_model(tmp_path / "float64.safetensors", **given)
    np.testing.assert_equal(answers(loaded, X), found)

    torch.set_default_dtype(torch.float32)
    np.testing.assert_equal(answers(model.fit(X), X), found)
    save_model(model, tmp_path / "float32.safetensors")
    torch.set_default_dtype(torch.float64)
    loaded = load_model(tmp_path / "float32.safetensors", **given)
    np.testing.assert_equal(answers(loaded, X), found)


def test_partial_fit_where_the_default_dtype_is_float64(float64):
    X, found = digits()[0], []
    for dtype in (torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        model = model_for(DMAE, init="k-means").partial_fit(X).partial_fit(X)
        found.append(answers(model, X))
    np.testing.assert_equal(*found)


@each
def test_a_factory_of_the_user_where_the_default_dtype_is_float64(estimator, float64):
    """Its layers are float64 there; networks are float32."""
    X, _ = digits()
    model = model_for(estimator, architecture=BatchNormPair()).fit(X)
    assert all(p.dtype == torch.float32 for p in model.module_.parameters())
    np.testing.assert_array_equal(model.predict(X), model.labels_)


# ---------------------------------------------------------------- Ctrl-C in partial_fit


@pytest.mark.parametrize("parameters", [{}, {"architecture": None}], ids=["deep", "mixture"])
def test_ctrl_c_in_partial_fit_reaches_the_caller(parameters):
    X, _ = digits()
    model = model_for(DMAE, init="k-means", **parameters).partial_fit(X)
    before = answers(model, X)

    def interrupt(x):
        raise KeyboardInterrupt

    model.set_params(augmentation=interrupt)
    with pytest.raises(KeyboardInterrupt), contextlib.suppress(Exception):
        model.partial_fit(X)
    np.testing.assert_equal(answers(model, X), before)
    assert model.set_params(augmentation=None).partial_fit(X).n_iter_ == len(before["history"]) + 1


# ---------------------------------------------------------------- a refit of another kind


@pytest.mark.parametrize("n_features", [3, 2])
@pytest.mark.parametrize("dissimilarity", ["euclidean", "mahalanobis", "cosine"])
def test_a_model_that_was_toroidal_is_saved_after_a_refit(n_features, dissimilarity, tmp_path):
    hours = np.random.default_rng(0).uniform(0, 24, (60, 3))
    model = DMAE(
        3,
        dissimilarity="toroidal",
        dissimilarity_params={"period": 24},
        architecture=None,
        max_epochs=2,
        random_state=0,
    ).fit(hours)
    X = hours[:, :n_features]
    model.set_params(dissimilarity=dissimilarity, dissimilarity_params=None).fit(X)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    np.testing.assert_equal(answers(loaded, X), answers(model, X))


# ---------------------------------------------------------------- weights

NO_LOSS = {
    "DualAESpectral": (
        DualAESpectral,
        ("information_weight", "reconstruction_weight", "relative_weight"),
        {},
    ),
    "DualAESpectral without information": (
        DualAESpectral,
        ("reconstruction_weight", "relative_weight"),
        {"mutual_information": None},
    ),
    "DMAE": (DMAE, ("clustering_weight", "prototype_weight", "reconstruction_weight"), {}),
    "DMAE without a network": (DMAE, ("clustering_weight",), {"architecture": None}),
}


@pytest.mark.parametrize("case", NO_LOSS)
def test_weights_that_leave_no_loss_are_refused(case):
    estimator, names, parameters = NO_LOSS[case]
    model = model_for(estimator, init="k-means", **dict.fromkeys(names, 0.0), **parameters)
    with pytest.raises(ValueError, match="weight") as error:
        model.fit(digits()[0])
    assert all(name in str(error.value) for name in names), error.value


# ---------------------------------------------------------------- memory


@each
def test_memory_takes_a_path(estimator, tmp_path):
    X, _ = digits()
    path = tmp_path / "cache"
    first = answers(model_for(estimator, memory=path, callbacks=[PhasesTrained()]).fit(X), X)
    for memory in (path, str(path), joblib.Memory(str(path), verbose=0)):
        watch = PhasesTrained()
        model = model_for(estimator, memory=memory, callbacks=[watch]).fit(X)
        np.testing.assert_equal(answers(model, X), first)
        assert "pretrain" not in watch.names  # it lies there under either name


@each
def test_a_pretraining_that_a_callback_stopped_is_not_served_to_others(estimator, tmp_path):
    X, _ = digits()
    expected = answers(model_for(estimator).fit(X), X)
    stopped = model_for(estimator, memory=str(tmp_path), callbacks=[StopAfter(1)]).fit(X)
    assert sum(row["phase"] == "pretrain" for row in stopped.history_) == 1
    whole = model_for(estimator, memory=str(tmp_path)).fit(X)
    np.testing.assert_equal(answers(whole, X), expected)


def test_a_regression_on_features_that_a_callback_stopped_is_not_served_to_others(tmp_path):
    X, _ = digits()
    parameters = {"pretrain_target": PCA(4), "init": "k-means"}
    expected = answers(model_for(DMAE, **parameters).fit(X), X)
    parameters["memory"] = str(tmp_path)
    model_for(DMAE, callbacks=[StopAfter(1)], **parameters).fit(X)
    np.testing.assert_equal(answers(model_for(DMAE, **parameters).fit(X), X), expected)


# ---------------------------------------------------------------- found by a reviewer of the code


def test_memory_does_not_serve_what_a_callback_changed(tmp_path):
    X, _ = digits()
    expected = answers(model_for(DCEC).fit(X), X)
    clipped = model_for(DCEC, memory=str(tmp_path), callbacks=[GradientNormClipping(1e-4)]).fit(X)
    assert clipped.history_[0]["reconstruction"] != expected["history"][0]["reconstruction"]
    np.testing.assert_equal(answers(model_for(DCEC, memory=str(tmp_path)).fit(X), X), expected)


def test_memory_needs_no_location():
    class Caching:
        def cache(self, function, ignore):
            return function

    X, _ = digits()
    found = model_for(DCEC, memory=Caching()).fit(X)
    np.testing.assert_array_equal(found.labels_, model_for(DCEC).fit(X).labels_)


@pytest.mark.parametrize("persistent", [True, False])
def test_networks_with_other_hidden_values_have_other_hashes(persistent):
    def network(value):
        module = nn.Linear(2, 2)
        with torch.no_grad():
            module.weight.fill_(1.0)
            module.bias.fill_(0.0)
        if persistent:
            module._gain = value
        else:
            module.register_buffer("gain", torch.tensor(value), persistent=False)
        return hashes({"architecture": module}, "memory")

    assert network(1.0) == network(1.0) != network(2.0)


def test_an_adversarial_view_goes_a_quarter_of_the_way_in_the_space_of_the_network():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 200))
    X *= 10 / np.linalg.norm(X, axis=1, keepdims=True)
    plan = plan_of(DCCS(2, augmentation="adversarial"), X)
    assert plan.data.kind == "embeddings"
    rows = plan.rows(X, torch.device("cpu"))
    reach = DCCS.constants(plan, rows, np.random.RandomState(0))["reach"]
    samples = rows.take(np.arange(60))
    tenth = torch.cdist(samples, samples).sort(dim=1).values[:, 10]
    torch.testing.assert_close(reach, tenth / 4, rtol=0.05, atol=0.0)  # neighbours by angle


@pytest.mark.parametrize("n_samples", [2, 3])
def test_a_small_batch_of_a_table_continues_the_training(n_samples):
    X = np.random.default_rng(0).normal(size=(60, 5))
    model = model_for(DMAE, init="samples").fit(X)
    assert model.partial_fit(X[:n_samples]).labels_.shape == (n_samples,)


def test_a_dataset_of_lists_keeps_whole_samples():
    X, y = digits()
    expected = model_for(DCEC).fit(X).labels_
    pairs = [[x, label] for x, label in zip(torch.from_numpy(X), y, strict=True)]
    for items in (X.tolist(), pairs, [(x, label) for x, label in pairs]):
        np.testing.assert_array_equal(model_for(DCEC).fit(Items(items)).labels_, expected)
    images = X.reshape(-1, 8, 8)
    for nested in (images.tolist(), [list(torch.from_numpy(image)) for image in images]):
        with pytest.raises(ValueError, match="Images need a channel axis"):
            model_for(DCEC).fit(Items(nested))


@clusters_may_die
def test_feature_maps_that_look_like_channels_last_are_taken_if_the_user_is_sure():
    X = np.random.default_rng(0).normal(size=(40, 6, 5, 4))
    with pytest.raises(ValueError, match=r"If they have 6 channels, set image_shape=\(6, 5, 4\)"):
        model_for(DCEC).fit(X)
    model = model_for(DCEC, image_shape=(6, 5, 4)).fit(X)
    assert model.image_shape_ == (6, 5, 4)
    assert model.predict(X).shape == (40,)
    with pytest.raises(ValueError, match=r"X.reshape\(-1, 6, 5, 4\)"):
        model_for(DCEC, image_shape=(6, 5, 4)).fit(X.reshape(40, -1))


class Tied(nn.Module):
    """A decoder with the transposed weights of an encoder."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.bias = encoder, nn.Parameter(torch.zeros(64))

    def forward(self, z):
        return z @ self.encoder.weight + self.bias


def test_shared_weights_are_trained_once():
    X, _ = digits()
    encoder = nn.Linear(64, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # torch warns about duplicates
        warnings.simplefilter("ignore", ConvergenceWarning)
        model_for(DCEC, architecture=(encoder, Tied(encoder))).fit(X)


@pytest.mark.parametrize("encoder", [nn.Identity(), nn.Linear(64, 64).requires_grad_(False)])
def test_networks_without_anything_to_train_are_refused(encoder):
    X, _ = digits()
    decoder = nn.Identity()
    with pytest.raises(ValueError, match="no parameter to train: change architecture"):
        model_for(DCEC, architecture=(encoder, decoder), n_components=64).fit(X)


@pytest.mark.parametrize("width", [5, 200])
def test_a_mixture_without_a_network_has_the_budget_of_its_start(width):
    X = np.random.default_rng(0).normal(size=(400, width))
    automatic = plan_of(DMAE(architecture=None), X)
    given = plan_of(DMAE(architecture=None, init="k-means"), X)
    assert automatic.settings() == given.settings()


def test_changes_in_a_dict_of_parameters_are_seen(tmp_path):
    X = np.random.default_rng(0).uniform(0, 24, size=(80, 2))
    hours = DMAE(
        3, dissimilarity="toroidal", dissimilarity_params={"period": 24.0}, architecture=None
    ).fit(X)
    hours.dissimilarity_params["period"] = 13.0
    with pytest.raises(ValueError, match="but the estimator was fitted with"):
        save_model(hours, tmp_path / "m.safetensors")
    hours.set_params(dissimilarity_params={"period": np.array([24.0, 24.0])})
    hours.fit(X).set_params(dissimilarity_params={"period": np.array([24.0, 24.0])})
    assert hours.partial_fit(X).labels_.shape == (80,)


def test_a_discriminator_is_built_without_a_change_of_the_encoder():
    module = FeatureEncoder(nn.Sequential(nn.Conv2d(1, 3, 8), nn.BatchNorm2d(3)), nn.Flatten())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert feature_shape(module, (1, 8, 8)) == (3, 1, 1)
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0.0, atol=0.0)


def test_stored_zeros_do_not_change_the_kind():
    rng = np.random.default_rng(0)
    X = sp.csr_array(np.hstack([np.eye(12)[rng.integers(12, size=300)] for _ in range(5)]))
    padded = sp.csr_array(
        (
            np.append(X.data, np.zeros(40)),
            np.append(X.indices, np.arange(20, 60)),
            np.append(X.indptr[:-1], X.nnz + 40),
        ),
        X.shape,
    )
    assert data_kind(X, None) == data_kind(padded, None) == "table"


def test_dccs_says_that_clusters_are_not_learned_yet():
    X, _ = digits()
    with pytest.warns(ConvergenceWarning, match="its clusters are not learned yet"):
        model_for(DCCS, callbacks=[CtrlC("pretrain")]).fit(X)


def scaled_words(x):
    return 2 * x


@clusters_may_die
def test_texts_are_only_reconstructed_with_a_function_as_augmentation():
    words = sp.random_array((80, 200), density=0.03, rng=np.random.default_rng(0), format="csr")
    model = model_for(DualAESpectral, augmentation=scaled_words).fit(words)
    assert model.settings_["kind"] == "bag of words"
    assert model.settings_["relative_weight"] == 0.0
    assert "information" not in model.history_[0].keys() | model.history_[-1].keys()
    assert model_for(DualAESpectral).fit(digits()[0]).settings_["relative_weight"] == 0.05


def test_bf16_on_vectors_does_not_explain_images():
    with pytest.raises(ValueError, match="needs images"):
        model_for(DCEC, architecture="conv", precision="bf16").fit(digits()[0])


@pytest.mark.parametrize("method", ["fit", "fit_predict", "fit_transform", "partial_fit"])
def test_a_warning_points_to_the_line_of_the_user(method):
    X, _ = digits()
    model = DMAE(4, architecture=None, clustering_weight=2.0, random_state=0)
    with pytest.warns(UserWarning, match="clustering_weight") as caught:
        getattr(model, method)(X)
    assert {w.filename for w in caught if "clustering_weight" in str(w.message)} == {__file__}


@pytest.mark.parametrize("name", ["module_", "image_shape_", "settings_"])
def test_an_unfitted_estimator_says_so(name):
    with pytest.raises(NotFittedError):
        getattr(DCEC(), name)


@pytest.mark.parametrize(("name", "value"), [("architecture", "conv"), ("augmentation", "affine")])
def test_what_vectors_cannot_have_is_refused_before_long_work(name, value, monkeypatch):
    monkeypatch.setattr(_fit, "input_graph", None)  # what takes seconds
    with pytest.raises(ValueError, match=f"{name}='{value}' needs images"):
        model_for(DCEC, **{name: value}).fit(digits()[0])


# ---------------------------------------------------------------- units, kinds and copies


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("dissimilarity", [manhattan, "manhattan", "mahalanobis"])
def test_a_mixture_of_samples_that_are_not_scaled_has_no_unit(dissimilarity, scale):
    """Steps of Adam are absolute: centers of large numbers stayed where they began."""
    X, y = make_blobs(400, centers=5, n_features=6, cluster_std=2.5, random_state=0)
    model = DMAE(
        5, dissimilarity=dissimilarity, architecture=None, scaling="none", random_state=0
    ).fit(scale * X)
    assert adjusted_rand_score(y, model.labels_) > 0.95


@pytest.mark.parametrize("dissimilarity", ["cosine", "correlation"])
def test_a_dissimilarity_of_directions_does_not_see_lengths(dissimilarity):
    """A step of Adam turned a short center further than a long one."""
    rng = np.random.default_rng(1)
    y = rng.integers(5, size=150)
    X = 3 * rng.normal(size=(5, 20))[y] + 2 * rng.normal(size=(150, 20))
    X = X * np.exp(3 * rng.normal(size=(150, 1)))
    if dissimilarity == "correlation":
        X = X + 300 * rng.normal(size=(150, 1))
    model = DMAE(5, dissimilarity=dissimilarity, architecture=None, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1.0


@clusters_may_die
def test_every_step_of_a_pretrain_target_is_seeded():
    X, _ = digits()
    target = make_pipeline(StandardScaler(), RBFSampler(n_components=4))
    model = model_for(DMAE, pretrain_target=target, pretrain_epochs=2, max_epochs=1)
    before = np.random.get_state()[1].copy()
    first, again = model.fit_transform(X), clone(model).fit_transform(X)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_calls_that_overlap_in_threads_restore_the_threads_of_torch():
    X, _ = digits()
    model = model_for(DCEC, pretrain_epochs=1, max_epochs=0, init="k-means").fit(X)

    def threads_of_a_new_thread():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    own = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with ThreadPoolExecutor(4) as pool:
            for answer in [pool.submit(model.predict, X) for _ in range(120)]:
                answer.result()
        assert (threads_of_a_new_thread(), torch.get_num_threads()) == (2, 2)
    finally:
        torch.set_num_threads(own)


@clusters_may_die
def test_memory_keeps_networks_of_other_versions_apart(tmp_path, monkeypatch):
    X, _ = digits()
    model = model_for(DCEC, init="k-means", max_epochs=0, memory=str(tmp_path))
    epochs = CountEpochs()
    model.set_params(callbacks=[epochs]).fit(X)
    trained, epochs.count = epochs.count, 0
    model.fit(X)
    assert (trained, epochs.count) == (6, 0)
    monkeypatch.setitem(_fit.VERSIONS, "skdeepcluster", "another")
    model.fit(X)
    assert epochs.count == 6


@pytest.mark.parametrize("density", [0.4, 0.9])
@pytest.mark.parametrize("values", [(-1.0, 1.0), (-1.0, -1.0), (1.0, 1.0)])
def test_sparse_and_dense_samples_are_of_one_kind(values, density):
    rng = np.random.default_rng(0)
    X = rng.choice(values, size=(300, 60))
    kept = np.argsort(rng.random(X.shape), axis=1) < density * 60  # the same number in each row
    X = X * kept
    assert data_kind(sp.csr_matrix(X), None) == data_kind(X, None)


def test_a_list_that_the_user_changes_is_not_the_fitted_parameter():
    X, _ = digits()
    widths = [16, 8]
    model = model_for(DCEC, hidden_units=widths, init="k-means", max_epochs=0, warm_start=True)
    model.fit(X)
    widths[0] = 7
    assert model.settings_["hidden_units"] == [16, 8]
    with pytest.raises(ValueError, match="hidden_units"):
        model.fit(X)


@each
def test_a_float32_parameter_is_the_same_number(estimator):
    X, _ = digits()
    rate = np.float32(1e-3)
    parameters = {"init": "k-means", "pretrain_epochs": 1, "max_epochs": 1, "n_init": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one = model_for(estimator, learning_rate=rate, **parameters).fit_transform(X)
        other = model_for(estimator, learning_rate=float(rate), **parameters).fit_transform(X)
    np.testing.assert_array_equal(one, other)


@each
def test_autocast_of_the_caller_changes_nothing(estimator):
    X, _ = digits()
    model = model_for(estimator, init="k-means", pretrain_epochs=1, max_epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = model.fit(X).transform(X)
        with torch.autocast("cpu", torch.bfloat16):
            np.testing.assert_array_equal(model.transform(X), expected)
            np.testing.assert_array_equal(clone(model).fit_transform(X), expected)
            assert torch.is_autocast_enabled("cpu")


def test_the_silhouette_of_a_tiny_cluster():
    X = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    X[0] = 100.0
    model = KMeans(2, init=X[:2], n_init=1).fit(X)
    assert np.bincount(model.labels_).min() == 1
    assert 0.8 < SilhouetteScorer(max_samples=100)(model, X) < 1
    assert SilhouetteScorer()(model, X[:2]) == -1.0
