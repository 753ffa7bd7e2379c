"""BlockOperator: a real operator in a localised basis, kept as dense blocks of atom pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nearsight.errors import InputError
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import pair_order, reverse_index

ElementPair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class BlockOperator:
    """H, S or any other real operator as blocks O_ij(R) = ⟨i, 0|O|j, R⟩.

    Pairs are sorted by (i, j, R) and unique. An operator folded to Γ has one block per (i, j), the sum over all
    images, and all shifts zero; one that is not folded is resolved in R. A pair that is not listed is zero.

    Attributes:
        numbers: (N,) int64, atomic numbers.
        basis: orbitals of each element; blocks are (n_i, n_j), orbitals in the basis' order.
        source, target: (P,) int64, i and j.
        shift: (P, 3) int64, R in units of the lattice vectors.
        values: (M,) float, the blocks one after another, each row-major. eV for H, dimensionless for S.
        folded: summed over images (Γ only).
    """

    numbers: np.ndarray
    basis: BasisSet
    source: np.ndarray
    target: np.ndarray
    shift: np.ndarray
    values: np.ndarray
    folded: bool

    def __post_init__(self) -> None:
        if self.n_values != len(self.values):
            raise InputError(f"expected {self.n_values} numbers in {self.n_pairs} blocks, got {len(self.values)}")

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def n_pairs(self) -> int:
        """Number of blocks."""
        return len(self.source)

    @property
    def n_values(self) -> int:
        """Number of stored matrix elements."""
        return int(self.offsets[-1])

    @property
    def n_orbitals(self) -> int:
        """Size of the matrix."""
        return int(self.orbital_offsets[-1])

    @cached_property
    def orbital_offsets(self) -> np.ndarray:
        """(N+1,) first orbital of each atom."""
        return self.basis.offsets(self.numbers)

    @cached_property
    def offsets(self) -> np.ndarray:
        """(P+1,) where each block starts in `values`."""
        sizes = self.basis.sizes(self.numbers)
        return np.concatenate([[0], np.cumsum(sizes[self.source] * sizes[self.target])])

    @cached_property
    def element_pairs(self) -> dict[ElementPair, np.ndarray]:
        """(Z_i, Z_j) → positions of its pairs."""
        return group_by_elements(self.numbers, self.source, self.target)

    @cached_property
    def reverse(self) -> np.ndarray:
        """(P,) position of the pair (j, i, −R)."""
        return reverse_index(self.source, self.target, self.shift)

    @property
    def on_site(self) -> np.ndarray:
        """(P,) bool: i = j and R = 0."""
        return (self.source == self.target) & ~self.shift.any(axis=1)

    def stack(self, pairs: np.ndarray) -> np.ndarray:
        """(len(pairs), n_i, n_j) blocks of pairs that share their elements (a copy)."""
        if len(pairs) == 0:
            raise InputError("expected at least one pair to stack, got none")
        ni = self.basis.n_orbitals(int(self.numbers[self.source[pairs[0]]]))
        nj = self.basis.n_orbitals(int(self.numbers[self.target[pairs[0]]]))
        flat = self.offsets[pairs][:, None] + np.arange(ni * nj)
        return self.values[flat].reshape(-1, ni, nj)

    def block(self, i: int, j: int, shift: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
        """(n_i, n_j) block; zeros where the pair is not stored."""
        found = self.find(np.array([i]), np.array([j]), np.array([shift]))[0]
        if found >= 0:
            return self.stack(np.array([found]))[0]
        sizes = self.basis.sizes(self.numbers)
        return np.zeros((sizes[i], sizes[j]), dtype=self.values.dtype)

    def find(self, source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Positions of the given pairs, −1 for those not stored."""
        lower, width = self._key_range(shift)
        own = _keys(self.source, self.target, self.shift, self.n_atoms, lower, width)
        wanted = _keys(source, target, shift, self.n_atoms, lower, width)
        order = np.argsort(own, kind="stable")
        if len(own) == 0:
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(own, wanted, sorter=order), len(own) - 1)
        return np.where(own[order[at]] == wanted, order[at], -1)

    def _key_range(self, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = np.concatenate([self.shift, np.asarray(shift).reshape(-1, 3), np.zeros((1, 3), dtype=np.int64)])
        return both.min(axis=0), np.ptp(both, axis=0) + 1

    def with_values(self, values: np.ndarray) -> BlockOperator:
        """The same pairs with other numbers."""
        return replace(self, values=values)

    def select(self, keep: np.ndarray) -> BlockOperator:
        """Only the pairs of a mask or of ascending positions."""
        positions = np.flatnonzero(keep) if keep.dtype == bool else np.asarray(keep)
        return replace(
            self, source=self.source[positions], target=self.target[positions], shift=self.shift[positions],
            values=self.values[self.flat_index(positions)],
        )

    def flat_index(self, pairs: np.ndarray) -> np.ndarray:
        """Positions in `values` of all elements of the given pairs, in order."""
        sizes = (self.offsets[1:] - self.offsets[:-1])[pairs]
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        return np.repeat(self.offsets[pairs] - (ends - sizes), sizes) + np.arange(total)

    def on_pairs(self, source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> BlockOperator:
        """The operator on another list of pairs (sorted, unique): absent ones are zero, others are dropped."""
        result = empty_like_pairs(self, source, target, shift)
        found = self.find(source, target, shift)
        present = np.flatnonzero(found >= 0)
        result.values[result.flat_index(present)] = self.values[self.flat_index(found[present])]
        return result


def empty_like_pairs(
    like: BlockOperator, source: np.ndarray, target: np.ndarray, shift: np.ndarray
) -> BlockOperator:
    """Zeros on a new list of sorted pairs, the rest as in `like`."""
    return zeros(like.numbers, like.basis, source, target, shift, like.folded, like.values.dtype)


def zeros(
    numbers: np.ndarray, basis: BasisSet, source: np.ndarray, target: np.ndarray, shift: np.ndarray,
    folded: bool, dtype: np.typing.DTypeLike = np.float64,
) -> BlockOperator:
    """A zero operator on sorted, unique pairs.

    Raises:
        InputError: pairs that are not sorted by (i, j, R) or occur twice.
    """
    order = pair_order(source, target, shift)
    if not np.array_equal(order, np.arange(len(source))):
        raise InputError("expected pairs sorted by (i, j, R), got another order")
    rows = np.column_stack([source, target, shift])
    if len(rows) > 1 and (rows[1:] == rows[:-1]).all(axis=1).any():
        raise InputError("expected every pair (i, j, R) once, got one twice")
    sizes = basis.sizes(numbers)
    total = int(np.sum(sizes[source] * sizes[target]))
    return BlockOperator(
        np.asarray(numbers), basis, np.asarray(source, dtype=np.int64), np.asarray(target, dtype=np.int64),
        np.asarray(shift, dtype=np.int64).reshape(-1, 3), np.zeros(total, dtype=dtype), folded,
    )


def group_by_elements(
    numbers: np.ndarray, source: np.ndarray, target: np.ndarray
) -> dict[ElementPair, np.ndarray]:
    """(Z_i, Z_j) → positions, in ascending order, of the pairs with these elements."""
    zi, zj = numbers[source], numbers[target]
    key = zi * 1000 + zj
    return {(int(k) // 1000, int(k) % 1000): np.flatnonzero(key == k) for k in np.unique(key)}


def _keys(
    source: np.ndarray, target: np.ndarray, shift: np.ndarray, n: int, lower: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """One integer per pair; pairs sorted by (i, j, R) have ascending keys."""
    image = np.ravel_multi_index(tuple((np.asarray(shift) - lower).T), tuple(width))
    return (np.asarray(source) * n + np.asarray(target)) * int(np.prod(width)) + image
