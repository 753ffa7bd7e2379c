"""Where a result may be written, decided before the work begins: never over what was read, never over a device."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from nearsight.errors import InputError

_HEAD = 512
_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "store (.h5)": lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"),
    "HTML page": lambda head: head.lstrip().lower().startswith((b"<!doctype html", b"<html")),
    "JSON file": lambda head: head.lstrip().startswith((b"{", b"[")),
    "table (.csv)": lambda head: re.match(rb'["A-Za-z_][^\n,&=]*,', head) is not None,
    ".png figure": lambda head: head.startswith(b"\x89PNG"),
    ".pdf figure": lambda head: head.startswith(b"%PDF"),
    ".svg figure": lambda head: head.lstrip().startswith((b"<?xml", b"<svg")),
    "NumPy array (.npy)": lambda head: head.startswith(b"\x93NUMPY"),
    # A Fortran record of the five sizes in four bytes each, in either byte order.
    "CP2K wavefunction": lambda head: head.startswith((b"\x14\0\0\0", b"\0\0\0\x14")),
    "density (.cube)": lambda head: head.startswith(b"electron density"),
    "SIESTA density matrix (.DM)": lambda head: head.startswith((b"\x14\0\0\0", b"\0\0\0\x14")),
}
"""Kind of file → whether the first bytes of a file are those of that kind."""

STORE, PAGE, JSON, TABLE, ARRAY, WAVEFUNCTION, CUBE, DENSITY = (
    "store (.h5)",
    "HTML page",
    "JSON file",
    "table (.csv)",
    "NumPy array (.npy)",
    "CP2K wavefunction",
    "density (.cube)",
    "SIESTA density matrix (.DM)",
)


def check_output(path: str | os.PathLike[str], inputs: Iterable[object] = (), kind: str | None = None) -> None:
    """Refuse a place where a result must not or cannot be written.

    To be called before the work whose result is written there.

    Parameters
    ----------
    path : str or path
        The file to write. Symbolic links are followed, as when it is written.
    inputs : iterable of object, optional
        What is read. Paths are compared with the file, by what they are and not by their names, so that hard links and
        symbolic links are seen through; everything else, such as a calculation in memory, is ignored.
    kind : str, optional
        What will be written, one of the names in this module such as `STORE`, or ``".png figure"``. An older file is
        then replaced only if it is of this kind or empty.

    Raises
    ------
    InputError
        If there is no such folder or it cannot be written, if the path is a folder, a device, a pipe or a socket, or if
        the file is an input or a file of another kind.
    """
    target = followed(path)
    check_folder(target)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"expected a folder that can be written for {path}, got {target.parent}, which cannot")
    found = _status(target)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"expected the name of a file to write, got the folder {path}")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"expected a regular file to write, got {path}, {_special(found.st_mode)}")
    for source in inputs:
        if isinstance(source, (str, os.PathLike)) and _is(found, os.fspath(source)):
            raise InputError(f"expected another file to write than those that are read, got {path}, which is {source}")
    if kind is not None and found.st_size and not _SIGNATURES[kind](_first_bytes(target)):
        raise InputError(
            f"expected nothing or an older {kind} at {path}, got a file of another kind, which is not replaced; "
            "give another name, or move it away"
        )


def followed(path: str | os.PathLike[str]) -> Path:
    """Return the file that a path leads to, with symbolic links followed; the file need not be there."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)


def check_folder(target: Path) -> None:
    """Refuse a file whose folder does not exist.

    Raises
    ------
    InputError
        If there is no folder for it.
    """
    if not target.parent.is_dir():
        raise InputError(f"expected an existing folder for {target}, got none at {target.parent}; make it first")


def _status(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"expected a file that can be written at {target}, got: {error.strerror}") from error


def _special(mode: int) -> str:
    for test, name in ((stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"), (stat.S_ISFIFO, "a pipe")):
        if test(mode):
            return name
    return "a socket" if stat.S_ISSOCK(mode) else "something else"


def _is(found: os.stat_result, source: str | bytes) -> bool:
    try:
        return os.path.samestat(found, os.stat(source))
    except (OSError, ValueError):
        return False


def _first_bytes(target: Path) -> bytes:
    try:
        with target.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
