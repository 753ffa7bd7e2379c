"""DensityStart: the density of every atom regressed from its surroundings, where a self-consistent iteration begins.

Much nearer to the solution than the density of a local model's H, and no diagonalisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import EnvironmentDescriptor, OnSite, fit_on_site
from nearsight.baselines.reference import Reference
from nearsight.baselines.settings import BaselineSettings
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.atomic_density import AtomicDensity
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class DensityStart:
    """Own blocks of the density matrix as linear functions of environments.

    Attributes
    ----------
    on_site : OnSite
        The regressions, in electrons.
    """

    on_site: OnSite

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
        blocks, layout = self.on_site(structure, graph), self.on_site.descriptor.table.layout
        charges = np.empty(len(structure))
        for z in structure.elements:
            atoms = np.flatnonzero(structure.numbers == z)
            populations = np.trace(layout.uncouple(blocks[atoms], z, z), axis1=1, axis2=2)
            charges[atoms] = valence[z] - populations
        return AtomicDensity(charges - charges.mean() + charge / len(structure), blocks)


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
    references = [_density_reference(c, d, layout, cutoff) for c, d in zip(calculations, densities)]
    features = [descriptor(r.structure, r.graph) for r in references]
    return DensityStart(fit_on_site(descriptor, references, features)[0])


@dataclass(frozen=True, eq=False)
class _DensityReference(Reference):
    """The density's blocks in place of those of H."""

    blocks: np.ndarray

    def on_site(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the atoms of an element and their blocks, electrons."""
        atoms = np.flatnonzero(self.structure.numbers == z)
        return atoms, self.blocks[atoms]


def _density_reference(
    calculation: Calculation, density: AtomicDensity, layout: CoupledLayout, cutoff: float
) -> _DensityReference:
    known = Reference.of(calculation, layout, cutoff)
    return _DensityReference(known.structure, known.graph, known.hamiltonian, known.layout, density.blocks)
