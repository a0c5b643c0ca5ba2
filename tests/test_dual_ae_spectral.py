"""DualAESpectral: what its paper and its documentation say."""

import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from _instances import BatchNormPair, digits, small
from scipy import sparse
from scipy.linalg import eigh
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs, make_circles, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from skorch.callbacks import Callback
from torch import nn

from skdeepcluster import DualAESpectral, _dual_ae_spectral
from skdeepcluster._engine.phases import Run
from skdeepcluster._start import neighbors, views
from skdeepcluster._start.neighbors import nearest_neighbors
from skdeepcluster.functional import (
    contrastive_loss,
    entropy,
    gaussian_divergence,
    jensen_shannon_loss,
    neighbor_affinity,
    orthonormalizer,
    spectral_loss,
    squared_distances,
)
from skdeepcluster.metrics import clustering_accuracy
from skdeepcluster.nn import (
    Discriminator,
    FeatureEncoder,
    MixturePrior,
    SpectralAssignment,
    StudentTAssignment,
    dual_conv_autoencoder,
)

DATA = Path(__file__).parents[1] / "data"  # made by doc/benchmarks/fetch.py


def dual(**parameters):
    return small(DualAESpectral, **{"n_clusters": 4, "random_state": 0, **parameters})


def neighbors_of(features, n_neighbors):
    return nearest_neighbors(features, n_neighbors, np.random.RandomState(0))


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ---------------------------------------------------------------- equations


def test_orthonormal_columns():
    y = normal(256, 10)
    whiten = orthonormalizer(y, jitter=0.0)
    Y = y @ whiten
    torch.testing.assert_close(Y.T @ Y / 256, torch.eye(10, dtype=Y.dtype), atol=1e-9, rtol=0)
    # the span stays
    torch.testing.assert_close(torch.linalg.lstsq(y, Y).solution, whiten)


def test_orthonormal_columns_have_gradients():
    y = normal(6, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: y @ orthonormalizer(y, jitter=0.0), y)


@pytest.mark.parametrize(
    "y",
    [
        torch.eye(4)[torch.arange(20) % 3],  # the last cluster is empty in the batch
        torch.ones(20, 4),
        torch.zeros(20, 4),
        normal(2, 4),  # fewer rows than columns
    ],
)
def test_orthonormal_columns_of_a_batch_that_misses_some(y):
    y = y.clone().requires_grad_()
    Y = y.double() @ orthonormalizer(y)
    Y.sum().backward()
    assert torch.isfinite(Y).all()
    assert torch.isfinite(y.grad).all()


def test_jitter_grows_until_the_factor_exists():
    """Numerically negative eigenvalues, which the first jitter does not lift."""
    y = normal(5, 4)
    y[:, 1:] = y[:, :1]
    assert torch.isfinite(orthonormalizer(y, jitter=1e-18)).all()


def test_spectral_loss_is_the_trace_of_the_laplacian():
    n, k = 12, 3
    W = torch.rand(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    W = W + W.T
    W.fill_diagonal_(0)
    for _ in range(200):  # symmetric, rows and columns sum to one
        W = W / W.sum(1, keepdim=True)
        W = (W + W.T) / 2
    y = normal(n, k)
    Y = y @ orthonormalizer(y, jitter=0.0)
    neighbors = Y.expand(n, n, k)
    by_hand = (W * squared_distances(Y, Y)).sum() / n
    laplacian = torch.eye(n, dtype=W.dtype) - W
    torch.testing.assert_close(by_hand, 2 * (Y.T @ laplacian @ Y).trace() / n, rtol=1e-5, atol=0)
    torch.testing.assert_close(spectral_loss(Y, neighbors, W).mean(), by_hand, rtol=1e-5, atol=0)


def test_a_head_reaches_the_smallest_eigenvalues():
    """Two moons, one fixed batch, the head alone: within 5 % of what eigenvectors give."""
    X, _ = make_moons(256, noise=0.05, random_state=0)
    k = 2
    distances, index = neighbors_of(X, 6)
    affinity = neighbor_affinity(torch.from_numpy(distances**2), "probabilistic")
    index = torch.from_numpy(index[:, :5])
    W = torch.zeros(256, 256, dtype=torch.float64).scatter_(1, index, affinity)
    both = (W + W.T) / 2
    laplacian = torch.diag(both.sum(dim=1)) - both
    least = 2 * eigh(laplacian.numpy(), eigvals_only=True)[:k].sum()
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
    head = nn.Sequential(*head, nn.Linear(128, k)).double()
    x = torch.from_numpy((X - X.mean(0)) / X.std(0))
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(800):
        out = head(x)
        Y = out @ orthonormalizer(out, jitter=1e-9)
        loss = spectral_loss(Y, Y[index], affinity).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(least, abs=0.05)


def test_affinities():
    squares = torch.tensor([[1.0, 2.0, 4.0, 5.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    for kind in ("probabilistic", "self-tuned", "gaussian"):
        weights = neighbor_affinity(squares, kind)
        assert weights.shape == (3, 3)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
        assert (weights > 0).all() or kind == "probabilistic"
        torch.testing.assert_close(weights[1:], torch.full((2, 3), 1 / 3))
        assert (weights[0].diff() < 0).all()
    # Nie et al. 2016, equation 21
    torch.testing.assert_close(
        neighbor_affinity(squares[:1], "probabilistic"), torch.tensor([[4.0, 3.0, 1.0]]) / 8
    )
    by_hand = torch.tensor([1.0, 2.0, 4.0]).div(-2 * 5.0).exp()
    torch.testing.assert_close(
        neighbor_affinity(squares[:1], "self-tuned")[0], by_hand / by_hand.sum()
    )
    torch.testing.assert_close(
        neighbor_affinity(torch.tensor([[3.0]]), "gaussian"), torch.ones(1, 1)
    )


def test_contrastive_loss_by_hand():
    z, other = normal(3, 4), normal(3, 4, seed=1)
    both = torch.cat([z, other]).numpy()
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    similarity = both @ both.T / 0.2
    expected = []
    for i in range(3):
        terms = []
        for row, partner in ((i, i + 3), (i + 3, i)):
            others = np.delete(similarity[row], row)
            terms.append(np.log(np.exp(others).sum()) - similarity[row, partner])
        expected.append(np.mean(terms))
    np.testing.assert_allclose(contrastive_loss(z, other), expected, rtol=1e-6)
    # the length of an embedding plays no part
    torch.testing.assert_close(contrastive_loss(5 * z, other), contrastive_loss(z, other))


def test_jensen_shannon_loss_by_hand():
    joint, product = normal(3, 2), normal(3, 2, seed=1)
    sigmoid = torch.sigmoid
    by_hand = -(sigmoid(joint).log() + (1 - sigmoid(product)).log()).mean(dim=1)
    torch.testing.assert_close(jensen_shannon_loss(joint, product), by_hand)


def test_gaussian_divergence_is_that_of_torch():
    mean, log_variance = normal(4, 3), normal(4, 3, seed=1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    by_torch = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
    torch.testing.assert_close(gaussian_divergence(mean, log_variance), by_torch)


def test_mixture_prior_by_hand():
    prior = MixturePrior(2, 3).double()
    with torch.no_grad():
        prior.means.copy_(normal(2, 3, seed=2))
    mean, log_variance = normal(4, 3), normal(4, 3, seed=1)
    p = normal(4, 2, seed=3).softmax(dim=1)
    expected = sum(
        p[:, k] * (gaussian_divergence(mean - prior.means[k], log_variance) + (2 * p[:, k]).log())
        for k in range(2)
    )
    torch.testing.assert_close(prior(mean, log_variance, p), expected)


def test_entropy_of_certainty_has_a_gradient():
    logits = torch.tensor([[0.0, -1e4]], requires_grad=True)
    entropy(logits.softmax(dim=1)).sum().backward()
    assert torch.isfinite(logits.grad).all()


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("shape", "inner"),
    [
        ((1, 28, 28), (32, 7, 7)),
        ((1, 16, 16), (64, 4, 4)),
        ((3, 8, 8), (64, 2, 2)),
        ((3, 25, 31), (32, 7, 8)),
        ((1, 1, 5), (64, 1, 2)),
    ],
)
def test_convolutional_encoder(shape, inner):
    encoder, decoder = dual_conv_autoencoder(shape, 7)
    x = torch.zeros(2, *shape)
    assert encoder.features(x).shape == (2, *inner)
    assert encoder(x).shape == (2, 7)
    assert decoder(encoder(x)).shape == x.shape
    kernels = [layer.kernel_size for layer in encoder.features if isinstance(layer, nn.Conv2d)]
    assert set(kernels) == {(3, 3)}
    assert len(kernels) == (4 if min(shape[1:]) >= 24 else 2)


def test_discriminator_sees_features_and_latents():
    discriminator = Discriminator(3, 16)
    features, z = normal(4, 5, 3, dtype=torch.float32), normal(4, 16, dtype=torch.float32)
    scores = discriminator(features, z)
    assert scores.shape == (4, 5)
    assert not torch.allclose(discriminator(features, z + 1), scores)
    assert not torch.allclose(discriminator(features + 1, z), scores)
    assert sum(isinstance(layer, nn.Linear) for layer in discriminator.layers) == 4


def test_the_discriminators_learn():
    """On a frozen encoder the loss falls from chance, 2 ln 2 for each of the two."""
    X = load_digits(return_X_y=True)[0][:512]
    losses = []

    class Frozen(Callback):
        def on_grad_computed(self, net, **kwargs):
            for parameter in net.module_.encoder.parameters():
                parameter.grad = None

        def on_batch_end(self, net, **kwargs):
            losses.append(float(net.losses_["information"][-1]))

    dual(
        image_shape=(8, 8),
        mutual_information="jensen-shannon",
        augmentation=None,
        information_weight=1.0,
        n_components=64,
        pretrain_epochs=60,
        max_epochs=0,
        batch_size=128,
        learning_rate=1e-2,
        precision="32",
        callbacks=[Frozen()],
    ).fit(X)
    assert losses[0] == pytest.approx(2 * 2 * np.log(2), abs=0.1)
    assert np.mean(losses[-4:]) < 2 * 1.0


def test_places_only_where_there_is_a_map():
    X, _ = digits()
    parameters = {"mutual_information": "jensen-shannon", "max_epochs": 0, "pretrain_epochs": 1}
    assert set(dual(image_shape=(8, 8), **parameters).fit(X).module_.discriminators) == {
        "whole",
        "places",
    }
    for more in ({}, {"image_shape": (8, 8), "architecture": BatchNormPair()}):
        model = dual(**parameters, **more).fit(X)
        assert set(model.module_.discriminators) == {"whole"}
        first = model.module_.discriminators["whole"].layers[0]
        assert first.in_features == 64 + model.n_components


# ---------------------------------------------------------------- terms


def columns(model, phase):
    rows = [row for row in model.history_ if row["phase"] == phase]
    return set(rows[0]) - {"phase", "epoch", "label_change", "cluster_sizes"}


@pytest.mark.parametrize(
    ("off", "gone"),
    [
        ({}, set()),
        ({"mutual_information": None}, {"information"}),
        ({"information_weight": 0.0}, {"information"}),
        ({"relative_weight": 0.0}, {"relative"}),
        ({"relative_weight": 0.0, "reconstruction_weight": 0.0}, {"relative", "reconstruction"}),
        ({"prior_weight": 0.0}, {"prior"}),
        ({"balance_weight": 0.0}, {"balance"}),
    ],
)
def test_every_term_can_be_switched_off(off, gone):
    every = {"prior_weight": 0.1, "mutual_information": "jensen-shannon"}
    model = dual(**{"image_shape": (8, 8), **every, **off}).fit(digits()[0])
    stage_a = {"information", "reconstruction", "relative", "prior"}
    assert columns(model, "pretrain") == stage_a - gone
    assert columns(model, "cluster") == (stage_a | {"spectral", "balance"}) - gone


@pytest.mark.parametrize(
    "change",
    [
        {"noise": 0.0},
        {"affinity": "self-tuned"},
        {"affinity": "gaussian"},
        {"neighborhood": "batch"},
        {"n_neighbors": 2},
        {"balance_weight": 0.5},
        {"prior_weight": 0.5},
        {"mutual_information": None},
        {"mutual_information": "jensen-shannon"},
    ],
)
def test_every_parameter_acts(change):
    X, _ = digits()
    plain, changed = dual(augmentation=None).fit(X), dual(augmentation=None, **change).fit(X)
    assert not np.array_equal(plain.transform(X), changed.transform(X))


def test_second_views_are_neighbors_where_nothing_is_augmented():
    X, _ = digits()
    seen = []

    class Targets(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.append((net.phase.name, dict(net.run.targets)))

    dual(n_neighbors=3, callbacks=[Targets()]).fit(X)
    partners = dict(seen)["pretrain"]["partners"].numpy()
    scaled = X - X.mean(axis=0)
    np.testing.assert_array_equal(partners, neighbors_of(scaled.astype(np.float32), 3)[1])
    seen.clear()
    dual(image_shape=(8, 8), callbacks=[Targets()]).fit(X)
    assert dict(seen)["pretrain"] == {}


def test_neighbors_are_those_of_the_latents():
    X, _ = digits()
    found = []

    class Targets(Callback):
        def on_train_begin(self, net, **kwargs):
            if net.phase.name == "cluster":
                module = net.module_.eval()
                batches = [x for _, x in net.run.rows.padded_batches()]
                with torch.no_grad():
                    z = module.latent(torch.cat(batches))[: len(X)].numpy()
                found.append((z, net.run.targets["neighbors"].numpy()))
                module.train()

    dual(n_neighbors=4, callbacks=[Targets()]).fit(X)
    ((z, index),) = found
    np.testing.assert_array_equal(index, neighbors_of(z, 5)[1][:, :4])
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), np.sqrt(4), rtol=1e-5)


def test_neighbors_of_many_rows(monkeypatch):
    """Some are looked for among all; pynndescent takes their place where it is installed."""
    X = np.random.default_rng(0).normal(size=(50, 3))
    all_distances = np.linalg.norm(X[:, None] - X, axis=2)
    exact = neighbors_of(X, 4)
    monkeypatch.setattr(neighbors, "MANY_ROWS", 20)
    monkeypatch.setitem(sys.modules, "pynndescent", None)  # not installed
    distances, index = neighbors_of(X, 4)
    assert index.shape == (50, 4)
    assert index.dtype == np.int64
    assert len(np.unique(index)) <= 20
    assert (index != np.arange(50)[:, None]).all()
    np.testing.assert_allclose(distances, np.take_along_axis(all_distances, index, axis=1))
    assert (np.diff(distances) >= 0).all()
    some = np.unique(index)
    for row in range(50):
        others = np.setdiff1d(some, row)
        assert distances[row, 0] <= all_distances[row, others].min() + 1e-12

    calls = []

    class NNDescent:
        def __init__(self, features, n_neighbors, random_state, n_jobs):
            calls.append((len(features), n_neighbors, type(random_state), n_jobs))
            torch.set_num_threads(torch.get_num_threads() + 1)  # as numba does
            index = np.argsort(all_distances, axis=1)[:, :n_neighbors].astype(np.int32)
            self.neighbor_graph = index, np.take_along_axis(all_distances, index, axis=1)

    monkeypatch.setitem(sys.modules, "pynndescent", types.SimpleNamespace(NNDescent=NNDescent))
    threads = torch.get_num_threads()
    distances, index = neighbors_of(X, 4)
    assert torch.get_num_threads() == threads
    assert calls == [(50, 5, np.random.RandomState, 1)]
    np.testing.assert_array_equal(index, exact[1])
    np.testing.assert_allclose(distances, exact[0])


def test_neighbors_of_duplicates(monkeypatch):
    """A row need not be the first of those that are equal to it."""
    X = np.repeat(np.random.default_rng(0).normal(size=(6, 2)), 8, axis=0)
    monkeypatch.setitem(sys.modules, "pynndescent", None)
    for many in (100, 30):
        monkeypatch.setattr(neighbors, "MANY_ROWS", many)
        _, index = neighbors_of(X, 3)
        assert index.shape == (48, 3)
        assert (index != np.arange(48)[:, None]).all()


def test_no_neighbors_are_looked_for_when_training_is_over(monkeypatch):
    searches = []

    def search(features, *args):
        searches.append(features.shape[1])
        return nearest_neighbors(features, *args)

    for module in (views, _dual_ae_spectral):
        monkeypatch.setattr(module, "nearest_neighbors", search)
    X, _ = digits()
    model = small(DualAESpectral, n_clusters=4, max_epochs=3, tol=0.0, random_state=0).fit(X)
    # among the samples, then among the latents before each of the three epochs
    assert searches == [64, 4, 4, 4]
    assert model.history_[-1]["cluster_sizes"] is not None


@pytest.mark.parametrize("parameters", [{}, {"image_shape": (8, 8)}, {"mutual_information": None}])
def test_the_encoder_rests_where_views_are_neighbors(parameters):
    states = []

    class States(Callback):
        def on_train_begin(self, net, **kwargs):
            if net.phase.name == "cluster":
                states.append({k: v.clone() for k, v in net.module_.state_dict().items()})

    model = dual(callbacks=[States()], **parameters).fit(digits()[0])
    after = model.module_.state_dict()
    moved = {k.split(".")[0] for k, v in states[0].items() if not torch.equal(v, after[k])}
    joint = {"encoder", "decoder"} if parameters else set()
    assert moved - {"log_variance", "discriminators", "prior"} == {"assign"} | joint


# ---------------------------------------------------------------- the spectral embedding


def test_embedding_is_orthonormal_on_the_training_samples():
    X, _ = digits()
    model = dual().fit(X)
    Y = model.transform(X)
    assert Y.shape == (len(X), 4)
    np.testing.assert_allclose(Y.T @ Y / len(X), np.eye(4), atol=0.01)
    k_means = KMeans(4, init=model.cluster_centers_, n_init=1).fit(Y)
    assert adjusted_rand_score(k_means.labels_, model.labels_) == 1.0
    np.testing.assert_allclose(k_means.cluster_centers_, model.cluster_centers_, atol=1e-4)


def test_latent_embedding():
    X, _ = digits()
    spectral, latent = dual(n_components=6).fit(X), dual(n_components=6, embedding="latent").fit(X)
    np.testing.assert_array_equal(spectral.labels_, latent.labels_)
    Z = latent.transform(X)
    assert Z.shape == (len(X), 6)
    means = np.stack([Z[latent.labels_ == k].mean(axis=0) for k in range(4)])
    np.testing.assert_allclose(latent.cluster_centers_, means, atol=1e-5)
    assert latent.get_feature_names_out().shape == (6,)
    assert spectral.get_feature_names_out().shape == (4,)
    assert latent.inverse_transform(Z).shape == X.shape


def test_prototypes_are_decoded_from_the_mean_latents():
    X, _ = digits()
    model = dual(image_shape=(8, 8), pretrain_epochs=40).fit(X)
    decoded = model.inverse_transform(model.cluster_centers_)
    means = np.stack([X[model.labels_ == k].mean(axis=0) for k in range(4)])
    own = np.square(decoded - means).mean(axis=1)
    other = np.square(decoded - means[[1, 2, 3, 0]]).mean(axis=1)
    assert own.mean() < other.mean()


def test_no_spectral_phase_is_k_means_on_the_latents():
    X, _ = digits()
    model = dual(max_epochs=0, init="k-means", embedding="latent").fit(X)
    Z = model.transform(X)
    assert Z.shape == (len(X), 4)
    assert isinstance(model.module_.assign, StudentTAssignment)
    best = KMeans(4, n_init=20, random_state=0).fit(Z)
    inertia = np.square(Z - model.cluster_centers_[model.labels_]).sum()
    assert inertia == pytest.approx(best.inertia_, rel=1e-3)


def test_a_head_that_lost_outputs_is_a_collapse():
    X, _ = digits()
    model = dual().fit(X)
    assign = model.module_.assign
    assert isinstance(assign, SpectralAssignment)
    assert float(assign.variance) > 0
    with torch.no_grad():
        assign.head[-1].weight[2:] = assign.head[-1].weight[:2]
        assign.head[-1].bias[2:] = assign.head[-1].bias[:2]
    rows = model._model.rows(model._check(X))
    run = Run(model.module_, rows, model._model.plan)
    _dual_ae_spectral._eigenspace(run)
    assert len(run.assign().argmax(dim=1).unique()) == 2


def test_score_is_distance_and_reconstruction():
    X, _ = digits()
    model = dual(reconstruction_weight=0.3).fit(X)
    nearest = (
        np.square(model.transform(X)[:, None] - model.cluster_centers_).sum(axis=2).min(axis=1)
    )
    module, scaled = model.module_, torch.from_numpy(model._model.plan.scaler(X))
    with torch.no_grad():
        error = (module.decoder(module.latent(scaled)) - scaled).square().mean(dim=1).numpy()
    assert model.score(X) == pytest.approx(-(nearest + 0.3 * error).mean(), rel=1e-5)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("neighborhood", ["global", "batch"])
def test_a_handful_of_samples(n, neighborhood):
    X = np.random.default_rng(0).normal(size=(n, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = dual(n_clusters=2, neighborhood=neighborhood).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def test_one_cluster():
    X, _ = digits()
    model = dual(n_clusters=1).fit(X)
    assert set(model.labels_) == {0}


def test_sparse_text():
    X = sparse.random(60, 300, density=0.02, format="csr", random_state=0)
    model = dual(n_clusters=2).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.inverse_transform(model.cluster_centers_).shape == (2, 300)


@pytest.mark.parametrize("embedding", ["spectral", "latent"])
def test_the_paper_s_losses(embedding):
    X, _ = digits()
    quick = {"pretrain_epochs": 2, "max_epochs": 20, "n_components": 5, "batch_size": 32}
    model = DualAESpectral(
        4,
        image_shape=(8, 8),
        random_state=0,
        embedding=embedding,
        **{**DualAESpectral.PAPER, **quick},
    ).fit(X / 16)
    assert not model.module_.spherical
    assert isinstance(model.module_.encoder, FeatureEncoder)
    np.testing.assert_array_equal(model.predict(X / 16), model.labels_)


# ---------------------------------------------------------------- clusters


def test_blobs():
    X, y = make_blobs(300, centers=4, n_features=6, random_state=0)
    model = DualAESpectral(4, pretrain_epochs=30, max_epochs=20, random_state=0)
    assert adjusted_rand_score(y, model.fit_predict(X)) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "make",
    [
        lambda seed: make_moons(1000, noise=0.05, random_state=seed),
        lambda seed: make_circles(1000, noise=0.05, factor=0.5, random_state=seed),
    ],
    ids=["moons", "circles"],
)
def test_manifolds(make, seed):
    X, y = make(seed)
    model = DualAESpectral(2, random_state=seed).fit(X)
    assert clustering_accuracy(y, model.labels_) > 0.995
    fresh, of_fresh = make(seed + 100)
    assert clustering_accuracy(of_fresh, model.predict(fresh)) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_digits(seed):
    X, y = load_digits(return_X_y=True)
    labels = DualAESpectral(10, image_shape=(8, 8), random_state=seed).fit_predict(X)
    assert clustering_accuracy(y, labels) > 0.945
    assert normalized_mutual_info_score(y, labels) > 0.92


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "usps.npz").exists(), reason="needs the USPS data")
def test_usps():
    with np.load(DATA / "usps.npz") as archive:
        X, y = archive["x"], archive["y"]
    labels = DualAESpectral(10, random_state=0).fit_predict(X[:, None])
    assert clustering_accuracy(y, labels) > 0.97
    assert normalized_mutual_info_score(y, labels) > 0.935


def test_texts_without_any_loss_are_refused():
    # two views of a text are not compared, so the information has no part in the loss
    X = sparse.random(60, 300, density=0.02, format="csr", random_state=0)
    nothing = {"reconstruction_weight": 0.0, "relative_weight": 0.0, "prior_weight": 0.0}
    with pytest.raises(ValueError, match="reconstruction_weight"):
        small(DualAESpectral, n_clusters=3, **nothing).fit(X)
