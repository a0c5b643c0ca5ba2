"""Encoders and decoders, and the layers that they are built from."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

_CONV_CHANNELS = (32, 64, 128)  # Guo et al. 2017, section 4.2
_CONV_KERNELS = (5, 5, 3)
_LARGE_IMAGE = 24  # shortest side in pixels that has four layers in Yang et al. 2019, table 2
_FEW_PLACES = 7  # convolutions end when no side is longer; the paper's 28 x 28 pixels end at 5
_FEW_BLOCKED_PLACES, _WIDEST_BLOCK = 6, 512  # the same for residual blocks, and their channels
_LEAK = 0.2  # slope of leaky rectifiers, Zhao et al. 2020


def glorot_(module: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Initialise linear and convolutional layers in place, as Keras and the papers do.

    Weights are Glorot-uniform (also called Xavier-uniform), biases are zero. The scale of the
    embedding depends on this: with torch's own default the embedding layer of DCEC is 2.4 times
    smaller, which changes how sharp the Student-t kernel is.

    Parameters
    ----------
    module : torch.nn.Module
        Network; its linear, convolutional and transposed convolutional layers are initialised.
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
    """Linear layers with ReLU between them; the output is linear."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return layers[:-1]


def _normalized_dense(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers, each with batch normalisation and ReLU."""
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
    """Fully connected autoencoder for vectors and small images.

    The decoder mirrors the encoder, as in Xie et al. 2016.

    Parameters
    ----------
    input_shape : sequence of int
        Shape of one sample. The encoder flattens images, the decoder gives back their shape.
    n_components : int
        Width of the embedding.
    hidden_units : sequence of int
        Widths of the encoder's hidden layers. Xie et al. 2016 use
        ``(500, 500, 2000)``.
    batch_norm : bool, default=False
        Whether the hidden layers of the encoder have batch normalisation.
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

    Guo et al. 2017, section 4.2: convolutions conv5_32, conv5_64 and conv3_128 with stride 2,
    then a linear embedding. The decoder mirrors the encoder. Padding is "same"; the third layer
    has no padding along sides with an odd length of 3 or more. With 28 x 28 and 16 x 16 pixels
    the layers are those of the authors. Images of any other size, also non-square, keep their
    size in the reconstruction.

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
    """Encoder in two parts, for a discriminator that needs its inner features.

    Parameters
    ----------
    features : torch.nn.Module
        From samples to a feature map ``(n, channels, height, width)``.
    head : torch.nn.Module
        From the flattened feature map to the embedding.

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
    """Autoencoder of DualAESpectral, for images of any size.

    Yang et al. 2019, table 2. The encoder has four convolutions with 3 x 3 kernels; their channels
    are 16, 16, 32, 32 and their strides 2, 1, 2, 1. Images with a side of less than 24 pixels have
    two convolutions with 32 and 64 channels and stride 2 (table 2 has 16 and 32 for USPS). The
    decoder has dense layers.

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
    """Convert colour images to grayscale: the luminance of ITU-R BT.601.

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
        """Gray images ``(n, 1, height, width)`` of colour images ``(n, 3, height, width)``."""
        return (x * self.weights.to(x)[:, None, None]).sum(dim=1, keepdim=True)


class Sobel(nn.Module):
    """Replace images by their edges: the horizontal and the vertical derivative.

    Channels are summed first. The 3 x 3 Sobel kernels are divided by 8, as in the code of Zhao et
    al. 2020.

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
    """Layers before the first convolution, and the number of channels after them."""
    if name not in (None, "grayscale", "sobel"):
        raise ValueError(f"preprocessing={name!r} must be 'grayscale', 'sobel' or None.")
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
    """Autoencoder of DCCS, for images of any size.

    Zhao et al. 2020, supplement, table 6. The encoder has two convolutions with 4 x 4 kernels and
    stride 2, the second with twice as many channels, then a dense layer; all have batch
    normalisation. More convolutions follow while a side of the feature map is longer than 7. There
    is no padding, as in the authors' code; images with a side of less than 24 pixels have a padding
    of 1. The decoder has dense layers.

    Parameters
    ----------
    input_shape : sequence of 3 ints
        Channels, height and width.
    n_components : int
        Width of the embedding.
    width : int, default=32
        Channels of the first layer. The dense layer has 16 times as many units. The paper has 64.
    preprocessing : {"grayscale", "sobel"} or None, default=None
        First layers of the encoder. "grayscale" is :class:`Grayscale` for images with three
        channels, and nothing for others. "sobel" is the same, followed by :class:`Sobel`.
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
        # with its padding, a side of one pixel has three
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
    """Two 3 x 3 convolutions with batch normalisation, plus a shortcut around them.

    Zhao et al. 2020, supplement, tables 7 and 8.

    Parameters
    ----------
    n_in, n_out : int
        Number of channels of the input and of the output.
    halve : bool
        Whether 2 x 2 places are averaged, which halves height and width.
    first : bool, default=False
        Whether the input is the image. Then there is no normalisation before the first convolution.

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
        self.shortcut = nn.Sequential(*pool, *project)  # same result as project, then pool
        self.float()

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps ``(n, n_out, ...)`` of feature maps ``(n, n_in, ...)``."""
        y: Tensor = self.residual(x) + self.shortcut(x)
        return y


def residual_autoencoder(
    input_shape: Sequence[int],
    n_components: int,
    *,
    preprocessing: str | None = None,
    generator: torch.Generator | None = None,
) -> tuple[nn.Module, nn.Module]:
    """Residual autoencoder of DCCS, for photographs; training needs a GPU.

    Zhao et al. 2020, supplement, tables 7 (32 x 32 pixels) and 8 (96 x 96 pixels). Residual blocks
    halve the image until no side is longer than 6; the last of them has 512 channels. One more
    block, an average over all places and a dense layer follow. The decoder has dense layers.

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
