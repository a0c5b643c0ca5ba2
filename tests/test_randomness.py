"""One seed, one result: fits, streams of batches, and networks of the user that draw numbers."""

import pickle

import numpy as np
import pytest
import torch
from _instances import ESTIMATORS, BatchNormPair, digits, small
from sklearn.datasets import make_blobs
from skorch.callbacks import Callback
from torch import nn

from skdeepcluster import DMAE, load_model, save_model

each = pytest.mark.parametrize("estimator", ESTIMATORS)
streams = pytest.mark.parametrize(
    "parameters", [{}, {"architecture": None}], ids=["deep", "mixture"]
)


def blobs(seed=0):
    """Three clusters; the first column is the number of the sample."""
    X, _ = make_blobs(60, centers=8 * np.eye(3, 4), random_state=seed)
    return np.column_stack([np.arange(60) / 60, X]).astype(np.float32)


def stream_model(**parameters):
    defaults = {"n_clusters": 3, "init": "k-means", "scaling": "none", "random_state": 0}
    return small(DMAE, **{**defaults, **parameters})


def order_of(model, X):
    """The order in which partial_fit goes through the samples."""
    seen = []

    def augment(x):
        seen.extend((60 * x[:, 0]).round().int().tolist())
        return x

    augmentation = model.augmentation
    model.set_params(augmentation=augment).partial_fit(X)
    model.set_params(augmentation=augmentation)
    assert sorted(seen) == list(range(60))  # each sample once
    return seen


# ---------------------------------------------------------------- partial_fit


@streams
def test_each_partial_fit_has_an_order_of_its_own(parameters):
    X = blobs()
    model = stream_model(**parameters).partial_fit(X)
    orders = [order_of(model, X) for _ in range(4)]
    assert len({tuple(order) for order in orders}) == 4


@streams
def test_the_same_seed_gives_the_same_orders(parameters):
    orders = []
    for _ in range(2):
        model = stream_model(**parameters).partial_fit(blobs())
        orders.append([order_of(model, blobs(seed)) for seed in range(3)])
    assert orders[0] == orders[1]


@streams
def test_another_seed_gives_other_orders(parameters):
    X = blobs()
    models = [stream_model(random_state=seed, **parameters).partial_fit(X) for seed in (0, 1)]
    assert order_of(models[0], X) != order_of(models[1], X)


@streams
def test_two_streams_of_one_seed_are_equal(parameters):
    answers = []
    for _ in range(2):
        model = stream_model(**parameters)
        for seed in range(4):
            model.partial_fit(blobs(seed))
        X = blobs()
        answers.append((model.transform(X), model.predict_proba(X), model.cluster_centers_))
    np.testing.assert_equal(*answers)


@pytest.mark.parametrize("by", ["pickle", "file"])
def test_a_stream_goes_on_with_its_own_order_after_it_was_saved(by, tmp_path):
    X = blobs()
    model = stream_model().partial_fit(X).partial_fit(X)
    if by == "pickle":
        restored = pickle.loads(pickle.dumps(model))
    else:
        save_model(model, tmp_path / "model.safetensors")
        restored = load_model(tmp_path / "model.safetensors")
    orders = [order_of(restored, X), order_of(model, X)]
    assert orders[0] == orders[1]
    np.testing.assert_array_equal(restored.transform(X), model.transform(X))


def test_a_fit_after_a_stream_is_a_fit():
    """How many batches there were before does not change what fit draws."""
    X = blobs()
    expected = stream_model().fit(X).transform(X)
    model = stream_model().partial_fit(X).partial_fit(X).partial_fit(X)
    np.testing.assert_array_equal(model.fit(X).transform(X), expected)


# ---------------------------------------------------------------- fit


class Dropouts(Callback):
    """How many layers of dropout the network of a fit has."""

    def on_train_begin(self, net, **kwargs):
        self.count = sum(isinstance(layer, nn.Dropout) for layer in net.module_.modules())


@each
@pytest.mark.parametrize("architecture", ["auto", BatchNormPair()], ids=["own", "dropout"])
def test_the_same_seed_gives_the_same_fit(estimator, architecture):
    """Bit for bit, whatever the caller has drawn before; the user's factory draws weights too."""
    X, _ = digits()
    watch, fits = Dropouts(), []
    model = small(estimator, n_clusters=4, random_state=0, pretrain_epochs=2, max_epochs=2)
    model.set_params(architecture=architecture, callbacks=[watch])
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        model.fit(X)
        assert torch.equal(torch.get_rng_state(), before)
        fits.append((model.labels_, model.transform(X), model.history_))
    assert watch.count == (0 if architecture == "auto" else 1)
    np.testing.assert_equal(*fits)


@each
def test_another_seed_gives_another_fit_of_a_network_of_the_user(estimator):
    X, _ = digits()
    model = small(estimator, n_clusters=4, architecture=BatchNormPair())
    model.set_params(pretrain_epochs=1, max_epochs=1)
    embeddings = [model.set_params(random_state=seed).fit_transform(X) for seed in (0, 1)]
    assert not np.array_equal(*embeddings)
