"""The parts of a method that its author writes: module, phases and loss."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from .._data.kind import FROM_SAMPLES
from .._data.rows import Rows
from .._data.scaling import Scaler
from ..augment import random_affine, random_crop
from ..nn import conv_autoencoder, mlp_autoencoder
from .architecture import default_widths
from .model import FittedModel
from .phases import Phase, Run, unchanged
from .plan import Data, Plan

Builder = Callable[..., tuple[nn.Module, nn.Module]]
Augmentation = Callable[..., Tensor]

PRETRAIN_UPDATES = 2400  # batches
_VIEW_PRETRAIN_UPDATES = 700  # if two views of an image are compared
OVERCLUSTER_UPDATES = 600
_TARGET_UPDATES = 32
_SHORT_PRETRAIN_UPDATES = 600  # if the partition comes from the samples
_SHORT_CLUSTER_UPDATES = 300
CLUSTER_UPDATES = 1000
_SMALL_IMAGE = 32 * 32  # pixels, up to which an MLP was as accurate as convolutions, and faster
_COMPONENTS = 10  # width of the embedding in the authors' code, for DCEC and DMAE
_LEARNING_RATE, _TEXT_LEARNING_RATE = 3e-3, 1e-3
_FULL_STRENGTH_SIDE = 16  # pixels from which augmentation has its full strength


def affine(x: Tensor, generator: Any) -> Tensor:
    """:func:`skdeepcluster.augment.random_affine`, weaker on small images.

    A change of one pixel blurs images of any size equally, but is a larger share of a small image.
    """
    strength = min(1.0, min(x.shape[2:]) / _FULL_STRENGTH_SIDE)
    return random_affine(x, generator, strength=strength)


def short_pretraining(data: Data, updates: int) -> int:
    """Batches of pretraining if the start partition comes from the samples.

    Embeddings need half of what a table needs: a pretrained network has already found the features.
    """
    return updates // 2 if data.kind == "embeddings" else updates


def starts_from_samples(data: Data, given: Mapping[str, Any]) -> bool:
    """Whether the start partition comes from the samples, which needs no long pretraining."""
    by_kind = data.kind in FROM_SAMPLES and given["architecture"] is not None
    return given["init"] == "samples" or (given["init"] == "auto" and by_kind)


def learns_from_views(data: Data, values: Mapping[str, Any]) -> bool:
    """Whether an autoencoder also learns to tell the views of an image from those of others.

    The papers that start from k-means on an autoencoder only reconstruct.
    """
    views = values["augmentation"] is not None and values["architecture"] is not None
    return data.kind == "images" and views and values["init"] != "k-means"


def epochs_of_a_target(plan: Plan) -> int:
    """Number of epochs that a target is kept for, for images with a smoothed start partition.

    The centers alone do not describe that partition: with few images and many clusters, half of the
    clusters were empty after two batches.
    """
    if not learns_from_views(plan.data, plan.values):
        return 1
    return plan.data.epochs(_TARGET_UPDATES, plan.batch_size, shortest=1)


class Method(ABC):
    """A clustering method: what is trained, and how.

    The hooks are functions of the plan, ``plan.batch_size`` for instance: a loss that reads the
    plan cannot see a parameter that was changed after fit. `make_module`, `make_phases` and
    `sample_loss` must be written, the others have defaults.

    Attributes
    ----------
    parameter_constraints : dict of str to list
        Allowed values of the method's own parameters, as in scikit-learn.
    fixed_parameters : frozenset of str
        Parameters that a fitted network depends on, which ``warm_start`` cannot change.
    not_in_pretraining : frozenset of str
        Parameters that phases marked `cached` do not depend on, so that ``memory`` may share
        them. A name that is missing costs time. A name that the phases do depend on gives wrong
        results.
    starts : int
        How many starts "auto" makes, if the partition does not come from the samples.
    start_decides : bool
        Whether the phases before the last already decide the clusters.
    augmentations : mapping of str to callable
        The function for each name of ``augmentation``: ``(x, generator) -> x``.
    image_augmentations : frozenset of str
        Those of them that need images.
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    fixed_parameters: ClassVar[frozenset[str]] = frozenset(
        {
            "n_clusters",
            "n_components",
            "architecture",
            "hidden_units",
            "image_shape",
            "max_pixels",
            "scaling",
        }
    )
    not_in_pretraining: ClassVar[frozenset[str]] = frozenset(
        {"n_clusters", "overcluster_epochs", "max_epochs", "n_init", "tol"}
    )
    starts: ClassVar[int] = 1
    start_decides: ClassVar[bool] = False
    augmentations: ClassVar[Mapping[str, Augmentation]] = {
        "affine": affine,
        "crop": random_crop,
        "masking": unchanged,  # in pretraining only
    }
    image_augmentations: ClassVar[frozenset[str]] = frozenset({"affine", "crop", "photo"})

    # ---------------------------------------------------------------- to be written

    @staticmethod
    @abstractmethod
    def make_module(plan: Plan, encoder: nn.Module, decoder: nn.Module) -> nn.Module:
        """Build the module to train around the autoencoder.

        ``module(x)`` gives embedding ``(n, m)`` and soft assignment ``(n, n_clusters)``,
        ``module.decode(embedding)`` gives samples, ``module.centers`` the centers in the embedding,
        and ``module.reorder(order)`` numbers the clusters anew.
        :class:`skdeepcluster.nn.ClusteringAutoencoder` is such a module.

        Parameters
        ----------
        plan : Plan
            What the fit does.
        encoder, decoder : torch.nn.Module
            The autoencoder.

        Returns
        -------
        module : torch.nn.Module
            Its forward gives embedding and soft assignment.
        """

    @staticmethod
    @abstractmethod
    def make_phases(plan: Plan) -> tuple[Phase, ...]:
        """Describe the training, in the order of the paper's algorithm box.

        Each of the ``n_init`` starts runs the phases before the first that is run `once`, or before
        the last. The best start runs the others.

        Parameters
        ----------
        plan : Plan
            What the fit does.

        Returns
        -------
        phases : tuple of Phase
            At least one.
        """

    @classmethod
    def without_effect(cls, plan: Plan) -> dict[str, str]:
        """List the parameters that the fit does not use.

        Parameters
        ----------
        plan : Plan
            What the fit does.

        Returns
        -------
        reasons : dict of str to str
            For each such parameter, the setting that takes its effect away. A warning follows if
            the user changed the parameter.
        """
        if plan.architecture == "mlp":
            return {}
        own = not isinstance(plan.architecture, str)
        return {
            "hidden_units": "your own network" if own else f"architecture={plan.architecture!r}"
        }

    @staticmethod
    @abstractmethod
    def sample_loss(plan: Plan, module: Any, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        """Compute the training objective of each sample, for ``score``.

        Parameters
        ----------
        plan : Plan
            What the fit does.
        module : torch.nn.Module
            The module of the fit.
        x : tensor of shape (n, ...)
            Scaled samples.
        z : tensor of shape (n, m)
            Their embeddings.
        q : tensor of shape (n, n_clusters)
            Their soft assignments.

        Returns
        -------
        loss : tensor of shape (n,)
            The smaller the better.
        """

    # ---------------------------------------------------------------- what "auto" means

    @classmethod
    def defaults(cls, data: Data, given: Mapping[str, Any]) -> dict[str, Any]:
        """Give the value of each "auto" for this data; other names are added to the plan.

        Parameters
        ----------
        data : Data
            What is known about the samples.
        given : mapping of str to values
            All parameters, as the user gave them.

        Returns
        -------
        defaults : dict of str to values
            A value for each parameter that may be "auto".
        """
        images, words = data.kind == "images", data.kind == "bag of words"
        samples, views = starts_from_samples(data, given), learns_from_views(data, given)
        pretraining = _VIEW_PRETRAIN_UPDATES if views else PRETRAIN_UPDATES
        if samples:
            pretraining = short_pretraining(data, _SHORT_PRETRAIN_UPDATES)
        clustering = _SHORT_CLUSTER_UPDATES if samples else CLUSTER_UPDATES
        large = images and math.prod(data.sample_shape[1:]) > _SMALL_IMAGE
        batch_size = int(given["batch_size"])
        return {
            "scaling": "auto",
            "augmentation": "affine" if images else "masking" if words else None,
            # at least one direction for each topic, or for each cluster of images
            "n_components": max(_COMPONENTS, int(given["n_clusters"]) if words or images else 0),
            "architecture": "conv" if large else "mlp",
            "hidden_units": default_widths(math.prod(data.sample_shape)),
            "init": "graph" if words or images else "samples" if samples else "overclustered",
            "n_init": 1 if samples else cls.starts,
            # the samples of a batch are compared: an epoch of few images is a single batch
            "pretrain_epochs": data.epochs(pretraining, batch_size, shortest=3 if views else 8),
            "overcluster_epochs": data.epochs(OVERCLUSTER_UPDATES, batch_size),
            "max_epochs": data.epochs(clustering, batch_size),
            "learning_rate": _TEXT_LEARNING_RATE if words else _LEARNING_RATE,
        }

    @staticmethod
    def make_scaler(plan: Plan, X: Any) -> Scaler:
        """Fit the map from samples to what the network sees.

        Parameters
        ----------
        plan : Plan
            What the fit does.
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Checked samples, not scaled.

        Returns
        -------
        scaler : Scaler
            Fixed for all later samples.
        """
        data = plan.data
        return Scaler.fit(
            X, plan.scaling, data.image_shape, backgrounds_differ=data.backgrounds_differ
        )

    @staticmethod
    def encoder_width(plan: Plan) -> int:
        """Count the outputs of the encoder.

        Parameters
        ----------
        plan : Plan
            What the fit does.

        Returns
        -------
        width : int
            At least 1.
        """
        return int(plan.n_components)

    @staticmethod
    def architectures(plan: Plan) -> dict[str, Builder]:
        """Give the function that builds each ``architecture`` name.

        Parameters
        ----------
        plan : Plan
            What the fit does.

        Returns
        -------
        builders : dict of str to callable
            Each makes encoder and decoder from the shape of a sample and the width of
            the encoder.
        """
        return {"mlp": mlp_autoencoder, "conv": conv_autoencoder}

    # ---------------------------------------------------------------- around the training

    @staticmethod
    def check_samples(plan: Plan, module: Any, X: Any) -> None:
        """Refuse samples that the method cannot take; `X` is checked, not scaled.

        Parameters
        ----------
        plan : Plan
            What the fit does.
        module : torch.nn.Module
            The module of the fit.
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Checked samples, not scaled.

        Raises
        ------
        ValueError
            If the samples are not of the kind that is needed.
        """

    @staticmethod
    def constants(plan: Plan, rows: Rows, random_state: np.random.RandomState) -> dict[str, Tensor]:
        """Compute values for each sample that the losses use, equal in all starts and phases.

        Parameters
        ----------
        plan : Plan
            What the fit does.
        rows : Rows
            The samples.
        random_state : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        constants : dict of str to tensor of shape (n_samples, ...)
            They are in the targets of every batch.
        """
        return {}

    @classmethod
    def resumed_phases(cls, plan: Plan, module: Any) -> tuple[Phase, ...]:
        """Describe what ``warm_start`` runs: the last phase, from the current state of the module.

        Parameters
        ----------
        plan : Plan
            What the fit does.
        module : torch.nn.Module
            The module of the fit.

        Returns
        -------
        phases : tuple of Phase
            At least one.
        """
        return (dataclasses.replace(cls.make_phases(plan)[-1], setup=None),)

    @classmethod
    def fitted_module(
        cls, plan: Plan, encoder: nn.Module, decoder: nn.Module, names: Collection[str]
    ) -> nn.Module:
        """Build the module of `make_module` as training changed it, with tensors of these names.

        Needed only if a phase replaces submodules by others.

        Parameters
        ----------
        plan : Plan
            What the fit does.
        encoder, decoder : torch.nn.Module
            The autoencoder.
        names : collection of str
            Names of the tensors of the module that is to be built.

        Returns
        -------
        module : torch.nn.Module
            It has these tensors.
        """
        return cls.make_module(plan, encoder, decoder)

    @staticmethod
    def finish(run: Run) -> None:
        """Change the trained module a last time.

        Parameters
        ----------
        run : Run
            The finished training.
        """

    @staticmethod
    def find_centers(model: FittedModel, X: Any, labels: np.ndarray) -> np.ndarray:
        """Find the centers of the clusters in the embedding.

        Parameters
        ----------
        model : FittedModel
            The trained network.
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Checked samples, not scaled.
        labels : int ndarray of shape (n_samples,)
            Cluster of each sample.

        Returns
        -------
        centers : ndarray of shape (n_clusters, m)
            In the order of the labels.
        """
        centers: np.ndarray = model.module.centers.detach().cpu().numpy()
        return centers

    @classmethod
    def runs_foreign_code(cls, plan: Plan) -> bool:
        """Return whether code from outside of this package may draw from torch's global generator.

        Parameters
        ----------
        plan : Plan
            What the fit does.

        Returns
        -------
        foreign : bool
            True seeds torch's global generator, and restores it after the fit.
        """
        own_method = cls.__module__.split(".")[0] == __name__.split(".")[0]
        own_network = plan.architecture is None or isinstance(plan.architecture, str)
        return not (own_method and own_network) or any(map(callable, plan.values.values()))

    @classmethod
    def make_augmentation(cls, plan: Plan) -> Augmentation:
        """Choose what changes samples without changing their cluster.

        Parameters
        ----------
        plan : Plan
            What the fit does.

        Returns
        -------
        augmentation : callable
            ``(x, generator) -> x``.

        Raises
        ------
        ValueError
            If the samples are not of the kind that is needed.
        """
        name = plan.augmentation
        if name is None:
            return unchanged
        if callable(name):
            return partial(_augment_by, name)
        if name in cls.image_augmentations and plan.data.image_shape is None:
            raise ValueError(
                f"augmentation={name!r} needs images: pass X of shape (n_samples, channels, "
                "height, width), or flat rows with image_shape=."
            )
        return cls.augmentations[name]


def _augment_by(augmentation: Callable[[Tensor], Tensor], x: Tensor, generator: Any) -> Tensor:
    """A user's augmentation, which may write to what it gets; it draws from torch's generator."""
    augmented = augmentation(x.clone())
    if not isinstance(augmented, Tensor) or augmented.shape != x.shape:
        kind = "nothing" if augmented is None else type(augmented).__name__
        got = getattr(augmented, "shape", kind)
        raise ValueError(
            f"augmentation turned a batch of shape {tuple(x.shape)} into {got}; it must return a "
            "tensor of the same shape."
        )
    return augmented
