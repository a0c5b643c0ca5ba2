"""What the author of a method writes: its module, its phases and its loss."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from .._data.rows import Rows
from .._data.scaling import Scaler
from ..augment import random_affine, random_crop
from ..nn import conv_autoencoder, mlp_autoencoder
from .architecture import default_widths
from .model import FittedModel
from .phases import Phase, Run
from .plan import Data, Plan

Builder = Callable[..., tuple[nn.Module, nn.Module]]
Augmentation = Callable[..., Tensor]

PRETRAIN_UPDATES = 2400  # batches; measured on USPS and the MNIST test set, doc/benchmarks
OVERCLUSTER_UPDATES = 600
CLUSTER_UPDATES = 1000
_SMALL_IMAGE = 32 * 32  # pixels, up to which an MLP was as accurate as convolutions, and faster
_COMPONENTS = 10  # width of the embedding in the authors' code, for DCEC and DMAE
_LEARNING_RATE, _TEXT_LEARNING_RATE = 3e-3, 1e-3
_FULL_STRENGTH_SIDE = 16  # pixels from which augmentation has its full strength


def unchanged(x: Tensor, generator: Any) -> Tensor:
    """No augmentation."""
    return x


def affine(x: Tensor, generator: Any) -> Tensor:
    """:func:`skdeepcluster.augment.random_affine`, weaker on small images.

    One pixel is the same blur at any size, but a larger share of a small image.
    """
    strength = min(1.0, min(x.shape[2:]) / _FULL_STRENGTH_SIDE)
    return random_affine(x, generator, strength=strength)


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
    start_decides : bool
        Whether the phases before the last already decide the clusters.
    augmentations : mapping of str to callable
        What the names of ``augmentation`` stand for, as ``(x, generator) -> x``.
    image_augmentations : frozenset of str
        Those of them that need images.
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    fixed_parameters: ClassVar[frozenset[str]] = frozenset(
        {"n_clusters", "n_components", "architecture", "hidden_units", "image_shape", "scaling"}
    )
    not_in_pretraining: ClassVar[frozenset[str]] = frozenset(
        {"n_clusters", "init", "overcluster_epochs", "max_epochs", "n_init", "tol"}
    )
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
        """The module to train around the autoencoder.

        ``module(x)`` gives embedding ``(n, m)`` and soft assignment ``(n, n_clusters)``,
        ``module.decode(embedding)`` gives samples, ``module.centers`` the centers in the embedding,
        and ``module.reorder(order)`` numbers the clusters anew.
        :class:`skdeepcluster.nn.ClusteringAutoencoder` is such a module.
        """

    @staticmethod
    @abstractmethod
    def make_phases(plan: Plan) -> tuple[Phase, ...]:
        """The training, in the order of the paper's algorithm box.

        Each of the ``n_init`` starts runs all phases but the last. The best start runs the last.
        """

    @staticmethod
    @abstractmethod
    def sample_loss(plan: Plan, module: Any, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        """The training objective of each sample, of shape (n,), for ``score``."""

    # ---------------------------------------------------------------- what "auto" stands for

    @classmethod
    def defaults(cls, data: Data, given: Mapping[str, Any]) -> dict[str, Any]:
        """What each "auto" stands for on this data; other names are added to the plan."""
        images, words = data.kind == "images", data.kind == "bag of words"
        large = images and math.prod(data.sample_shape[1:]) > _SMALL_IMAGE
        batch_size = int(given["batch_size"])
        return {
            "scaling": "auto",
            "augmentation": "affine" if images else "masking" if words else None,
            # a topic is a direction; images of 20 objects were measured with 10 only
            "n_components": max(_COMPONENTS, int(given["n_clusters"]) if words else 0),
            "architecture": "conv" if large else "mlp",
            "hidden_units": default_widths(data.n_features),
            "init": "graph" if words else "overclustered",
            "pretrain_epochs": data.epochs(PRETRAIN_UPDATES, batch_size),
            "overcluster_epochs": data.epochs(OVERCLUSTER_UPDATES, batch_size),
            "max_epochs": data.epochs(CLUSTER_UPDATES, batch_size),
            "learning_rate": _TEXT_LEARNING_RATE if words else _LEARNING_RATE,
        }

    @staticmethod
    def make_scaler(plan: Plan, X: Any) -> Scaler:
        """The map from samples to what the network sees."""
        return Scaler.fit(X, plan.scaling, images=plan.data.image_shape is not None)

    @staticmethod
    def encoder_width(plan: Plan) -> int:
        """Number of outputs of the encoder."""
        return int(plan.n_components)

    @staticmethod
    def architectures(plan: Plan) -> dict[str, Builder]:
        """What the names of ``architecture`` stand for."""
        return {"mlp": mlp_autoencoder, "conv": conv_autoencoder}

    # ---------------------------------------------------------------- around the training

    @staticmethod
    def check_samples(plan: Plan, module: Any, X: Any) -> None:
        """Refuse samples that the method cannot take; `X` is checked, not scaled."""

    @staticmethod
    def constants(plan: Plan, rows: Rows, random_state: np.random.RandomState) -> dict[str, Tensor]:
        """What the losses need to know about each sample, the same in every start and phase."""
        return {}

    @classmethod
    def resumed_phases(cls, plan: Plan, module: Any) -> tuple[Phase, ...]:
        """What ``warm_start`` runs: the last phase, from where the module is."""
        return (dataclasses.replace(cls.make_phases(plan)[-1], setup=None),)

    @classmethod
    def fitted_module(
        cls, plan: Plan, encoder: nn.Module, decoder: nn.Module, names: Collection[str]
    ) -> nn.Module:
        """A module with tensors of these names: the one of `make_module`, as training changed it.

        Needed only where a phase replaces submodules by others.
        """
        return cls.make_module(plan, encoder, decoder)

    @staticmethod
    def finish(run: Run) -> None:
        """Last change of the trained module."""

    @staticmethod
    def find_centers(model: FittedModel, X: Any, labels: np.ndarray) -> np.ndarray:
        """Centers of the clusters in the embedding, of shape (n_clusters, m)."""
        centers: np.ndarray = model.module.centers.detach().cpu().numpy()
        return centers

    @classmethod
    def runs_foreign_code(cls, plan: Plan) -> bool:
        """Whether code from outside of this package may draw from torch's global generator."""
        own_method = cls.__module__.split(".")[0] == __name__.split(".")[0]
        own_network = plan.architecture is None or isinstance(plan.architecture, str)
        return not (own_method and own_network) or any(map(callable, plan.values.values()))

    @classmethod
    def make_augmentation(cls, plan: Plan) -> Augmentation:
        """What changes samples without changing their cluster, as ``(x, generator) -> x``."""
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
