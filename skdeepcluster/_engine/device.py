"""Where and how a network runs: device, precision, torch's global random generator."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .plan import Plan
from .processes import LAUNCHED, launched_device

# pixels, of a side and of the width of an image that is taller than wide; see resolve_precision
_SHORTEST_BFLOAT16, _NARROWEST_BFLOAT16 = 5, 30
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


def resolve_precision(plan: Plan, device: torch.device) -> str:
    """The precision of matrix products in training; "auto" is "bf16" if that is fast and correct.

    On CPU, torch 2.13 returns arbitrary gradients for a bfloat16 convolution of a map that is one
    pixel wide and taller. Ours may hold such a map if a side of the image is under 5 pixels, or if
    the image is taller than wide and narrower than 30 pixels. "auto" does not use bfloat16 for
    these images, or for the user's own networks on the CPU. For these images, "bf16" is refused.

    Parameters
    ----------
    plan : Plan
        What the fit does.
    device : torch.device
        Where it trains.

    Returns
    -------
    {"32", "bf16"}

    Raises
    ------
    ValueError
        If `precision` is "bf16", and torch computes wrong gradients in it.
    """
    precision, architecture = str(plan.precision), plan.architecture
    on_cpu = device.type == "cpu"
    shape = plan.data.sample_shape
    convolves = architecture in ("conv", "resnet")
    narrow = on_cpu and convolves and _may_be_one_pixel_wide(shape)
    if precision == "bf16" and narrow:
        raise ValueError(
            f"precision='bf16' on images of shape {shape}: torch's bfloat16 convolutions are "
            f"wrong on CPU for images with a side under {_SHORTEST_BFLOAT16} pixels, and for "
            f"images that are taller than wide and narrower than {_NARROWEST_BFLOAT16} pixels. "
            "Set precision='32' or architecture='mlp'."
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    own = architecture is None or isinstance(architecture, str)
    return "bf16" if on_cpu and own and not narrow and _multiplies_in_bfloat16() else "32"


def _may_be_one_pixel_wide(shape: tuple[int, ...]) -> bool:
    """Whether a layer of our convolutional networks may see a map that is one pixel wide."""
    if len(shape) < 3:
        return False
    height, width = shape[-2:]
    return min(height, width) < _SHORTEST_BFLOAT16 or width < min(height, _NARROWEST_BFLOAT16)


def _multiplies_in_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16."""
    # torch before 2.11 does not report what the processor can do
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextlib.contextmanager
def local_torch_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator, which a user's network draws from, and restore it after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # but not that of other devices
        else:
            torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def seeded_layers(seed: int, device: torch.device) -> Iterator[None]:
    """:func:`local_torch_seed` for building layers, one thread at a time.

    Layers draw their first weights from torch's global generator, which all threads share. Hold the
    lock only while layers are built, never while a network trains. The layers are float32, for any
    default dtype of torch.
    """
    with _BUILDING, local_torch_seed(seed, device):
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(default)


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
