"""Isolated charges: the direct sum."""

from __future__ import annotations

import numpy as np

from nearsight.electrostatics.coulomb_kernels import gaussian_coulomb
from nearsight.structures.structure import Structure

ROOM = 1_000_000
"""Pairs held at once."""


def isolated(structure: Structure, charges: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) potential in e/Å and (N, 3) field in e/Å²; see `electrostatics`."""
    n = len(structure)
    potential, field = np.zeros(n), np.zeros((n, 3))
    rows = max(1, ROOM // n)
    for start in range(0, n, rows):
        atoms = np.arange(start, min(start + rows, n))
        vectors = structure.positions[atoms, None] - structure.positions
        distance = np.linalg.norm(vectors, axis=2)
        own = np.arange(len(atoms)), atoms
        distance[own] = 1.0
        value, slope = gaussian_coulomb(distance, np.broadcast_to(widths, distance.shape))
        value[own], slope[own] = 0.0, 0.0
        potential[atoms] = value @ charges
        field[atoms] = np.einsum("ij,ijx->ix", slope * charges / distance, vectors)
    return potential, field
