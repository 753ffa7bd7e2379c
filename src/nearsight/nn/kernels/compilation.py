"""How the loops are compiled: once per machine, without the interpreter's lock, sums in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FAST = {"contract", "reassoc", "arcp", "nsz"}
"""Freedoms in rounding; infinities and NaN keep their meaning."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, kept on disk for the next process."""
    import numba

    result: Callable[..., Any] = numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")(function)
    return result
