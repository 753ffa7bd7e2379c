"""Devices by their names: the CPU, or an NVIDIA GPU."""

from __future__ import annotations

import torch

from nearsight.errors import ConfigError


def device_named(name: str, local_rank: int = 0) -> torch.device:
    """Return a device by its name.

    Parameters
    ----------
    name : str
        `cpu`, `cuda`, `cuda:N` for GPU number N, or `auto`: a GPU where there is one, else the CPU.
    local_rank : int, optional
        Number of this process among those of the same launch on this machine; each has the GPU of its number where the
        name gives none.

    Returns
    -------
    torch.device
        The device; a GPU has a number.

    Raises
    ------
    ConfigError
        There is no such device here, or no such name.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not found):
        return torch.device("cpu")
    kind, _, number = ("cuda" if name == "auto" else name).partition(":")
    if kind != "cuda" or (number and not number.isdigit()) or name.endswith(":"):
        raise ConfigError(f"expected auto, cpu, cuda or cuda:N for the device, got {name}")
    chosen = int(number) if number else local_rank
    if chosen >= found:
        gpus = f"{found} GPU{'s' if found > 1 else ''}" if found else "no GPU that torch can use"
        who = f" of process {local_rank} of this machine" if local_rank else ""
        raise ConfigError(f"expected a GPU for the device {name}{who}, got {gpus}; the device cpu computes without one")
    return torch.device("cuda", chosen)


def limit_threads(count: int) -> None:
    """Use so many threads of the CPU for tensors from now on."""
    torch.set_num_threads(count)
