"""Densities on a grid as Gaussian's cube files, in electrons/bohr³."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.cube import write_cube as write_with_ase

from nearsight.atomic_files import written_atomically
from nearsight.structures.structure import Structure


def write_cube(
    path: str | Path, structure: Structure, origin: np.ndarray, steps: np.ndarray, values: np.ndarray
) -> None:
    """Write a density with its atoms; the file's first line begins with `electron density`.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    structure : Structure
        The atoms.
    origin : (3,) array of float
        The first point, Å.
    steps : (3, 3) array of float
        Rows: from a point to the next along each axis, Å.
    values : (K, L, M) array of float
        The density at the points origin + k · steps, electrons/bohr³.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    atoms = Atoms(structure.numbers, structure.positions, cell=steps * np.array(values.shape)[:, None])
    with written_atomically(Path(path)) as temporary, temporary.open("w", encoding="ascii") as file:
        write_with_ase(file, atoms, values, origin=origin, comment="electron density, electrons/bohr^3")
