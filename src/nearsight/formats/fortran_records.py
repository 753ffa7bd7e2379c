"""Files of records as Fortran writes them: each between two marks that say its length in bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError

_MARK = 4


class Records:
    """The records of a file, one after another.

    Parameters
    ----------
    path : pathlib.Path
        The file, which is read whole.
    expected : str
        What it should be, in words.

    Raises
    ------
    FormatError
        If it does not begin with a record.
    """

    def __init__(self, path: Path, expected: str) -> None:
        self.path, self._expected, self._at, self.number = path, expected, 0, 0
        try:
            self._raw = memoryview(path.read_bytes())
        except OSError as error:
            raise FormatError(path, f"expected {expected}, got: {error.strerror}") from error
        self._order = "<" if self._fits("<") or not self._fits(">") else ">"

    def _fits(self, order: str) -> bool:
        if len(self._raw) < 2 * _MARK:
            return False
        (length,) = struct.unpack_from(f"{order}i", self._raw, 0)
        end = _MARK + length
        return (
            0 <= length <= len(self._raw) - 2 * _MARK and struct.unpack_from(f"{order}i", self._raw, end)[0] == length
        )

    @property
    def at_end(self) -> bool:
        """Whether there is no further record."""
        return self._at == len(self._raw)

    def error(self, expected: str, got: object) -> FormatError:
        """Return an error that names the record that was read last."""
        return FormatError(
            self.path, f"expected {self._expected} with {expected} in record {self.number} (from 1), got {got}"
        )

    def bytes(self, what: str) -> memoryview:
        """Return the next record.

        Parameters
        ----------
        what : str
            What it should hold, in words.

        Raises
        ------
        FormatError
            If there is none, or its marks are damaged.
        """
        self.number += 1
        at, left = self._at, len(self._raw) - self._at
        if left < 2 * _MARK:
            raise self.error(what, "the end of the file; it is cut off, copy it again")
        (length,) = struct.unpack_from(f"{self._order}i", self._raw, at)
        if not 0 <= length <= left - 2 * _MARK:
            raise self.error(what, f"a record of {length} bytes where {left} are left; it is cut off or damaged")
        (after,) = struct.unpack_from(f"{self._order}i", self._raw, at + _MARK + length)
        if after != length:
            raise self.error(what, f"the marks {length} … {after}; the file is damaged")
        self._at = at + length + 2 * _MARK
        return self._raw[at + _MARK : at + _MARK + length]

    def array(self, what: str, kind: str, count: int | None = None) -> np.ndarray:
        """Return the next record as numbers.

        Parameters
        ----------
        what : str
            What it should hold, in words.
        kind : {"i4", "f4", "f8"}
            Of the numbers.
        count : int, optional
            How many there must be.

        Raises
        ------
        FormatError
            If there are others, or they are not finite.
        """
        raw = self.bytes(what)
        dtype = np.dtype(f"{self._order}{kind}")
        if len(raw) % dtype.itemsize or (count is not None and len(raw) != count * dtype.itemsize):
            raise self.error(f"{what} ({count} numbers of {dtype.itemsize} bytes)", f"{len(raw)} bytes")
        return self.converted(what, raw, kind)

    def converted(self, what: str, raw: memoryview, kind: str) -> np.ndarray:
        """Return bytes of a record as finite numbers of the processor's own type."""
        values = np.frombuffer(raw, np.dtype(f"{self._order}{kind}"))
        if kind[0] == "f" and not np.isfinite(values).all():
            raise self.error(what, "numbers that are NaN or infinite")
        return values.astype(np.dtype(kind))


def record(*parts: np.ndarray | bytes) -> bytes:
    """Return a record of little-endian numbers."""
    body = b"".join(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes() for part in parts)
    mark = struct.pack("<i", len(body))
    return mark + body + mark
