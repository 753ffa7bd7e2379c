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

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(items: int) -> int:
    """Threads for so many pieces of work: as many as torch has, at least one."""
    return max(1, min(torch.get_num_threads(), items))


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], device: torch.device) -> list[Result]:
    """Results in the order of the pieces; in as many threads as torch has, on a CPU and for several pieces."""
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < 2 or device.type != "cpu":
        return [work(item) for item in items]
    return list(pool(threads).map(work, items))


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads whose matrix products run on one core each."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yields the results in the order of the pieces; at most threads + 1 pieces are under way or wait to be fetched."""
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool(threads).submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for left in waiting:
            left.cancel()
