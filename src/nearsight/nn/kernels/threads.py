"""Independent pieces of work in threads, each with matrix products on one core.

Pieces of work done in threads, their results in order, never more than a few of them at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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


def in_order(work: Callable[[Piece], Result], pieces: Iterable[Piece], threads: int) -> Iterator[Result]:
    """Yields the results in the order of the pieces; at most threads + 1 pieces are under way or wait to be fetched."""
    if threads == 1:
        yield from map(work, pieces)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool(threads).submit(work, piece))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for left in waiting:
            left.cancel()
