"""Sparse matrices that lie on disk: built part by part from blocks, and multiplied through a memory map.

Memory holds one part while a matrix is built, and a few vectors while it is multiplied; how much of it stays in memory
beside that is the operating system's choice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from nearsight.compiled_code import compiled_with
from nearsight.electronic.matrices import SparseProduct
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.row_threads import over_rows, row_loop

Parts = Callable[[], Iterable[BlockOperator]]
"""Gives the parts of a symmetric matrix, anew with every call: each pair of `in_half` is in one part, its transpose is
not listed. Images of blocks are summed."""
_COLUMN, _VALUE = np.dtype(np.int32), np.dtype(np.float32)


def mapped_product(folder: Path, name: str, parts: Parts, drop: float) -> SparseProduct:
    """Write a symmetric matrix as CSR in single precision into two files, and return it as a product.

    Parameters
    ----------
    folder : Path
        Where the files are made; they must stay as long as the product is used.
    name : str
        What files and errors call the matrix.
    parts : callable
        Gives its parts; called twice.
    drop : float
        Elements of at most this size are left out.

    Returns
    -------
    SparseProduct
        With sorted columns in each row, each once.

    Raises
    ------
    InputError
        If a number is not finite, or the disk has no room for the matrix.
    """
    counts = np.zeros(0, dtype=np.int64)
    for part in parts():
        counts = counts if len(counts) else np.zeros(part.n_orbitals, dtype=np.int64)
        if not _count(*_places(part), part.values, drop, counts):
            raise InputError(f"expected finite numbers in {name}, got others in the rows of atom {part.source[0]} ff.")
    starts = np.concatenate([[0], np.cumsum(counts)])
    _check_disk(folder, name, int(starts[-1]))
    columns, values = (
        _made(folder / f"{name}.{what}", kind, int(starts[-1]))
        for what, kind in (("columns", _COLUMN), ("values", _VALUE))
    )
    free = starts[:-1].copy()
    for part in parts():
        _fill(*_places(part), part.values, drop, free, columns, values)
    over_rows(_sort, len(counts), starts, columns, values)
    starts = _compact(starts, columns, values)
    return SparseProduct(starts, columns[: starts[-1]], values[: starts[-1]])


def bytes_of(n_elements: int) -> int:
    """Return the bytes on disk of so many elements."""
    return n_elements * (_COLUMN.itemsize + _VALUE.itemsize)


def _check_disk(folder: Path, name: str, n_elements: int) -> None:
    free = shutil.disk_usage(folder).free
    if bytes_of(n_elements) > free:
        raise InputError(
            f"expected {bytes_of(n_elements) / 1e9:.1f} GB of disk for {n_elements:,} elements of {name}, got "
            f"{free / 1e9:.1f} GB free in {folder}; give another place (TMPDIR), or a coarser resolution"
        )


def _made(path: Path, kind: np.dtype, count: int) -> np.ndarray:
    # An empty file cannot be mapped.
    return np.asarray(np.memmap(path, dtype=kind, mode="w+", shape=(max(1, count),)))[:count]


def _places(part: BlockOperator) -> tuple[np.ndarray, ...]:
    """First row and first column of each block, its sizes, where it begins, and whether its transpose is meant too."""
    sizes, offsets = part.basis.sizes(part.numbers), part.basis.offsets(part.numbers)
    rows, columns = sizes[part.source], sizes[part.target]
    begin = np.cumsum(rows * columns) - rows * columns
    twice = (part.source != part.target) | part.shift.any(axis=1)
    return offsets[part.source], offsets[part.target], rows, columns, begin, twice


def _count_elements(first, second, rows, columns, begin, twice, values, drop, counts):  # type: ignore[no-untyped-def]
    finite = True
    for p in range(len(first)):
        at = begin[p]
        for a in range(rows[p]):
            for b in range(columns[p]):
                size = abs(values[at])
                at += 1
                finite = finite and size < np.inf
                if size > drop:
                    counts[first[p] + a] += 1
                    counts[second[p] + b] += twice[p]
    return finite


def _fill_elements(  # type: ignore[no-untyped-def]
    first, second, rows, columns, begin, twice, values, drop, free, found_columns, found
):
    for p in range(len(first)):
        at = begin[p]
        for a in range(rows[p]):
            i = first[p] + a
            for b in range(columns[p]):
                value, j = values[at], second[p] + b
                at += 1
                if abs(value) > drop:
                    found_columns[free[i]], found[free[i]] = j, value
                    free[i] += 1
                    if twice[p]:
                        found_columns[free[j]], found[free[j]] = i, value
                        free[j] += 1


@row_loop
def _sort(begin, end, starts, columns, values):  # type: ignore[no-untyped-def]
    for row in range(begin, end):
        first, last = starts[row], starts[row + 1]
        order = np.argsort(columns[first:last], kind="mergesort")
        columns[first:last] = columns[first:last][order]
        values[first:last] = values[first:last][order]
        own = first
        for place in range(first + 1, last):
            if columns[place] == columns[own]:
                values[own] += values[place]
                columns[place] = -1
            else:
                own = place


def _without_repeated(starts, columns, values):  # type: ignore[no-untyped-def]
    """Move elements over those whose column is −1; return where rows begin now."""
    result, to = np.zeros_like(starts), 0
    for row in range(len(starts) - 1):
        for place in range(starts[row], starts[row + 1]):
            if columns[place] >= 0:
                if to != place:
                    columns[to], values[to] = columns[place], values[place]
                to += 1
        result[row + 1] = to
    return result


_count = compiled_with(_count_elements, (), nogil=True)
_fill = compiled_with(_fill_elements, (), nogil=True)
_compact = compiled_with(_without_repeated, (), nogil=True)
