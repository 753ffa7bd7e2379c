"""Loops of the network `nearsight` over a chunk of B bonds, compiled with numba.

Hidden values lie block after block: block k is a contiguous (B, components, width) array at offset row_k·B of a flat
buffer, as the matrix products want them. A row of `sizes` describes a block by its inputs, width, components, first
channel, first hidden column (`HiddenBlock`), outputs and first output column. Slow twin of all: `PairNetwork`.
"""

from __future__ import annotations

import numpy as np

from nearsight.nn.kernels.compilation import compiled

INPUTS, WIDTH, COMPONENTS, START, ROW, OUTPUTS, COLUMN, PARITY, ORDER = range(9)
"""Columns of `sizes`."""


@compiled
def splines(distance, count, cutoff, scale, first, values):  # type: ignore[no-untyped-def]
    """The four functions of `radial_splines.splines` that are not zero at each distance: number of the first (those
    from `count` on do not exist), values (B, 4)."""
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
def gather(features, source, target, frames, sizes, place, x):  # type: ignore[no-untyped-def]
    """Both atoms' features (n, K, C) in the frame of each bond, as inputs of the blocks.

    place (blocks,): offset of each block's (B, components, inputs) array in the flat x, divided by B.
    """
    kk, c = features.shape[1:]
    l_max = int(np.sqrt(kk)) - 1
    both = np.empty((2 * l_max + 1, 2, c), dtype=features.dtype)
    exchange = sizes[0, INPUTS] == (l_max + 1) * c
    bonds = len(source)
    for b in range(bonds):
        i, j = source[b], target[b]
        at = 0
        for l in range(l_max + 1):
            width = 2 * l + 1
            for m in range(width):
                first, second = both[m, 0], both[m, 1]
                first[:] = 0
                second[:] = 0
                for k in range(width):
                    w = frames[b, at + m * width + k]
                    left, right = features[i, l * l + k], features[j, l * l + k]
                    for q in range(c):
                        first[q] += w * left[q]
                    for q in range(c):
                        second[q] += w * right[q]
            at += width * width
            sign = features.dtype.type(1 - 2 * (l % 2))
            for k in range(len(sizes)):
                m = sizes[k, ORDER]
                if m > l:
                    continue
                inputs, parts = sizes[k, INPUTS], sizes[k, COMPONENTS]
                for part in range(parts):
                    row = l + m if part == 0 else l - m
                    first, second = both[row, 0], both[row, 1]
                    start = place[k] * bonds + (b * parts + part) * inputs
                    if exchange:
                        factor = sign if sizes[k, PARITY] == 0 else -sign
                        out = x[start + (l - m) * c : start + (l - m) * c + c]
                        for q in range(c):
                            out[q] = first[q] + factor * second[q]
                    else:
                        out = x[start + (l - m) * 2 * c : start + (l - m + 1) * 2 * c]
                        for q in range(c):
                            out[q] = first[q]
                        for q in range(c):
                            out[c + q] = second[q]


@compiled
def scatter(dx, source, target, frames, sizes, place, dfeatures):  # type: ignore[no-untyped-def]
    """Add the gradients of `gather` to dfeatures (n, K, C)."""
    kk, c = dfeatures.shape[1:]
    l_max = int(np.sqrt(kk)) - 1
    both = np.empty((2 * l_max + 1, 2, c), dtype=dfeatures.dtype)
    exchange = sizes[0, INPUTS] == (l_max + 1) * c
    bonds = len(source)
    for b in range(bonds):
        i, j = source[b], target[b]
        at = 0
        for l in range(l_max + 1):
            width = 2 * l + 1
            both[:width] = 0
            sign = dfeatures.dtype.type(1 - 2 * (l % 2))
            for k in range(len(sizes)):
                m = sizes[k, ORDER]
                if m > l:
                    continue
                inputs, parts = sizes[k, INPUTS], sizes[k, COMPONENTS]
                for part in range(parts):
                    row = l + m if part == 0 else l - m
                    first, second = both[row, 0], both[row, 1]
                    start = place[k] * bonds + (b * parts + part) * inputs
                    if exchange:
                        factor = sign if sizes[k, PARITY] == 0 else -sign
                        back = dx[start + (l - m) * c : start + (l - m) * c + c]
                        for q in range(c):
                            first[q] += back[q]
                        for q in range(c):
                            second[q] += factor * back[q]
                    else:
                        back = dx[start + (l - m) * 2 * c : start + (l - m + 1) * 2 * c]
                        for q in range(c):
                            first[q] += back[q]
                        for q in range(c):
                            second[q] += back[c + q]
            for m in range(width):
                first, second = both[m, 0], both[m, 1]
                for k in range(width):
                    w = frames[b, at + m * width + k]
                    left, right = dfeatures[i, l * l + k], dfeatures[j, l * l + k]
                    for q in range(c):
                        left[q] += w * first[q]
                    for q in range(c):
                        right[q] += w * second[q]
            at += width * width


@compiled
def modulate(y, add, one, first, values, table, offset, sizes, h):  # type: ignore[no-untyped-def]
    """h = add + y·f, f = one + Σ values·table rows per channel; the first block gets Σ values·offset rows, too.

    add: flat like h, or empty for nothing; table (functions, channels); offset (functions, width of block 0) or empty.
    """
    bonds, count, adds = len(first), len(table), len(add) > 0
    factor = np.empty(table.shape[1], dtype=y.dtype)
    for b in range(bonds):
        factor[:] = one
        for k in range(4):
            row = first[b] + k
            if 0 <= row < count:
                v, source = values[b, k], table[row]
                for q in range(len(factor)):
                    factor[q] += v * source[q]
        for k in range(len(sizes)):
            width, parts = sizes[k, WIDTH], sizes[k, COMPONENTS]
            f = factor[sizes[k, START] : sizes[k, START] + width]
            for part in range(parts):
                at = sizes[k, ROW] * bonds + (b * parts + part) * width
                value, out = y[at : at + width], h[at : at + width]
                if adds:
                    more = add[at : at + width]
                    for q in range(width):
                        out[q] = more[q] + value[q] * f[q]
                else:
                    for q in range(width):
                        out[q] = value[q] * f[q]
        if len(offset) > 0:
            width = sizes[0, WIDTH]
            out = h[b * width : b * width + width]
            for k in range(4):
                row = first[b] + k
                if 0 <= row < count:
                    v, source = values[b, k], offset[row]
                    for q in range(width):
                        out[q] += v * source[q]


@compiled
def modulate_back(y, dh, one, first, values, table, sizes, dy, dtable, doffset):  # type: ignore[no-untyped-def]
    """Gradients of `modulate`: dy is written; dtable and, unless empty, doffset are added to."""
    bonds, count = len(first), len(table)
    factor = np.empty(table.shape[1], dtype=y.dtype)
    dfactor = np.empty(table.shape[1], dtype=y.dtype)
    for b in range(bonds):
        factor[:] = one
        dfactor[:] = 0
        for k in range(4):
            row = first[b] + k
            if 0 <= row < count:
                v, source = values[b, k], table[row]
                for q in range(len(factor)):
                    factor[q] += v * source[q]
        for k in range(len(sizes)):
            width, parts = sizes[k, WIDTH], sizes[k, COMPONENTS]
            f = factor[sizes[k, START] : sizes[k, START] + width]
            df = dfactor[sizes[k, START] : sizes[k, START] + width]
            for part in range(parts):
                at = sizes[k, ROW] * bonds + (b * parts + part) * width
                value, above, out = y[at : at + width], dh[at : at + width], dy[at : at + width]
                for q in range(width):
                    out[q] = above[q] * f[q]
                for q in range(width):
                    df[q] += above[q] * value[q]
        for k in range(4):
            row = first[b] + k
            if 0 <= row < count:
                v, out = values[b, k], dtable[row]
                for q in range(len(dfactor)):
                    out[q] += v * dfactor[q]
                if len(doffset) > 0:
                    width = sizes[0, WIDTH]
                    above, out = dh[b * width : b * width + width], doffset[row]
                    for q in range(width):
                        out[q] += v * above[q]


@compiled
def activate(h, width, bonds, scalars):  # type: ignore[no-untyped-def]
    """scalars (B, width) = ½x(1 + x/√(1+x²)) of the first block."""
    half, one = h.dtype.type(0.5), h.dtype.type(1)
    for b in range(bonds):
        value, out = h[b * width : b * width + width], scalars[b]
        for q in range(width):
            v = value[q]
            out[q] = half * v * (one + v / np.sqrt(one + v * v))


@compiled
def apply_gates(h, scalars, t, sizes, z):  # type: ignore[no-untyped-def]
    """z = h·(1 + t/√(1+t²)), with the scalars in place of the first block; t (B, channels)."""
    one, bonds = h.dtype.type(1), len(t)
    g = np.empty(t.shape[1], dtype=h.dtype)
    for b in range(bonds):
        raw = t[b]
        for q in range(len(g)):
            g[q] = one + raw[q] / np.sqrt(one + raw[q] * raw[q])
        for k in range(len(sizes)):
            width, parts = sizes[k, WIDTH], sizes[k, COMPONENTS]
            f = g[sizes[k, START] : sizes[k, START] + width]
            for part in range(parts):
                at = sizes[k, ROW] * bonds + (b * parts + part) * width
                value, out = (scalars[b] if k == 0 else h[at : at + width]), z[at : at + width]
                for q in range(width):
                    out[q] = value[q] * f[q]


@compiled
def gates_back(h, scalars, t, dz, sizes, dh, dscalars, dt):  # type: ignore[no-untyped-def]
    """Gradients of `apply_gates`: dt (B, channels), dscalars (B, width), and dh but for its first block."""
    one, bonds = h.dtype.type(1), len(t)
    g = np.empty(t.shape[1], dtype=h.dtype)
    slope = np.empty(t.shape[1], dtype=h.dtype)
    for b in range(bonds):
        raw, out_t = t[b], dt[b]
        for q in range(len(g)):
            inverse = one / np.sqrt(one + raw[q] * raw[q])
            g[q] = one + raw[q] * inverse
            slope[q] = inverse * inverse * inverse
        for k in range(len(sizes)):
            width, parts, start = sizes[k, WIDTH], sizes[k, COMPONENTS], sizes[k, START]
            f, sums = g[start : start + width], out_t[start : start + width]
            sums[:] = 0
            for part in range(parts):
                at = sizes[k, ROW] * bonds + (b * parts + part) * width
                above = dz[at : at + width]
                value = scalars[b] if k == 0 else h[at : at + width]
                out = dscalars[b] if k == 0 else dh[at : at + width]
                for q in range(width):
                    out[q] = above[q] * f[q]
                for q in range(width):
                    sums[q] += above[q] * value[q]
        for q in range(len(g)):
            out_t[q] *= slope[q]


@compiled
def activate_back(h, width, bonds, dscalars, dh):  # type: ignore[no-untyped-def]
    """Gradient of `activate`, written to the first block of dh."""
    half, one = h.dtype.type(0.5), h.dtype.type(1)
    for b in range(bonds):
        value, above, out = h[b * width : b * width + width], dscalars[b], dh[b * width : b * width + width]
        for q in range(width):
            v = value[q]
            inverse = one / np.sqrt(one + v * v)
            out[q] = above[q] * half * (one + v * inverse + v * inverse * inverse * inverse)


@compiled
def compare(o, envelope, values, weights, huber_delta, sizes, do):  # type: ignore[no-untyped-def]
    """Error of the outputs o·envelope, `BondTargets.error`; its gradient is written to do (like o).

    o: flat, block k a (B, components, outputs) array at offset column_k·B; values, weights (B, columns).
    """
    total, bonds = 0.0, len(envelope)
    soft, zero, two = o.dtype.type(huber_delta), o.dtype.type(0), o.dtype.type(2)
    for k in range(len(sizes)):
        n, parts, column = sizes[k, OUTPUTS], sizes[k, COMPONENTS], sizes[k, COLUMN]
        for b in range(bonds):
            at, e, sums = (column * bonds) + b * parts * n, envelope[b], zero
            for q in range(n):
                square, w = soft * soft, weights[b, column + q]
                for part in range(parts):
                    error = w * (o[at + part * n + q] * e - values[b, column + part * n + q])
                    square += error * error
                    do[at + part * n + q] = error * w * e
                if soft > 0:
                    norm = np.sqrt(square)
                    sums += norm - soft
                    factor = o.dtype.type(1) / norm
                else:
                    sums += square
                    factor = two
                for part in range(parts):
                    do[at + part * n + q] *= factor
            total += sums
    return total
