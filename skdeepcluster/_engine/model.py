"""All that inference needs, in one object that does not change."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .._data.rows import Rows
from .._data.scaling import IDENTITY
from .phases import forward_batches
from .plan import Plan


@dataclass(frozen=True)
class FittedModel:
    """A trained network with the scaling and the settings that it was trained with.

    Attributes
    ----------
    module : torch.nn.Module
        ``module(x)`` gives embedding and soft assignment of scaled samples, with clusters numbered
        as in ``labels_``.
    plan : Plan
        What the fit did.
    answer_shape : tuple of int
        Shape of a decoded sample.
    """

    module: Any
    plan: Plan
    answer_shape: tuple[int, ...]

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        device: torch.device = next(self.module.parameters()).device
        return device

    def rows(self, X: Any) -> Rows:
        """Checked samples, as the network sees them."""
        return self.plan.rows(X, self.device)

    def stream(self, X: Any) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Checked samples batch by batch, as (rows, x, embedding, soft assignment)."""
        for where, x, z, q in forward_batches(self.module, self.rows(X)):
            if not torch.isfinite(q).all():
                row = where.start + int(torch.isfinite(q).all(dim=1).int().argmin())
                raise ValueError(
                    f"The values of sample {row} of X are too far from those of fit for float32: "
                    "its distances to the clusters overflow. Remove or clip it."
                )
            yield where, x, z, q

    def labels(self, X: Any) -> np.ndarray:
        """Cluster of each checked sample, int32."""
        labels = [q.argmax(dim=1).cpu().numpy() for *_, q in self.stream(X)]
        return np.concatenate(labels).astype(np.int32)

    @torch.no_grad()
    def decode(self, Z: np.ndarray) -> np.ndarray:
        """Samples ``(n, n_features)`` of embeddings, in the units of the user, float64."""
        decoded = []
        for where, z in Rows(Z, IDENTITY, None, self.device).padded_batches():
            x = self.module.decode(z)[: where.stop - where.start]
            bad = ~torch.isfinite(x.flatten(1)).all(dim=1)
            if bad.any():
                raise ValueError(
                    f"Row {where.start + int(bad.int().argmax())} of X holds values that are too "
                    "large for the decoder in float32. Pass rows that transform returned, or "
                    "cluster_centers_."
                )
            data = self.plan.data
            if data.network_shape is not None and data.image_shape is not None:
                # the network saw averages of the pixels
                x = interpolate(x, data.image_shape[1:], mode="bilinear", align_corners=False)
            decoded.append(self.plan.scaler.inverse(x.flatten(1).cpu().numpy()))
        return np.concatenate(decoded)

    def on_cpu(self) -> Self:
        """The same model on the CPU."""
        if self.device.type == "cpu":
            return self
        return type(self)(copy.deepcopy(self.module).cpu(), self.plan, self.answer_shape)
