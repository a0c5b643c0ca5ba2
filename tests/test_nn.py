"""Networks: sizes, shapes, initialisation."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from skdeepcluster.dissimilarities import resolve
from skdeepcluster.functional import student_t_assignment
from skdeepcluster.nn import (
    ClusteringAutoencoder,
    DissimilarityMixture,
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


# ------------------------------------------------------------------ dissimilarity mixture


def mixture(name, *, log_determinant=False, k=4, m=3):
    """A mixture with parameters of no special values."""
    generator = torch.Generator().manual_seed(0)
    assign = DissimilarityMixture(k, m, resolve(name), log_determinant=log_determinant)
    with torch.no_grad():
        for parameter in assign.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        assign.alpha.fill_(0.7)
    return assign


def points(n, m=3):
    return torch.randn(n, m, generator=torch.Generator().manual_seed(1))


def by_numpy(assign, z):
    """Lara and Gonzalez 2020, in float64: precisions, dissimilarities, biases, equation 3."""
    wide = {name: value.double().numpy() for name, value in assign.state_dict().items()}
    weights = np.exp(wide["logits"]) / np.exp(wide["logits"]).sum()
    difference = z.double().numpy()[:, None] - wide["centers"]
    precisions, bias = None, np.log(weights)
    if "factors" in wide:
        precisions = np.stack([factor @ factor.T for factor in wide["factors"]])
        determinants = np.linalg.det(precisions)
        if assign.log_determinant:
            # pi_k times the normaliser of a Gaussian, without its constant
            bias = np.log(weights * np.sqrt(determinants))
        else:
            precisions /= determinants[:, None, None] ** (1 / z.shape[1])
        distances = np.einsum("nki,kij,nkj->nk", difference, precisions, difference)
    elif assign.dissimilarity.name == "manhattan":
        distances = np.abs(difference).sum(axis=2)
    else:
        distances = np.square(difference).sum(axis=2)
    kernel = np.exp(bias) * np.exp(-wide["alpha"] * distances)
    return precisions, distances, bias, kernel / kernel.sum(axis=1, keepdims=True)


MIXTURES = pytest.mark.parametrize(
    ("name", "log_determinant"),
    [("sqeuclidean", False), ("manhattan", False), ("mahalanobis", False), ("mahalanobis", True)],
)
# float32 sums of a few products, of the order of 10
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@MIXTURES
def test_responsibilities_are_equation_3(name, log_determinant):
    assign, z = mixture(name, log_determinant=log_determinant), points(6)
    _, distances, bias, q = by_numpy(assign, z)
    with torch.no_grad():
        np.testing.assert_allclose(assign.distances(z), distances, **CLOSE)
        np.testing.assert_allclose(assign.bias(), bias, **CLOSE)
        np.testing.assert_allclose(assign(z), q, **CLOSE)


@MIXTURES
def test_the_distance_to_the_average_is_that_to_averaged_parameters(name, log_determinant):
    """Equation 11 for centers and for precisions, which are never formed for each sample."""
    assign, z = mixture(name, log_determinant=log_determinant), points(6)
    q = points(6, 4).softmax(dim=1)
    precisions = by_numpy(assign, z)[0]
    wide = q.double().numpy()
    difference = (z - q @ assign.centers.detach()).double().numpy()
    if precisions is not None:
        average = np.einsum("nk,kij->nij", wide, precisions)
        expected = np.einsum("ni,nij,nj->n", difference, average, difference)
    elif name == "manhattan":
        expected = np.abs(difference).sum(axis=1)
    else:
        expected = np.square(difference).sum(axis=1)
    with torch.no_grad():
        np.testing.assert_allclose(assign.distance_to_average(z, q), expected, **CLOSE)


def test_precisions_have_determinant_one_unless_the_normaliser_is_there():
    fixed, free = (mixture("mahalanobis", log_determinant=free) for free in (False, True))
    z = points(2)
    with torch.no_grad():
        np.testing.assert_allclose(torch.linalg.det(fixed.precisions()), np.ones(4), rtol=1e-4)
        for assign in (fixed, free):
            np.testing.assert_allclose(assign.precisions(), by_numpy(assign, z)[0], **CLOSE)
        # so the loss cannot shrink them
        before = fixed.distances(z)
        fixed.factors.mul_(0.1)
        np.testing.assert_allclose(fixed.distances(z), before, rtol=1e-4)


def test_a_gaussian_mixture_has_the_responsibilities_of_its_densities():
    assign, z = mixture("mahalanobis", log_determinant=True), points(6)
    assign.alpha.fill_(0.5)
    with torch.no_grad():
        weights, precisions = assign.logits.softmax(dim=0), assign.precisions()
        normals = torch.distributions.MultivariateNormal(
            assign.centers.double(), precision_matrix=precisions.double()
        )
        joint = weights * normals.log_prob(z.double()[:, None]).exp()
        q = joint / joint.sum(dim=1, keepdim=True)
        np.testing.assert_allclose(assign(z), q, **CLOSE)


@MIXTURES
def test_gradients_reach_all_parameters_and_are_finite_at_a_center(name, log_determinant):
    assign = mixture(name, log_determinant=log_determinant)
    z = torch.cat([points(6), assign.centers.detach()])
    assign(z)[:, 0].log().sum().backward()
    for parameter in assign.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0


@MIXTURES
def test_responsibilities_of_a_high_alpha_are_finite_and_hard(name, log_determinant):
    assign = mixture(name, log_determinant=log_determinant)
    z = points(6)
    assign.alpha.fill_(1e6)
    with torch.no_grad():
        q = assign(z)
        nearest = assign.distances(z).argmin(dim=1)
    assert torch.equal(q.round(), torch.nn.functional.one_hot(nearest, 4).float())
    assert torch.allclose(q.sum(dim=1), torch.ones(6))


def test_what_of_a_mixture_is_trained_and_what_is_stored():
    names = ["centers", "logits", "factors"]
    assign = mixture("mahalanobis")
    assert [name for name, _ in assign.named_parameters()] == names
    assert [name for name, _ in mixture("cosine").named_parameters()] == names[:2]
    # buffers: they go with the module to disk and device, and are not trained
    assert [name for name, _ in assign.named_buffers()] == ["alpha", "scale"]
    assert assign.factors.shape == (4, 3, 3)


def test_a_mixture_of_one_component_and_a_batch_of_one():
    for name in ("mahalanobis", "manhattan"):
        assign, z = mixture(name, k=1), points(1)
        with torch.no_grad():
            assert assign(z).tolist() == [[1.0]]
            average = assign.distance_to_average(z, assign(z))
            np.testing.assert_allclose(average, assign.distances(z)[0], **CLOSE)
