"""Feed-forward network, head and error of a chunk of edges, forward and backward, degree by degree.

After the norm nothing mixes degrees but the gates, which are functions of l = 0. So each degree of a few edges runs
through both linear layers, the head, the comparison with targets in the edges' frames and back, while its features are
in the second-level cache; only gradients of the inputs leave. `degree_ways` says in which order a degree's maps are
multiplied. The reference implementation is `FeedForward` and `CoupledHead`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from nearsight.nn.architectures.xia2025.kernels.degree_ways import CONTRACTED, WIDE
from nearsight.nn.kernels.blas import product, product_nt, product_tn, workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.linear_layer import add_times_tn_by_rows, times_by_rows
from nearsight.nn.kernels.tiles import fit_vectors
from nearsight.nn.kernels.vectors import lanes_of, load, spread, store, total

ROWS = 320
"""Rows (components of edges) at once."""
EDGES = 64
"""Edges at once of a contracted degree."""
MANY = 16
"""From so many irreps of one degree on the wide head is a matrix product, below a loop."""


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
    fits, W = fit_vectors(C, F), lanes_of(C, F)

    def pass_over(
        compare, back, ways, counts, widths, starts, e, f, raw, gates, given, weights, o, de, df, draw,
        up, up_t, down, down_t, head, head_t, head_bias, joined, joined_t, inner, inner_t,
        dup, ddown, dhead, dhead_bias, djoined, dinner,
    ):  # fmt: skip
        """Degree-major flat arrays: e, f, de, df (width C), o, given (degree l: widths[l] wide).

        compare: `given` are targets, and their error (`EdgeTargets`) is returned; else, with `back`, it is the
        gradient of the outputs.
        back: write de, df (that of l = 0 without the gates' part) and draw, add to the gradients of the parameters.
        raw, gates: (B, (l_max+1)·F) before and after the sigmoid; the first F columns are u of l = 0.
        ways, counts, widths (l_max+1,): `DegreeWays`; starts (irreps,); weights (B, size) or empty.
        up (l_max+1, F, C) and down (l_max+1, C, F), both transposed per degree, too; head, head_bias, joined, inner:
        what `pack_head` gives, also transposed per degree, flat.
        """
        B, space = len(raw), workspace(e)
        height = max(ROWS, EDGES * (2 * l_max + 1))
        u, g, dg = np.empty(height * F, e.dtype), np.empty(height * F, e.dtype), np.empty(height * F, e.dtype)
        e2, de2 = np.empty(height * C, e.dtype), np.empty(height * C, e.dtype)
        own = np.empty(height * max(1, widths.max()), e.dtype)
        error = 0.0
        offset, first, row, place = 0, 0, 0, 0
        for l in range(l_max + 1):
            n, width, size, way = counts[l], widths[l], 2 * l + 1, ways[l]
            slots = starts[first : first + n]
            head_l, head_tl, dhead_l = head[row * C :], head_t[row * C :], dhead[row * C :]
            joined_l, joined_tl, djoined_l = joined[row * F :], joined_t[row * F :], djoined[row * F :]
            step = EDGES if way == CONTRACTED else max(1, ROWS // size)
            for b0 in range(0, B, step):
                b1 = min(B, b0 + step)
                rows, at, base = (b1 - b0) * size, l * l * B * C + b0 * size * C, offset + b0 * size * width
                e_l, f_l, de_l, df_l = e[at:], f[at:], de[at:], df[at:]
                gate, draw_l = gates[b0:b1], draw[b0:b1]
                if way == CONTRACTED:
                    contract(C, F, W, fits, space, l, n, e_l, f_l, gate, head_l, inner[place:], g, u, own)
                else:
                    up_and_gate(C, F, W, fits, space, l, f_l, raw[b0:b1], gate, up_t[l].ravel(), u, g)
                    if way == WIDE:
                        for k in range(rows * C):
                            e2[k] = e_l[k]
                        times_by_rows(fits, space, g, 0, down_t[l].ravel(), 0, e2, 0, rows, C, F, 1)
                        head_of_degree(C, space, e2, head_l, own, rows, width)
                    else:
                        times_by_rows(fits, space, e_l, 0, head_tl, 0, own, 0, rows, width, C, 0)
                        times_by_rows(fits, space, g, 0, joined_tl, 0, own, 0, rows, width, F, 1)
                if l == 0:
                    for b in range(rows):
                        for k in range(width):
                            own[b * width + k] += head_bias[k]
                if compare:
                    error += error_of_degree(given[base:], weights[b0:b1], slots, own, rows, size, n, width)
                elif back:
                    for k in range(rows * width):
                        own[k] = given[base + k]
                else:
                    for k in range(rows * width):
                        o[base + k] = own[k]
                if not back:
                    continue
                if l == 0:
                    for b in range(rows):
                        for k in range(width):
                            dhead_bias[k] += own[b * width + k]
                if way == CONTRACTED:
                    contract_back(
                        C, F, W, fits, space, l, n, e_l, f_l, head_l, inner_t[place:], g, u, own, de_l, df_l, draw_l,
                        dhead_l, dinner[place:], dg,
                    )  # fmt: skip
                    continue
                if way == WIDE:
                    head_back(C, space, e2, head_l, own, de2, dhead_l, rows, width)
                    for k in range(rows * C):
                        de_l[k] = de2[k]
                    add_times_tn_by_rows(fits, space, de2, 0, g, 0, ddown[l].ravel(), 0, C, F, rows)
                    times_by_rows(fits, space, de2, 0, down[l].ravel(), 0, dg, 0, rows, F, C, 0)
                else:
                    add_times_tn_by_rows(fits, space, own, 0, e_l, 0, dhead_l, 0, width, C, rows)
                    times_by_rows(fits, space, own, 0, head_l, 0, de_l, 0, rows, C, width, 0)
                    add_times_tn_by_rows(fits, space, own, 0, g, 0, djoined_l, 0, width, F, rows)
                    times_by_rows(fits, space, own, 0, joined_l, 0, dg, 0, rows, F, width, 0)
                gate_back(F, W, l, raw[b0:b1], gate, u, dg, draw_l)
                if l > 0:
                    add_times_tn_by_rows(fits, space, dg, 0, f_l, 0, dup[l].ravel(), 0, F, C, rows)
                    times_by_rows(fits, space, dg, 0, up[l].ravel(), 0, df_l, 0, rows, C, F, 0)
            offset += B * size * width
            first += n
            row += width
            if way == CONTRACTED:
                place += F * n * C
        return error

    return compiled(pass_over)


@numba.njit(inline="always")
def up_and_gate(
    C: int, F: int, W: int, fits: bool, space: Any, l: int, f: Any, raw: Any, gates: Any, up_t: Any, u: Any, g: Any
) -> None:
    """Compute u = up·f and g = gated u of some edges.

    Parameters
    ----------
    C, F : int
        Channels outside and inside.
    W : int
        Lanes of vectors (`lanes_of`).
    fits : bool
        Whether C and F fill whole vectors.
    space : tuple of arrays
        Workspace of the products.
    l : int
        Degree.
    f : array
        Flat rows (width C) after the norm.
    raw : array
        (edges, (l_max+1)·F) before the sigmoid; its first columns are u of l = 0.
    gates : array
        (edges, (l_max+1)·F) after the sigmoid.
    up_t : array
        Flat transposed weights of the degree.
    u, g : array
        Written: flat rows (width F); u of l = 0 is not.
    """
    size = 2 * l + 1
    if l > 0:
        times_by_rows(fits, space, f, 0, up_t, 0, u, 0, len(raw) * size, F, C, 0)
    for b in range(len(raw)):
        given, first = gates[b], raw[b]
        for c in range(0, F, W):
            weight = load(given, l * F + c, W)
            for row in range(b * size, b * size + size):
                value = load(first, c, W) if l == 0 else load(u, row * F + c, W)
                store(g, row * F + c, value * weight)


@numba.njit(inline="always")
def gate_back(F: int, W: int, l: int, raw: Any, gates: Any, u: Any, dg: Any, draw: Any) -> None:
    """Compute the gradients of `up_and_gate` but for the product.

    Parameters
    ----------
    F, W, l, raw, gates, u
        Arguments of `up_and_gate`.
    dg : array
        Gradient of g, which becomes that of u for l > 0.
    draw : array
        (edges, (l_max+1)·F); the degree's columns are written, the gradient of those of `raw`.
    """
    size = 2 * l + 1
    one, zero = spread(dg.dtype.type(1), W), dg.dtype.type(0)
    for b in range(len(raw)):
        given, first, out = gates[b], raw[b], draw[b]
        for c in range(0, F, W):
            weight = load(given, l * F + c, W)
            if l == 0:
                slope = weight * (one + load(first, c, W) * (one - weight))
                store(out, c, load(dg, b * F + c, W) * slope)
            else:
                sums = spread(zero, W)
                for row in range(b * size, b * size + size):
                    above = load(dg, row * F + c, W)
                    sums = sums + above * load(u, row * F + c, W)
                    store(dg, row * F + c, above * weight)
                store(out, l * F + c, sums * weight * (one - weight))


@numba.njit(inline="always")
def contract(
    C: int,
    F: int,
    W: int,
    fits: bool,
    space: Any,
    l: int,
    n: int,
    e: Any,
    f: Any,
    gates: Any,
    head: Any,
    inner: Any,
    s: Any,
    t: Any,
    own: Any,
) -> None:
    """Compute the outputs of a degree whose maps are contracted.

    Parameters
    ----------
    C, F, W, fits, space, l, f, gates
        Arguments of `up_and_gate`.
    n : int
        Number of irreps.
    e : array
        Flat rows (width C) before the norm.
    head, inner : array
        Flat (n, C) and (F, n·C), those of T (`degree_ways`).
    s, t, own : array
        Written: gates of the degree (edges, F), T (edges, n·C) and outputs (edges·(2l+1), n), flat.
    """
    B, size, zero = len(gates), 2 * l + 1, e.dtype.type(0)
    for b in range(B):
        weight, out = gates[b, l * F : l * F + F], s[b * F : b * F + F]
        for c in range(F):
            out[c] = weight[c]
    if n > 0:
        times_by_rows(fits, space, s, 0, inner, 0, t, 0, B, n * C, F, 0)
    for b in range(B):
        for row in range(b * size, b * size + size):
            for k in range(n):
                sums, turn = spread(zero, W), (b * n + k) * C
                for c in range(0, C, W):
                    sums = sums + load(e, row * C + c, W) * load(head, k * C + c, W)
                    sums = sums + load(f, row * C + c, W) * load(t, turn + c, W)
                own[row * n + k] = total(sums)


@numba.njit(inline="always")
def contract_back(
    C: int,
    F: int,
    W: int,
    fits: bool,
    space: Any,
    l: int,
    n: int,
    e: Any,
    f: Any,
    head: Any,
    inner_t: Any,
    s: Any,
    t: Any,
    own: Any,
    de: Any,
    df: Any,
    draw: Any,
    dhead: Any,
    dinner: Any,
    ds: Any,
) -> None:
    """Compute the gradients of `contract` from those of the outputs.

    Parameters
    ----------
    C, F, W, fits, space, l, n, e, f, head, s, t
        Arguments of `contract`; t becomes its gradient.
    inner_t : array
        Flat (n·C, F).
    own : array
        Flat gradients of the outputs.
    de, df : array
        Written: flat gradients of e and f.
    draw : array
        (edges, (l_max+1)·F); the degree's columns are written.
    dhead, dinner : array
        Gradients of the parameters, added to.
    ds : array
        Scratch, (edges, F).
    """
    B, size, one, zero = len(draw), 2 * l + 1, e.dtype.type(1), e.dtype.type(0)
    for b in range(B):
        for c in range(0, C, W):
            for row in range(b * size, b * size + size):
                below, dbelow = spread(zero, W), spread(zero, W)
                for k in range(n):
                    given = spread(own[row * n + k], W)
                    below = below + given * load(head, k * C + c, W)
                    dbelow = dbelow + given * load(t, (b * n + k) * C + c, W)
                store(de, row * C + c, below)
                store(df, row * C + c, dbelow)
            for k in range(n):
                dweight, dturn = load(dhead, k * C + c, W), spread(zero, W)
                for row in range(b * size, b * size + size):
                    given = spread(own[row * n + k], W)
                    dweight = dweight + given * load(e, row * C + c, W)
                    dturn = dturn + given * load(f, row * C + c, W)
                store(dhead, k * C + c, dweight)
                store(t, (b * n + k) * C + c, dturn)
    if n > 0:
        add_times_tn_by_rows(fits, space, s, 0, t, 0, dinner, 0, F, n * C, B)
        times_by_rows(fits, space, t, 0, inner_t, 0, ds, 0, B, F, n * C, 0)
    else:
        ds[: B * F] = zero
    for b in range(B):
        weight, above, out = s[b * F : b * F + F], ds[b * F : b * F + F], draw[b, l * F : l * F + F]
        for c in range(F):
            out[c] = above[c] * weight[c] * (one - weight[c])


@numba.njit(inline="always")
def error_of_degree(target: Any, weights: Any, starts: Any, own: Any, rows: int, size: int, n: int, width: int) -> Any:
    """Return the error of outputs, which become its gradient.

    Parameters
    ----------
    target : array
        Flat targets (rows, width).
    weights : array
        (edges, size) factors of the errors, or empty.
    starts : array
        (n,) first column of each irrep in the weights.
    own : array
        Flat outputs (rows, width), overwritten by the gradient.
    rows, size, n, width : int
        Rows, components of the degree, irreps, and columns.

    Returns
    -------
    float
        Σ of squares.
    """
    squares = own.dtype.type(0)
    for k in range(rows * width):
        own[k] -= target[k]
    if len(weights):
        for row in range(rows):
            for k in range(n):
                own[row * width + k] *= weights[row // size, starts[k]]
    two = own.dtype.type(2)
    for k in range(rows * width):
        squares += own[k] * own[k]
    for k in range(rows * width):
        own[k] *= two
    if len(weights):
        for row in range(rows):
            for k in range(n):
                own[row * width + k] *= weights[row // size, starts[k]]
    return squares


@numba.njit(inline="always")
def head_of_degree(C: int, space: Any, e2: Any, head: Any, out: Any, rows: int, n: int) -> None:
    """Compute out (rows, n) = e2 (rows, C) · headᵀ.

    Parameters
    ----------
    C : int
        Channels.
    space : tuple of arrays
        Workspace of the products.
    e2 : array
        Flat features (rows, C).
    head : array
        Flat (n, C).
    out : array
        Written: flat (rows, n).
    rows, n : int
        Rows and irreps.
    """
    if n >= MANY:
        product_nt(space, e2, head, out, rows, n, C, 0)
    else:
        for row in range(rows):
            value = e2[row * C : row * C + C]
            for k in range(n):
                weight = head[k * C : k * C + C]
                product = value[0] * weight[0]
                for c in range(1, C):
                    product += value[c] * weight[c]
                out[row * n + k] = product


@numba.njit(inline="always")
def head_back(C: int, space: Any, e2: Any, head: Any, dout: Any, de2: Any, dhead: Any, rows: int, n: int) -> None:
    """Compute the gradients of `head_of_degree`.

    Parameters
    ----------
    C, space, e2, head, rows, n
        Arguments of `head_of_degree`.
    dout : array
        Flat (rows, n), gradient of the outputs.
    de2 : array
        Written: flat (rows, C), dout · head.
    dhead : array
        Flat gradient of the head, added to.
    """
    if n >= MANY:
        product_tn(space, dout, e2, dhead, n, C, rows, 1)
        product(space, dout, head, de2, rows, C, n, 0)
    else:
        for row in range(rows):
            value, below = e2[row * C : row * C + C], de2[row * C : row * C + C]
            for c in range(C):
                below[c] = 0
            for k in range(n):
                weight, sums, given = head[k * C : k * C + C], dhead[k * C : k * C + C], dout[row * n + k]
                for c in range(C):
                    below[c] += given * weight[c]
                for c in range(C):
                    sums[c] += given * value[c]
