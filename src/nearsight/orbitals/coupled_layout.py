"""The coupled layout: one padded vector of irreps that holds the block of any pair of elements.

Shells of different elements are identified by (l, k), k counting the shells of equal l inside the element. A slot is a
pair of such labels; the slots are the union over all ordered element pairs, in order of first appearance, elements
ascending in Z. A slot holds the degrees |l1−l2| … l1+l2. An element pair fills the slots it has; the others are padding
(zero). For HfO₂ in SZV: 16 slots, 100 numbers. This is the order of the targets of Xia et al. (2025).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupling import irreps_of, shell_pair_matrix

ShellLabel = tuple[int, int]


@dataclass(frozen=True)
class CoupledLayout:
    """The padded vector of irreps of a basis.

    Attributes
    ----------
    basis : BasisSet
        Its elements are the ones whose blocks can be represented.
    """

    basis: BasisSet

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers, ascending."""
        return tuple(self.basis.shells)

    @cached_property
    def slots(self) -> tuple[tuple[ShellLabel, ShellLabel], ...]:
        """Pairs of shell labels ((l1, k1), (l2, k2)) in order."""
        found: dict[tuple[ShellLabel, ShellLabel], None] = {}
        for zi in self.elements:
            for zj in self.elements:
                for a in _labels(self.basis.shells[zi]):
                    for b in _labels(self.basis.shells[zj]):
                        found.setdefault((a, b))
        return tuple(found)

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """The degree L of every irrep of the vector, in order."""
        return tuple(l for (l1, _), (l2, _) in self.slots for l in irreps_of(l1, l2))

    @cached_property
    def size(self) -> int:
        """Length of the vector."""
        return sum(2 * l + 1 for l in self.degrees)

    @property
    def l_max(self) -> int:
        """Highest degree."""
        return max(self.degrees)

    def matrix(self, zi: int, zj: int) -> np.ndarray:
        """Return the matrix T with coupled = T @ block.reshape(-1) and block.reshape(-1) = Tᵀ @ coupled.

        Parameters
        ----------
        zi, zj : int
            Atomic numbers of the pair.

        Returns
        -------
        (size, n_i·n_j) array of float64
            TᵀT = 1; it is computed once, and cannot be written to.
        """
        found = self._matrices.get((zi, zj))
        if found is None:
            found = self._matrices[zi, zj] = self._matrix(zi, zj)
            found.setflags(write=False)
        return found

    def _matrix(self, zi: int, zj: int) -> np.ndarray:
        ni, nj = self.basis.n_orbitals(zi), self.basis.n_orbitals(zj)
        result = np.zeros((self.size, ni, nj))
        start = self._slot_starts
        for a, la, oa in self._shells(zi):
            for b, lb, ob in self._shells(zj):
                t = shell_pair_matrix(la, lb)
                rows = slice(start[(a, b)], start[(a, b)] + len(t))
                result[rows, oa : oa + 2 * la + 1, ob : ob + 2 * lb + 1] = t.reshape(-1, 2 * la + 1, 2 * lb + 1)
        return result.reshape(self.size, ni * nj)

    def mask(self, zi: int, zj: int) -> np.ndarray:
        """Tell which numbers of the vector the block of a pair of elements fills.

        Parameters
        ----------
        zi, zj : int
            Atomic numbers of the pair.

        Returns
        -------
        (size,) array of bool
            False is padding; it is computed once, and cannot be written to.
        """
        found = self._masks.get((zi, zj))
        if found is None:
            found = self._masks[zi, zj] = self._mask(zi, zj)
            found.setflags(write=False)
        return found

    def _mask(self, zi: int, zj: int) -> np.ndarray:
        filled = np.zeros(self.size, dtype=bool)
        start = self._slot_starts
        for a, la, _ in self._shells(zi):
            for b, lb, _ in self._shells(zj):
                filled[start[(a, b)] : start[(a, b)] + (2 * la + 1) * (2 * lb + 1)] = True
        return filled

    def couple(self, blocks: np.ndarray, zi: int, zj: int) -> np.ndarray:
        """Turn blocks of one pair of elements into coupled vectors.

        Parameters
        ----------
        blocks : (B, n_i, n_j) array
            Blocks in any unit.
        zi, zj : int
            Atomic numbers of the pair.

        Returns
        -------
        (B, size) array
            Coupled vectors in the precision of the blocks; padding is zero.
        """
        matrix = self.matrix(zi, zj)
        return blocks.reshape(len(blocks), matrix.shape[1]) @ matrix.T.astype(blocks.dtype)

    def uncouple(self, coupled: np.ndarray, zi: int, zj: int) -> np.ndarray:
        """Turn coupled vectors of one pair of elements into blocks.

        Parameters
        ----------
        coupled : (B, size) array
            Coupled vectors; what lies in the padding is dropped.
        zi, zj : int
            Atomic numbers of the pair.

        Returns
        -------
        (B, n_i, n_j) array
            Blocks in the precision of the vectors.
        """
        blocks = coupled @ self.matrix(zi, zj).astype(coupled.dtype)
        return blocks.reshape(len(coupled), self.basis.n_orbitals(zi), self.basis.n_orbitals(zj))

    @cached_property
    def _matrices(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    @cached_property
    def _masks(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    @cached_property
    def _slot_starts(self) -> dict[tuple[ShellLabel, ShellLabel], int]:
        starts, at = {}, 0
        for slot in self.slots:
            starts[slot] = at
            at += (2 * slot[0][0] + 1) * (2 * slot[1][0] + 1)
        return starts

    def _shells(self, z: int) -> Iterable[tuple[ShellLabel, int, int]]:
        shells = self.basis.shells[z]
        return zip(_labels(shells), shells, self.basis.shell_offsets(z))


def _labels(shells: tuple[int, ...]) -> list[ShellLabel]:
    return [(l, shells[:index].count(l)) for index, l in enumerate(shells)]
