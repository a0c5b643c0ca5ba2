"""How networks are built: device, precision, seeds, and a user's encoder and decoder."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from _instances import plan_of
from torch import nn

from skdeepcluster import DCEC
from skdeepcluster._data.rows import Rows
from skdeepcluster._data.scaling import Scaler
from skdeepcluster._engine.architecture import build_autoencoder
from skdeepcluster._engine.device import (
    local_torch_seed,
    resolve_device,
    resolve_precision,
    seeded_layers,
)
from skdeepcluster.nn import conv_autoencoder, mlp_autoencoder

CPU = torch.device("cpu")
X = np.random.default_rng(0).normal(size=(20, 64))
BUILDERS = {"mlp": mlp_autoencoder, "conv": conv_autoencoder}


def rows_of(X, image_shape=None, *, resident=False):
    return Rows(X, Scaler.fit(X, "global"), image_shape, CPU, resident=resident)


def plan_with(architecture, **parameters):
    """The plan of a fit, before anything is built or refused."""
    estimator = DCEC(2, n_components=4, architecture="mlp", precision="32", **parameters)
    return plan_of(estimator, X).replace(architecture=architecture)


def precision(architecture="mlp", wanted="auto", **parameters):
    plan = plan_with(architecture, **parameters).replace(precision=wanted)
    return resolve_precision(plan, CPU)


def build(architecture, *, image_shape=None, hidden_units=(16,), seed=0):
    plan = plan_with(architecture, image_shape=image_shape, hidden_units=hidden_units)
    with seeded_layers(seed, CPU):  # as fit does
        return build_autoencoder(plan, rows_of(X, image_shape), 4, seed, builders=BUILDERS)


def weights(pair):
    return [value for part in pair for value in part.state_dict().values()]


def same(pair, other):
    return all(torch.equal(a, b) for a, b in zip(weights(pair), weights(other), strict=True))


@pytest.fixture
def float64_default():
    """As other code of a program may have set it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# ---------------------------------------------------------------- float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("convert", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_float32_whatever_the_default(dtype, convert, resident, float64_default):
    rows = rows_of(convert(np.abs(9 * X).astype(dtype)), resident=resident)
    assert rows.take(np.arange(3)).dtype == torch.float32
    assert {batch.dtype for _, batch in rows.padded_batches()} == {torch.float32}


CONVOLUTIONAL = {"image_shape": (1, 8, 8)}


@pytest.mark.parametrize(("name", "shape"), [("mlp", {}), ("conv", CONVOLUTIONAL)])
def test_our_networks_are_the_same_whatever_the_default(name, shape):
    expected = build(name, **shape)
    torch.set_default_dtype(torch.float64)
    try:
        built = build(name, **shape)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {value.dtype for value in weights(built)} == {torch.float32}
    assert same(built, expected)


def own_pair(shape=(64,), n_components=4):
    """A user's networks; with layers that have buffers."""
    encoder = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, n_components))
    return encoder, nn.Linear(n_components, 64)


@pytest.mark.parametrize("as_tuple", [True, False])
def test_a_users_networks_are_float32_whatever_the_default(as_tuple, float64_default):
    built = build(own_pair() if as_tuple else own_pair)
    kinds = {value.dtype for value in weights(built)}
    assert kinds == {torch.float32, torch.int64}  # BatchNorm counts its batches


def test_the_default_does_not_change_how_a_device_is_found(float64_default):
    assert resolve_device("cpu") == CPU
    with pytest.raises(ValueError, match="device='nowhere' cannot be used here"):
        resolve_device("nowhere")


# ---------------------------------------------------------------- bfloat16

FAST = {"avx512_bf16": True, "amx_bf16": False}


@pytest.mark.parametrize(
    ("capabilities", "expected"), [(FAST, "bf16"), ({"avx512_bf16": False}, "32"), ({}, "32")]
)
def test_auto_precision_follows_the_processor(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision() == expected


def test_auto_precision_without_get_capabilities(monkeypatch):
    """As in torch before 2.11."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert precision() == "32"
    assert precision(wanted="bf16") == "bf16"


@pytest.mark.parametrize(
    "layer", [nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear]
)
def test_auto_keeps_networks_of_users_in_float32(layer, monkeypatch):
    """They may convolve, and bfloat16 convolutions of narrow maps are wrong on CPU."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: FAST, raising=False)
    pair = (layer(1, 1, 3), nn.Identity()) if layer is not nn.Linear else own_pair()
    for architecture in (pair, lambda shape, m: pair):
        assert precision(architecture, image_shape=(1, 8, 8)) == "32"
        assert precision(architecture, "bf16", image_shape=(1, 8, 8)) == "bf16"


@pytest.mark.parametrize(("side", "expected"), [(4, "32"), (15, "32"), (16, "bf16")])
def test_auto_keeps_our_convolutions_of_narrow_images_in_float32(side, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: FAST, raising=False)
    plan = plan_of(DCEC(2, precision="32"), np.ones((20, 1, 16, side)))
    auto = plan.replace(architecture="conv", precision="auto")
    assert resolve_precision(auto, CPU) == expected
    assert resolve_precision(auto.replace(architecture="mlp"), CPU) == "bf16"


# ---------------------------------------------------------------- seeds


def layers(seed):
    """An autoencoder that draws from torch's global generator."""
    with seeded_layers(seed, CPU):
        return nn.Sequential(*mlp_autoencoder((64,), 8, (32, 16)))


def test_threads_build_the_layers_that_one_thread_builds():
    expected = [layers(seed).state_dict() for seed in range(40)]
    together = threading.Barrier(4)

    def build_ten(worker):
        together.wait()
        return [layers(seed).state_dict() for seed in range(10 * worker, 10 * worker + 10)]

    torch.manual_seed(7)
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(25):
            built = [state for states in pool.map(build_ten, range(4)) for state in states]
            for state, other in zip(built, expected, strict=True):
                assert all(torch.equal(state[name], other[name]) for name in other)
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_build_the_autoencoders_that_one_thread_builds():
    expected = [build(own_pair, seed=seed) for seed in range(20)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda seed: build(own_pair, seed=seed), range(20)))
    assert all(same(pair, other) for pair, other in zip(built, expected, strict=True))
    assert not same(built[0], built[1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seeded", [local_torch_seed, seeded_layers])
def test_the_callers_generator_is_restored(seeded):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)

    def fail():
        with seeded(5, CPU), seeded(6, CPU):  # nested
            assert not torch.equal(torch.rand(4), expected)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.rand(4), expected)


def test_our_networks_leave_the_generator_alone():
    before = torch.get_rng_state()
    assert same(build("mlp"), build("mlp"))
    assert not same(build("mlp"), build("mlp", seed=1))
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- a user's encoder and decoder


def test_lazy_layers_get_their_shapes():
    encoder, decoder = build((nn.LazyLinear(4), nn.LazyLinear(64)))
    assert encoder.weight.shape == (4, 64)
    assert decoder.weight.shape == (64, 4)
    assert encoder.training


def test_a_function_that_returns_the_same_networks_gets_copies():
    pair = own_pair()
    first, second = build(lambda shape, m: pair), build(lambda shape, m: pair)
    assert first[0] is not pair[0]
    assert first[0] is not second[0]
    assert same(first, pair)


class Variational(nn.Linear):
    def forward(self, x):
        return super().forward(x), 1.0


class AnyName(nn.Linear):
    """Attributes of a user's network may have any name."""

    features = assign = centers = generator = "an attribute"


def test_attributes_of_any_name():
    encoder, _ = build((AnyName(64, 4), nn.Linear(4, 64)))
    assert encoder.features == "an attribute"


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (nn.Linear(64, 4), r"architecture is one Linear.*tuple \(encoder, decoder\)"),
        ((nn.Linear(63, 4), nn.Linear(4, 64)), r"encoder fails .* shape \(2, 64\)"),
        ((nn.Linear(64, 4), nn.Linear(5, 64)), r"decoder fails .* shape \(2, 4\)"),
        ((nn.Linear(64, 5), nn.Linear(5, 64)), r"\(2, 64\) into \(2, 5\), but \(2, 4\) is needed"),
        ((nn.Linear(64, 4), nn.Linear(4, 63)), r"decoder gives shape \(2, 63\)"),
        ((Variational(64, 4), nn.Linear(4, 64)), "encoder returns an object of type tuple"),
        ((nn.Linear(64, 4), Variational(4, 64)), "decoder returns an object of type tuple"),
        ((nn.Linear(64, 4), 3), "must give a pair"),
        (lambda shape, m: None, "architecture gives None, but must give a pair"),
    ],
)
def test_networks_that_do_not_fit_are_refused(architecture, message):
    with pytest.raises(ValueError, match=message):
        build(architecture)


def test_hidden_units_that_are_no_widths_are_refused():
    with pytest.raises(ValueError, match=r"hidden_units=\(0,\) must hold positive integers"):
        build("mlp", hidden_units=(0,))
