"""Networks: encoders, decoders and assignment layers, in plain torch."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .functional import student_t_assignment

_CONV_CHANNELS = (32, 64, 128)  # Guo et al. 2017, section 4.2
_CONV_KERNELS = (5, 5, 3)


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


def mlp_autoencoder(
    input_shape: Sequence[int], n_components: int, hidden_units: Sequence[int]
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
    encoder = nn.Sequential(nn.Flatten(), *_dense(widths))
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
