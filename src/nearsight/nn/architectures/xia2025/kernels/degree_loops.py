"""Feed-forward network, head and error of a chunk of edges, forward and backward, degree by degree.

After the norm nothing mixes degrees but the gates, which are functions of l = 0. So each degree of a few edges runs
through both linear layers, the head, the comparison with targets in the edges' frames and back, while its features are
in the second-level cache; only gradients of the inputs leave. The reference implementation is `FeedForward` and
`CoupledHead`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from nearsight.nn.kernels.blas import product, product_nt, product_tn, workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.tiles import fit_tiles, times, times_tn

ROWS = 320
"""Rows (components of edges) at once."""
WIDE = 16
"""From so many irreps of one degree on the head is a matrix product, below a loop."""


@cache
def degree_pass(l_max: int, channels: int, feed_forward: int) -> Callable[..., Any]:
    """Return the compiled pass for a network's sizes.

    Parameters
    ----------
    l_max, channels, feed_forward : int
        Highest degree, and channels outside and inside the feed-forward network.

    Returns
    -------
    callable
        The pass, which returns the error; its inner function `pass_over` documents the arguments.
    """
    C, F = channels, feed_forward
    fits = fit_tiles(C, F)

    def pass_over(
        compare,
        back,
        e,
        f,
        raw,
        gates,
        up,
        up_t,
        down,
        down_t,
        down_bias,
        head,
        head_bias,
        counts,
        starts,
        given,
        weights,
        o,
        de,
        df,
        draw,
        dup,
        ddown,
        ddown_bias,
        dhead,
        dhead_bias,
    ):
        """Degree-major flat arrays: e, f, de, df (width C), o, given (degree l: counts[l] wide).

        compare: `given` are targets, and their error (`EdgeTargets`) is returned; else, with `back`, it is the
        gradient of the outputs.
        back: write de, df (that of l = 0 without the gates' part) and draw, add to the gradients of the parameters.
        raw, gates: (B, (l_max+1)·F) before and after the sigmoid; the first F columns are u of l = 0.
        up (l_max+1, F, C) and down (l_max+1, C, F), both transposed per degree, too; head (irreps, C), weights (B,
        size) or empty, starts (irreps,).
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
            rows_of_head, slots = head[first : first + n], starts[first : first + n]
            step = max(1, ROWS // size)
            for b0 in range(0, B, step):
                b1 = min(B, b0 + step)
                rows, at, base = (b1 - b0) * size, l * l * B * C + b0 * size * C, offset + b0 * size * n
                up_gate_down(
                    C,
                    F,
                    fits,
                    space,
                    l,
                    e[at:],
                    f[at:],
                    raw[b0:b1],
                    gates[b0:b1],
                    up_t[l].ravel(),
                    down_t[l].ravel(),
                    down_bias,
                    u,
                    g,
                    e2,
                )
                if compare or not back:
                    head_of_degree(C, space, e2, rows_of_head, head_bias, l == 0, own, rows, n)
                if compare:
                    error += error_of_degree(given[base:], weights[b0:b1], slots, own, rows, size, n)
                elif back:
                    for k in range(rows * n):
                        own[k] = given[base + k]
                else:
                    for k in range(rows * n):
                        o[base + k] = own[k]
                if back:
                    head_back(
                        C, space, e2, rows_of_head, own, de2, dhead[first : first + n], dhead_bias, l == 0, rows, n
                    )
                    for k in range(rows * C):
                        de[at + k] = de2[k]
                    up_gate_down_back(
                        C,
                        F,
                        fits,
                        space,
                        l,
                        f[at:],
                        raw[b0:b1],
                        gates[b0:b1],
                        up[l].ravel(),
                        down[l].ravel(),
                        u,
                        g,
                        de2,
                        dg,
                        df[at:],
                        draw[b0:b1],
                        dup[l].ravel(),
                        ddown[l].ravel(),
                        ddown_bias,
                    )
            offset += B * size * n
            first += n
        return error

    return compiled(pass_over)


@numba.njit(inline="always")
def up_gate_down(
    C: int,
    F: int,
    fits: bool,
    space: Any,
    l: int,
    e: Any,
    f: Any,
    raw: Any,
    gates: Any,
    up_t: Any,
    down_t: Any,
    down_bias: Any,
    u: Any,
    g: Any,
    e2: Any,
) -> None:
    """Compute u = up·f, g = gated u and e2 = e + down·g (+ bias) of the first rows of e and f.

    Parameters
    ----------
    C, F : int
        Channels outside and inside.
    fits : bool
        Whether C and F fit tiles.
    space : tuple of arrays
        Workspace of the products.
    l : int
        Degree.
    e, f : array
        Flat rows (width C) before and after the norm.
    raw, gates : array
        (edges, (l_max+1)·F) before and after the sigmoid.
    up_t, down_t : array
        Flat transposed weights of the degree.
    down_bias : array
        (C,), added for l = 0.
    u, g, e2 : array
        Written: flat rows (widths F, F and C).
    """
    size = 2 * l + 1
    rows = len(raw) * size
    if l > 0:
        times(fits, space, f, up_t, u, rows, F, C, 0)
    for b in range(len(raw)):
        weight = gates[b, l * F : l * F + F]
        for row in range(b * size, b * size + size):
            value, out = raw[b, :F] if l == 0 else u[row * F : row * F + F], g[row * F : row * F + F]
            for c in range(F):
                out[c] = value[c] * weight[c]
    for k in range(rows * C):
        e2[k] = e[k]
    if l == 0:
        for row in range(rows):
            below = e2[row * C : row * C + C]
            for c in range(C):
                below[c] += down_bias[c]
    times(fits, space, g, down_t, e2, rows, C, F, 1)


@numba.njit(inline="always")
def up_gate_down_back(
    C: int,
    F: int,
    fits: bool,
    space: Any,
    l: int,
    f: Any,
    raw: Any,
    gates: Any,
    up: Any,
    down: Any,
    u: Any,
    g: Any,
    de2: Any,
    dg: Any,
    df: Any,
    draw: Any,
    dup: Any,
    ddown: Any,
    ddown_bias: Any,
) -> None:
    """Compute the gradients of `up_gate_down` from that of e2.

    Parameters
    ----------
    C, F, fits, space, l, f, raw, gates, u, g
        Arguments of `up_gate_down`.
    up, down : array
        Flat weights of the degree.
    de2 : array
        Gradient of e2.
    dg, df, draw : array
        Written: gradient of u (scratch), of f (for l > 0) and of raw.
    dup, ddown, ddown_bias : array
        Gradients of the parameters, added to.
    """
    size = 2 * l + 1
    rows = len(raw) * size
    one = f.dtype.type(1)
    times_tn(fits, space, de2, g, ddown, C, F, rows, 1)
    times(fits, space, de2, down, dg, rows, F, C, 0)
    for b in range(len(raw)):
        weight, out = gates[b, l * F : l * F + F], draw[b, l * F : l * F + F]
        if l == 0:
            value, above, given = raw[b, :F], dg[b * F : b * F + F], de2[b * C : b * C + C]
            for c in range(F):
                out[c] = above[c] * weight[c] * (one + value[c] * (one - weight[c]))
            for c in range(C):
                ddown_bias[c] += given[c]
        else:
            for c in range(F):
                out[c] = 0
            for row in range(b * size, b * size + size):
                value, above = u[row * F : row * F + F], dg[row * F : row * F + F]
                for c in range(F):
                    out[c] += above[c] * value[c]
                for c in range(F):
                    above[c] *= weight[c]
            for c in range(F):
                out[c] *= weight[c] * (one - weight[c])
    if l > 0:
        times_tn(fits, space, dg, f, dup, F, C, rows, 1)
        times(fits, space, dg, up, df, rows, C, F, 0)


@numba.njit(inline="always")
def error_of_degree(target: Any, weights: Any, starts: Any, own: Any, rows: int, size: int, n: int) -> Any:
    """Return the error of outputs, which become its gradient.

    Parameters
    ----------
    target : array
        Flat targets (rows, n).
    weights : array
        (edges, size) factors of the errors, or empty.
    starts : array
        (n,) first column of each irrep in the weights.
    own : array
        Flat outputs (rows, n), overwritten by the gradient.
    rows, size, n : int
        Rows, components of the degree, and irreps.

    Returns
    -------
    float
        Σ of squares.
    """
    total = own.dtype.type(0)
    for k in range(rows * n):
        own[k] -= target[k]
    if len(weights):
        for row in range(rows):
            for k in range(n):
                own[row * n + k] *= weights[row // size, starts[k]]
    two = own.dtype.type(2)
    for k in range(rows * n):
        total += own[k] * own[k]
    for k in range(rows * n):
        own[k] *= two
    if len(weights):
        for row in range(rows):
            for k in range(n):
                own[row * n + k] *= weights[row // size, starts[k]]
    return total


@numba.njit(inline="always")
def head_of_degree(
    C: int, space: Any, e2: Any, head: Any, bias: Any, with_bias: bool, out: Any, rows: int, n: int
) -> None:
    """Compute out (rows, n) = e2 (rows, C) · headᵀ [+ bias].

    Parameters
    ----------
    C : int
        Channels.
    space : tuple of arrays
        Workspace of the products.
    e2 : array
        Flat features (rows, C).
    head, bias : array
        (n, C) and (n,).
    with_bias : bool
        Whether the bias is added.
    out : array
        Written: flat (rows, n).
    rows, n : int
        Rows and irreps.
    """
    if n >= WIDE:
        product_nt(space, e2, head.ravel(), out, rows, n, C, 0)
    else:
        for row in range(rows):
            value = e2[row * C : row * C + C]
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


@numba.njit(inline="always")
def head_back(
    C: int,
    space: Any,
    e2: Any,
    head: Any,
    dout: Any,
    de2: Any,
    dhead: Any,
    dbias: Any,
    with_bias: bool,
    rows: int,
    n: int,
) -> None:
    """Compute the gradients of `head_of_degree`.

    Parameters
    ----------
    C, space, e2, head, with_bias, rows, n
        Arguments of `head_of_degree`.
    dout : array
        Flat (rows, n), gradient of the outputs.
    de2 : array
        Written: flat (rows, C), dout · head.
    dhead, dbias : array
        Gradients of the parameters, added to; dbias only with a bias.
    """
    if with_bias:
        for row in range(rows):
            for k in range(n):
                dbias[k] += dout[row * n + k]
    if n >= WIDE:
        product_tn(space, dout, e2, dhead.ravel(), n, C, rows, 1)
        product(space, dout, head.ravel(), de2, rows, C, n, 0)
    else:
        for row in range(rows):
            value, below = e2[row * C : row * C + C], de2[row * C : row * C + C]
            for c in range(C):
                below[c] = 0
            for k in range(n):
                weight, sums, given = head[k], dhead[k], dout[row * n + k]
                for c in range(C):
                    below[c] += given * weight[c]
                for c in range(C):
                    sums[c] += given * value[c]
