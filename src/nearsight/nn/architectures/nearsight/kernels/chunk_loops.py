"""One chunk of bonds through the network of their pair, forward and backward, each as one compiled function.

Between the loops of `loops.py` BLAS multiplies, called without Python. Weights lie one after another in the order of
`passes.parameters_of`, and so do their gradients; `where` holds their offsets. BLAS is slow where a matrix has few
columns: maps to fewer than `NARROW` outputs are filled up with zeros and multiplied by tiles.
"""

from __future__ import annotations

import numba
import numpy as np

from nearsight.nn.architectures.nearsight.kernels import loops
from nearsight.nn.architectures.nearsight.kernels.loops import COLUMN, COMPONENTS, INPUTS, OUTPUTS, ROW, WIDTH
from nearsight.nn.kernels.blas import product, product_nt, product_tn, workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.tiles import tiled

NARROW = 16
"""Columns to which a map to few outputs is filled up."""


@numba.njit(inline="always")
def _matrix(weights, where, number, rows, columns):  # type: ignore[no-untyped-def]
    return weights[where[number] : where[number] + rows * columns].reshape(rows, columns)


@compiled
def _narrow_product(a, b, wide, c, rows, columns, inner):  # type: ignore[no-untyped-def]
    """Compute c (rows, columns) = a (rows, inner) · b (inner, columns), by way of `wide` (rows, NARROW)."""
    full = np.zeros(inner * NARROW, dtype=a.dtype)
    for k in range(inner):
        for q in range(columns):
            full[k * NARROW + q] = b[k * columns + q]
    tiled(a, inner, 1, full, wide, rows, NARROW, inner, 0)
    for row in range(rows):
        for q in range(columns):
            c[row * columns + q] = wide[row * NARROW + q]


@compiled
def _narrow_product_tn(a, b, wide, c, rows, columns, inner):  # type: ignore[no-untyped-def]
    """Compute c (rows, columns) += aᵀ · b, of a (inner, rows) and b (inner, columns); `wide` holds (inner, NARROW)."""
    wide[: inner * NARROW] = 0
    for row in range(inner):
        for q in range(columns):
            wide[row * NARROW + q] = b[row * columns + q]
    full = np.empty(rows * NARROW, dtype=a.dtype)
    tiled(a, 1, rows, wide, full, rows, NARROW, inner, 0)
    for k in range(rows):
        for q in range(columns):
            c[k * columns + q] += full[k * NARROW + q]


@compiled
def forward(  # type: ignore[no-untyped-def]
    features, source, target, distance, frames, sizes, place, where, weights, count, lengths,
    first, values, envelope, x, y, h, z, y2, h2, z2, scalars, scalars2, t, t2, o, wide,
):  # fmt: skip
    """Compute the outputs of a chunk, without envelope, and all that the backward pass needs.

    Parameters
    ----------
    features : array
        (n, K, C) of the atoms.
    source, target, distance, frames : array
        The bonds (`Bonds`).
    sizes, place : array
        Sizes of the blocks, and places of their inputs (`loops`).
    where, weights : array
        Offsets of the weights, and the flat weights.
    count : int
        Number of functions of the bond's length.
    lengths : tuple of float
        Cutoff, length of the envelope, scale of the splines.
    first, values, envelope : array
        Written: splines and envelope of the lengths.
    x, y, h, z, y2, h2, z2, scalars, scalars2, t, t2 : array
        Written: inputs, and of both layers what comes of the map, of its modulation and of the gates, their scalars and
        arguments.
    o : array
        Written: outputs.
    wide : array
        Scratch memory of NARROW numbers for each row.
    """
    n, blocks, space = len(source), len(sizes), workspace(x)
    width, channels, nothing = sizes[0, WIDTH], t.shape[1], x[:0]
    cutoff, end, scale = lengths
    loops.splines(distance, count, cutoff, scale, first, values)
    loops.envelopes(distance, cutoff, end, envelope)
    loops.gather(features, source, target, frames, sizes, place, x)
    for k in range(blocks):
        own = sizes[k]
        rows, at = n * own[COMPONENTS], own[ROW] * n
        product(space, x[place[k] * n :], weights[where[k] :], y[at:], rows, own[WIDTH], own[INPUTS], 0)
    radial, offset = 3 * blocks, _matrix(weights, where, 3 * blocks + 4, count, width)
    factors = _matrix(weights, where, radial, count, channels)
    loops.modulate(y, nothing, 0, first, values, factors, offset, sizes, h)
    loops.activate(h, width, n, scalars)
    product(space, scalars.reshape(-1), weights[where[radial + 2] :], t.reshape(-1), n, channels, width, 0)
    loops.apply_gates(h, scalars, t, sizes, z)
    for k in range(blocks):
        own = sizes[k]
        rows, at = n * own[COMPONENTS], own[ROW] * n
        product(space, z[at:], weights[where[blocks + k] :], y2[at:], rows, own[WIDTH], own[WIDTH], 0)
    factors = _matrix(weights, where, radial + 1, count, channels)
    loops.modulate(y2, h, 1, first, values, factors, offset[:0], sizes, h2)
    loops.activate(h2, width, n, scalars2)
    product(space, scalars2.reshape(-1), weights[where[radial + 3] :], t2.reshape(-1), n, channels, width, 0)
    loops.apply_gates(h2, scalars2, t2, sizes, z2)
    for k in range(blocks):
        own = sizes[k]
        rows, at, columns, inner = n * own[COMPONENTS], own[ROW] * n, own[OUTPUTS], own[WIDTH]
        last, out = weights[where[2 * blocks + k] :], o[own[COLUMN] * n :]
        if columns >= NARROW:
            product(space, z2[at:], last, out, rows, columns, inner, 0)
        elif columns > 0:
            _narrow_product(z2[at:], last, wide, out, rows, columns, inner)


@compiled
def backward(  # type: ignore[no-untyped-def]
    source, target, frames, sizes, place, where, weights, count,
    first, values, x, y, h, z, y2, h2, z2, scalars, scalars2, t, t2, do,
    dx, dy, dz, dh, dh2, dscalars, dt, wide, dweights, dfeatures,
):  # fmt: skip
    """Add the gradients of a chunk to those of the weights and the features.

    Parameters
    ----------
    source, target, frames, sizes, place, where, weights, count
        Arguments of `forward`.
    first, values, x, y, h, z, y2, h2, z2, scalars, scalars2, t, t2 : array
        What `forward` wrote.
    do : array
        Gradient of its outputs.
    dx, dy, dz, dh, dh2, dscalars, dt, wide : array
        Scratch memory.
    dweights : array
        Gradients of the weights, added to.
    dfeatures : array
        (n, K, C) gradient of the features, added to.
    """
    n, blocks, space = len(source), len(sizes), workspace(x)
    width, channels, radial = sizes[0, WIDTH], t.shape[1], 3 * len(sizes)
    for k in range(blocks):
        own = sizes[k]
        rows, at, columns, inner = n * own[COMPONENTS], own[ROW] * n, own[OUTPUTS], own[WIDTH]
        above, into = do[own[COLUMN] * n :], dweights[where[2 * blocks + k] :]
        if columns == 0:
            dz[at : at + rows * inner] = 0
            continue
        product_nt(space, above, weights[where[2 * blocks + k] :], dz[at:], rows, inner, columns, 0)
        if columns >= NARROW:
            product_tn(space, z2[at:], above, into, inner, columns, rows, 1)
        else:
            _narrow_product_tn(z2[at:], above, wide, into, inner, columns, rows)
    factors, dfactors = (
        _matrix(weights, where, radial + 1, count, channels),
        _matrix(dweights, where, radial + 1, count, channels),
    )
    doffset = _matrix(dweights, where, radial + 4, count, width)
    loops.gates_back(h2, scalars2, t2, dz, sizes, dh2, dscalars, dt)
    _gate_products_back(space, scalars2, dt, weights[where[radial + 3] :], dscalars, dweights[where[radial + 3] :])
    loops.activate_back(h2, width, n, dscalars, dh2)
    loops.modulate_back(y2, dh2, 1, first, values, factors, sizes, dy, dfactors, doffset[:0])
    for k in range(blocks):
        own = sizes[k]
        rows, at, inner, there = n * own[COMPONENTS], own[ROW] * n, own[WIDTH], where[blocks + k]
        product_tn(space, z[at:], dy[at:], dweights[there:], inner, inner, rows, 1)
        product_nt(space, dy[at:], weights[there:], dz[at:], rows, inner, inner, 0)
    loops.gates_back(h, scalars, t, dz, sizes, dh, dscalars, dt)
    _gate_products_back(space, scalars, dt, weights[where[radial + 2] :], dscalars, dweights[where[radial + 2] :])
    loops.activate_back(h, width, n, dscalars, dh)
    for q in range(len(dh)):
        dh[q] += dh2[q]
    factors, dfactors = (
        _matrix(weights, where, radial, count, channels),
        _matrix(dweights, where, radial, count, channels),
    )
    loops.modulate_back(y, dh, 0, first, values, factors, sizes, dy, dfactors, doffset)
    for k in range(blocks):
        own = sizes[k]
        rows, at, start = n * own[COMPONENTS], own[ROW] * n, place[k] * n
        product_tn(space, x[start:], dy[at:], dweights[where[k] :], own[INPUTS], own[WIDTH], rows, 1)
        product_nt(space, dy[at:], weights[where[k] :], dx[start:], rows, own[INPUTS], own[WIDTH], 0)
    loops.scatter(dx, source, target, frames, sizes, place, dfeatures)


@compiled
def _gate_products_back(space, scalars, dt, gates, dscalars, dgates):  # type: ignore[no-untyped-def]
    """Add the gradients of the product of scalars and gates to those of both."""
    (n, width), channels = scalars.shape, dt.shape[1]
    product_tn(space, scalars.reshape(-1), dt.reshape(-1), dgates, width, channels, n, 1)
    product_nt(space, dt.reshape(-1), gates, dscalars.reshape(-1), n, width, channels, 1)
