"""A linear layer on a chunk of rows, forward and backward, by tiles a few rows at a time.

BLAS spends as long on copies as on products with so few columns. The reference implementation is `torch.nn.Linear`.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload

from nearsight.nn.kernels.blas import product, product_tn, workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.tiles import strided
from nearsight.nn.kernels.vectors import LANES

ROWS = 128
"""Rows at once: what tiles run through stays in the first-level cache."""


def times_by_rows(
    fits: bool,
    space: Any,
    a: Any,
    a_start: int,
    b: Any,
    b_start: int,
    c: Any,
    c_start: int,
    rows: int,
    columns: int,
    inner: int,
    add: int,
) -> None:
    """Compute c = a·b [+ c] of matrices that begin anywhere in flat arrays; only inside compiled functions.

    Parameters
    ----------
    fits : bool
        Whether `columns` fill whole vectors (`fit_vectors`).
    space : tuple of arrays
        What `workspace` returned.
    a, b, c : array
        Flat; from their starts on (rows, inner), (inner, columns) and (rows, columns).
    a_start, b_start, c_start : int
        Where the matrices begin.
    rows, columns, inner : int
        Their sizes.
    add : int
        1 adds the product to c, 0 overwrites c.
    """
    raise NotImplementedError


def add_times_tn_by_rows(
    fits: bool,
    space: Any,
    a: Any,
    a_start: int,
    b: Any,
    b_start: int,
    c: Any,
    c_start: int,
    rows: int,
    columns: int,
    inner: int,
) -> None:
    """Compute c += aᵀ·b of matrices that begin anywhere in flat arrays; only inside compiled functions.

    Parameters
    ----------
    fits, space, a, a_start, b, b_start, c, c_start, rows, columns, inner
        Arguments of `times_by_rows`, with a (inner, rows).
    """
    raise NotImplementedError


def _tiles(*arguments: Any) -> None:
    raise NotImplementedError


# Numba compiles a function anew for every constant that it is called with, but what overloads another only once a type.


@overload(_tiles)
def _compile_tiles(a, a_start, row_step, inner_step, b, b_start, b_step, c, c_start, c_step, rows, columns, inner, add):  # type: ignore[no-untyped-def]
    def call(a, a_start, row_step, inner_step, b, b_start, b_step, c, c_start, c_step, rows, columns, inner, add):  # type: ignore[no-untyped-def]
        strided(a, a_start, row_step, inner_step, b, b_start, b_step, c, c_start, c_step, rows, columns, inner, add)

    return call


@overload(times_by_rows)
def _compile_times(fits, space, a, a_start, b, b_start, c, c_start, rows, columns, inner, add):  # type: ignore[no-untyped-def]
    def call(fits, space, a, a_start, b, b_start, c, c_start, rows, columns, inner, add):  # type: ignore[no-untyped-def]
        for k in range(0, rows, ROWS):
            some, left, out = min(ROWS, rows - k), a_start + k * inner, c_start + k * columns
            if fits:
                _tiles(a, left, inner, 1, b, b_start, columns, c, out, columns, some, columns, inner, add)
            else:
                product(space, a[left:], b[b_start:], c[out:], some, columns, inner, add)

    return call


@overload(add_times_tn_by_rows)
def _compile_times_tn(fits, space, a, a_start, b, b_start, c, c_start, rows, columns, inner):  # type: ignore[no-untyped-def]
    def call(fits, space, a, a_start, b, b_start, c, c_start, rows, columns, inner):  # type: ignore[no-untyped-def]
        for k in range(0, inner, ROWS):
            some, left, right = min(ROWS, inner - k), a_start + k * rows, b_start + k * columns
            if fits:
                _tiles(a, left, 1, rows, b, right, columns, c, c_start, columns, rows, columns, some, 1)
            else:
                product_tn(space, a[left:], b[right:], c[c_start:], rows, columns, some, 1)

    return call


@compiled
def linear(x, weight_t, bias, y):  # type: ignore[no-untyped-def]
    """Compute y = x·Wᵀ + bias.

    Parameters
    ----------
    x : array
        (B, inputs).
    weight_t : array
        (inputs, outputs), Wᵀ.
    bias : array
        (outputs,).
    y : array
        Written: (B, outputs).
    """
    inputs, outputs = weight_t.shape
    for b in range(len(x)):
        row = y[b]
        for c in range(outputs):
            row[c] = bias[c]
    fits = outputs % LANES == 0
    times_by_rows(fits, workspace(x), x.ravel(), 0, weight_t.ravel(), 0, y.ravel(), 0, len(x), outputs, inputs, 1)


@compiled
def linear_back(x, weight, dy, dx, dweight, dbias):  # type: ignore[no-untyped-def]
    """Compute the gradients of `linear`.

    Parameters
    ----------
    x : array
        (B, inputs).
    weight : array
        (outputs, inputs), W.
    dy : array
        (B, outputs), gradient of y.
    dx : array
        Written: (B, inputs).
    dweight, dbias : array
        (outputs, inputs) and (outputs,), added to.
    """
    (outputs, inputs), space = weight.shape, workspace(x)
    for b in range(len(x)):
        row = dy[b]
        for c in range(outputs):
            dbias[c] += row[c]
    fits = inputs % LANES == 0
    add_times_tn_by_rows(fits, space, dy.ravel(), 0, x.ravel(), 0, dweight.ravel(), 0, outputs, inputs, len(x))
    times_by_rows(fits, space, dy.ravel(), 0, weight.ravel(), 0, dx.ravel(), 0, len(x), inputs, outputs, 0)
