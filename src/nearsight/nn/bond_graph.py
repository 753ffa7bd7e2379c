"""BondGraph: what the network `nearsight` reads: features of atoms, and the undirected bonds between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

ElementPair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Bonds:
    """Bonds of one pair of elements, each once, from an atom Z_i to an atom Z_j, Z_i ≤ Z_j.

    Attributes:
        source, target: (e,) int64, positions of i and j.
        distance: (e,) Å.
        frames: (e, Σ_l (2l+1)²), rows of D^0, D^1, … of the rotation that takes the bond to +z, one after another.
    """

    source: Tensor
    target: Tensor
    distance: Tensor
    frames: Tensor

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, chosen: slice | Tensor) -> Bonds:
        """Some of them."""
        return Bonds(self.source[chosen], self.target[chosen], self.distance[chosen], self.frames[chosen])

    def to(self, device: torch.device | str) -> Bonds:
        """The same on another device."""
        return Bonds(*(x.to(device) for x in (self.source, self.target, self.distance, self.frames)))

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(x.nbytes for x in (self.source, self.target, self.distance, self.frames))


@dataclass(frozen=True, eq=False)
class BondGraph:
    """Atoms and bonds.

    Attributes:
        element: (n,) int64, position of each atom's element among those of the network.
        densities: (n, (l_max+1)², F), neighbour densities; F counts elements and radial functions.
        scalars: (n, S), what else is known of each atom, unchanged by rotations.
        bonds: by pair of elements (Z_i ≤ Z_j).
    """

    element: Tensor
    densities: Tensor
    scalars: Tensor
    bonds: Mapping[ElementPair, Bonds]

    @property
    def n_bonds(self) -> int:
        """All of them."""
        return sum(len(b) for b in self.bonds.values())

    def to(self, device: torch.device | str) -> BondGraph:
        """The same on another device."""
        return BondGraph(self.element.to(device), self.densities.to(device), self.scalars.to(device),
                         {pair: b.to(device) for pair, b in self.bonds.items()})

    def with_bonds(self, bonds: Mapping[ElementPair, Bonds]) -> BondGraph:
        """The same atoms with other bonds."""
        return BondGraph(self.element, self.densities, self.scalars, bonds)
