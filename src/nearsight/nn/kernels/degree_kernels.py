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

ROWS = 320
"""Rows (components of edges) at once."""
WIDE = 16
"""From so many irreps of one degree on the head is a matrix product, below a loop."""


@cache
def degree_sweep(l_max: int, channels: int, feed_forward: int) -> Callable[..., Any]:
    """The pass for a network's sizes; `sweep` documents its arguments."""
    C, F = channels, feed_forward
    head_forward, head_back = _head_kernels(channels)

    def sweep(compare, back, e, f, raw, gates, up, down, down_bias, head, head_bias, counts, starts, given, mask, o,
              de, df, draw, dup, ddown, ddown_bias, dhead, dhead_bias):
        """Degree-major flat arrays: e, f, de, df (width C), o, given (degree l: counts[l] wide).

        compare: `given` are targets, and Σ error² is returned; else, with `back`, it is the gradient of the outputs.
        back: write de, df (that of l = 0 without the gates' part) and draw, add to the gradients of the parameters.
        raw, gates: (B, (l_max+1)·F) before and after the sigmoid; the first F columns are u of l = 0.
        up (l_max+1, F, C), down (l_max+1, C, F), head (irreps, C), mask (B, size) or empty, starts (irreps,).
        """
        B, space = len(raw), workspace(e)
        one, zero, two = e.dtype.type(1), e.dtype.type(0), e.dtype.type(2)
        height = max(ROWS, 2 * l_max + 1)
        widest = max(1, counts.max())
        u, g, dg = np.empty(height * F, e.dtype), np.empty(height * F, e.dtype), np.empty(height * F, e.dtype)
        e2, de2 = np.empty(height * C, e.dtype), np.empty(height * C, e.dtype)
        own, down_own = np.empty(height * widest, e.dtype), np.empty(F, e.dtype)
        error = 0.0
        offset, first = 0, 0
        for l in range(l_max + 1):
            n, size = counts[l], 2 * l + 1
            step = max(1, ROWS // size)
            for b0 in range(0, B, step):
                b1 = min(B, b0 + step)
                rows = (b1 - b0) * size
                at = l * l * B * C + b0 * size * C
                # forward
                if l == 0:
                    for b in range(b0, b1):
                        value, weight = raw[b, :F], gates[b, :F]
                        out = g[(b - b0) * F:(b - b0) * F + F]
                        for c in range(F):
                            out[c] = value[c] * weight[c]
                else:
                    product_nt(space, f[at:], up[l].ravel(), u, rows, F, C, 0)
                    for b in range(b0, b1):
                        weight = gates[b, l * F:l * F + F]
                        for row in range((b - b0) * size, (b - b0) * size + size):
                            value, out = u[row * F:row * F + F], g[row * F:row * F + F]
                            for c in range(F):
                                out[c] = value[c] * weight[c]
                for k in range(rows * C):
                    e2[k] = e[at + k]
                if l == 0:
                    for row in range(rows):
                        out = e2[row * C:row * C + C]
                        for c in range(C):
                            out[c] += down_bias[c]
                product_nt(space, g, down[l].ravel(), e2, rows, C, F, 1)
                base = offset + b0 * size * n
                rows_of_head = head[first:first + n]
                if compare or not back:
                    head_forward(space, e2, rows_of_head, own, rows, n)
                    if l == 0:
                        for row in range(rows):
                            for k in range(n):
                                own[row * n + k] += head_bias[k]
                # outputs, errors, or given gradients
                if not compare and not back:
                    for k in range(rows * n):
                        o[base + k] = own[k]
                    continue
                if compare:
                    part = zero
                    for k in range(rows * n):
                        own[k] -= given[base + k]
                    if len(mask):
                        for row in range(rows):
                            for k in range(n):
                                own[row * n + k] *= mask[b0 + row // size, starts[first + k]]
                    for k in range(rows * n):
                        part += own[k] * own[k]
                    error += part
                    for k in range(rows * n):
                        own[k] *= two
                else:
                    for k in range(rows * n):
                        own[k] = given[base + k]
                if not back:
                    continue
                # backward
                if l == 0:
                    for row in range(rows):
                        for k in range(n):
                            dhead_bias[k] += own[row * n + k]
                head_back(space, e2, rows_of_head, own, de2, dhead[first:first + n], rows, n)
                for k in range(rows * C):
                    de[at + k] = de2[k]
                if l == 0:
                    for row in range(rows):
                        value = de2[row * C:row * C + C]
                        for c in range(C):
                            ddown_bias[c] += value[c]
                product_tn(space, de2, g, ddown[l].ravel(), C, F, rows, 1)
                product(space, de2, down[l].ravel(), dg, rows, F, C, 0)
                if l == 0:
                    for b in range(b0, b1):
                        value, weight, out = raw[b, :F], gates[b, :F], draw[b, :F]
                        above = dg[(b - b0) * F:(b - b0) * F + F]
                        for c in range(F):
                            out[c] = above[c] * weight[c] * (one + value[c] * (one - weight[c]))
                    for k in range(rows * C):
                        df[at + k] = zero
                    continue
                for b in range(b0, b1):
                    weight, out = gates[b, l * F:l * F + F], draw[b, l * F:l * F + F]
                    for c in range(F):
                        down_own[c] = zero
                    for row in range((b - b0) * size, (b - b0) * size + size):
                        value, above = u[row * F:row * F + F], dg[row * F:row * F + F]
                        for c in range(F):
                            down_own[c] += above[c] * value[c]
                        for c in range(F):
                            above[c] *= weight[c]
                    for c in range(F):
                        out[c] = down_own[c] * weight[c] * (one - weight[c])
                product_tn(space, dg, f[at:], dup[l].ravel(), F, C, rows, 1)
                product(space, dg, up[l].ravel(), df[at:], rows, C, F, 0)
            offset += B * size * n
            first += n
        return error

    return compiled(sweep)


@cache
def _head_kernels(channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """One degree of the head: products of rows with few irreps as loops of known length."""
    C = channels

    def forward(space, e2, head, out, rows, n):
        """out (rows, n) = e2 (rows, C) · headᵀ, head (n, C)."""
        if n >= WIDE:
            product_nt(space, e2, head.ravel(), out, rows, n, C, 0)
            return
        for row in range(rows):
            value = e2[row * C:row * C + C]
            for k in range(n):
                weight = head[k]
                total = value[0] * weight[0]
                for c in range(1, C):
                    total += value[c] * weight[c]
                out[row * n + k] = total

    def back(space, e2, head, dout, de2, dhead, rows, n):
        """de2 (rows, C) = dout (rows, n) · head; dhead += doutᵀ · e2."""
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
