"""Phases before a paper's own phase: the autoencoder, and a round with more clusters."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from .._engine.method import epochs_of_a_target, learns_from_views
from .._engine.phases import Batch, Phase, Run, Step
from .._engine.plan import Plan
from ..augment import random_masking
from ..functional import (
    contrastive_loss,
    cosine,
    kl_divergence,
    one_cycle,
    reconstruction_error,
    target_distribution,
)
from ..nn import ClusteringAutoencoder
from .partition import start_clusters, start_partition


def start_phases(plan: Plan) -> tuple[Phase, ...]:
    """Train the autoencoder alone, then with too many clusters or a partition, as `init` says.

    Parameters
    ----------
    plan : Plan
        What the fit does.

    Returns
    -------
    tuple of Phase
        The module needs an encoder, a decoder and an assignment layer.
    """
    if plan.init == "samples":
        return pretraining(plan), imitation(plan)
    if plan.init == "overclustered":
        return pretraining(plan), overclustered_round(plan)
    return (pretraining(plan),)


def pretraining(plan: Plan) -> Phase:
    """Train the autoencoder alone, from augmented to clean samples.

    For images, the embedding also learns which two views show the same image, unless `init` is
    "k-means", as in the papers.

    Parameters
    ----------
    plan : Plan
        Its `pretrain_epochs` is the length, its `learning_rate` the (peak) rate.

    Returns
    -------
    Phase
    """
    views = learns_from_views(plan.data, plan.values)
    losses = _reconstruct_and_tell_apart if views else reconstruct
    return Phase(
        "pretrain",
        plan.pretrain_epochs,
        (Step("autoencoder", losses, trains=("encoder", "decoder")),),
        plan.learning_rate,
        plan.schedule(one_cycle),
        whole_batches=views,
        cached=True,
        augment=pretraining_augmentation(plan),
    )


def pretraining_augmentation(plan: Plan) -> Callable[..., Tensor] | None:
    """The augmentation for pretraining only, instead of the estimator's augmentation.

    Half of a text may belong to another cluster, so masking is used only to train the autoencoder.

    Parameters
    ----------
    plan : Plan
        What the fit does.

    Returns
    -------
    callable or None
        ``(x, generator) -> x``.
    """
    return random_masking if plan.augmentation == "masking" else None


def reconstruct(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Guo et al. 2017, equation 4."""
    x_hat = module.decoder(module.encoder(batch.augment(batch.x)))
    return {"reconstruction": reconstruction_error(x_hat, batch.x).mean()}


def _reconstruct_and_tell_apart(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Equation 4, and a contrastive loss: the embedding of a view must show which image it is."""
    views = torch.cat([batch.augment(batch.x), batch.augment(batch.x)])
    z, other = module.encoder(views).chunk(2)
    return {
        "reconstruction": reconstruction_error(module.decoder(z), batch.x).mean(),
        "information": contrastive_loss(z, other).mean(),
    }


def overclustered_round(plan: Plan) -> Phase:
    """A round of DCEC with twice the clusters, before the start partition is taken.

    It draws the samples of a cluster together without deciding yet which parts belong together. The
    clusters come from the partition of the embedding after the round.

    Parameters
    ----------
    plan : Plan
        Its `overcluster_epochs` is the length.

    Returns
    -------
    Phase
        The assignment layer of the module is replaced.
    """
    return _self_training(plan, "overcluster", _twice_the_clusters)


def sharpening_round(plan: Plan) -> Phase:
    """A round of DCEC with the clusters of the start, before the start partition is taken again.

    It moves apart the clusters of images that only their views told apart. On the MNIST test set,
    the normalised cut of the start partition fell from 1.03 to .87. It is run once, from the
    partition of all starts: each start alone took longer and was not more accurate. Like the
    mixture, it keeps two clusters that the start joined.

    Parameters
    ----------
    plan : Plan
        Its `overcluster_epochs` is the length.

    Returns
    -------
    Phase
        The assignment layer of the module is replaced.
    """
    sharpen = _self_training(plan, "sharpen", _clusters_of_all_starts)
    return dataclasses.replace(sharpen, once=True)


def _self_training(
    plan: Plan, name: str, setup: Callable[[Run], dict[str, Tensor] | None]
) -> Phase:
    step = Step("joint", _self_train, trains=("encoder", "decoder", "assign"))
    return Phase(
        name,
        plan.overcluster_epochs,
        (step,),
        plan.learning_rate,
        setup=setup,
        refresh=_sharpen,
        refresh_every=epochs_of_a_target(plan),
    )


def imitation(plan: Plan) -> Phase:
    """The network learns a partition of the samples, which its embedding may not show yet.

    Parameters
    ----------
    plan : Plan
        Its `pretrain_epochs` is the length.

    Returns
    -------
    Phase
        The assignment layer of the module is replaced.
    """
    step = Step("joint", _self_train, trains=("encoder", "decoder", "assign"))
    return Phase(
        "imitate",
        plan.pretrain_epochs,
        (step,),
        plan.learning_rate,
        plan.schedule(cosine),
        setup=start_clusters,
    )


def _twice_the_clusters(run: Run) -> dict[str, Tensor]:
    twice = min(2 * run.plan.n_clusters, len(run.rows))
    run.module.assign, targets = start_partition(run, twice, "graph")
    return targets


def _clusters_of_all_starts(run: Run) -> dict[str, Tensor]:
    targets = start_clusters(run)
    run.others = []  # they have no part in what follows
    return targets


def _sharpen(run: Run) -> dict[str, Tensor]:
    # without "q": a cluster that becomes empty here is no collapse, since a new partition follows
    return {"p": target_distribution(run.assign())}


def _self_train(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    z, q = module(batch.augment(batch.x))
    return {
        "clustering": kl_divergence(batch.targets["p"], q).mean(),
        "reconstruction": reconstruction_error(module.decoder(z), batch.x).mean(),
    }
