"""What the density matrix tells an atom, irrep by irrep: the features of a functional of the density.

Told are, for each degree: the atom's own blocks of the density matrix, of Löwdin's, net and gross populations; the
atom's charge and dipole; the potential and the field of the charges of all atoms (Ewald sum), of the intra-atomic
dipoles within the cutoff, and of the charges and dipoles of all atoms by gross populations, as Gaussians. Only these
last are right far away, where charges alone are not. The populations of the neighbours come as their densities do
(`second_hop`), for what a point charge leaves out near by. Where S is known, overlaps with third atoms tell how its
orbitals reach into their density and potential: Σ_k S_ik M_k S_ki by shell of k, with unity, the net populations of k,
and its potential minus that of i for M_k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.neighbour_densities import second_hop
from nearsight.baselines.on_site import Features
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.electrostatics.gaussian_multipoles import gaussian_multipoles
from nearsight.electrostatics.potential import electrostatics
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.third_atoms import Shell, ThirdAtoms
from nearsight.orbitals.rotations import AXES
from nearsight.self_consistency.atomic_density import AtomicDensity
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure

POTENTIAL_SCALE = 0.1
DENSITY_SCALE = 10.0
"""Potentials (V) are ten times, charges and densities a tenth of what neighbour densities are: the regression takes
features to be alike."""
NEIGHBOUR_CUTOFF = 5.0
NEIGHBOUR_FUNCTIONS = 5
"""Å, and number of radial functions, of the populations of neighbours."""

MULTIPOLE_WIDTH = 1.0
"""Å, of Gaussian charges and dipoles."""
THIRD_SCALES = (100.0, 300.0, 50.0)
"""Of sums over third atoms with unity, populations and potentials (V), likewise."""
KINDS = 3
"""Kinds of own blocks of a density (`AtomicDensity.own_blocks`)."""

Means = Mapping[int, np.ndarray]
"""Z → (1 + 3 K,) means of the charge and of the scalars of the own blocks, over the fitted structures."""


class DensityFeatures:
    """The features of the atoms of one structure; what does not depend on the density is computed once.

    Parameters
    ----------
    table : IrrepTable
        The irreps of the blocks.
    structure : Structure
        Atoms and cell.
    graph : Graph
        Pairs within the cutoff of the dipoles.
    means : mapping of int to array
        Means of charges and scalars.
    overlap : BlockOperator, optional
        S, which sums over third atoms need.
    """

    def __init__(
        self, table: IrrepTable, structure: Structure, graph: Graph, means: Means, overlap: BlockOperator | None = None
    ) -> None:
        self.table, self.structure, self.graph, self.means = table, structure, graph, means
        self._overlap = overlap
        self._overlaps: dict[int, np.ndarray] | None = None
        self._of_overlaps: Features | None = None
        self._last: tuple[AtomicDensity, Features] | None = None

    def told(self, density: AtomicDensity) -> Features:
        """Return what the density tells of each atom, (N, `told_counts`, 2l+1) for each degree.

        That of the last density is kept: on-site blocks and blocks between atoms ask for the same.
        """
        if self._last is None or self._last[0] is not density:
            self._last = density, self._told(density)
        return self._last[1]

    def _told(self, density: AtomicDensity) -> Features:
        monopoles = electrostatics(self.structure, density.charges - density.charges.mean())
        potential, field = self._dipoles(density)
        far = gaussian_multipoles(self.structure, self._gross_charges(density), density.dipoles, MULTIPOLE_WIDTH)
        result = []
        for degree in range(self.table.layout.l_max + 1):
            parts = [DENSITY_SCALE * self._own(density, kind, degree) for kind in range(KINDS)]
            if degree == 0:
                parts += [DENSITY_SCALE * self._unlike(density)[:, None, None]]
                parts += [POTENTIAL_SCALE * v[:, None, None] for v in (monopoles.potential, far.potential)]
                parts += [DENSITY_SCALE * potential[:, :, None]]
            if degree == 1:
                parts += [POTENTIAL_SCALE * e[:, None, AXES] for e in (monopoles.field, far.field)]
                parts += [DENSITY_SCALE * density.dipoles[:, None, AXES], DENSITY_SCALE * field]
            result.append(np.concatenate(parts, axis=1))
        return tuple(result)

    def of_neighbours(self, density: AtomicDensity) -> Features:
        """Return the populations of the neighbours, (N, `neighbour_count`, 2l+1) for each degree."""
        scalars = np.concatenate([self._unlike(density)[:, None], self._own(density, 0, 0)[:, :, 0]], axis=1)
        radial = RadialFunctions(self._reach, NEIGHBOUR_FUNCTIONS)
        elements, l_max = self.table.layout.elements, self.table.layout.l_max
        return second_hop(self.structure, self._near, radial, elements, DENSITY_SCALE * scalars, l_max)

    def of_third_atoms(self, density: AtomicDensity, shells: Sequence[Shell]) -> Features:
        """Return what third atoms tell, (N, `third_count`, 2l+1) for each degree; the shells are always the same."""
        if not shells:
            return tuple(np.zeros((len(self.structure), 0, 2 * l + 1)) for l in range(self.table.layout.l_max + 1))
        potential = self.told(density)[0][:, KINDS * own_count(self.table, 0) + 2, 0] / POTENTIAL_SCALE
        unity = {z: np.eye(self.table.layout.basis.n_orbitals(z)) for z in self._atoms}
        if self._overlaps is None:
            every = {z: np.repeat(unity[z][None], len(own), axis=0) for z, own in self._atoms.items()}
            self._overlaps = self._third.around(shells, every)
        populations = self._third.around(shells, self._populations(density))
        potentials = self._third.around(
            shells, {z: potential[own, None, None] * unity[z] for z, own in self._atoms.items()}
        )
        for z, own in self._atoms.items():
            potentials[z] -= potential[own, None, None, None] * self._overlaps[z]
        if self._of_overlaps is None:
            self._of_overlaps = self._irreps(THIRD_SCALES[0], self._overlaps, len(shells))
        parts = [
            self._of_overlaps,
            self._irreps(THIRD_SCALES[1], populations, len(shells)),
            self._irreps(THIRD_SCALES[2], potentials, len(shells)),
        ]
        return tuple(np.concatenate(found, axis=1) for found in zip(*parts))

    def _irreps(self, scale: float, blocks: Mapping[int, np.ndarray], count: int) -> Features:
        """(N, shells × irreps, 2l+1) for each degree, of Z → (n, shells, n_i, n_i)."""
        coupled, numbers = scale * self._coupled(blocks, count), self.structure.numbers
        return tuple(
            np.concatenate([irreps_by_element(self.table, numbers, own, degree) for own in coupled], axis=1)
            for degree in range(self.table.layout.l_max + 1)
        )

    def _coupled(self, blocks: Mapping[int, np.ndarray], count: int) -> np.ndarray:
        """(shells, N, size) of Z → (n, shells, n_i, n_i)."""
        result = np.zeros((count, len(self.structure), self.table.layout.size))
        for z, own in self._atoms.items():
            flat = blocks[z].reshape(-1, *blocks[z].shape[2:])
            result[:, own] = self.table.layout.couple(flat, z, z).reshape(len(own), count, -1).transpose(1, 0, 2)
        return result

    def _populations(self, density: AtomicDensity) -> dict[int, np.ndarray]:
        """Z → (n, n_k, n_k) net populations minus the means of their scalars."""
        table, result = self.table, {}
        for z, own in self._atoms.items():
            irreps, mean = table.independent(z, 0), np.zeros(table.layout.size)
            for same in (irreps, table.exchanged[irreps]):
                mean[table.columns(same)] = self.means[z][1:].reshape(KINDS, -1)[1][:, None]
            result[z] = table.layout.uncouple(density.net[own] - mean, z, z)
        return result

    @cached_property
    def _atoms(self) -> dict[int, np.ndarray]:
        return {z: np.flatnonzero(self.structure.numbers == z) for z in self.structure.elements}

    @cached_property
    def _third(self) -> ThirdAtoms:
        if self._overlap is None:
            raise InputError("expected S for what third atoms tell an atom, got none")
        return ThirdAtoms(self._overlap)

    def _unlike(self, density: AtomicDensity) -> np.ndarray:
        """(N,) e, charges minus the means of their elements."""
        return density.charges - np.array([self.means[int(z)][0] for z in self.structure.numbers])

    def _gross_charges(self, density: AtomicDensity) -> np.ndarray:
        """(N,) e, charges by gross populations, minus their mean."""
        charges, layout = density.charges.copy(), self.table.layout
        for z in self.structure.elements:
            atoms = np.flatnonzero(self.structure.numbers == z)
            shared = layout.uncouple(density.blocks[atoms] - density.gross[atoms], z, z)
            charges[atoms] += np.trace(shared, axis1=1, axis2=2)
        return charges - charges.mean()

    def _own(self, density: AtomicDensity, kind: int, degree: int) -> np.ndarray:
        """(N, K, 2l+1) irreps of one kind of own blocks; scalars minus their means."""
        result = irreps_by_element(self.table, self.structure.numbers, density.own_blocks[kind], degree)
        if degree == 0:
            for z in self.structure.elements:
                mean = self.means[z][1:].reshape(KINDS, -1)[kind]
                result[self.structure.numbers == z, : len(mean)] -= mean[:, None]
        return result

    def _dipoles(self, density: AtomicDensity) -> tuple[np.ndarray, np.ndarray]:
        """Potential (N, D) and field (N, D, 3; y, z, x) of every kind of atomic dipole, an irrep of degree 1."""
        potentials, fields = [], []
        own = irreps_by_element(self.table, self.structure.numbers, density.blocks, 1)
        for z in self.table.layout.elements:
            for k in range(len(self.table.independent(z, 1))):
                dipole = np.where((self.structure.numbers == z)[:, None], own[:, k], 0.0)
                potentials.append(self._along @ dipole.ravel())
                fields.append((self._field_of_dipoles @ dipole.ravel()).reshape(-1, 3))
        n = len(self.structure)
        if not potentials:
            return np.zeros((n, 0)), np.zeros((n, 0, 3))
        return np.stack(potentials, axis=1), np.stack(fields, axis=1)

    @cached_property
    def _window(self) -> np.ndarray:
        """(E,) 1/Å³, 1/r³ that ends smoothly at the cutoff."""
        r = self.graph.distance
        return np.where(r < self.graph.cutoff, (1 - (r / self.graph.cutoff) ** 2) ** 2, 0.0) / r**3

    @cached_property
    def _along(self) -> csr_array:
        """(N, 3N): potentials Σ_j p_j · (r_i − r_j)/r³ of dipoles."""
        values = -self.graph.vector[:, AXES] * self._window[:, None]
        columns = 3 * self.graph.target[:, None] + np.arange(3)
        rows = np.repeat(self.graph.source, 3)
        n = len(self.structure)
        return csr_array((values.ravel(), (rows, columns.ravel())), shape=(n, 3 * n))

    @cached_property
    def _field_of_dipoles(self) -> csr_array:
        """(3N, 3N): fields Σ_j (3 d d·p_j/r² − p_j)/r³ of dipoles."""
        d = self.graph.vector[:, AXES] / self.graph.distance[:, None]
        values = (3 * d[:, :, None] * d[:, None, :] - np.eye(3)) * self._window[:, None, None]
        rows = np.broadcast_to(3 * self.graph.source[:, None, None] + np.arange(3)[:, None], values.shape)
        columns = np.broadcast_to(3 * self.graph.target[:, None, None] + np.arange(3), values.shape)
        n = 3 * len(self.structure)
        return csr_array((values.ravel(), (rows.ravel(), columns.ravel())), shape=(n, n))

    @cached_property
    def _reach(self) -> float:
        return min(NEIGHBOUR_CUTOFF, self.graph.cutoff)

    @cached_property
    def _near(self) -> Graph:
        return build_graph(self.structure, self._reach)


def irreps_by_element(table: IrrepTable, numbers: np.ndarray, blocks: np.ndarray, degree: int) -> np.ndarray:
    """Return the independent irreps of one degree of coupled own blocks.

    Parameters
    ----------
    table : IrrepTable
        The irreps.
    numbers : (N,) array of int
        Atomic numbers.
    blocks : (N, size) array
        Coupled blocks of each atom with itself.
    degree : int
        L.

    Returns
    -------
    (N, K, 2L+1) array
        Padded with zeros to the element that has most.
    """
    result = np.zeros((len(numbers), own_count(table, degree), 2 * degree + 1))
    for z in np.unique(numbers).tolist():
        atoms, irreps = np.flatnonzero(numbers == z), table.independent(z, degree)
        if len(irreps):
            result[atoms, : len(irreps)] = blocks[atoms][:, table.columns(irreps)]
    return result


def own_count(table: IrrepTable, degree: int) -> int:
    """Return the largest number of independent irreps of a degree among the elements."""
    return max(len(table.independent(z, degree)) for z in table.layout.elements)


def told_counts(table: IrrepTable, degree: int) -> int:
    """Return the number of features of `DensityFeatures.told`."""
    dipoles = sum(len(table.independent(z, 1)) for z in table.layout.elements) if table.layout.l_max else 0
    return KINDS * own_count(table, degree) + {0: 3 + dipoles, 1: 3 + dipoles}.get(degree, 0)


def third_count(table: IrrepTable, degree: int, shells: Sequence[Shell]) -> int:
    """Return the number of features of `DensityFeatures.of_third_atoms`."""
    return len(THIRD_SCALES) * len(shells) * own_count(table, degree)


def neighbour_count(table: IrrepTable) -> int:
    """Return the number of features of `DensityFeatures.of_neighbours`, the same for each degree."""
    return len(table.layout.elements) * NEIGHBOUR_FUNCTIONS * (1 + own_count(table, 0))


def means_of(table: IrrepTable, structures: Sequence[Structure], densities: Sequence[AtomicDensity]) -> Means:
    """Return the means of charges and of scalars of own blocks over the atoms of each element."""
    means = {}
    for z in sorted({z for structure in structures for z in structure.elements}):
        rows, irreps = [], table.independent(z, 0)
        for structure, density in zip(structures, densities):
            atoms = np.flatnonzero(structure.numbers == z)
            scalars = [blocks[atoms][:, table.columns(irreps)][:, :, 0] for blocks in density.own_blocks]
            rows.append(np.concatenate([density.charges[atoms, None], *scalars], axis=1))
        means[z] = np.concatenate(rows).mean(axis=0)
    return means
