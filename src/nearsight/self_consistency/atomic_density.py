"""AtomicDensity: what the density matrix of a Hamiltonian says of every atom, in Löwdin's orthogonal orbitals.

With c' = S^½ c the populations of an atom's orbitals add up to its electrons, and its own block of the density matrix,
P'_ii = Σ_n f_n c'_in c'_in†, turns under rotations like a block of H.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from nearsight.electronic.filling import Filling, occupations
from nearsight.electronic.matrices import Matrix, hermitian_dense
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.structure import Structure

SMALLEST_OVERLAP = 0.02
"""Smallest eigenvalue of S with which Löwdin's charges are well defined; below, small errors of H are multiplied."""


@dataclass(frozen=True, eq=False)
class AtomicDensity:
    """The density matrix seen from the atoms.

    Attributes
    ----------
    charges : (N,) array
        e, valence electrons minus populations; their sum is the charge of the cell.
    blocks : (N, size) array
        Coupled blocks of each atom with itself, electrons.
    """

    charges: np.ndarray
    blocks: np.ndarray


class LoewdinBasis:
    """The orthogonal orbitals of a structure at Γ, in which Hamiltonians are diagonalised.

    Parameters
    ----------
    calculation : Calculation
        The structure, its basis with known valence, and its overlap.
    layout : CoupledLayout
        Of the density's blocks.
    temperature : float, optional
        K, of the filling; needed for metals.

    Raises
    ------
    InputError
        No overlap, an unknown valence, or an overlap so ill-conditioned that charges of atoms mean nothing.
    """

    def __init__(self, calculation: Calculation, layout: CoupledLayout, temperature: float | None = None) -> None:
        self.structure: Structure = calculation.structure
        self.basis, self.layout, self.temperature = calculation.basis, layout, temperature
        self.electrons = calculation.n_electrons
        self.overlap = hermitian_dense(calculation.require_overlap(), "S")
        values, vectors = linalg.eigh(self.overlap, check_finite=False)
        if values[0] < SMALLEST_OVERLAP:
            raise InputError(
                f"expected eigenvalues of S of at least {SMALLEST_OVERLAP:g} for charges of atoms, got "
                f"{values[0]:.2g}: in a nearly dependent basis they mean nothing; predict without self-consistency"
            )
        self._inverse_root = (vectors / np.sqrt(values)) @ vectors.T
        self._valence = np.array([self.basis.valence[int(z)] for z in self.structure.numbers], dtype=float)

    def density_of(self, hamiltonian: Matrix) -> tuple[AtomicDensity, Filling]:
        """Return the atomic density of a Hamiltonian (eV), and how its levels are filled."""
        h = hamiltonian if isinstance(hamiltonian, np.ndarray) else hermitian_dense(hamiltonian, "H")
        levels, vectors = linalg.eigh(self._inverse_root @ h @ self._inverse_root, check_finite=False)
        filling = occupations(levels, self.electrons, temperature=self.temperature)
        filled = filling.occupations > 1e-12
        weighted = vectors[:, filled] * np.sqrt(filling.occupations[filled])
        return self._seen_from_atoms(weighted), filling

    def _seen_from_atoms(self, weighted: np.ndarray) -> AtomicDensity:
        numbers, offsets = self.structure.numbers, self.basis.offsets(self.structure.numbers)
        charges = self._valence - np.add.reduceat((weighted**2).sum(axis=1), offsets[:-1])
        blocks = np.empty((len(numbers), self.layout.size))
        for z in np.unique(numbers).tolist():
            atoms = np.flatnonzero(numbers == z)
            rows = offsets[atoms][:, None] + np.arange(self.basis.n_orbitals(z))
            own = weighted[rows]
            blocks[atoms] = self.layout.couple(own @ own.transpose(0, 2, 1), z, z)
        return AtomicDensity(charges, blocks)
