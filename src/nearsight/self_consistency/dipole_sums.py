"""DipoleSums: the dipole of the electrons that are counted to each atom, d_j = −Σ_μi,νj P_μν ⟨μ|r − R_j|ν⟩."""

from __future__ import annotations

import numpy as np

from nearsight.operators.dipole_integrals import dipole_integrals
from nearsight.orbitals.basis import BasisSet
from nearsight.row_threads import fast_row_loop, over_rows
from nearsight.structures.structure import Structure


class DipoleSums:
    """The dipole integrals of a structure, to be summed with density matrices.

    Parameters
    ----------
    structure : Structure
        The atoms.
    functions : BasisSet or None
        The basis with its radial functions; where it does not know them, all dipoles are zero.
    """

    def __init__(self, structure: Structure, functions: BasisSet | None) -> None:
        self._n_atoms = len(structure)
        known = functions is not None and not functions.restricted(structure.numbers).lacking_functions
        self._integrals = dipole_integrals(structure, functions) if known and functions is not None else None

    def of(self, p: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Return the dipoles (N, 3), e Å, of a density matrix (n, n) of both spins at a k-point (3,)."""
        result = np.zeros((self._n_atoms, 3))
        if self._integrals is None:
            return result
        x, y, z = self._integrals
        phase = np.exp(2j * np.pi * (x.shift @ k)) if np.iscomplexobj(p) else np.ones(x.n_pairs)
        of_pairs = np.empty((x.n_pairs, 3))
        pairs = x.source, x.target, x.offsets, x.orbital_offsets
        over_rows(_sum, x.n_pairs, of_pairs, p, phase, pairs, x.values, y.values, z.values)
        for axis in range(3):
            result[:, axis] = -np.bincount(x.target, of_pairs[:, axis], self._n_atoms)
        return result


@fast_row_loop
def _sum(first, last, result, p, phase, pairs, x, y, z):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Re[P*_μν e^(ik·R)] ⟨μ|r − R_j|ν⟩, summed over the orbitals of each pair; compiled."""
    source, target, offsets, orbital_offsets = pairs
    for pair in range(first, last):
        i, j = source[pair], target[pair]
        place, sum_x, sum_y, sum_z = offsets[pair], 0.0, 0.0, 0.0
        for row in range(orbital_offsets[i], orbital_offsets[i + 1]):
            for column in range(orbital_offsets[j], orbital_offsets[j + 1]):
                element = (np.conj(p[row, column]) * phase[pair]).real
                sum_x += element * x[place]
                sum_y += element * y[place]
                sum_z += element * z[place]
                place += 1
        result[pair, 0], result[pair, 1], result[pair, 2] = sum_x, sum_y, sum_z
