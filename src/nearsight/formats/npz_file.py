"""Arrays of NumPy's files: only those that are asked for, of known types, and never larger than the file can hold.

An `.npz` is a zip archive, in which three megabytes may unpack to three gigabytes, and the header of an `.npy` may
declare any size. Both are compared with what is stored before anything is allocated.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from nearsight.errors import FormatError
from nearsight.foreign_files import ALWAYS, INFLATION, reading

Kind = Literal["integer", "float"]

_BARE = "the array"
"""What the array of an `.npy` is called in messages."""
_MOST_KEYS = 10_000
_LONGEST_HEADER = 10_000


def keys(path: Path, expected: str = "a NumPy archive") -> tuple[str, ...]:
    """Return the names of the arrays in an archive, or nothing for a bare array.

    Raises
    ------
    FormatError
        If it is neither an archive nor an array of NumPy's.
    """
    with reading(path, expected):
        if _is_bare(path):
            with path.open("rb") as raw:
                _header(raw)
            return ()
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > _MOST_KEYS:
                raise FormatError(path, f"expected at most {_MOST_KEYS} arrays, got {len(archive.infolist())}")
            names = [name.removesuffix(".npy") for name in archive.namelist()]
        if len(set(names)) != len(names):
            raise FormatError(path, "expected every array once in a NumPy archive, got one twice")
        return tuple(names)


def read_arrays(
    path: Path, wanted: Mapping[str, tuple[Kind, int | tuple[int, ...]]], expected: str = "a NumPy archive"
) -> dict[str, np.ndarray]:
    """Read some arrays of an archive.

    Parameters
    ----------
    path : pathlib.Path
        The archive.
    wanted : mapping of str to (kind, rank or ranks)
        Which arrays, what their numbers are and how many dimensions they may have; either type may stand for the
        other where it holds the same numbers.
    expected : str
        What the archive should be, in words.

    Returns
    -------
    dict of str to array
        Those that are there.

    Raises
    ------
    FormatError
        If the archive is damaged, or an array has another type or rank, is not finite, or is larger than what is
        stored for it.
    """
    present = set(keys(path, expected))
    with reading(path, expected):
        if _is_bare(path):
            return {}
        with zipfile.ZipFile(path) as archive:
            names = {
                key: f"{key}.npy" if f"{key}.npy" in archive.namelist() else key for key in wanted if key in present
            }
            declared = sum(archive.getinfo(name).file_size for name in names.values())
            if declared > ALWAYS + INFLATION * path.stat().st_size:
                raise FormatError(path, f"expected arrays that fit their file, got {declared / 1e9:.3g} GB in it")
            found = {}
            for key, name in names.items():
                with archive.open(name) as raw:
                    found[key] = _array(path, key, raw, archive.getinfo(name).file_size, *wanted[key])
            return found


def read_bare(path: Path, kind: Kind, rank: int | tuple[int, ...]) -> np.ndarray | None:
    """Read the array of an `.npy` file; None for an archive.

    Raises
    ------
    FormatError
        As `read_arrays`.
    """
    with reading(path, "a NumPy array or archive"):
        if not _is_bare(path):
            return None
        with path.open("rb") as raw:
            return _array(path, _BARE, raw, path.stat().st_size, kind, rank)


def _is_bare(path: Path) -> bool:
    with path.open("rb") as raw:
        return raw.read(6) == b"\x93NUMPY"


def _array(path: Path, key: str, raw: IO[bytes], size: int, kind: Kind, rank: int | tuple[int, ...]) -> np.ndarray:
    shape, fortran, dtype = _header(raw)
    real = "finite real numbers" if key == _BARE else "finite numbers"
    words = real if kind == "float" else "whole numbers"
    if dtype.hasobject:
        raise FormatError(path, f"expected a NumPy archive with {words} in {key}, got Python objects")
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise FormatError(path, f"expected {words} in {key}, got another type ({dtype})")
    ranks = (rank,) if isinstance(rank, int) else rank
    if len(shape) not in ranks or any(n < 0 for n in shape):
        raise FormatError(path, f"expected {key} with {' or '.join(map(str, ranks))} dimensions, got shape {shape}")
    declared = math.prod(shape) * dtype.itemsize
    if declared > size:
        raise FormatError(path, f"expected {key} of {declared} bytes, as its header says, got {size}; was it cut off?")
    data = raw.read(declared)
    if len(data) != declared or raw.read(1):
        raise FormatError(path, f"expected {declared} bytes of {key}, as its header says, got another number")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(np.argmin(np.isfinite(array.reshape(-1))))
        raise FormatError(path, f"expected {words} in {key}, got NaN or infinity in entry {bad}")
    if kind == "float":
        return array.astype(array.dtype.newbyteorder("="))
    if array.size and (np.abs(array.astype(np.float64)).max() >= 2.0**53 or (array != np.round(array)).any()):
        raise FormatError(path, f"expected {words} in {key}, got others")
    return array.astype(np.int64)


def _header(raw: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(raw)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(raw, max_header_size=_LONGEST_HEADER)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(raw, max_header_size=_LONGEST_HEADER)
    raise ValueError(f"version {version} of NumPy's format")
