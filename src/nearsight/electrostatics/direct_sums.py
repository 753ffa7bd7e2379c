"""Direct sums: isolated charges, and wires, which are periodic in one direction.

Images n of a charge at z + nL and ρ from the axis through an atom are summed one by one up to |n| = m, the others by
Euler and Maclaurin as

    Σ_{n>m} f(n) = ∫_{m+½}^∞ f + f'(m+½)/24 − 7 f'''(m+½)/5760 + …,    f(n) = (ρ² + (z + nL)²)^-½.

The integral diverges as ln n, alike for all charges: it cancels as they add up to 0. m is so large that the next term
is below 1e-10 of the first.
"""

from __future__ import annotations

import numpy as np

from nearsight.electrostatics.ewald import gaussian_coulomb
from nearsight.structures.structure import Structure

PAIRS_AT_ONCE = 1_000_000
"""Number of pairs of atoms that are held at once."""


def isolated(structure: Structure, charges: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute potential and field of isolated charges, see `potential.electrostatics`.

    Parameters
    ----------
    structure : Structure
        Without periodic directions; N atoms.
    charges : ndarray of shape (N,)
        In e.
    widths : ndarray of shape (N,)
        Standard deviations of Gaussian charges in Å, 0 for point charges.

    Returns
    -------
    potential : ndarray of shape (N,)
        In e/Å.
    field : ndarray of shape (N, 3)
        In e/Å².
    """
    n = len(structure)
    potential, field = np.zeros(n), np.zeros((n, 3))
    rows = max(1, PAIRS_AT_ONCE // n)
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


def wire(structure: Structure, charges: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute potential and field of charges in a wire; they must add up to 0. See `potential.electrostatics`.

    Parameters
    ----------
    structure : Structure
        With one periodic direction; N atoms.
    charges : ndarray of shape (N,)
        In e.
    widths : ndarray of shape (N,)
        Standard deviations of Gaussian charges in Å, 0 for point charges.

    Returns
    -------
    potential : ndarray of shape (N,)
        In e/Å.
    field : ndarray of shape (N, 3)
        In e/Å².
    """
    vector = structure.cell[structure.pbc][0]
    length = float(np.linalg.norm(vector))
    axis, n = vector / length, len(structure)
    along = structure.positions @ axis
    positions = structure.positions - np.outer(np.floor((along - along.min()) / length), vector)  # into one period
    extent = float(np.linalg.norm(np.ptp(positions, axis=0)))
    images = int(np.ceil((3 * extent + 8 * float(widths.max())) / length)) + 10
    potential, field = np.zeros(n), np.zeros((n, 3))
    rows = max(1, PAIRS_AT_ONCE // n)
    for start in range(0, n, rows):
        atoms = np.arange(start, min(start + rows, n))
        vectors = positions[atoms, None] - positions
        value, push = _images(vectors, vector, images, widths, atoms)
        for sign in (1.0, -1.0):
            tail, force = _tail(vectors, sign * axis, length, images + 0.5)
            value, push = value + tail, push + force
        potential[atoms] = value @ charges
        field[atoms] = np.einsum("ijx,j->ix", push, charges)
    return potential, field


def _images(
    vectors: np.ndarray, period: np.ndarray, images: int, widths: np.ndarray, atoms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """1/d (n, N) and its push (n, N, 3), summed over images −m … m, an atom itself left out."""
    value, push = np.zeros(vectors.shape[:2]), np.zeros(vectors.shape)
    for image in range(-images, images + 1):
        shifted = vectors + image * period
        distance = np.linalg.norm(shifted, axis=2)
        own = np.zeros(distance.shape, dtype=bool)
        own[np.arange(len(atoms)), atoms] = image == 0
        part, slope = gaussian_coulomb(np.where(own, 1.0, distance), np.broadcast_to(widths, distance.shape))
        value += np.where(own, 0.0, part)
        push += np.where(own, 0.0, slope / np.where(own, 1.0, distance))[:, :, None] * shifted
    return value, push


def _tail(vectors: np.ndarray, axis: np.ndarray, length: float, start: float) -> tuple[np.ndarray, np.ndarray]:
    """The images beyond `start` in the direction of `axis`, for charges that add up to 0."""
    z = vectors @ axis + start * length
    across = vectors - (vectors @ axis)[:, :, None] * axis
    square = (across**2).sum(axis=2)
    d2 = square + z**2
    d = np.sqrt(d2)
    cubic = z * (9 * d2 - 15 * z**2) / d**7  # third derivative of 1/d along z
    value = -np.log(z + d) / length - length / 24 * z / d**3 - 7 * length**3 / 5760 * cubic
    by_z = -1 / (d * length) - length / 24 * (d2 - 3 * z**2) / d**5
    by_z -= 7 * length**3 / 5760 * (9 * d2**2 - 90 * d2 * z**2 + 105 * z**4) / d**9
    by_square = -1 / (2 * d * (z + d) * length) + length / 16 * z / d**5
    by_square -= 7 * length**3 / 5760 * z * (105 * z**2 - 45 * d2) / (2 * d**9)
    return value, -(by_z[:, :, None] * axis + 2 * by_square[:, :, None] * across)
