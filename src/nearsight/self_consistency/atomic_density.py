"""AtomicDensity: what the density matrix of a Hamiltonian says of every atom, in Löwdin's orthogonal orbitals.

With c' = S^½ c the populations of an atom's orbitals add up to its electrons, and its own block of the density matrix,
P'_ii = Σ_n f_n c'_in c'_in†, turns under rotations like a block of H. So do its own blocks in the orbitals themselves:
P_ii of the net and (PS)_ii of the gross populations (Mulliken), which tell what an atom shares with its neighbours.
The dipole of what is counted to an atom there, d_j = −Σ_μi,νj P_μν ⟨μ|r − R_j|ν⟩, makes its potential far away right.
Levels are filled at a temperature, so that metals and levels in a gap have a density that depends smoothly on H. Of a
mesh of k-points everything is the mean.

R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955); P.-O. Löwdin, J. Chem. Phys. 18, 365 (1950).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.eigen import known_room
from nearsight.electronic.eigenvectors import eigenvectors
from nearsight.electronic.filling import Filling, occupations
from nearsight.electronic.followed_levels import FollowedLevels, levels_below
from nearsight.electronic.k_points import half_mesh
from nearsight.electronic.matrices import Matrix, hermitian_dense
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.dipole_sums import DipoleSums
from nearsight.structures.structure import Structure
from nearsight.units import BOLTZMANN_IN_EV

TEMPERATURE = 1000.0
"""K, of the electrons: kT = 86 meV changes the charges of an insulator with a gap of 2 eV by less than 1e-5 e."""
PARTLY = 2e-5
"""e, r.m.s. over the atoms, of the electrons that may be missing in full levels, or be in empty ones, where levels are
followed: charges are wrong by no more."""
WELL_CONDITIONED = 0.01
"""Smallest eigenvalue of an S whose root may be taken in single precision."""
DISTANT = 10.0
"""Levels of directions that are projected out, in units of the largest |A|: no electron gets there."""

_AT_ONCE = 256
"""Atoms whose rows of the density matrix are held at once."""

Diagonalise = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Ascending levels and eigenvectors (columns) of a Hermitian matrix, in its precision."""


@dataclass(frozen=True, eq=False)
class AtomicDensity:
    """The density matrix seen from the atoms.

    Charges and Löwdin's blocks say the same of an atom's electrons; mixed densities must, too, or a step of
    self-consistency sees two charges.

    Attributes
    ----------
    charges : (N,) array
        e, valence electrons minus populations; their sum is the charge of the cell.
    blocks : (N, size) array
        Coupled blocks of each atom with itself, electrons.
    net, gross : (N, size) array
        Coupled blocks P_ii and the symmetric part of (PS)_ii, electrons.
    dipoles : (N, 3) array
        e Å, of electrons that are counted as in `gross`, about each atom; zero where the functions are not known.
    """

    charges: np.ndarray
    blocks: np.ndarray
    net: np.ndarray
    gross: np.ndarray
    dipoles: np.ndarray

    def vector(self) -> np.ndarray:
        """Return all numbers in a row: charges, the three kinds of blocks, dipoles."""
        return np.concatenate([np.ravel(part) for part in (self.charges, *self.own_blocks, self.dipoles)])

    def with_vector(self, vector: np.ndarray) -> AtomicDensity:
        """Return the density whose numbers are those."""
        ends = np.cumsum([part.size for part in (self.charges, *self.own_blocks)])
        charges, blocks, net, gross, dipoles = np.split(vector, ends)
        shape = self.blocks.shape
        return AtomicDensity(
            charges, blocks.reshape(shape), net.reshape(shape), gross.reshape(shape), dipoles.reshape(-1, 3)
        )

    @property
    def own_blocks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three kinds of blocks of each atom with itself."""
        return self.blocks, self.net, self.gross


def populations(layout: CoupledLayout, numbers: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Return the electrons (N,) of atoms with coupled own blocks (N, size)."""
    result = np.empty(len(numbers))
    for z in np.unique(numbers).tolist():
        atoms = np.flatnonzero(numbers == z)
        result[atoms] = np.trace(layout.uncouple(blocks[atoms], z, z), axis1=1, axis2=2)
    return result


def shared_equally(layout: CoupledLayout, numbers: np.ndarray, electrons: float) -> np.ndarray:
    """Return coupled own blocks (N, size) of atoms that have so many electrons each, equally in all orbitals."""
    result = np.empty((len(numbers), layout.size))
    for z in np.unique(numbers).tolist():
        n = layout.basis.n_orbitals(z)
        result[numbers == z] = electrons / n * layout.couple(np.eye(n)[None], z, z)
    return result


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
    functions : BasisSet, optional
        The basis whose radial functions dipoles are computed with; where it knows them not, dipoles are zero.
    single : bool, optional
        Whether densities will mostly be asked for in single precision.

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
        diagonalise: Diagonalise = eigenvectors,
        functions: BasisSet | None = None,
        single: bool = False,
    ) -> None:
        self.structure: Structure = calculation.structure
        self.basis, self.layout, self.temperature = calculation.basis, layout, temperature or TEMPERATURE
        self.electrons = calculation.n_electrons
        self._diagonalise = diagonalise
        s = calculation.require_overlap()
        several = calculation.k_points is not None and len(calculation.k_points) > 1 and not s.folded
        mesh = calculation.k_points if several and calculation.k_points is not None else np.zeros((1, 3))
        self._k_points, self._weights = half_mesh(mesh)
        known_room(s.n_orbitals, 5 + 4 * len(self._k_points), complex_=several)
        threshold = overlap_threshold(calculation)
        with ThreadPoolExecutor(1) as beside:
            dipoles = beside.submit(DipoleSums, self.structure, functions)
            self._roots = [_Root(_at(s, k, "S"), threshold, single) for k in self._k_points]
            self._dipoles = dipoles.result()
        self.projected_out = max(root.projected_out for root in self._roots)
        self._valence = np.array([self.basis.valence[int(z)] for z in self.structure.numbers], dtype=float)
        self._most_partly = PARTLY * len(self.structure) ** 0.5
        self._first: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._levels: FollowedLevels | None = None

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
        parts = [
            self._seen_from_atoms(vectors, filled, root, k)
            for (_, vectors), filled, root, k in zip(found, filling.occupations, self._roots, self._k_points)
        ]
        self._first, self._levels = (levels[0], found[0][1], filling.occupations[0]), None
        total = sum(weight * part.vector() for weight, part in zip(self._weights, parts))
        return self._neutral(parts[0].with_vector(np.asarray(total))), filling

    def followed(self, hamiltonian: Matrix) -> AtomicDensity | None:
        """Return the atomic density of a Hamiltonian that is much like the last one, without its levels.

        The empty levels are followed from those of the last Hamiltonian that was diagonalised (`FollowedLevels`), in
        its precision and to first order in what changed since the last call: exact where a Hamiltonian comes to rest.

        Parameters
        ----------
        hamiltonian : BlockOperator, sparse matrix or ndarray of shape (n, n)
            eV.

        Returns
        -------
        AtomicDensity or None
            None where there are several k-points, directions that are projected out, levels that are neither full nor
            empty, levels that may have crossed, or a Hamiltonian too far from the one that was diagonalised.
        """
        if self._first is None or len(self._roots) > 1 or self.projected_out:
            return None
        levels, vectors, filled = self._first
        if np.linalg.norm(filled - 2 * np.round(filled / 2)) > self._most_partly:
            return None
        root, full = self._roots[0], int(np.count_nonzero(filled > 1))
        if self._levels is None:
            orbitals = root.inverse_as(vectors.dtype) @ vectors
            self._levels = FollowedLevels(levels.astype(vectors.real.dtype), orbitals, full)
        h = _at(hamiltonian, self._k_points[0], "H").astype(vectors.dtype)
        found = self._levels.follow(h)
        if found is None:
            return None
        two = vectors.dtype.type(2**0.5)
        with ThreadPoolExecutor(1) as beside:
            apart = beside.submit(self._apart, h, full)
            seen = self._seen(vectors @ (two * found), two * self._levels.space, root, self._k_points[0])
            if not apart.result():
                return None
        return self._neutral(
            self._without(seen, vectors.dtype, root, self._k_points[0]) if self._levels.empty else seen
        )

    def _apart(self, hamiltonian: np.ndarray, full: int) -> bool:
        """Whether the levels that are followed are all of H's empty or full ones, and so far from the others that none
        is partly filled."""
        assert self._levels is not None
        apart = 2 * BOLTZMANN_IN_EV * self.temperature * np.log(2 / self._most_partly)
        level = self._levels.nearest - apart if self._levels.empty else self._levels.nearest + apart
        return levels_below(hamiltonian, self._roots[0].overlap_as(hamiltonian.dtype), level) == full

    def _seen_from_atoms(self, vectors: np.ndarray, filled: np.ndarray, root: _Root, k: np.ndarray) -> AtomicDensity:
        """The part of one k-point, with populations in place of charges: of electrons, or where there are fewer of
        what is missing in full levels."""
        some, free = filled > 1e-12, 2 - filled > 1e-12
        holes = np.count_nonzero(free) < np.count_nonzero(some)
        chosen, weights = (free, 2 - filled[free]) if holes else (some, filled[some])
        weighted = (vectors[:, chosen] * np.sqrt(weights).astype(vectors.real.dtype)).astype(vectors.dtype)
        seen = self._seen(weighted, root.inverse_as(weighted.dtype) @ weighted, root, k)
        return self._without(seen, weighted.dtype, root, k) if holes else seen

    def _without(self, holes: AtomicDensity, precision: np.dtype, root: _Root, k: np.ndarray) -> AtomicDensity:
        """What is left of two electrons in each level."""
        if root.filled is None or root.filled[0] != precision:
            two = precision.type(2**0.5)
            inverse = root.inverse_as(precision)
            all_levels = two * np.eye(len(inverse), dtype=precision), two * inverse
            root.filled = precision, self._seen(*all_levels, root, k)
        return holes.with_vector(root.filled[1].vector() - holes.vector())

    def _seen(self, weighted: np.ndarray, own: np.ndarray, root: _Root, k: np.ndarray) -> AtomicDensity:
        """What atoms see of the density Σ_n c_n c_n† of orthogonal orbitals, columns, in Löwdin's basis and in their
        own."""
        p, offsets = own @ own.conj().T, self.basis.offsets(self.structure.numbers)
        squares = np.einsum("ij,ij->i", weighted, weighted.conj()).real.astype(np.float64)
        n = len(self.structure)
        blocks = [np.empty((n, self.layout.size)) for _ in range(3)]
        for z in self.structure.elements:
            atoms = np.flatnonzero(self.structure.numbers == z)
            for chosen in np.array_split(atoms, -(-len(atoms) // _AT_ONCE)):
                rows = offsets[chosen][:, None] + np.arange(self.basis.n_orbitals(z))
                net = p[rows[:, :, None], rows[:, None, :]]
                gross = p[rows] @ root.overlap[rows].conj().transpose(0, 2, 1)
                loewdin = weighted[rows] @ weighted[rows].conj().transpose(0, 2, 1)
                for result, found in zip(blocks, (loewdin, net, gross)):
                    real = found.real.astype(np.float64)
                    result[chosen] = self.layout.couple((real + real.transpose(0, 2, 1)) / 2, z, z)
        populations = np.add.reduceat(squares, offsets[:-1])
        return AtomicDensity(populations, blocks[0], blocks[1], blocks[2], self._dipoles.of(p, k))

    def _neutral(self, seen: AtomicDensity) -> AtomicDensity:
        """Charges of populations add up to that of the cell, whatever single precision leaves."""
        populations = seen.charges * (self.electrons / seen.charges.sum() if self.electrons else 1.0)
        return replace(seen, charges=self._valence - populations)


class _Root:
    """S and S^−½ at one k-point, the latter zero in the directions that are projected out.

    In single precision, which a well-conditioned S allows, S^−½ is good to about 1e-5; in double it is computed where
    it is asked for.
    """

    def __init__(self, overlap: np.ndarray, threshold: float, single: bool) -> None:
        self.overlap, self._overlap, self._threshold = overlap, overlap, threshold
        self._inverses: dict[np.dtype, np.ndarray] = {}
        self.filled: tuple[np.dtype, AtomicDensity] | None = None
        lowest = self._invert(_rounded(overlap)) if single else 0.0
        if lowest < max(WELL_CONDITIONED, 2 * threshold):
            self._inverses.clear()
            self._invert(overlap)

    def _invert(self, overlap: np.ndarray) -> float:
        """Keep S^−½ in the precision of `overlap`; return the smallest eigenvalue."""
        values, vectors = eigenvectors(np.array(overlap, order="F"))
        if values[0] < -self._threshold or values[-1] < self._threshold:
            raise InputError(
                f"expected a positive definite overlap S, got one with smallest eigenvalue {values[0]:.6g}; is it "
                "complete (all neighbours, both triangles) and of this structure?"
            )
        kept = values >= self._threshold
        self._null = vectors[:, ~kept]
        self._inverses[overlap.dtype] = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].conj().T
        self.projected_out = int(np.count_nonzero(~kept))
        return float(values[0])

    def overlap_as(self, precision: np.dtype) -> np.ndarray:
        """S in some precision; the last one is kept."""
        if self._overlap.dtype != precision:
            self._overlap = self.overlap.astype(precision)
        return self._overlap

    def inverse_as(self, precision: np.dtype) -> np.ndarray:
        """S^−½ in some precision."""
        if precision not in self._inverses:
            if precision == _rounded(self.overlap[:1, :1]).dtype:
                self._inverses[precision] = self._inverses[self.overlap.dtype].astype(precision)
            elif self.overlap.dtype in self._inverses:  # complex H with a real S
                return self._inverses[self.overlap.dtype].astype(precision)
            else:
                self._invert(self.overlap)
        return self._inverses[precision]

    def orthogonal(self, h: np.ndarray, single: bool) -> np.ndarray:
        """S^−½ H S^−½, with levels far up in the directions that are projected out."""
        h = _rounded(h) if single else h
        inverse = self.inverse_as(_rounded(self.overlap[:1, :1]).dtype if single else self.overlap.dtype)
        result = inverse @ h @ inverse
        if self.projected_out:
            null = self._null.astype(inverse.dtype)
            result += DISTANT * np.abs(result).max() * len(result) ** 0.5 * (null @ null.conj().T)
        return np.asfortranarray(result)


def _rounded(matrix: np.ndarray) -> np.ndarray:
    """A copy in single precision."""
    return matrix.astype(np.complex64 if np.iscomplexobj(matrix) else np.float32)


def _at(matrix: Matrix, k: np.ndarray, name: str) -> np.ndarray:
    if isinstance(matrix, BlockOperator) and k.any():
        return hermitian_dense(bloch(matrix, k), name)
    if k.any():
        raise InputError(f"expected {name} resolved in R for k-points, got a matrix")
    return hermitian_dense(matrix, name)
