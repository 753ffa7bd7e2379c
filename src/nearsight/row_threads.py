"""Compiled loops over rows in threads of Python, without OpenMP.

numba's own parallel loops (`parallel=True`) load the system's OpenMP beside those of torch and PySCF. Once they have
run, PySCF's exchange-correlation matrices in the same process are wrong, and no error is raised. So loops here release
the interpreter's lock (`nogil=True`), take the first row and the one after the last, and are called in threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba

from nearsight.compiled_code import compiled_with

SHARES = 4
"""Shares of the rows for each thread: rows are not equally long."""


def row_loop(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a loop for `over_rows`: its first two arguments are the first row and the one after the last."""
    return compiled_with(function, (), nogil=True)


def fast_row_loop(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a loop for `over_rows` whose sums may be in any order, of finite numbers."""
    return compiled_with(function, (), nogil=True, fastmath=True)


def over_rows(loop: Callable[..., None], n_rows: int, *arguments: Any, least: int = 256) -> None:
    """Call `loop(first, last, *arguments)` for shares of the rows, in as many threads as numba has.

    Parameters
    ----------
    loop : callable
        A compiled function that writes to different places for different rows, and releases the interpreter's lock.
    n_rows : int
        The number of rows.
    *arguments
        The same for all shares.
    least : int, optional
        Fewest rows of a share; with no more in all, the loop runs in the calling thread.
    """
    threads: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    step = max(least, -(-n_rows // (SHARES * threads)))
    if threads == 1 or n_rows <= step:
        loop(0, n_rows, *arguments)
        return
    bounds = [(first, min(first + step, n_rows)) for first in range(0, n_rows, step)]
    list(_pool(threads).map(lambda share: loop(*share, *arguments), bounds))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):  # a child has no threads of its parent
    os.register_at_fork(after_in_child=_pool.cache_clear)
