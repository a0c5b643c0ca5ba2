"""Networks: sizes, shapes, initialisation."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from skdeepcluster.dissimilarities import resolve
from skdeepcluster.functional import student_t_assignment
from skdeepcluster.nn import (
    CategoryStyleNetwork,
    ClusteringAutoencoder,
    Critic,
    Discriminator,
    DissimilarityMixture,
    DualAutoencoder,
    FeatureEncoder,
    Grayscale,
    MixturePrior,
    ResidualBlock,
    Sobel,
    SpectralAssignment,
    StudentTAssignment,
    category_style_autoencoder,
    conv_autoencoder,
    dual_conv_autoencoder,
    glorot_,
    mlp_autoencoder,
    residual_autoencoder,
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


BUILDERS = {
    "mlp": lambda **more: mlp_autoencoder((1, 9, 8), 10, (32, 16), **more),
    "mlp, normalised": lambda **more: mlp_autoencoder(
        (1, 9, 8), 10, (32, 16), batch_norm=True, **more
    ),
    "conv": lambda **more: conv_autoencoder((1, 9, 8), 10, **more),
    "dual conv": lambda **more: dual_conv_autoencoder((1, 9, 8), 10, **more),
    "category": lambda **more: category_style_autoencoder((1, 28, 28), 60, width=64, **more),
    "residual": lambda **more: residual_autoencoder((1, 9, 8), 10, **more),
    "critic": lambda **more: (Critic(9, (16, 8), **more),),
    "discriminator": lambda **more: (Discriminator(9, 16, **more),),
    "spectral": lambda **more: (SpectralAssignment(4, 3, **more),),
}
EACH_BUILDER = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


@EACH_BUILDER
def test_what_is_built_is_initialised_from_the_generator(build):
    built = build(generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    expected = [glorot_(part, generator) for part in build()]
    for part, other in zip(built, expected, strict=True):
        for name, value in part.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])
        assert all(layer.bias is None or (layer.bias == 0).all() for layer in layers(part))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        first = build()[0]
        torch.manual_seed(0)
        again, other = build()[0], build()[0]
    assert torch.equal(layers(first)[0].weight, layers(again)[0].weight)
    assert not torch.equal(layers(first)[0].weight, layers(other)[0].weight)
    assert all(layer.bias is None or (layer.bias == 0).all() for layer in layers(first))


def test_the_first_layer_of_dccs_has_the_spread_of_xavier():
    """Fans of 16 and 16 * 64: a standard deviation of sqrt(2 / 1040), torch's own is .144."""
    encoder, _ = BUILDERS["category"](generator=torch.Generator().manual_seed(0))
    assert layers(encoder)[0].weight.std().item() == pytest.approx(0.0439, rel=0.05)


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


# ------------------------------------------------------------------ category and style

NORMALISED = (nn.BatchNorm1d, nn.BatchNorm2d)
STYLES = {
    "conv": lambda shape, **more: category_style_autoencoder(shape, 7, width=4, **more),
    "resnet": lambda shape, **more: residual_autoencoder(shape, 7, **more),
}
# of the sizes above some, and images from which padding and depth change
PHOTOS = [
    *itertools.product(range(1, 5), repeat=2),
    *((1, 17), (30, 7), (9, 11), (23, 24), (28, 28), (32, 47)),
]


@pytest.mark.parametrize("kind", STYLES)
@pytest.mark.parametrize(("height", "width"), PHOTOS)
def test_category_and_style_of_any_image(kind, height, width):
    encoder, decoder = STYLES[kind]((1, height, width))
    x = torch.rand(2, 1, height, width)
    with torch.no_grad():
        features = encoder.features(x)
        z = encoder(x)
        assert decoder(z).shape == x.shape
    assert z.shape == (2, 7)
    assert z.isfinite().all()
    # as deep as it takes to have few places, and no deeper
    few, a_layer, fewest = (7, 3, 2) if kind == "conv" else (6, 1, 1)
    assert max(features.shape[2:]) <= few
    if len(encoder.features) > a_layer * fewest:
        with torch.no_grad():
            before = encoder.features[:-a_layer](x)
        assert max(before.shape[2:]) > few


@pytest.mark.parametrize("kind", STYLES)
@pytest.mark.parametrize(
    ("channels", "preprocessing", "seen"),
    [
        (1, None, 1),
        (3, None, 3),
        (3, "grayscale", 1),
        (1, "grayscale", 1),
        (4, "grayscale", 4),
        (3, "sobel", 2),
        (1, "sobel", 2),
        (4, "sobel", 2),
    ],
)
def test_preprocessing_comes_before_the_first_convolution(kind, channels, preprocessing, seen):
    encoder, decoder = STYLES[kind]((channels, 6, 9), preprocessing=preprocessing)
    first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    assert first.in_channels == seen
    x = torch.rand(4, channels, 6, 9)
    assert decoder(encoder(x)).shape == x.shape
    if seen < channels and preprocessing == "grayscale":
        gray = Grayscale()(x).expand_as(x)  # its weights sum to one
        torch.testing.assert_close(encoder.eval()(gray), encoder(x))
    if preprocessing == "sobel":
        torch.testing.assert_close(encoder.eval()(x + 5), encoder(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", STYLES)
def test_a_misspelt_preprocessing_is_refused(kind):
    with pytest.raises(ValueError, match="preprocessing='gray' must be 'grayscale', 'sobel' or"):
        STYLES[kind]((3, 6, 9), preprocessing="gray")


def test_layers_of_the_authors_category_and_style_encoder():
    """Table 6 of the supplement, with the authors' code's lack of padding."""
    encoder, _ = category_style_autoencoder((1, 28, 28), 60, width=64)
    x = torch.rand(2, 1, 28, 28)
    shapes = []
    for layer in encoder.features:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(64, 13, 13)] * 3 + [(128, 5, 5)] * 3
    convolutions = [layer for layer in encoder.features if isinstance(layer, nn.Conv2d)]
    assert [(c.kernel_size, c.stride, c.padding, c.bias) for c in convolutions] == [
        ((4, 4), (2, 2), (0, 0), None)
    ] * 2
    hidden, *_, last = encoder.head
    assert (hidden.in_features, hidden.out_features, hidden.bias) == (3200, 1024, None)
    assert (last.in_features, last.out_features) == (1024, 60)
    assert sum(isinstance(layer, NORMALISED) for layer in encoder.modules()) == 3
    slopes = [m.negative_slope for m in encoder.modules() if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.2] * 3
    # two convolutions, two dense layers, a scale and a shift a channel, a last bias
    weights = 16 * 64 + 16 * 64 * 128 + 3200 * 1024 + 1024 * 60
    assert n_parameters(encoder) == weights + 2 * (64 + 128 + 1024) + 60
    assert n_parameters(encoder) == pytest.approx(3.47e6, rel=2e-3)


@pytest.mark.parametrize(
    ("side", "maps"),
    [
        (32, [(128, 16), (256, 8), (512, 4)]),
        (96, [(64, 48), (128, 24), (256, 12), (512, 6)]),
    ],
)
def test_blocks_of_the_authors_residual_encoders(side, maps):
    """Tables 7 and 8 of the supplement; on gray images, 8192 and 18432 features."""
    encoder, _ = residual_autoencoder((3, side, side), 60, preprocessing="grayscale")
    x = torch.zeros(1, 3, side, side, device="meta")
    encoder = encoder.to("meta")
    shapes = []
    for layer in encoder.features:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(1, side, side)] + [(channels, s, s) for channels, s in maps]
    assert math.prod(shapes[-1]) == {32: 8192, 96: 18432}[side]
    assert encoder.head(x.flatten(1)).shape == (1, 60)
    blocks = [m for m in encoder.modules() if isinstance(m, ResidualBlock)]
    assert len(blocks) == len(maps) + 1
    # nothing is normalised before the image is seen, all else is
    first = [
        next(m for m in block.residual if isinstance(m, nn.Conv2d | nn.BatchNorm2d))
        for block in blocks
    ]
    assert [type(m) for m in first] == [nn.Conv2d] + [nn.BatchNorm2d] * len(maps)
    for block in blocks:
        inner = [m for m in block.residual if isinstance(m, nn.Conv2d)]
        assert [(c.kernel_size, c.stride, c.bias) for c in inner] == [((3, 3), (1, 1), None)] * 2
    assert len(blocks[-1].shortcut) == 0


def test_a_residual_block_is_the_sum_of_its_two_ways():
    block = ResidualBlock(2, 3, halve=True)
    x = torch.rand(4, 2, 5, 7)
    y = block(x)
    assert y.shape == (4, 3, 3, 4)
    torch.testing.assert_close(y, block.residual(x) + block.shortcut(x))
    # the shortcut averages what it projects, whichever comes first
    (_, project) = block.shortcut
    torch.testing.assert_close(
        block.shortcut(x), nn.functional.avg_pool2d(project(x), 2, ceil_mode=True)
    )
    same = ResidualBlock(2, 2, halve=False)
    nn.init.zeros_(same.residual[-1].weight)
    assert torch.equal(same(x), x)


def test_gray_is_luminance():
    x = torch.rand(2, 3, 4, 5)
    gray = Grayscale()(x)
    assert gray.shape == (2, 1, 4, 5)
    expected = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    torch.testing.assert_close(gray[:, 0], expected)
    torch.testing.assert_close(Grayscale()(torch.ones(1, 3, 2, 2)), torch.ones(1, 1, 2, 2))
    assert Grayscale()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("shape", [(2, 1, 6, 9), (1, 3, 7, 4), (1, 2, 1, 5), (1, 1, 1, 1)])
def test_sobel_is_that_of_scipy(shape):
    x = torch.rand(shape, dtype=torch.float64)
    edges = Sobel()(x)
    assert edges.shape == (shape[0], 2, *shape[2:])
    for image, found in zip(x.sum(dim=1).numpy(), edges.numpy(), strict=True):
        for axis, derivative in ((1, found[0]), (0, found[1])):
            expected = ndimage.sobel(image, axis=axis, mode="nearest") / 8
            np.testing.assert_allclose(derivative, expected, atol=1e-7)


def test_filters_are_fixed():
    for layer in (Grayscale(), Sobel()):
        assert n_parameters(layer) == 0
        assert layer.state_dict() == {}


@pytest.mark.parametrize("hidden", [(6,), (1024, 512), [3, 4, 5]])
def test_critic(hidden):
    critic = Critic(9, hidden)
    linear = layers(critic)
    assert [layer.out_features for layer in linear] == [*hidden, 1]
    # no layer besides these: nothing couples the samples of a batch
    assert {type(m) for m in critic.layers} == {nn.Linear, nn.LeakyReLU}
    assert isinstance(critic.layers[-1], nn.Linear)
    z = torch.randn(5, 9)
    scores = critic(z)
    assert scores.shape == (5,)
    torch.testing.assert_close(torch.stack([critic(row[None])[0] for row in z]), scores)
    by_hand = z
    for layer in linear[:-1]:
        by_hand = by_hand @ layer.weight.T + layer.bias
        by_hand = torch.where(by_hand > 0, by_hand, 0.2 * by_hand)
    by_hand = by_hand @ linear[-1].weight.T + linear[-1].bias
    torch.testing.assert_close(scores, by_hand[:, 0])
    assert all((layer.bias == 0).all() for layer in linear)


def category_style_network(encoder, decoder, **more):
    return CategoryStyleNetwork(encoder, decoder, Critic(7, (4,)), None, torch.ones(3) / 3, **more)


@pytest.mark.parametrize("style_length", [None, 0.7])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_category_style_network(kind, style_length):
    pair = (
        mlp_autoencoder((1, 6, 5), 7, (8,), batch_norm=True)
        if kind == "mlp"
        else category_style_autoencoder((1, 6, 5), 7, width=4)
    )
    net = category_style_network(*pair, style_length=style_length)
    x = torch.rand(5, 1, 6, 5)
    net(x)  # batch statistics of their own
    net.eval()
    features, logits, style = net.encode(x)
    z, q = net(x)
    assert torch.equal(net.embed(x), z)
    assert torch.equal(z, torch.cat([logits.softmax(dim=1), style], dim=1))
    assert torch.equal(q, z[:, :3])
    torch.testing.assert_close(q.sum(dim=1), torch.ones(5))
    outputs = net.encoder(x)
    torch.testing.assert_close(logits, outputs[:, :3])
    if style_length is None:
        torch.testing.assert_close(style, outputs[:, 3:])
    else:
        torch.testing.assert_close(style.norm(dim=1), torch.full((5,), style_length))
        cosine = nn.functional.cosine_similarity(style, outputs[:, 3:])
        torch.testing.assert_close(cosine, torch.ones(5))
    seen = pair[0].features(x) if isinstance(pair[0], FeatureEncoder) else x
    torch.testing.assert_close(features, seen.flatten(1))
    torch.testing.assert_close(net.decode(z), net.decoder(z))


def test_a_category_and_no_style():
    encoder, decoder = mlp_autoencoder((4,), 3, (5,))
    net = CategoryStyleNetwork(encoder, decoder, Critic(3, (4,)), None, torch.ones(3) / 3)
    z, q = net(torch.rand(2, 4))
    assert torch.equal(z, q)


def test_what_of_a_category_style_network_is_trained_and_what_is_stored():
    encoder, decoder = mlp_autoencoder((4,), 7, (5,))
    net = CategoryStyleNetwork(
        encoder, decoder, Critic(7, (4,)), Critic(11, (4,)), torch.ones(3) / 3
    )
    # the names that phases train by
    assert [name for name, _ in net.named_children()] == [
        *("encoder", "decoder", "critic", "discriminator")
    ]
    assert {name for name, _ in net.named_buffers()} == {"prior", "prior_score", "order"}


@pytest.mark.parametrize("hidden", [(500, 500, 2000), (8,), ()])
def test_mlp_with_batch_norm(hidden):
    encoder, decoder = mlp_autoencoder((1, 4, 3), 10, hidden, batch_norm=True)
    norms = [m for m in encoder.modules() if isinstance(m, NORMALISED)]
    assert [norm.num_features for norm in norms] == list(hidden)
    *inner, last = layers(encoder)
    # what is normalised needs no bias of its own
    assert [layer.bias for layer in inner] == [None] * len(hidden)
    assert last.bias is not None
    kinds = [type(m) for m in encoder[1:-1]]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * len(hidden)
    assert not any(isinstance(m, NORMALISED) for m in decoder.modules())
    assert decoder(encoder(torch.rand(3, 1, 4, 3))).shape == (3, 1, 4, 3)


# ------------------------------------------------------------------ renumbered clusters

K = 5


def filled(module):
    """The module with parameters and buffers of no special values."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.1)
    return module.eval()


def dual_autoencoder(assign):
    encoder, decoder = mlp_autoencoder((6,), 4, (8,))
    return DualAutoencoder(encoder, decoder, assign, MixturePrior(K, 4), spherical=True)


def clustering_autoencoder(assign):
    return ClusteringAutoencoder(*mlp_autoencoder((6,), 4, (8,)), assign)


NETWORKS = {
    "student": lambda: clustering_autoencoder(StudentTAssignment(K, 4)),
    "mixture": lambda: clustering_autoencoder(DissimilarityMixture(K, 4, resolve("cosine"))),
    "mahalanobis": lambda: clustering_autoencoder(
        DissimilarityMixture(K, 4, resolve("mahalanobis"), log_determinant=True)
    ),
    "dual": lambda: dual_autoencoder(StudentTAssignment(K, 4)),
    "spectral": lambda: dual_autoencoder(SpectralAssignment(K, 4)),
    "spectral latent": lambda: dual_autoencoder(SpectralAssignment(K, 4, latent=True)),
    "category": lambda: CategoryStyleNetwork(
        *mlp_autoencoder((6,), 9, (8,)), Critic(9, (4,)), None, torch.full((K,), 1 / K)
    ),
}
EACH_NETWORK = pytest.mark.parametrize("name", NETWORKS)
ORDER = torch.tensor([3, 0, 4, 1, 2])  # not its own inverse


@EACH_NETWORK
def test_reordered_clusters_are_the_same_clusters_under_other_numbers(name):
    net = filled(NETWORKS[name]())
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z, q = net(x)
        net.reorder(ORDER)
        z_after, q_after = net(x)
        assert torch.equal(z_after, z)
        assert (q_after - q).abs().max() > 0.01
        assert torch.equal(q_after.argmax(dim=1), ORDER.argsort()[q.argmax(dim=1)])
        if name == "category":
            assert torch.equal(q_after, q[:, ORDER])
        # the sum over a row's clusters is taken in another order, which rounds otherwise: float32
        # logits of 600, as of "mahalanobis" here, have a last bit of 6e-5
        torch.testing.assert_close(q_after, q[:, ORDER], rtol=1e-4, atol=0)
        # a second order applies to the numbers that the first one gave
        net.reorder(ORDER)
        torch.testing.assert_close(net(x)[1], q[:, ORDER[ORDER]], rtol=1e-6, atol=0)


@EACH_NETWORK
def test_reordering_permutes_what_belongs_to_a_cluster_and_nothing_else(name):
    net = filled(NETWORKS[name]())
    if name.startswith("spectral"):
        net.assign.alive[0] = False
    before = copy.deepcopy(net.state_dict())
    net.reorder(ORDER)
    permuted = {
        "student": {"assign.centers", "assign.frequencies"},
        "mixture": {"assign.centers", "assign.logits"},
        "mahalanobis": {"assign.centers", "assign.logits", "assign.factors"},
        "dual": {"assign.centers", "assign.frequencies"},
        "spectral": {"assign.spectral_centers", "assign.latent_centers", "assign.alive"},
        "spectral latent": {"assign.spectral_centers", "assign.latent_centers", "assign.alive"},
        "category": {"order"},
    }[name]
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key][ORDER] if key in permuted else before[key])
        assert key not in permuted or not torch.equal(value, before[key])


@EACH_NETWORK
def test_a_reordered_network_is_stored_with_its_numbers(name):
    net, other = filled(NETWORKS[name]()), NETWORKS[name]().eval()
    net.reorder(ORDER)
    other.load_state_dict(net.state_dict())
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for found, expected in zip(other(x), net(x), strict=True):
            assert torch.equal(found, expected)


@EACH_NETWORK
def test_centers_are_those_in_the_embedding(name):
    net = filled(NETWORKS[name]())
    if name == "category":
        assert not hasattr(net, "centers")
        return
    attribute = {"spectral": "spectral_centers", "spectral latent": "latent_centers"}
    expected = getattr(net.assign, attribute.get(name, "centers"))
    assert torch.equal(net.centers, expected)
    z, _ = net(torch.rand(2, 6))
    assert net.centers.shape == (K, z.shape[1])


# ------------------------------------------------------------------ dead clusters


def test_nearly_equal_outputs_of_a_batch_are_made_orthonormal_too():
    """Else the spectral loss is smallest where the clusters collapsed."""
    assign = SpectralAssignment(3, 4)
    p = (1e-2 * points(64, 3)).softmax(dim=1)
    y = assign.orthonormal(p)
    assert y.dtype == torch.float64
    torch.testing.assert_close(y.T @ y / 64, torch.eye(3).to(y), rtol=0, atol=0.01)


def test_a_dead_cluster_has_a_finite_center_and_no_sample():
    assign = filled(SpectralAssignment(4, 3))
    assert assign.alive.all()
    centers = torch.tensor([[1.0, 0.0, 0.0, 2.0], [3.0, 0.0, 4.0, 0.0]])
    assign.set_spectral_centers(torch.tensor([3, 1]), centers)
    assert assign.alive.tolist() == [False, True, False, True]
    middle = [2.0, 0.0, 2.0, 1.0]
    expected = [middle, [3.0, 0.0, 4.0, 0.0], middle, [1.0, 0.0, 0.0, 2.0]]
    assert assign.spectral_centers.tolist() == expected
    # even at the center that a dead cluster reports
    y = torch.cat([assign.spectral_centers, 100 * points(6, 4)])
    q = assign.responsibilities(y)
    assert (q[:, [0, 2]] == 0).all()
    torch.testing.assert_close(q.sum(dim=1), torch.ones(10))
    distances = (y[:, None] - centers).square().sum(dim=2)
    by_hand = (-distances / (2 * assign.variance)).softmax(dim=1)
    torch.testing.assert_close(q[:, [3, 1]], by_hand, rtol=1e-5, atol=1e-7)
    # a later look may find it alive again
    assign.set_spectral_centers(torch.arange(4), torch.eye(4))
    assert assign.alive.all()
    assert torch.equal(assign.spectral_centers, torch.eye(4))


def test_a_dead_cluster_gives_no_nan_to_a_gradient():
    assign = filled(SpectralAssignment(3, 2))
    assign.set_spectral_centers(torch.tensor([0, 2]), points(2))
    y = points(5).requires_grad_()
    assign.responsibilities(y)[:, 0].sum().backward()
    assert y.grad.isfinite().all()
    assert (y.grad != 0).any()


def test_a_dead_cluster_takes_its_state_to_its_new_number():
    assign, other = filled(SpectralAssignment(4, 3)), SpectralAssignment(4, 3)
    assign.set_spectral_centers(torch.tensor([1, 2]), points(2, 4))
    z = points(8)
    with torch.no_grad():
        q = assign.embed(z)[1]
        assign.reorder(torch.tensor([1, 2, 0, 3]))
        assert assign.alive.tolist() == [True, True, False, False]
        other.load_state_dict(assign.state_dict())
        for net in (assign, other):
            # two terms: their sum does not depend on the order
            assert torch.equal(net.embed(z)[1], q[:, [1, 2, 0, 3]])


# ------------------------------------------------------------------ inner features


class UsersEncoder(nn.Module):
    def __init__(self, layers, features):
        super().__init__()
        self.layers = layers
        self.features = features

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("features", [64, "mean", None, nn.Linear(6, 2)], ids=str)
def test_an_attribute_of_a_users_encoder_is_not_taken_for_inner_features(features):
    encoder, decoder = mlp_autoencoder((6,), 4, (8,))
    encoder = UsersEncoder(encoder, features)
    x = torch.rand(3, 6)
    prior = MixturePrior(K, 4)
    dual = DualAutoencoder(encoder, decoder, SpectralAssignment(K, 4), prior, spherical=True)
    assert torch.equal(dual.features(x), x)
    encoder, decoder = mlp_autoencoder((6,), 9, (8,))
    encoder = UsersEncoder(encoder, features)
    category = CategoryStyleNetwork(encoder, decoder, Critic(9, (4,)), None, torch.ones(K) / K)
    assert torch.equal(category.encode(x)[0], x)


def test_discriminators_see_the_inner_features_of_a_feature_encoder():
    encoder, decoder = dual_conv_autoencoder((1, 8, 8), 4)
    prior = MixturePrior(K, 4)
    net = DualAutoencoder(encoder, decoder, SpectralAssignment(K, 4), prior, spherical=True)
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(net.features(x), encoder.features(x))
    assert net.features(x).shape == (3, 64, 2, 2)


# ------------------------------------------------------------------ dtypes


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def dtypes(module):
    return {t.dtype for t in [*module.parameters(), *module.buffers()] if t.is_floating_point()}


@EACH_BUILDER
def test_weights_do_not_depend_on_the_default_dtype(build, float64_by_default):
    built = build(generator=torch.Generator().manual_seed(3))
    torch.set_default_dtype(torch.float32)
    for part, other in zip(built, build(generator=torch.Generator().manual_seed(3)), strict=True):
        assert dtypes(part) == {torch.float32}
        for name, value in part.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])


@EACH_NETWORK
def test_networks_are_float32_whatever_the_default(name, float64_by_default):
    net = NETWORKS[name]()
    assert dtypes(net) == {torch.float32}
    z, q = net(torch.rand(3, 6, dtype=torch.float32))
    assert z.dtype == q.dtype == torch.float32
    assert net.decode(z).dtype == torch.float32
    if isinstance(net, DualAutoencoder):
        p = torch.full((3, K), 1 / K, dtype=torch.float32)
        latent = net.latent(torch.rand(3, 6, dtype=torch.float32))
        assert net.prior(latent, net.log_variance(latent), p).dtype == torch.float32
    if isinstance(getattr(net, "assign", None), DissimilarityMixture):
        assert net.assign.distance_to_average(z, q).dtype == torch.float32


@pytest.mark.parametrize(
    "layer",
    [Grayscale, Sobel, lambda: ResidualBlock(3, 2, halve=True)],
    ids=["gray", "sobel", "residual"],
)
def test_layers_of_images_are_float32_whatever_the_default(layer, float64_by_default):
    layer = layer()
    assert dtypes(layer) == {torch.float32}
    assert layer(torch.rand(2, 3, 6, 6, dtype=torch.float32)).dtype == torch.float32


def test_discriminators_are_float32_whatever_the_default(float64_by_default):
    features, z = (torch.rand(2, *shape, dtype=torch.float32) for shape in ((5, 9), (16,)))
    assert Discriminator(9, 16)(features, z).dtype == torch.float32
    assert Critic(16, (4,))(z).dtype == torch.float32
