"""Loops of the network `nearsight` over a chunk of B bonds, compiled with numba.

Hidden values lie block after block: block k is a contiguous (B, components, width) array at offset row_k·B of a flat
buffer, as the matrix products want them. A row of `sizes` describes a block by its inputs, width, components, first
channel, first hidden column (`HiddenBlock`), outputs, first output column, parity and order. The reference
implementation of all loops is `PairNetwork`.
"""

from __future__ import annotations

import numba
import numpy as np

from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.tiles import BYTES, add_row, strided

INPUTS, WIDTH, COMPONENTS, START, ROW, OUTPUTS, COLUMN, PARITY, ORDER = range(9)
"""Columns of `sizes`."""


@compiled
def splines(distance, count, cutoff, scale, first, values):  # type: ignore[no-untyped-def]
    """Compute the four functions of `pair_network.splines` that are not zero at each distance.

    Parameters
    ----------
    distance : array
        (B,) Å.
    count : int
        Number of functions; those from `count` on do not exist.
    cutoff, scale : float
        Cutoff in Å, and factor of the functions.
    first, values : array
        Written: (B,) number of the first function, and (B, 4) values.
    """
    for b in range(len(distance)):
        s = distance[b] * count / cutoff
        k = int(s)
        t = s - k
        first[b] = k
        values[b, 0] = scale * (1 - t) ** 3 / 6
        values[b, 1] = scale * (3 * t**3 - 6 * t**2 + 4) / 6
        values[b, 2] = scale * (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
        values[b, 3] = scale * t**3 / 6


@compiled
def envelopes(distance, cutoff, end, envelope):  # type: ignore[no-untyped-def]
    """Compute `pair_network.envelope`.

    Parameters
    ----------
    distance : array
        (B,) Å.
    cutoff, end : float
        Cutoff, and the length before it on which outputs fall to zero, Å.
    envelope : array
        Written: (B,) factors.
    """
    for b in range(len(distance)):
        x = min(max((distance[b] - (cutoff - end)) / end, 0.0), 1.0)
        envelope[b] = 1 - x**3 * (10 - 15 * x + 6 * x**2)


@numba.njit(inline="always")
def _moved(vectors, one, source, start, goal, to, count, add):  # type: ignore[no-untyped-def]
    """Copy numbers, or add them."""
    if vectors:
        add_row(one, source, start, goal, to, count, add)
    else:
        left, right = source[start : start + count], goal[to : to + count]
        for q in range(count):
            right[q] = left[q] + (right[q] if add else 0)


@numba.njit(inline="always")
def _turned(vectors, turns, turn, row_step, inner_step, a, at, out, to, c, rows, inner):  # type: ignore[no-untyped-def]
    """Compute out[to + row·c + q] = Σ_k turns[turn + row·row_step + k·inner_step]·a[at + k·c + q]."""
    if vectors:
        strided(turns, turn, row_step, inner_step, a, at, c, out, to, c, rows, c, inner, 0)
    else:
        for row in range(rows):
            mine = out[to + row * c : to + row * c + c]
            mine[:] = 0
            for k in range(inner):
                factor, other = turns[turn + row * row_step + k * inner_step], a[at + k * c : at + k * c + c]
                for q in range(c):
                    mine[q] += factor * other[q]


@compiled
def gather(features, source, target, frames, sizes, place, x):  # type: ignore[no-untyped-def]
    """Write both atoms' features in the frame of each bond, as inputs of the blocks.

    Only the rows that a block asks for are turned. Where both elements are equal, sums and differences of the atoms
    are: these are what the blocks of both parities see.

    Parameters
    ----------
    features : array
        (n, K, C) of the atoms.
    source, target : array
        (B,) atoms of each bond.
    frames : array
        (B, Σ_l (2l+1)²) rows of the Wigner matrices of each bond.
    sizes : array
        (blocks, 9) sizes of the blocks.
    place : array
        (blocks,) offset of each block's (B, components, inputs) array in the flat x, divided by B.
    x : array
        Written: the inputs.
    """
    kk, c = features.shape[1:]
    l_max, size, bonds = int(np.sqrt(kk)) - 1, kk * c, len(source)
    exchange, vectors = sizes[0, INPUTS] == (l_max + 1) * c, c % (BYTES // features.itemsize) == 0
    flat, turns, highest = features.reshape(-1), frames.reshape(-1), sizes[:, ORDER].max()
    ends, rows, one = np.empty(2 * size, flat.dtype), np.empty(2 * size, flat.dtype), np.ones(1, flat.dtype)
    total, difference = ends[:size], ends[size:]  # of slices the compiler knows that indices are not negative
    for b in range(bonds):
        first, second = flat[source[b] * size :], flat[target[b] * size :]
        if exchange:
            for q in range(size):
                total[q] = first[q] + second[q]
            for q in range(size):
                difference[q] = first[q] - second[q]
        for l in range(l_max + 1):
            width, order = 2 * l + 1, min(l, highest)
            turn = b * frames.shape[1] + l * (2 * l - 1) * width // 3 + (l - order) * width
            at, to, count = l * l * c, (l * l + l - order) * c, 2 * order + 1
            if exchange:
                _turned(vectors, turns, turn, width, 1, ends, at, rows, to, c, count, width)
                _turned(vectors, turns, turn, width, 1, ends, size + at, rows, size + to, c, count, width)
            else:
                _turned(vectors, turns, turn, width, 1, first, at, rows, to, c, count, width)
                _turned(vectors, turns, turn, width, 1, second, at, rows, size + to, c, count, width)
        for k in range(len(sizes)):
            m, inputs, components, parity = sizes[k, ORDER], sizes[k, INPUTS], sizes[k, COMPONENTS], sizes[k, PARITY]
            for component in range(components):
                start = place[k] * bonds + (b * components + component) * inputs
                for l in range(m, l_max + 1):
                    row = (l * l + l + m - 2 * m * component) * c
                    if exchange:
                        half = (l + parity) % 2 * size
                        _moved(vectors, one, rows, half + row, x, start + (l - m) * c, c, 0)
                    else:
                        to = start + (l - m) * 2 * c
                        _moved(vectors, one, rows, row, x, to, c, 0)
                        _moved(vectors, one, rows, size + row, x, to + c, c, 0)


@compiled
def scatter(dx, source, target, frames, sizes, place, dfeatures):  # type: ignore[no-untyped-def]
    """Add the gradients of `gather` to those of the features.

    Parameters
    ----------
    dx : array
        Gradient of the inputs, flat as in `gather`.
    source, target, frames, sizes, place
        Arguments of `gather`.
    dfeatures : array
        (n, K, C), added to.
    """
    kk, c = dfeatures.shape[1:]
    l_max, size, bonds = int(np.sqrt(kk)) - 1, kk * c, len(source)
    exchange, vectors = sizes[0, INPUTS] == (l_max + 1) * c, c % (BYTES // dx.itemsize) == 0
    flat, turns, highest = dfeatures.reshape(-1), frames.reshape(-1), sizes[:, ORDER].max()
    # Rows that no block asks for stay zero.
    ends, rows, one = np.empty(2 * size, flat.dtype), np.zeros(2 * size, flat.dtype), np.ones(1, flat.dtype)
    total, difference = ends[:size], ends[size:]
    for b in range(bonds):
        for k in range(len(sizes)):
            m, inputs, components, parity = sizes[k, ORDER], sizes[k, INPUTS], sizes[k, COMPONENTS], sizes[k, PARITY]
            for component in range(components):
                start = place[k] * bonds + (b * components + component) * inputs
                for l in range(m, l_max + 1):
                    row = (l * l + l + m - 2 * m * component) * c
                    if exchange:
                        half = (l + parity) % 2 * size
                        _moved(vectors, one, dx, start + (l - m) * c, rows, half + row, c, 0)
                    else:
                        at = start + (l - m) * 2 * c
                        _moved(vectors, one, dx, at, rows, row, c, 0)
                        _moved(vectors, one, dx, at + c, rows, size + row, c, 0)
        for l in range(l_max + 1):
            width, order = 2 * l + 1, min(l, highest)
            turn = b * frames.shape[1] + l * (2 * l - 1) * width // 3 + (l - order) * width
            at, to, count = (l * l + l - order) * c, l * l * c, 2 * order + 1
            _turned(vectors, turns, turn, 1, width, rows, at, ends, to, c, width, count)
            _turned(vectors, turns, turn, 1, width, rows, size + at, ends, size + to, c, width, count)
        if exchange:
            for q in range(size):
                both = total[q] + difference[q]
                difference[q] = total[q] - difference[q]
                total[q] = both
        _moved(vectors, one, ends, 0, flat, source[b] * size, size, 1)
        _moved(vectors, one, ends, size, flat, target[b] * size, size, 1)


@compiled
def compare(o, envelope, values, weights, huber_delta, scale, sizes, do):  # type: ignore[no-untyped-def]
    """Return `BondTargets.error` of the outputs o·envelope, and write its gradient times a factor.

    Parameters
    ----------
    o : array
        Flat; block k is a (B, components, outputs) array at offset column_k·B.
    envelope : array
        (B,) factors.
    values, weights : array
        (B, columns), targets and their weights.
    huber_delta : float
        Delta of the pseudo-Huber loss; 0 for squares.
    scale : float
        Factor of the gradient.
    sizes : array
        (blocks, 9) sizes of the blocks.
    do : array
        Written: gradient with respect to o, times `scale`.

    Returns
    -------
    float
        The error.
    """
    total, bonds, columns = 0.0, len(envelope), values.shape[1]
    delta, factor = o.dtype.type(huber_delta), o.dtype.type(scale if huber_delta > 0 else 2 * scale)
    # The rows of one bond, which a vector at a time can take: errors by column, squares and slopes by channel.
    error, square, slope = (np.empty(columns, o.dtype), np.empty(columns, o.dtype), np.empty(columns, o.dtype))
    for b in range(bonds):
        e, channel = envelope[b], 0
        for k in range(len(sizes)):
            n, components, column = sizes[k, OUTPUTS], sizes[k, COMPONENTS], sizes[k, COLUMN]
            at = column * bonds + b * components * n
            for q in range(n):
                square[channel + q] = delta * delta
            for component in range(components):
                for q in range(n):
                    place = component * n + q
                    own = weights[b, column + q] * (o[at + place] * e - values[b, column + place])
                    error[column + place] = own
                    square[channel + q] += own * own
            channel += n
        if delta > 0:
            for q in range(channel):
                norm = np.sqrt(square[q])
                total += norm - delta
                slope[q] = factor / norm
        else:
            for q in range(channel):
                total += square[q]
                slope[q] = factor
        channel = 0
        for k in range(len(sizes)):
            n, components, column = sizes[k, OUTPUTS], sizes[k, COMPONENTS], sizes[k, COLUMN]
            at = column * bonds + b * components * n
            for component in range(components):
                for q in range(n):
                    place = component * n + q
                    do[at + place] = error[column + place] * weights[b, column + q] * e * slope[channel + q]
            channel += n
    return total
