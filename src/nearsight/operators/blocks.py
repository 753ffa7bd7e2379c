"""BlockOperator: a real operator in a localised basis, kept as dense blocks of atom pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nearsight.errors import InputError
from nearsight.operators import runs
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import is_ascending, reverse_index

ElementPair = tuple[int, int]
"""The atomic numbers (Z_i, Z_j) of a pair of atoms."""


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

    @property
    def lengths(self) -> np.ndarray:
        """(P,) numbers in each block."""
        return np.diff(self.offsets)

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
        return is_on_site(self.source, self.target, self.shift)

    def stack(self, pairs: np.ndarray) -> np.ndarray:
        """(len(pairs), n_i, n_j) blocks of pairs that share their elements (a copy)."""
        if len(pairs) == 0:
            raise InputError("expected at least one pair to stack, got none")
        ni = self.basis.n_orbitals(int(self.numbers[self.source[pairs[0]]]))
        nj = self.basis.n_orbitals(int(self.numbers[self.target[pairs[0]]]))
        return runs.gather(self.values, self.offsets[pairs], ni * nj).reshape(-1, ni, nj)

    def put(self, pairs: np.ndarray, blocks: np.ndarray) -> None:
        """Overwrite the blocks of different pairs that share their elements by (len(pairs), n_i, n_j) others."""
        runs.scatter(self.values, self.offsets[pairs], blocks.reshape(len(pairs), -1))

    def block(self, i: int, j: int, shift: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
        """(n_i, n_j) block; zeros where the pair is not stored."""
        elements = int(self.numbers[i]), int(self.numbers[j])
        return self.blocks(elements, np.array([i]), np.array([j]), np.array([shift]))[0]

    def blocks(
        self, elements: ElementPair, source: np.ndarray, target: np.ndarray, shift: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the blocks of any pairs of atoms of the same two elements, as a copy.

        Parameters
        ----------
        elements : (int, int)
            Atomic numbers Z_i and Z_j that all pairs share.
        source, target : (P,) array of int
            The atoms i and j of each pair.
        shift : (P, 3) array of int, optional
            The cell R of atom j. By default 0, which is right for on-site blocks and for operators folded to Γ.

        Returns
        -------
        (P, n_i, n_j) array
            Blocks in the operator's unit and precision, zero where a pair is not stored.
        """
        shift = np.zeros((len(source), 3), dtype=np.int64) if shift is None else shift
        found = self.find(source, target, shift)
        ni, nj = (self.basis.n_orbitals(z) for z in elements)
        stored = np.flatnonzero(found >= 0)
        if len(stored) == len(found):
            return runs.gather(self.values, self.offsets[found], ni * nj).reshape(-1, ni, nj)
        result = np.zeros((len(found), ni, nj), dtype=self.values.dtype)
        result[stored] = runs.gather(self.values, self.offsets[found[stored]], ni * nj).reshape(-1, ni, nj)
        return result

    def find(self, source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Positions of the given pairs, −1 for those not stored."""
        if self.n_pairs == 0:
            return np.full(len(source), -1)
        lower, width, own, order = self._search
        shift = np.asarray(shift).reshape(-1, 3) - lower
        inside: np.ndarray = np.all((shift >= 0) & (shift < width), axis=1)
        wanted = _keys(source, target, np.where(inside[:, None], shift, 0), self.n_atoms, width)
        at = np.minimum(np.searchsorted(own, wanted), len(own) - 1)
        found = inside & (own[at] == wanted)
        return np.where(found, at if order is None else order[at], -1)

    @cached_property
    def _search(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Lowest shift, range of shifts, ascending keys of the pairs, and whose they are (None: in order)."""
        lower = self.shift.min(axis=0)
        width = self.shift.max(axis=0) - lower + 1
        keys = _keys(self.source, self.target, self.shift - lower, self.n_atoms, width)
        if is_ascending(self.source, self.target, self.shift, strictly=True):
            return lower, width, keys, None
        order = np.argsort(keys, kind="stable")
        return lower, width, keys[order], order

    def with_values(self, values: np.ndarray) -> BlockOperator:
        """The same pairs with other numbers."""
        return replace(self, values=values)

    def select(self, keep: np.ndarray) -> BlockOperator:
        """Only the pairs of a mask or of ascending positions."""
        positions = np.flatnonzero(keep) if keep.dtype == bool else np.asarray(keep)
        lengths = self.lengths[positions]
        values = np.empty(int(lengths.sum()), dtype=self.values.dtype)
        runs.copy(self.values, self.offsets[positions], values, np.cumsum(lengths) - lengths, lengths)
        return replace(
            self,
            source=self.source[positions],
            target=self.target[positions],
            shift=self.shift[positions],
            values=values,
        )

    def flat_index(self, pairs: np.ndarray) -> np.ndarray:
        """Positions in `values` of all elements of the given pairs, in order."""
        sizes = self.lengths[pairs]
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        return np.repeat(self.offsets[pairs] - (ends - sizes), sizes) + np.arange(total)

    def on_pairs(self, source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> BlockOperator:
        """The operator on another list of pairs (sorted, unique): absent ones are zero, others are dropped."""
        result = empty_like_pairs(self, source, target, shift)
        found = self.find(source, target, shift)
        present = np.flatnonzero(found >= 0)
        runs.copy(
            self.values, self.offsets[found[present]], result.values, result.offsets[present], result.lengths[present]
        )
        return result


def empty_like_pairs(like: BlockOperator, source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> BlockOperator:
    """Zeros on a new list of sorted pairs, the rest as in `like`."""
    return zeros(like.numbers, like.basis, source, target, shift, like.folded, like.values.dtype)


def zeros(
    numbers: np.ndarray,
    basis: BasisSet,
    source: np.ndarray,
    target: np.ndarray,
    shift: np.ndarray,
    folded: bool,
    dtype: np.typing.DTypeLike = np.float64,
) -> BlockOperator:
    """A zero operator on sorted, unique pairs.

    Raises:
        InputError: pairs that are not sorted by (i, j, R) or occur twice.
    """
    if not is_ascending(source, target, shift):
        raise InputError("expected pairs sorted by (i, j, R), got another order")
    if not is_ascending(source, target, shift, strictly=True):
        raise InputError("expected every pair (i, j, R) once, got one twice")
    sizes = basis.sizes(numbers)
    total = int(np.sum(sizes[source] * sizes[target]))
    return BlockOperator(
        np.asarray(numbers),
        basis,
        np.asarray(source, dtype=np.int64),
        np.asarray(target, dtype=np.int64),
        np.asarray(shift, dtype=np.int64).reshape(-1, 3),
        np.zeros(total, dtype=dtype),
        folded,
    )


def is_on_site(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(P,) bool: the pairs of an atom with itself (i = j and R = 0), each its own reverse."""
    return (source == target) & ~shift.any(axis=1)


def group_by_elements(numbers: np.ndarray, source: np.ndarray, target: np.ndarray) -> dict[ElementPair, np.ndarray]:
    """(Z_i, Z_j) → positions, in ascending order, of the pairs with these elements."""
    zi, zj = numbers[source], numbers[target]
    key = zi * 1000 + zj
    return {(int(k) // 1000, int(k) % 1000): np.flatnonzero(key == k) for k in np.flatnonzero(np.bincount(key))}


def _keys(source: np.ndarray, target: np.ndarray, image: np.ndarray, n: int, width: np.ndarray) -> np.ndarray:
    """One integer per pair; pairs sorted by (i, j, R) have ascending keys. `image` (P, 3) is R in 0 … width − 1."""
    x, y, z = np.asarray(image).T
    pair = np.asarray(source) * n + np.asarray(target)
    return ((pair * int(width[0]) + x) * int(width[1]) + y) * int(width[2]) + z
