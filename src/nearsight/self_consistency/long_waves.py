"""LongWaves: what varies over a structure as slowly as waves of its lattice that are longer than some length."""

from __future__ import annotations

import numpy as np

from nearsight.structures.structure import Structure


class LongWaves:
    """The waves of a structure that are longer than some length, of each element by itself.

    Parameters
    ----------
    structure : Structure
        Atoms and cell; there are no waves along directions that are not periodic.
    longer_than : float
        Å.
    """

    def __init__(self, structure: Structure, longer_than: float) -> None:
        self._columns: list[tuple[np.ndarray, np.ndarray]] = []
        phases = structure.positions @ _waves(structure, longer_than).T
        if not phases.size:
            return
        for z in structure.elements:
            atoms = np.flatnonzero(structure.numbers == z)
            own = np.concatenate([np.ones((len(atoms), 1)), np.cos(phases[atoms]), np.sin(phases[atoms])], axis=1)
            self._columns.append((atoms, np.linalg.qr(own)[0][:, 1:]))  # orthogonal to the mean of the element

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the part of numbers (N, …) of atoms that is in these waves; its mean over an element is zero."""
        result = np.zeros_like(values)
        for atoms, columns in self._columns:
            result[atoms] = np.tensordot(columns, np.tensordot(columns.T, values[atoms], axes=1), axes=1)
        return result


def longest_wave(structure: Structure) -> float:
    """Return the length of the longest wave of a lattice, Å; infinite where no direction is periodic."""
    reciprocal = _reciprocal(structure)
    if not len(reciprocal):
        return np.inf
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * len(reciprocal), indexing="ij"), axis=-1)
    steps = steps.reshape(-1, len(reciprocal))
    lengths = np.linalg.norm(steps[steps.any(axis=1)] @ reciprocal, axis=1)
    return float(2 * np.pi / lengths.min())


def _waves(structure: Structure, longer_than: float) -> np.ndarray:
    """(K, 3) wave vectors, 1/Å, one of each k and −k."""
    reciprocal = _reciprocal(structure)
    if not len(reciprocal) or not np.isfinite(longer_than):
        return np.zeros((0, 3))
    most = np.floor(np.linalg.norm(structure.cell[structure.pbc], axis=1) / longer_than).astype(int)
    steps = np.stack(np.meshgrid(*[np.arange(-m, m + 1) for m in most], indexing="ij"), axis=-1)
    steps = steps.reshape(-1, len(most))
    steps = steps[len(steps) // 2 + 1 :]
    waves = steps @ reciprocal
    return np.asarray(waves[np.linalg.norm(waves, axis=1) < 2 * np.pi / longer_than * (1 - 1e-9)])


def _reciprocal(structure: Structure) -> np.ndarray:
    """(d, 3) 1/Å, rows, of the periodic directions."""
    return np.asarray(2 * np.pi * np.linalg.pinv(structure.cell[structure.pbc]).T.reshape(-1, 3))
