"""Bond terms: the block between two atoms as a linear function of what stands around both of them.

In the frame of the bond, with A_i the neighbour densities of atom i without the bond's other atom,

    H_ij[c, m] = Σ_b R_b(r_ij) ( w_cb + Σ_k w_cbk A_i[k, m] + Σ_k v_cbk A_j[k, m] ),

the constants for m = 0 and natural parity alone. The weights of cos mφ and sin mφ are the same, and between atoms of
one element those of A_i and A_j are tied by inversion about the middle of the bond, so the result turns with the bond
and H_ji = H_ijᵀ. These are all functions of three atoms of the atomic cluster expansion; what four atoms make of a bond
is left to what is added to them.

R. Drautz, Phys. Rev. B 99, 014104 (2019); Zhang et al., npj Comput. Mater. 8, 158 (2022), for blocks of H.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.neighbour_densities import neighbour_densities
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.errors import InputError
from nearsight.operators.blocks import ElementPair
from nearsight.orbitals.bond_layout import BondBlock, BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import bond_frames, wigner_d
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

LENGTHS, DENSITIES = 4, 5
"""Radial functions of the bond's length, and of the densities of each element; with more, unseen ones are worse."""
CHUNK = 512
"""Bonds whose features are held at once."""

BondPart = tuple[ElementPair, int, int]
"""Pair of elements, parity under exchange, and order |m|."""


@dataclass(frozen=True, eq=False)
class BondTerms:
    """Linear terms of bonds.

    Attributes
    ----------
    layout : CoupledLayout
        Elements and shells; its highest degree is that of the densities.
    cutoff : float
        Å, of bonds and densities.
    weights : mapping of (pair, parity, order) to (F, channels) array
        Coefficients, E_h. Nothing is said of other pairs.
    """

    layout: CoupledLayout
    cutoff: float
    weights: Mapping[BondPart, np.ndarray]

    @property
    def pairs(self) -> tuple[ElementPair, ...]:
        """Pairs of elements that were fitted."""
        return tuple(sorted({part[0] for part in self.weights}))

    def check(self) -> None:
        """Refuse weights of another shape than the features'.

        Raises
        ------
        InputError
            Of such weights; the message names them.
        """
        for pair in self.pairs:
            layout = BondLayout(self.layout, pair)
            for block in layout.blocks:
                weights = self.weights.get((pair, block.parity, block.order))
                shape = count_features(layout, block), block.channels
                if weights is None or weights.shape != shape:
                    found = "none" if weights is None else weights.shape
                    raise InputError(f"expected bond terms of shape {shape} for {pair}, m = {block.order}, got {found}")

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by name, such as `1-8.0.2` for O–H, even parity, m = 2."""
        return {f"{pair[0]}-{pair[1]}.{parity}.{order}": own for (pair, parity, order), own in self.weights.items()}

    @classmethod
    def of_arrays(cls, layout: CoupledLayout, cutoff: float, arrays: Mapping[str, np.ndarray]) -> BondTerms:
        """Return the terms that `arrays` took apart.

        Raises
        ------
        InputError
            An array of another shape than the features'.
        """
        weights = {}
        for key, own in arrays.items():
            pair, parity, order = key.split(".")
            first, second = (int(z) for z in pair.split("-"))
            weights[(first, second), int(parity), int(order)] = own
        terms = cls(layout, cutoff, weights)
        terms.check()
        return terms

    def densities(self, structure: Structure, graph: Graph, atoms: np.ndarray | None = None) -> np.ndarray:
        """Return the neighbour densities of all atoms, or of some, (n, elements · DENSITIES, (l_max + 1)²)."""
        return atom_densities(self.layout, self.cutoff, structure, graph, atoms)

    def __call__(self, pair: ElementPair, vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the blocks of bonds.

        Parameters
        ----------
        pair : (int, int)
            Z_i ≤ Z_j.
        vectors : (e, 3) array
            From an atom Z_i to an atom Z_j, Å.
        first, second : (e, k, (l_max + 1)²) array
            `densities` of these atoms.

        Returns
        -------
        (e, n_i, n_j) array of float64
            On the common axes, E_h; zero for a pair that was not fitted.
        """
        layout = BondLayout(self.layout, pair)
        result = np.zeros((len(vectors), *(self.layout.basis.n_orbitals(z) for z in pair)))
        if pair not in self.pairs:
            return result
        for start in range(0, len(vectors), CHUNK):
            own = slice(start, start + CHUNK)
            seen = BondEnvironments.of(layout, self.cutoff, vectors[own], first[own], second[own])
            columns = np.empty((len(vectors[own]), layout.width))
            for block in layout.blocks:
                weights = self.weights[pair, block.parity, block.order]
                columns[:, block.columns] = predicted(weights, seen.features(block))
            result[own] = layout.blocks_of(columns, seen.frames)
        return result


def atom_densities(
    layout: CoupledLayout, cutoff: float, structure: Structure, graph: Graph, atoms: np.ndarray | None = None
) -> np.ndarray:
    """Return the neighbour densities of all atoms, or of some, (n, elements · DENSITIES, (l_max + 1)²)."""
    radial = RadialFunctions(cutoff, DENSITIES)
    parts = neighbour_densities(structure, graph, radial, layout.elements, layout.l_max, atoms)
    return np.concatenate(parts, axis=2)


@dataclass(frozen=True, eq=False)
class BondEnvironments:
    """What stands around the two atoms of some bonds of one pair of elements, in the bonds' frames.

    Attributes
    ----------
    layout : BondLayout
        Of the pair of elements.
    lengths : (e, LENGTHS) array
        Radial functions of the bonds' lengths.
    first, second : sequence of (e, k, 2l+1) array
        Densities of the two atoms, each without the other atom, for each degree l.
    frames : sequence of (e, 2l+1, 2l+1) array
        D^l of the rotations that take the bonds to +z.
    """

    layout: BondLayout
    lengths: np.ndarray
    first: Sequence[np.ndarray]
    second: Sequence[np.ndarray]
    frames: Sequence[np.ndarray]

    @classmethod
    def of(
        cls, layout: BondLayout, cutoff: float, vectors: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> BondEnvironments:
        """Return the environments of bonds (`BondTerms.__call__`)."""
        distance = np.linalg.norm(vectors, axis=1)
        frames = wigner_d(bond_frames(vectors), layout.layout.l_max)
        radial = RadialFunctions(cutoff, DENSITIES)(distance)
        elements = layout.layout.elements
        ends = []
        for densities, other, sign in ((first, layout.pair[1], 1.0), (second, layout.pair[0], -1.0)):
            turned = [
                densities[:, :, l * l : (l + 1) ** 2] @ frame.transpose(0, 2, 1) for l, frame in enumerate(frames)
            ]
            own = elements.index(other) * DENSITIES + np.arange(DENSITIES)
            for l, part in enumerate(turned):  # the other atom lies on the axis: Y_l0(±z)
                part[:, own, l] -= sign**l * np.sqrt((2 * l + 1) / (4 * np.pi)) * radial
            ends.append(turned)
        return cls(layout, RadialFunctions(cutoff, LENGTHS)(distance), ends[0], ends[1], frames)

    def features(self, block: BondBlock) -> np.ndarray:
        """Return the features of the channels of one parity and order, (e, F, components)."""
        m = block.order
        parts: list[np.ndarray] = []
        for l in range(m, len(self.first)):
            chosen = [l] if m == 0 else [l + m, l - m]
            a, b = self.first[l][:, :, chosen], self.second[l][:, :, chosen]
            turned = (-1.0) ** (l + block.parity) * b
            parts += [a, b] if self.layout.parities == 1 else [a + turned]
        seen = np.concatenate(parts, axis=1)
        count = self.lengths.shape[1] * seen.shape[1]
        made = np.einsum("eb,ekc->ebkc", self.lengths, seen).reshape(len(seen), count, seen.shape[2])
        return np.concatenate([self.lengths[:, :, None], made], axis=1) if has_constants(block) else made


def has_constants(block: BondBlock) -> bool:
    """Whether a bond alone, without neighbours, has such channels."""
    return block.parity == 0 and block.order == 0


def count_features(layout: BondLayout, block: BondBlock) -> int:
    """Return the number of features of the channels of one parity and order."""
    ends = 2 if layout.parities == 1 else 1
    seen = ends * len(layout.layout.elements) * DENSITIES * (layout.layout.l_max + 1 - block.order)
    return LENGTHS * (seen + (1 if has_constants(block) else 0))


def predicted(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return columns (e, channels · components) of features (e, F, components)."""
    return np.asarray((features.transpose(0, 2, 1) @ weights).reshape(len(features), -1))
