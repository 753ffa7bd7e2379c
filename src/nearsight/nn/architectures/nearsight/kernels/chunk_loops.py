"""Chunks of bonds through the network of their pair, forward and backward, each as one compiled function.

Between the loops of `loops.py` and `layer_loops.py` BLAS multiplies, called without Python. Weights lie one after
another in the order of `PairNetwork.weights`, and so do their gradients; `where` holds their offsets. All that is
computed of a chunk of B bonds lies in one memory: array k begins at parts[k]·B (`memory_parts`). Maps to fewer than
`NARROW` outputs are filled up with zeros.
"""

from __future__ import annotations

import numba
import numpy as np

from nearsight.nn.architectures.nearsight.kernels import loops
from nearsight.nn.architectures.nearsight.kernels.layer_loops import (
    activate,
    activate_back,
    gates,
    gates_back,
    modulate,
    modulate_back,
)
from nearsight.nn.architectures.nearsight.kernels.loops import COLUMN, COMPONENTS, INPUTS, OUTPUTS, ROW, START, WIDTH
from nearsight.nn.kernels.blas import product, product_nt, product_tn, workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.narrow_products import (
    add_filled_product_tn,
    add_multiply_tn,
    filled_product,
    multiply,
    multiply_nt,
)

NARROW = 16
"""Columns to which a map to few outputs is filled up."""

(
    SPLINES, ENVELOPE, X, Y, H, Z, Y2, H2, Z2, OUT, SCALARS, BENT, SCALARS2, BENT2, T, INVERSE, T2, INVERSE2,
    DOUT, DX, DY, DZ, DH, DH2, DSCALARS, DT, WIDE,
) = range(27)  # fmt: skip
"""Arrays of a chunk: splines and envelope of the lengths; inputs; of both layers what comes of the map, of its
modulation and of the gates; outputs without envelope; of both layers their scalars and arguments of the gates, each
with its 1/√(1+x²); gradients of these; memory of narrow products."""


def memory_parts(sizes: np.ndarray, inputs: int) -> np.ndarray:
    """Return where the arrays of a chunk lie in its memory.

    Parameters
    ----------
    sizes : ndarray
        (blocks, 9) sizes of the blocks.
    inputs : int
        Numbers that all blocks see of a bond.

    Returns
    -------
    ndarray
        (arrays + 1,) offsets divided by the number of bonds; the last one is the size of the memory.
    """
    last, width = sizes[-1], sizes[0, WIDTH]
    hidden, columns = last[ROW] + last[WIDTH] * last[COMPONENTS], last[COLUMN] + last[OUTPUTS] * last[COMPONENTS]
    channels = last[START] + last[WIDTH]
    forward = [4, 1, inputs, *[hidden] * 6, columns, *[width] * 4, *[channels] * 4]
    backward = [columns, inputs, *[hidden] * 4, width, channels, 2 * NARROW]
    return np.cumsum([0, *forward, *backward])


@numba.njit(inline="always")
def _part(memory, parts, k, bonds):  # type: ignore[no-untyped-def]
    return memory[parts[k] * bonds : parts[k + 1] * bonds]


@compiled
def forward(  # type: ignore[no-untyped-def]
    features,
    source,
    target,
    distance,
    frames,
    sizes,
    place,
    where,
    weights,
    count,
    lengths,
    parts,
    filled,
    first,
    memory,
):
    """Compute the outputs of a chunk, without envelope, and all that the backward pass needs.

    features (n, K, C) of the atoms; source, target, distance, frames as in `Bonds`; sizes (blocks, 9) and place
    (blocks + 1,) as in `loops`; where and weights, offsets of the weights and the flat weights; count, number of
    functions of the bond's length; lengths, cutoff, length of the envelope and scale of the splines; parts, what
    `memory_parts` returned; filled, whether the widths of all blocks fill vectors.
    Written: first (B,) int64 of the splines, and memory.
    """
    n, blocks, space = len(source), len(sizes), workspace(memory)
    width, channels, nothing = sizes[0, WIDTH], sizes[blocks - 1, START] + sizes[blocks - 1, WIDTH], memory[:0]
    x, y, h, z = (
        _part(memory, parts, X, n),
        _part(memory, parts, Y, n),
        _part(memory, parts, H, n),
        _part(memory, parts, Z, n),
    )
    y2, h2, z2 = _part(memory, parts, Y2, n), _part(memory, parts, H2, n), _part(memory, parts, Z2, n)
    scalars, scalars2 = _part(memory, parts, SCALARS, n), _part(memory, parts, SCALARS2, n)
    t, t2, out = _part(memory, parts, T, n), _part(memory, parts, T2, n), _part(memory, parts, OUT, n)
    values, wide = _part(memory, parts, SPLINES, n).reshape(n, 4), _part(memory, parts, WIDE, n)
    cutoff, end, scale = lengths
    radial, offset = 3 * blocks, weights[where[3 * blocks + 4] :]
    loops.splines(distance, count, cutoff, scale, first, values)
    loops.envelopes(distance, cutoff, end, _part(memory, parts, ENVELOPE, n))
    loops.gather(features, source, target, frames, sizes, place, x)
    for k in range(blocks):
        own = sizes[k]
        rows, at = n * own[COMPONENTS], own[ROW] * n
        multiply(space, x[place[k] * n :], weights[where[k] :], y[at:], rows, own[WIDTH], own[INPUTS])
    modulate(filled, y, nothing, 0, first, values, weights[where[radial] :], count, offset, sizes, h)
    activate(filled, h, n * width, scalars, _part(memory, parts, BENT, n))
    product(space, scalars, weights[where[radial + 2] :], t, n, channels, width, 0)
    gates(filled, h, scalars, t, n, sizes, _part(memory, parts, INVERSE, n), z)
    for k in range(blocks):
        own = sizes[k]
        rows, at = n * own[COMPONENTS], own[ROW] * n
        multiply(space, z[at:], weights[where[blocks + k] :], y2[at:], rows, own[WIDTH], own[WIDTH])
    modulate(filled, y2, h, 1, first, values, weights[where[radial + 1] :], count, nothing, sizes, h2)
    activate(filled, h2, n * width, scalars2, _part(memory, parts, BENT2, n))
    product(space, scalars2, weights[where[radial + 3] :], t2, n, channels, width, 0)
    gates(filled, h2, scalars2, t2, n, sizes, _part(memory, parts, INVERSE2, n), z2)
    for k in range(blocks):
        own = sizes[k]
        rows, at, columns, inner = n * own[COMPONENTS], own[ROW] * n, own[OUTPUTS], own[WIDTH]
        last, into = weights[where[2 * blocks + k] :], out[own[COLUMN] * n :]
        if columns >= NARROW:
            product(space, z2[at:], last, into, rows, columns, inner, 0)
        elif columns > 0:
            filled_product(z2[at:], last, wide, into, rows, columns, inner)


@compiled
def backward(  # type: ignore[no-untyped-def]
    source, target, frames, sizes, place, where, weights, count, parts, filled, first, memory, dweights, dfeatures
):
    """Add the gradients of a chunk to those of the weights (flat) and the features (n, K, C).

    Other arguments are those of `forward`; memory also holds the gradient of the outputs.
    """
    n, blocks, space = len(source), len(sizes), workspace(memory)
    width, channels, nothing = sizes[0, WIDTH], sizes[blocks - 1, START] + sizes[blocks - 1, WIDTH], memory[:0]
    x, y, h, z = (
        _part(memory, parts, X, n),
        _part(memory, parts, Y, n),
        _part(memory, parts, H, n),
        _part(memory, parts, Z, n),
    )
    y2, h2, z2 = _part(memory, parts, Y2, n), _part(memory, parts, H2, n), _part(memory, parts, Z2, n)
    scalars, scalars2 = _part(memory, parts, SCALARS, n), _part(memory, parts, SCALARS2, n)
    t, t2, dout = _part(memory, parts, T, n), _part(memory, parts, T2, n), _part(memory, parts, DOUT, n)
    values, wide = _part(memory, parts, SPLINES, n).reshape(n, 4), _part(memory, parts, WIDE, n)
    dx, dy, dz = _part(memory, parts, DX, n), _part(memory, parts, DY, n), _part(memory, parts, DZ, n)
    dh, dh2 = _part(memory, parts, DH, n), _part(memory, parts, DH2, n)
    dscalars, dt, radial = _part(memory, parts, DSCALARS, n), _part(memory, parts, DT, n), 3 * blocks
    for k in range(blocks):
        own = sizes[k]
        rows, at, columns, inner = n * own[COMPONENTS], own[ROW] * n, own[OUTPUTS], own[WIDTH]
        above, into = dout[own[COLUMN] * n :], dweights[where[2 * blocks + k] :]
        if columns == 0:
            dz[at : at + rows * inner] = 0
            continue
        multiply_nt(space, above, weights[where[2 * blocks + k] :], dz[at:], rows, inner, columns)
        if columns >= NARROW:
            product_tn(space, z2[at:], above, into, inner, columns, rows, 1)
        else:
            add_filled_product_tn(z2[at:], above, wide, into, inner, columns, rows)
    gates_back(filled, h2, scalars2, t2, _part(memory, parts, INVERSE2, n), dz, nothing, n, sizes, dh2, dscalars, dt)
    product_tn(space, scalars2, dt, dweights[where[radial + 3] :], width, channels, n, 1)
    product_nt(space, dt, weights[where[radial + 3] :], dscalars, n, width, channels, 1)
    activate_back(filled, h2, n * width, _part(memory, parts, BENT2, n), dscalars, nothing, dh2)
    factors, dfactors = weights[where[radial + 1] :], dweights[where[radial + 1] :]
    modulate_back(filled, y2, dh2, 1, first, values, factors, count, sizes, dy, dfactors, nothing)
    for k in range(blocks):
        own = sizes[k]
        rows, at, inner, there = n * own[COMPONENTS], own[ROW] * n, own[WIDTH], where[blocks + k]
        add_multiply_tn(space, z[at:], dy[at:], dweights[there:], inner, inner, rows)
        multiply_nt(space, dy[at:], weights[there:], dz[at:], rows, inner, inner)
    gates_back(filled, h, scalars, t, _part(memory, parts, INVERSE, n), dz, dh2, n, sizes, dh, dscalars, dt)
    product_tn(space, scalars, dt, dweights[where[radial + 2] :], width, channels, n, 1)
    product_nt(space, dt, weights[where[radial + 2] :], dscalars, n, width, channels, 1)
    activate_back(filled, h, n * width, _part(memory, parts, BENT, n), dscalars, dh2, dh)
    factors, dfactors = weights[where[radial] :], dweights[where[radial] :]
    modulate_back(filled, y, dh, 0, first, values, factors, count, sizes, dy, dfactors, dweights[where[radial + 4] :])
    for k in range(blocks):
        own = sizes[k]
        rows, at, start = n * own[COMPONENTS], own[ROW] * n, place[k] * n
        add_multiply_tn(space, x[start:], dy[at:], dweights[where[k] :], own[INPUTS], own[WIDTH], rows)
        multiply_nt(space, dy[at:], weights[where[k] :], dx[start:], rows, own[INPUTS], own[WIDTH])
    loops.scatter(dx, source, target, frames, sizes, place, dfeatures)


@compiled
def add_errors(  # type: ignore[no-untyped-def]
    features, source, target, distance, frames, values, target_weights, huber_delta, scale,
    sizes, place, where, weights, count, lengths, parts, filled, first, memory, with_gradient, dweights, dfeatures,
):  # fmt: skip
    """Return the error of all bonds of a pair, chunk after chunk, and add its gradient, multiplied by `scale`.

    values, target_weights, huber_delta as in `BondTargets`; first has the length of a chunk. Without gradient,
    dweights and dfeatures are left alone. Other arguments are those of `forward` and `backward`, for all bonds.
    """
    chunk, total = len(first), 0.0
    for start in range(0, len(source), chunk):
        stop = min(start + chunk, len(source))
        n = stop - start
        ends, turns = (source[start:stop], target[start:stop]), frames[start:stop]
        forward(
            features, ends[0], ends[1], distance[start:stop], turns,
            sizes, place, where, weights, count, lengths, parts, filled, first[:n], memory,
        )  # fmt: skip
        total += loops.compare(
            _part(memory, parts, OUT, n), _part(memory, parts, ENVELOPE, n), values[start:stop],
            target_weights[start:stop], huber_delta, scale, sizes, _part(memory, parts, DOUT, n),
        )  # fmt: skip
        if with_gradient:
            backward(
                ends[0], ends[1], turns,
                sizes, place, where, weights, count, parts, filled, first[:n], memory, dweights, dfeatures,
            )  # fmt: skip
    return total
