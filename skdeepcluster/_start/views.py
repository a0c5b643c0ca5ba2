"""Pretraining by two views of each sample, and the imitation of a start partition.

Shared by the methods that learn from pairs of views instead of reconstructions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .._data.kind import FROM_SAMPLES
from .._data.rows import Rows
from .._engine.phases import Batch, Phase, Run, Step
from .._engine.plan import Plan
from ..functional import one_cycle
from .neighbors import nearest_neighbors, rows_as_features
from .partition import start_partition
from .pretraining import pretraining_augmentation

# `init` by the kind of the samples, for methods that imitate the start; others use "spectral"
STARTS = {"images": "graph", "bag of words": "graph", **dict.fromkeys(FROM_SAMPLES, "samples")}


def view_pretraining(
    plan: Plan,
    losses: Callable[[Any, Batch], dict[str, Tensor]],
    trains: tuple[str, ...],
) -> Phase:
    """Train the encoder alone, to tell the views of a sample from those of others.

    Parameters
    ----------
    plan : Plan
        Its `pretrain_epochs` is the length, its `learning_rate` the (peak) rate.
    losses : callable
        ``(module, batch) -> {name: scalar tensor}``.
    trains : tuple of str
        The submodules that are trained.

    Returns
    -------
    Phase
        With whole batches: the samples of a batch are compared with each other.
    """
    return Phase(
        "pretrain",
        plan.pretrain_epochs,
        (Step("encoder", losses, trains=trains),),
        plan.learning_rate,
        plan.schedule(one_cycle),
        whole_batches=True,
        cached=True,
        augment=pretraining_augmentation(plan),
    )


def input_neighbors(
    rows: Rows, kind: str, n_neighbors: int, random_state: np.random.RandomState
) -> tuple[Tensor, Tensor]:
    """Nearest other samples of each sample, which may be views of it.

    Parameters
    ----------
    rows : Rows
        The samples.
    kind : str
        Their kind.
    n_neighbors : int
        Neighbours of each sample.
    random_state : numpy.random.RandomState
        For the search among many samples.

    Returns
    -------
    distances : tensor of shape (n_samples, n_neighbors)
        Ascending.
    index : int64 tensor of shape (n_samples, n_neighbors), on the device of the samples
    """
    features = rows_as_features(rows, np.arange(len(rows)), kind, random_state)
    distances, index = nearest_neighbors(features, n_neighbors, random_state)
    return torch.from_numpy(distances).float(), torch.from_numpy(index).to(rows.device)


def cluster_shares(p: Tensor) -> Tensor:
    """Shares of the clusters in a start partition, for a prior; none is empty.

    Parameters
    ----------
    p : tensor of shape (n_samples, n_clusters)
        One-hot rows.

    Returns
    -------
    tensor of shape (n_clusters,)
    """
    sizes = p.sum(dim=0).clamp_min(1.0)
    return sizes / sizes.sum()


def partition_to_imitate(run: Run, Z: Tensor) -> Tensor:
    """The start partition, for a layer to imitate, as one-hot rows.

    Parameters
    ----------
    run : Run
        Module and samples.
    Z : tensor of shape (n_samples, m)
        What is clustered.

    Returns
    -------
    tensor of shape (n_samples, n_clusters)
    """
    n_clusters = run.plan.n_clusters
    assign, targets = start_partition(run, n_clusters, run.plan.init, Z.cpu().numpy())
    if targets:
        return targets["p"]
    with torch.no_grad():
        nearest = assign(Z).argmax(dim=1)
    return one_hot(nearest, n_clusters).float()
