"""Where and how a network runs: device, precision, torch's global random generator."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from .._data.rows import Rows
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


def use_bfloat16(precision: str, rows: Rows, module: nn.Module, *, own: bool) -> bool:
    """Whether to train in bfloat16; "auto" does where the hardware multiplies in it.

    On CPU, torch 2.13 returns arbitrary gradients for a bfloat16 convolution of a map that is
    one pixel wide, as ours are in images narrower than 5 pixels. "auto" keeps off that
    and off the convolutions of other networks, "bf16" is refused.

    Parameters
    ----------
    precision : {"auto", "32", "bf16"}
        The parameter of the estimators.
    rows : Rows
        Training samples, on the training device.
    module : torch.nn.Module
        What is trained.
    own : bool
        Whether the network is one of this package.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If "bf16" is known to be wrong here.
    """
    if precision == "32":
        return False
    on_cpu = rows.device.type == "cpu"
    convolves = any(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in module.modules())
    narrow = own and on_cpu and convolves and min(rows.sample_shape[1:]) < _NARROWEST_BFLOAT16
    if precision == "bf16":
        if narrow:
            raise ValueError(
                f"precision='bf16' on images of shape {rows.sample_shape}: torch's bfloat16 "
                "convolutions are wrong on CPU for sides under "
                f"{_NARROWEST_BFLOAT16} pixels. Set precision='32' or architecture='mlp'."
            )
        return True
    if rows.device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if on_cpu else {}
    fast = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return fast and not narrow and (own or not convolves)


@contextlib.contextmanager
def local_torch_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator, which a user's network draws from, and put it back."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
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
