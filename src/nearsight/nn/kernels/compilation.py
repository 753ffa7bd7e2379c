"""How the loops are compiled: once per machine, without the interpreter's lock, sums in any order.

Arrays that are allocated once and used for every chunk: fresh memory costs more than arithmetic.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import torch
from torch import Tensor

FAST = {"contract", "reassoc", "arcp", "nsz"}
"""Freedoms in rounding; infinities and NaN keep their meaning."""
STAMP = "nearsight-kernels.sha256"


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, kept on disk for the next process."""
    result: Callable[..., Any] = numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")(function)
    return result


def forget_stale_code(folder: Path) -> None:
    """Remove machine code kept in `folder/__pycache__` that was made from other sources than those in `folder`.

    numba looks only at the file of a function, not at those whose functions are inlined into it.
    """
    kept = folder / "__pycache__"
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.read_bytes())
    with suppress(OSError):  # a folder that cannot be written holds no code of ours
        stamp = kept / STAMP
        if stamp.is_file() and stamp.read_text() == digest.hexdigest():
            return
        for index in kept.glob("*.nbi"):
            index.unlink(missing_ok=True)
        kept.mkdir(exist_ok=True)
        new = kept / f"{STAMP}.{os.getpid()}"
        new.write_text(digest.hexdigest())
        new.replace(stamp)


forget_stale_code(Path(__file__).parent)


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
