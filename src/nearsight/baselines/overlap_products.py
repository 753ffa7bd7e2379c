"""Overlap products: what the neighbours' matrices look like from an atom, as blocks of its own orbitals.

    Σ_k S_ik D_k S_ki    the neighbours' change of the potential, where the atom's orbitals overlap theirs
    Σ_k ½ (H₀_ik S_ki + S_ik H₀_ki)    how strongly the atom's orbitals are bound to them
    Σ_k S_ik S_ki    by how much the first two change with the zero of energy

over the neighbours k (and images) of one element each. All turn with the structure as on-site blocks do.
"""

from __future__ import annotations

import numpy as np

from nearsight.baselines.initial_matrices import InitialMatrices
from nearsight.operators.blocks import group_by_elements
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

CHUNK = 8192
"""Edges whose blocks are held at once."""

PER_ELEMENT = 3
"""Products for each element of the neighbours."""


def overlap_products(
    structure: Structure, graph: Graph, cutoff: float, layout: CoupledLayout, initial: InitialMatrices,
    change: np.ndarray,
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
            edges = near[places[start:start + CHUNK]]
            first, last = int(graph.source[edges[0]]), int(graph.source[edges[-1]]) + 1
            h, s = (layout.uncouple(part, *pair) for part in initial.edges(graph, layout, pair, edges))
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
