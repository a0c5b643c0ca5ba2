"""The dual autoencoder of Yang et al. 2019 and its spectral head."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..functional import entropy, gaussian_divergence, orthonormalizer, squared_distances
from .assignment import _permute
from .autoencoders import FeatureEncoder, _dense, glorot_

_HEAD_UNITS = 256  # of the authors' script for pretraining; their later one has 1024


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
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

    Examples
    --------
    >>> import torch
    >>> Discriminator(8, 5)(torch.zeros(3, 7, 8), torch.zeros(3, 5)).shape
    torch.Size([3, 7])
    """

    def __init__(
        self, n_features: int, n_components: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        widths = (n_features + n_components, *3 * (n_components,), 1)
        self.layers = nn.Sequential(*_dense(widths))
        glorot_(self.float(), generator)

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
        self.float()

    def forward(self, mean: Tensor, log_variance: Tensor, p: Tensor) -> Tensor:
        """Divergence ``(n,)`` of Gaussian posteriors with cluster posterior `p` from the prior."""
        apart = gaussian_divergence(mean.unsqueeze(1) - self.means, log_variance.unsqueeze(1))
        return (p * apart).sum(dim=1) - entropy(p) + math.log(p.shape[1])

    def reorder(self, order: Tensor) -> None:
        """Renumber the Gaussians in place: number j becomes what number ``order[j]`` was."""
        _permute(order, self.means)


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
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

    Attributes
    ----------
    orthonormalizer : tensor of shape (n_clusters, n_clusters)
        See :func:`skdeepcluster.functional.orthonormalizer`.
    spectral_centers : tensor of shape (n_clusters, n_clusters)
        Of k-means in the spectral embedding.
    latent_centers : tensor of shape (n_clusters, n_components)
        Mean latents of the clusters.
    alive : bool tensor of shape (n_clusters,)
        Whether a cluster has samples. The soft assignment to a dead cluster is 0.
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
    alive: Tensor
    variance: Tensor

    def __init__(
        self,
        n_clusters: int,
        n_components: int,
        *,
        latent: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = (n_components, _HEAD_UNITS, _HEAD_UNITS, n_clusters)
        self.head = nn.Sequential(*_dense(widths))
        self.latent = latent
        self.register_buffer("orthonormalizer", torch.eye(n_clusters))
        self.register_buffer("spectral_centers", torch.zeros(n_clusters, n_clusters))
        self.register_buffer("latent_centers", torch.zeros(n_clusters, n_components))
        self.register_buffer("alive", torch.ones(n_clusters, dtype=torch.bool))
        self.register_buffer("variance", torch.tensor(1.0))
        glorot_(self.float(), generator)

    @property
    def centers(self) -> Tensor:
        """Cluster centers in the embedding that :meth:`embed` returns."""
        return self.latent_centers if self.latent else self.spectral_centers

    def reorder(self, order: Tensor) -> None:
        """Renumber the clusters in place: cluster j becomes what cluster ``order[j]`` was.

        The outputs of the head keep their numbers: they are coordinates, not clusters.
        """
        _permute(order, self.spectral_centers, self.latent_centers, self.alive)

    @torch.no_grad()
    def set_spectral_centers(self, index: Tensor, centers: Tensor) -> None:
        """Set the centers of the living clusters; all other clusters are dead from now on.

        A dead cluster gets the mean of the living centers, a value that can be plotted and
        decoded, and no sample.

        Parameters
        ----------
        index : int tensor of shape (n_alive,)
            Numbers of the living clusters, at least one.
        centers : tensor of shape (n_alive, n_clusters)
            Their centers in the spectral embedding.
        """
        self.alive.fill_(False)
        self.alive[index] = True
        self.spectral_centers.copy_(centers.mean(dim=0))
        self.spectral_centers[index] = centers

    def posterior(self, z: Tensor) -> Tensor:
        """Cluster posterior ``(n, n_clusters)`` of latents: the head's outputs."""
        p: Tensor = self.head(z).softmax(dim=1)
        return p

    def orthonormal(self, p: Tensor) -> Tensor:
        """Outputs made orthonormal on these rows, which are a training batch."""
        whiten = orthonormalizer(p)
        return p.to(whiten) @ whiten

    def responsibilities(self, y: Tensor) -> Tensor:
        """Soft assignment of spectral embeddings: the nearest living center is the likeliest."""
        distances = squared_distances(y, self.spectral_centers).masked_fill(~self.alive, torch.inf)
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
        From samples to latents ``(n, n_components)``, and back. The discriminators see the inner
        features of a :class:`FeatureEncoder`; with any other encoder they see the samples.
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
    >>> from skdeepcluster.nn import mlp_autoencoder
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
        self.log_variance = nn.Linear(n_components, n_components, dtype=torch.float32)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.zeros_(self.log_variance.bias)
        self.discriminators = nn.ModuleDict(discriminators or {})

    def features(self, x: Tensor) -> Tensor:
        """The input of the discriminators: inner features ``(n, channels, ...)``, or samples."""
        if isinstance(self.encoder, FeatureEncoder):
            x = self.encoder.features(x)
        return x

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

    @property
    def centers(self) -> Tensor:
        """Cluster centers in the embedding."""
        centers: Tensor = self.assign.centers
        return centers

    def reorder(self, order: Tensor) -> None:
        """Renumber the clusters in place: cluster j becomes what cluster ``order[j]`` was.

        The prior keeps its numbers: its Gaussians belong to the outputs of the head.
        """
        self.assign.reorder(order)

    def decode(self, embedding: Tensor) -> Tensor:
        """Samples of embeddings; a spectral one stands for the mean latents of its clusters."""
        if isinstance(self.assign, SpectralAssignment) and not self.assign.latent:
            mean = self.assign.responsibilities(embedding) @ self.assign.latent_centers
            embedding = self._place(mean)
        x: Tensor = self.decoder(embedding)
        return x
