"""H₀ and S of a structure, from which a baseline starts.

H₀ is the Kohn-Sham matrix of superposed atomic densities, the first one of a self-consistent run. A matrix folded to Γ
tells the block of one bond only where a single periodic image of the pair is near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.baselines.reference import coupled_blocks, own_image_near, single_images
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, ElementPair, group_by_elements
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV


@dataclass(frozen=True, eq=False)
class H0Matrices:
    """The matrices of a structure that are known before its own self-consistent run.

    Attributes
    ----------
    hamiltonian : BlockOperator
        H₀, eV.
    overlap : BlockOperator
        S.
    """

    hamiltonian: BlockOperator
    overlap: BlockOperator

    @classmethod
    def of(cls, calculation: Calculation) -> H0Matrices:
        """Take both from a calculation.

        Parameters
        ----------
        calculation : Calculation
            The calculation that holds them.

        Returns
        -------
        H0Matrices
            H₀ and S.

        Raises
        ------
        InputError
            If one is missing.
        """
        return cls(calculation.require_h0(), calculation.require_overlap())

    def check(self, structure: Structure, layout: CoupledLayout) -> None:
        """Check that the matrices belong to a structure and a layout.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        layout : CoupledLayout
            The baseline's layout.

        Raises
        ------
        InputError
            If they are of other atoms or in another basis.
        """
        for name, operator in (("H₀", self.hamiltonian), ("S", self.overlap)):
            if not np.array_equal(operator.numbers, structure.numbers):
                raise InputError(
                    f"expected {name} on the {len(structure)} atoms of {structure.formula}, got one on "
                    f"{operator.n_atoms} atoms or in another order"
                )
            if operator.basis != layout.basis.restricted(operator.basis.shells):
                raise InputError(
                    f"expected {name} in the baseline's basis {layout.basis.describe()}, got "
                    f"{operator.basis.describe()}"
                )

    def check_single_images(self, graph: Graph, cutoff: float) -> None:
        """Check that the matrices tell all periodic images apart.

        Parameters
        ----------
        graph : Graph
            Pairs within at least the cutoff.
        cutoff : float
            Å.

        Raises
        ------
        InputError
            If a matrix at Γ holds sums over several images below the cutoff.
        """
        lost = (graph.distance < cutoff) & ~self.single_image_edges(graph, cutoff)
        if lost.any():
            raise InputError(
                f"expected H₀ and S that tell periodic images apart, got sums over images at Γ for "
                f"{int(lost.sum())} edges within {cutoff:g} Å; use a cell at least {2 * cutoff:g} Å wide, "
                "or H₀ and S in real space"
            )

    def single_image_edges(self, graph: Graph, cutoff: float) -> np.ndarray:
        """Tell for which edges both matrices know the block of this image alone.

        Parameters
        ----------
        graph : Graph
            Pairs within at least the cutoff.
        cutoff : float
            Å; edges beyond are False.

        Returns
        -------
        (E,) array of bool
            All edges below the cutoff for matrices in real space.
        """
        if not self._folded:
            return np.asarray(graph.distance < cutoff)
        return single_images(graph, cutoff) & self.single_image_atoms(graph, cutoff)[graph.source]

    def single_image_atoms(self, graph: Graph, cutoff: float) -> np.ndarray:
        """Tell which on-site blocks hold no image of the atom below the cutoff.

        Parameters
        ----------
        graph : Graph
            Pairs within at least the cutoff.
        cutoff : float
            Å.

        Returns
        -------
        (N,) array of bool
            All atoms for matrices in real space.
        """
        return ~own_image_near(graph, cutoff) if self._folded else np.ones(graph.n_nodes, dtype=bool)

    def single_image_environments(self, graph: Graph, cutoff: float) -> np.ndarray:
        """Tell which atoms have only edges of single images below the cutoff.

        Parameters
        ----------
        graph : Graph
            Pairs within at least the cutoff.
        cutoff : float
            Å.

        Returns
        -------
        (N,) array of bool
            All atoms for matrices in real space.
        """
        result = np.ones(graph.n_nodes, dtype=bool)
        result[graph.source[(graph.distance < cutoff) & ~self.single_image_edges(graph, cutoff)]] = False
        return result

    def on_site(self, structure: Structure, layout: CoupledLayout) -> tuple[np.ndarray, np.ndarray]:
        """Return the coupled on-site blocks of all atoms.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        layout : CoupledLayout
            Layout of the coupled blocks.

        Returns
        -------
        h0, overlap : (N, size) array of float64
            H₀ in E_h, and S.
        """
        result = np.zeros((2, len(structure), layout.size))
        for z in structure.elements:
            atoms = np.flatnonzero(structure.numbers == z)
            result[:, atoms] = self._blocks(layout, atoms, atoms, None, (z, z))
        return result[0], result[1]

    def edges(
        self, graph: Graph, layout: CoupledLayout, pair: ElementPair, edges: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the coupled blocks of edges of one pair of elements.

        Parameters
        ----------
        graph : Graph
            Pairs of atoms.
        layout : CoupledLayout
            Layout of the coupled blocks.
        pair : (int, int)
            Z_i, Z_j.
        edges : (e,) array of int
            Positions of the edges.

        Returns
        -------
        h0, overlap : (e, size) array of float64
            H₀ in E_h, and S.
        """
        return self._blocks(layout, graph.source[edges], graph.target[edges], graph.shift[edges], pair)

    @property
    def _folded(self) -> bool:
        return self.hamiltonian.folded or self.overlap.folded

    def _blocks(
        self, layout: CoupledLayout, source: np.ndarray, target: np.ndarray, shift: np.ndarray | None, pair: ElementPair
    ) -> tuple[np.ndarray, np.ndarray]:
        h, s = (
            coupled_blocks(operator, layout, source, target, None if operator.folded else shift, pair)
            for operator in (self.hamiltonian, self.overlap)
        )
        return h / HARTREE_IN_EV, s


def scalar_shift(layout: CoupledLayout, structure: Structure, coupled: np.ndarray) -> np.ndarray:
    """Return by how much on-site blocks shift an atom's levels: their mean diagonal element.

    Parameters
    ----------
    layout : CoupledLayout
        Layout of the coupled blocks.
    structure : Structure
        Atoms and cell.
    coupled : (N, size) array of float
        Coupled on-site blocks.

    Returns
    -------
    (N,) array of float64
        In the unit of the blocks.
    """
    result = np.zeros(len(structure))
    for z, atoms in group_of_elements(structure).items():
        blocks = layout.uncouple(coupled[atoms], z, z)
        result[atoms] = np.trace(blocks, axis1=1, axis2=2) / blocks.shape[1]
    return result


def group_of_elements(structure: Structure) -> dict[int, np.ndarray]:
    """Return Z → its atoms.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.

    Returns
    -------
    dict of int to array of int64
        The atoms of each element, ascending.
    """
    atoms = np.arange(len(structure))
    return {z: found for (z, _), found in group_by_elements(structure.numbers, atoms, atoms).items()}
