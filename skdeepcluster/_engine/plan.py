"""The plan of a fit: every "auto" is resolved before anything is trained."""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch

from .._data.rows import Rows
from .._data.scaling import Scaler
from ..functional import constant

# values for estimators that do not have these parameters in their constructor
SHARED: Mapping[str, Any] = MappingProxyType(
    {
        "image_shape": None,
        "max_pixels": 1024,
        "scaling": "auto",
        "augmentation": "auto",
        "n_components": "auto",
        "architecture": "auto",
        "hidden_units": "auto",
        "init": "auto",
        "n_init": "auto",
        "pretrain_epochs": "auto",
        "max_epochs": "auto",
        "batch_size": 256,
        "learning_rate": "auto",
        "learning_rate_schedule": "annealed",
        "tol": 1e-3,
        "precision": "auto",
        "device": "auto",
        "n_jobs": None,
        "memory": None,
        "checkpoint": None,
        "callbacks": None,
        "warm_start": False,
        "verbose": 0,
        "random_state": None,
    }
)
_MANY_SAMPLES = 10_000  # for more samples, training takes more batches
# how a fit runs, and from where; not in settings_
RUN_ONLY = frozenset(
    {
        "device",
        "n_jobs",
        "memory",
        "checkpoint",
        "callbacks",
        "warm_start",
        "verbose",
        "random_state",
    }
)


@dataclass(frozen=True)
class Data:
    """What is known about the training samples before the fit.

    Attributes
    ----------
    kind : {"images", "bag of words", "embeddings", "table", "vectors"}
        What the samples are.
    n_samples, n_features : int
        Shape of the flat samples.
    image_shape : tuple of 3 ints or None
        Channels, height and width; None if the samples are not images.
    network_shape : tuple of 3 ints or None
        Shape of one image as the network sees it; None if that is the image itself.
    backgrounds_differ : bool
        Whether plain backgrounds are brighter in some images than in others.
    """

    kind: str
    n_samples: int
    n_features: int
    image_shape: tuple[int, ...] | None
    network_shape: tuple[int, ...] | None = None
    backgrounds_differ: bool = False

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, as the network sees it."""
        return self.network_shape or self.image_shape or (self.n_features,)

    def epochs(self, updates: int, batch_size: int, *, shortest: int = 8) -> int:
        """Epochs that make a number of batches, more of them for more than 10 000 samples.

        Parameters
        ----------
        updates : int
            Number of batches for up to 10 000 samples; it grows with the root of their number.
        batch_size : int
            Samples in a batch.
        shortest : int, default=8
            An epoch with fewer batches counts as this many: on tiny data, where an epoch is a
            single batch, most of the time of an epoch is spent outside of its batches.

        Returns
        -------
        int
        """
        an_epoch = max(math.ceil(self.n_samples / batch_size), shortest)
        growth = math.sqrt(max(1.0, self.n_samples / _MANY_SAMPLES))
        return math.ceil(growth * updates / an_epoch)


@dataclass(frozen=True)
class Plan:
    """Every parameter of a fit with each "auto" resolved, read as attributes: ``plan.batch_size``.

    Attributes
    ----------
    data : Data
        What is known about the samples.
    scaler : Scaler
        How the samples are scaled.
    given : mapping of str to values
        The parameters as the user gave them.
    values : mapping of str to values
        The parameters with each "auto" resolved, and all other values in the method's ``defaults``.
    """

    data: Data
    scaler: Scaler
    given: Mapping[str, Any]
    values: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name in ("values", "given") or name.startswith("__"):  # also while it is copied
            raise AttributeError(name)
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(f"The plan has no {name!r}; it has {[*self.values]}.") from None

    def rows(self, X: Any, device: torch.device, *, resident: bool = False) -> Rows:
        """Samples as the network sees them, on a device."""
        shape, seen = self.data.image_shape, self.data.network_shape
        return Rows(
            X,
            self.scaler,
            shape,
            device,
            network_shape=seen,
            levelled=self.levelled,
            resident=resident,
        )

    @property
    def levelled(self) -> bool:
        """Whether each image is shifted so that its own background is 0."""
        return self.data.backgrounds_differ and self.scaler.kind == "global"

    def schedule(self, annealed: Callable[[float], float]) -> Callable[[float], float]:
        """The given schedule, or a constant rate if ``learning_rate_schedule`` is "constant"."""
        return annealed if self.learning_rate_schedule == "annealed" else constant

    def with_scaler(self, scaler: Scaler) -> Self:
        """The same plan with another scaling of the samples."""
        values = {**self.values, "scaling": scaler.kind}
        return dataclasses.replace(self, scaler=scaler, values=values)

    def replace(self, **values: Any) -> Self:
        """The same plan with other values."""
        return dataclasses.replace(self, values={**self.values, **values})

    def settings(self) -> dict[str, Any]:
        """All settings that decide the result of the fit, as a plain dict."""
        facts = dataclasses.asdict(self.data)
        # the shape of the images may have come with the samples
        return {n: v for n, v in self.values.items() if n not in RUN_ONLY} | facts


def make_plan(
    data: Data, given: Mapping[str, Any], defaults: Mapping[str, Any], scaler: Scaler
) -> Plan:
    """Resolve every "auto".

    Parameters
    ----------
    data : Data
        What is known about the samples.
    given : mapping of str to values
        All parameters, as the user gave them.
    defaults : mapping of str to values
        The value of "auto", by parameter; other names are added to the plan.
    scaler : Scaler
        How the samples are scaled.

    Returns
    -------
    Plan
    """
    # the user may change a dict, an array or a list later; callbacks are the user's own objects
    given = {
        n: copy.deepcopy(v) if isinstance(v, dict | np.ndarray) else v for n, v in given.items()
    }
    given |= {n: list(v) for n, v in given.items() if isinstance(v, list)}
    chosen = {n: v for n, v in given.items() if not (is_auto(v) and n in defaults)}
    # products of numpy's small integers overflow, and products with its float32 are rounded
    numbers = {n: v.item() for n, v in chosen.items() if isinstance(v, np.generic)}
    return Plan(data, scaler, given, {**defaults, **chosen, **numbers})


def shape_of_network(
    image_shape: tuple[int, ...] | None, given: Mapping[str, Any]
) -> tuple[int, ...] | None:
    """Shape of an image as the network sees it, None if that is the image itself.

    Parameters
    ----------
    image_shape : tuple of 3 ints or None
        Channels, height and width of the samples.
    given : mapping of str to values
        All parameters, as the user gave them.

    Returns
    -------
    tuple of 3 ints or None
        The same channels, and at most `max_pixels` pixels with the same proportions. Modules of the
        user are made for the images as they are.
    """
    most, architecture = given["max_pixels"], given["architecture"]
    own_modules = architecture is None or isinstance(architecture, tuple)
    if image_shape is None or most is None or own_modules:
        return None
    channels, height, width = image_shape
    if height * width <= most:
        return None
    # integers: the root of a float may lose a pixel. A very long image keeps at least one line
    short, long = sorted((height, width))
    narrow = max(1, math.isqrt(most * short // long))
    wide = min(math.isqrt(most * long // short), most // narrow)
    return (channels, narrow, wide) if height <= width else (channels, wide, narrow)


def is_auto(value: Any) -> bool:
    """Whether a parameter is left to the package."""
    return isinstance(value, str) and value == "auto"


def refuse_no_loss(plan: Plan, *weights: str) -> None:
    """Refuse weights that leave a training without anything to minimise.

    Parameters
    ----------
    plan : Plan
        What the fit does.
    *weights : str
        Names of the weights, of which one must be positive.

    Raises
    ------
    ValueError
        If all are 0.
    """
    if not any(getattr(plan, weight) for weight in weights):
        names = ", ".join(f"{weight}=0" for weight in weights)
        raise ValueError(
            f"{names}: training has nothing to minimise. Give one of these weights a positive "
            "value."
        )
