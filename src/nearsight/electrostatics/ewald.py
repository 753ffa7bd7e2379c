"""Ewald sums: crystals, periodic in three directions, and slabs, periodic in two.

Every charge is split into a Gaussian of width η and the rest. The rest is felt nearby and summed over neighbours, the
Gaussians are summed over waves. V has no average over the cell, so that a charged cell has a uniform background. Sums
end where terms are below 1e-11 of the first; the result does not depend on η.

Slabs are summed in a cell with vacuum, and the potential of the other slabs is subtracted. What distant copies of a
neutral slab with dipole M and second moment Q of its charges along the normal z do is, but for terms that decay as
exp(−k · vacuum) with k the shortest wave in the plane, known exactly:

    V_slab = V_cell + 4π/Ω M z − 2π/Ω Q

with Ω the volume of the cell. The vacuum is chosen such that the neglected terms are below 1e-10 of the charges'
potentials.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf, erfc

from nearsight.electrostatics.wave_sums import sum_over_waves
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

ROOT = np.sqrt(2 / np.pi)
"""√(2/π)."""


def gaussian_coulomb(distance: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute erf(d / √2 w) / d and minus its derivative; 1/d and 1/d² where w = 0.

    Parameters
    ----------
    distance, width : ndarray
        d and w in Å, of one shape.

    Returns
    -------
    value, slope : ndarray
        In 1/Å and 1/Å².
    """
    inverse = 1 / distance
    smeared = width > 0
    if not smeared.any():
        return inverse, inverse**2
    u = distance / np.where(smeared, width, 1.0)
    value = np.where(smeared, erf(u / np.sqrt(2)), 1.0) * inverse
    tail = np.where(smeared, ROOT * np.exp(-(u**2) / 2) * u, 0.0)
    return value, (value - tail * inverse) * inverse


def short_coulomb(distance: np.ndarray, split: float, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute erf(d / √2 w) / d − erf(d / √2 split) / d and minus its derivative: what a sum over waves does not
    contain.

    Parameters
    ----------
    distance : ndarray
        d in Å.
    split : float
        Width of the Gaussians that are summed over waves, in Å.
    width : ndarray
        w in Å.

    Returns
    -------
    value, slope : ndarray
        In 1/Å and 1/Å²; they decay fast.
    """
    far, far_slope = _complement(distance, np.full(len(distance), split))
    if not (width > 0).any():
        return far, far_slope
    near, near_slope = _complement(distance, width)
    return far - near, far_slope - near_slope


def _complement(distance: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """erfc(d / √2 w) / d and minus its derivative; zero where w = 0."""
    smeared = width > 0
    u = np.where(smeared, distance / np.where(smeared, width, 1.0), np.inf)
    value = erfc(u / np.sqrt(2)) / distance
    tail = np.where(smeared, ROOT * np.exp(-(u**2) / 2) / np.where(smeared, width, 1.0), 0.0)
    return value, (value + tail) / distance


REACH = 4.8
"""Number of widths up to which sums go: erfc(4.8) and exp(−4.8²) are 1e-11 and 1e-10."""

BALANCE = 0.5
"""How much longer a neighbour takes than a wave at one atom, times numbers of order one."""


def ewald(
    structure: Structure, charges: np.ndarray, widths: np.ndarray, cutoff: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute potential and field of charges in a crystal, see `potential.electrostatics`.

    Parameters
    ----------
    structure : Structure
        With three periodic directions; N atoms.
    charges : ndarray of shape (N,)
        In e.
    widths : ndarray of shape (N,)
        Standard deviations of Gaussian charges in Å, 0 for point charges.
    cutoff : float, optional
        Of the neighbours in Å, at least REACH √2 times the largest width. By default the fastest one.

    Returns
    -------
    potential : ndarray of shape (N,)
        In e/Å.
    field : ndarray of shape (N, 3)
        In e/Å².
    """
    if cutoff is None:
        cutoff = (BALANCE * structure.volume**2 / len(structure)) ** (1 / 6)
    cutoff = max(cutoff, REACH * np.sqrt(2) * float(widths.max()))
    split = cutoff / (REACH * np.sqrt(2))
    potential, field = _neighbours(structure, charges, widths, cutoff, split)
    potential -= ROOT / split * charges
    potential -= 2 * np.pi / structure.volume * (charges @ (split**2 - widths**2))
    waves = sum_over_waves(
        structure,
        charges,
        None,
        REACH * np.sqrt(2) / split,
        lambda squares: 4 * np.pi / structure.volume * np.exp(-squares * split**2 / 2) / squares,
    )
    return potential + waves[0], field + waves[1]


def _neighbours(
    structure: Structure, charges: np.ndarray, widths: np.ndarray, cutoff: float, split: float
) -> tuple[np.ndarray, np.ndarray]:
    graph, n = build_graph(structure, cutoff), len(structure)
    distance, q = graph.distance, charges[graph.target]
    value, slope = short_coulomb(distance, split, widths[graph.target])
    potential = np.bincount(graph.source, q * value, n).astype(np.float64)  # of no pairs it is of integers
    push = -(q * slope / distance)[:, None] * graph.vector
    return potential, np.stack([np.bincount(graph.source, push[:, x], n) for x in range(3)], axis=1)


NEGLIGIBLE = 1e-10
"""Size of neglected terms relative to the charges' potentials."""


def slab(structure: Structure, charges: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute potential and field of charges in a slab; they must add up to 0. See `potential.electrostatics`.

    Parameters
    ----------
    structure : Structure
        With two periodic directions; N atoms.
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
    plane = structure.cell[structure.pbc]
    normal = np.cross(plane[0], plane[1])
    normal /= np.linalg.norm(normal)
    z = structure.positions @ normal
    z -= z.mean()
    thickness = float(np.ptp(z)) + 12 * float(widths.max())
    height = thickness + np.log(1 / NEGLIGIBLE) / _shortest_wave(plane)
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
