"""Compilation of loops, once per machine, without the interpreter's lock, with sums in any order; scratch buffers."""

from __future__ import annotations

import contextlib
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
"""Freedoms in rounding that the compiler may take; infinities and NaN keep their meaning."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function to machine code, which is kept on disk for the next process where a folder can be written.

    Parameters
    ----------
    function : callable
        A function that numba can compile; functions that it inlines lie in its own package or in this one.

    Returns
    -------
    callable
        The compiled function; it is compiled anew when a source file in either package changes.
    """
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
    result._cache.save_overload = _unless_it_fails(result._cache.save_overload)
    return result


def _unless_it_fails(save: Callable[..., None]) -> Callable[..., None]:
    """Let work go on where compiled code cannot be kept, such as on a full disk."""

    def tolerant(*arguments: Any) -> None:
        with contextlib.suppress(OSError):
            save(*arguments)

    return tolerant


@cache
def digest_of(*folders: Path) -> str:
    """Return a SHA-256 digest (hexadecimal) of the Python sources in some folders."""
    digest = hashlib.sha256()
    for source in sorted({path for folder in folders for path in folder.glob("*.py")}):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


class Buffers:
    """Named scratch tensors of one thread; the memory of a name grows to the largest shape asked for.

    Parameters
    ----------
    dtype : torch.dtype
        Number type of all tensors.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._memory: dict[str, Tensor] = {}
        self._views: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Return the tensor of a name and shape; its content is undefined.

        Parameters
        ----------
        name : str
            Name of the buffer; tensors of one name share their memory.
        *shape : int
            Sizes of the tensor.

        Returns
        -------
        Tensor
            A view of the buffer.
        """
        view = self._views.get((name, shape))
        if view is None:
            size = math.prod(shape)
            memory = self._memory.get(name)
            if memory is None or len(memory) < size:
                memory = self._memory[name] = torch.empty(size, dtype=self.dtype)
                self._views = {key: v for key, v in self._views.items() if key[0] != name}
            view = self._views[name, shape] = memory[:size].view(shape)
        return view
