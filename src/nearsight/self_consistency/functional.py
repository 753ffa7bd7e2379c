"""OnSiteFunctional: on-site blocks of H as a function of an atom's environment and of the density matrix near by.

To the environment (`baselines.on_site`) come, irrep by irrep: the potential and the field of the charges and
dipoles of all atoms, the atom's own charge and its own blocks of the density matrix, the charges and populations of the
neighbours, and how its orbitals overlap with what third atoms have. It is fitted to the self-consistent densities of
the training structures: a linear, local map that holds for every structure, while the density supplies what is not
local.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import EnvironmentDescriptor, Features, OnSite, fit_on_site
from nearsight.baselines.reference import Reference
from nearsight.baselines.residual_scale import NodeScaleFit
from nearsight.baselines.settings import BaselineSettings
from nearsight.errors import InputError
from nearsight.kept_results import kept
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.third_atoms import Shell
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.atomic_density import AtomicDensity, LoewdinBasis
from nearsight.self_consistency.density_features import (
    KINDS,
    DensityFeatures,
    Means,
    means_of,
    neighbour_count,
    own_count,
    third_count,
    told_counts,
)
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

PENALTY, NEIGHBOUR_PENALTY = 0.01, 300.0
"""Of what the density tells of the atom itself and of potentials, relative to the nearest neighbours: its part is
large, and hardly held back. Of the charges of neighbours beyond their potential, of which there are many numbers."""


@dataclass(frozen=True)
class DensityPenalties:
    """Penalties of what the density tells twice or of much, relative to those of the nearest neighbours.

    Attributes
    ----------
    populations : float
        Of net and gross populations, which are nearly those of Löwdin: with large differences of them charges converge
        slowly and respond wrongly.
    third_atoms : float
        Of sums over third atoms, of which there are many numbers.
    """

    populations: float = 5.0
    third_atoms: float = 0.2


HELD_BACK = DensityPenalties(), DensityPenalties(30.0, 10.0), DensityPenalties(100.0, 100.0)
"""From the one for a few hundred atoms of each element to those for fewer, such as vacancies."""


@dataclass(frozen=True)
class DensityDescriptor(EnvironmentDescriptor):
    """The descriptor of an environment with what the density matrix tells.

    Attributes
    ----------
    shells : tuple of (int, int)
        Shells of third atoms; none for functionals of before these were told.
    held_back : DensityPenalties
        Of a fit; a functional that was fitted does not depend on them.
    """

    shells: tuple[Shell, ...] = ()
    held_back: DensityPenalties = DensityPenalties()

    def penalties(self, degree: int) -> np.ndarray:
        """Return the relative penalties (F_l,) of all features of a degree."""
        near, far = told_counts(self.table, degree), neighbour_count(self.table)
        told = np.full(near, PENALTY)
        own = own_count(self.table, degree)
        told[own : KINDS * own] = self.held_back.populations
        third = np.full(third_count(self.table, degree, self.shells), self.held_back.third_atoms)
        return np.concatenate([super().penalties(degree), told, np.full(far, NEIGHBOUR_PENALTY), third])

    def extended(self, environment: Features, features: DensityFeatures, density: AtomicDensity) -> Features:
        """Return the features of the environment with those of the density (`density_features`)."""
        known = features.told(density), features.of_neighbours(density), features.of_third_atoms(density, self.shells)
        return tuple(np.concatenate(parts, axis=1) for parts in zip(environment, *known))


def all_shells(layout: CoupledLayout) -> tuple[Shell, ...]:
    """Return the shells of all elements of a layout, by element and position."""
    return tuple((z, k) for z in layout.elements for k in range(len(layout.basis.shells[z])))


@dataclass(frozen=True, eq=False)
class OnSiteFunctional:
    """On-site blocks as a function of environments and the atomic density.

    Attributes
    ----------
    on_site : OnSite
        The regressions; its descriptor is a `DensityDescriptor`.
    means : mapping of int to (1 + 3 K,) array
        Z → means of charge and scalars of the own density blocks over the fitted structures.
    basis : BasisSet
        Whose radial functions, where they are known, give the dipoles of densities.
    """

    on_site: OnSite
    means: Means
    basis: BasisSet

    @property
    def descriptor(self) -> DensityDescriptor:
        """What the features are."""
        assert isinstance(self.on_site.descriptor, DensityDescriptor)
        return self.on_site.descriptor

    @property
    def layout(self) -> CoupledLayout:
        """The layout of the blocks."""
        return self.descriptor.table.layout

    def density_of(self, calculation: Calculation) -> AtomicDensity:
        """Return the density of the H of a calculation; one that was seen before is at hand (`kept_results`)."""
        layout = self.layout.basis.shells
        return AtomicDensity(**kept(lambda: self._density_of(calculation), "density", calculation, self.basis, layout))

    def _density_of(self, calculation: Calculation) -> dict[str, np.ndarray]:
        basis = LoewdinBasis(calculation, self.layout, functions=self.basis)
        density = basis.density_of(calculation.require_hamiltonian())[0]
        return {one.name: getattr(density, one.name) for one in fields(density)}

    def environment(self, structure: Structure, graph: Graph) -> Features:
        """Return the features that do not depend on the density, computed once."""
        plain = EnvironmentDescriptor(self.descriptor.table, self.descriptor.cutoff, self.descriptor.settings)
        return plain(structure, graph)

    def features(self, structure: Structure, graph: Graph, overlap: BlockOperator | None = None) -> DensityFeatures:
        """Return the features of the density, for any density of the structure; on-site blocks need its overlap."""
        return DensityFeatures(self.descriptor.table, structure, graph, self.means, overlap)

    def __call__(self, environment: Features, features: DensityFeatures, density: AtomicDensity) -> np.ndarray:
        """Return coupled on-site blocks (N, size), E_h."""
        extended = self.descriptor.extended(environment, features, density)
        return self.on_site.of_features(extended, features.structure.numbers)


@dataclass(frozen=True, eq=False)
class FittedFunctional:
    """A functional with what it was fitted to.

    Attributes
    ----------
    functional : OnSiteFunctional
        The functional.
    densities : sequence of AtomicDensity
        Of the structures.
    unseen : sequence of (N, size) array
        E_h, on-site blocks of each structure as predicted by fits without the atom itself (leave-one-out): off by what
        is to be expected of other structures. Atoms that were not fitted have the prediction.
    scales : mapping of int to (K,) array
        Z → r.m.s. of the leave-one-out residuals of each irrep, E_h.
    """

    functional: OnSiteFunctional
    densities: Sequence[AtomicDensity]
    unseen: Sequence[np.ndarray]
    scales: Mapping[int, np.ndarray]


def fit_functional(
    calculations: Sequence[Calculation],
    layout: CoupledLayout,
    cutoff: float,
    settings: BaselineSettings | None = None,
    used: Sequence[np.ndarray] | None = None,
    basis: BasisSet | None = None,
    held_back: DensityPenalties = HELD_BACK[0],
) -> FittedFunctional:
    """Fit the functional to calculations with H and S.

    Parameters
    ----------
    calculations : sequence of Calculation
        Structures with H, S and valence.
    layout : CoupledLayout
        Of the blocks.
    cutoff : float
        Å, of the environments.
    settings : BaselineSettings, optional
        Numbers of functions.
    used : sequence of (N,) bool array, optional
        Atoms of each structure whose blocks are fitted; all by default.
    basis : BasisSet, optional
        Whose radial functions give the dipoles of densities; that of the layout by default.
    held_back : DensityPenalties
        Penalties of the fit.

    Raises
    ------
    InputError
        No calculation, H, S or valence missing, or an ill-conditioned S.
    """
    settings = settings or BaselineSettings()
    references = _references(calculations, layout, cutoff, used)
    descriptor = DensityDescriptor(IrrepTable(layout), cutoff, settings, all_shells(layout), held_back)
    functional = OnSiteFunctional(OnSite(descriptor, {}), {}, basis or layout.basis)
    densities = [functional.density_of(c) for c in calculations]
    means = means_of(descriptor.table, [r.structure for r in references], densities)
    functional = replace(functional, means=means)
    overlaps = [c.require_overlap() for c in calculations]
    features = [_features(functional, *known) for known in zip(references, densities, overlaps)]
    on_site, residuals = fit_on_site(descriptor, references, features)
    unseen = [on_site.of_features(f, r.structure.numbers) for f, r in zip(features, references)]
    scales = NodeScaleFit(descriptor.table)
    for blocks, own in zip(unseen, residuals):
        for z, part in own.items():
            blocks[part.atoms] = part.blocks - part.residual
            scales.add(z, part.residual)
    return FittedFunctional(replace(functional, on_site=on_site), densities, unseen, scales.solve())


def predicted_by(functional: OnSiteFunctional, calculations: Sequence[Calculation]) -> FittedFunctional:
    """Return the densities of other structures than those of the fit, and what the functional makes of them."""
    layout, cutoff = functional.layout, functional.descriptor.cutoff
    references = _references(calculations, layout, cutoff, None)
    densities = [functional.density_of(c) for c in calculations]
    blocks = [
        functional.on_site.of_features(_features(functional, r, density, c.require_overlap()), r.structure.numbers)
        for r, density, c in zip(references, densities, calculations)
    ]
    return FittedFunctional(functional, densities, blocks, {})


def _features(
    functional: OnSiteFunctional, reference: Reference, density: AtomicDensity, overlap: BlockOperator
) -> Features:
    environment = functional.environment(reference.structure, reference.graph)
    features = functional.features(reference.structure, reference.graph, overlap)
    return functional.descriptor.extended(environment, features, density)


def fit_local(
    calculations: Sequence[Calculation],
    layout: CoupledLayout,
    cutoff: float,
    settings: BaselineSettings | None = None,
    used: Sequence[np.ndarray] | None = None,
) -> OnSite:
    """Fit on-site blocks to environments alone, with the arguments of `fit_functional`, for comparison."""
    descriptor = EnvironmentDescriptor(IrrepTable(layout), cutoff, settings or BaselineSettings())
    references = _references(calculations, layout, cutoff, used)
    return fit_on_site(descriptor, references, [descriptor(r.structure, r.graph) for r in references])[0]


def _references(
    calculations: Sequence[Calculation], layout: CoupledLayout, cutoff: float, used: Sequence[np.ndarray] | None
) -> list[Reference]:
    if not calculations:
        raise InputError("expected at least one calculation to fit a functional, got none")
    references = [Reference.of(c, layout, cutoff) for c in calculations]
    if used is None:
        return references
    return [_SomeAtoms(r.structure, r.graph, r.hamiltonian, r.layout, own) for r, own in zip(references, used)]


@dataclass(frozen=True, eq=False)
class _SomeAtoms(Reference):
    """A reference of which only some atoms are fitted."""

    used: np.ndarray

    def on_site(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the usable atoms among the chosen ones, and their blocks."""
        atoms, blocks = super().on_site(z)
        chosen = self.used[atoms]
        return atoms[chosen], blocks[chosen]
