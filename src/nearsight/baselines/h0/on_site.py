"""The change H − H₀ of the on-site blocks, in two rounds of the on-site regression.

The first round knows the densities of the neighbours and the irreps of H₀'s own on-site block. The second one also
knows the overlap products, which carry the first round's answer from the neighbours to the atom.

Overlap products describe what the neighbours' matrices look like from an atom, as blocks of its own orbitals,

    Σ_k S_ik D_k S_ki    the neighbours' change of the potential, where the atom's orbitals overlap theirs
    Σ_k ½ (H₀_ik S_ki + S_ik H₀_ki)    how strongly the atom's orbitals are bound to them
    Σ_k S_ik S_ki    by how much the first two change with the zero of energy

over the neighbours k (and images) of one element each. All rotate with the structure as on-site blocks do.
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
    """Compute the overlap products of all atoms.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.
    graph : Graph
        Pairs within the cutoff, or more.
    cutoff : float
        Å; neighbours are nearer.
    layout : CoupledLayout
        Its elements are those of the neighbours.
    h0 : H0Matrices
        H₀ and S, which know every edge of the atoms whose products are looked at.
    change : (N, size) array of float
        Coupled D, E_h.

    Returns
    -------
    (N, 3 · elements, size) array of float64
        Coupled products, E_h (the third kind: 1).
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
"""Features from H₀ vary by a tenth of what densities do, and the regression takes features to be alike."""


@dataclass(frozen=True)
class FirstRoundDescriptor(EnvironmentDescriptor):
    """The descriptor of the first round: densities of the neighbours, and the irreps of H₀'s own on-site block."""

    def penalties(self, degree: int) -> np.ndarray:
        """Return the relative penalties (F_l,) of all features of a degree, those of H₀ included."""
        return np.append(super().penalties(degree), np.ones(len(irreps_once(self.table, degree))))


@dataclass(frozen=True)
class SecondRoundDescriptor(FirstRoundDescriptor):
    """The descriptor of the second round: that of the first one, and the overlap products."""

    def penalties(self, degree: int) -> np.ndarray:
        """Return the relative penalties (F_l,) of all features of a degree, those of the products included."""
        n_products = PER_ELEMENT * len(self.table.layout.elements)
        return np.append(super().penalties(degree), np.ones(n_products * len(irreps_once(self.table, degree))))


def with_blocks(table: IrrepTable, features: Features, blocks: np.ndarray) -> Features:
    """Add the irreps of further blocks to features.

    Parameters
    ----------
    table : IrrepTable
        The irreps.
    features : tuple of (N, F_l, 2l+1) array
        One array for each degree l.
    blocks : (N, B, size) array of float
        Coupled symmetric on-site blocks.

    Returns
    -------
    tuple of (N, F_l, 2l+1) array
        All features.
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
    """List the natural irreps of one degree of any element's on-site block, each once.

    Elements without an irrep have zeros there.

    Parameters
    ----------
    table : IrrepTable
        The irreps.
    degree : int
        L.

    Returns
    -------
    array of int64
        Positions of the irreps.
    """
    filled = np.any([table.filled(z, z) for z in table.layout.elements], axis=0)
    once = np.arange(len(table.degree)) <= table.exchanged
    return np.flatnonzero(filled & once & (table.degree == degree))


@dataclass(frozen=True, eq=False)
class TwoRoundFit:
    """The result of both rounds.

    Attributes
    ----------
    first, second : OnSite
        The regressions.
    references : list of H0Reference
        The references with the change that unseen atoms would be given.
    residuals : list of dict of int to LeaveOneOut
        For each structure, Z → leave-one-out residuals of the second round.
    """

    first: OnSite
    second: OnSite
    references: list[H0Reference]
    residuals: list[dict[int, LeaveOneOut]]


def predicted_change(first: OnSite, second: OnSite, structure: Structure, graph: Graph, h0: H0Matrices) -> np.ndarray:
    """Predict the change H − H₀ of the on-site blocks.

    Parameters
    ----------
    first, second : OnSite
        Both rounds.
    structure : Structure
        Atoms and cell.
    graph : Graph
        Pairs within the cutoff, or more.
    h0 : H0Matrices
        H₀ and S, which must tell the images of every edge apart.

    Returns
    -------
    (N, size) array of float64
        Coupled blocks, E_h.
    """
    features = first_round_features(first.descriptor, structure, graph, h0)
    change = first.of_features(features, structure.numbers)
    features = second_round_features(second.descriptor, features, structure, graph, h0, change)
    return second.of_features(features, structure.numbers)


def fit_two_rounds(
    references: Sequence[H0Reference], table: IrrepTable, cutoff: float, settings: BaselineSettings
) -> TwoRoundFit:
    """Fit both rounds to one or more structures.

    Parameters
    ----------
    references : sequence of H0Reference
        The blocks to be learnt.
    table : IrrepTable
        The irreps.
    cutoff : float
        Å.
    settings : BaselineSettings
        Numbers of functions and penalties.

    Returns
    -------
    TwoRoundFit
        Regressions, references and residuals.
    """
    descriptor = FirstRoundDescriptor(table, cutoff, settings)
    features = [first_round_features(descriptor, r.structure, r.graph, r.h0) for r in references]
    first, residuals = fit_on_site(descriptor, references, features)
    changed = [_with_change(*parts, first) for parts in zip(references, features, residuals)]
    further = SecondRoundDescriptor(table, cutoff, settings)
    features = [
        second_round_features(further, known, r.structure, r.graph, r.h0, np.asarray(r.change))
        for known, r in zip(features, changed)
    ]
    second, residuals = fit_on_site(further, changed, features)
    return TwoRoundFit(
        first, second, [_with_change(*parts, second) for parts in zip(changed, features, residuals)], residuals
    )


def first_round_features(
    descriptor: EnvironmentDescriptor, structure: Structure, graph: Graph, h0: H0Matrices
) -> Features:
    """Compute the features of the first round: densities and H₀'s own block.

    Parameters
    ----------
    descriptor : EnvironmentDescriptor
        A `FirstRoundDescriptor`.
    structure : Structure
        Atoms and cell.
    graph : Graph
        Pairs within the cutoff, or more.
    h0 : H0Matrices
        H₀ and S.

    Returns
    -------
    tuple of (N, F_l, 2l+1) array of float64
        One array for each degree l.
    """
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
    """Compute the features of the second round: those of the first one and the overlap products.

    Parameters
    ----------
    descriptor : EnvironmentDescriptor
        A `SecondRoundDescriptor`.
    features : tuple of (N, F_l, 2l+1) array
        Features of the first round.
    structure : Structure
        Atoms and cell.
    graph : Graph
        Pairs within the cutoff, or more.
    h0 : H0Matrices
        H₀ and S.
    change : (N, size) array of float
        The first round's prediction, E_h.

    Returns
    -------
    tuple of (N, F_l, 2l+1) array of float64
        One array for each degree l.
    """
    products = overlap_products(structure, graph, descriptor.cutoff, descriptor.table.layout, h0, change)
    return with_blocks(descriptor.table, features, products)


def _with_change(
    reference: H0Reference, features: Features, residuals: dict[int, LeaveOneOut], on_site: OnSite
) -> H0Reference:
    """The reference with the change as predicted for unseen atoms: nothing shall be learnt from anything better."""
    change = on_site.of_features(features, reference.structure.numbers)
    for part in residuals.values():
        change[part.atoms] = part.blocks - part.residual
    return replace(reference, change=change)
