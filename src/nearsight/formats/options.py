"""ReadOptions: what the user adds to a foreign file that does not say everything itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.progress import Progress, silent

BasisChoice = str | Mapping[str, str]
"""A basis' name, or element symbol → name."""


@dataclass(frozen=True)
class ReadOptions:
    """Additions to a source.

    Attributes:
        basis: name of the basis, or one name per element; None: what the source says.
        basis_file: CP2K basis file that holds it, for elements or names that are not shipped.
        cell: Å; (3,) edges, (9,) or (3, 3) rows = vectors; overrides the structure file's.
        isolated: not periodic; overrides `cell`.
        structure: structure file, where the source has none or several.
        output: CP2K's output, where the source has several.
        row: position from 0 in a database of several calculations.
        progress: told how far the reading is.
    """

    basis: BasisChoice | None = None
    basis_file: Path | None = None
    cell: np.ndarray | None = None
    isolated: bool = False
    structure: Path | None = None
    output: Path | None = None
    row: int | None = None
    progress: Progress = silent
