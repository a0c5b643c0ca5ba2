"""DCEC: what its paper and its documentation say."""

import copy
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from _instances import BatchNormPair, digits, small
from scipy.special import xlogy
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from skorch.callbacks import Callback
from torch import nn

from skdeepcluster import DCEC
from skdeepcluster._engine import method, trainer
from skdeepcluster._start import pretraining
from skdeepcluster.augment import random_masking
from skdeepcluster.metrics import clustering_accuracy

DATA = Path(__file__).parents[1] / "data"  # made by doc/benchmarks/fetch.py


def dcec(**parameters):
    defaults = {"n_clusters": 4, "random_state": 0, "tol": 0.0, "init": "k-means"}
    return small(DCEC, **{**defaults, **parameters})


def same_partition(left, right):
    return adjusted_rand_score(left, right) == 1.0


class Watch(Callback):
    """The module at the begin and the end of each epoch of a phase, and the run's targets."""

    def __init__(self, phase):
        self.phase = phase
        self.begun, self.ended, self.targets, self.optimizers = [], [], [], []

    def on_epoch_begin(self, net, **kwargs):
        if net.phase.name == self.phase:
            self.begun.append(copy.deepcopy(net.module_))
            self.targets.append({k: v.numpy().copy() for k, v in net.run.targets.items()})
            (step,) = net.phase.steps
            optimizer = net.optimizer_of(step)
            self.optimizers.append((optimizer, len(optimizer.state)))

    def on_epoch_end(self, net, **kwargs):
        if net.phase.name == self.phase:
            self.ended.append(copy.deepcopy(net.module_))


class RestingEncoder(Callback):
    """Keeps the encoder as it is in the clustering phase."""

    def on_grad_computed(self, net, **kwargs):
        if net.phase.name == "cluster":
            net.module_.encoder.zero_grad()


def numpy_assignment(Z, centers):
    distances = np.square(Z[:, None].astype(float) - centers).sum(axis=2)
    kernel = 1 / (1 + distances)
    return kernel / kernel.sum(axis=1, keepdims=True)


def numpy_target(q):
    weight = q**2 / q.sum(axis=0)
    return weight / weight.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------- CAE + k-means


@pytest.mark.parametrize("parameters", [{}, {"image_shape": (8, 8), "architecture": "conv"}])
def test_no_clustering_epochs_is_autoencoder_and_k_means(parameters):
    X, _ = digits()
    model = dcec(max_epochs=0, **parameters).fit(X)
    Z = model.transform(X).astype(np.float32)
    by_k_means = KMeans(4, n_init=100, random_state=1).fit(Z)
    distances = np.square(Z[:, None] - model.cluster_centers_).sum(axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), model.labels_)
    # a fixed point of k-means, and as good as the best of 100 runs
    means = np.stack([Z[model.labels_ == k].mean(axis=0) for k in range(4)])
    np.testing.assert_allclose(model.cluster_centers_, means, atol=1e-3)
    inertia = distances.min(axis=1).sum()
    assert inertia <= 1.01 * by_k_means.inertia_
    assert [row["phase"] for row in model.history_] == ["pretrain"] * 6
    assert not model.converged_


def test_no_clustering_epochs_equals_k_means_exactly():
    X, _ = make_blobs(80, centers=4, n_features=6, random_state=0)
    model = dcec(max_epochs=0).fit(X)
    expected = KMeans(4, n_init=20, random_state=0).fit_predict(model.transform(X))
    assert same_partition(expected, model.labels_)


def test_zero_gamma_without_a_moving_embedding_keeps_the_start():
    """Spec section 8: gamma=0 reproduces CAE + k-means; the decoder alone is trained on."""
    X, _ = digits()
    start = dcec(max_epochs=0).fit(X)
    watch = Watch("cluster")
    model = dcec(gamma=0.0, callbacks=[watch]).fit(X)
    # the phase starts from the same network and centers, and gamma=0 does not move the centers
    np.testing.assert_array_equal(model.cluster_centers_, start.cluster_centers_)
    assert all(row["clustering"] == 0 for row in model.history_ if row["phase"] == "cluster")
    assert all(torch.equal(m.assign.centers, watch.begun[0].assign.centers) for m in watch.ended)
    still = dcec(gamma=0.0, callbacks=[RestingEncoder()]).fit(X)
    np.testing.assert_array_equal(still.labels_, start.labels_)
    np.testing.assert_array_equal(still.transform(X), start.transform(X))


def test_no_weight_at_all_is_refused():
    with pytest.raises(ValueError, match=r"gamma=0.*reconstruction_weight=0.*nothing to minimise"):
        dcec(gamma=0.0, reconstruction_weight=0.0).fit(digits()[0])


# ---------------------------------------------------------------- the clustering phase


def test_labels_are_nearest_centers():
    X, _ = digits()
    model = dcec().fit(X)
    distances = np.linalg.norm(model.transform(X)[:, None] - model.cluster_centers_, axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), model.labels_)


def test_target_is_that_of_all_samples():
    X, _ = digits()
    watch = Watch("cluster")
    dcec(callbacks=[watch]).fit(X)
    for module, targets in zip(watch.begun, watch.targets, strict=True):
        assert targets["p"].shape == (82, 4)
        np.testing.assert_allclose(targets["p"], numpy_target(targets["q"]), rtol=1e-5)
        np.testing.assert_allclose(
            module.assign.frequencies.numpy(), targets["q"].sum(axis=0), rtol=1e-5
        )
    assert not np.array_equal(watch.targets[0]["p"], watch.targets[1]["p"])


def test_target_waits_for_the_update_interval():
    watch = Watch("cluster")
    model = dcec(update_interval=2, max_epochs=5, callbacks=[watch]).fit(digits()[0])
    p = [targets["p"] for targets in watch.targets]
    same = [np.array_equal(a, b) for a, b in itertools.pairwise(p)]
    assert same == [True, False, True, False]
    known = [row["cluster_sizes"] is not None for row in model.history_[-5:]]
    assert known == [False, True, False, True, True]


def test_answers_are_those_of_numpy():
    X, _ = digits()
    model = dcec().fit(X)
    q = numpy_assignment(model.transform(X), model.cluster_centers_)
    np.testing.assert_allclose(model.predict_proba(X), q, atol=1e-5)
    np.testing.assert_array_equal(q.argmax(axis=1), model.labels_)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 0.0), (0.0, 2.0)])
def test_score_is_minus_the_objective(weights):
    X, _ = digits()
    gamma, reconstruction_weight = weights
    model = dcec(
        gamma=gamma, reconstruction_weight=reconstruction_weight, scaling="none",
        augmentation=None, pretrain_epochs=20,
    ).fit(X)  # fmt: skip
    q = model.predict_proba(X)
    p = numpy_target(q)
    error = np.square(model.inverse_transform(model.transform(X)) - X).mean()
    divergence = (xlogy(p, p) - p * np.log(q)).sum(axis=1).mean()
    expected = -(reconstruction_weight * error + gamma * divergence)
    np.testing.assert_allclose(model.score(X), expected, rtol=1e-4)


@pytest.mark.parametrize("parameters", [{"max_epochs": 0}, {}])
def test_score_of_the_start_partition_uses_its_frequencies(parameters):
    X, _ = make_blobs(90, centers=[[0] * 4, [6] * 4], n_features=4, random_state=0)
    X = np.concatenate([X, X[:1].repeat(60, axis=0)])  # unbalanced
    model = dcec(n_clusters=2, reconstruction_weight=0.0, **parameters).fit(X)
    q = model.predict_proba(X)
    p = numpy_target(q)
    expected = -(xlogy(p, p) - p * np.log(q)).sum(axis=1).mean()
    np.testing.assert_allclose(model.score(X), expected, rtol=1e-3, atol=1e-7)


def test_losses_have_the_authors_normalisation():
    """Equation 5 as in their code: mean over pixels, divergence summed over clusters."""
    X, _ = digits()
    watch = Watch("cluster")
    model = dcec(gamma=0.1, batch_size=82, scaling="none", max_epochs=1, callbacks=[watch])
    model.fit(X)
    (module,) = watch.begun
    with torch.no_grad():
        z, q = module(torch.from_numpy(X.astype(np.float32)))
        error = np.square(module.decoder(z).numpy() - X).mean()
    q = q.numpy().astype(float)
    p = numpy_target(q)
    row = model.history_[-1]
    np.testing.assert_allclose(row["reconstruction"], error, rtol=1e-2)
    divergence = 0.1 * (p * np.log(p / q)).sum() / len(X)
    np.testing.assert_allclose(row["clustering"], divergence, rtol=2e-2)


def test_fresh_optimiser_for_the_clustering_phase():
    pretrain, cluster = Watch("pretrain"), Watch("cluster")
    dcec(callbacks=[pretrain, cluster]).fit(digits()[0])
    assert pretrain.optimizers[0][0] is not cluster.optimizers[0][0]
    assert cluster.optimizers[0][1] == 0
    assert cluster.optimizers[1][1] > 0
    assert isinstance(cluster.optimizers[0][0], torch.optim.Adam)


def test_centers_are_parameters_that_move():
    watch = Watch("cluster")
    model = dcec(callbacks=[watch]).fit(digits()[0])
    centers = watch.begun[0].assign.centers
    assert isinstance(centers, nn.Parameter)
    assert not torch.equal(centers, watch.ended[0].assign.centers)
    assert any(p is model.module_.assign.centers for p in model.module_.parameters())
    held = [p for group in watch.optimizers[0][0].param_groups for p in group["params"]]
    assert len(held) == len(list(watch.begun[0].parameters()))


def test_centers_stay_in_pretraining():
    watch = Watch("pretrain")
    dcec(callbacks=[watch]).fit(digits()[0])
    assert torch.equal(watch.begun[0].assign.centers, watch.ended[-1].assign.centers)
    held = [p for group in watch.optimizers[0][0].param_groups for p in group["params"]]
    assert len(held) == len(list(watch.begun[0].parameters())) - 1


def test_stop_rule(monkeypatch):
    monkeypatch.setattr(trainer, "_FEWEST_UPDATES", 0)
    X, _ = digits()
    # label_change is a share below 1 after the first epoch
    at_once = dcec(tol=1.0, max_epochs=3).fit(X)
    assert at_once.converged_
    assert at_once.n_iter_ == 6 + 1
    # nothing is below 0
    never = dcec(tol=0.0, max_epochs=3).fit(X)
    assert not never.converged_
    assert never.n_iter_ == 6 + 3
    rule = dcec(tol=0.02, max_epochs=40).fit(X)
    changes = [row["label_change"] for row in rule.history_ if row["phase"] == "cluster"]
    assert rule.converged_
    assert changes[-1] < 0.02
    assert all(change >= 0.02 for change in changes[:-1])


def test_no_stop_before_100_updates():
    X, _ = digits()
    # 6 batches an epoch; tol=1 stops wherever it may
    assert dcec(tol=1.0, max_epochs=40).fit(X).n_iter_ == 6 + math.ceil(100 / 6)


def test_label_change_is_that_of_the_labels():
    X, _ = digits()
    watch = Watch("cluster")
    model = dcec(callbacks=[watch], max_epochs=4, learning_rate=1e-2).fit(X)
    labels = [targets["q"].argmax(axis=1) for targets in watch.targets] + [model.labels_]
    rows = model.history_[-4:]
    expected = [np.mean(a != b) for a, b in itertools.pairwise(labels)]
    np.testing.assert_allclose([row["label_change"] for row in rows], expected)
    sizes = [tuple(np.bincount(ls, minlength=4)) for ls in labels[1:]]
    assert [row["cluster_sizes"] for row in rows] == sizes


def test_dec_leaves_the_decoder_alone():
    watch = Watch("cluster")
    model = dcec(reconstruction_weight=0.0, callbacks=[watch]).fit(digits()[0])
    before, after = watch.begun[0].decoder.state_dict(), model.module_.decoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    encoder = watch.begun[0].encoder.state_dict()
    assert not all(
        torch.equal(value, model.module_.encoder.state_dict()[name])
        for name, value in encoder.items()
    )
    assert "reconstruction" not in model.history_[-1]


def test_dec_keeps_the_buffers_of_the_decoder():
    watch = Watch("cluster")
    model = dcec(reconstruction_weight=0.0, architecture=BatchNormPair(), callbacks=[watch])
    model.fit(digits()[0])
    before, after = watch.begun[0].decoder.state_dict(), model.module_.decoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_gamma_weighs_the_clustering_loss():
    X, _ = digits()
    embeddings = [dcec(gamma=gamma).fit(X).transform(X) for gamma in (0.0, 1.0, 100.0)]
    assert not np.array_equal(embeddings[0], embeddings[1])
    assert not np.array_equal(embeddings[1], embeddings[2])


# ---------------------------------------------------------------- architecture


def layers(part, kind):
    return [layer for layer in part.modules() if isinstance(layer, kind)]


def test_mlp_is_idec():
    model = dcec(architecture="mlp", hidden_units=(50, 40, 30), max_epochs=1).fit(digits()[0])
    shapes = [tuple(layer.weight.shape) for layer in layers(model.module_.encoder, nn.Linear)]
    assert shapes == [(50, 64), (40, 50), (30, 40), (4, 30)]
    shapes = [tuple(layer.weight.shape) for layer in layers(model.module_.decoder, nn.Linear)]
    assert shapes == [(30, 4), (40, 30), (50, 40), (64, 50)]
    assert isinstance(model.module_.encoder[-1], nn.Linear)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (2, 5, 3)])
def test_conv_takes_images_of_any_shape(shape):
    X = np.random.RandomState(0).uniform(size=(40, *shape)).astype(np.float32)
    model = dcec(n_clusters=2, architecture="conv", pretrain_epochs=1, max_epochs=0).fit(X)
    assert model.image_shape_ == shape
    assert len(layers(model.module_.encoder, nn.Conv2d)) == 3
    assert model.inverse_transform(model.transform(X)).shape == X.shape


def test_auto_architecture():
    images = np.random.RandomState(0).uniform(size=(20, 1, 33, 34)).astype(np.float32)
    quick = {"n_clusters": 2, "pretrain_epochs": 1, "max_epochs": 0}
    assert layers(dcec(**quick, max_pixels=None).fit(images).module_, nn.Conv2d)
    assert not layers(dcec(**quick).fit(images).module_, nn.Conv2d)  # averaged to 31 x 32
    assert not layers(dcec(**quick).fit(images[:, :, :32, :32]).module_, nn.Conv2d)
    assert not layers(dcec(**quick).fit(images.reshape(20, -1)).module_, nn.Conv2d)


def test_flat_rows_with_image_shape_equal_images():
    X, _ = digits()
    flat = dcec(image_shape=(8, 8)).fit(X)
    images = dcec().fit(X.reshape(-1, 1, 8, 8))
    np.testing.assert_array_equal(flat.labels_, images.labels_)
    np.testing.assert_array_equal(flat.transform(X), images.transform(X.reshape(-1, 1, 8, 8)))
    np.testing.assert_array_equal(flat.predict(X.reshape(-1, 1, 8, 8)), flat.labels_)


def test_conv_refuses_vectors():
    with pytest.raises(ValueError, match=r"architecture='conv' needs images.*image_shape"):
        dcec(architecture="conv").fit(digits()[0])


def test_starts_with_glorot_weights_and_zero_biases():
    watch = Watch("pretrain")
    dcec(callbacks=[watch], hidden_units=(50,)).fit(digits()[0])
    for layer in layers(watch.begun[0], nn.Linear):
        limit = np.sqrt(6 / sum(layer.weight.shape))
        assert 0.9 * limit < float(layer.weight.detach().abs().max()) <= limit
        assert not layer.bias.any()


def _pair(m=4, features=64):
    return nn.Linear(64, m), nn.Linear(m, features)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (_pair(m=5), r"\(2, 4\) is needed.*n_components"),
        (_pair(features=63), "decoder gives shape"),
        ((nn.Linear(64, 4),), "a pair"),
        ((1, 2), "a pair"),
        (lambda shape, m: nn.Linear(64, 4), "a pair"),
    ],
)
def test_wrong_autoencoders_are_refused(architecture, message):
    with pytest.raises(ValueError, match=message):
        dcec(architecture=architecture).fit(digits()[0])


@pytest.mark.parametrize("hidden_units", [(0,), (-3,), ("wide",), (2.5,)])
def test_wrong_hidden_units_are_refused(hidden_units):
    with pytest.raises((ValueError, TypeError), match="hidden_units"):
        dcec(hidden_units=hidden_units).fit(digits()[0])


def test_users_modules_are_copied():
    encoder, decoder = _pair()
    before = encoder.weight.detach().clone()
    model = dcec(architecture=(encoder, decoder)).fit(digits()[0])
    assert torch.equal(encoder.weight, before)
    assert encoder.weight.grad is None
    assert model.module_.encoder is not encoder


def test_factory_gets_the_shape_of_a_sample():
    calls = []

    def factory(shape, n_components):
        calls.append((tuple(shape), n_components))
        return BatchNormPair()(shape, n_components)

    dcec(architecture=factory, max_epochs=0).fit(digits()[0].reshape(-1, 1, 8, 8))
    assert calls == [((1, 8, 8), 4)]


# ---------------------------------------------------------------- the paper's protocol


def test_paper_protocol():
    paper = DCEC.PAPER
    assert set(paper) <= set(DCEC().get_params())
    assert paper["gamma"] == 0.1
    assert (paper["pretrain_epochs"], paper["batch_size"], paper["tol"]) == (200, 256, 1e-3)
    assert (paper["learning_rate"], paper["learning_rate_schedule"]) == (1e-3, "constant")
    assert (paper["init"], paper["architecture"]) == ("k-means", "conv")
    assert paper["augmentation"] is None
    kept = copy.deepcopy(paper)
    X = digits()[0].reshape(-1, 1, 8, 8) / 16
    quick = {"pretrain_epochs": 15, "max_epochs": 2, "batch_size": 16}
    model = DCEC(4, **{**paper, **quick}, random_state=0).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert clone(DCEC(4, **paper)).get_params()["gamma"] == 0.1
    assert kept == paper


# ---------------------------------------------------------------- augmentation


@pytest.mark.parametrize("phase", ["pretrain", "cluster"])
def test_augmentation_is_used_in_both_phases(phase):
    X = digits()[0].reshape(-1, 1, 8, 8)
    current, seen = [], []

    class Phase(Callback):
        def on_epoch_begin(self, net, **kwargs):
            current.append(net.phase.name)

    def augmentation(x):
        assert x.shape[1:] == (1, 8, 8)
        assert x.dtype == torch.float32
        seen.append(current[-1])
        return x.flip(3)

    flipped = dcec(augmentation=augmentation, callbacks=[Phase()]).fit(X)
    assert seen.count(phase) == 6 * (6 if phase == "pretrain" else 3)
    none = dcec(augmentation=None).fit(X)
    assert not np.array_equal(flipped.transform(X), none.transform(X))


@pytest.mark.parametrize("augmentation", ["affine", "auto"])
def test_affine_is_random_and_the_default_for_images(augmentation):
    X = digits()[0].reshape(-1, 1, 8, 8)
    none, model = dcec(augmentation=None).fit(X), dcec(augmentation=augmentation).fit(X)
    assert not np.array_equal(none.transform(X), model.transform(X))
    again = dcec(augmentation="affine").fit(X)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def test_vectors_are_not_augmented():
    X, _ = digits()
    none, auto = dcec(augmentation=None).fit(X), dcec(augmentation="auto").fit(X)
    np.testing.assert_array_equal(none.transform(X), auto.transform(X))
    with pytest.raises(ValueError, match=r"augmentation='affine' needs images.*image_shape"):
        dcec(augmentation="affine").fit(X)


def test_masking_is_for_pretraining_and_the_default_for_bags_of_words(monkeypatch):
    masked, masking = [], random_masking

    def spy(x, generator):
        masked.append(len(x))
        return masking(x, generator)

    monkeypatch.setattr(pretraining, "random_masking", spy)
    words = np.eye(40, dtype=np.float32)[np.random.default_rng(0).integers(40, size=82)]
    for X, augmentation, is_masked in [
        (words, "auto", True),
        (words, None, False),
        (digits()[0], "auto", False),
        (digits()[0], "masking", True),
        (digits()[0].reshape(-1, 1, 8, 8), "masking", True),
    ]:
        masked.clear()
        dcec(augmentation=augmentation, init="k-means", learning_rate="auto").fit(X)
        assert sum(masked) == (6 * 82 if is_masked else 0)  # epochs of pretraining, of 6 and 3


@pytest.mark.parametrize(
    ("augmentation", "got"),
    [
        (lambda x: x[:1], r"\(1, 64\)|\[1, 64\]"),
        (lambda x: x[:, :1], r"\(16, 1\)|\[16, 1\]"),
        (lambda x: None, "nothing"),
    ],
)
def test_augmentation_must_keep_the_shape(augmentation, got):
    """A loss would broadcast, and train on nonsense without a word."""
    with pytest.raises(ValueError, match=rf"augmentation turned a batch .* into .*({got})"):
        dcec(augmentation=augmentation).fit(digits()[0])


def test_answers_are_not_augmented():
    X = digits()[0].reshape(-1, 1, 8, 8)
    model = dcec(augmentation="affine").fit(X)
    np.testing.assert_array_equal(model.transform(X), model.transform(X))


@pytest.mark.parametrize("phase", ["pretrain", "cluster"])
def test_targets_are_those_of_clean_samples(phase):
    """Reconstruction is towards the clean sample: an augmentation to 0 makes them all alike."""
    X = digits()[0].reshape(-1, 1, 8, 8)
    watch = Watch(phase)
    model = dcec(augmentation=lambda x: 0 * x, scaling="none", callbacks=[watch], max_epochs=1)
    model.set_params(pretrain_epochs=1)
    model.fit(X)
    rows = [row for row in model.history_ if row["phase"] == phase]
    assert rows[0]["reconstruction"] > 0.5 * np.square(X - X.mean(axis=0)).mean()


# ---------------------------------------------------------------- starts


def test_phases_of_the_inits():
    X, _ = digits()
    phases = {}
    for init in ("k-means", "graph", "overclustered"):
        model = dcec(init=init, max_epochs=1, batch_size=82).fit(X)
        phases[init] = list(dict.fromkeys(row["phase"] for row in model.history_))
    assert phases["k-means"] == phases["graph"] == ["pretrain", "cluster"]
    assert phases["overclustered"] == ["pretrain", "overcluster", "cluster"]


def test_auto_is_another_start_and_rate_for_each_kind():
    class Rates(Callback):
        def __init__(self):
            self.largest = 0.0

        def on_batch_end(self, net, training, **kwargs):
            rate = net.optimizer_of(net.step_).param_groups[0]["lr"]
            self.largest = max(self.largest, rate)

    words = np.eye(40, dtype=np.float32)[np.random.default_rng(0).integers(40, size=82)]
    expected = {
        "vectors": (digits()[0], ["pretrain", "overcluster", "cluster"], 3e-3),
        "images": (digits()[0].reshape(-1, 1, 8, 8), ["pretrain", "cluster"], 3e-3),
        "text": (words, ["pretrain", "cluster"], 1e-3),
    }
    for X, phases, rate in expected.values():
        rates = Rates()
        parameters = {"init": "auto", "learning_rate": "auto", "max_epochs": 1, "batch_size": 82}
        model = dcec(**parameters, callbacks=[rates]).fit(X)
        assert list(dict.fromkeys(row["phase"] for row in model.history_)) == phases
        assert rates.largest == pytest.approx(rate, rel=0.02)


def test_auto_width_is_10_or_for_words_and_images_the_number_of_clusters(tmp_path):
    words = np.eye(40, dtype=np.float32)[np.random.default_rng(0).integers(40, size=82)]
    model = dcec(n_components="auto", max_epochs=1, memory=str(tmp_path))
    # 12 after 11: a pretrained network of another width is not taken from memory
    for X, n_clusters, width in [
        (words, 3, 10),
        (words, 11, 11),
        (words, 12, 12),
        (digits()[0], 12, 10),
        (digits()[0].reshape(-1, 1, 8, 8), 12, 12),
    ]:
        model.set_params(n_clusters=n_clusters).fit(X)
        assert model.transform(X).shape == (82, width)


def test_starts_are_many_and_the_last_phase_is_one():
    watch = Watch("pretrain")
    cluster = Watch("cluster")
    model = dcec(init="graph", n_init=3, max_epochs=2, tol=0.0, callbacks=[watch, cluster])
    model.fit(digits()[0])
    assert len(watch.begun) == 3 * 6
    weights = [next(module.parameters()).detach() for module in watch.begun[::6]]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert len(cluster.begun) == 2
    assert [row["phase"] for row in model.history_] == ["pretrain"] * 6 + ["cluster"] * 2


@pytest.mark.parametrize(
    ("parameters", "learns_views"),
    [
        ({"init": "graph"}, True),
        ({"init": "overclustered"}, True),
        ({"init": "k-means"}, False),
        ({"init": "graph", "augmentation": None}, False),
    ],
)
def test_views_of_images_are_told_apart_in_pretraining(parameters, learns_views):
    images = digits()[0].reshape(-1, 1, 8, 8)
    model = dcec(
        **{"augmentation": "auto", "pretrain_epochs": "auto", "max_epochs": 0} | parameters
    )
    model.fit(images)
    pretraining = [row for row in model.history_ if row["phase"] == "pretrain"]
    assert all("reconstruction" in row for row in pretraining)
    assert ["information" in row for row in pretraining] == [learns_views] * len(pretraining)
    # 6 batches an epoch, which count as 8 where nothing compares the samples of a batch
    assert len(pretraining) == (math.ceil(700 / 6) if learns_views else math.ceil(2400 / 8))
    if learns_views:
        assert pretraining[-1]["information"] < 0.8 * pretraining[0]["information"]


def test_a_target_of_few_images_is_kept_for_32_batches():
    rows = digits()[0]
    looked = {}
    for name, X in {"vectors": rows, "images": rows.reshape(-1, 1, 8, 8)}.items():
        model = dcec(init="graph", augmentation="auto", max_epochs=12, batch_size=16).fit(X)
        cluster = [row for row in model.history_ if row["phase"] == "cluster"]
        looked[name] = [k for k, row in enumerate(cluster) if row["cluster_sizes"] is not None]
    # 6 batches in an epoch
    assert looked == {"vectors": [*range(12)], "images": [5, 11]}


def test_memory_shares_no_pretraining_between_starts_that_need_another(tmp_path):
    images = digits()[0].reshape(-1, 1, 8, 8)
    parameters = {"augmentation": "affine", "max_epochs": 0, "pretrain_epochs": 2}
    for init, learns_views in (("k-means", False), ("graph", True), ("overclustered", True)):
        model = dcec(**parameters, init=init, memory=str(tmp_path)).fit(images)
        assert ("information" in model.history_[0]) == learns_views


def test_auto_budgets_are_numbers_of_updates(monkeypatch):
    X, _ = digits()
    monkeypatch.setattr(method, "PRETRAIN_UPDATES", 50)
    monkeypatch.setattr(method, "CLUSTER_UPDATES", 31)
    parameters = {"pretrain_epochs": "auto", "max_epochs": "auto", "tol": 0.0}
    model = dcec(**parameters).fit(X)
    phases = [row["phase"] for row in model.history_]
    # 6 batches an epoch, which count as 8
    assert phases == ["pretrain"] * math.ceil(50 / 8) + ["cluster"] * math.ceil(31 / 8)
    # 9 batches an epoch of 10 rows
    model.set_params(batch_size=10, max_epochs=0).fit(X[:90])
    assert model.n_iter_ == math.ceil(50 / 9)


# ---------------------------------------------------------------- quality


@pytest.mark.parametrize("seed", range(3))
def test_blobs_are_found(seed):
    X, y = make_blobs(150, centers=4, n_features=10, random_state=seed)
    model = small(
        DCEC, n_clusters=4, random_state=seed, init="overclustered", n_init=2, batch_size=64
    )
    assert adjusted_rand_score(y, model.fit_predict(X)) == 1.0
    more, more_y = make_blobs(300, centers=4, n_features=10, random_state=seed)
    assert adjusted_rand_score(more_y, model.predict(more)) == 1.0


def test_scale_does_not_matter():
    X, y = make_blobs(150, centers=4, n_features=10, random_state=0)
    for scaled in (X * 1e-4, X * 1e5 + 1e6, X * np.logspace(0, 4, 10)):
        assert adjusted_rand_score(y, dcec().fit_predict(scaled)) == 1.0


def test_digits_better_than_chance_at_a_small_budget():
    X, y = load_digits(n_class=5, return_X_y=True)
    X, y = X[:300], y[:300]
    model = DCEC(
        5, image_shape=(8, 8), pretrain_epochs=40, max_epochs=10, init="graph", n_init=1,
        batch_size=64, hidden_units=(64,), random_state=0,
    )  # fmt: skip
    labels = model.fit_predict(X)
    assert clustering_accuracy(y, labels) > 0.8
    assert normalized_mutual_info_score(y, labels) > 0.7


def _scores(X, y, **parameters):
    scores = []
    for seed in range(5):
        labels = DCEC(10, random_state=seed, **parameters).fit_predict(X)
        scores.append((clustering_accuracy(y, labels), normalized_mutual_info_score(y, labels)))
    return np.array(scores)


@pytest.mark.slow
def test_digits_at_the_defaults():
    X, y = load_digits(return_X_y=True)
    accuracy = _scores(X, y, image_shape=(8, 8))[:, 0]
    assert accuracy.mean() >= 0.88, accuracy


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "usps.npz").exists(), reason="needs the USPS data")
def test_usps_at_the_defaults():
    with np.load(DATA / "usps.npz") as file:
        X, y = file["x"], file["y"]
    accuracy, information = _scores(X[:, None], y).T
    assert accuracy.mean() >= 0.965, accuracy
    assert information.mean() >= 0.925, information
    assert accuracy.min() >= 0.90, accuracy
