"""Fractional coordinates of atoms, also of structures whose cell has no volume."""

from __future__ import annotations

import numpy as np

from nearsight.structures.structure import Structure


def fractions_and_edges(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Return fractional coordinates of all atoms, and the vectors that they are fractions of.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.

    Returns
    -------
    fractions : (N, 3) array
        0 … 1 along periodic directions; along others as the atoms are.
    edges : (3, 3) array
        Å, rows; the cell, completed where it has no volume.
    """
    cell = complete_cell(structure)
    fractions = structure.positions @ np.linalg.inv(cell)
    wrapped = fractions - np.floor(fractions)
    # Rounding takes a coordinate just below 0 to 1.
    return np.where(structure.pbc, np.where(wrapped < 1.0, wrapped, 0.0), fractions), cell


def complete_cell(structure: Structure) -> np.ndarray:
    """Return a cell with volume.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.

    Returns
    -------
    (3, 3) array
        Å, rows. Where the given cell has no volume, directions that are not periodic are perpendicular to the periodic
        ones, 1 Å long, and follow x, y, z as far as these allow.
    """
    cell = np.array(structure.cell)
    if np.linalg.matrix_rank(cell, tol=1e-6) == 3:
        return cell
    periodic = cell[structure.pbc]
    axes = np.linalg.svd(periodic)[2] if len(periodic) else np.eye(3)
    span = axes[: len(periodic)]
    missing = (np.eye(3) - span.T @ span)[~structure.pbc]
    if np.linalg.matrix_rank(missing, tol=1e-6) < len(missing):
        missing = axes[len(periodic) :]
    cell[~structure.pbc] = missing / np.linalg.norm(missing, axis=1, keepdims=True)
    return cell
