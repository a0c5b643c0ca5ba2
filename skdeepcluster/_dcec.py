"""Deep Clustering with Convolutional Autoencoders (Guo, Liu, Zhu, Yin, ICONIP 2017)."""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from joblib import Memory
from torch import Tensor, nn

from ._base import BaseDeepClusterer
from ._partition import initial_assignment, overclustered_round, resolve_init
from ._phases import Batch, Phase, Run, Step
from ._sklearn import Interval
from .functional import (
    constant,
    cosine,
    kl_divergence,
    one_cycle,
    reconstruction_error,
    target_distribution,
)
from .nn import ClusteringAutoencoder, StudentTAssignment

_PRETRAIN_UPDATES = 2400
_OVERCLUSTER_UPDATES = 600
_CLUSTER_UPDATES = 500


class DCEC(BaseDeepClusterer):
    """TODO"""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDeepClusterer._parameter_constraints,
        "gamma": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "update_interval": [Interval(Integral, 1, None, closed="left")],
    }
    _not_in_pretraining = BaseDeepClusterer._not_in_pretraining | {
        "gamma",
        "reconstruction_weight",
        "update_interval",
    }

    def __init__(
        self,
        n_clusters: int = 4,
        *,
        n_components: int = 10,
        gamma: float = 1.0,
        reconstruction_weight: float = 1.0,
        update_interval: int = 1,
        architecture: Any = "auto",
        hidden_units: str | Sequence[int] = "auto",
        image_shape: Sequence[int] | None = None,
        scaling: str = "auto",
        augmentation: str | Callable[[Tensor], Tensor] | None = "auto",
        init: str = "auto",
        pretrain_epochs: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        learning_rate_schedule: str = "annealed",
        n_init: int = 4,
        tol: float = 1e-3,
        device: str | torch.device = "auto",
        precision: str = "auto",
        warm_start: bool = False,
        memory: str | Memory | None = None,
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_components = n_components
        self.gamma = gamma
        self.reconstruction_weight = reconstruction_weight
        self.update_interval = update_interval
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
        assign = StudentTAssignment(self.n_clusters, self.n_components)
        return ClusteringAutoencoder(encoder, decoder, assign)

    def _phases(self, run: Run) -> tuple[Phase, ...]:
        annealed = self.learning_rate_schedule == "annealed"
        rate = self.learning_rate
        pretrain = Phase(
            "pretrain",
            self._epochs(self.pretrain_epochs, _PRETRAIN_UPDATES, run),
            (Step("autoencoder", self._reconstruct, trains=("encoder", "decoder")),),
            rate,
            schedule=one_cycle if annealed else constant,
            cached=True,
        )
        overcluster = overclustered_round(
            run, self.n_clusters, self._epochs("auto", _OVERCLUSTER_UPDATES, run), rate, constant
        )
        cluster = Phase(
            "cluster",
            self._epochs(self.max_epochs, _CLUSTER_UPDATES, run),
            (Step("joint", self._joint, trains=("encoder", "decoder", "assign")),),
            rate,
            schedule=cosine if annealed else constant,
            setup=self._start,
            refresh=self._target,
            refresh_every=self.update_interval,
            stop=self._labels_stable,
        )
        if resolve_init(self.init, run.restart) == "overclustered":
            return pretrain, overcluster, cluster
        return pretrain, cluster

    def _reconstruct(self, module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
        """Equation 4, from augmented to clean samples."""
        x_hat = module.decoder(module.encoder(batch.augment(batch.x)))
        return {"reconstruction": reconstruction_error(x_hat, batch.x).mean()}

    def _start(self, run: Run) -> None:
        """Centers of the start partition become parameters, section 3.4."""
        run.module.assign = initial_assignment(run, self.n_clusters, self.init)

    def _target(self, run: Run) -> dict[str, Tensor]:
        """Equation 8, on all samples."""
        q = run.assign()
        run.module.assign.frequencies.copy_(q.sum(dim=0))
        return {"q": q, "p": target_distribution(q)}

    def _joint(self, module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
        """Equation 5: reconstruction plus gamma times the divergence from the target."""
        z, q = module(batch.augment(batch.x))
        losses = {"clustering": self.gamma * kl_divergence(batch.targets["p"], q).mean()}
        if self.reconstruction_weight:
            error = reconstruction_error(module.decoder(z), batch.x).mean()
            losses["reconstruction"] = self.reconstruction_weight * error
        return losses

    def _labels_stable(self, run: Run) -> bool:
        """Section 3.4: stop when fewer than `tol` of the labels changed."""
        return run.label_change < self.tol

    def _objective(self, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        p = target_distribution(q, self.module_.assign.frequencies)
        error = reconstruction_error(self.module_.decoder(z), x)
        return self.reconstruction_weight * error + self.gamma * kl_divergence(p, q)
