"""Independent items of work in threads, each with matrix products on one core, with the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(items: int) -> int:
    """Return the number of threads for so many items of work: as many as torch has, but between 1 and `items`."""
    return max(1, min(torch.get_num_threads(), items))


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], device: torch.device) -> list[Result]:
    """Apply a function to all items, in as many threads as torch has where the device is a CPU.

    Parameters
    ----------
    work : callable
        Function of one item.
    items : sequence
        The items; a single one is done in the calling thread.
    device : torch.device
        Where the work is done; on other devices than a CPU there is one thread.

    Returns
    -------
    list
        The results in the order of the items.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < 2 or device.type != "cpu":
        return [work(item) for item in items]
    return list(pool(threads).map(work, items))


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of so many threads, whose matrix products run on one core each; it is made once."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


@contextmanager
def one_core() -> Iterator[None]:
    """Compute on one core within the block: torch rounds otherwise with another number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def product_on_one_core(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b, with a value and gradients that do not depend on the number of threads.

    Parameters
    ----------
    a : Tensor
        (…, k).
    b : Tensor
        (k, n).

    Returns
    -------
    Tensor
        (…, n).
    """
    result: Tensor = _Product.apply(a, b)
    return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        with one_core():
            return a @ b

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,), (a, b) = gradients, ctx.saved_tensors
        with one_core():
            return gradient @ b.T, a.reshape(-1, a.shape[-1]).T @ gradient.reshape(-1, gradient.shape[-1])


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Apply a function to items in threads, and yield the results as they are needed.

    Parameters
    ----------
    work : callable
        Function of one item.
    items : iterable
        The items; at most threads + 1 of them are under way or wait to be fetched.
    threads : int
        Number of threads; with one the work is done in the calling thread.

    Yields
    ------
    object
        The results in the order of the items.
    """
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
        for future in waiting:
            future.cancel()
