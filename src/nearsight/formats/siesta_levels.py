"""Levels that SIESTA prints: `.EIG` (eV), at the k-points of `.KP` (1/Bohr, Cartesian, with 2π)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.foreign_files import read_text
from nearsight.units import BOHR_IN_ANGSTROM


def read_levels(
    levels_file: Path, points_file: Path, cell: np.ndarray, n_spins: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Read both files.

    Parameters
    ----------
    levels_file, points_file : pathlib.Path
        `.EIG` and `.KP` of one run.
    cell : (3, 3) array of float
        Å, rows = vectors.
    n_spins : {1, 2}
        Number of spins that there must be.

    Returns
    -------
    k_points : (k, 3) array of float
        In units of the reciprocal lattice vectors.
    levels : (k, n) or (2, k, n) array of float
        eV as SIESTA prints them.

    Raises
    ------
    FormatError
        If a file is damaged, or the two do not fit.
    """
    words = _numbers(levels_file, "SIESTA's levels (.EIG)")
    if len(words) < 4 or not (words[1:4] == np.round(words[1:4])).all():
        raise FormatError(levels_file, "expected the numbers of levels, spins and k-points, got others")
    n, spins, count = (int(x) for x in words[1:4])
    if spins != n_spins:
        raise FormatError(levels_file, f"expected levels of {n_spins} spins as in the matrices, got {spins} spins")
    if n < 1 or count < 1 or len(words) != 4 + count * (spins * n + 1):
        raise FormatError(levels_file, f"expected {n} levels at {count} k-points, got {len(words) - 4} numbers")
    rows = words[4:].reshape(count, spins * n + 1)
    points = _numbers(points_file, "SIESTA's k-points (.KP)")
    if len(points) != 1 + 5 * count or points[0] != count:
        raise FormatError(points_file, f"expected the {count} k-points of {levels_file.name}, got others")
    cartesian = points[1:].reshape(count, 5)[:, 1:4]
    levels = np.sort(rows[:, 1:].reshape(count, spins, n).transpose(1, 0, 2), axis=2)
    return cartesian @ cell.T / BOHR_IN_ANGSTROM / (2 * np.pi), levels if spins == 2 else levels[0]


def _numbers(path: Path, expected: str) -> np.ndarray:
    text = read_text(path, expected)
    try:
        found = np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise FormatError(path, f"expected {expected}, got a text with other words ({error})") from error
    if not np.isfinite(found).all() or (np.abs(found) > 1e10).any():
        raise FormatError(path, f"expected {expected}, got numbers that are not finite")
    return found
