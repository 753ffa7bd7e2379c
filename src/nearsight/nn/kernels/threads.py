"""Independent pieces of work in threads, each with matrix products on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def thread_count(pieces: int) -> int:
    """Threads for so many pieces of work: as many as torch has, at least one."""
    return max(1, min(torch.get_num_threads(), pieces))


def in_threads(work: Callable[[Piece], Result], pieces: Sequence[Piece], device: torch.device) -> list[Result]:
    """Results in the order of the pieces; in as many threads as torch has, on a CPU and for several pieces."""
    threads = torch.get_num_threads()
    if threads == 1 or len(pieces) < 2 or device.type != "cpu":
        return [work(piece) for piece in pieces]
    return list(pool(threads).map(work, pieces))


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads whose matrix products run on one core each."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
