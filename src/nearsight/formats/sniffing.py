"""What a file really is, by its first bytes; names and extensions may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nearsight.errors import FormatError
from nearsight.foreign_files import require_readable

HDF5 = b"\x89HDF\r\n\x1a\n"

_SIGNATURES = (
    (b"version https://git-lfs", "a git-lfs pointer: the content itself was not downloaded; run `git lfs pull` there"),
    (HDF5, "an HDF5 file; if nearsight wrote it, it needs no import"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"PK\x03\x04", "a zip archive or .npz; unpack it, or give it under the name .npz"),
    (b"\x93NUMPY", "a NumPy array"),
)


def first_bytes(path: str | Path, expected: str, count: int = 512, *, known: bytes | None = None) -> bytes:
    """Return the first bytes of a file that should be of some kind.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    expected : str
        The kind of file in words, for messages.
    count : int, default 512
        Bytes to read.
    known : bytes, optional
        The signature that it must begin with.

    Returns
    -------
    bytes
        At most `count` bytes, not empty.

    Raises
    ------
    FormatError
        If there is no such file, it is a folder, empty, or certainly of another kind.
    """
    if Path(path).is_dir():
        raise FormatError(path, f"expected {expected}, got a folder")
    require_readable(path, expected)
    try:
        with open(path, "rb") as raw:
            head = raw.read(count)
    except FileNotFoundError:
        raise FormatError(path, f"expected {expected}, got no such file") from None
    except OSError as error:
        raise FormatError(path, f"expected {expected}, got: {error.strerror}") from error
    if not head:
        raise FormatError(path, f"expected {expected}, got an empty file")
    if known is not None and head.startswith(known):
        return head
    foreign = _foreign(head)
    if known is not None and not foreign:
        foreign = "a file of another kind"
    if foreign:
        raise FormatError(path, f"expected {expected}, got {foreign}")
    return head


def _foreign(head: bytes) -> str | None:
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page; was a web page saved instead of the file?"
    if text.startswith((b"<?xml", b"<")):
        return "an XML or HTML file"
    return None


def is_folder_of(path: Path, beside: str, matrices: Sequence[str]) -> bool:
    """Tell whether a path is a folder with some matrix and a file beside it, or such a matrix itself.

    Parameters
    ----------
    path : pathlib.Path
        The folder or a file.
    beside : str
        Name of the file that must be there.
    matrices : sequence of str
        Names of the matrices, of which one must be there.
    """
    folder = path if path.is_dir() else path.parent
    named = path.is_dir() or path.name in matrices
    return named and (folder / beside).is_file() and any((folder / name).is_file() for name in matrices)
