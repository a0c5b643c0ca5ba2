"""The networks of DCCS (Zhao et al. 2020): an encoder of category and style, and a critic."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .assignment import _permute
from .autoencoders import _LEAK, FeatureEncoder, glorot_


class Critic(nn.Module):
    """Scores of vectors: dense layers without normalisation, and a linear output.

    Zhao et al. 2020, supplement, table 9. The gradient penalty of training needs the gradient of
    each sample on its own. Batch normalisation would mix the samples (Gulrajani et al. 2017,
    section 4).

    Parameters
    ----------
    n_features : int
        Width of the vectors.
    hidden_units : sequence of int
        Widths of the hidden layers; the paper's are ``(1024, 512)``.
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

    Examples
    --------
    >>> import torch
    >>> Critic(8, (5, 4))(torch.zeros(3, 8)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        n_features: int,
        hidden_units: Sequence[int],
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise([n_features, *hidden_units]):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(_LEAK)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden_units[-1], 1))
        glorot_(self.float(), generator)

    def forward(self, z: Tensor) -> Tensor:
        """Scores ``(n,)`` of vectors ``(n, n_features)``."""
        scores: Tensor = self.layers(z).squeeze(1)
        return scores


class CategoryStyleNetwork(nn.Module):
    """Encoder of a category and a style with its decoder, critic and discriminator.

    The network of DCCS, Zhao et al. 2020. Inference calls only the network itself, ``module(x)``.

    Parameters
    ----------
    encoder : torch.nn.Module
        From samples to ``(n, n_components)``: the logits of the categories, then the style. The
        discriminator sees the inner features of a :class:`FeatureEncoder` next to the embedding;
        with any other encoder it sees the samples.
    decoder : torch.nn.Module
        From embeddings to samples.
    critic : torch.nn.Module
        From embeddings to scores.
    discriminator : torch.nn.Module or None
        From features and embeddings, side by side, to scores.
    prior : tensor of shape (n_clusters,)
        Probabilities of the categories.
    style_length : float, default=None
        Length that all styles are scaled to. By default styles keep their length.

    Attributes
    ----------
    prior : tensor of shape (n_clusters,)
        Probabilities of the categories.
    prior_score : tensor of shape ()
        The critic's mean score of draws from the prior.
    order : int tensor of shape (n_clusters,)
        The category of each cluster. Embedding, prior, critic and decoder number the categories
        as the encoder does.

    Examples
    --------
    >>> import torch
    >>> from skdeepcluster.nn import mlp_autoencoder
    >>> encoder, decoder = mlp_autoencoder((6,), 5, (8,))
    >>> net = CategoryStyleNetwork(encoder, decoder, Critic(5, (4,)), None, torch.full((3,), 1 / 3))
    >>> z, q = net(torch.zeros(2, 6))
    >>> z.shape, q.shape
    (torch.Size([2, 5]), torch.Size([2, 3]))
    """

    prior: Tensor
    prior_score: Tensor
    order: Tensor

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
        self.register_buffer("prior", prior.float())
        self.register_buffer("prior_score", torch.tensor(0.0, dtype=torch.float32))
        self.register_buffer("order", torch.arange(len(prior)))
        self.style_length = style_length

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, logits of the categories ``(n, n_clusters)`` and styles of samples."""
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
        """Embedding ``(n, n_components)`` and soft assignment ``(n, n_clusters)``."""
        z = self.embed(x)
        return z, z[:, self.order]

    def reorder(self, order: Tensor) -> None:
        """Renumber the clusters in place: cluster j becomes what cluster ``order[j]`` was."""
        _permute(order, self.order)

    def decode(self, embedding: Tensor) -> Tensor:
        """Reconstructed samples of embeddings ``(n, n_components)``."""
        x: Tensor = self.decoder(embedding)
        return x
