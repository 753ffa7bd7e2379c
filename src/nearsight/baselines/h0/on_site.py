"""The change H − H₀ of the on-site blocks, in two rounds of the on-site regression.

The second round knows what the first one says of the neighbours, through the overlap products.

What the on-site regression knows about an atom where H₀ and S are known too.

In a first round the irreps of H₀'s own on-site block, besides the densities of the neighbours; in a second one also the
overlap products, which carry the first round's answer from the neighbours to the atom.

Overlap products: what the neighbours' matrices look like from an atom, as blocks of its own orbitals.

    Σ_k S_ik D_k S_ki    the neighbours' change of the potential, where the atom's orbitals overlap theirs
    Σ_k ½ (H₀_ik S_ki + S_ik H₀_ki)    how strongly the atom's orbitals are bound to them
    Σ_k S_ik S_ki    by how much the first two change with the zero of energy

over the neighbours k (and images) of one element each. All turn with the structure as on-site blocks do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.baselines.h0.reference import H0Reference
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import EnvironmentDescriptor, Features, LeaveOneOut, OnSite, fit_on_site
from nearsight.baselines.settings import BaselineSettings
from nearsight.operators.blocks import group_by_elements
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

CHUNK = 8192
"""Edges whose blocks are held at once."""

PER_ELEMENT = 3
"""Products for each element of the neighbours."""


def overlap_products(
    structure: Structure, graph: Graph, cutoff: float, layout: CoupledLayout, h0: H0Matrices, change: np.ndarray
) -> np.ndarray:
    """(N, 3 · elements, size) coupled products, E_h (the third 1).

    Args:
        structure: atoms and cell.
        graph: pairs within the cutoff, or more.
        cutoff: Å; neighbours are nearer.
        layout: its elements are those of the neighbours.
        initial: H₀ and S, which know every edge of the atoms whose products are looked at.
        change: (N, size) coupled D, E_h.
    """
    result = np.zeros((len(structure), PER_ELEMENT * len(layout.elements), layout.size))
    near = np.flatnonzero(graph.distance < cutoff)
    for pair, places in group_by_elements(structure.numbers, graph.source[near], graph.target[near]).items():
        kind = PER_ELEMENT * layout.elements.index(pair[1])
        size = layout.basis.n_orbitals(pair[0])
        sums = np.zeros((len(structure), PER_ELEMENT, size, size))
        for start in range(0, len(places), CHUNK):
            edges = near[places[start : start + CHUNK]]
            first, last = int(graph.source[edges[0]]), int(graph.source[edges[-1]]) + 1
            h, s = (layout.uncouple(part, *pair) for part in h0.edges(graph, layout, pair, edges))
            d = layout.uncouple(change[graph.target[edges]], pair[1], pair[1])
            products = np.stack([s @ d, h, s], axis=1) @ s.transpose(0, 2, 1)[:, None]
            begins = np.searchsorted(graph.source[edges], np.arange(first, last))
            filled = np.diff(np.append(begins, len(edges))) > 0
            sums[first:last][filled] += np.add.reduceat(products, begins[filled])
        atoms = np.unique(graph.source[near[places]])
        for place in range(PER_ELEMENT):
            block = (sums[atoms, place] + sums[atoms, place].transpose(0, 2, 1)) / 2
            result[atoms, kind + place] = layout.couple(block, pair[0], pair[0])
    return result


SCALE = 10.0
"""What comes from H₀ varies by a tenth of what densities do, and the regression takes features to be alike."""


@dataclass(frozen=True)
class FirstRoundDescriptor(EnvironmentDescriptor):
    """The densities of the neighbours, and the irreps of H₀'s own on-site block."""

    def penalties(self, degree: int) -> np.ndarray:
        """(F_l,), those of H₀ included."""
        return np.append(super().penalties(degree), np.ones(len(irreps_once(self.table, degree))))


@dataclass(frozen=True)
class SecondRoundDescriptor(FirstRoundDescriptor):
    """The same, and the overlap products."""

    def penalties(self, degree: int) -> np.ndarray:
        """(F_l,), those of the products included."""
        n_products = PER_ELEMENT * len(self.table.layout.elements)
        return np.append(super().penalties(degree), np.ones(n_products * len(irreps_once(self.table, degree))))


def with_blocks(table: IrrepTable, features: Features, blocks: np.ndarray) -> Features:
    """Features (N, F_l, 2l+1) of all degrees, the irreps of further blocks added to those at hand.

    Args:
        table: the irreps.
        features: for each degree.
        blocks: (N, B, size) coupled symmetric on-site blocks.
    """
    result = []
    for degree, part in enumerate(features):
        irreps = irreps_once(table, degree)
        if len(irreps):
            own = SCALE * blocks[:, :, table.columns(irreps)]
            part = np.concatenate([part, own.reshape(len(own), -1, 2 * degree + 1)], axis=1)
        result.append(part)
    return tuple(result)


def irreps_once(table: IrrepTable, degree: int) -> np.ndarray:
    """Natural irreps of any element's on-site block, each once; elements without one have zeros there."""
    filled = np.any([table.filled(z, z) for z in table.layout.elements], axis=0)
    once = np.arange(len(table.degree)) <= table.exchanged
    return np.flatnonzero(filled & once & (table.degree == degree))


@dataclass(frozen=True, eq=False)
class TwoRoundFit:
    """Both rounds; the references with the change that unseen atoms would be given; what the second round leaves."""

    first: OnSite
    second: OnSite
    references: list[H0Reference]
    left: list[dict[int, LeaveOneOut]]


def predicted_change(first: OnSite, second: OnSite, structure: Structure, graph: Graph, h0: H0Matrices) -> np.ndarray:
    """(N, size) coupled H − H₀ of the on-site blocks, E_h; H₀ and S must tell the images of every edge apart."""
    features = first_round_features(first.descriptor, structure, graph, h0)
    change = first.of_features(features, structure.numbers)
    features = second_round_features(second.descriptor, features, structure, graph, h0, change)
    return second.of_features(features, structure.numbers)


def fit_two_rounds(
    references: Sequence[H0Reference], table: IrrepTable, cutoff: float, settings: BaselineSettings
) -> TwoRoundFit:
    """Both rounds, fitted to one or more structures."""
    descriptor = FirstRoundDescriptor(table, cutoff, settings)
    features = [first_round_features(descriptor, r.structure, r.graph, r.h0) for r in references]
    first, left = fit_on_site(descriptor, references, features)
    changed = [_with_change(*parts, first) for parts in zip(references, features, left)]
    further = SecondRoundDescriptor(table, cutoff, settings)
    features = [
        second_round_features(further, known, r.structure, r.graph, r.h0, np.asarray(r.change))
        for known, r in zip(features, changed)
    ]
    second, left = fit_on_site(further, changed, features)
    return TwoRoundFit(first, second, [_with_change(*parts, second) for parts in zip(changed, features, left)], left)


def first_round_features(
    descriptor: EnvironmentDescriptor, structure: Structure, graph: Graph, h0: H0Matrices
) -> Features:
    """Of every atom: densities and H₀'s own block."""
    own = h0.on_site(structure, descriptor.table.layout)[0]
    return with_blocks(descriptor.table, descriptor(structure, graph), own[:, None])


def second_round_features(
    descriptor: EnvironmentDescriptor,
    features: Features,
    structure: Structure,
    graph: Graph,
    h0: H0Matrices,
    change: np.ndarray,
) -> Features:
    """The same and the overlap products, from the first round's change (N, size), E_h."""
    products = overlap_products(structure, graph, descriptor.cutoff, descriptor.table.layout, h0, change)
    return with_blocks(descriptor.table, features, products)


def _with_change(
    reference: H0Reference, features: Features, left: dict[int, LeaveOneOut], on_site: OnSite
) -> H0Reference:
    """The reference with the change as predicted for unseen atoms: nothing shall be learnt from anything better."""
    change = on_site.of_features(features, reference.structure.numbers)
    for part in left.values():
        change[part.atoms] = part.blocks - part.residual
    return replace(reference, change=change)
