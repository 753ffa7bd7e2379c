"""The baseline: a linear, equivariant model of the Hamiltonian, to which a network's output is added.

Edges get two-centre terms, on-site blocks a regression on the environment of the atom. Both are linear least squares
with a unique solution, so a fit takes seconds and needs no initial guess.
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
from nearsight.baselines.two_centre import TwoCentre
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import ElementPair, group_by_elements
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

CHUNK = 8192
"""Edges that are computed at once."""
ATOMS = 1024
"""Atoms whose features are held at once: 30 to 100 kB each."""

EdgeSelection = slice | Sequence[int] | np.ndarray


@dataclass(frozen=True, eq=False)
class Baseline:
    """Two-centre and on-site terms, with the scales of their residuals for each irrep.

    Attributes
    ----------
    layout : CoupledLayout
        Coupled layout of the outputs, `size` numbers in K irreps.
    cutoff : float
        Å, of the graph.
    two_centre : TwoCentre
        Terms of the edges.
    on_site : OnSite
        Terms of the atoms.
    node_scales : dict of int to (K,) array of float64
        Z → r.m.s. of the leave-one-out residuals of on-site blocks, E_h.
    first_round : OnSite or None
        First round of the on-site regression in a baseline that starts from H₀. `on_site` is then the second round;
        both give the change H − H₀.
    h0_terms : H0EdgeTerms or None
        Terms of the edges in a baseline that starts from H₀. `two_centre` then describes their residual.
    charges : ChargeModel or None
        Charges of the atoms in a baseline with long range.
    """

    layout: CoupledLayout
    cutoff: float
    two_centre: TwoCentre
    on_site: OnSite
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
        """Whether the baseline starts from H₀ and S."""
        return self.h0_terms is not None

    def h0_of(self, calculation: Calculation) -> H0Matrices | None:
        """Take H₀ and S from a calculation, if the baseline needs them.

        Parameters
        ----------
        calculation : Calculation
            The calculation that holds them.

        Returns
        -------
        H0Matrices or None
            None for a baseline that does not start from H₀.

        Raises
        ------
        InputError
            If they are needed, and one is missing.
        """
        return H0Matrices.of(calculation) if self.needs_h0 else None

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers of the elements that were fitted, ascending."""
        return tuple(sorted(self.node_scales))

    @property
    def reach(self) -> float | None:
        """Å, beyond which nothing matters for an atom's on-site block; None where the whole structure does."""
        if self.charges is not None or self.needs_h0:
            return None
        return self.cutoff * (1 if self.on_site.descriptor.settings.strictly_local else 2)

    def nodes(
        self, structure: Structure, graph: Graph, h0: H0Matrices | None = None, atoms: np.ndarray | None = None
    ) -> np.ndarray:
        """Predict the on-site blocks of a structure, or those of some atoms.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        graph : Graph
            Pairs within the baseline's cutoff, or more.
        h0 : H0Matrices, optional
            H₀ and S of the structure; not looked at by a baseline that does not start from H₀.
        atoms : (n,) array of int, optional
            The atoms wanted; all N by default.

        Returns
        -------
        (n, size) array of float64
            Coupled on-site blocks, E_h.

        Raises
        ------
        InputError
            If an element was not fitted, the graph is of another structure or of a shorter cutoff, or H₀ and S are
            needed and are missing or sum over periodic images.
        """
        self.check(structure, graph)
        known = self._h0(structure, graph, h0)
        if self.reach is not None:
            return self._near(structure, graph, np.arange(len(structure)) if atoms is None else atoms)
        if known is None:
            features, descriptor = self.on_site.descriptor(structure, graph), self.on_site.descriptor
            assert isinstance(descriptor, LongRangeDescriptor)
            assert self.charges is not None
            features = descriptor.extended(features, structure, graph, self.charges)
            blocks = self.on_site.of_features(features, structure.numbers)
        else:
            blocks = known.on_site(structure, self.layout)[0] + self._change(structure, graph, known)
            blocks = (blocks + self.table.transposed(blocks)) / 2  # symmetric to the last bit
        return blocks if atoms is None else blocks[atoms]

    def _near(self, structure: Structure, graph: Graph, atoms: np.ndarray) -> np.ndarray:
        """On-site blocks of what is near, some atoms at a time: their features are many."""
        descriptor = self.on_site.descriptor
        carried = descriptor.carried(structure, graph, atoms)
        result = np.empty((len(atoms), self.layout.size))
        for first in range(0, len(atoms), ATOMS):
            some = atoms[first : first + ATOMS]
            features = descriptor(structure, graph, some, carried)
            result[first : first + ATOMS] = self.on_site.of_features(features, structure.numbers[some])
        return result

    def edges(
        self,
        structure: Structure,
        graph: Graph,
        chosen: EdgeSelection = slice(None),
        h0: H0Matrices | None = None,
        nodes: np.ndarray | None = None,
    ) -> np.ndarray:
        """Predict the blocks of edges.

        An edge and its reverse are transposes of each other, to the last bit where one call computes both.

        Parameters
        ----------
        structure, graph, h0
            As in `nodes`.
        chosen : slice or array of int
            Which edges of the graph.
        nodes : (N, size) array of float64, optional
            What `nodes` returned for this structure, for a caller that takes the edges in batches. Only a baseline that
            starts from H₀ needs it, and computes it where it is not given.

        Returns
        -------
        (e, size) array of float64
            Coupled blocks, E_h.

        Raises
        ------
        InputError
            As in `nodes`, and if a pair of elements was not fitted.
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
        """Return the r.m.s. residual that is expected of the on-site blocks of unseen atoms.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.

        Returns
        -------
        (N, K) array of float64
            E_h, positive.

        Raises
        ------
        InputError
            If an element was not fitted.
        """
        self._check_elements(structure)
        result = np.empty((len(structure), len(self.table.degree)))
        for z in structure.elements:
            result[structure.numbers == z] = self.node_scales[z]
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
        """Check that a structure and its graph can be predicted.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        graph : Graph
            Its neighbour graph.

        Raises
        ------
        InputError
            If the graph is of another structure or of a shorter cutoff, or an element was not fitted.
        """
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
    """Return the name of a pair of elements, such as `O-Hf`.

    Parameters
    ----------
    pair : (int, int)
        Atomic numbers.

    Returns
    -------
    str
        Both symbols.
    """
    return f"{symbol_of(pair[0])}-{symbol_of(pair[1])}"
