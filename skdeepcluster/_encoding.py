"""Writes data to one file of arrays and JSON, and reads it. Reading executes no code."""

import hashlib
import json
import math
import os
import types
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# ---------------------------------------------------------------- files


def require_safetensors() -> types.ModuleType:
    """Import the library that reads and writes the files."""
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            "Saved models and checkpoints need safetensors: pip install safetensors, or "
            'pip install "skdeepcluster[save]".'
        ) from error
    return safetensors


def pack(header: Mapping[str, str], description: Any, tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file: tensors, and a header with JSON and a checksum of both."""
    text = json.dumps(description, allow_nan=False)
    metadata = {**header, "description": text, "sha256": checksum(text, tensors)}
    content: bytes = require_safetensors().torch.save(dict(tensors), metadata)
    start = 8 + int.from_bytes(content[:8], "little")
    # safetensors writes the metadata in any order; sorted, equal content is equal bytes
    entries = json.dumps(json.loads(content[8:start]), sort_keys=True).encode()
    entries += b" " * (-len(entries) % 8)  # the arrays begin at a multiple of 8 bytes
    return len(entries).to_bytes(8, "little") + entries + content[start:]


def unpack(content: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a file, not checked yet; ValueError if the file is invalid."""
    safetensors = require_safetensors()
    try:
        tensors = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return metadata, tensors


def intact(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> bool:
    """Whether the checksum in the header is correct for JSON and tensors."""
    return metadata.get("sha256") == checksum(metadata.get("description", ""), tensors)


def write(path: Path, content: bytes) -> None:
    """Replace the file in one step, so that nobody reads an incomplete file."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Checksum of JSON and of the tensors with their names, dtypes and shapes."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------- values as JSON


def encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Turn a value into JSON; its arrays are added to `tensors`.

    A kind of value that JSON does not have becomes an object with one key, the kind. TypeError is
    raised for anything that is not data.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    # no subclasses: they would be loaded as the base class
    kind = type(value)
    if kind in (list, tuple):
        items = [encode(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict and all(isinstance(key, str) for key in value):
        return {"dict": {k: encode(item, f"{name}.{k}", tensors) for k, item in value.items()}}
    if kind is Tensor:
        tensors[name] = plain(value, name).cpu()
        return {"tensor": name}
    if kind is torch.device:
        return {"device": str(value)}
    if kind in (np.ndarray, np.memmap) and value.dtype == object and value.ndim == 1:
        return {"objects": encode(value.tolist(), name, tensors)}
    if kind in (np.ndarray, np.memmap) and value.dtype.kind in "biuf" and value.itemsize <= 8:
        native = value.astype(value.dtype.newbyteorder("="), order="C")  # a copy
        tensors[name] = torch.from_numpy(native)
        return {"array": name}
    raise TypeError(f"{type(value).__name__} is not data that can be saved")


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Turn the JSON that :func:`encode` returned back into the value."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(decode(content, tensors))
    if kind == "dict":
        return {key: decode(item, tensors) for key, item in content.items()}
    if kind == "device":
        return torch.device(content)
    if kind == "objects":
        objects = np.empty(len(content), dtype=object)
        objects[:] = decode(content, tensors)
        return objects
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    raise ValueError(f"unknown kind of value {kind!r}.")


def plain(tensor: Any, name: str) -> Tensor:
    """A contiguous copy of a tensor of the network, which shares no memory with others."""
    if not isinstance(tensor, Tensor):
        raise ValueError(
            f"The network has {name!r} in its state_dict, which is not a tensor, so it cannot be "
            "saved here. Use pickle or joblib."
        )
    return tensor.detach().clone(memory_format=torch.contiguous_format)
