"""The dual autoencoder of Yang et al. 2019 and its spectral head."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..functional import gaussian_divergence, kl_divergence, orthonormalizer, squared_distances
from .assignment import _permute
from .autoencoders import FeatureEncoder, _dense, glorot_

_HEAD_UNITS = 256  # as in the authors' pretraining script; their later script has 1024
# for a training batch. With 1e-4, nearly equal outputs are not made orthonormal. They then have the
# smallest spectral loss, and clusters collapse
_JITTER = 1e-7


class Discriminator(nn.Module):
    """Scores of pairs of features and embeddings, to estimate their mutual information.

    Three hidden layers, as in the code of Yang et al. 2019. On the places of a feature map these
    layers are 1 x 1 convolutions.

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
        """Logits ``(n, places)`` of features ``(n, places, n_features)`` and their embeddings."""
        z = z.unsqueeze(1).expand(-1, features.shape[1], -1)
        scores: Tensor = self.layers(torch.cat([features, z], dim=2)).squeeze(2)
        return scores


class MixturePrior(nn.Module):
    """Prior of the latents with one Gaussian for each cluster.

    All Gaussians have unit variance. Yang et al. 2019, equation 18, where their weights are equal.

    Parameters
    ----------
    n_clusters : int
        Number of Gaussians.
    n_components : int
        Width of the latents.

    Attributes
    ----------
    means : torch.nn.Parameter of shape (n_clusters, n_components)
        Means of the Gaussians; zero until a start partition sets them.
    weights : tensor of shape (n_clusters,)
        Weights of the Gaussians, which sum to one; equal until a start partition sets them.

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
        self.weights: Tensor
        self.register_buffer("weights", torch.full((n_clusters,), 1.0 / n_clusters))
        self.float()

    def forward(self, mean: Tensor, log_variance: Tensor, p: Tensor) -> Tensor:
        """Divergence ``(n,)`` of latents and clusters from the prior.

        Latents have the Gaussian posterior of `mean` and `log_variance`, shape (n, n_components);
        clusters have the posterior `p`, shape (n, n_clusters).
        """
        apart = gaussian_divergence(mean.unsqueeze(1) - self.means, log_variance.unsqueeze(1))
        return (p * apart).sum(dim=1) + kl_divergence(p, self.weights)


class SpectralAssignment(nn.Module):
    """Head that maps latents to a spectral embedding, and k-means centers in this embedding.

    Yang et al. 2019, section 3.3. The spectral embedding is made of orthonormal combinations of
    the outputs. These combinations and the centers are computed from all training samples and
    stored, so the result for a sample does not depend on the other samples of its batch.

    Parameters
    ----------
    n_clusters : int
        Number of outputs, and of centers.
    n_components : int
        Width of the latents.
    latent : bool, default=False
        Whether :meth:`embed` returns the latents as the embedding, not the spectral embedding.
    generator : torch.Generator, default=None
        Source of the initial weights (:func:`glorot_`); torch's global one by default.

    Attributes
    ----------
    orthonormalizer : tensor of shape (n_clusters, n_clusters)
        Map from outputs to the spectral embedding, see
        :func:`skdeepcluster.functional.orthonormalizer`.
    spectral_centers : tensor of shape (n_clusters, n_clusters)
        Centers of k-means in the spectral embedding.
    latent_centers : tensor of shape (n_clusters, n_components)
        Mean latents of the clusters.
    alive : bool tensor of shape (n_clusters,)
        Whether a cluster has samples. The soft assignment to a dead cluster is 0.
    variance : tensor of shape ()
        Variance of a coordinate around its center. It sets how soft the assignment is.

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

        The center of a dead cluster becomes the mean of the living centers, which can be plotted
        and decoded. No sample is assigned to it.

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
        """Spectral embedding of a training batch: outputs made orthonormal on this batch."""
        whiten = orthonormalizer(p, _JITTER)
        return p.to(whiten) @ whiten

    def responsibilities(self, y: Tensor) -> Tensor:
        """Soft assignment of spectral embeddings: the nearest living center is the most likely."""
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
    """Dual autoencoder with a spectral head, the network of DualAESpectral.

    The decoder reconstructs a sample from clean and from noisy latents. Yang et al. 2019.
    Inference calls only the network itself, ``module(x)``.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        From samples to latents ``(n, n_components)``, and back. The discriminators see the inner
        features of a :class:`FeatureEncoder`; with any other encoder they see the samples.
    assign : StudentTAssignment or SpectralAssignment
        From latents to soft assignments. With :class:`StudentTAssignment`, the latents are the
        embedding.
    prior : MixturePrior
        Prior of the latents.
    spherical : bool
        Whether all latents are scaled to length ``sqrt(n_components)``. A standard Gaussian has
        nearly all of its mass near this sphere.
    discriminators : dict of str to Discriminator, default=None
        "whole" scores all features as one vector, "places" scores each place of a feature map.

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
        # computed from the mean, so that any encoder can be used; all variances start at 1
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
        """Embedding and soft assignment ``(n, n_clusters)`` of samples."""
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
        """Reconstructed samples of embeddings.

        A spectral embedding is decoded from the mean latents of its clusters, weighted by its soft
        assignment.
        """
        if isinstance(self.assign, SpectralAssignment) and not self.assign.latent:
            mean = self.assign.responsibilities(embedding) @ self.assign.latent_centers
            embedding = self._place(mean)
        x: Tensor = self.decoder(embedding)
        return x
