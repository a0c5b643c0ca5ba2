"""Networks: sizes, shapes, initialisation."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from skdeepcluster.functional import student_t_assignment
from skdeepcluster.nn import (
    ClusteringAutoencoder,
    StudentTAssignment,
    conv_autoencoder,
    glorot_,
    mlp_autoencoder,
)


def n_parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def layers(module):
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    ]


# ------------------------------------------------------------------ convolutional


@pytest.mark.parametrize(("side", "count"), [(28, 275_979), (16, 262_539)])
def test_parameters_of_the_authors_networks(side, count):
    assert n_parameters(*conv_autoencoder((1, side, side), 10)) == count


@pytest.mark.parametrize(("side", "code"), [(28, 3), (16, 2)])
def test_layers_of_the_authors_networks(side, code):
    encoder, decoder = conv_autoencoder((1, side, side), 10)
    down, up = layers(encoder), layers(decoder)
    assert [type(layer) for layer in down] == [nn.Conv2d] * 3 + [nn.Linear]
    assert [type(layer) for layer in up] == [nn.Linear] + [nn.ConvTranspose2d] * 3
    assert [(c.out_channels, c.kernel_size, c.stride) for c in down[:3]] == [
        (32, (5, 5), (2, 2)),
        (64, (5, 5), (2, 2)),
        (128, (3, 3), (2, 2)),
    ]
    assert [(c.out_channels, c.kernel_size, c.stride) for c in up[1:]] == [
        (64, (3, 3), (2, 2)),
        (32, (5, 5), (2, 2)),
        (1, (5, 5), (2, 2)),
    ]
    assert down[3].in_features == up[0].out_features == code * code * 128
    # a ReLU after every layer but the embedding and the output
    assert sum(isinstance(layer, nn.ReLU) for layer in encoder.modules()) == 3
    assert sum(isinstance(layer, nn.ReLU) for layer in decoder.modules()) == 3


SIZES = [
    *((s, s) for s in range(1, 13)),
    *((1, s) for s in (2, 3, 5, 8, 17)),
    *((s, 1) for s in (2, 3, 5, 8, 17)),
    (2, 5),
    (5, 2),
    (3, 20),
    (7, 30),
    (9, 11),
    (17, 30),
    (21, 16),
    (28, 28),
    (31, 33),
]


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_image_comes_back_as_it_went_in(channels, height, width):
    encoder, decoder = conv_autoencoder((channels, height, width), 4)
    x = torch.rand(2, channels, height, width)
    with torch.no_grad():
        z = encoder(x)
        x_hat = decoder(z)
    assert z.shape == (2, 4)
    assert x_hat.shape == x.shape
    assert x_hat.isfinite().all()


def test_one_image_and_a_list_as_shape():
    encoder, decoder = conv_autoencoder([1, 8, 6], 3)
    assert decoder(encoder(torch.rand(1, 1, 8, 6))).shape == (1, 1, 8, 6)


@pytest.mark.parametrize("side", [5, 8])
def test_every_pixel_reaches_the_embedding(side):
    # a "valid" layer on an even side would drop the last rows
    encoder, _ = conv_autoencoder((1, side, side), 3)
    glorot_(encoder, torch.Generator().manual_seed(0))
    x = torch.ones(1, 1, side, side, requires_grad=True)
    # both signs, so that no unit's ReLU hides a pixel
    (encoder(x).abs().sum() + encoder(-x).abs().sum()).backward()
    assert (x.grad != 0).all()


# ------------------------------------------------------------------ fully connected


@pytest.mark.parametrize("hidden", [(500, 500, 2000), (8,), ()])
@pytest.mark.parametrize("shape", [(6,), (1, 4, 3)])
def test_mlp_widths(shape, hidden):
    encoder, decoder = mlp_autoencoder(shape, 10, hidden)
    widths = [math.prod(shape), *hidden, 10]
    down = [(layer.in_features, layer.out_features) for layer in layers(encoder)]
    up = [(layer.in_features, layer.out_features) for layer in layers(decoder)]
    assert down == list(itertools.pairwise(widths))
    assert up == [pair[::-1] for pair in down[::-1]]
    assert sum(isinstance(layer, nn.ReLU) for layer in encoder.modules()) == len(hidden)
    assert sum(isinstance(layer, nn.ReLU) for layer in decoder.modules()) == len(hidden)
    z = encoder(torch.rand(3, *shape))
    assert z.shape == (3, 10)
    assert decoder(z).shape == (3, *shape)


# ------------------------------------------------------------------ both

PAIRS = {
    "conv": lambda: conv_autoencoder((1, 9, 8), 10),
    "mlp": lambda: mlp_autoencoder((1, 9, 8), 10, (32, 16)),
}
BOTH = pytest.mark.parametrize("kind", PAIRS)


@BOTH
def test_the_embedding_and_the_output_are_linear(kind):
    encoder, decoder = PAIRS[kind]()
    assert isinstance(list(encoder.children())[-1], nn.Linear)
    last = [m for m in decoder.modules() if not list(m.children())]
    last = [m for m in last if not isinstance(m, nn.Unflatten)][-1]
    assert isinstance(last, nn.Linear if kind == "mlp" else nn.ConvTranspose2d)
    generator = torch.Generator().manual_seed(0)
    glorot_(encoder, generator)
    glorot_(decoder, generator)
    x = torch.rand(64, 1, 9, 8, generator=generator)
    with torch.no_grad():
        z = encoder(x)
        x_hat = decoder(z)
    for values in (z, x_hat):
        assert values.min() < 0 < values.max()


@BOTH
def test_glorot_limits_and_zero_biases(kind):
    for part in PAIRS[kind]():
        assert glorot_(part, torch.Generator().manual_seed(0)) is part
        for layer in layers(part):
            # Keras: limit^2 = 6 / (fan_in + fan_out), the fans times the kernel's area
            weight = layer.weight
            area = weight[0, 0].numel()
            limit = math.sqrt(6 / ((weight.shape[0] + weight.shape[1]) * area))
            assert weight.abs().max() <= limit
            # the largest of n uniform draws: below 1 - 20/n with probability e^-20
            assert weight.abs().max() >= limit * (1 - 20 / weight.numel())
            # uniform: variance limit^2 / 3, its relative error sqrt(0.8 / n), 6 sigma
            spread = weight.square().mean().item() / (limit**2 / 3)
            assert abs(spread - 1) <= 6 * math.sqrt(0.8 / weight.numel())
            assert (layer.bias == 0).all()


def test_glorot_leaves_other_layers_and_missing_biases_alone():
    module = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.PReLU())
    nn.init.constant_(module[1].bias, 0.5)
    others = copy.deepcopy(module[1:].state_dict())
    glorot_(module)
    assert module[0].bias is None
    for name, value in module[1:].state_dict().items():
        assert torch.equal(value, others[name])


@BOTH
def test_the_generator_decides_and_the_global_one_is_untouched(kind):
    part = PAIRS[kind]()[0]
    before = torch.random.get_rng_state()
    one, two, other = (
        copy.deepcopy(glorot_(part, torch.Generator().manual_seed(seed)).state_dict())
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    for name in one:
        assert torch.equal(one[name], two[name])
        assert name.endswith("bias") or not torch.equal(one[name], other[name])


def test_without_a_generator_the_global_one_decides():
    layer = nn.Linear(5, 5)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        first = glorot_(layer).weight.clone()
        second = glorot_(layer).weight.clone()
        torch.manual_seed(0)
        assert torch.equal(glorot_(layer).weight, first)
    assert not torch.equal(first, second)


# ------------------------------------------------------------------ assignment layer


def test_assignment_layer():
    assign = StudentTAssignment(3, 2)
    assert {name: tuple(p.shape) for name, p in assign.named_parameters()} == {"centers": (3, 2)}
    # a buffer: it goes with the module to disk and device, and is not trained
    assert {name: tuple(b.shape) for name, b in assign.named_buffers()} == {"frequencies": (3,)}
    with torch.no_grad():
        assign.centers.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]]))
    z = torch.randn(6, 2)
    assert torch.equal(assign(z), student_t_assignment(z, assign.centers))
    assign(z)[:, 0].sum().backward()
    assert assign.centers.grad.abs().min() > 0


def test_clustering_autoencoder():
    encoder, decoder = mlp_autoencoder((6,), 2, (8,))
    net = ClusteringAutoencoder(encoder, decoder, StudentTAssignment(3, 2))
    x = torch.rand(5, 6)
    z, q = net(x)
    assert torch.equal(z, encoder(x))
    assert torch.equal(q, net.assign(z))
    assert n_parameters(net) == n_parameters(encoder, decoder) + 6
    # the names that phases train by
    assert [name for name, _ in net.named_children()] == ["encoder", "decoder", "assign"]
