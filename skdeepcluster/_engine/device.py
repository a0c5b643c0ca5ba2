"""Where and how a network runs: device, precision, torch's global random generator."""

import contextlib
import threading
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .plan import Plan
from .processes import LAUNCHED, launched_device

_NARROWEST_BFLOAT16 = 5  # pixels a side; see use_bfloat16


def resolve_device(device: str | torch.device) -> torch.device:
    """The device that a parameter names; "auto" is cuda, then mps, then cpu.

    Parameters
    ----------
    device : str or torch.device
        "auto", "accelerate", or what torch accepts.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the device is unknown or not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if device == LAUNCHED:
        return launched_device()
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here: {str(error).splitlines()[0]}. Use 'auto', "
            f"'cpu', a device that torch sees, or '{LAUNCHED}'."
        ) from error
    return resolved


def resolve_precision(plan: Plan, device: torch.device) -> str:
    """The precision of matrix products in training; "auto" is "bf16" where that is fast and right.

    On CPU, torch 2.13 returns arbitrary gradients for a bfloat16 convolution of a map that is
    one pixel wide, as ours are in images narrower than 5 pixels. "auto" avoids that, and
    networks of the user on the CPU, which may hold such a map. "bf16" is refused there.

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
        If "bf16" is known to be wrong here.
    """
    precision, architecture = str(plan.precision), plan.architecture
    on_cpu = device.type == "cpu"
    shape = plan.data.sample_shape
    convolves = architecture in ("conv", "resnet")
    narrow = on_cpu and convolves and min(shape[1:], default=0) < _NARROWEST_BFLOAT16
    if precision == "bf16" and narrow:
        raise ValueError(
            f"precision='bf16' on images of shape {shape}: torch's bfloat16 convolutions are "
            f"wrong on CPU for sides under {_NARROWEST_BFLOAT16} pixels. Set precision='32' or "
            "architecture='mlp'."
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    own = architecture is None or isinstance(architecture, str)
    return "bf16" if on_cpu and own and not narrow and _multiplies_in_bfloat16() else "32"


def _multiplies_in_bfloat16() -> bool:
    """Whether the processor has instructions for it."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextlib.contextmanager
def local_torch_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator, which a user's network draws from, and put it back."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


_LAYERS = threading.RLock()


@contextlib.contextmanager
def seeded_layers(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator while layers are built, one thread at a time."""
    with _LAYERS, local_torch_seed(seed, device):
        yield


def torch_random_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's global generators, on the CPU and of the device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def load_torch_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """The way back from :func:`torch_random_state`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
