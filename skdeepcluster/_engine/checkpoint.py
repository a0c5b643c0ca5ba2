"""The state of a fit in a file, from which the same fit resumes after it was killed."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from .._encoding import decode, encode, intact, pack, require_safetensors, unpack, write
from .._version import __version__
from .._warnings import warn

_FORMAT = "skdeepcluster checkpoint"
VERSIONS = {"skdeepcluster": __version__, "torch": torch.__version__}
# between two writes; after a write of more than a second, this many times its duration
_SECONDS = 10.0


class Checkpoint:
    """What is kept of one fit: the state of each of its trainings.

    Parameters
    ----------
    directory : str, path-like or None
        Where the file is; None keeps nothing.
    key : mapping of str to values
        All that the fit depends on. Its hash is the name of the file, so that several fits can
        share a directory.

    Attributes
    ----------
    states : dict of str to dict
        State of each training, by name: from the file, or kept later.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        key: Mapping[str, Any] | None = None,
    ) -> None:
        self.path: Path | None = None
        self.states: dict[str, dict[str, Any]] = {}
        if directory is None:
            return
        require_safetensors()
        self.name = joblib.hash(key)
        self.path = Path(directory) / f"{self.name}.safetensors"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise ValueError(
                f"checkpoint={directory!r} is a file: pass a folder. A missing one is made."
            ) from error
        self._written, self._cost = time.monotonic(), 0.0
        if self.path.exists():
            self._read(self.path)

    def due(self) -> bool:
        """Whether it is time to write."""
        if self.path is None:
            return False
        return time.monotonic() - self._written >= _SECONDS * max(1.0, self._cost)

    def keep(self, name: str, state: dict[str, Any]) -> None:
        """Keep the state of a training, and write the file when it is time."""
        self.states[name] = state
        if self.path is None or not self.due():
            return
        begun = time.monotonic()
        tensors: dict[str, Tensor] = {}
        try:
            description = encode(self.states, "states", tensors)
            write(self.path, pack({"format": _FORMAT, "name": self.name}, description, tensors))
        except OSError as error:  # a full disk must not stop the fit
            warn(
                f"The checkpoint {self.path} could not be written: {error}. Training continues.",
                UserWarning,
            )
        self._written = time.monotonic()
        self._cost = self._written - begun

    def remove(self) -> None:
        """Remove the file, and unfinished files that killed fits left."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            for unfinished in self.path.parent.glob(f".{self.path.name}.*"):
                unfinished.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        try:
            metadata, tensors = unpack(path.read_bytes())
            if (metadata.get("format"), metadata.get("name")) != (_FORMAT, self.name):
                raise ValueError("it belongs to another fit")
            if not intact(metadata, tensors):
                raise ValueError("its checksum is wrong, so it is damaged")
        except (OSError, ValueError) as error:
            warn(
                f"The checkpoint {path} cannot be used: {error}. Fit starts from scratch.",
                UserWarning,
            )
            return
        self.states = decode(json.loads(metadata["description"]), tensors)


def hashes(parameters: Mapping[str, Any], by: str) -> dict[str, str]:
    """A hash of each value, the same in every process.

    Parameters
    ----------
    parameters : mapping of str to values
        Parameters of an estimator, or samples.
    by : str
        The parameter that needs the hashes.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ValueError
        If a value cannot be pickled, such as a lambda.
    """
    found = {}
    for name, value in parameters.items():
        try:
            found[name] = joblib.hash(_content(value), coerce_mmap=True)
        except Exception as error:
            raise ValueError(
                f"{by} must recognise {name} in another fit, but {name}={value!r} cannot be "
                "pickled. Pass a function that is defined in a module, not a lambda, or leave "
                f"{by} at its default."
            ) from error
    return found


def _content(value: Any) -> Any:
    """The content of a value, if its pickle holds more than that.

    The pickle of a network holds memory addresses. The pickle of sparse samples holds results that
    were computed from them.
    """
    if isinstance(value, tuple | list):
        return [_content(item) for item in value]
    if isinstance(value, sp.csr_array | sp.csr_matrix):
        return value.shape, value.data, value.indices, value.indptr
    if not isinstance(value, nn.Module):
        return value
    parts = [
        (type(module), {k: v for k, v in vars(module).items() if _decides(k, v)})
        for module in value.modules()
    ]
    tensors = value.state_dict() | dict(value.named_buffers())  # also those that are not saved
    return repr(value), parts, {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def _decides(name: str, value: Any) -> bool:
    """Whether an attribute of a module may decide what it computes; torch's own are references."""
    return not name.startswith("_") or (
        name not in vars(nn.Module()) and isinstance(value, bool | int | float | str | np.ndarray)
    )


def module_state(module: nn.Module) -> dict[str, Any]:
    """Tensors of a network, its frozen parameters and its modules in eval mode."""
    return {
        "tensors": dict(module.state_dict()),
        "frozen": [name for name, p in module.named_parameters() if not p.requires_grad],
        "evaluating": [name for name, m in module.named_modules() if not m.training],
    }


def load_module_state(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Load what :func:`module_state` returned into a network with the same layers."""
    module.load_state_dict(state["tensors"])
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in state["frozen"])
    for name, part in module.named_modules():
        part.training = name not in state["evaluating"]
