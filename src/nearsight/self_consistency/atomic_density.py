"""AtomicDensity: what the density matrix of a Hamiltonian says of every atom, in Löwdin's orthogonal orbitals.

With c' = S^½ c the populations of an atom's orbitals add up to its electrons, and its own block of the density matrix,
P'_ii = Σ_n f_n c'_in c'_in†, turns under rotations like a block of H. Levels are filled at a temperature, so that
metals and levels in a gap have a density that depends smoothly on H. Of a mesh of k-points P' is the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.eigen import known_room
from nearsight.electronic.filling import Filling, occupations
from nearsight.electronic.k_points import half_mesh
from nearsight.electronic.matrices import Matrix, hermitian_dense
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.structure import Structure

TEMPERATURE = 1000.0
"""K, of the electrons: kT = 86 meV changes the charges of an insulator with a gap of 2 eV by less than 1e-5 e."""
DISTANT = 10.0
"""Levels of directions that are projected out, in units of the largest |A|: no electron gets there."""

Diagonalise = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Ascending levels and eigenvectors (columns) of a Hermitian matrix, in its precision."""


def lapack(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonalise by LAPACK's divide and conquer; the matrix is overwritten."""
    levels, vectors = linalg.eigh(matrix, driver="evd", check_finite=False, overwrite_a=True)
    return levels, vectors


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
    """The orthogonal orbitals of a structure, in which Hamiltonians are diagonalised: at Γ, or at a mesh of k-points.

    Directions that S does not resolve are projected out as everywhere (`electronic.conditioning`). A ghost has orbitals
    and no valence, so its charge is minus its electrons.

    Parameters
    ----------
    calculation : Calculation
        The structure, its basis with known valence, its overlap, its charge, and its k-points where H and S are
        resolved in R; others are summed to Γ.
    layout : CoupledLayout
        Of the density's blocks.
    temperature : float, optional
        K, of the filling.
    diagonalise : callable, optional
        How; by default LAPACK.

    Raises
    ------
    InputError
        No overlap, an unknown valence, an overlap that is not positive definite, or no memory for dense matrices.
    """

    def __init__(
        self,
        calculation: Calculation,
        layout: CoupledLayout,
        temperature: float | None = None,
        diagonalise: Diagonalise = lapack,
    ) -> None:
        self.structure: Structure = calculation.structure
        self.basis, self.layout, self.temperature = calculation.basis, layout, temperature or TEMPERATURE
        self.electrons = calculation.n_electrons
        self._diagonalise = diagonalise
        s = calculation.require_overlap()
        several = calculation.k_points is not None and len(calculation.k_points) > 1 and not s.folded
        mesh = calculation.k_points if several and calculation.k_points is not None else np.zeros((1, 3))
        self._k_points, self._weights = half_mesh(mesh)
        known_room(s.n_orbitals, 4 + 2 * len(self._k_points), complex_=several)
        threshold = overlap_threshold(calculation)
        self._roots = [_Root(_at(s, k, "S"), threshold) for k in self._k_points]
        self.projected_out = max(root.projected_out for root in self._roots)
        self._valence = np.array([self.basis.valence[int(z)] for z in self.structure.numbers], dtype=float)

    def density_of(self, hamiltonian: Matrix, *, single: bool = False) -> tuple[AtomicDensity, Filling]:
        """Return the atomic density of a Hamiltonian, and how its levels are filled.

        Parameters
        ----------
        hamiltonian : BlockOperator, sparse matrix or ndarray of shape (n, n)
            eV; with k-points it must be resolved in R.
        single : bool, optional
            Diagonalise in single precision: half the time, charges good to about 3e-6 e.

        Raises
        ------
        InputError
            H is not Hermitian, or folded to Γ where there are k-points.
        """
        found = [
            self._diagonalise(root.orthogonal(_at(hamiltonian, k, "H"), single))
            for root, k in zip(self._roots, self._k_points)
        ]
        levels = np.array([values for values, _ in found], dtype=np.float64)
        filling = occupations(levels, self.electrons, self._weights, self.temperature)
        total = sum(
            weight * self._seen_from_atoms(vectors, filled)
            for weight, (_, vectors), filled in zip(self._weights, found, filling.occupations)
        )
        return self._density(np.asarray(total)), filling

    def _seen_from_atoms(self, vectors: np.ndarray, filled: np.ndarray) -> np.ndarray:
        """(N, size + 1) coupled blocks and populations."""
        some = filled > 1e-12
        weighted = (vectors[:, some] * np.sqrt(filled[some]).astype(vectors.real.dtype)).astype(vectors.dtype)
        numbers, offsets = self.structure.numbers, self.basis.offsets(self.structure.numbers)
        result = np.empty((len(numbers), self.layout.size + 1))
        squares = np.einsum("ij,ij->i", weighted, weighted.conj()).real.astype(np.float64)
        result[:, -1] = np.add.reduceat(squares, offsets[:-1])
        for z in np.unique(numbers).tolist():
            atoms = np.flatnonzero(numbers == z)
            rows = offsets[atoms][:, None] + np.arange(self.basis.n_orbitals(z))
            own = weighted[rows]
            blocks = (own @ own.conj().transpose(0, 2, 1)).real.astype(np.float64)
            result[atoms, :-1] = self.layout.couple(blocks, z, z)
        return result

    def _density(self, seen: np.ndarray) -> AtomicDensity:
        """Charges add up to that of the cell, whatever single precision leaves."""
        populations = seen[:, -1] * (self.electrons / seen[:, -1].sum() if self.electrons else 1.0)
        return AtomicDensity(self._valence - populations, seen[:, :-1])


class _Root:
    """S^−½ at one k-point, zero in the directions that are projected out."""

    def __init__(self, overlap: np.ndarray, threshold: float) -> None:
        values, vectors = linalg.eigh(overlap, driver="evd", check_finite=False, overwrite_a=True)
        if values[0] < -threshold or values[-1] < threshold:
            raise InputError(
                f"expected a positive definite overlap S, got one with smallest eigenvalue {values[0]:.6g}; is it "
                "complete (all neighbours, both triangles) and of this structure?"
            )
        kept = values >= threshold
        self._inverse = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].conj().T
        self._null = vectors[:, ~kept]
        self.projected_out = int(np.count_nonzero(~kept))

    def orthogonal(self, h: np.ndarray, single: bool) -> np.ndarray:
        """S^−½ H S^−½, with levels far up in the directions that are projected out."""
        inverse, null = self._inverse, self._null
        if single:
            low = np.complex64 if np.iscomplexobj(inverse) or np.iscomplexobj(h) else np.float32
            inverse, null, h = inverse.astype(low), null.astype(low), h.astype(low)
        result = inverse @ h @ inverse
        if self.projected_out:
            result += DISTANT * np.abs(result).max() * len(result) ** 0.5 * (null @ null.conj().T)
        return np.asfortranarray(result)


def _at(matrix: Matrix, k: np.ndarray, name: str) -> np.ndarray:
    if isinstance(matrix, BlockOperator) and k.any():
        return hermitian_dense(bloch(matrix, k), name)
    if k.any():
        raise InputError(f"expected {name} resolved in R for k-points, got a matrix")
    return hermitian_dense(matrix, name)
