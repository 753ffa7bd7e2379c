"""Products of tall matrices with small ones, whose operands already lie in the cache.

BLAS copies its operands into panels first, which costs as much as multiplying by 16 × 64 numbers. Here a tile of few
rows and vectors of columns is kept in registers while the inner dimension runs: vector instructions are asked of
LLVM by name, which turns them into those of the machine. Columns must fill whole tiles (`fit_tiles`) or, for products
whose rows lie anywhere (`strided`), whole vectors (`fit_vectors`).
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


def fit_vectors(*columns: int) -> bool:
    """Return whether rows of so many columns can be divided into vectors, in either precision."""
    return all(n % (BYTES // 4) == 0 for n in columns)


def make_tile(height: int, vectors: int = VECTORS) -> Any:
    """Return an intrinsic that computes `height` rows by `vectors` vectors of c [+]= Σ_k a[row, k]·b[k, column]."""

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
                    for v in range(vectors)
                ]
                for r in range(height)
            ]
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(height)]
            adding = builder.icmp_signed("!=", add, context.get_constant(types.intp, 0))
            with builder.if_else(adding) as (then, otherwise):
                with then:
                    for r in range(height):
                        for v in range(vectors):
                            builder.store(builder.load(as_vector(places[r][v]), align=4), sums[r][v])
                with otherwise:
                    for r in range(height):
                        for v in range(vectors):
                            builder.store(ir.Constant(vector, [0.0] * lanes), sums[r][v])
            with cgutils.for_range(builder, inner) as loop:
                left, right = (
                    at(data[0], builder.mul(loop.index, inner_step)),
                    at(data[4], builder.mul(loop.index, b_step)),
                )
                columns = [
                    builder.load(as_vector(at(right, builder.mul(context.get_constant(types.intp, v), step))), align=4)
                    for v in range(vectors)
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
                    for v in range(vectors):
                        term = builder.fmul(spread, columns[v], flags=("contract",))
                        builder.store(builder.fadd(builder.load(sums[r][v]), term, flags=("contract",)), sums[r][v])
            for r in range(height):
                for v in range(vectors):
                    builder.store(builder.load(sums[r][v]), as_vector(places[r][v]), align=4)
            return context.get_dummy_value()

        return signature, generate

    return tile


_four, _row = make_tile(HEIGHT), make_tile(1)
_four_wide, _three_wide, _two_wide, _row_wide = (make_tile(height, 3) for height in (HEIGHT, 3, 2, 1))
_eight_narrow, _four_narrow, _row_narrow = make_tile(2 * HEIGHT, 1), make_tile(HEIGHT, 1), make_tile(1, 1)


@numba.njit(inline="always")
def strided(
    a: Any,
    a_start: int,
    row_step: int,
    inner_step: int,
    b: Any,
    b_start: int,
    b_step: int,
    c: Any,
    c_start: int,
    c_step: int,
    rows: int,
    columns: int,
    inner: int,
    add: int,
) -> None:
    """Compute c[row, q] = Σ_k a[row, k]·b[k, q] [+ c], each matrix with any start and steps, tile by tile.

    Parameters
    ----------
    a, b, c : array
        Flat arrays.
    a_start, row_step, inner_step : int
        First number of a, and its steps from row to row and along the inner dimension.
    b_start, b_step, c_start, c_step : int
        First numbers of b and c, and their steps from row to row.
    rows, columns, inner : int
        Sizes; `columns` fills whole vectors.
    add : int
        1 adds to c, 0 overwrites c.
    """
    lanes = BYTES // a.itemsize
    q = 0
    while q < columns:
        vectors = (columns - q) // lanes
        vectors = 2 if vectors == 4 else min(vectors, 3)
        row = 0
        while row < rows:
            rest = min(rows - row, 2 * HEIGHT if vectors == 1 else HEIGHT)
            if vectors < 3 and rest < 2 * HEIGHT:
                rest = HEIGHT if rest >= HEIGHT else 1
            left, right, out = a_start + row * row_step, b_start + q, c_start + row * c_step + q
            if vectors == 3 and rest == HEIGHT:
                _four_wide(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            elif vectors == 3 and rest == 3:
                _three_wide(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            elif vectors == 3 and rest == 2:
                _two_wide(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            elif vectors == 3:
                _row_wide(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            elif vectors == 2 and rest == HEIGHT:
                _four(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            elif vectors == 2:
                _row(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            elif rest == 2 * HEIGHT:
                _eight_narrow(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            elif rest == HEIGHT:
                _four_narrow(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            else:
                _row_narrow(a, left, row_step, inner_step, b, right, b_step, c, out, c_step, inner, add)
            row += rest
        q += vectors * lanes


_three, _five = make_tile(3), make_tile(5)
_three_narrow, _five_narrow, _seven_narrow, _nine_narrow = (make_tile(height, 1) for height in (3, 5, 7, 9))


@numba.njit(inline="always")
def turned(
    a: Any,
    a_start: int,
    row_step: int,
    inner_step: int,
    b: Any,
    b_start: int,
    c: Any,
    c_start: int,
    size: int,
    columns: int,
) -> None:
    """Compute `strided` of a square matrix a of few rows, and of b and c whose rows of `columns` lie side by side.

    Tiles are as high as matrices of the first degrees of rotations: sums that do not wait for one another.

    Parameters
    ----------
    a, a_start, row_step, inner_step, b, b_start, c, c_start, columns
        Arguments of `strided`.
    size : int
        Rows of all three, and columns of a.
    """
    lanes = BYTES // a.itemsize
    q = 0
    while q < columns:
        vectors = min((columns - q) // lanes, 2)
        row = 0
        while row < size:
            rest = size - row
            left, right, out = a_start + row * row_step, b_start + q, c_start + row * columns + q
            if vectors == 2 and (rest == 5 or rest >= 8):
                rest = 5
                _five(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            elif vectors == 2 and rest >= HEIGHT:
                rest = HEIGHT
                _four(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            elif vectors == 2 and rest == 3:
                _three(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            elif vectors == 2:
                rest = 1
                _row(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            elif rest >= 9:
                rest = 9
                _nine_narrow(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            elif rest >= 7:
                rest = 7
                _seven_narrow(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            elif rest >= 5:
                rest = 5
                _five_narrow(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            elif rest >= 3:
                rest = 3
                _three_narrow(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            else:
                rest = 1
                _row_narrow(a, left, row_step, inner_step, b, right, columns, c, out, columns, size, 0)
            row += rest
        q += vectors * lanes


@numba.njit(inline="always")
def add_row(one: Any, b: Any, b_start: int, c: Any, c_start: int, columns: int, add: int) -> None:
    """Compute c[c_start + q] = b[b_start + q] [+ c[c_start + q]] for whole vectors of columns.

    Parameters
    ----------
    one : array
        (1,) the number one.
    b, c : array
        Flat arrays.
    b_start, c_start : int
        Where the numbers begin.
    columns : int
        How many there are.
    add : int
        1 adds to c, 0 overwrites c.
    """
    lanes = BYTES // one.itemsize
    q = 0
    while q < columns:
        if columns - q >= 3 * lanes:
            _row_wide(one, 0, 0, 1, b, b_start + q, 0, c, c_start + q, 0, 1, add)
            q += 3 * lanes
        else:
            _row_narrow(one, 0, 0, 1, b, b_start + q, 0, c, c_start + q, 0, 1, add)
            q += lanes


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
def times_in_vectors(
    fits: bool, space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int, add: int
) -> None:
    """Compute `blas.product` with columns that may be too few for `times`, but fill whole vectors where `fits`.

    Parameters
    ----------
    fits, space, a, b, c, rows, columns, inner, add
        Arguments of `times`.
    """
    if fits:
        strided(a, 0, inner, 1, b, 0, columns, c, 0, columns, rows, columns, inner, add)
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


@numba.njit(inline="always")
def times_tn_in_vectors(
    fits: bool, space: Any, a: Any, b: Any, c: Any, rows: int, columns: int, inner: int, add: int
) -> None:
    """Compute `blas.product_tn`, by tiles where columns fill whole vectors, as `fits` says.

    Parameters
    ----------
    fits, space, a, b, c, rows, columns, inner, add
        Arguments of `times_tn`.
    """
    if fits:
        strided(a, 0, 1, rows, b, 0, columns, c, 0, columns, rows, columns, inner, add)
    else:
        product_tn(space, a, b, c, rows, columns, inner, add)
