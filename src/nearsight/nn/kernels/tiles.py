"""Products of tall matrices with small ones, whose operands already lie in the cache.

BLAS copies its operands into panels first, which costs as much as multiplying by 16 × 64 numbers. Here a tile of four
rows and two vectors of columns is kept in registers while the inner dimension runs: vector instructions are asked of
LLVM by name, which turns them into those of the machine. Columns must fill whole tiles (`fit_tiles`).
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nearsight.nn.kernels.blas import product, product_tn

BYTES = 32
"""Size of a vector: 8 float32 or 4 float64."""
VECTORS, HEIGHT = 2, 4


def fit_tiles(*columns: int) -> bool:
    """Return whether matrices of so many columns can be divided into tiles, in either precision."""
    return all(n % (VECTORS * BYTES // 4) == 0 for n in columns)


def _make_tile(height: int) -> Any:
    """Return an intrinsic that computes `height` rows by VECTORS vectors of c [+]= Σ_k a[row, k]·b[k, column]."""

    @intrinsic
    def tile(
        typing: Any,
        a: Any,
        a_start: Any,
        row_step: Any,
        inner_step: Any,
        b: Any,
        b_start: Any,
        b_step: Any,
        c: Any,
        c_start: Any,
        c_step: Any,
        inner: Any,
        add: Any,
    ) -> Any:
        size = types.intp
        signature = types.void(a, size, size, size, b, size, size, c, size, size, size, size)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            real = context.get_data_type(kinds[0].dtype)
            lanes = BYTES // (4 if kinds[0].dtype == types.float32 else 8)
            vector = ir.VectorType(real, lanes)
            _, a_start, row_step, inner_step, _, b_start, b_step, _, c_start, c_step, inner, add = arguments
            data = {
                k: builder.gep(
                    cgutils.create_struct_proxy(kinds[k])(context, builder, value=arguments[k]).data, [start]
                )
                for k, start in ((0, a_start), (4, b_start), (7, c_start))
            }
            step = context.get_constant(types.intp, lanes)

            def at(pointer: Any, *offsets: Any) -> Any:
                for offset in offsets:
                    pointer = builder.gep(pointer, [offset])
                return pointer

            def as_vector(pointer: Any) -> Any:
                return builder.bitcast(pointer, vector.as_pointer())

            def row(k: int, size: Any) -> Any:
                return builder.mul(context.get_constant(types.intp, k), size)

            places = [
                [
                    at(data[7], row(r, c_step), builder.mul(context.get_constant(types.intp, v), step))
                    for v in range(VECTORS)
                ]
                for r in range(height)
            ]
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(VECTORS)] for _ in range(height)]
            adding = builder.icmp_signed("!=", add, context.get_constant(types.intp, 0))
            with builder.if_else(adding) as (then, otherwise):
                with then:
                    for r in range(height):
                        for v in range(VECTORS):
                            builder.store(builder.load(as_vector(places[r][v]), align=4), sums[r][v])
                with otherwise:
                    for r in range(height):
                        for v in range(VECTORS):
                            builder.store(ir.Constant(vector, [0.0] * lanes), sums[r][v])
            with cgutils.for_range(builder, inner) as loop:
                left, right = (
                    at(data[0], builder.mul(loop.index, inner_step)),
                    at(data[4], builder.mul(loop.index, b_step)),
                )
                columns = [
                    builder.load(as_vector(at(right, builder.mul(context.get_constant(types.intp, v), step))), align=4)
                    for v in range(VECTORS)
                ]
                for r in range(height):
                    number = builder.load(at(left, row(r, row_step)))
                    one = builder.insert_element(
                        ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
                    )
                    spread = builder.shuffle_vector(
                        one,
                        ir.Constant(vector, ir.Undefined),
                        ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes),
                    )
                    for v in range(VECTORS):
                        term = builder.fmul(spread, columns[v], flags=("contract",))
                        builder.store(builder.fadd(builder.load(sums[r][v]), term, flags=("contract",)), sums[r][v])
            for r in range(height):
                for v in range(VECTORS):
                    builder.store(builder.load(sums[r][v]), as_vector(places[r][v]), align=4)
            return context.get_dummy_value()

        return signature, generate

    return tile


_four, _row = _make_tile(HEIGHT), _make_tile(1)


@numba.njit(inline="always")
def tiled(
    a: Any, row_step: int, inner_step: int, b: Any, c: Any, rows: int, columns: int, inner: int, add: int
) -> None:
    """Compute c (rows, columns) = Σ_k a[row·row_step + k·inner_step]·b (inner, columns) [+ c], tile by tile.

    Parameters
    ----------
    a, b, c : array
        Flat arrays.
    row_step, inner_step : int
        Strides of the rows and of the inner dimension of a.
    rows, columns, inner : int
        Sizes; `columns` fills whole tiles.
    add : int
        1 adds to c, 0 overwrites c.
    """
    width = VECTORS * BYTES // a.itemsize
    full = rows - rows % HEIGHT
    for column in range(0, columns, width):
        for row in range(0, full, HEIGHT):
            _four(
                a,
                row * row_step,
                row_step,
                inner_step,
                b,
                column,
                columns,
                c,
                row * columns + column,
                columns,
                inner,
                add,
            )
        for row in range(full, rows):
            _row(
                a,
                row * row_step,
                row_step,
                inner_step,
                b,
                column,
                columns,
                c,
                row * columns + column,
                columns,
                inner,
                add,
            )


@numba.njit(inline="always")
def times(fits: bool, space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int, add: int) -> None:
    """Compute `blas.product`, by tiles where they fit; fast where all sizes but `rows` are constants of the caller.

    Parameters
    ----------
    fits : bool
        What `fit_tiles` says of the columns.
    space, a, b, c, rows, columns, inner, add
        Arguments of `blas.product`.
    """
    if fits:
        tiled(a, inner, 1, b, c, rows, columns, inner, add)
    else:
        product(space, a, b, c, rows, columns, inner, add)


@numba.njit(inline="always")
def times_tn(fits: bool, space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int, add: int) -> None:
    """Compute `blas.product_tn`, by tiles where they fit.

    Parameters
    ----------
    fits : bool
        What `fit_tiles` says of the columns.
    space, a, b, c, rows, columns, inner, add
        Arguments of `blas.product_tn`.
    """
    if fits:
        tiled(a, 1, rows, b, c, rows, columns, inner, add)
    else:
        product_tn(space, a, b, c, rows, columns, inner, add)
