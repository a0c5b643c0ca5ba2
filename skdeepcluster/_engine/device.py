"""Where and how a network runs: device, precision, torch's global random generator."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .._data.rows import Rows
from .processes import LAUNCHED, launched_device

_NARROWEST_BFLOAT16 = 5  # pixels per side; see use_bfloat16
_BUILDING = threading.RLock()  # held while layers draw from torch's global generator


def resolve_device(device: str | torch.device) -> torch.device:
    """The device for the parameter ``device``; "auto" is cuda, then mps, then cpu.

    Parameters
    ----------
    device : str or torch.device
        "auto", "accelerate", or a device that torch knows.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the device is unknown, or this computer does not have it.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if device == LAUNCHED:
        return launched_device()
    try:
        resolved = torch.device(device)
        torch.zeros(1, dtype=torch.float32, device=resolved).item()  # mps has no float64
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here: {str(error).splitlines()[0]}. Use 'auto', "
            f"'cpu', another device that this computer has, or '{LAUNCHED}'."
        ) from error
    return resolved


def use_bfloat16(precision: str, rows: Rows, module: nn.Module, *, own: bool) -> bool:
    """Whether to train in bfloat16; "auto" does where the hardware computes in it.

    On CPU, torch 2.13 computes wrong gradients for a bfloat16 convolution whose input is one
    pixel wide. This package's networks have such inputs for images narrower than 5 pixels: there
    "bf16" is refused. "auto" uses float32 for them, and for any other network with convolutions.

    Parameters
    ----------
    precision : {"auto", "32", "bf16"}
        The parameter of the estimators.
    rows : Rows
        Training samples, on the training device.
    module : torch.nn.Module
        The network.
    own : bool
        Whether this package built the network, not the user.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If "bf16" is asked for, and torch computes wrong gradients in it.
    """
    if precision == "32":
        return False
    on_cpu = rows.device.type == "cpu"
    convolves = any(isinstance(layer, _ConvNd) for layer in module.modules())
    narrow = own and on_cpu and convolves and min(rows.sample_shape[1:]) < _NARROWEST_BFLOAT16
    if precision == "bf16":
        if narrow:
            raise ValueError(
                f"precision='bf16' with images of shape {rows.sample_shape}: on CPU, torch's "
                "bfloat16 convolutions are wrong for images with a side shorter than "
                f"{_NARROWEST_BFLOAT16} pixels. Set precision='32' or architecture='mlp'."
            )
        return True
    if rows.device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not on_cpu:
        return False
    # torch before 2.11 does not tell what the processor can do
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return fast and not narrow and (own or not convolves)


@contextlib.contextmanager
def local_torch_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator, which a user's network draws from, and restore it after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # and no other device's
        else:
            torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def seeded_layers(seed: int, device: torch.device) -> Iterator[None]:
    """:func:`local_torch_seed` for building layers, one thread at a time.

    Layers draw their first weights from torch's global generator, which all threads share. Hold
    the lock only while layers are built, never while a network trains.
    """
    with _BUILDING, local_torch_seed(seed, device):
        yield


def torch_random_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's global generators for the CPU and for the device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def load_torch_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what :func:`torch_random_state` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
