"""Feed-forward network, head and square error of a chunk of edges, forward and backward, degree by degree.

After the norm nothing mixes degrees but the gates, which are functions of l = 0. So each degree of a few edges runs
through both linear layers, the head, the comparison with targets in the edges' frames and back, while its features are
in the second-level cache; only gradients of the inputs leave. Slow twin: `FeedForward` and `CoupledHead`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from nearsight.nn.kernels.blas import product, product_nt, product_tn, workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.tiles import columns_of, tile_product, tile_product_tn

ROWS = 320
"""Rows (components of edges) at once."""
WIDE = 16
"""From so many irreps of one degree on the head is a matrix product, below a loop."""


@cache
def degree_sweep(l_max: int, channels: int, feed_forward: int) -> Callable[..., Any]:
    """The pass for a network's sizes; `sweep` documents its arguments."""
    C, F = channels, feed_forward
    into, out_of = _feed_forward_kernels(channels, feed_forward)
    head_forward, head_back = _head_kernels(channels)
    take = _error_kernel()

    def sweep(compare, back, e, f, raw, gates, up, up_t, down, down_t, down_bias, head, head_bias, counts, starts,
              given, mask, o, de, df, draw, dup, ddown, ddown_bias, dhead, dhead_bias):
        """Degree-major flat arrays: e, f, de, df (width C), o, given (degree l: counts[l] wide).

        compare: `given` are targets, and Σ error² is returned; else, with `back`, it is the gradient of the outputs.
        back: write de, df (that of l = 0 without the gates' part) and draw, add to the gradients of the parameters.
        raw, gates: (B, (l_max+1)·F) before and after the sigmoid; the first F columns are u of l = 0.
        up (l_max+1, F, C) and down (l_max+1, C, F), both transposed per degree, too; head (irreps, C), mask (B, size)
        or empty, starts (irreps,).
        """
        B, space = len(raw), workspace(e)
        height = max(ROWS, 2 * l_max + 1)
        u, g, dg = np.empty(height * F, e.dtype), np.empty(height * F, e.dtype), np.empty(height * F, e.dtype)
        e2, de2 = np.empty(height * C, e.dtype), np.empty(height * C, e.dtype)
        own = np.empty(height * max(1, counts.max()), e.dtype)
        error = 0.0
        offset, first = 0, 0
        for l in range(l_max + 1):
            n, size = counts[l], 2 * l + 1
            rows_of_head, slots = head[first:first + n], starts[first:first + n]
            step = max(1, ROWS // size)
            for b0 in range(0, B, step):
                b1 = min(B, b0 + step)
                rows, at, base = (b1 - b0) * size, l * l * B * C + b0 * size * C, offset + b0 * size * n
                into(space, l, e[at:], f[at:], raw[b0:b1], gates[b0:b1], up_t[l].ravel(), down_t[l].ravel(), down_bias,
                     u, g, e2)
                if compare or not back:
                    head_forward(space, e2, rows_of_head, head_bias, l == 0, own, rows, n)
                if compare:
                    error += take(given[base:], mask[b0:b1], slots, own, rows, size, n)
                elif back:
                    for k in range(rows * n):
                        own[k] = given[base + k]
                else:
                    for k in range(rows * n):
                        o[base + k] = own[k]
                if back:
                    head_back(space, e2, rows_of_head, own, de2, dhead[first:first + n], dhead_bias, l == 0, rows, n)
                    for k in range(rows * C):
                        de[at + k] = de2[k]
                    out_of(space, l, f[at:], raw[b0:b1], gates[b0:b1], up[l].ravel(), down[l].ravel(), u, g, de2, dg,
                           df[at:], draw[b0:b1], dup[l].ravel(), ddown[l].ravel(), ddown_bias)
            offset += B * size * n
            first += n
        return error

    return compiled(sweep)


@cache
def _feed_forward_kernels(channels: int, feed_forward: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Linear, gate, linear on one degree of a few edges."""
    C, F = channels, feed_forward
    fits = C % columns_of(4) == 0 and F % columns_of(4) == 0
    times, times_tn = (tile_product, tile_product_tn) if fits else (product, product_tn)

    def into(space, l, e, f, raw, gates, up_t, down_t, down_bias, u, g, e2):
        """u, g = gated u, e2 = e + down·g (+ bias) of the first rows of e and f."""
        size = 2 * l + 1
        rows = len(raw) * size
        if l > 0:
            times(space, f, up_t, u, rows, F, C, 0)
        for b in range(len(raw)):
            weight = gates[b, l * F:l * F + F]
            for row in range(b * size, b * size + size):
                value, out = raw[b, :F] if l == 0 else u[row * F:row * F + F], g[row * F:row * F + F]
                for c in range(F):
                    out[c] = value[c] * weight[c]
        for k in range(rows * C):
            e2[k] = e[k]
        if l == 0:
            for row in range(rows):
                out = e2[row * C:row * C + C]
                for c in range(C):
                    out[c] += down_bias[c]
        times(space, g, down_t, e2, rows, C, F, 1)

    def out_of(space, l, f, raw, gates, up, down, u, g, de2, dg, df, draw, dup, ddown, ddown_bias):
        """Gradients from that of e2; dg becomes that of u."""
        size = 2 * l + 1
        rows = len(raw) * size
        one, zero = f.dtype.type(1), f.dtype.type(0)
        times_tn(space, de2, g, ddown, C, F, rows, 1)
        times(space, de2, down, dg, rows, F, C, 0)
        if l == 0:
            for b in range(rows):
                value, weight, out = raw[b, :F], gates[b, :F], draw[b, :F]
                above, given = dg[b * F:b * F + F], de2[b * C:b * C + C]
                for c in range(F):
                    out[c] = above[c] * weight[c] * (one + value[c] * (one - weight[c]))
                for c in range(C):
                    ddown_bias[c] += given[c]
            return
        sums = np.empty(F, dtype=f.dtype)
        for b in range(len(raw)):
            weight, out = gates[b, l * F:l * F + F], draw[b, l * F:l * F + F]
            for c in range(F):
                sums[c] = zero
            for row in range(b * size, b * size + size):
                value, above = u[row * F:row * F + F], dg[row * F:row * F + F]
                for c in range(F):
                    sums[c] += above[c] * value[c]
                for c in range(F):
                    above[c] *= weight[c]
            for c in range(F):
                out[c] = sums[c] * weight[c] * (one - weight[c])
        times_tn(space, dg, f, dup, F, C, rows, 1)
        times(space, dg, up, df, rows, C, F, 0)

    return compiled(into), compiled(out_of)


@cache
def _error_kernel() -> Callable[..., Any]:
    def take(target, mask, starts, own, rows, size, n):
        """Outputs (rows, n) become 2·error; returns Σ error². mask (edges, size) or empty."""
        total, two = own.dtype.type(0), own.dtype.type(2)
        for k in range(rows * n):
            own[k] -= target[k]
        if len(mask):
            for row in range(rows):
                for k in range(n):
                    own[row * n + k] *= mask[row // size, starts[k]]
        for k in range(rows * n):
            total += own[k] * own[k]
        for k in range(rows * n):
            own[k] *= two
        return total

    return compiled(take)


@cache
def _head_kernels(channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """One degree of the head: products of rows with few irreps as loops of known length."""
    C = channels

    def forward(space, e2, head, bias, with_bias, out, rows, n):
        """out (rows, n) = e2 (rows, C) · headᵀ [+ bias], head (n, C)."""
        if n >= WIDE:
            product_nt(space, e2, head.ravel(), out, rows, n, C, 0)
        else:
            for row in range(rows):
                value = e2[row * C:row * C + C]
                for k in range(n):
                    weight = head[k]
                    total = value[0] * weight[0]
                    for c in range(1, C):
                        total += value[c] * weight[c]
                    out[row * n + k] = total
        if with_bias:
            for row in range(rows):
                for k in range(n):
                    out[row * n + k] += bias[k]

    def back(space, e2, head, dout, de2, dhead, dbias, with_bias, rows, n):
        """de2 (rows, C) = dout (rows, n) · head; dhead += doutᵀ · e2 and, where asked for, dbias += Σ dout."""
        if with_bias:
            for row in range(rows):
                for k in range(n):
                    dbias[k] += dout[row * n + k]
        if n >= WIDE:
            product_tn(space, dout, e2, dhead.ravel(), n, C, rows, 1)
            product(space, dout, head.ravel(), de2, rows, C, n, 0)
            return
        for row in range(rows):
            value, out = e2[row * C:row * C + C], de2[row * C:row * C + C]
            for c in range(C):
                out[c] = 0
            for k in range(n):
                weight, sums, given = head[k], dhead[k], dout[row * n + k]
                for c in range(C):
                    out[c] += given * weight[c]
                for c in range(C):
                    sums[c] += given * value[c]

    return compiled(forward), compiled(back)
