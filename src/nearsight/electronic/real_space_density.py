"""The density matrix of a crystal in real space, of its states at a mesh of k-points."""

from __future__ import annotations

import numpy as np

from nearsight.electronic.dense import dense_states
from nearsight.electronic.filling import occupations
from nearsight.electronic.matrices import Matrix
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator, on_common_pairs
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, silent


def real_space_density(
    calculation: Calculation,
    points: np.ndarray,
    weights: np.ndarray,
    electrons: float,
    temperature: float | None = None,
    progress: Progress = silent,
) -> BlockOperator:
    """Compute P_ij(R) = Σ_k w_k Σ_n f_n(k) c_i c_j* e^(−2πi k·R) at the pairs that H or S has.

    Parameters
    ----------
    calculation : Calculation
        H and S in real space, or both at Γ.
    points : ndarray of shape (K, 3)
        k-points in units of the reciprocal lattice vectors; of k and −k one is enough.
    weights : ndarray of shape (K,)
        Their weights, which are normalised.
    electrons : float
        Number of electrons in the cell.
    temperature : float, optional
        In K, of the electrons. By default levels are filled from below.
    progress : callable, optional
        Told the number of k-points done.

    Returns
    -------
    BlockOperator
        P of both spins: Tr P S is the number of electrons.

    Raises
    ------
    InputError
        If H or S is missing, they are folded to Γ and there are other k-points, directions of the basis are not
        resolved, or the electrons have no room.
    """
    h, s = on_common_pairs(calculation.require_hamiltonian(), calculation.require_overlap())
    if np.any(points) and h.folded:
        raise InputError("expected real-space matrices for k-points, got matrices that are summed at Γ")
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    progress(Event(f"density matrix of {len(points)} k-points", 0, len(points)))
    levels, vectors = [], []
    for done, k in enumerate(points):
        states = dense_states(_at(h, k), _at(s, k), round(electrons), None)
        levels.append(states.levels)
        vectors.append(states.coefficients)
        progress(Event(done=done + 1, total=len(points)))
    filling = occupations(np.stack(levels), electrons, shares, temperature)
    result, first = h.with_values(np.zeros(h.n_values)), h.orbital_offsets
    cells, which = np.unique(h.shift, axis=0, return_inverse=True)
    for k, c, f, share in zip(points, vectors, filling.occupations, shares):
        matrix = share * (c * f) @ c.conj().T
        phases = np.exp(-2j * np.pi * (cells @ k))[which.ravel()]
        for pairs in result.element_pairs.values():
            i, j = h.source[pairs], h.target[pairs]
            size = np.diff(first)
            rows, columns = first[i][:, None] + np.arange(size[i[0]]), first[j][:, None] + np.arange(size[j[0]])
            own = matrix[rows[:, :, None], columns[:, None, :]] * phases[pairs][:, None, None]
            result.put(pairs, result.stack(pairs) + own.real)
    return result


def _at(operator: BlockOperator, k: np.ndarray) -> Matrix:
    return bloch(operator, k) if np.any(k) else operator
