"""What the atoms beside a bond and the density of its two atoms tell of its block, in the frame of the bond.

Of the structure: overlaps by way of third atoms, Σ_k S_ik S_kj, one for each shell of k (`operators.third_atoms`).
Of the density: (V_i S_ij + S_ij V_j)/2 and (P_i S_ij + S_ij P_j)/2, V_i the on-site block of H of an atom without its
potential, and P_i its net populations. For V of slow variation that is H_ij itself (Rüdenberg's approximation).

K. Rüdenberg, J. Chem. Phys. 34, 1861 (1961).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.operators.blocks import BlockOperator, ElementPair
from nearsight.operators.third_atoms import Pairs, Shell, ThirdAtoms
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.potential import mean_diagonal
from nearsight.structures.graph import Graph

NEAR = 5.0
"""Å, length of bonds up to which the density of the two atoms is told."""
TOLD = 2
"""Kinds of blocks that the density tells."""
IMAGE_DECAY = 0.3
"""Å. Of a sum over images the nearest one has nearly all: overlaps decay like that."""

Edges = Mapping[ElementPair, np.ndarray]
"""Pair of elements → positions of edges in a graph."""
Frames = Mapping[ElementPair, Sequence[np.ndarray]]
"""Pair of elements → Wigner matrices of these edges (`BondLayout.columns_of`)."""
AtomMeans = Mapping[int, np.ndarray]
"""Z → (2, size) means of the scalars of coupled V and P over the fitted atoms of an element."""


@dataclass(frozen=True, eq=False)
class BondFeatures:
    """The features of the bonds of one structure.

    Attributes
    ----------
    layouts : mapping of (int, int) to BondLayout
        Columns of each pair of elements.
    shells : sequence of (int, int)
        The shells of third atoms that count.
    means : mapping of int to (2, size) array
        Means of the scalars of what the density tells of an atom.
    graph : Graph
        Atoms and directed edges.
    overlap : BlockOperator
        S.
    edges : mapping of (int, int) to (e,) array
        The bonds.
    frames : mapping of (int, int) to sequence of array
        Their frames.
    """

    layouts: Mapping[ElementPair, BondLayout]
    shells: Sequence[Shell]
    means: AtomMeans
    graph: Graph
    overlap: BlockOperator
    edges: Edges
    frames: Frames

    def beside(self) -> dict[ElementPair, np.ndarray]:
        """Return overlaps by way of third atoms, (e, shells, width) of each pair of elements."""
        shares, frames = self._shares(), self.frames
        result = {p: np.empty((len(own), len(self.shells), self.layouts[p].width)) for p, own in self.edges.items()}
        for pair, some, blocks in ThirdAtoms(self.overlap).blocks(self.shells, self._pairs(self.edges)):
            columns = self.layouts[pair].columns_of(blocks, [frame[some] for frame in frames[pair]])
            result[pair][some] = columns * shares[self.edges[pair][some]][:, None, None]
        return result

    def near(self) -> dict[ElementPair, np.ndarray]:
        """Return which bonds are told of the density, positions among those of each pair of elements."""
        distance = self.graph.distance
        return {pair: np.flatnonzero(distance[own] < NEAR) for pair, own in self.edges.items()}

    def overlaps(self, chosen: Mapping[ElementPair, np.ndarray]) -> dict[ElementPair, np.ndarray]:
        """Return the blocks of S of some bonds, (e', n_i, n_j) of each pair of elements."""
        edges = {pair: self.edges[pair][own] for pair, own in chosen.items()}
        shares = self._shares()
        return {
            pair: self.overlap.blocks(pair, *own).astype(np.float64) * shares[edges[pair]][:, None, None]
            for pair, own in self._pairs(edges).items()
        }

    def of_density(
        self,
        chosen: Mapping[ElementPair, np.ndarray],
        overlaps: Mapping[ElementPair, np.ndarray],
        atoms: Sequence[np.ndarray],
    ) -> dict[ElementPair, np.ndarray]:
        """Return what the density tells of some bonds.

        Parameters
        ----------
        chosen, overlaps : mapping of (int, int) to array
            The bonds, and their blocks of S (`overlaps`).
        atoms : sequence of two (N, size) arrays
            `told_of_atoms` of all atoms.

        Returns
        -------
        dict of (int, int) to (e', 2, width) array
            For each pair of elements.
        """
        result = {}
        for pair, own in chosen.items():
            edges, layout = self.edges[pair][own], self.layouts[pair]
            frames = [frame[own] for frame in self.frames[pair]]
            result[pair] = np.empty((len(own), TOLD, layout.width))
            for k, blocks in enumerate(atoms):
                left = layout.layout.uncouple(blocks[self.graph.source[edges]], pair[0], pair[0])
                right = layout.layout.uncouple(blocks[self.graph.target[edges]], pair[1], pair[1])
                both = (left @ overlaps[pair] + overlaps[pair] @ right) / 2
                result[pair][:, k] = layout.columns_of(both, frames)
        return result

    def _pairs(self, edges: Edges) -> dict[ElementPair, Pairs]:
        graph, folded = self.graph, self.overlap.folded
        return {
            pair: (graph.source[own], graph.target[own], graph.shift[own] * (0 if folded else 1))
            for pair, own in edges.items()
        }

    def _shares(self) -> np.ndarray:
        """(E,) what each edge has of the block of its pair; 1 where S is not folded, 0 for an atom's own images."""
        graph = self.graph
        if not self.overlap.folded:
            return np.ones(graph.n_edges)
        key = np.unique(graph.source * graph.n_nodes + graph.target, return_inverse=True)[1].reshape(-1)
        nearest = np.full(key.max(initial=-1) + 1, np.inf)
        np.minimum.at(nearest, key, graph.distance)
        weight = np.exp((nearest[key] - graph.distance) / IMAGE_DECAY)
        share = weight / np.bincount(key, weight)[key]
        return np.where(graph.source == graph.target, 0.0, share)


def told_of_atoms(
    layout: CoupledLayout, numbers: np.ndarray, on_site: np.ndarray, net: np.ndarray, means: AtomMeans | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return V and P of all atoms.

    Parameters
    ----------
    layout : CoupledLayout
        Of the blocks.
    numbers : (N,) array of int
        Atomic numbers.
    on_site : (N, size) array
        Coupled on-site blocks of H, E_h.
    net : (N, size) array
        Coupled net populations, electrons.
    means : mapping of int to (2, size) array, optional
        What is subtracted; nothing by default.

    Returns
    -------
    two (N, size) arrays
        Coupled blocks of V, without its mean diagonal element, and of P.
    """
    potential, populations = on_site.copy(), net.copy()
    for z in np.unique(numbers).tolist():
        atoms, unity = np.flatnonzero(numbers == z), layout.couple(np.eye(layout.basis.n_orbitals(z))[None], z, z)
        potential[atoms] -= mean_diagonal(layout, z, on_site[atoms])[:, None] * unity
        if means is not None:
            potential[atoms] -= means[z][0]
            populations[atoms] -= means[z][1]
    return potential, populations


def means_of_atoms(
    table: IrrepTable, numbers: Sequence[np.ndarray], told: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[int, np.ndarray]:
    """Return the means of the scalars of V and P over the atoms of each element, of all structures."""
    scalar = table.degree[table.irrep_of_column] == 0
    result = {}
    for z in sorted({z for own in numbers for z in own.tolist()}):
        rows = [np.stack([blocks[own == z] for blocks in atoms]) for own, atoms in zip(numbers, told)]
        result[z] = np.concatenate(rows, axis=1).mean(axis=1) * scalar
    return result
