"""InitialMatrices: H₀ and S of a structure, from which a baseline starts.

H₀ is the Kohn-Sham matrix of superposed atomic densities, the first one of a self-consistent run. A matrix folded to Γ
tells what belongs to one bond only where one periodic image of the pair is near.
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
    """What is known of a structure before its own self-consistent run.

    Attributes:
        hamiltonian: H₀, eV.
        overlap: S.
    """

    hamiltonian: BlockOperator
    overlap: BlockOperator

    @classmethod
    def of(cls, calculation: Calculation) -> H0Matrices:
        """Of a calculation that holds both.

        Raises:
            InputError: H₀ or S is missing.
        """
        return cls(calculation.require_h0(), calculation.require_overlap())

    def check(self, structure: Structure, layout: CoupledLayout) -> None:
        """Raises InputError for matrices of other atoms or in another basis."""
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
        """Raises InputError where a matrix at Γ holds sums over several images below the cutoff."""
        lost = (graph.distance < cutoff) & ~self.single_image_edges(graph, cutoff)
        if lost.any():
            raise InputError(
                f"expected H₀ and S that tell periodic images apart, got sums over images at Γ for "
                f"{int(lost.sum())} edges within {cutoff:g} Å; use a cell at least {2 * cutoff:g} Å wide, "
                "or H₀ and S in real space"
            )

    def single_image_edges(self, graph: Graph, cutoff: float) -> np.ndarray:
        """(E,) bool: edges below the cutoff of which both matrices know the block of this image alone."""
        if not self._folded:
            return np.asarray(graph.distance < cutoff)
        return single_images(graph, cutoff) & self.single_image_atoms(graph, cutoff)[graph.source]

    def single_image_atoms(self, graph: Graph, cutoff: float) -> np.ndarray:
        """(N,) bool: the on-site block holds no image of the atom below the cutoff."""
        return ~own_image_near(graph, cutoff) if self._folded else np.ones(graph.n_nodes, dtype=bool)

    def single_image_environments(self, graph: Graph, cutoff: float) -> np.ndarray:
        """(N,) bool: atoms all of whose edges below the cutoff are resolved."""
        result = np.ones(graph.n_nodes, dtype=bool)
        result[graph.source[(graph.distance < cutoff) & ~self.single_image_edges(graph, cutoff)]] = False
        return result

    def on_site(self, structure: Structure, layout: CoupledLayout) -> tuple[np.ndarray, np.ndarray]:
        """Coupled on-site blocks of all atoms: H₀ in E_h and S, (N, size) each."""
        result = np.zeros((2, len(structure), layout.size))
        for z in structure.elements:
            atoms = np.flatnonzero(structure.numbers == z)
            result[:, atoms] = self._blocks(layout, atoms, atoms, None, (z, z))
        return result[0], result[1]

    def edges(
        self, graph: Graph, layout: CoupledLayout, pair: ElementPair, edges: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Coupled blocks of edges of one pair of elements: H₀ in E_h and S, (e, size) each."""
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
    """(N,) mean diagonal element of coupled on-site blocks (N, size): by how much they shift an atom's levels."""
    result = np.zeros(len(structure))
    for z, atoms in group_of_elements(structure).items():
        blocks = layout.uncouple(coupled[atoms], z, z)
        result[atoms] = np.trace(blocks, axis1=1, axis2=2) / blocks.shape[1]
    return result


def group_of_elements(structure: Structure) -> dict[int, np.ndarray]:
    """Z → its atoms."""
    atoms = np.arange(len(structure))
    return {z: found for (z, _), found in group_by_elements(structure.numbers, atoms, atoms).items()}
