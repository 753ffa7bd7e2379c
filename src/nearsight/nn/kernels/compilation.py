"""How loops are compiled: once per machine, without the interpreter's lock, sums in any order; and their buffers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import torch
from torch import Tensor

FAST = {"contract", "reassoc", "arcp", "nsz"}
"""Freedoms in rounding; infinities and NaN keep their meaning."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as machine code, which is kept on disk for the next process where a folder can be written."""
    options: dict[str, Any] = {"nogil": True, "fastmath": FAST, "error_model": "numpy"}
    try:
        result: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache
        uncached: Any = numba.njit(**options)(function)
        return uncached
    # numba takes kept code for fresh as long as the function's own file is; ours inlines functions of others.
    sources = digest_of(Path(function.__code__.co_filename).parent, Path(__file__).parent)
    kept: Any = result._cache._cache_file
    kept._source_stamp = (kept._source_stamp, sources)
    return result


@cache
def digest_of(*folders: Path) -> str:
    """Return a digest of the sources in some folders."""
    digest = hashlib.sha256()
    for source in sorted({path for folder in folders for path in folder.glob("*.py")}):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


class Buffers:
    """Named scratch tensors of one thread; a name's memory grows to the largest shape asked for.

    Args:
        dtype: of all of them.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._memory: dict[str, Tensor] = {}
        self._views: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """The tensor of that name; its content is undefined."""
        view = self._views.get((name, shape))
        if view is None:
            size = math.prod(shape)
            memory = self._memory.get(name)
            if memory is None or len(memory) < size:
                memory = self._memory[name] = torch.empty(size, dtype=self.dtype)
                self._views = {key: v for key, v in self._views.items() if key[0] != name}
            view = self._views[name, shape] = memory[:size].view(shape)
        return view
