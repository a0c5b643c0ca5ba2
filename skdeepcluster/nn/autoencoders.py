"""Encoders and decoders, and the layers that they are built from."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

_CONV_CHANNELS = (32, 64, 128)  # Guo et al. 2017, section 4.2
_CONV_KERNELS = (5, 5, 3)
_LARGE_IMAGE = 24  # pixels a side from which Yang et al. 2019, table 2, have four layers
_FEW_PLACES = 7  # a side, at which convolutions end; 5 of the paper's 28 x 28 pixels
_FEW_BLOCKED_PLACES, _WIDEST_BLOCK = 6, 512  # the same of residual blocks, and their channels
_LEAK = 0.2  # of rectifiers, Zhao et al. 2020


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


def _initialized(
    encoder: nn.Module, decoder: nn.Module, generator: torch.Generator | None
) -> tuple[nn.Module, nn.Module]:
    """The pair in float32 with the weights of :func:`glorot_`, the encoder's drawn first."""
    return glorot_(encoder.float(), generator), glorot_(decoder.float(), generator)


def mlp_autoencoder(
    input_shape: Sequence[int],
    n_components: int,
    hidden_units: Sequence[int],
    *,
    batch_norm: bool = False,
    generator: torch.Generator | None = None,
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
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

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
    return _initialized(encoder, decoder, generator)


def conv_autoencoder(
    input_shape: Sequence[int],
    n_components: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[nn.Module, nn.Module]:
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
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

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
    return _initialized(encoder, decoder, generator)


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
    input_shape: Sequence[int],
    n_components: int,
    *,
    generator: torch.Generator | None = None,
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
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

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
    return _initialized(encoder, _dense_decoder(input_shape, n_components), generator)


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
        self.float()

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
        self.float()

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
    generator: torch.Generator | None = None,
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
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

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
    encoder = FeatureEncoder(nn.Sequential(*layers), head)
    return _initialized(encoder, _dense_decoder(input_shape, n_components), generator)


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
        self.float()

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, n_out, ...)`` of maps ``(n, n_in, ...)``."""
        y: Tensor = self.residual(x) + self.shortcut(x)
        return y


def residual_autoencoder(
    input_shape: Sequence[int],
    n_components: int,
    *,
    preprocessing: str | None = None,
    generator: torch.Generator | None = None,
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
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

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
    encoder = FeatureEncoder(nn.Sequential(*layers), head)
    return _initialized(encoder, _dense_decoder(input_shape, n_components), generator)
