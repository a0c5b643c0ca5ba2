"""Layers that assign embeddings to clusters, and an autoencoder with such a layer."""

from typing import Any

import torch
from torch import Tensor, nn

from ..dissimilarities import Dissimilarity, log_determinants
from ..functional import student_t_assignment


@torch.no_grad()
def _permute(order: Tensor, *tensors: Tensor) -> None:
    """Give row j of each tensor the values that row ``order[j]`` had, in place."""
    for tensor in tensors:
        tensor.copy_(tensor[order.to(tensor.device)])


class StudentTAssignment(nn.Module):
    """Soft assignment of embeddings to trainable cluster centers, by a Student-t kernel.

    Guo et al. 2017, equation 6; see :func:`skdeepcluster.functional.student_t_assignment`.

    Parameters
    ----------
    n_clusters : int
        Number of centers.
    n_components : int
        Width of the embedding.

    Attributes
    ----------
    centers : torch.nn.Parameter of shape (n_clusters, n_components)
        Cluster centers; zero until a start partition sets them.
    frequencies : tensor of shape (n_clusters,)
        Sum of the soft assignments of all training samples when the target was last computed. With
        it, the target of any other sample can be computed.

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
        self.float()

    def forward(self, z: Tensor) -> Tensor:
        """Soft assignment ``(n, n_clusters)`` of embeddings ``(n, n_components)``."""
        return student_t_assignment(z, self.centers)

    def reorder(self, order: Tensor) -> None:
        """Renumber the clusters in place: cluster j becomes what cluster ``order[j]`` was."""
        _permute(order, self.centers, self.frequencies)


class DissimilarityMixture(nn.Module):
    """Soft assignment by a mixture with components ``exp(-alpha * d(z, center))``.

    Use it if clusters are not round: `d` is any dissimilarity. Lara and Gonzalez 2020, equations 14
    and 15.

    Parameters
    ----------
    n_clusters : int
        Number of components.
    n_components : int
        Width of the embedding.
    dissimilarity : Dissimilarity
        The dissimilarity `d`, from :func:`skdeepcluster.dissimilarities.resolve`.
    log_determinant : bool, default=False
        If True, the precisions are free and each component is a normalised Gaussian. If False,
        every precision keeps a determinant of 1; otherwise the loss would shrink it to zero.

    Attributes
    ----------
    centers : torch.nn.Parameter of shape (n_clusters, n_components)
        Cluster centers; zero until a start partition sets them.
    logits : torch.nn.Parameter of shape (n_clusters,)
        Mixing weights before their softmax.
    factors : torch.nn.Parameter of shape (n_clusters, n_components, n_components) or None
        Factors of the precisions; None if the dissimilarity has no precisions.
    alpha : tensor of shape ()
        Inverse temperature.
    scale : tensor of shape ()
        Typical dissimilarity to the nearest center. It is the unit of the loss.

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
        self.float()

    def forward(self, z: Tensor) -> Tensor:
        """Responsibilities ``(n, n_clusters)`` of embeddings ``(n, n_components)``."""
        return (self.bias() - self.alpha * self.distances(z)).softmax(dim=1)

    def reorder(self, order: Tensor) -> None:
        """Renumber the clusters in place: cluster j becomes what cluster ``order[j]`` was."""
        factors = [] if self.factors is None else [self.factors]
        _permute(order, self.centers, self.logits, *factors)

    def distances(self, z: Tensor) -> Tensor:
        """Dissimilarities ``(n, n_clusters)`` to the centers."""
        return self.dissimilarity.pairwise(z, self.centers, *self._volumes())

    def bias(self) -> Tensor:
        """Logarithms ``(n_clusters,)`` of the weights, plus the normaliser of free precisions."""
        log_weights = self.logits.log_softmax(dim=0)
        if self.factors is None or not self.log_determinant:
            return log_weights
        return log_weights + 0.5 * log_determinants(self.factors)

    def distance_to_average(self, z: Tensor, q: Tensor) -> Tensor:
        """Dissimilarity ``(n,)`` to the average of all components with weights `q`.

        Lara and Gonzalez 2020, equations 11 and 12.
        """
        average = q @ self.centers
        if self.factors is None:
            return self.dissimilarity.rowwise(z, average)
        # the quadratic form of an average of precisions is the average of their quadratic forms
        shifted = self.centers.mean(dim=0) + z - average
        center = self.centers.mean(dim=0).expand_as(self.centers)
        return (q * self.dissimilarity.pairwise(shifted, center, *self._volumes())).sum(dim=1)

    def fixed(self) -> nn.Module:
        """The same soft assignment with its weights and volumes computed, for inference only."""
        return _FixedMixture(self)

    def precisions(self) -> Tensor:
        """Precisions ``(n_clusters, n_components, n_components)`` of a Mahalanobis mixture."""
        (factors,) = self._volumes()
        return factors @ factors.mT

    def _volumes(self) -> tuple[Tensor, ...]:
        """The factors that the dissimilarity takes, as a tuple; empty if it takes none."""
        if self.factors is None:
            return ()
        if self.log_determinant:
            return (self.factors,)
        m = self.factors.shape[1]
        volume = (log_determinants(self.factors) / (2 * m)).exp()
        return (self.factors / volume[:, None, None],)


class _FixedMixture(nn.Module):
    """A :class:`DissimilarityMixture` that is not trained any more."""

    centers: Tensor
    alpha: Tensor
    weights: Tensor
    volumes: Tensor | None

    @torch.no_grad()
    def __init__(self, mixture: DissimilarityMixture) -> None:
        super().__init__()
        self.dissimilarity = mixture.dissimilarity
        for name in ("centers", "alpha"):
            self.register_buffer(name, getattr(mixture, name).detach().clone())
        self.register_buffer("weights", mixture.bias().detach())
        # one more dimension: all ellipses in ONNX's einsum must have the same number of dimensions
        volumes = [factors.detach().unsqueeze(0) for factors in mixture._volumes()]
        self.register_buffer("volumes", volumes[0] if volumes else None)

    def forward(self, z: Tensor) -> Tensor:
        volumes = [self.volumes] if self.volumes is not None else []
        distances = self.dissimilarity.pairwise(z, self.centers, *volumes)
        return (self.weights - self.alpha * distances).softmax(dim=1)


class ClusteringAutoencoder(nn.Module):
    """Encoder, decoder and assignment layer of DCEC and DMAE; also for methods of your own.

    Guo et al. 2017. Inference calls only the network itself, ``module(x)``.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        From samples to embeddings ``(n, n_components)``, and back.
    assign : torch.nn.Module
        From embeddings to soft assignments ``(n, n_clusters)``. It has `centers` of shape
        (n_clusters, n_components) and a method ``reorder(order)``.

    Examples
    --------
    >>> import torch
    >>> from skdeepcluster.nn import mlp_autoencoder
    >>> encoder, decoder = mlp_autoencoder((6,), 2, (8,))
    >>> net = ClusteringAutoencoder(encoder, decoder, StudentTAssignment(3, 2))
    >>> z, q = net(torch.zeros(5, 6))
    >>> z.shape, q.shape
    (torch.Size([5, 2]), torch.Size([5, 3]))
    """

    assign: Any

    def __init__(self, encoder: nn.Module, decoder: nn.Module, assign: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.assign = assign

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding ``(n, n_components)`` and soft assignment ``(n, n_clusters)``."""
        z = self.encoder(x)
        return z, self.assign(z)

    @property
    def centers(self) -> Tensor:
        """Cluster centers ``(n_clusters, n_components)`` in the embedding."""
        centers: Tensor = self.assign.centers
        return centers

    def reorder(self, order: Tensor) -> None:
        """Renumber the clusters in place: cluster j becomes what cluster ``order[j]`` was."""
        self.assign.reorder(order)

    def decode(self, embedding: Tensor) -> Tensor:
        """Reconstructed samples of embeddings ``(n, n_components)``."""
        x: Tensor = self.decoder(embedding)
        return x
