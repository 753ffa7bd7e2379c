"""Products of tall matrices with matrices of few columns or rows, by tiles that stay in registers.

BLAS copies its operands into panels first and scales the result: with 8 or 16 columns it reaches a tenth to a half of
its speed, tiles of 6 rows and 16 columns, or 12 rows and 8 columns, keep two thirds of it. All matrices are row-major,
contiguous, given as flat arrays or slices of them; where columns must fill vectors, `fit_vectors` says whether they do.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from nearsight.nn.kernels.blas import product, product_nt, product_tn
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.tiles import BYTES, make_tile

FEW, FEWEST = 32, 16
"""Columns, or inner numbers, up to which tiles are faster than BLAS; up to FEWEST in sums over very many rows."""
LANES = BYTES // 4
"""Numbers that columns must be multiples of."""

_six, _two, _one = make_tile(6), make_tile(2), make_tile(1)
_twelve_narrow, _four_narrow, _one_narrow = make_tile(12, 1), make_tile(4, 1), make_tile(1, 1)


@compiled
def _by_tiles(a, row_step, inner_step, b, c, rows, columns, inner, add):  # type: ignore[no-untyped-def]
    """Compute c (rows, columns) = Σ_k a[row·row_step + k·inner_step]·b (inner, columns) [+ c]; columns fill vectors."""
    lanes, q = BYTES // a.itemsize, 0
    while q < columns:
        row = 0
        if columns - q >= 2 * lanes:
            while row + 6 <= rows:
                at, to = row * row_step, row * columns + q
                _six(a, at, row_step, inner_step, b, q, columns, c, to, columns, inner, add)
                row += 6
            while row + 2 <= rows:
                at, to = row * row_step, row * columns + q
                _two(a, at, row_step, inner_step, b, q, columns, c, to, columns, inner, add)
                row += 2
            while row < rows:
                at, to = row * row_step, row * columns + q
                _one(a, at, row_step, inner_step, b, q, columns, c, to, columns, inner, add)
                row += 1
            q += 2 * lanes
        else:
            while row + 12 <= rows:
                at, to = row * row_step, row * columns + q
                _twelve_narrow(a, at, row_step, inner_step, b, q, columns, c, to, columns, inner, add)
                row += 12
            while row + 4 <= rows:
                at, to = row * row_step, row * columns + q
                _four_narrow(a, at, row_step, inner_step, b, q, columns, c, to, columns, inner, add)
                row += 4
            while row < rows:
                at, to = row * row_step, row * columns + q
                _one_narrow(a, at, row_step, inner_step, b, q, columns, c, to, columns, inner, add)
                row += 1
            q += lanes


@compiled
def _transposed(b, rows, columns):  # type: ignore[no-untyped-def]
    result = np.empty(rows * columns, b.dtype)
    for k in range(rows):
        for q in range(columns):
            result[q * rows + k] = b[k * columns + q]
    return result


@compiled
def _filled(b, rows, columns, width, result):  # type: ignore[no-untyped-def]
    """Write b (rows, columns) as (rows, width), zeros behind its columns."""
    for k in range(rows):
        for q in range(columns):
            result[k * width + q] = b[k * columns + q]
        for q in range(columns, width):
            result[k * width + q] = 0


@numba.njit(inline="always")
def multiply(space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int) -> None:
    """Compute c = a · b by tiles or BLAS.

    Parameters
    ----------
    space : tuple of arrays
        What `blas.workspace` returned.
    a, b, c : array
        Flat matrices (rows, inner), (inner, columns) and (rows, columns).
    rows, columns, inner : int
        Their sizes.
    """
    if columns <= FEW and columns % LANES == 0:
        _by_tiles(a, inner, 1, b, c, rows, columns, inner, 0)
    else:
        product(space, a, b, c, rows, columns, inner, 0)


@numba.njit(inline="always")
def multiply_nt(space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int) -> None:
    """Compute c = a · bᵀ by tiles or BLAS.

    Parameters
    ----------
    space : tuple of arrays
        What `blas.workspace` returned.
    a, b, c : array
        Flat matrices (rows, inner), (columns, inner) and (rows, columns).
    rows, columns, inner : int
        Their sizes.
    """
    if inner <= FEW and columns % LANES == 0:
        _by_tiles(a, inner, 1, _transposed(b, columns, inner), c, rows, columns, inner, 0)
    else:
        product_nt(space, a, b, c, rows, columns, inner, 0)


@numba.njit(inline="always")
def add_multiply_tn(space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int) -> None:
    """Compute c += aᵀ · b by tiles or BLAS.

    Parameters
    ----------
    space : tuple of arrays
        What `blas.workspace` returned.
    a, b, c : array
        Flat matrices (inner, rows), (inner, columns) and (rows, columns).
    rows, columns, inner : int
        Their sizes.
    """
    if columns % LANES == 0 and (columns <= FEWEST or max(rows, columns) <= FEW):
        _by_tiles(a, 1, rows, b, c, rows, columns, inner, 1)
    else:
        product_tn(space, a, b, c, rows, columns, inner, 1)


@compiled
def filled_product(a, b, wide, c, rows, columns, inner):  # type: ignore[no-untyped-def]
    """Compute c (rows, columns) = a (rows, inner) · b (inner, columns), whose few columns are filled up with zeros.

    `wide` is memory of (rows, columns rounded up to LANES) numbers.
    """
    width = -(-columns // LANES) * LANES
    full = np.empty(inner * width, a.dtype)
    _filled(b, inner, columns, width, full)
    _by_tiles(a, inner, 1, full, wide, rows, width, inner, 0)
    for row in range(rows):
        for q in range(columns):
            c[row * columns + q] = wide[row * width + q]


@compiled
def add_filled_product_tn(a, b, wide, c, rows, columns, inner):  # type: ignore[no-untyped-def]
    """Compute c (rows, columns) += aᵀ · b, of a (inner, rows) and b (inner, columns), filled up as `wide`."""
    width = -(-columns // LANES) * LANES
    full = np.empty(rows * width, a.dtype)
    _filled(b, inner, columns, width, wide)
    _by_tiles(a, 1, rows, wide, full, rows, width, inner, 0)
    for row in range(rows):
        for q in range(columns):
            c[row * columns + q] += full[row * width + q]
