"""The processes that torchrun started together, of which this may be one; known from the environment, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nearsight.errors import ConfigError, NearsightError

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class LostProcessError(NearsightError):
    """Raised where another process of the same launch has ended or does not answer."""


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    count : int
        Number of processes on all machines.
    local_rank, local_count : int
        The same on this machine alone.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1


def launched(environment: Mapping[str, str] | None = None) -> Launch:
    """Return the place of this process among those that torchrun started, or that of a process alone.

    Parameters
    ----------
    environment : mapping of str to str, optional
        Variables of the environment; those of this process by default.

    Returns
    -------
    Launch
        What RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say; a process alone where torchrun's RANK or WORLD_SIZE
        is missing.

    Raises
    ------
    ConfigError
        The variables are not such numbers.
    """
    own = os.environ if environment is None else environment
    if "RANK" not in own or "WORLD_SIZE" not in own:
        return Launch()
    texts = {name: own.get(name, default) for name, default in zip(_VARIABLES, ("0", "1", "0", "1"))}
    if not all(text.isascii() and text.isdigit() for text in texts.values()):
        raise ConfigError(f"expected numbers of processes in the environment, as torchrun sets them, got {texts}")
    rank, count, local_rank, local_count = (int(texts[name]) for name in _VARIABLES)
    if not (rank < count and local_rank < local_count <= count):
        raise ConfigError(f"expected numbers of processes in the environment that fit together, got {texts}")
    return Launch(rank, count, local_rank, local_count)
