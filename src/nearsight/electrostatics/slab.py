"""Slabs, periodic in two directions: Ewald's sum in a cell with vacuum, from which the other slabs are taken out.

What distant copies of a neutral slab with dipole M and second moment Q of its charges along the normal z do is, but for
terms that decay as exp(−k · vacuum) with k the shortest wave in the plane, known exactly:

    V_slab = V_cell + 4π/Ω M z − 2π/Ω Q

with Ω the volume of the cell. The vacuum is chosen such that the terms left out are below 1e-10 of the charges'
potentials.
"""

from __future__ import annotations

import numpy as np

from nearsight.electrostatics.ewald import ewald
from nearsight.structures.structure import Structure

LEFT_OUT = 1e-10


def slab(structure: Structure, charges: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) potential in e/Å and (N, 3) field in e/Å², of charges that add up to 0; see `electrostatics`."""
    plane = structure.cell[structure.pbc]
    normal = np.cross(plane[0], plane[1])
    normal /= np.linalg.norm(normal)
    z = structure.positions @ normal
    z -= z.mean()
    thickness = float(np.ptp(z)) + 12 * float(widths.max())
    height = thickness + np.log(1 / LEFT_OUT) / _shortest_wave(plane)
    padded = Structure(structure.numbers, structure.positions, np.vstack([plane, height * normal]), np.ones(3, bool))
    potential, field = ewald(padded, charges, widths)
    dipole, second = charges @ z, charges @ (z**2 + widths**2)
    potential += 2 * np.pi / padded.volume * (2 * dipole * z - second)
    return potential, field - 4 * np.pi / padded.volume * dipole * normal


def _shortest_wave(plane: np.ndarray) -> float:
    """1/Å, of the lattice reciprocal to two vectors (2, 3)."""
    reciprocal = 2 * np.pi * np.linalg.pinv(plane).T
    small = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    lengths = np.linalg.norm(small[small.any(axis=1)] @ reciprocal, axis=1)
    return float(lengths.min())
