"""Tables of atoms between the two passes of a prediction in parts: in memory, or in files of a folder."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nearsight.atomic_files import written_atomically
from nearsight.errors import FormatError
from nearsight.partition.regions import Regions


class Tables(ABC):
    """Numbers of every atom, which come region by region.

    Parameters
    ----------
    regions : Regions
        The regions.
    """

    def __init__(self, regions: Regions) -> None:
        self._regions = regions

    @abstractmethod
    def has(self, region: int) -> bool:
        """Return whether those of a region are there."""

    @abstractmethod
    def put(self, region: int, tables: Mapping[str, np.ndarray]) -> None:
        """Take the numbers of a region's atoms."""

    @abstractmethod
    def drop(self, region: int) -> None:
        """Forget those of a region, where they are there."""

    @abstractmethod
    def _read(self, region: int) -> Mapping[str, np.ndarray]:
        """Return those of a region that is there."""

    def of(self, atoms: np.ndarray) -> dict[str, np.ndarray]:
        """Return the numbers of any atoms whose regions are there, by name; atoms may repeat."""
        labels = self._regions.labels[atoms]
        result: dict[str, np.ndarray] = {}
        for region in np.unique(labels):
            here = labels == region
            places = np.searchsorted(self._regions.atoms(int(region)), atoms[here])
            for name, values in self._read(int(region)).items():
                if name not in result:
                    result[name] = np.empty((len(atoms), *values.shape[1:]), dtype=values.dtype)
                result[name][here] = values[places]
        return result


class TablesInMemory(Tables):
    """Tables in memory."""

    def __init__(self, regions: Regions) -> None:
        super().__init__(regions)
        self._there: dict[int, Mapping[str, np.ndarray]] = {}

    def has(self, region: int) -> bool:
        """Return whether those of a region are there."""
        return region in self._there

    def put(self, region: int, tables: Mapping[str, np.ndarray]) -> None:
        """Take the numbers of a region's atoms."""
        self._there[region] = tables

    def drop(self, region: int) -> None:
        """Forget those of a region, where they are there."""
        self._there.pop(region, None)

    def _read(self, region: int) -> Mapping[str, np.ndarray]:
        return self._there[region]


class TablesInFolder(Tables):
    """Tables in one file for each region, so that they outlive the process.

    Parameters
    ----------
    regions : Regions
        The regions.
    folder : Path
        Where the files are.
    """

    def __init__(self, regions: Regions, folder: Path) -> None:
        super().__init__(regions)
        self._folder = folder

    def has(self, region: int) -> bool:
        """Return whether those of a region are there."""
        return self._file(region).is_file()

    def put(self, region: int, tables: Mapping[str, np.ndarray]) -> None:
        """Write the numbers of a region's atoms."""
        with written_atomically(self._file(region)) as temporary, temporary.open("wb") as file:
            np.savez(file, **tables)  # type: ignore[arg-type]

    def drop(self, region: int) -> None:
        """Remove those of a region, where they are there."""
        self._file(region).unlink(missing_ok=True)

    def _read(self, region: int) -> Mapping[str, np.ndarray]:
        path = self._file(region)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise FormatError(
                path, f"expected what was computed of the atoms of a region, got a damaged file ({error}); remove it"
            ) from error

    def _file(self, region: int) -> Path:
        return self._folder / f"atoms_{region:06d}.npz"
