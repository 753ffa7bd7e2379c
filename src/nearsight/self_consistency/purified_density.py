"""PurifiedBasis: the atomic density of large insulators by purification, in sparse blocks, without eigenvectors.

What it returns is what `LoewdinBasis` returns of the same Hamiltonian at zero temperature, but for what is neglected:
blocks of S^−½, of H in orthogonal orbitals and of the density matrix whose Frobenius norms are below the thresholds
here. In amorphous HfO₂ charges are then off by 2e-4 e (r.m.s.), a twentieth of the error of predicted ones. Time and
memory grow linearly with the number of atoms once the cell is larger than what is kept of the density matrix.
"""

from __future__ import annotations

import numpy as np

from nearsight.electronic.block_sparse import BlockSparse, Clusters, column_sums_of_products, own_blocks_of_product
from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.inverse_root import interval_of, inverse_root
from nearsight.electronic.purification import Purified, purified
from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.dipole_integrals import dipole_integrals
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.partition.bisection import Bisection
from nearsight.self_consistency.atomic_density import TEMPERATURE, AtomicDensity
from nearsight.units import BOLTZMANN_IN_EV

CLUSTER = 48
"""Orbitals of a cluster, about: blocks of this size are multiplied at the full speed of a core, and neglect is fine."""
NEGLECTED = 1e-3
"""Norm of blocks of the density matrix that are left out; charges are off by a quarter of it."""
NEGLECTED_ROOT, NEGLECTED_HAMILTONIAN = 3e-3, 0.1
"""Of S^−½, and of H in orthogonal orbitals, eV."""
GIVEN = 1 / 3
"""Share of these at which blocks of S and of H itself are left out."""
SHARE_OF_ATOMS = 0.05
"""Share of these at which blocks of two atoms are left out before: a block of clusters has some sixty of them."""
SMALLEST_GAP = 10.0
"""Of insulators, in kT: with less, the filling at that temperature has other charges than full levels."""


class PurifiedBasis:
    """The orthogonal orbitals of a large structure, at Γ, in which density matrices are purified.

    Parameters
    ----------
    calculation : Calculation
        The structure, its basis with known valence, its overlap and its charge.
    layout : CoupledLayout
        Of the density's blocks.
    temperature : float, optional
        K, of the filling that this stands for.
    functions : BasisSet, optional
        The basis whose radial functions dipoles are computed with; where it knows them not, dipoles are zero.

    Raises
    ------
    InputError
        Several k-points, an odd number of electrons, or an overlap with directions that would be projected out.
    """

    def __init__(
        self,
        calculation: Calculation,
        layout: CoupledLayout,
        temperature: float | None = None,
        functions: BasisSet | None = None,
    ) -> None:
        self.structure, self.basis, self.layout = calculation.structure, calculation.basis, layout
        self.electrons, overlap = calculation.n_electrons, calculation.require_overlap()
        self._smallest_gap = SMALLEST_GAP * BOLTZMANN_IN_EV * (temperature or TEMPERATURE)
        _check(calculation)
        self._atoms, self._clusters = _clustered(calculation)
        self._overlap = self._blocks(overlap, GIVEN * NEGLECTED_ROOT)
        interval, threshold = interval_of(self._overlap), overlap_threshold(calculation)
        if interval.lower < threshold:
            raise InputError(
                f"expected an overlap S with eigenvalues above {threshold:.2g} for density_solver=purification, got "
                f"{interval.lower:.2g}; density_solver=dense projects such directions out"
            )
        self._root = inverse_root(self._overlap, interval, NEGLECTED_ROOT)[0]
        self._dipoles: list[BlockSparse] = []
        if functions is not None and not functions.restricted(self.structure.numbers).lacking_functions:
            integrals = dipole_integrals(self.structure, functions)
            self._dipoles = [self._blocks(part, GIVEN * NEGLECTED_ROOT) for part in integrals]
        self._valence = np.array([self.basis.valence[int(z)] for z in self.structure.numbers], dtype=float)

    def density_of(self, hamiltonian: BlockOperator, *, single: bool = True) -> tuple[AtomicDensity, Purified]:
        """Return the atomic density of a Hamiltonian, and the density matrix that it is of.

        Parameters
        ----------
        hamiltonian : BlockOperator
            eV.
        single : bool, optional
            It always computes in single precision.

        Raises
        ------
        InputError
            There is no gap, or one that is too small for levels to be full or empty.
        """
        z = self._root
        h = z.times(self._blocks(hamiltonian, GIVEN * NEGLECTED_HAMILTONIAN), NEGLECTED_HAMILTONIAN)
        h = h.times(z, NEGLECTED_HAMILTONIAN, symmetric=True)
        found = purified(h, interval_of(h), self.electrons / 2, NEGLECTED)
        if found.gap < self._smallest_gap:
            raise InputError(
                f"expected a gap of {self._smallest_gap:.2f} eV or more for density_solver=purification, got "
                f"{max(found.gap, 0.0):.2f} eV; metals and small gaps need density_solver=dense"
            )
        p = z.times(found.density, NEGLECTED).times(z, NEGLECTED, symmetric=True)
        kinds = (found.density.diagonal_blocks(), p.diagonal_blocks(), own_blocks_of_product(p, self._overlap))
        blocks = [self._own(own) for own in kinds]
        dipoles = np.zeros((len(self.structure), 3))
        for axis, integrals in enumerate(self._dipoles):
            dipoles[:, axis] = -2 * self._by_atom(column_sums_of_products(p, integrals))
        populations = 2 * self._by_atom(found.density.diagonal())
        populations *= self.electrons / populations.sum() if self.electrons else 1.0
        return AtomicDensity(self._valence - populations, blocks[0], blocks[1], blocks[2], dipoles), found

    def followed(self, hamiltonian: BlockOperator) -> None:
        """Return None: a density matrix is purified anew for each Hamiltonian."""

    def _blocks(self, operator: BlockOperator, threshold: float) -> BlockSparse:
        """Blocks of clusters; first those of atoms go that are too small to count, most of what is far."""
        norms = np.sqrt(np.add.reduceat(np.square(operator.values), operator.offsets[:-1]))
        near = operator.select((norms >= SHARE_OF_ATOMS * threshold) | operator.on_site)
        return BlockSparse.of(to_csr(near), self._clusters, threshold)

    def _by_atom(self, values: np.ndarray) -> np.ndarray:
        """(N,) sums of numbers (n,) of orbitals in the order of the clusters."""
        atom = np.repeat(self._atoms, self.basis.sizes(self.structure.numbers)[self._atoms])
        return np.bincount(atom, values, len(self.structure))

    def _own(self, of_clusters: list[np.ndarray]) -> np.ndarray:
        """(N, size) coupled blocks of each atom with itself, of both spins, of those of the clusters."""
        sizes, blocks, atoms = self.basis.sizes(self.structure.numbers), {}, iter(self._atoms.tolist())
        for block in of_clusters:
            begin = 0
            while begin < len(block):
                atom = next(atoms)
                own = slice(begin, begin + sizes[atom])
                blocks[atom], begin = block[own, own] + block[own, own].T, own.stop
        result = np.empty((len(self.structure), self.layout.size))
        for element in self.structure.elements:
            some = np.flatnonzero(self.structure.numbers == element)
            stacked = np.array([blocks[atom] for atom in some.tolist()], dtype=np.float64)
            result[some] = self.layout.couple(stacked, element, element)
        return result


def _check(calculation: Calculation) -> None:
    several = calculation.k_points is not None and len(calculation.k_points) > 1
    if several and not calculation.require_overlap().folded:
        raise InputError("expected Γ for density_solver=purification, got several k-points, which need dense")
    if calculation.n_electrons % 2:
        raise InputError(
            f"expected full levels for density_solver=purification, got {calculation.n_electrons} electrons; an odd "
            "number needs dense"
        )


def _clustered(calculation: Calculation) -> tuple[np.ndarray, Clusters]:
    """Atoms cluster after cluster, and their orbitals."""
    structure, basis = calculation.structure, calculation.basis
    offsets, sizes = basis.offsets(structure.numbers), basis.sizes(structure.numbers)
    count = min(len(structure), max(1, round(offsets[-1] / CLUSTER)))
    labels = np.unique(Bisection(count).assign(structure), return_inverse=True)[1]
    atoms = np.argsort(labels, kind="stable")
    order = np.concatenate([np.arange(offsets[atom], offsets[atom + 1]) for atom in atoms])
    return atoms, Clusters(order, np.bincount(labels, weights=sizes).astype(np.int64))
