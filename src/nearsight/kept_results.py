"""Results of long computations, kept on disk by what they were computed from, so that they are computed once.

A result is a few arrays. Its name is a digest of everything that it depends on, to the last bit: the numbers that went
in, the sources of this package, and the libraries that do the linear algebra with their threads. So a result that is
found is the one that would be computed, and one of another version is never found. Files are whole or not there; one
that is damaged is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from threadpoolctl import threadpool_info

from nearsight.atomic_files import remove_leftovers, written_atomically
from nearsight.errors import InputError

FOLDER = "NEARSIGHT_CACHE"
"""Environment variable: the folder of kept results; nothing is kept where it is empty."""
LIMIT = 2_000_000_000
"""Bytes of all kept results; what was not used for longest goes first."""
FORMAT = "1"
_ENDING = ".npz"

Arrays = Mapping[str, np.ndarray]


def _sources() -> str:
    root = Path(__file__).parent
    result = hashlib.blake2b()
    for source in sorted(root.rglob("*.py")):
        result.update(f"{source.relative_to(root)}\n".encode() + source.read_bytes())
    return result.hexdigest()


_SOURCES = _sources()
"""Read when this module is, as the others are: files that change while a process runs are not what it computes with."""


def kept(compute: Callable[[], Arrays], *ingredients: Any) -> Arrays:
    """Return arrays that were computed from the same ingredients before, or else compute and keep them.

    Parameters
    ----------
    compute : callable
        Returns the arrays by name. It depends on nothing but the ingredients, and gives the same bits every time.
    *ingredients
        What the result depends on, in a fixed order: arrays, numbers, texts, None, and mappings, sequences and
        dataclasses of such. A word that says what is computed is one of them.

    Returns
    -------
    mapping of str to ndarray
        The arrays, in the order in which `compute` gives them.
    """
    folder = kept_folder()
    if folder is None:
        return compute()
    path = folder / f"{digest(ingredients)}{_ENDING}"
    known = _read(path)
    if known is not None:
        return known
    found = compute()
    with contextlib.suppress(InputError, OSError):  # work goes on where nothing can be kept
        _write(path, found)
    return found


def kept_folder() -> Path | None:
    """Return the folder of kept results, which need not exist; None where nothing is kept."""
    given = os.environ.get(FOLDER)
    if given is not None:
        return Path(given) if given else None
    with contextlib.suppress(RuntimeError):  # no home
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nearsight"
    return None


def digest(ingredients: Sequence[Any]) -> str:
    """Return a digest (hexadecimal) of arrays and texts, of this version of the package and of the linear algebra.

    Raises
    ------
    TypeError
        Of something else among the ingredients than `kept` says.
    """
    result = hashlib.blake2b(f"{FORMAT}\n{_SOURCES}\n{_linear_algebra()}".encode(), digest_size=20)
    for name, content in _parts(ingredients):
        result.update(f"{name} {content.nbytes}\n".encode())
        result.update(content)
    return result.hexdigest()


def _parts(value: Any) -> Iterator[tuple[str, memoryview]]:
    """What a value consists of: kinds, and bytes that differ where the values of one kind do."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError("expected numbers among the ingredients of a result, got an array of objects")
        yield f"array {array.dtype.str} {array.shape}", np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    elif value is None or isinstance(value, (str, int, float)):
        yield type(value).__name__, memoryview(repr(value).encode())
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}", memoryview(b"")
        for key, own in value.items():
            yield from _parts(key)
            yield from _parts(own)
    elif isinstance(value, Sequence):
        yield f"sequence {len(value)}", memoryview(b"")
        for own in value:
            yield from _parts(own)
    elif is_dataclass(value):
        yield type(value).__qualname__, memoryview(b"")
        for one in fields(value):
            yield from _parts(getattr(value, one.name))
    else:
        raise TypeError(f"expected arrays, numbers, texts and what holds such, got {type(value).__name__}")


def _linear_algebra() -> str:
    """Versions, kernels and threads, all of which round differently."""
    keys = ("internal_api", "version", "architecture", "num_threads")
    blas = sorted({str([one.get(key) for key in keys]) for one in threadpool_info() if one["user_api"] == "blas"})
    return f"numpy {np.__version__} scipy {scipy.__version__} {blas}"


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file, which is then the one used last; None where there is none or it is damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        os.utime(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return found


def _write(path: Path, arrays: Arrays) -> None:
    size = sum(array.nbytes for array in arrays.values())
    if size > LIMIT:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    _make_room(path.parent, size)
    with written_atomically(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _make_room(folder: Path, size: int) -> None:
    """Remove what was not used for longest until so many bytes fit."""
    files = []
    for path in folder.glob(f"*{_ENDING}"):
        with contextlib.suppress(OSError):  # another process may have removed it
            known = path.stat()
            files.append((known.st_mtime_ns, known.st_size, path))
    total = size + sum(own for _, own, _ in files)
    for _, own, path in sorted(files):
        if total <= LIMIT:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        total -= own
