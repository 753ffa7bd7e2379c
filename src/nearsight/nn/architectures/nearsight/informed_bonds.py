"""The bond functional of informed terms: its features on the bonds of the network, and its fit to the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nearsight.baselines.bond_scale import max_shell
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.reference import single_images
from nearsight.baselines.two_centre import TwoCentre
from nearsight.nn.architectures.nearsight.graph import canonical_edges
from nearsight.operators.blocks import BlockOperator, ElementPair
from nearsight.operators.calculation import Calculation
from nearsight.operators.third_atoms import Shell
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import bond_frames, wigner_d
from nearsight.self_consistency.bond_features import BondFeatures, Edges, Frames, means_of_atoms, told_of_atoms
from nearsight.self_consistency.bond_functional import BondFunctional, BondSamples, fit_bonds
from nearsight.self_consistency.functional import FittedFunctional
from nearsight.structures.graph import Graph, build_graph
from nearsight.units import HARTREE_IN_EV

Blocks = Mapping[ElementPair, np.ndarray]
"""Pair of elements → (e, n_i, n_j) blocks of its canonical edges, E_h."""


@dataclass(frozen=True, eq=False)
class FittedBonds:
    """A bond functional with what it makes of the structures it was fitted to.

    Attributes
    ----------
    functional : BondFunctional
        The functional.
    unseen : sequence of mapping of (int, int) to (e, n_i, n_j) array
        E_h, blocks of each structure as predicted by fits without the bond itself.
    """

    functional: BondFunctional
    unseen: Sequence[Blocks]


class StructureBonds:
    """The bonds of one structure as a bond functional sees them.

    Parameters
    ----------
    functional : BondFunctional
        Whose features; it needs no weights.
    calculation : Calculation
        The structure and its overlap.
    """

    def __init__(self, functional: BondFunctional, calculation: Calculation) -> None:
        self.functional, self.numbers = functional, calculation.structure.numbers
        self.graph: Graph = build_graph(calculation.structure, functional.cutoff)
        found = canonical_edges(calculation.structure, self.graph)
        self.edges = {pair: own for pair, own in found.items() if pair in functional.layouts}
        self.frames = {
            pair: wigner_d(bond_frames(self.graph.vector[own]), max_shell(functional.layouts[pair]))
            for pair, own in self.edges.items()
        }
        self.features: BondFeatures = functional.features(
            self.graph, calculation.require_overlap(), self.edges, self.frames
        )

    def samples(self, on_site: np.ndarray, net: np.ndarray) -> dict[ElementPair, BondSamples]:
        """Return the features for on-site blocks (N, size), E_h, and net populations (N, size)."""
        own = self.functional
        layout = next(iter(own.layouts.values())).layout
        near, beside = self.features.near(), self.features.beside()
        atoms = told_of_atoms(layout, self.numbers, on_site, net, own.means)
        told = self.features.of_density(near, self.features.overlaps(near), atoms)
        return {
            pair: BondSamples(self.graph.distance[edges], beside[pair], near[pair], told[pair])
            for pair, edges in self.edges.items()
        }

    def blocks(self, columns: Mapping[ElementPair, np.ndarray]) -> dict[ElementPair, np.ndarray]:
        """Return columns as blocks on the common axes."""
        return {pair: self.functional.layouts[pair].blocks_of(own, self.frames[pair]) for pair, own in columns.items()}


class BoundBonds:
    """A bond functional at work on one structure; what does not depend on the density is computed once.

    Parameters
    ----------
    functional : BondFunctional
        With its weights; of pairs of elements that it does not know it says nothing.
    calculation : Calculation
        The structure and its overlap.
    graph : Graph
        Atoms and edges.
    edges, frames : mapping of (int, int) to array, and to sequence of array
        The bonds of each pair of elements, and their frames.
    """

    def __init__(
        self, functional: BondFunctional, calculation: Calculation, graph: Graph, edges: Edges, frames: Frames
    ) -> None:
        self.functional, self.numbers, self.graph = functional, calculation.structure.numbers, graph
        known = {pair: own for pair, own in edges.items() if pair in functional.layouts}
        self._features = functional.features(graph, calculation.require_overlap(), known, frames)
        self._near = self._features.near()
        self._overlaps = self._features.overlaps(self._near)
        distance = graph.distance
        self._fixed = {
            pair: functional.beside(pair, distance[known[pair]], beside)
            for pair, beside in self._features.beside().items()
        }
        self._distance = {pair: distance[known[pair]][own] for pair, own in self._near.items()}
        self._unknown = {pair: np.zeros(1) for pair in edges if pair not in known}

    def __call__(self, on_site: np.ndarray, net: np.ndarray) -> dict[ElementPair, np.ndarray]:
        """Return the blocks of all bonds in columns, E_h, for on-site blocks (N, size), E_h, and net populations."""
        own, result = self.functional, {pair: fixed.copy() for pair, fixed in self._fixed.items()}
        if result:
            layout = next(iter(own.layouts.values())).layout
            atoms = told_of_atoms(layout, self.numbers, on_site, net, own.means)
            for pair, told in self._features.of_density(self._near, self._overlaps, atoms).items():
                result[pair][self._near[pair]] += own.of_density(pair, self._distance[pair], told)
        return result | self._unknown


def fit_informed_bonds(
    calculations: Sequence[Calculation], fitted: FittedFunctional, two_centre: TwoCentre, cutoff: float
) -> FittedBonds:
    """Fit a bond functional to what two-centre terms leave.

    Parameters
    ----------
    calculations : sequence of Calculation
        H without what the potential adds through S, and S.
    fitted : FittedFunctional
        Densities and on-site blocks of these structures.
    two_centre : TwoCentre
        Terms of H that are subtracted.
    cutoff : float
        Å.
    """
    layout = fitted.functional.layout
    pairs = sorted(
        {pair for c in calculations for pair in canonical_edges(c.structure, build_graph(c.structure, cutoff))}
    )
    means = _means(calculations, fitted, layout)
    shells = _shells(calculations)
    empty = BondFunctional({p: BondLayout(layout, p) for p in pairs}, shells, cutoff, means, {})
    samples, targets, usable, seen = [], [], [], []
    for calculation, density, on_site in zip(calculations, fitted.densities, fitted.unseen):
        bonds = StructureBonds(empty, calculation)
        samples.append(bonds.samples(on_site, density.net))
        found, known = _targets(bonds, calculation, two_centre)
        targets.append(found)
        usable.append(known)
        seen.append(bonds)
    functional, unseen = fit_bonds(empty, samples, targets, usable)
    return FittedBonds(functional, [bonds.blocks(own) for bonds, own in zip(seen, unseen)])


def predicted_bonds(
    functional: BondFunctional, calculations: Sequence[Calculation], known: FittedFunctional
) -> FittedBonds:
    """Return what a bond functional makes of other structures than those of its fit."""
    blocks = []
    for calculation, density, on_site in zip(calculations, known.densities, known.unseen):
        bonds = StructureBonds(functional, calculation)
        samples = bonds.samples(on_site, density.net)
        blocks.append(bonds.blocks({pair: functional(pair, own) for pair, own in samples.items()}))
    return FittedBonds(functional, blocks)


def without_bonds(calculation: Calculation, blocks: Blocks, cutoff: float) -> Calculation:
    """Return a calculation whose H lacks blocks (E_h) between atoms."""
    h, graph = calculation.require_hamiltonian(), build_graph(calculation.structure, cutoff)
    values = h.values.astype(np.float64)
    edges = canonical_edges(calculation.structure, graph)
    for pair, own in blocks.items():
        for along, part in ((edges[pair], own), (graph.reverse[edges[pair]], own.transpose(0, 2, 1))):
            _subtract(h, values, graph, along, HARTREE_IN_EV * part)
    return replace(calculation, hamiltonian=h.with_values(values))


def _subtract(h: BlockOperator, values: np.ndarray, graph: Graph, edges: np.ndarray, blocks: np.ndarray) -> None:
    shift = graph.shift[edges] * (0 if h.folded else 1)
    found = h.find(graph.source[edges], graph.target[edges], shift)
    stored = np.flatnonzero(found >= 0)
    places = h.offsets[found[stored]][:, None] + np.arange(blocks.shape[1] * blocks.shape[2])
    np.subtract.at(values, places, blocks[stored].reshape(places.shape))


def _targets(
    bonds: StructureBonds, calculation: Calculation, two_centre: TwoCentre
) -> tuple[dict[ElementPair, np.ndarray], dict[ElementPair, np.ndarray]]:
    h, graph = calculation.require_hamiltonian(), bonds.graph
    single = single_images(graph) if h.folded else np.ones(graph.n_edges, dtype=bool)
    targets = {}
    for pair, edges in bonds.edges.items():
        layout = bonds.functional.layouts[pair]
        shift = None if h.folded else graph.shift[edges]
        exact = h.blocks(pair, graph.source[edges], graph.target[edges], shift) / HARTREE_IN_EV
        rest = exact - layout.layout.uncouple(two_centre(pair, graph.vector[edges]), *pair)
        targets[pair] = layout.columns_of(rest, bonds.frames[pair])
    return targets, {pair: single[edges] for pair, edges in bonds.edges.items()}


def _shells(calculations: Sequence[Calculation]) -> list[Shell]:
    found = {(z, k) for c in calculations for z in c.structure.elements for k in range(len(c.basis.shells[z]))}
    return sorted(found)


def _means(
    calculations: Sequence[Calculation], fitted: FittedFunctional, layout: CoupledLayout
) -> dict[int, np.ndarray]:
    numbers = [c.structure.numbers for c in calculations]
    told = [
        told_of_atoms(layout, own, on_site, density.net)
        for own, on_site, density in zip(numbers, fitted.unseen, fitted.densities)
    ]
    return means_of_atoms(IrrepTable(layout), numbers, told)
