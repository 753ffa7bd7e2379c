"""What the user adds to a foreign file that does not say everything itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
