"""Atomic charges from H and S at Γ: valence electrons minus the populations of an atom's orbitals.

    Mulliken: N_μ = (P S)_μμ,    Löwdin: N_μ = (S^½ P S^½)_μμ,    P = Σ_n f_n c_n c_nᵀ

with levels filled from below, two electrons to each. Levels that are the same within `DEGENERATE` share their
electrons, so that charges have the symmetry of the structure.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import linalg

from nearsight.electronic.eigen import hermitian_dense
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation

Kind = Literal["loewdin", "mulliken"]

DEGENERATE = 1e-5
"""eV."""


def atomic_charges(calculation: Calculation, kind: Kind = "loewdin", charge: int = 0) -> np.ndarray:
    """(N,) e, of the atoms; they add up to `charge`. Blocks resolved in R are summed to Γ.

    Takes about ten times as long as the eigenvalues alone.

    Args:
        calculation: with H, S and the valence of every element.
        kind: whose populations.
        charge: e, of the cell.

    Raises:
        InputError: H, S or a valence is missing, S is not positive definite, more electrons than the levels hold, or
            another kind.
    """
    if kind not in ("loewdin", "mulliken"):
        raise InputError(f"expected charges by loewdin or mulliken, got {kind!r}")
    h = hermitian_dense(calculation.require_hamiltonian(), "H")
    values, vectors = linalg.eigh(hermitian_dense(calculation.require_overlap(), "S"), check_finite=False)
    if values[0] <= 0:
        raise InputError(f"expected a positive definite overlap S, got one with smallest eigenvalue {values[0]:.6g}")
    inverse = (vectors / np.sqrt(values)) @ vectors.T  # S^-½
    numbers, basis = calculation.structure.numbers, calculation.basis
    orthogonal = inverse @ h @ inverse
    levels, states = linalg.eigh((orthogonal + orthogonal.T) / 2, check_finite=False)
    filled = occupations(levels, basis.n_electrons(numbers) - charge)
    states = states[:, filled > 0]
    other = states
    if kind == "mulliken":
        other, states = vectors @ (np.sqrt(values)[:, None] * (vectors.T @ states)), inverse @ states
    populations = (states * other) @ filled[filled > 0]
    valence = np.array([basis.valence[int(z)] for z in numbers], dtype=np.float64)
    return np.asarray(valence - np.add.reduceat(populations, basis.offsets(numbers)[:-1]))


def occupations(levels: np.ndarray, n_electrons: int) -> np.ndarray:
    """(n,) electrons in each of the ascending levels, eV; those the same as the highest filled one share theirs.

    Raises:
        InputError: fewer than no electrons or more than two to a level.
    """
    if not 0 <= n_electrons <= 2 * len(levels):
        raise InputError(f"expected 0 to {2 * len(levels)} electrons in {len(levels)} levels, got {n_electrons}")
    result = np.clip(n_electrons - 2.0 * np.arange(len(levels)), 0.0, 2.0)
    if n_electrons:
        highest = levels[(n_electrons - 1) // 2]
        same = np.abs(levels - highest) < DEGENERATE
        result[same] = result[same].mean()
    return result
