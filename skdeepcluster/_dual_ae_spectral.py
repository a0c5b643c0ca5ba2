"""Deep Spectral Clustering using Dual Autoencoder Network (Yang et al., CVPR 2019)."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, cast

import numpy as np
import torch
from joblib import Memory
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ._base import BaseDeepClusterer
from ._partition import nearest_neighbors, rows_as_features, start_partition
from ._phases import Batch, Phase, Run, Step
from ._sklearn import Interval, StrOptions
from .functional import (
    constant,
    contrastive_loss,
    cosine,
    gaussian_divergence,
    jensen_shannon_loss,
    kl_divergence,
    neighbor_affinity,
    one_cycle,
    orthonormalizer,
    reconstruction_error,
    spectral_loss,
    squared_distances,
)
from .nn import (
    Discriminator,
    DualAutoencoder,
    FeatureEncoder,
    MixturePrior,
    SpectralAssignment,
    StudentTAssignment,
    dual_conv_autoencoder,
)

# batches of the "auto" budgets; measured on USPS and the MNIST test set, doc/benchmarks
PRETRAIN_UPDATES = 700
_HEAD_UPDATES = 200
_CLUSTER_UPDATES = 500
_REFRESHES = 4  # of the neighbours, in the spectral phase
_CONFIDENCE = 0.2  # weight of a sample's own entropy, of that of their mean


class DualAESpectral(BaseDeepClusterer):
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDeepClusterer._parameter_constraints,
        "embedding": [StrOptions({"spectral", "latent"})],
        "mutual_information": [StrOptions({"views", "jensen-shannon"}), None],
        "information_weight": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "relative_weight": [Interval(Real, 0, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "prior_weight": [Interval(Real, 0, None, closed="left")],
        "balance_weight": [Interval(Real, 0, None, closed="left")],
        "affinity": [StrOptions({"probabilistic", "self-tuned", "gaussian"})],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "neighborhood": [StrOptions({"global", "batch"})],
        "init": [StrOptions({"graph", "k-means"})],
    }
    _not_in_pretraining = BaseDeepClusterer._not_in_pretraining | {
        "embedding",
        "balance_weight",
        "affinity",
        "neighborhood",
    }
    _fixed_in_warm_start = (
        *BaseDeepClusterer._fixed_in_warm_start,
        "embedding",
        "mutual_information",
    )
    _image_augmentation = "crop"
    _small_image = 0
    _conv_autoencoder = staticmethod(dual_conv_autoencoder)

    def __init__(
        self,
        n_clusters: int = 4,
        *,
        embedding: str = "spectral",
        mutual_information: str | None = "views",
        information_weight: float = 1.0,
        reconstruction_weight: float = 0.05,
        relative_weight: float = 0.05,
        noise: float = 0.5,
        prior_weight: float = 0.0,
        balance_weight: float = 1.0,
        affinity: str = "probabilistic",
        n_neighbors: int = 5,
        neighborhood: str = "global",
        n_components: int = 20,
        architecture: Any = "auto",
        hidden_units: str | Sequence[int] = "auto",
        image_shape: Sequence[int] | None = None,
        scaling: str = "auto",
        augmentation: str | Callable[[Tensor], Tensor] | None = "auto",
        init: str = "graph",
        pretrain_epochs: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        learning_rate_schedule: str = "annealed",
        n_init: int = 1,
        tol: float = 0.0,
        device: str | torch.device = "auto",
        precision: str = "auto",
        warm_start: bool = False,
        memory: str | Memory | None = None,
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.embedding = embedding
        self.mutual_information = mutual_information
        self.information_weight = information_weight
        self.reconstruction_weight = reconstruction_weight
        self.relative_weight = relative_weight
        self.noise = noise
        self.prior_weight = prior_weight
        self.balance_weight = balance_weight
        self.affinity = affinity
        self.n_neighbors = n_neighbors
        self.neighborhood = neighborhood
        self.n_components = n_components
        self.architecture = architecture
        self.hidden_units = hidden_units
        self.image_shape = image_shape
        self.scaling = scaling
        self.augmentation = augmentation
        self.init = init
        self.pretrain_epochs = pretrain_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.n_init = n_init
        self.tol = tol
        self.device = device
        self.precision = precision
        self.warm_start = warm_start
        self.memory = memory
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def _module(self, encoder: nn.Module, decoder: nn.Module) -> nn.Module:
        d = self.n_components
        discriminators: dict[str, nn.Module] = {}
        if self.mutual_information == "jensen-shannon":
            shape = self.image_shape_ or (self.n_features_in_,)
            if isinstance(encoder, FeatureEncoder):
                shape = tuple(encoder.features(torch.zeros(1, *shape)).shape[1:])
                discriminators["places"] = Discriminator(shape[0], d)
            discriminators["whole"] = Discriminator(math.prod(shape), d)
        return DualAutoencoder(
            encoder,
            decoder,
            StudentTAssignment(self.n_clusters, d),
            MixturePrior(self.n_clusters, d),
            spherical=self.mutual_information == "views",
            discriminators=discriminators,
        )

    def _phases(self, n_samples: int) -> tuple[Phase, ...]:
        annealed = self.learning_rate_schedule == "annealed"
        rate = self.learning_rate
        network = ("encoder", "decoder", "log_variance", "discriminators")
        pretrain = Phase(
            "pretrain",
            self._epochs(self.pretrain_epochs, PRETRAIN_UPDATES, n_samples),
            (Step("autoencoder", self._pretrain, trains=network),),
            rate,
            schedule=one_cycle if annealed else constant,
            setup=self._pair,
            whole_batches=True,
            cached=True,
        )
        epochs = self._epochs(self.max_epochs, _CLUSTER_UPDATES, n_samples)
        if not epochs:  # k-means on the latents
            return pretrain, Phase("cluster", 0, (), rate, setup=self._start)
        head = Phase(
            "head",
            self._epochs("auto", _HEAD_UPDATES, n_samples),
            (Step("head", self._imitate, trains=("assign",)),),
            rate,
            setup=self._start_head,
        )
        cluster = Phase(
            "cluster",
            epochs,
            (Step("joint", self._joint, trains=(*network, "prior", "assign")),),
            rate,
            schedule=cosine if annealed else constant,
            refresh=self._refresh,
            refresh_every=math.ceil(epochs / _REFRESHES),
            stop=self._labels_stable,
            whole_batches=True,
        )
        return pretrain, head, cluster

    # ---------------------------------------------------------------- stage A: the dual autoencoder

    def _pair(self, run: Run) -> dict[str, Tensor] | None:
        """Neighbours in the input, second views where nothing is augmented."""
        if self.mutual_information != "views" or self._augments():
            return None
        features = rows_as_features(run.rows, np.arange(len(run.rows)), run.random_state)
        _, index = nearest_neighbors(features, self._n_neighbors(run))
        return {"partners": torch.from_numpy(index).to(run.rows.device)}

    def _augments(self) -> bool:
        return self.augmentation is not None and (
            self.augmentation != "auto" or self.image_shape_ is not None
        )

    def _pretrain(self, module: DualAutoencoder, batch: Batch) -> dict[str, Tensor]:
        """Equation 13: the autoencoder's losses, and the divergence from a Gaussian prior."""
        views = [batch.augment(batch.x)]
        if self.mutual_information == "views":
            other = _neighbors(batch, "partners") if "partners" in batch.targets else batch.x
            views.append(batch.augment(other))
        z = module.latent(torch.cat(views))
        losses = self._dual_losses(module, batch, views[0], z)
        if self.prior_weight:
            z = z[: len(batch)].float()
            divergence = gaussian_divergence(z, module.log_variance(z)).mean()
            losses["prior"] = self.prior_weight * divergence
        return losses

    def _dual_losses(
        self, module: DualAutoencoder, batch: Batch, x: Tensor, z: Tensor
    ) -> dict[str, Tensor]:
        """Mutual information, and equation 12: reconstruction from clean and noisy latents.

        `z` holds latents of the samples, as `x` shows them, and then those of other views.
        """
        losses = {}
        n = len(batch)
        if self.information_weight and self.mutual_information is not None:
            information = self._information(module, x, z, n)
            losses["information"] = self.information_weight * information.mean()
        if self.reconstruction_weight or self.relative_weight:
            clean = module.decoder(z[:n])
            error = reconstruction_error(clean, batch.x).mean()
            losses["reconstruction"] = self.reconstruction_weight * error
            if self.relative_weight:
                noisy = z[:n] * (1.0 + self.noise * torch.randn_like(z[:n]))
                error = reconstruction_error(module.decoder(noisy), clean).mean()
                losses["relative"] = self.relative_weight * error
        return losses

    def _information(self, module: DualAutoencoder, x: Tensor, z: Tensor, n: int) -> Tensor:
        """Minus an estimate of the mutual information, of each sample."""
        if self.mutual_information == "views":
            with torch.autocast(z.device.type, enabled=False):
                return contrastive_loss(z[:n].float(), z[-n:].float())
        # equations 8 and 9, of the posterior's samples; batches are shuffled, so that the
        # neighbour in the batch is drawn at random, and is never the sample itself
        features, z = module.features(x), z[:n]
        z = z + (0.5 * module.log_variance(z)).exp() * torch.randn_like(z)
        loss = torch.zeros(n, device=z.device)
        for name, discriminator in module.discriminators.items():
            seen = features.flatten(1).unsqueeze(1)  # (n, 1, channels * places)
            if name == "places":
                seen = features.flatten(2).mT  # (n, places, channels)
            joint, product = discriminator(seen, z), discriminator(seen, z.roll(1, dims=0))
            loss = loss + jensen_shannon_loss(joint.float(), product.float())
        return loss

    # ---------------------------------------------------------------- stage B: spectral clustering

    def _start(self, run: Run) -> dict[str, Tensor]:
        run.module.assign, targets = start_partition(run, self.n_clusters, self.init)
        return targets

    def _start_head(self, run: Run) -> dict[str, Tensor]:
        """The start partition, for the head to imitate."""
        p = self._start(run).get("p")
        if p is None:
            p = one_hot(run.assign().argmax(dim=1), self.n_clusters).float()
        z = torch.from_numpy(run.embed()).to(p.device)
        module = run.module
        latent = self.embedding == "latent"
        module.assign = SpectralAssignment(self.n_clusters, self.n_components, latent=latent)
        module.assign.to(p.device)
        with torch.no_grad():
            module.prior.means.copy_(_means(z, p))
        return {"p": p}

    def _imitate(self, module: DualAutoencoder, batch: Batch) -> dict[str, Tensor]:
        module.encoder.eval()  # it is not trained here
        with torch.no_grad():
            z = module.latent(batch.x)
        p = module.assign.posterior(z).float()
        return {"imitation": kl_divergence(batch.targets["p"], p).mean()}

    @torch.no_grad()
    def _refresh(self, run: Run) -> dict[str, Tensor]:
        """Orthonormal outputs of all samples, k-means among them, neighbours among the latents."""
        assign = run.module.assign
        z = torch.cat([run.module.latent(x)[: w.stop - w.start] for w, x in run.rows.padded_batches()])
        p = torch.cat([assign.posterior(part) for part in z.split(8192)])
        assign.orthonormalizer.copy_(orthonormalizer(p))
        y = p @ assign.orthonormalizer
        # from the partition as it is: clusters keep their numbers
        hard = one_hot(p.argmax(dim=1), self.n_clusters).float()
        k_means = KMeans(self.n_clusters, init=_means(y, hard).cpu().numpy(), n_init=1)
        labels = torch.from_numpy(k_means.fit_predict(y.cpu().numpy())).long().to(y.device)
        hard = one_hot(labels, self.n_clusters).float()
        assign.spectral_centers.copy_(torch.from_numpy(k_means.cluster_centers_))
        assign.latent_centers.copy_(_means(z, hard))
        within = squared_distances(y, assign.spectral_centers).min(dim=1).values.mean()
        tiny = torch.finfo(torch.float32).tiny
        assign.variance.copy_((within / self.n_clusters).clamp_min(tiny))
        targets = {"q": assign.responsibilities(y)}
        if self.neighborhood == "global":
            distances, index = nearest_neighbors(z.cpu().numpy(), self._n_neighbors(run) + 1)
            targets["neighbors"] = torch.from_numpy(index[:, :-1]).to(z.device)
            squares = torch.from_numpy(distances).square().float().to(z.device)
            targets["affinity"] = neighbor_affinity(squares, self.affinity)
        return targets

    def _n_neighbors(self, run: Run) -> int:
        return min(self.n_neighbors, len(run.rows) - 2)

    def _joint(self, module: DualAutoencoder, batch: Batch) -> dict[str, Tensor]:
        """Equation 19: the autoencoder's losses, the mixture prior and the spectral loss."""
        n = len(batch)
        views = [batch.x]
        if self.neighborhood == "global":
            views.append(_neighbors(batch, "neighbors", batch.targets["affinity"]))
        if self._augments():
            views.append(batch.augment(batch.x))
        z = module.latent(torch.cat(views))
        losses = self._dual_losses(module, batch, batch.x, z)
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            p = module.assign.posterior(z)
            y = module.assign.orthonormal(p)
            losses["spectral"] = self._spectral(y, z.detach(), n).float()
            if self.prior_weight:
                divergence = module.prior(z[:n], module.log_variance(z[:n]), p[:n])
                losses["prior"] = self.prior_weight * divergence.mean()
            if self.balance_weight:
                entropy = torch.special.entr(p).sum(dim=1).mean()
                balance = _CONFIDENCE * entropy - torch.special.entr(p.mean(dim=0)).sum()
                losses["balance"] = self.balance_weight * balance
        return losses

    def _spectral(self, y: Tensor, z: Tensor, n: int) -> Tensor:
        """Equation 15, along the edges to each sample's partners in the batch."""
        partners = torch.stack(y.split(n)[1:], dim=1) if len(y) > n else None  # (n, j, k)
        parts = []
        if partners is not None:
            even = y.new_full(partners.shape[:2], 1.0 / partners.shape[1])
            parts.append(spectral_loss(y[:n], partners, even).mean())
        if self.neighborhood == "batch":
            squares = torch.cdist(z[:n], z[:n]).square().fill_diagonal_(torch.inf)
            near = squares.topk(min(self.n_neighbors + 1, n - 1), largest=False)
            weights = neighbor_affinity(near.values, self.affinity)
            index = near.indices[:, :-1]
            parts.append(spectral_loss(y[:n], y[index], weights).mean())
        return torch.stack(parts).mean()

    def _objective(self, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        return z.sum(1)


def _neighbors(batch: Batch, name: str, weights: Tensor | None = None) -> Tensor:
    """A neighbour of each sample, drawn by the weights."""
    index = batch.targets[name]
    if weights is None:
        weights = torch.ones(index.shape, device=index.device)
    chosen = index.gather(1, torch.multinomial(weights, 1))[:, 0]
    return batch.rows.take(chosen.cpu().numpy())


def _means(values: Tensor, p: Tensor) -> Tensor:
    """Mean of each cluster's rows, that of all rows for an empty one."""
    weights = p.sum(dim=0)
    fallback = values.mean(dim=0)
    means = (p.T @ values) / weights.clamp_min(1.0).unsqueeze(1)
    return torch.where((weights > 0).unsqueeze(1), means, fallback)
