"""Sums over the waves of a lattice, of charges and dipoles at its atoms.

A wave at an atom is a product of three phases, one for each lattice direction, so that sums over all waves of a plane
of the reciprocal lattice are products of matrices: ten times faster than the cosine of each wave at each atom.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nearsight.structures.structure import Structure


def sum_over_waves(
    structure: Structure,
    charges: np.ndarray,
    dipoles: np.ndarray | None,
    longest: float,
    weight: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Compute V_i = Σ_k w(k²) Re[ρ_k exp(−ik·r_i)] and −∇_i V_i, with ρ_k = Σ_j (q_j + ik·d_j) exp(ik·r_j).

    Parameters
    ----------
    structure : Structure
        Atoms; the cell has three directions.
    charges : (N,) array
        q, e.
    dipoles : (N, 3) array or None
        d, e Å, Cartesian.
    longest : float
        1/Å; the sum goes over 0 < |k| ≤ longest.
    weight : callable
        w of an array of k², 1/Å².

    Returns
    -------
    potential : (N,) array
        V, e times the unit of w.
    field : (N, 3) array
        The same per Å.
    """
    reciprocal = 2 * np.pi * np.linalg.inv(structure.cell).T
    fractions = structure.positions @ np.linalg.inv(structure.cell)
    counts = [int(longest * np.linalg.norm(row) / (2 * np.pi)) for row in structure.cell]
    b, c = (np.arange(-n, n + 1) for n in counts[1:])
    along_b, along_c = (np.exp(2j * np.pi * np.outer(n, fractions[:, x])) for n, x in ((b, 1), (c, 2)))
    turned = None if dipoles is None else np.asarray(dipoles) @ reciprocal.T
    potential, field = np.zeros(len(structure)), np.zeros((len(structure), 3))
    for a in range(counts[0] + 1):
        k = a * reciprocal[0] + b[:, None, None] * reciprocal[1] + c[:, None] * reciprocal[2]
        squares = (k**2).sum(axis=2)
        used = (squares > 0) & (squares <= longest**2)
        weights = np.zeros_like(squares)
        weights[used] = (2.0 if a else 1.0) * weight(squares[used])  # of k and −k, which add up to twice the real part
        waves = along_b * np.exp(2j * np.pi * a * fractions[:, 0])
        source = charges if turned is None else charges + 1j * a * turned[:, 0]
        density = (waves * source) @ along_c.T
        if turned is not None:
            density += 1j * b[:, None] * ((waves * turned[:, 1]) @ along_c.T)
            density += 1j * c * ((waves * turned[:, 2]) @ along_c.T)
        density *= weights
        own, by_c = (part @ along_c.conj() for part in (density, density * c))
        back = waves.conj()
        terms = np.stack([(back * part).sum(axis=0) for part in (own, b[:, None] * own, by_c)])
        potential += terms[0].real
        field -= np.stack([a * terms[0].imag, terms[1].imag, terms[2].imag], axis=1) @ reciprocal
    return potential, field
