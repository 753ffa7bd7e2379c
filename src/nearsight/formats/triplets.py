"""Matrices as (row, column, value) triplets, and the blocks made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nearsight.elements import symbol_of
from nearsight.errors import FormatError
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.orbitals.basis import BasisSet

Triangle = Literal["upper", "lower", "full", "diagonal"]

ASYMMETRY = 1e-5
"""Largest |M − Mᵀ| in a full file, relative to the largest element, that is still a symmetric matrix.

CP2K integrates both halves of an atom's own block: in its full files they differ by about 1e-8, and it
diagonalises the upper triangle. So the upper triangle counts.
"""

_CHUNK = 1 << 17
_BLOCKS = 1 << 14


@dataclass(frozen=True, eq=False)
class Triplets:
    """The entries of a square matrix, in the order of the file.

    Attributes
    ----------
    path : object
        The file they come from, for messages.
    rows, columns : (n,) array of int32
        Indices, from 0.
    values : (n,) array of float64
        In the file's unit.
    """

    path: object
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def size(self) -> int:
        """Size of the smallest matrix that holds all entries: highest index + 1."""
        return int(max(self.rows.max(), self.columns.max())) + 1 if len(self) else 0

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield rows, columns and values, as many at a time as stay in the cache.

        Yields
        ------
        rows, columns, values : (m,) arrays
            The entries one after another.
        """
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            yield self.rows[part], self.columns[part], self.values[part]

    def triangle(self) -> Triangle:
        """Tell which part of the matrix the entries fill.

        Returns
        -------
        {"upper", "lower", "full", "diagonal"}
            The part.
        """
        above = any(bool((r < c).any()) for r, c, _ in self.chunks())
        below = any(bool((r > c).any()) for r, c, _ in self.chunks())
        if above and below:
            return "full"
        return "upper" if above else "lower" if below else "diagonal"


def assemble(triplets: Triplets, numbers: np.ndarray, basis: BasisSet) -> tuple[BlockOperator, Triangle]:
    """Turn a symmetric matrix at Γ into folded blocks.

    One triangle is completed; a full matrix is taken as it is (never doubled), its upper triangle where the two differ
    by rounding.

    Parameters
    ----------
    triplets : Triplets
        The entries.
    numbers : (N,) array of int
        Atomic numbers.
    basis : BasisSet
        Orbitals of each element.

    Returns
    -------
    operator : BlockOperator
        Exactly Hermitian, in the file's unit.
    triangle : {"upper", "lower", "full", "diagonal"}
        What the file held.

    Raises
    ------
    FormatError
        If an index is beyond the basis, an entry occurs twice, or a full matrix is not symmetric.
    """
    offsets = basis.offsets(numbers)
    _check_indices(triplets, numbers, basis, int(offsets[-1]))
    atom = np.repeat(np.arange(len(numbers)), np.diff(offsets))
    triangle = triplets.triangle()
    mirror = triangle in ("upper", "lower")
    operator, place = _empty(triplets, numbers, basis, atom)
    n_filled = _fill(triplets, operator, place, atom, mirror)
    n_diagonal = sum(int((r == c).sum()) for r, c, _ in triplets.chunks())
    expected = 2 * len(triplets) - n_diagonal if mirror else len(triplets)
    if n_filled != expected:
        raise FormatError(
            triplets.path,
            f"expected every (row, column) once, got {expected - n_filled} twice; are two runs in one file?",
        )
    return _symmetric(triplets, operator) if triangle == "full" else operator, triangle


def _check_indices(triplets: Triplets, numbers: np.ndarray, basis: BasisSet, size: int) -> None:
    if triplets.size <= size:
        return
    record = int(np.argmax((triplets.rows >= size) | (triplets.columns >= size)))
    raise FormatError(
        triplets.path,
        f"expected indices 1 to {size} for {len(numbers)} atoms in {basis.describe()}, got row "
        f"{triplets.rows[record] + 1}, column {triplets.columns[record] + 1} in entry {record + 1} (highest "
        f"index {triplets.size}); is it another structure or another basis?",
    )


def _empty(
    triplets: Triplets, numbers: np.ndarray, basis: BasisSet, atom: np.ndarray
) -> tuple[BlockOperator, np.ndarray]:
    """Zeros on every pair of atoms with an entry and its reverse; (N, N) int32, the place of each pair."""
    n = len(numbers)
    seen = np.zeros((n, n), dtype=bool)
    flat, row_of_atom = seen.reshape(-1), atom * n
    for rows, columns, _ in triplets.chunks():
        flat[row_of_atom[rows] + atom[columns]] = True
    seen |= seen.T
    source, target = np.nonzero(seen)
    place = np.full((n, n), -1, dtype=np.int32)
    place[source, target] = np.arange(len(source))
    return zeros(numbers, basis, source, target, np.zeros((len(source), 3), dtype=np.int64), True), place


def _fill(triplets: Triplets, operator: BlockOperator, place: np.ndarray, atom: np.ndarray, mirror: bool) -> int:
    """Write the entries into the blocks; how many elements were written, each counted once."""
    first = operator.orbital_offsets
    width = np.diff(first)
    # Element (r, c) of pair p lies at origin[p] + r·width + c: few look-ups for each of many millions.
    origin = operator.offsets[:-1] - first[operator.source] * width[operator.target] - first[operator.target]
    place, row_of_atom, width = place.reshape(-1), atom * operator.n_atoms, width[atom]
    filled = np.zeros(operator.n_values, dtype=bool)
    for rows, columns, values in triplets.chunks():
        for r, c in ((rows, columns), (columns, rows))[: 2 if mirror else 1]:
            flat = origin[place[row_of_atom[r] + atom[c]]] + r * width[c] + c
            operator.values[flat] = values
            filled[flat] = True
    return int(np.count_nonzero(filled))


def _symmetric(triplets: Triplets, operator: BlockOperator) -> BlockOperator:
    """A full matrix made exactly symmetric, in place; its upper triangle counts."""
    largest = max(float(operator.values.max()), -float(operator.values.min()))
    errors = [(0.0, 0)]
    for some in _batches(operator):
        above, mirror = operator.stack(some), operator.reverse[some]
        error = np.abs(above - operator.stack(mirror).transpose(0, 2, 1)).max(axis=(1, 2))
        worst = int(np.argmax(error))
        errors.append((float(error[worst]), int(some[worst])))
        if error[worst] > 0:
            own = mirror == some
            if own.any():
                upper = np.triu(above[own])
                above[own] = upper + np.triu(upper, 1).transpose(0, 2, 1)
            operator.put(some, above)
            operator.put(mirror, above.transpose(0, 2, 1))
    error, pair = max(errors, key=lambda e: e[0])
    if error > ASYMMETRY * largest:
        raise FormatError(
            triplets.path,
            f"expected a symmetric matrix, got {_worst(operator, pair, error)}; "
            "was the file cut off, or is it not a Γ-point matrix?",
        )
    return operator


def _batches(operator: BlockOperator) -> Iterator[np.ndarray]:
    """Pairs i ≤ j of one pair of elements at a time, not too many at once."""
    for pairs in operator.element_pairs.values():
        once = pairs[operator.source[pairs] <= operator.target[pairs]]
        for first in range(0, len(once), _BLOCKS):
            yield once[first : first + _BLOCKS]


def _worst(operator: BlockOperator, pair: int, error: float) -> str:
    atoms = int(operator.source[pair]), int(operator.target[pair])
    names = [f"{symbol_of(int(operator.numbers[k]))} (atom {k})" for k in atoms]
    return f"|M − Mᵀ| = {error:.3g} between {names[0]} and {names[1]}"


def check_complete(triplets: Triplets, size: int, missing_allowed: int) -> None:
    """Check that the diagonal has no gaps; else the end or a part of the file is missing.

    Parameters
    ----------
    triplets : Triplets
        The entries.
    size : int
        Number of orbitals.
    missing_allowed : int
        Diagonal elements that may be missing.

    Raises
    ------
    FormatError
        If more are missing.
    """
    present = np.zeros(size, dtype=bool)
    for rows, columns, _ in triplets.chunks():
        present[rows[rows == columns]] = True
    missing = np.flatnonzero(~present)
    if len(missing) > missing_allowed:
        raise FormatError(
            triplets.path,
            f"expected a diagonal element for each of the {size} orbitals, got none for "
            f"{len(missing)} (the first is orbital {missing[0] + 1}); {_why_missing(triplets, size, missing)}",
        )


def _why_missing(triplets: Triplets, size: int, missing: np.ndarray) -> str:
    """The cause: rows and columns of a smaller matrix all end at its size, while a file that is cut off lacks rows."""
    if triplets.size < size and len(missing) == size - triplets.size:
        return (
            f"the matrix has {triplets.size} orbitals: is it of another structure (fewer atoms, other ghosts) or in "
            "another basis?"
        )
    if len(missing) == size - missing[0]:
        return "was the file cut off?"
    return "elements are missing in the middle: is it the matrix of this structure in this basis?"
