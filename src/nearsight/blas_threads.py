"""Threads of BLAS where matrices are small: several wait for each other longer than they compute.

OpenBLAS' threads spin while they wait. On a machine that is busy, layers of 128 functions took two threads ten times as
long as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

SMALL = 512
"""Rows of a matrix below which one thread factorises it as fast as two."""


@contextmanager
def suited_to(rows: int) -> Iterator[None]:
    """Let NumPy's and SciPy's BLAS use one thread where the largest matrix is small; as it is set where it is not.

    Parameters
    ----------
    rows : int
        Of the largest matrix.
    """
    if rows >= SMALL:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield
