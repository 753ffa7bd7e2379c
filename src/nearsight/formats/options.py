"""What the user adds to a foreign file that does not say everything itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from nearsight.progress import Progress, silent

BasisChoice = str | Mapping[str, str]
"""The name of a basis, or element symbol → name."""


@dataclass(frozen=True)
class ReadOptions:
    """Additions to a source.

    Attributes
    ----------
    basis : str or mapping of str to str, optional
        Name of the basis, or one name per element; by default what the source says.
    basis_file : tuple of pathlib.Path
        CP2K basis files that hold it, for elements or names that are not shipped; an element is taken from the first
        file that has it.
    cell : array of float, optional
        Å; (3,) edges, (9,) or (3, 3) rows = vectors; overrides the structure file's.
    isolated : bool, default False
        Whether the structure is not periodic; overrides `cell`.
    structure : pathlib.Path, optional
        Structure file, where the source has none or several.
    output : pathlib.Path, optional
        CP2K's output, where the source has several or none beside the matrices.
    input : pathlib.Path, optional
        CP2K's input, where the source has several or none beside the matrices.
    overlap : pathlib.Path, optional
        The file of S, where it is not beside H under the name that CP2K gives it.
    step : int or "last", optional
        Which step of a run whose atoms move; needed where there are several.
    row : int, optional
        Position from 0 in a database of several calculations.
    progress : Progress, default silent
        Told the bytes that are read.
    """

    basis: BasisChoice | None = None
    basis_file: tuple[Path, ...] = ()
    cell: np.ndarray | None = None
    isolated: bool = False
    structure: Path | None = None
    output: Path | None = None
    input: Path | None = None
    overlap: Path | None = None
    step: int | str | None = None
    row: int | None = None
    progress: Progress = silent


class SeenOptions(ReadOptions):
    """Options that know which of them a reader looked at, so that none is passed over in silence."""

    def __getattribute__(self, name: str) -> object:
        """Return an attribute, and note that it was asked for."""
        if not name.startswith("_"):
            object.__getattribute__(self, "__dict__").setdefault("_seen", set()).add(name)
        return object.__getattribute__(self, name)

    def not_seen(self) -> list[str]:
        """Return the names of what was given and not looked at."""
        own = self.__dict__
        seen = own.get("_seen", set()) | {"progress"}
        given = [f.name for f in fields(self) if not _is_default(own[f.name], f.default)]
        return [name for name in given if name not in seen]


def _is_default(value: object, default: object) -> bool:
    return value is default or (isinstance(value, tuple) and value == default)
