"""Real operators in a localised basis, kept as dense blocks of atom pairs."""

from __future__ import annotations

import math
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

    Pairs are unique and sorted by (i, j, R). An operator in real space has a block for each R. One folded to Γ has one
    block for each (i, j), the sum over all images, and all its shifts are zero. A pair that is not listed is zero.

    Attributes
    ----------
    numbers : (N,) array of int64
        Atomic numbers.
    basis : BasisSet
        Orbitals of each element; blocks are (n_i, n_j), orbitals in the basis' order.
    source, target : (P,) array of int64
        The atoms i and j of each pair.
    shift : (P, 3) array of int64
        R in units of the lattice vectors.
    values : (M,) array of float
        The blocks one after another, each row-major; eV for H, dimensionless for S.
    folded : bool
        Whether images are summed (Γ only).

    Raises
    ------
    InputError
        If the number of values is not that of the blocks.
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
        """Number N of atoms."""
        return len(self.numbers)

    @property
    def n_pairs(self) -> int:
        """Number P of blocks."""
        return len(self.source)

    @property
    def n_values(self) -> int:
        """Number M of stored matrix elements."""
        return int(self.offsets[-1])

    @property
    def n_orbitals(self) -> int:
        """Size of the matrix."""
        return int(self.orbital_offsets[-1])

    @cached_property
    def orbital_offsets(self) -> np.ndarray:
        """(N+1,) index of each atom's first orbital; the last entry is the size of the matrix."""
        return self.basis.offsets(self.numbers)

    @cached_property
    def offsets(self) -> np.ndarray:
        """(P+1,) positions in `values` where the blocks start."""
        sizes = self.basis.sizes(self.numbers)
        return np.concatenate([[0], np.cumsum(sizes[self.source] * sizes[self.target])])

    @property
    def lengths(self) -> np.ndarray:
        """(P,) number of elements of each block."""
        return np.diff(self.offsets)

    @cached_property
    def element_pairs(self) -> dict[ElementPair, np.ndarray]:
        """(Z_i, Z_j) → positions of the pairs of these elements."""
        return group_by_elements(self.numbers, self.source, self.target)

    @cached_property
    def reverse(self) -> np.ndarray:
        """(P,) position of the pair (j, i, −R) of each pair."""
        return reverse_index(self.source, self.target, self.shift)

    @property
    def on_site(self) -> np.ndarray:
        """(P,) bool: pairs with i = j and R = 0."""
        return is_on_site(self.source, self.target, self.shift)

    def stack(self, pairs: np.ndarray) -> np.ndarray:
        """Copy the blocks of stored pairs that share their elements.

        Parameters
        ----------
        pairs : (p,) array of int
            Positions of the pairs, at least one.

        Returns
        -------
        (p, n_i, n_j) array
            The blocks.

        Raises
        ------
        InputError
            If there are no pairs, whose elements are not known then; `blocks` is told the elements.
        """
        if len(pairs) == 0:
            raise InputError("expected at least one pair to stack, got none")
        ni = self.basis.n_orbitals(int(self.numbers[self.source[pairs[0]]]))
        nj = self.basis.n_orbitals(int(self.numbers[self.target[pairs[0]]]))
        return runs.gather(self.values, self.offsets[pairs], ni * nj).reshape(-1, ni, nj)

    def put(self, pairs: np.ndarray, blocks: np.ndarray) -> None:
        """Overwrite the blocks of different stored pairs that share their elements.

        Parameters
        ----------
        pairs : (p,) array of int
            Positions of the pairs.
        blocks : (p, n_i, n_j) array
            The new blocks.
        """
        runs.scatter(self.values, self.offsets[pairs], blocks.reshape(len(pairs), math.prod(blocks.shape[1:])))

    def block(self, i: int, j: int, shift: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
        """Return one block, zero where the pair is not stored.

        Parameters
        ----------
        i, j : int
            The atoms.
        shift : (int, int, int), default (0, 0, 0)
            The cell R of atom j.

        Returns
        -------
        (n_i, n_j) array
            A copy of the block.
        """
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
        """Look up pairs.

        Parameters
        ----------
        source, target : (p,) array of int
            The atoms i and j of each pair.
        shift : (p, 3) array of int
            The cell R of atom j.

        Returns
        -------
        (p,) array of int64
            Positions of the pairs, −1 for those that are not stored.
        """
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
        """Return an operator on the same pairs.

        Parameters
        ----------
        values : (M,) array
            The new numbers; complex ones are possible too.

        Returns
        -------
        BlockOperator
            The operator with these numbers.
        """
        return replace(self, values=values)

    def select(self, keep: np.ndarray) -> BlockOperator:
        """Return the operator on some of its pairs.

        Parameters
        ----------
        keep : (P,) array of bool, or array of int
            A mask, or ascending positions.

        Returns
        -------
        BlockOperator
            The pairs that are kept.
        """
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
        """Return the positions in `values` of all elements of some pairs, in order.

        Parameters
        ----------
        pairs : (p,) array of int
            Positions of the pairs.

        Returns
        -------
        array of int64
            Positions of their elements.
        """
        sizes = self.lengths[pairs]
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        return np.repeat(self.offsets[pairs] - (ends - sizes), sizes) + np.arange(total)

    def on_pairs(self, source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> BlockOperator:
        """Return the operator on another list of pairs.

        Parameters
        ----------
        source, target : (p,) array of int
            The atoms of each pair; sorted and unique as in every operator.
        shift : (p, 3) array of int
            The cell of the second atom.

        Returns
        -------
        BlockOperator
            Blocks of pairs that were not stored are zero; those of other pairs are dropped.
        """
        result = empty_like_pairs(self, source, target, shift)
        found = self.find(source, target, shift)
        present = np.flatnonzero(found >= 0)
        runs.copy(
            self.values, self.offsets[found[present]], result.values, result.offsets[present], result.lengths[present]
        )
        return result


def empty_like_pairs(like: BlockOperator, source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> BlockOperator:
    """Return zeros on a new list of sorted pairs, everything else being as in another operator.

    Parameters
    ----------
    like : BlockOperator
        Gives atoms, basis, precision, and whether it is folded.
    source, target : (P,) array of int
        The atoms of each pair.
    shift : (P, 3) array of int
        The cell of the second atom.

    Returns
    -------
    BlockOperator
        The zero operator.
    """
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
    """Return a zero operator.

    Parameters
    ----------
    numbers : (N,) array of int
        Atomic numbers.
    basis : BasisSet
        Orbitals of each element.
    source, target : (P,) array of int
        The atoms of each pair.
    shift : (P, 3) array of int
        The cell of the second atom.
    folded : bool
        Whether images are summed.
    dtype : dtype, default float64
        Number type.

    Returns
    -------
    BlockOperator
        Zeros on these pairs.

    Raises
    ------
    InputError
        If pairs are not sorted by (i, j, R), or one occurs twice.
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


def on_common_pairs(h: BlockOperator, s: BlockOperator) -> tuple[BlockOperator, BlockOperator]:
    """Return two operators on the pairs that either of them has, blocks that were not stored being zero.

    Parameters
    ----------
    h, s : BlockOperator
        On the same atoms.

    Returns
    -------
    h, s : BlockOperator
        The same, with one list of pairs.
    """
    same = h.n_pairs == s.n_pairs and all(
        np.array_equal(a, b) for a, b in ((h.source, s.source), (h.target, s.target), (h.shift, s.shift))
    )
    if same:
        return h, s
    pairs = np.unique(
        np.concatenate([np.column_stack([o.source, o.target, o.shift]) for o in (h, s)]), axis=0
    )  # sorted by (i, j, R), as operators are
    source, target, shift = pairs[:, 0], pairs[:, 1], pairs[:, 2:]
    return h.on_pairs(source, target, shift), s.on_pairs(source, target, shift)


def is_on_site(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Tell which pairs are an atom with itself (i = j and R = 0), each its own reverse.

    Parameters
    ----------
    source, target : (P,) array of int
        The atoms of each pair.
    shift : (P, 3) array of int
        The cell of the second atom.

    Returns
    -------
    (P,) array of bool
        True for on-site pairs.
    """
    return (source == target) & ~shift.any(axis=1)


def group_by_elements(numbers: np.ndarray, source: np.ndarray, target: np.ndarray) -> dict[ElementPair, np.ndarray]:
    """Group pairs by their elements.

    Parameters
    ----------
    numbers : (N,) array of int
        Atomic numbers.
    source, target : (P,) array of int
        The atoms of each pair.

    Returns
    -------
    dict of (int, int) to array of int64
        (Z_i, Z_j) → positions, in ascending order, of the pairs with these elements.
    """
    zi, zj = numbers[source], numbers[target]
    key = zi * 1000 + zj
    return {(int(k) // 1000, int(k) % 1000): np.flatnonzero(key == k) for k in np.flatnonzero(np.bincount(key))}


def _keys(source: np.ndarray, target: np.ndarray, image: np.ndarray, n: int, width: np.ndarray) -> np.ndarray:
    """One integer per pair; pairs sorted by (i, j, R) have ascending keys. `image` (P, 3) is R in 0 … width − 1."""
    x, y, z = np.asarray(image).T
    pair = np.asarray(source) * n + np.asarray(target)
    return ((pair * int(width[0]) + x) * int(width[1]) + y) * int(width[2]) + z
