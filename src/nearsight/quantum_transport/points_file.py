"""The file in which a sweep keeps its points, so that an interrupted one goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from nearsight.atomic_files import written_atomically
from nearsight.errors import FormatError
from nearsight.quantum_transport.energy_point import EnergyPoint

FORMAT = "nearsight transport points"
VERSION = 1


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
            If it is another file, or of another junction or other settings.
        """
        if not self.path.exists():
            return {}
        try:
            with h5py.File(self.path, "r") as file:
                if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                    raise FormatError(self.path, "expected points of a transport calculation, got another file")
                if file.attrs.get("key") != self.key:
                    raise FormatError(
                        self.path,
                        "expected points of this junction with these settings, got those of another one; delete it or "
                        "give another file",
                    )
                columns = {name: file[name][()] for name in ("k", *_NAMES)}
        except (OSError, KeyError) as error:
            raise FormatError(
                self.path, f"expected points of a transport calculation, got a damaged file: {error}"
            ) from None
        result = {}
        for n, k in enumerate(columns["k"]):
            energy = float(columns["relative"][n])
            result[int(k), energy] = EnergyPoint(
                energy=float(columns["energy"][n]),
                transmission=float(columns["transmission"][n]),
                n_left=int(columns["n_left"][n]),
                n_right=int(columns["n_right"][n]),
                eigenchannels=columns["eigenchannels"][n],
                reflection=float(columns["reflection"][n]),
                from_left=columns["from_left"][n],
                from_right=columns["from_right"][n],
            )
        return result

    def write(self, points: Mapping[tuple[int, float], EnergyPoint]) -> None:
        """Write all points, whole or not at all.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        keys = sorted(points)
        with written_atomically(self.path) as temporary, h5py.File(temporary, "w", locking=False) as file:
            file.attrs.update({"format": FORMAT, "version": VERSION, "key": self.key})
            file["k"] = np.array([k for k, _ in keys])
            file["relative"] = np.array([e for _, e in keys])
            for name in (f.name for f in fields(EnergyPoint)):
                file[name] = np.array([getattr(points[key], name) for key in keys])


_NAMES = ("relative", *(f.name for f in fields(EnergyPoint)))


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
