"""DensityStart: the density of every atom regressed from its surroundings, where a self-consistent iteration begins.

Much nearer to the solution than the density of a local model's H, and no diagonalisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import EnvironmentDescriptor, Features, OnSite, fit_on_site
from nearsight.baselines.reference import Reference
from nearsight.baselines.ridge import NormalEquations, Regression
from nearsight.baselines.settings import BaselineSettings
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import AXES
from nearsight.self_consistency.atomic_density import AtomicDensity, populations, shared_equally
from nearsight.self_consistency.density_features import KINDS
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class DensityStart:
    """Own blocks of the density matrix and dipoles as linear functions of environments.

    Attributes
    ----------
    own_blocks : sequence of three OnSite
        The regressions of `AtomicDensity.own_blocks`, in electrons.
    dipoles : mapping of int to Regression
        Z → the regression of the dipole, e Å.
    """

    own_blocks: Sequence[OnSite]
    dipoles: Mapping[int, Regression]

    def __call__(self, structure: Structure, graph: Graph, valence: Mapping[int, int], charge: float) -> AtomicDensity:
        """Return the density of a structure.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        graph : Graph
            Pairs within the cutoff.
        valence : mapping of int to int
            Z → valence electrons.
        charge : float
            e, of the cell; what is missing is shared equally.
        """
        descriptor = self.own_blocks[0].descriptor
        features, layout = descriptor(structure, graph), descriptor.table.layout
        blocks, net, gross = (own.of_features(features, structure.numbers) for own in self.own_blocks)
        dipoles = np.zeros((len(structure), 3))
        for z in structure.elements:
            atoms = np.flatnonzero(structure.numbers == z)
            if z in self.dipoles:
                dipoles[atoms[:, None], AXES] = self.dipoles[z](features[1][atoms])[:, 0]
        numbers = structure.numbers
        electrons = np.array([valence[int(z)] for z in numbers], dtype=float)
        for own in (blocks, gross):  # both are all electrons
            missing = electrons.sum() - charge - populations(layout, numbers, own).sum()
            own += shared_equally(layout, numbers, missing / len(numbers))
        return AtomicDensity(electrons - populations(layout, numbers, blocks), blocks, net, gross, dipoles)


def fit_start(
    calculations: Sequence[Calculation],
    densities: Sequence[AtomicDensity],
    layout: CoupledLayout,
    cutoff: float,
    settings: BaselineSettings,
) -> DensityStart:
    """Fit the start to the densities of calculations.

    Parameters
    ----------
    calculations : sequence of Calculation
        Training structures.
    densities : sequence of AtomicDensity
        Of each.
    layout : CoupledLayout
        Of the blocks.
    cutoff : float
        Å.
    settings : BaselineSettings
        Numbers of functions and penalties.
    """
    descriptor = EnvironmentDescriptor(IrrepTable(layout), cutoff, settings)
    known = [Reference.of(c, layout, cutoff) for c in calculations]
    features = [descriptor(r.structure, r.graph) for r in known]
    fitted = []
    for kind in range(KINDS):
        references = [
            _DensityReference(r.structure, r.graph, r.hamiltonian, r.layout, d.own_blocks[kind])
            for r, d in zip(known, densities)
        ]
        fitted.append(fit_on_site(descriptor, references, features)[0])
    structures = [r.structure for r in known]
    return DensityStart(fitted, _fit_dipoles(descriptor, structures, features, densities))


def _fit_dipoles(
    descriptor: EnvironmentDescriptor,
    structures: Sequence[Structure],
    features: Sequence[Features],
    densities: Sequence[AtomicDensity],
) -> dict[int, Regression]:
    if descriptor.table.layout.l_max < 1:
        return {}
    equations: dict[int, NormalEquations] = {}
    for structure, known, density in zip(structures, features, densities):
        for z in structure.elements:
            atoms = np.flatnonzero(structure.numbers == z)
            own = equations.setdefault(z, NormalEquations(descriptor.n_features(1), 1, 1))
            own.add(known[1][atoms], density.dipoles[atoms[:, None], AXES][:, None])
    ridge = descriptor.settings.tensor_ridge * descriptor.penalties(1)
    return {z: own.solve(ridge)[0] for z, own in equations.items()}


@dataclass(frozen=True, eq=False)
class _DensityReference(Reference):
    """The density's blocks in place of those of H."""

    blocks: np.ndarray

    def on_site(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the atoms of an element and their blocks, electrons."""
        atoms = np.flatnonzero(self.structure.numbers == z)
        return atoms, self.blocks[atoms]
