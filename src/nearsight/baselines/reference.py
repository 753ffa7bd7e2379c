"""References: the coupled blocks of a calculation that a baseline is fitted to.

A reference folded to Γ holds sums over periodic images. Only pairs with a single image within the cutoff are used of
it, and the on-site blocks of atoms that have no image of their own within the cutoff.

Energy references: H − μS describes the same states as H, with all energies lower by μ. H and H₀ of a structure may
differ in the zero of energy, and so may structures. What does not follow from the elements of the atoms is taken as the
structure's own μ before anything is fitted:

    v_i = v̄(Z_i) + μ_s + residual,    Σ_s N_s μ_s = 0,

with v_i the mean diagonal element of H_ii − H₀_ii. The μ of a structure to be predicted is not known: it gets the
mean, 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, ElementPair, group_by_elements
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

CHUNK = 8192
"""Edges whose blocks are held at once."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A structure, its graph and its Hamiltonian, seen through a coupled layout.

    Attributes
    ----------
    structure : Structure
        Atoms and cell.
    graph : Graph
        Pairs within the baseline's cutoff.
    hamiltonian : BlockOperator
        eV.
    layout : CoupledLayout
        A layout of all elements that occur.
    """

    structure: Structure
    graph: Graph
    hamiltonian: BlockOperator
    layout: CoupledLayout

    @classmethod
    def of(cls, calculation: Calculation, layout: CoupledLayout, cutoff: float) -> Reference:
        """Make the reference of a calculation with a Hamiltonian.

        Parameters
        ----------
        calculation : Calculation
            The calculation.
        layout : CoupledLayout
            Layout of the coupled blocks.
        cutoff : float
            Å, of the graph.

        Returns
        -------
        Reference
            Its blocks.

        Raises
        ------
        InputError
            If there is no Hamiltonian, or the layout does not have its elements or shells.
        """
        basis = calculation.basis.restricted(calculation.structure.numbers)
        layout.basis.check(basis.shells)
        if basis != layout.basis.restricted(basis.shells):
            raise InputError(
                f"expected calculations in the layout's basis {layout.basis.describe()}, got "
                f"{basis.describe()}; fit structures of one basis together"
            )
        structure = calculation.structure
        return cls(structure, build_graph(structure, cutoff), calculation.require_hamiltonian(), layout)

    def on_site(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the usable on-site blocks of an element.

        Parameters
        ----------
        z : int
            Atomic number.

        Returns
        -------
        atoms : (n,) array of int64
            The usable atoms.
        blocks : (n, size) array of float64
            Their coupled blocks, E_h.
        """
        usable = self.structure.numbers == z
        if self.hamiltonian.folded:
            usable &= ~own_image_near(self.graph)
        atoms = np.flatnonzero(usable)
        return atoms, self._coupled(atoms, atoms, None, (z, z))

    def edges(self) -> Iterator[tuple[ElementPair, np.ndarray, np.ndarray]]:
        """Yield the usable blocks of edges, a batch at a time.

        Yields
        ------
        pair : (int, int)
            Z_i ≤ Z_j.
        edges : (n,) array of int64
            Usable edges of this pair of elements.
        blocks : (n, size) array of float64
            Their coupled blocks, E_h.
        """
        graph, folded = self.graph, self.hamiltonian.folded
        for pair, edges in group_by_elements(self.structure.numbers, graph.source, graph.target).items():
            edges = edges[self._single[edges]] if pair[0] <= pair[1] else edges[:0]
            for start in range(0, len(edges), CHUNK):
                part = edges[start : start + CHUNK]
                shift = None if folded else graph.shift[part]
                yield pair, part, self._coupled(graph.source[part], graph.target[part], shift, pair)

    @cached_property
    def _single(self) -> np.ndarray:
        """(E,) bool: whether the reference's block is that of this image alone."""
        return single_images(self.graph) if self.hamiltonian.folded else np.ones(self.graph.n_edges, dtype=bool)

    def _coupled(
        self, source: np.ndarray, target: np.ndarray, shift: np.ndarray | None, pair: ElementPair
    ) -> np.ndarray:
        """Blocks of one element pair; zero where a pair is not stored."""
        return coupled_blocks(self.hamiltonian, self.layout, source, target, shift, pair) / HARTREE_IN_EV


def single_images(graph: Graph, cutoff: float = np.inf) -> np.ndarray:
    """Tell which edges are the only image of their pair.

    Parameters
    ----------
    graph : Graph
        Pairs within a cutoff.
    cutoff : float, optional
        Å, below which images count; by default the graph's.

    Returns
    -------
    (E,) array of bool
        Edges below the cutoff, between different atoms, of which no other periodic image is such an edge.
    """
    near = np.flatnonzero(graph.distance < cutoff)
    pair = graph.source[near] * graph.n_nodes + graph.target[near]
    _, which, count = np.unique(pair, return_inverse=True, return_counts=True)
    result = np.zeros(graph.n_edges, dtype=bool)
    result[near] = (count[which] == 1) & (graph.source[near] != graph.target[near])
    return result


def own_image_near(graph: Graph, cutoff: float = np.inf) -> np.ndarray:
    """Tell which atoms have a periodic image of their own nearby.

    Parameters
    ----------
    graph : Graph
        Pairs within a cutoff.
    cutoff : float, optional
        Å, below which images count; by default the graph's.

    Returns
    -------
    (N,) array of bool
        Atoms with an edge below the cutoff to an image of their own.
    """
    result = np.zeros(graph.n_nodes, dtype=bool)
    result[graph.source[(graph.source == graph.target) & (graph.distance < cutoff)]] = True
    return result


def coupled_blocks(
    operator: BlockOperator,
    layout: CoupledLayout,
    source: np.ndarray,
    target: np.ndarray,
    shift: np.ndarray | None,
    pair: ElementPair,
) -> np.ndarray:
    """Return the coupled blocks of pairs of the same elements.

    Parameters
    ----------
    operator : BlockOperator
        Any operator.
    layout : CoupledLayout
        Layout of the coupled blocks.
    source, target : (n,) array of int
        The atoms of each pair.
    shift : (n, 3) array of int, optional
        The cell of the second atom; by default 0.
    pair : (int, int)
        Their elements.

    Returns
    -------
    (n, size) array of float64
        In the operator's unit; zero where a pair is not stored.
    """
    if len(source) == 0:  # the operator's basis may lack the elements, then
        return np.zeros((0, layout.size))
    return layout.couple(operator.blocks(pair, source, target, shift), *pair).astype(np.float64)


def energy_references(shifts: Sequence[np.ndarray], numbers: Sequence[np.ndarray]) -> np.ndarray:
    """Estimate the energy reference μ of each structure.

    Parameters
    ----------
    shifts : sequence of (n,) array of float
        v_i of the usable atoms of each structure.
    numbers : sequence of (n,) array of int
        Their atomic numbers.

    Returns
    -------
    (structures,) array of float64
        μ in the unit of the shifts; their mean over all atoms is zero.
    """
    structure = np.repeat(np.arange(len(shifts)), [len(part) for part in shifts])
    elements, element = np.unique(np.concatenate(list(numbers)), return_inverse=True)
    design = np.hstack([np.eye(len(elements))[element], np.eye(len(shifts))[structure]])
    found = np.linalg.lstsq(design, np.concatenate(list(shifts)), rcond=None)[0][len(elements) :]
    counts = np.bincount(structure, minlength=len(shifts))
    return np.asarray(found - found @ counts / max(1, counts.sum()))
