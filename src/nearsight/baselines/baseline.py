"""Baseline: a linear, equivariant model of the Hamiltonian, to which a network's output is added.

Edges get two-centre terms, on-site blocks a regression on the surroundings of the atom. Both are linear least
squares with a unique answer, so a fit takes seconds and needs no choice of a start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight.baselines.h0.edge_terms import H0EdgeTerms, edge_vectors
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.baselines.h0.on_site import predicted_change
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.long_range import ChargeModel, LongRangeDescriptor
from nearsight.baselines.on_site import OnSite
from nearsight.baselines.residual_scale import EdgeScale
from nearsight.baselines.two_centre import TwoCentre
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import ElementPair, group_by_elements
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

CHUNK = 8192
"""Edges computed at once."""

EdgeSelection = slice | Sequence[int] | np.ndarray


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
        first_round: of the on-site regression in a baseline that starts from H₀, else None. `on_site` is then the
            second round; both give the change H − H₀.
        initial_terms: of edges, likewise. `two_centre` is then what they leave.
        charges: of the atoms in a baseline with long range, else None.
    """

    layout: CoupledLayout
    cutoff: float
    two_centre: TwoCentre
    on_site: OnSite
    edge_scales: EdgeScale
    node_scales: dict[int, np.ndarray]
    first_round: OnSite | None = None
    h0_terms: H0EdgeTerms | None = None
    charges: ChargeModel | None = None

    @cached_property
    def table(self) -> IrrepTable:
        """The irreps of the layout."""
        return self.two_centre.table

    @property
    def needs_h0(self) -> bool:
        """Whether it starts from H₀ and S."""
        return self.h0_terms is not None

    def h0_of(self, calculation: Calculation) -> H0Matrices | None:
        """H₀ and S of a calculation, where they are needed.

        Raises:
            InputError: they are needed, and one is missing.
        """
        return H0Matrices.of(calculation) if self.needs_h0 else None

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that were fitted, ascending."""
        return tuple(sorted(self.node_scales))

    def nodes(self, structure: Structure, graph: Graph, h0: H0Matrices | None = None) -> np.ndarray:
        """(N, size) coupled on-site blocks, E_h.

        Args:
            structure: atoms and cell.
            graph: pairs within the baseline's cutoff, or more.
            initial: H₀ and S of the structure; not looked at by a baseline that does not start from H₀.

        Raises:
            InputError: an element that was not fitted, a graph of another structure or of a shorter cutoff, or no H₀
                and S where they are needed, or such as hold sums over periodic images.
        """
        self.check(structure, graph)
        known = self._h0(structure, graph, h0)
        if known is None:
            descriptor = self.on_site.descriptor
            features = descriptor(structure, graph)
            if isinstance(descriptor, LongRangeDescriptor) and self.charges is not None:
                features = descriptor.extended(features, structure, graph, self.charges)
            return self.on_site.of_features(features, structure.numbers)
        blocks = known.on_site(structure, self.layout)[0] + self._change(structure, graph, known)
        return (blocks + self.table.transposed(blocks)) / 2  # symmetric to the last bit

    def edges(
        self,
        structure: Structure,
        graph: Graph,
        chosen: EdgeSelection = slice(None),
        h0: H0Matrices | None = None,
        nodes: np.ndarray | None = None,
    ) -> np.ndarray:
        """(e, size) coupled blocks of the chosen edges, E_h.

        An edge and its reverse are transposes of each other, to the last bit where one call computes both.

        Args:
            structure, graph, initial: as of `nodes`.
            chosen: which edges.
            nodes: what `nodes` returned for this structure, for a caller that takes the edges in pieces; only a
                baseline that starts from H₀ needs it, and computes it where it is None.

        Raises:
            InputError: an element or pair of elements that was not fitted, a graph that does not fit, or H₀ and S as
                of `nodes`.
        """
        self.check(structure, graph)
        known, terms = self._h0(structure, graph, h0), self.h0_terms
        if known is not None:
            change = (
                self._change(structure, graph, known)
                if nodes is None
                else nodes - known.on_site(structure, self.layout)[0]
            )
        edges = np.arange(graph.n_edges)[chosen]
        result = np.zeros((len(edges), self.layout.size))
        for pair, forward, rows, turned in self._oriented(structure, graph, edges):
            distinct, which = np.unique(forward, return_inverse=True)
            blocks = self.two_centre(pair, graph.vector[distinct])
            if known is not None and terms is not None:
                h, s = known.edges(graph, self.layout, pair, distinct)
                ends = change[graph.source[distinct]], change[graph.target[distinct]]
                blocks += terms(pair, edge_vectors(self.table, pair, h, s, *ends), graph.distance[distinct])
            blocks = blocks[which]
            blocks[turned] = self.table.transposed(blocks[turned])
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

    def edge_scale(self, structure: Structure, graph: Graph, chosen: EdgeSelection = slice(None)) -> np.ndarray:
        """(e, K) E_h, positive: r.m.s. of what the baseline leaves of the chosen edges; errors as of `edges`."""
        self.check(structure, graph)
        edges = np.arange(graph.n_edges)[chosen]
        result = np.empty((len(edges), len(self.table.degree)))
        for pair, forward, rows, turned in self._oriented(structure, graph, edges):
            scale = self.edge_scales(pair, np.linalg.norm(graph.vector[forward], axis=1))
            scale[turned] = scale[turned][:, self.table.exchanged]
            result[rows] = scale
        return result

    def _h0(self, structure: Structure, graph: Graph, h0: H0Matrices | None) -> H0Matrices | None:
        """H₀ and S where the baseline starts from them."""
        if self.h0_terms is None:
            return None
        if h0 is None:
            raise InputError(
                f"expected H₀ and S of {structure.formula}, from which this baseline starts, got none; "
                "add H₀ to the structure's file with `nearsight import SOURCE --h0 FILE -o OUTPUT`"
            )
        h0.check(structure, self.layout)
        h0.check_single_images(graph, self.cutoff)
        return h0

    def _change(self, structure: Structure, graph: Graph, known: H0Matrices) -> np.ndarray:
        assert self.first_round is not None
        return predicted_change(self.first_round, self.on_site, structure, graph, known)

    def check(self, structure: Structure, graph: Graph) -> None:
        """Raises InputError for a graph of another structure or a shorter cutoff, or an element not fitted."""
        if graph.n_nodes != len(structure):
            raise InputError(f"expected a graph of the structure's {len(structure)} atoms, got {graph.n_nodes}")
        if graph.cutoff < self.cutoff - 1e-9:
            raise InputError(
                f"expected a graph of at least the baseline's cutoff {self.cutoff} Å, got "
                f"{graph.cutoff} Å; build it with the baseline's cutoff"
            )
        self._check_elements(structure)

    def _check_elements(self, structure: Structure) -> None:
        unknown = [symbol_of(z) for z in structure.elements if z not in self.node_scales]
        if unknown:
            known = ", ".join(symbol_of(z) for z in self.elements)
            raise InputError(
                f"expected elements that the baseline was fitted on ({known}), got {', '.join(unknown)} "
                f"in {structure.formula}; fit it on data that holds them"
            )

    def _check_pairs(self, pairs: Sequence[ElementPair]) -> None:
        fitted = self.two_centre.coefficients
        unknown = [pair_name(pair) for pair in pairs if pair not in fitted]
        if unknown:
            raise InputError(
                f"expected pairs of elements that the baseline was fitted on "
                f"({', '.join(map(pair_name, fitted)) or 'none'}), got {', '.join(unknown)}; fit it on "
                f"data that holds such pairs within {self.cutoff} Å"
            )

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
