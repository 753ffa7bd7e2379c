"""How the loops are compiled: once per machine, without the interpreter's lock, sums in any order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

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
