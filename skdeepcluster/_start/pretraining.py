"""What trains before a paper's own phase: the autoencoder, and a round with more clusters."""

from collections.abc import Callable

import torch
from torch import Tensor

from .._engine.phases import Batch, Phase, Run, Step
from ..functional import (
    constant,
    kl_divergence,
    one_cycle,
    reconstruction_error,
    target_distribution,
)
from ..nn import ClusteringAutoencoder
from .partition import start_partition

# batches of the "auto" budgets; measured on USPS and the MNIST test set, doc/benchmarks
PRETRAIN_UPDATES = 2400
OVERCLUSTER_UPDATES = 600


def pretraining(
    epochs: int,
    learning_rate: float,
    *,
    annealed: bool,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None,
) -> Phase:
    """Train the autoencoder alone, from augmented to clean samples.

    Parameters
    ----------
    epochs : int
        Length.
    learning_rate : float
        Of Adam; its peak where annealed.
    annealed : bool
        Whether the learning rate goes through one cycle.
    augment : callable or None
        In the place of the estimator's augmentation, for this phase.

    Returns
    -------
    Phase
    """
    step = Step("autoencoder", reconstruct, trains=("encoder", "decoder"))
    schedule = one_cycle if annealed else constant
    return Phase("pretrain", epochs, (step,), learning_rate, schedule, cached=True, augment=augment)


def reconstruct(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Guo et al. 2017, equation 4."""
    x_hat = module.decoder(module.encoder(batch.augment(batch.x)))
    return {"reconstruction": reconstruction_error(x_hat, batch.x).mean()}


def overclustered_round(n_clusters: int, epochs: int, learning_rate: float) -> Phase:
    """A round of DCEC with twice the clusters, before the start partition is taken.

    It draws samples of a cluster together without deciding yet which parts belong
    together, and leaves that to the partition of the embedding it ends with.

    Parameters
    ----------
    n_clusters : int
        Clusters of the estimator. Its module needs an encoder, a decoder and an assignment
        layer, which is replaced.
    epochs : int
        Length.
    learning_rate : float
        Of Adam, constant.

    Returns
    -------
    Phase
    """

    def start(run: Run) -> dict[str, Tensor]:
        twice = min(2 * n_clusters, len(run.rows))
        run.module.assign, targets = start_partition(run, twice, "graph")
        return targets

    step = Step("joint", _self_train, trains=("encoder", "decoder", "assign"))
    return Phase("overcluster", epochs, (step,), learning_rate, setup=start, refresh=_sharpen)


def _sharpen(run: Run) -> dict[str, Tensor]:
    # without "q": it is no collapse when one of too many clusters dies
    return {"p": target_distribution(run.assign())}


def _self_train(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    z, q = module(batch.augment(batch.x))
    return {
        "clustering": kl_divergence(batch.targets["p"], q).mean(),
        "reconstruction": reconstruction_error(module.decoder(z), batch.x).mean(),
    }
