"""Networks: encoders, decoders and assignment layers, in plain torch."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize, pad

from ..dissimilarities import Dissimilarity, log_determinants
from ..functional import (
    entropy,
    gaussian_divergence,
    orthonormalizer,
    squared_distances,
    student_t_assignment,
)

_CONV_CHANNELS = (32, 64, 128)  # Guo et al. 2017, section 4.2
_CONV_KERNELS = (5, 5, 3)
_LARGE_IMAGE = 24  # pixels a side from which Yang et al. 2019, table 2, have four layers
_FEW_PLACES = 7  # a side, at which convolutions end; 5 of the paper's 28 x 28 pixels
_FEW_BLOCKED_PLACES, _WIDEST_BLOCK = 6, 512  # the same of residual blocks, and their channels
_LEAK = 0.2  # of rectifiers, Zhao et al. 2020
_HEAD_UNITS = 256  # of the authors' script for pretraining; their later one has 1024


def glorot_(module: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Initialise every linear and convolutional layer in place, as Keras does.

    Glorot-uniform weights and zero biases. The scale of the embedding, and with
    it the width of the Student-t kernel, depends on it: torch's own default makes
    the embedding layer of DCEC 2.4 times smaller.

    Parameters
    ----------
    module : torch.nn.Module
        Its linear, convolutional and transposed convolutional layers are filled.
    generator : torch.Generator, default=None
        Source of randomness; torch's global one by default.

    Returns
    -------
    torch.nn.Module
        The same module.

    Examples
    --------
    >>> import torch
    >>> layer = glorot_(torch.nn.Linear(2, 3))
    >>> bool((layer.bias == 0).all() and (layer.weight.abs() <= (6 / 5) ** 0.5).all())
    True
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers with ReLU between them; the last one is linear."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return layers[:-1]


def _normalized_dense(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers, each normalised over the batch and rectified."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]
    return layers


def mlp_autoencoder(
    input_shape: Sequence[int],
    n_components: int,
    hidden_units: Sequence[int],
    *,
    batch_norm: bool = False,
) -> tuple[nn.Module, nn.Module]:
    """Fully connected encoder and its mirror image.

    Parameters
    ----------
    input_shape : sequence of int
        Shape of one sample; images are flattened on the way in and restored on
        the way out.
    n_components : int
        Width of the embedding.
    hidden_units : sequence of int
        Widths of the encoder's hidden layers. Xie et al. 2016 use
        ``(500, 500, 2000)``.
    batch_norm : bool, default=False
        Whether the hidden layers of the encoder are normalised over the batch.

    Returns
    -------
    encoder, decoder : torch.nn.Module

    Examples
    --------
    >>> import torch
    >>> encoder, decoder = mlp_autoencoder((1, 8, 8), 10, (32, 16))
    >>> decoder(encoder(torch.zeros(5, 1, 8, 8))).shape
    torch.Size([5, 1, 8, 8])
    """
    widths = [math.prod(input_shape), *hidden_units, n_components]
    hidden = _normalized_dense(widths[:-1]) if batch_norm else _dense(widths)[:-1]
    encoder = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-2], widths[-1]))
    decoder = nn.Sequential(*_dense(widths[::-1]), nn.Unflatten(1, tuple(input_shape)))
    return encoder, decoder


def conv_autoencoder(input_shape: Sequence[int], n_components: int) -> tuple[nn.Module, nn.Module]:
    """Convolutional autoencoder of DCEC, for images of any size.

    Guo et al. 2017, section 4.2: conv5_32, conv5_64, conv3_128, all of stride 2,
    then a linear embedding, mirrored. Padding is "same", except for a third
    layer with an odd input side of 3 or more, which is "valid": so 28 x 28 (3 x 3 x 128)
    and 16 x 16 (2 x 2 x 128) are those of the authors, and every other size, also
    non-square, comes back as it went in.

    Parameters
    ----------
    input_shape : sequence of 3 ints
        Channels, height and width.
    n_components : int
        Width of the embedding.

    Returns
    -------
    encoder, decoder : torch.nn.Module

    Examples
    --------
    >>> import torch
    >>> encoder, decoder = conv_autoencoder((3, 17, 30), 10)
    >>> decoder(encoder(torch.zeros(2, 3, 17, 30))).shape
    torch.Size([2, 3, 17, 30])
    """
    channels, *side = input_shape
    widths = (channels, *_CONV_CHANNELS)
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for i, kernel in enumerate(_CONV_KERNELS):
        valid = [i == 2 and s % 2 == 1 and s >= 3 for s in side]
        pad_h, pad_w = (0 if v else kernel // 2 for v in valid)
        padding = (pad_h, pad_w)
        # what the transposed convolution must add to come back to this side
        add_h, add_w = (0 if v else 1 - s % 2 for v, s in zip(valid, side, strict=True))
        down += [nn.Conv2d(widths[i], widths[i + 1], kernel, 2, padding), nn.ReLU()]
        up = [
            nn.ReLU(),
            nn.ConvTranspose2d(widths[i + 1], widths[i], kernel, 2, padding, (add_h, add_w)),
            *up,
        ]
        side = [(s + 2 * p - kernel) // 2 + 1 for s, p in zip(side, padding, strict=True)]
    code_shape = (widths[-1], *side)
    code = math.prod(code_shape)
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(code, n_components))
    # `up` starts with the ReLU after the dense layer
    decoder = nn.Sequential(
        nn.Linear(n_components, code), up[0], nn.Unflatten(1, code_shape), *up[1:]
    )
    return encoder, decoder


class FeatureEncoder(nn.Module):
    """Encoder in two parts, whose inner features others may look at.

    Parameters
    ----------
    features : torch.nn.Module
        From samples to a map ``(n, channels, height, width)``.
    head : torch.nn.Module
        From the flattened map to the embedding.

    Examples
    --------
    >>> import torch
    >>> encoder = FeatureEncoder(torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(8, 5))
    >>> encoder(torch.zeros(3, 1, 4, 4)).shape
    torch.Size([3, 5])
    """

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Embedding ``(n, n_components)`` of samples."""
        z: Tensor = self.head(self.features(x).flatten(1))
        return z


def dual_conv_autoencoder(
    input_shape: Sequence[int], n_components: int
) -> tuple[nn.Module, nn.Module]:
    """Convolutional encoder of the dual autoencoder, with a decoder of dense layers.

    Yang et al. 2019, table 2: kernels of 3 x 3, four layers of 16, 16, 32, 32 channels and
    strides 2, 1, 2, 1; for images under 24 pixels a side two layers, of 32 and 64 channels
    (table 2 has 16 and 32 for USPS) and stride 2.

    Parameters
    ----------
    input_shape : sequence of 3 ints
        Channels, height and width.
    n_components : int
        Width of the embedding.

    Returns
    -------
    encoder, decoder : torch.nn.Module

    Examples
    --------
    >>> import torch
    >>> encoder, decoder = dual_conv_autoencoder((3, 17, 30), 10)
    >>> decoder(encoder(torch.zeros(2, 3, 17, 30))).shape
    torch.Size([2, 3, 17, 30])
    """
    channels, height, width = input_shape
    small = min(height, width) < _LARGE_IMAGE
    layers = [(32, 2), (64, 2)] if small else [(16, 2), (16, 1), (32, 2), (32, 1)]
    features: list[nn.Module] = []
    for wider, stride in layers:
        features += [nn.Conv2d(channels, wider, 3, stride, 1), nn.ReLU()]
        channels = wider
    code = channels * math.ceil(height / 4) * math.ceil(width / 4)
    encoder = FeatureEncoder(nn.Sequential(*features), nn.Linear(code, n_components))
    return encoder, _dense_decoder(input_shape, n_components)


class Grayscale(nn.Module):
    """The luminance of images of three channels (ITU-R BT.601).

    Examples
    --------
    >>> import torch
    >>> Grayscale()(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 1, 4, 4])
    """

    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([0.299, 0.587, 0.114]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(n, 1, height, width)`` of images ``(n, 3, height, width)``."""
        return (x * self.weights.to(x)[:, None, None]).sum(dim=1, keepdim=True)


class Sobel(nn.Module):
    """Horizontal and vertical derivative of images, of the sum of their channels.

    Kernels of 3 x 3 over 8, as in the code of Zhao et al. 2020.

    Examples
    --------
    >>> import torch
    >>> Sobel()(torch.arange(5.0).expand(1, 1, 5, 5))[0, :, 2, 2]
    tensor([1., 0.])
    """

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8.0
        self.register_buffer("kernels", torch.stack([across, across.T])[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Derivatives ``(n, 2, height, width)`` of images."""
        x = pad(x.sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return conv2d(x, self.kernels.to(x))


def _preprocessing(name: str | None, channels: int) -> tuple[list[nn.Module], int]:
    """Layers before the first convolution, and the channels that they give."""
    if name == "sobel":
        return [*([Grayscale()] if channels == 3 else []), Sobel()], 2
    if name == "grayscale" and channels == 3:
        return [Grayscale()], 1
    return [], channels


def category_style_autoencoder(
    input_shape: Sequence[int],
    n_components: int,
    *,
    width: int = 32,
    preprocessing: str | None = None,
) -> tuple[nn.Module, nn.Module]:
    """Convolutional encoder of DCCS for images of any size, with a decoder of dense layers.

    Zhao et al. 2020, supplement, table 6: convolutions of 4 x 4 and stride 2, the second with twice
    the channels of the first, a dense layer, all normalised over the batch. Without padding, as in
    the authors' code, or with a padding of 1 for images under 24 pixels a side. Another
    layer follows while a side has more than 7 places.

    Parameters
    ----------
    input_shape : sequence of 3 ints
        Channels, height and width.
    n_components : int
        Width of the embedding.
    width : int, default=32
        Channels of the first layer; of the dense layer 16 times as many. The paper's is 64.
    preprocessing : {"grayscale", "sobel"} or None, default=None
        What is done to an image first: :class:`Grayscale` where it has three channels,
        or that and :class:`Sobel`.

    Returns
    -------
    encoder, decoder : torch.nn.Module

    Examples
    --------
    >>> import torch
    >>> encoder, decoder = category_style_autoencoder((1, 28, 28), 60, width=64)
    >>> x = torch.zeros(2, 1, 28, 28)
    >>> encoder.features(x).shape, decoder(encoder(x)).shape
    (torch.Size([2, 128, 5, 5]), torch.Size([2, 1, 28, 28]))
    """
    n_in, *side = input_shape
    layers, n_in = _preprocessing(preprocessing, n_in)
    unpadded = min(side) >= _LARGE_IMAGE
    n_out = width
    while n_out <= 2 * width or max(side) > _FEW_PLACES:
        pad_h, pad_w = (0 if unpadded and s >= 4 else 1 for s in side)
        # a side of one pixel is as wide as it gets
        tall, broad = (4 if s >= 2 else 3 for s in side)
        layers += [
            nn.Conv2d(n_in, n_out, (tall, broad), 2, (pad_h, pad_w), bias=False),
            nn.BatchNorm2d(n_out),
            nn.LeakyReLU(_LEAK),
        ]
        sizes = zip(side, (pad_h, pad_w), (tall, broad), strict=True)
        side = [(s + 2 * p - k) // 2 + 1 for s, p, k in sizes]
        n_in, n_out = n_out, 2 * n_out
    head = nn.Sequential(
        nn.Linear(n_in * math.prod(side), 16 * width, bias=False),
        nn.BatchNorm1d(16 * width),
        nn.LeakyReLU(_LEAK),
        nn.Linear(16 * width, n_components),
    )
    return FeatureEncoder(nn.Sequential(*layers), head), _dense_decoder(input_shape, n_components)


def _dense_decoder(input_shape: Sequence[int], n_components: int) -> nn.Module:
    widths = (n_components, 256, 512, math.prod(input_shape))
    return nn.Sequential(*_dense(widths), nn.Unflatten(1, tuple(input_shape)))


class ResidualBlock(nn.Module):
    """Two normalised convolutions of 3 x 3 beside a shortcut.

    Zhao et al. 2020, supplement, tables 7 and 8.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    halve : bool
        Whether places are averaged two by two.
    first : bool, default=False
        Whether the block sees the image: then nothing is normalised before its first convolution.

    Examples
    --------
    >>> import torch
    >>> ResidualBlock(2, 4, halve=True)(torch.zeros(2, 2, 8, 8)).shape
    torch.Size([2, 4, 4, 4])
    """

    def __init__(self, n_in: int, n_out: int, *, halve: bool, first: bool = False) -> None:
        super().__init__()
        before: list[nn.Module] = [] if first else [nn.BatchNorm2d(n_in), nn.ReLU()]
        pool: list[nn.Module] = [nn.AvgPool2d(2, ceil_mode=True)] if halve else []
        self.residual = nn.Sequential(
            *before,
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            *pool,
        )
        project: list[nn.Module] = [nn.Conv2d(n_in, n_out, 1)] if halve or n_in != n_out else []
        self.shortcut = nn.Sequential(*pool, *project)  # averaged first: the same for less work

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, n_out, ...)`` of maps ``(n, n_in, ...)``."""
        y: Tensor = self.residual(x) + self.shortcut(x)
        return y


def residual_autoencoder(
    input_shape: Sequence[int], n_components: int, *, preprocessing: str | None = None
) -> tuple[nn.Module, nn.Module]:
    """Residual encoder of DCCS for photographs, with a decoder of dense layers.

    Zhao et al. 2020, supplement, tables 7 (32 x 32) and 8 (96 x 96): blocks that halve the
    image until a side has at most 6 places, the last of 512 channels, then one more
    block, an average and a dense layer.

    Parameters
    ----------
    input_shape : sequence of 3 ints
        Channels, height and width.
    n_components : int
        Width of the embedding.
    preprocessing : {"grayscale", "sobel"} or None, default=None
        See :func:`category_style_autoencoder`.

    Returns
    -------
    encoder, decoder : torch.nn.Module

    Examples
    --------
    >>> import torch
    >>> encoder, decoder = residual_autoencoder((3, 32, 32), 60, preprocessing="grayscale")
    >>> encoder.eval().features(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 512, 4, 4])
    """
    channels, *side = input_shape
    layers, n_in = _preprocessing(preprocessing, channels)
    depth = 1
    while max(side) > _FEW_BLOCKED_PLACES * 2**depth:
        depth += 1
    for level in reversed(range(depth)):
        n_out = max(_WIDEST_BLOCK // 2**level, 32)
        layers.append(ResidualBlock(n_in, n_out, halve=True, first=level == depth - 1))
        side = [math.ceil(s / 2) for s in side]
        n_in = n_out
    head = nn.Sequential(
        nn.Unflatten(1, (n_in, *side)),
        ResidualBlock(n_in, n_in, halve=False),
        nn.BatchNorm2d(n_in),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(n_in, n_components),
    )
    return FeatureEncoder(nn.Sequential(*layers), head), _dense_decoder(input_shape, n_components)


class Critic(nn.Module):
    """Scores of vectors: two hidden layers, nothing normalised, linear output.

    Zhao et al. 2020, supplement, table 9. The penalty is on the gradient at each sample, which
    batch normalisation would couple (Gulrajani et al. 2017, section 4).

    Parameters
    ----------
    n_features : int
        Width of the vectors.
    hidden_units : sequence of int
        Widths of the hidden layers; the paper's are ``(1024, 512)``.

    Examples
    --------
    >>> import torch
    >>> Critic(8, (5, 4))(torch.zeros(3, 8)).shape
    torch.Size([3])
    """

    def __init__(self, n_features: int, hidden_units: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise([n_features, *hidden_units]):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(_LEAK)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden_units[-1], 1))
        glorot_(self)

    def forward(self, z: Tensor) -> Tensor:
        """Scores ``(n,)`` of vectors ``(n, n_features)``."""
        scores: Tensor = self.layers(z).squeeze(1)
        return scores


class CategoryStyleNetwork(nn.Module):
    """Encoder of a category and a style, with the networks that train it.

    Zhao et al. 2020; ``forward`` is all that inference needs.

    Parameters
    ----------
    encoder : torch.nn.Module
        From samples to ``(n, n_components)``: the logits of the categories, then the style. A
        module ``encoder.features``, as :class:`FeatureEncoder` has it, is what the discriminator
        sees beside the embedding, else the samples.
    decoder : torch.nn.Module
        From embeddings to samples.
    critic : torch.nn.Module
        Scores of embeddings.
    discriminator : torch.nn.Module or None
        Scores of features and embeddings, side by side.
    prior : tensor of shape (n_clusters,)
        Probabilities of the categories.
    style_length : float, default=None
        Of styles that are directions, as a Gaussian of many dimensions has them nearly; by
        default they may have any.

    Attributes
    ----------
    prior : tensor of shape (n_clusters,)
        Probabilities of the categories.
    prior_score : tensor of shape ()
        The critic's mean score of draws from the prior.

    Examples
    --------
    >>> import torch
    >>> encoder, decoder = mlp_autoencoder((6,), 5, (8,))
    >>> net = CategoryStyleNetwork(encoder, decoder, Critic(5, (4,)), None, torch.full((3,), 1 / 3))
    >>> z, q = net(torch.zeros(2, 6))
    >>> z.shape, q.shape
    (torch.Size([2, 5]), torch.Size([2, 3]))
    """

    prior: Tensor
    prior_score: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        critic: nn.Module,
        discriminator: nn.Module | None,
        prior: Tensor,
        *,
        style_length: float | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.critic = critic
        self.discriminator = discriminator
        self.register_buffer("prior", prior)
        self.register_buffer("prior_score", torch.tensor(0.0))
        self.style_length = style_length

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, logits ``(n, n_clusters)`` and styles of samples."""
        if isinstance(self.encoder, FeatureEncoder):
            features = self.encoder.features(x).flatten(1)
            outputs = self.encoder.head(features)
        else:
            features, outputs = x.flatten(1), self.encoder(x)
        n_clusters = len(self.prior)
        style = outputs[:, n_clusters:].float()
        if self.style_length is not None:
            style = self.style_length * normalize(style, dim=1)
        return features, outputs[:, :n_clusters].float(), style

    def embed(self, x: Tensor) -> Tensor:
        """Categories and styles ``(n, n_components)`` of samples, side by side."""
        _, logits, style = self.encode(x)
        return torch.cat([logits.softmax(dim=1), style], dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding ``(n, n_components)`` and categories ``(n, n_clusters)``."""
        z = self.embed(x)
        return z, z[:, : len(self.prior)]

    def decode(self, embedding: Tensor) -> Tensor:
        """Samples of embeddings."""
        x: Tensor = self.decoder(embedding)
        return x


class StudentTAssignment(nn.Module):
    """Layer whose parameters are cluster centers and whose output is `q`.

    Guo et al. 2017, equation 6; see
    :func:`skdeepcluster.functional.student_t_assignment`.

    Parameters
    ----------
    n_clusters : int
        Number of centers.
    n_components : int
        Width of the embedding.

    Attributes
    ----------
    centers : torch.nn.Parameter of shape (n_clusters, n_components)
        Zero until a start partition fills them.
    frequencies : tensor of shape (n_clusters,)
        Soft cluster frequencies on the training data at the last refresh of the
        target, so that a target can be computed for any other row.

    Examples
    --------
    >>> import torch
    >>> assign = StudentTAssignment(4, 2)
    >>> assign(torch.zeros(3, 2)).shape
    torch.Size([3, 4])
    """

    frequencies: Tensor

    def __init__(self, n_clusters: int, n_components: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(n_clusters, n_components))
        self.register_buffer("frequencies", torch.ones(n_clusters))

    def forward(self, z: Tensor) -> Tensor:
        """Soft assignment ``(n, n_clusters)`` of embeddings ``(n, n_components)``."""
        return student_t_assignment(z, self.centers)


class ClusteringAutoencoder(nn.Module):
    """Encoder, decoder and assignment layer; ``forward`` is all that inference needs.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        From samples to embeddings ``(n, n_components)``, and back.
    assign : torch.nn.Module
        From embeddings to soft assignments ``(n, n_clusters)``; has ``centers``.

    Examples
    --------
    >>> import torch
    >>> encoder, decoder = mlp_autoencoder((6,), 2, (8,))
    >>> net = ClusteringAutoencoder(encoder, decoder, StudentTAssignment(3, 2))
    >>> z, q = net(torch.zeros(5, 6))
    >>> z.shape, q.shape
    (torch.Size([5, 2]), torch.Size([5, 3]))
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, assign: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.assign = assign

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding ``(n, n_components)`` and soft assignment ``(n, n_clusters)``."""
        z = self.encoder(x)
        return z, self.assign(z)

    def decode(self, embedding: Tensor) -> Tensor:
        """Samples of embeddings."""
        x: Tensor = self.decoder(embedding)
        return x


class DissimilarityMixture(nn.Module):
    """Mixture of components ``exp(-alpha d(z, center))``, whose output is `q`.

    Lara and Gonzalez 2020, equations 14 and 15.

    Parameters
    ----------
    n_clusters : int
        Number of components.
    n_components : int
        Width of the embedding.
    dissimilarity : Dissimilarity
        Of :mod:`skdeepcluster.dissimilarities`.
    log_determinant : bool, default=False
        Whether the precisions are free, which makes a component a Gaussian with its
        normaliser. Else they keep a determinant of 1, or the loss would shrink them to
        nothing.

    Attributes
    ----------
    centers : torch.nn.Parameter of shape (n_clusters, n_components)
        Zero until a start partition fills them.
    logits : torch.nn.Parameter of shape (n_clusters,)
        Mixing weights before their softmax.
    factors : torch.nn.Parameter of shape (n_clusters, n_components, n_components) or None
        Of the precisions, where the dissimilarity has them.
    alpha : tensor of shape ()
        Inverse temperature.
    scale : tensor of shape ()
        A typical dissimilarity to the nearest center, the unit of the loss.

    Examples
    --------
    >>> import torch
    >>> from skdeepcluster.dissimilarities import resolve
    >>> assign = DissimilarityMixture(4, 2, resolve("manhattan"))
    >>> assign(torch.zeros(3, 2)).shape
    torch.Size([3, 4])
    """

    alpha: Tensor
    scale: Tensor

    def __init__(
        self,
        n_clusters: int,
        n_components: int,
        dissimilarity: Dissimilarity,
        *,
        log_determinant: bool = False,
    ) -> None:
        super().__init__()
        self.dissimilarity = dissimilarity
        self.log_determinant = log_determinant
        self.centers = nn.Parameter(torch.zeros(n_clusters, n_components))
        self.logits = nn.Parameter(torch.zeros(n_clusters))
        self.factors = None
        if dissimilarity.needs_factors:
            self.factors = nn.Parameter(torch.eye(n_components).repeat(n_clusters, 1, 1))
        self.register_buffer("alpha", torch.tensor(1.0))
        self.register_buffer("scale", torch.tensor(1.0))

    def forward(self, z: Tensor) -> Tensor:
        """Responsibilities ``(n, n_clusters)`` of embeddings ``(n, n_components)``."""
        return (self.bias() - self.alpha * self.distances(z)).softmax(dim=1)

    def distances(self, z: Tensor) -> Tensor:
        """Dissimilarities ``(n, n_clusters)`` to the centers."""
        return self.dissimilarity.pairwise(z, self.centers, *self._volumes())

    def bias(self) -> Tensor:
        """Logarithm ``(n_clusters,)`` of the weights, with the normaliser if it is free."""
        log_weights = self.logits.log_softmax(dim=0)
        if self.factors is None or not self.log_determinant:
            return log_weights
        return log_weights + 0.5 * log_determinants(self.factors)

    def distance_to_average(self, z: Tensor, q: Tensor) -> Tensor:
        """Dissimilarity ``(n,)`` to the parameters that `q` averages, equations 11 and 12."""
        average = q @ self.centers
        if self.factors is None:
            return self.dissimilarity.rowwise(z, average)
        # averaging the precisions is averaging the quadratic forms
        shifted = self.centers.mean(dim=0) + z - average
        center = self.centers.mean(dim=0).expand_as(self.centers)
        return (q * self.dissimilarity.pairwise(shifted, center, *self._volumes())).sum(dim=1)

    def precisions(self) -> Tensor:
        """Precisions ``(n_clusters, n_components, n_components)`` of a Mahalanobis mixture."""
        (factors,) = self._volumes()
        return factors @ factors.mT

    def _volumes(self) -> tuple[Tensor, ...]:
        """Nothing, or the factors as the dissimilarity takes them."""
        if self.factors is None:
            return ()
        if self.log_determinant:
            return (self.factors,)
        m = self.factors.shape[1]
        volume = (log_determinants(self.factors) / (2 * m)).exp()
        return (self.factors / volume[:, None, None],)


class Discriminator(nn.Module):
    """Scores of pairs, for an estimate of their mutual information.

    Three hidden layers, as in the authors' code of Yang et al. 2019; on the places of a feature
    map they are its 1 x 1 convolutions.

    Parameters
    ----------
    n_features : int
        Width of the features.
    n_components : int
        Width of the embedding, and of the hidden layers.

    Examples
    --------
    >>> import torch
    >>> Discriminator(8, 5)(torch.zeros(3, 7, 8), torch.zeros(3, 5)).shape
    torch.Size([3, 7])
    """

    def __init__(self, n_features: int, n_components: int) -> None:
        super().__init__()
        widths = (n_features + n_components, *3 * (n_components,), 1)
        self.layers = nn.Sequential(*_dense(widths))
        glorot_(self)

    def forward(self, features: Tensor, z: Tensor) -> Tensor:
        """Logits ``(n, places)`` of features ``(n, places, n_features)`` with embeddings."""
        z = z.unsqueeze(1).expand(-1, features.shape[1], -1)
        scores: Tensor = self.layers(torch.cat([features, z], dim=2)).squeeze(2)
        return scores


class MixturePrior(nn.Module):
    """Gaussians of unit variance, one a cluster, of equal weight.

    Yang et al. 2019, equation 18.

    Parameters
    ----------
    n_clusters : int
        Number of Gaussians.
    n_components : int
        Width of the embedding.

    Attributes
    ----------
    means : torch.nn.Parameter of shape (n_clusters, n_components)
        Zero until a start partition fills them.

    Examples
    --------
    >>> import torch
    >>> prior = MixturePrior(2, 3)
    >>> prior(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([[0.5, 0.5]])).detach()
    tensor([0.])
    """

    def __init__(self, n_clusters: int, n_components: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.zeros(n_clusters, n_components))

    def forward(self, mean: Tensor, log_variance: Tensor, p: Tensor) -> Tensor:
        """Divergence ``(n,)`` of Gaussian posteriors with cluster posterior `p` from the prior."""
        apart = gaussian_divergence(mean.unsqueeze(1) - self.means, log_variance.unsqueeze(1))
        return (p * apart).sum(dim=1) - entropy(p) + math.log(p.shape[1])


class SpectralAssignment(nn.Module):
    """Head whose outputs, made orthonormal, are a spectral embedding with k-means centers.

    Yang et al. 2019, section 3.3. The map that makes them orthonormal and the centers are
    buffers: no answer depends on the rows it is given with.

    Parameters
    ----------
    n_clusters : int
        Number of outputs, and of centers.
    n_components : int
        Width of the latents.
    latent : bool, default=False
        Whether the latents are answered as the embedding.

    Attributes
    ----------
    orthonormalizer : tensor of shape (n_clusters, n_clusters)
        See :func:`skdeepcluster.functional.orthonormalizer`.
    spectral_centers : tensor of shape (n_clusters, n_clusters)
        Of k-means in the spectral embedding.
    latent_centers : tensor of shape (n_clusters, n_components)
        Mean latents of the clusters.
    variance : tensor of shape ()
        Of a coordinate around its center, the width of the responsibilities.

    Examples
    --------
    >>> import torch
    >>> y, q = SpectralAssignment(4, 2).embed(torch.zeros(3, 2))
    >>> y.shape, q.shape
    (torch.Size([3, 4]), torch.Size([3, 4]))
    """

    orthonormalizer: Tensor
    spectral_centers: Tensor
    latent_centers: Tensor
    variance: Tensor

    def __init__(self, n_clusters: int, n_components: int, *, latent: bool = False) -> None:
        super().__init__()
        widths = (n_components, _HEAD_UNITS, _HEAD_UNITS, n_clusters)
        self.head = glorot_(nn.Sequential(*_dense(widths)))
        self.latent = latent
        self.register_buffer("orthonormalizer", torch.eye(n_clusters))
        self.register_buffer("spectral_centers", torch.zeros(n_clusters, n_clusters))
        self.register_buffer("latent_centers", torch.zeros(n_clusters, n_components))
        self.register_buffer("variance", torch.tensor(1.0))

    @property
    def centers(self) -> Tensor:
        """Centers in the embedding that is answered."""
        return self.latent_centers if self.latent else self.spectral_centers

    def posterior(self, z: Tensor) -> Tensor:
        """Cluster posterior ``(n, n_clusters)`` of latents: the head's outputs."""
        p: Tensor = self.head(z).softmax(dim=1)
        return p

    def orthonormal(self, p: Tensor) -> Tensor:
        """Outputs made orthonormal on these rows, which are a training batch."""
        whiten = orthonormalizer(p)
        return p.to(whiten) @ whiten

    def responsibilities(self, y: Tensor) -> Tensor:
        """Soft assignment of spectral embeddings, the nearest center the likeliest."""
        distances = squared_distances(y, self.spectral_centers)
        return (-distances / (2.0 * self.variance)).softmax(dim=1)

    def spectral(self, z: Tensor) -> Tensor:
        """Spectral embedding ``(n, n_clusters)`` of latents."""
        return self.posterior(z) @ self.orthonormalizer

    def embed(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and soft assignment ``(n, n_clusters)`` of latents."""
        y = self.spectral(z)
        return z if self.latent else y, self.responsibilities(y)


class DualAutoencoder(nn.Module):
    """Autoencoder whose latents are decoded twice, with a head for clusters.

    Yang et al. 2019; ``forward`` is all that inference needs.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        From samples to latents ``(n, n_components)``, and back. A module ``encoder.features``, as
        :class:`FeatureEncoder` has it, is what the discriminators see, else the samples.
    assign : StudentTAssignment or SpectralAssignment
        From latents to soft assignment; until there is a spectral embedding, the latents are it.
    prior : MixturePrior
        Of the latents.
    spherical : bool
        Whether latents are directions, of length sqrt(n_components), where a standard Gaussian
        has nearly all of its mass.
    discriminators : dict of str to Discriminator, default=None
        "whole" for the features as one vector, "places" for those of each place of a map.

    Examples
    --------
    >>> import torch
    >>> encoder, decoder = mlp_autoencoder((6,), 2, (8,))
    >>> assign, prior = SpectralAssignment(3, 2), MixturePrior(3, 2)
    >>> net = DualAutoencoder(encoder, decoder, assign, prior, spherical=True)
    >>> y, q = net(torch.zeros(5, 6))
    >>> y.shape, q.shape
    (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    assign: Any

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        assign: nn.Module,
        prior: MixturePrior,
        *,
        spherical: bool,
        discriminators: dict[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        n_components = prior.means.shape[1]
        self.encoder = encoder
        self.decoder = decoder
        self.assign = assign
        self.prior = prior
        self.spherical = spherical
        # of the mean, so that any encoder will do; variances of 1 to begin with
        self.log_variance = nn.Linear(n_components, n_components)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.zeros_(self.log_variance.bias)
        self.discriminators = nn.ModuleDict(discriminators or {})

    def features(self, x: Tensor) -> Tensor:
        """What the discriminators see of samples: ``(n, channels, ...)``."""
        inner = getattr(self.encoder, "features", None)
        seen: Tensor = x if inner is None else inner(x)
        return seen

    def latent(self, x: Tensor) -> Tensor:
        """Mean latents ``(n, n_components)``."""
        return self._place(self.encoder(x))

    def _place(self, z: Tensor) -> Tensor:
        if self.spherical:
            z = math.sqrt(z.shape[1]) * normalize(z.float(), dim=1)
        return z

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and soft assignment ``(n, n_clusters)``."""
        z = self.latent(x)
        if isinstance(self.assign, SpectralAssignment):
            return self.assign.embed(z)
        return z, self.assign(z)

    def decode(self, embedding: Tensor) -> Tensor:
        """Samples of embeddings; a spectral one stands for the mean latents of its clusters."""
        if isinstance(self.assign, SpectralAssignment) and not self.assign.latent:
            mean = self.assign.responsibilities(embedding) @ self.assign.latent_centers
            embedding = self._place(mean)
        x: Tensor = self.decoder(embedding)
        return x
