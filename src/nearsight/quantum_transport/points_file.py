"""The file in which a sweep keeps its points, so that an interrupted one goes on where it was.

Points are believed: what a file says is not computed again. So its content is under a hash, and read as that of files
that others may have made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from nearsight.errors import FormatError, NearsightError
from nearsight.foreign_files import require_readable
from nearsight.operators.hdf5_content import HASH, Kind, Refused, array, attribute, check_objects, content_hash
from nearsight.operators.hdf5_probe import may_be_read
from nearsight.operators.hdf5_writing import hdf5_written_atomically
from nearsight.quantum_transport.energy_point import EnergyPoint

T = TypeVar("T")
FORMAT = "nearsight transport points"
VERSION = 2
"""Since version 2 everything is under the hash `sha256`."""

_COLUMNS: dict[str, tuple[Kind, tuple[int | None, ...]]] = {
    "k": ("integer", ()),
    "relative": ("float", ()),
    "energy": ("float", ()),
    "transmission": ("float", ()),
    "n_left": ("integer", ()),
    "n_right": ("integer", ()),
    "eigenchannels": ("float", (None,)),
    "from_left": ("float", (None,)),
    "from_right": ("float", (None,)),
}
_TYPES: dict[Kind, type[np.number]] = {"integer": np.int64, "float": np.float64}
_START = "start"
_REFLECTION = "reflection"
"""Only there where states were asked for."""


@dataclass(frozen=True)
class PointsFile:
    """Points of a sweep in an HDF5 file.

    Attributes
    ----------
    path : Path
        The file.
    key : str
        Says of which junction and settings the points are (`key_of`).
    """

    path: Path
    key: str

    def read(self) -> dict[tuple[int, float], EnergyPoint]:
        """Return the points that the file has; none where it is not there.

        Raises
        ------
        FormatError
            If it is another file, or of another junction or other settings, or has changed since it was written.
        """
        return self._read(_points) or {}

    def start(self) -> np.ndarray | None:
        """Return the energies with which the sweep began, (E,) in eV; None where the file does not say or is not there.

        Raises
        ------
        FormatError
            As `read`.
        """
        return self._read(lambda file: array(file, _START, "float", (None,)) if _START in file else None)

    def _read(self, part: Callable[[h5py.File], T]) -> T | None:
        require_readable(self.path, "points of a transport calculation")
        if not self.path.exists():
            return None
        problem = may_be_read(self.path)
        if problem is not None:
            raise self._damaged(problem)
        try:
            # Files are replaced whole, never changed in place: no lock is needed to read one.
            with h5py.File(self.path, "r", locking=False) as file:
                check_objects(file)
                self._check_head(file)
                return part(file)
        except NearsightError:
            raise
        except Exception as error:  # a damaged file makes HDF5 and h5py raise whatever comes up
            raise self._damaged((str(error).strip("'").splitlines() or [type(error).__name__])[0]) from error

    def write(self, points: Mapping[tuple[int, float], EnergyPoint], start: np.ndarray | None = None) -> None:
        """Write all points, whole or not at all.

        Parameters
        ----------
        points : mapping of (int, float) to EnergyPoint
            Number of the k⊥ and energy relative to the Fermi level → point.
        start : (E,) array of float, optional
            The energies with which the sweep began.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        keys = sorted(points)
        with hdf5_written_atomically(self.path) as file:
            file.attrs.update({"format": FORMAT, "version": VERSION, "key": self.key})
            file["k"] = np.array([k for k, _ in keys], dtype=np.int64)
            file["relative"] = np.array([e for _, e in keys], dtype=np.float64)
            if start is not None:
                file[_START] = start
            for name, (kind, rest) in list(_COLUMNS.items())[2:]:
                values = np.array([getattr(points[key], name) for key in keys], dtype=_TYPES[kind])
                file[name] = values if keys else values.reshape(0, *(0 for _ in rest))
            reflection = np.array([points[key].reflection for key in keys])
            if np.isfinite(reflection).all():
                file[_REFLECTION] = reflection
            file.attrs[HASH] = content_hash(file)

    def _check_head(self, file: h5py.File) -> None:
        if "format" not in file.attrs or attribute(file, "format") != FORMAT or attribute(file, "version") != VERSION:
            raise FormatError(
                self.path,
                f"expected points of a transport calculation (version {VERSION}), got another file; delete it or give "
                "another file",
            )
        if attribute(file, HASH) != content_hash(file):
            raise Refused("it is not what was written: its hash is another one")
        if attribute(file, "key") != self.key:
            raise FormatError(
                self.path,
                "expected points of this junction with these settings, got those of another one; delete it or "
                "give another file",
            )

    def _damaged(self, how: str) -> FormatError:
        return FormatError(
            self.path,
            f"expected points of a transport calculation, got a damaged file: {how}; delete it, and they are computed "
            "again",
        )


def _points(file: h5py.File) -> dict[tuple[int, float], EnergyPoint]:
    count = len(array(file, "k", "integer", (None,)))
    columns = {name: array(file, name, kind, (count, *rest)) for name, (kind, rest) in _COLUMNS.items()}
    reflection = array(file, _REFLECTION, "float", (count,)) if _REFLECTION in file else np.full(count, np.nan)
    return {
        (int(columns["k"][n]), float(columns["relative"][n])): EnergyPoint(
            energy=float(columns["energy"][n]),
            transmission=float(columns["transmission"][n]),
            n_left=int(columns["n_left"][n]),
            n_right=int(columns["n_right"][n]),
            eigenchannels=columns["eigenchannels"][n],
            reflection=float(reflection[n]),
            from_left=columns["from_left"][n],
            from_right=columns["from_right"][n],
        )
        for n in range(count)
    }


def key_of(*parts: object) -> str:
    """Return a hash of arrays, numbers and texts."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b";")
    return digest.hexdigest()
