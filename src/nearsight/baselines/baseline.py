"""Baseline: a linear, equivariant model of the Hamiltonian, to which a network's output is added.

Edges get two-centre terms, on-site blocks a regression on the densities of the neighbours. Both are linear least
squares with a unique answer, so a fit takes seconds and needs no choice of a start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import OnSite
from nearsight.baselines.residual_scale import EdgeScale
from nearsight.baselines.two_centre import TwoCentre
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import ElementPair, group_by_elements
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

CHUNK = 8192
"""Edges computed at once."""

Chosen = slice | Sequence[int] | np.ndarray


@dataclass(frozen=True, eq=False)
class Baseline:
    """Terms for edges and atoms with the scales of what they leave, per irrep.

    Attributes:
        layout: coupled layout of the outputs, `size` numbers in K irreps.
        cutoff: Å, of the graph.
        two_centre: the edges.
        on_site: the atoms.
        edge_scales: r.m.s. of the residual of edges.
        node_scales: Z → (K,) E_h, r.m.s. of the residual of on-site blocks of atoms that were not fitted.
    """

    layout: CoupledLayout
    cutoff: float
    two_centre: TwoCentre
    on_site: OnSite
    edge_scales: EdgeScale
    node_scales: dict[int, np.ndarray]

    @cached_property
    def table(self) -> IrrepTable:
        """The irreps of the layout."""
        return self.two_centre.table

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that were fitted, ascending."""
        return tuple(sorted(self.node_scales))

    def nodes(self, structure: Structure, graph: Graph) -> np.ndarray:
        """(N, size) coupled on-site blocks, E_h.

        Raises:
            InputError: an element that was not fitted, or a graph of another structure or of a shorter cutoff.
        """
        self.check(structure, graph)
        return self.on_site(structure, graph)

    def edges(self, structure: Structure, graph: Graph, chosen: Chosen = slice(None)) -> np.ndarray:
        """(e, size) coupled blocks of the chosen edges, E_h.

        An edge and its reverse are transposes of each other, to the last bit where one call computes both.

        Raises:
            InputError: an element or pair of elements that was not fitted, or a graph that does not fit.
        """
        self.check(structure, graph)
        edges = np.arange(graph.n_edges)[chosen]
        result = np.zeros((len(edges), self.layout.size))
        for pair, forward, rows, turned in self._oriented(structure, graph, edges):
            distinct, which = np.unique(forward, return_inverse=True)
            blocks = self.two_centre(pair, graph.vector[distinct])[which]
            blocks[turned] = blocks[turned][:, self.table.exchanged_columns]
            result[rows] = blocks
        return result

    def node_scale(self, structure: Structure) -> np.ndarray:
        """(N, K) E_h, positive: r.m.s. of what the baseline leaves of unseen on-site blocks.

        Raises:
            InputError: an element that was not fitted.
        """
        self._check_elements(structure)
        result = np.empty((len(structure), len(self.table.degree)))
        for z in structure.elements:
            result[structure.numbers == z] = self.node_scales[z]
        return result

    def edge_scale(self, structure: Structure, graph: Graph, chosen: Chosen = slice(None)) -> np.ndarray:
        """(e, K) E_h, positive: r.m.s. of what the baseline leaves of the chosen edges; errors as of `edges`."""
        self.check(structure, graph)
        edges = np.arange(graph.n_edges)[chosen]
        result = np.empty((len(edges), len(self.table.degree)))
        for pair, forward, rows, turned in self._oriented(structure, graph, edges):
            scale = self.edge_scales(pair, np.linalg.norm(graph.vector[forward], axis=1))
            scale[turned] = scale[turned][:, self.table.exchanged]
            result[rows] = scale
        return result

    def check(self, structure: Structure, graph: Graph) -> None:
        """Raises InputError for a graph of another structure or a shorter cutoff, or an element not fitted."""
        if graph.n_nodes != len(structure):
            raise InputError(f"expected a graph of the structure's {len(structure)} atoms, got {graph.n_nodes}")
        if graph.cutoff < self.cutoff - 1e-9:
            raise InputError(f"expected a graph of at least the baseline's cutoff {self.cutoff} Å, got "
                             f"{graph.cutoff} Å; build it with the baseline's cutoff")
        self._check_elements(structure)

    def _check_elements(self, structure: Structure) -> None:
        unknown = [symbol_of(z) for z in structure.elements if z not in self.node_scales]
        if unknown:
            known = ", ".join(symbol_of(z) for z in self.elements)
            raise InputError(f"expected elements that the baseline was fitted on ({known}), got {', '.join(unknown)} "
                             f"in {structure.formula}; fit it on data that holds them")

    def _check_pairs(self, pairs: Sequence[ElementPair]) -> None:
        fitted = self.two_centre.coefficients
        unknown = [pair_name(pair) for pair in pairs if pair not in fitted]
        if unknown:
            raise InputError(f"expected pairs of elements that the baseline was fitted on "
                             f"({', '.join(map(pair_name, fitted)) or 'none'}), got {', '.join(unknown)}; fit it on "
                             f"data that holds such pairs within {self.cutoff} Å")

    def _oriented(
        self, structure: Structure, graph: Graph, edges: np.ndarray
    ) -> list[tuple[ElementPair, np.ndarray, np.ndarray, np.ndarray]]:
        """The chosen edges in chunks: (Z_i ≤ Z_j), the edge in this direction that stands for each, its row, and
        whether it is the reverse of that edge. Both directions of a pair are in one chunk."""
        zi, zj = structure.numbers[graph.source[edges]], structure.numbers[graph.target[edges]]
        reverse = graph.reverse[edges]
        turned = (zi > zj) | ((zi == zj) & (reverse < edges))
        forward = np.where(turned, reverse, edges)
        groups = group_by_elements(structure.numbers, graph.source[forward], graph.target[forward])
        self._check_pairs(list(groups))
        chunks = []
        for pair, rows in groups.items():
            rows = rows[np.argsort(forward[rows], kind="stable")]
            same = np.concatenate([[False], np.diff(forward[rows]) == 0])
            cuts = [k - int(same[k]) for k in range(CHUNK, len(rows), CHUNK)]
            chunks += [(pair, forward[part], part, turned[part]) for part in np.split(rows, cuts)]
        return chunks


def pair_name(pair: ElementPair) -> str:
    """Such as `O-Hf`."""
    return f"{symbol_of(pair[0])}-{symbol_of(pair[1])}"
