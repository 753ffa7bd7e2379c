"""Loops over edges that eager tensors do badly, compiled with numba: gather and rotate, gate, norm, rotate back.

All work on one chunk of B edges in the frames of their bonds. Two layouts occur:

* order-major: the components of order m lie together (+m, then −m; `Layout`), as the convolution wants them;
* degree-major segments: degree l is a contiguous (B, 2l+1, width) array at offset l²·B·width of a flat buffer, as
  everything that acts on each degree alone wants it.

`kernels` builds the functions for given sizes, which the compiler then knows. The reference implementation of all loops
is `EdgeUpdate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np

from nearsight.nn.architectures.xia2025.kernels.radial import normalise
from nearsight.nn.kernels.blas import workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.tiles import fit_tiles, fit_vectors, times, times_tn, turned
from nearsight.nn.kernels.vectors import LANES, lanes_of, load, spread, store, total


@numba.njit(inline="always")
def turn(
    fits: bool, d: Any, at: int, row_step: int, column_step: int, x: Any, start: int, y: Any, size: int, width: int
) -> None:
    """Compute y (size, width) = D·x, with D[row, k] = d[at + row·row_step + k·column_step].

    Parameters
    ----------
    fits : bool
        Whether `width` fills whole vectors.
    d : array
        Wigner matrices of the bond, flat.
    at, row_step, column_step : int
        Where the matrix lies.
    x : array
        Flat; its (size, width) rows begin at `start`.
    y : array
        Written: flat.
    start, size, width : int
        Start of x, and sizes.
    """
    if fits:
        turned(d, at, row_step, column_step, x, start, y, 0, size, width)
    else:
        for row in range(size):
            for c in range(width):
                total = d[at + row * row_step] * x[start + c]
                for k in range(1, size):
                    total += d[at + row * row_step + k * column_step] * x[start + k * width + c]
                y[row * width + c] = total


@dataclass(frozen=True)
class Kernels:
    """Compiled loops for a network's sizes; the inner functions of this module document their arguments."""

    gather: Callable[..., Any]
    scatter: Callable[..., Any]
    own: Callable[..., Any]
    own_back: Callable[..., Any]
    gate: Callable[..., Any]
    gate_back: Callable[..., Any]
    project: Callable[..., Any]
    project_back: Callable[..., Any]
    norm: Callable[..., Any]
    norm_back: Callable[..., Any]
    rotate_out: Callable[..., Any]
    rotate_in: Callable[..., Any]


@cache
def kernels(l_max: int, channels: int, hidden: int) -> Kernels:
    """Return the compiled loops for a network's sizes.

    Parameters
    ----------
    l_max, channels, hidden : int
        Sizes of the network.

    Returns
    -------
    Kernels
        The loops, compiled at their first call.
    """
    gather, scatter = _gather_kernels(l_max, channels)
    own, own_back = _own_kernels(l_max, channels)
    gate, gate_back = _gate_kernels(l_max, hidden)
    norm, norm_back = _norm_kernels(l_max, channels)
    project, project_back = _project_kernels(l_max, channels, hidden)
    rotate_out, rotate_in = _rotate_kernels(l_max)
    return Kernels(
        gather, scatter, own, own_back, gate, gate_back, project, project_back, norm, norm_back, rotate_out, rotate_in
    )


def _gather_kernels(l_max: int, channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops that turn both nodes of each edge into its frame, times radial weights, order by order."""
    C, K, W = channels, (l_max + 1) ** 2, lanes_of(channels)
    fits = fit_vectors(C)

    def gather(nodes, source, target, wigner, radial, place, x):
        """nodes (n, K, C), source/target (B,), wigner (B, Σ(2l+1)²), radial (B, more than (l_max+1)·2C), x flat, place
        (`Layout`): source channels, then target channels of each component."""
        B, flat = len(source), nodes.ravel()
        own = np.empty((2 * l_max + 1) * C, dtype=x.dtype)
        for b in range(B):
            d, weight = wigner[b], radial[b]
            for end in range(2):
                start = (target[b] if end else source[b]) * K * C
                for l in range(l_max + 1):
                    size, at = 2 * l + 1, l * (2 * l - 1) * (2 * l + 1) // 3
                    turn(fits, d, at, size, 1, flat, start + l * l * C, own, size, C)
                    for row in range(size):
                        k = l * l + row
                        to = place[k, 0] * B + b * place[k, 1] + place[k, 2] + end * C
                        for c in range(0, C, W):
                            factor = load(weight, (2 * l + end) * C + c, W)
                            store(x, to + c, load(own, row * C + c, W) * factor)

    def scatter(nodes, source, target, wigner, radial, place, dx, dnodes, dradial):
        """Gradients of gather: added to dnodes (n, K, C), written to the first columns of dradial."""
        B, flat, dflat, zero = len(source), nodes.ravel(), dnodes.ravel(), dx.dtype.type(0)
        rows, back = np.empty((2 * l_max + 1) * C, dtype=dx.dtype), np.empty((2 * l_max + 1) * C, dtype=dx.dtype)
        for b in range(B):
            d, weight, dweight = wigner[b], radial[b], dradial[b]
            for end in range(2):
                start = (target[b] if end else source[b]) * K * C
                for l in range(l_max + 1):
                    size, at = 2 * l + 1, l * (2 * l - 1) * (2 * l + 1) // 3
                    for row in range(size):
                        k = l * l + row
                        of = place[k, 0] * B + b * place[k, 1] + place[k, 2] + end * C
                        for c in range(0, C, W):
                            store(rows, row * C + c, load(dx, of + c, W))
                    turn(fits, d, at, 1, size, rows, 0, back, size, C)
                    first = start + l * l * C
                    for c in range(0, C, W):
                        factor, dfactor = load(weight, (2 * l + end) * C + c, W), spread(zero, W)
                        for row in range(size):
                            own, to = load(back, row * C + c, W), first + row * C + c
                            dfactor = dfactor + load(flat, to, W) * own
                            store(dflat, to, load(dflat, to, W) + own * factor)
                        store(dweight, (2 * l + end) * C + c, dfactor)

    return compiled(gather), compiled(scatter)


def _own_kernels(l_max: int, channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops of the edge's own invariants: layer norm times weights, beside those of the nodes in l = 0."""
    C, at, columns, W = channels, (l_max + 1) * 2 * channels, (l_max + 1) * 2 * channels + channels, lanes_of(channels)

    def own(features, scale, bias, weights, epsilon, normed, x):
        """features (B, C); weights (B, at + C); written to normed (B, C) and to columns 2C … 3C of order 0 in x."""
        scaled = np.empty(C, dtype=x.dtype)
        for b in range(len(features)):
            normalise(W, features[b], scale, bias, epsilon, normed[b], scaled, C)
            for c in range(0, C, W):
                store(x, b * columns + 2 * C + c, load(scaled, c, W) * load(weights[b], at + c, W))

    def own_back(normed, scale, bias, weights, dx, dweights, dscale, dbias):
        """Gradients of own: the last columns of dweights are written, the others added to."""
        for b in range(len(normed)):
            for c in range(0, C, W):
                value, above = load(normed[b], c, W), load(dx, b * columns + 2 * C + c, W)
                store(dweights[b], at + c, above * (value * load(scale, c, W) + load(bias, c, W)))
                given = above * load(weights[b], at + c, W)
                store(dscale, c, load(dscale, c, W) + given * value)
                store(dbias, c, load(dbias, c, W) + given)

    return compiled(own), compiled(own_back)


def _gate_kernels(l_max: int, hidden: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops from order-major matrices to gated degree-major segments."""
    H, columns, W = hidden, (2 * l_max + 1) * hidden, lanes_of(hidden)

    def gate(y, place, gates, z):
        """y flat, place (`Layout`), gates (B, (l_max+1)·H) sigmoids: of the invariants themselves, then of every l > 0;
        z flat, degree-major (width H)."""
        B, factors = len(gates), gates.ravel()
        for b in range(B):
            for l in range(l_max + 1):
                for c in range(0, H, W):
                    weight = load(factors, (b * (l_max + 1) + l) * H + c, W)
                    for row in range(2 * l + 1):
                        k = l * l + row
                        start = place[k, 0] * B + b * place[k, 1] + place[k, 2] + c
                        store(z, (l * l * B + b * (2 * l + 1) + row) * H + c, load(y, start, W) * weight)

    def gate_back(y, place, gates, dz, dy):
        """Gradient of gate, dy flat; columns H … (l_max+1)·H of order 0 are the gates before the sigmoid."""
        B, factors, zero, one = len(gates), gates.ravel(), y.dtype.type(0), spread(y.dtype.type(1), W)
        for b in range(B):
            for c in range(0, H, W):
                start = b * columns + c
                s, above = load(factors, b * (l_max + 1) * H + c, W), load(dz, b * H + c, W)
                store(dy, start, above * s * (one + load(y, start, W) * (one - s)))
                for l in range(1, l_max + 1):
                    weight, dweight = load(factors, (b * (l_max + 1) + l) * H + c, W), spread(zero, W)
                    for row in range(2 * l + 1):
                        k = l * l + row
                        start = place[k, 0] * B + b * place[k, 1] + place[k, 2] + c
                        above = load(dz, (l * l * B + b * (2 * l + 1) + row) * H + c, W)
                        store(dy, start, above * weight)
                        dweight = dweight + above * load(y, start, W)
                    store(dy, b * columns + l * H + c, dweight * weight * (one - weight))

    return compiled(gate), compiled(gate_back)


def _project_kernels(l_max: int, channels: int, hidden: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops of the linear layer per degree after the gate plus the edge's features, on segments."""
    C, H = channels, hidden
    fits = fit_tiles(C, H)

    def project(z, weight, bias, features, e):
        """z flat (width H), weight (l_max+1, H, C), bias (C,), features (B, C) → e flat (width C)."""
        B, space = len(features), workspace(z)
        for l in range(l_max + 1):
            at = l * l * B
            times(fits, space, z[at * H :], weight[l].ravel(), e[at * C :], B * (2 * l + 1), C, H, 0)
        for b in range(B):
            row, own = e[b * C : b * C + C], features[b]
            for c in range(C):
                row[c] += bias[c] + own[c]

    def project_back(z, weight, de, dz, dweight, dbias):
        """dz written; dweight (l_max+1, C, H) and dbias added to; weight (l_max+1, C, H)."""
        B, space = len(de) // ((l_max + 1) * (l_max + 1) * C), workspace(z)
        for l in range(l_max + 1):
            at, rows = l * l * B, B * (2 * l + 1)
            times_tn(fits, space, de[at * C :], z[at * H :], dweight[l].ravel(), C, H, rows, 1)
            times(fits, space, de[at * C :], weight[l].ravel(), dz[at * H :], rows, H, C, 0)
        for b in range(B):
            row = de[b * C : b * C + C]
            for c in range(C):
                dbias[c] += row[c]

    return compiled(project), compiled(project_back)


def _norm_kernels(l_max: int, channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops of `EquivariantLayerNorm` on degree-major segments."""
    C, W = channels, lanes_of(channels)

    def norm(e, scale0, bias0, weight, epsilon, f, statistics):
        """e, f flat, degree-major (width C); statistics (B, 3): mean and 1/σ of l = 0, 1/rms of l > 0."""
        B, factors = len(statistics), weight.ravel()
        count, one, zero, eps = e.dtype.type(C), e.dtype.type(1), e.dtype.type(0), e.dtype.type(epsilon)
        for b in range(B):
            sums = spread(zero, W)
            for c in range(0, C, W):
                sums = sums + load(e, b * C + c, W)
            mean = total(sums) / count
            middle, squares = spread(mean, W), spread(zero, W)
            for c in range(0, C, W):
                off = load(e, b * C + c, W) - middle
                squares = squares + off * off
            inverse = one / np.sqrt(total(squares) / count + eps)
            for c in range(0, C, W):
                normed = (load(e, b * C + c, W) - middle) * spread(inverse, W)
                store(f, b * C + c, normed * load(scale0, c, W) + load(bias0, c, W))
            squares = spread(zero, W)
            for l in range(1, l_max + 1):
                sums, start = spread(zero, W), (l * l * B + b * (2 * l + 1)) * C
                for c in range(0, (2 * l + 1) * C, W):
                    value = load(e, start + c, W)
                    sums = sums + value * value
                squares = squares + sums * spread(one / e.dtype.type((2 * l + 1) * l_max * C), W)
            rms = one / np.sqrt(total(squares) + eps)
            statistics[b, 0], statistics[b, 1], statistics[b, 2] = mean, inverse, rms
            for l in range(1, l_max + 1):
                start = (l * l * B + b * (2 * l + 1)) * C
                for c in range(0, C, W):
                    factor = load(factors, (l - 1) * C + c, W) * spread(rms, W)
                    for row in range(2 * l + 1):
                        store(f, start + row * C + c, load(e, start + row * C + c, W) * factor)

    def norm_back(e, scale0, weight, statistics, df, de, dscale0, dbias0, dweight):
        """Gradients of norm: added to de, dscale0, dbias0 (C,) and dweight (l_max, C)."""
        B, factors, dfactors = len(statistics), weight.ravel(), dweight.ravel()
        count, zero = e.dtype.type(C), e.dtype.type(0)
        for b in range(B):
            mean, inverse = spread(statistics[b, 0], W), spread(statistics[b, 1], W)
            rms = statistics[b, 2]
            sums, along = spread(zero, W), spread(zero, W)
            for c in range(0, C, W):
                normed, above = (load(e, b * C + c, W) - mean) * inverse, load(df, b * C + c, W)
                store(dscale0, c, load(dscale0, c, W) + above * normed)
                store(dbias0, c, load(dbias0, c, W) + above)
                scaled = above * load(scale0, c, W)
                sums = sums + scaled
                along = along + scaled * normed
            middle, slope = spread(total(sums) / count, W), spread(total(along) / count, W)
            for c in range(0, C, W):
                normed, above = (load(e, b * C + c, W) - mean) * inverse, load(df, b * C + c, W)
                change = inverse * (above * load(scale0, c, W) - middle - normed * slope)
                store(de, b * C + c, load(de, b * C + c, W) + change)
            products = spread(zero, W)
            for l in range(1, l_max + 1):
                start = (l * l * B + b * (2 * l + 1)) * C
                for c in range(0, C, W):
                    sums, at = spread(zero, W), (l - 1) * C + c
                    for row in range(2 * l + 1):
                        sums = sums + load(df, start + row * C + c, W) * load(e, start + row * C + c, W)
                    store(dfactors, at, load(dfactors, at, W) + sums * spread(rms, W))
                    products = products + sums * load(factors, at, W)
            product = total(products) * rms * rms * rms
            for l in range(1, l_max + 1):
                common, start = product / e.dtype.type((2 * l + 1) * l_max * C), (l * l * B + b * (2 * l + 1)) * C
                for c in range(0, C, W):
                    factor = load(factors, (l - 1) * C + c, W) * spread(rms, W)
                    for row in range(2 * l + 1):
                        at = start + row * C + c
                        change = load(df, at, W) * factor - spread(common, W) * load(e, at, W)
                        store(de, at, load(de, at, W) + change)

    return compiled(norm), compiled(norm_back)


def _rotate_kernels(l_max: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops that turn coupled outputs from the frames of the edges to the common axes, and back."""

    def rotate_out(o, wigner, counts, widths, starts, out):
        """o flat, degree l a (B, 2l+1, widths[l]) array at offset B·Σ_{k<l} (2k+1)·widths[k], whose first counts[l]
        columns are turned; starts: first column in out (B, size) of the irreps, degree by degree."""
        B = len(wigner)
        x, y = np.zeros((2 * l_max + 1) * LANES, o.dtype), np.empty((2 * l_max + 1) * LANES, o.dtype)
        for b in range(B):
            d, row = wigner[b], out[b]
            offset, first, at = 0, 0, 0
            for l in range(l_max + 1):
                width, size = widths[l], 2 * l + 1
                for k0 in range(0, counts[l], LANES):
                    base, some = offset + b * size * width + k0, min(LANES, counts[l] - k0)
                    slots = starts[first + k0 : first + k0 + some]
                    for m in range(size):
                        for k in range(some):
                            x[m * LANES + k] = o[base + m * width + k]
                    turned(d, at, 1, size, x, 0, y, 0, size, LANES)
                    for k in range(some):
                        for m in range(size):
                            row[slots[k] + m] = y[m * LANES + k]
                offset += B * size * width
                first += counts[l]
                at += size * size

    def rotate_in(dout, wigner, counts, widths, starts, do):
        """The inverse (and transpose) of rotate_out, written to do; further columns become zero."""
        B = len(wigner)
        x, y = np.zeros((2 * l_max + 1) * LANES, do.dtype), np.empty((2 * l_max + 1) * LANES, do.dtype)
        for b in range(B):
            d, row = wigner[b], dout[b]
            offset, first, at = 0, 0, 0
            for l in range(l_max + 1):
                width, size = widths[l], 2 * l + 1
                for k0 in range(0, counts[l], LANES):
                    base, some = offset + b * size * width + k0, min(LANES, counts[l] - k0)
                    if some < LANES:
                        x[: size * LANES] = 0
                    for k in range(some):
                        start = starts[first + k0 + k]
                        for m in range(size):
                            x[m * LANES + k] = row[start + m]
                    turned(d, at, size, 1, x, 0, y, 0, size, LANES)
                    if width - k0 >= LANES:
                        for m in range(size):
                            store(do, base + m * width, load(y, m * LANES, LANES))
                    else:
                        for m in range(size):
                            for k in range(some):
                                do[base + m * width + k] = y[m * LANES + k]
                offset += B * size * width
                first += counts[l]
                at += size * size

    return compiled(rotate_out), compiled(rotate_in)
