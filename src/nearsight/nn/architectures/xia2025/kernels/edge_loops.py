"""Loops over edges that eager tensors do badly, compiled with numba: gather and rotate, gate, norm, rotate back.

All work on one chunk of B edges in the frames of their bonds. Two layouts occur:

* order-major rows: the components of order m lie together (+m, then −m; l ascending), as the convolutions want them;
* degree-major segments: degree l is a contiguous (B, 2l+1, width) array at offset l²·B·width of a flat buffer, as
  everything that acts on each degree alone wants it.

`kernels` builds the functions for given sizes, which the compiler then knows. The reference implementation of all loops
is `EdgeUpdate`. Rotations of a pair of nodes into the frame of a bond are inlined degree by degree, with constants for
degree and width, so that the compiler knows the length of every loop.
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
from nearsight.nn.kernels.tiles import fit_tiles, strided, times, times_tn

SIDE = 8
"""Irreps that are turned side by side: whole vectors in either precision."""


@numba.njit(inline="always")
def load_pair(first: Any, second: Any, pair: Any, size: int, channels: int) -> None:
    """Write both nodes side by side.

    Parameters
    ----------
    first, second : array
        (size, channels) of the nodes.
    pair : array
        Written: (size, 2·channels).
    size, channels : int
        Components and channels.
    """
    for k in range(size):
        for c in range(channels):
            pair[k, c] = first[k, c]
        for c in range(channels):
            pair[k, channels + c] = second[k, c]


@numba.njit(inline="always")
def rotate_degree(l: int, at: int, width: int, pair: Any, d: Any, weight: Any, x: Any, place: Any) -> None:
    """Turn degree l of a pair into the frame of the bond, times the radial weights.

    Parameters
    ----------
    l, at, width : int
        Degree, start of its matrix in d, and channels of the pair.
    pair : array
        (K, width).
    d : array
        Wigner matrices of the bond, flat.
    weight : array
        Radial weights, those of the degree from l·width on.
    x : array
        Written: the row of inputs of the convolution.
    place : array
        (K,) first column of each component in x.
    """
    size = 2 * l + 1
    factor = weight[l * width : l * width + width]
    for row in range(size):
        start = place[l * l + row]
        out = x[start : start + width]
        for c in range(width):
            total = d[at + row * size] * pair[l * l, c]
            for k in range(1, size):
                total += d[at + row * size + k] * pair[l * l + k, c]
            out[c] = total * factor[c]


@numba.njit(inline="always")
def turn_back_degree(
    l: int,
    at: int,
    width: int,
    pair: Any,
    d: Any,
    weight: Any,
    dx: Any,
    place: Any,
    rows: Any,
    turned: Any,
    dweight: Any,
) -> None:
    """Compute the gradients of `rotate_degree`.

    Parameters
    ----------
    l, at, width, pair, d, weight, place
        Arguments of `rotate_degree`.
    dx : array
        Gradient of the row.
    rows : array
        (K, width), scratch.
    turned : array
        Written: (K, width), gradient of the pair.
    dweight : array
        Written: gradient of the weights of the degree.
    """
    size = 2 * l + 1
    factor, dfactor = weight[l * width : l * width + width], dweight[l * width : l * width + width]
    for row in range(size):
        start = place[l * l + row]
        given = dx[start : start + width]
        for c in range(width):
            rows[l * l + row, c] = given[c]
    for c in range(width):
        dfactor[c] = 0.0
    for k in range(size):
        for c in range(width):
            total = d[at + k] * rows[l * l, c]
            for row in range(1, size):
                total += d[at + row * size + k] * rows[l * l + row, c]
            dfactor[c] += pair[l * l + k, c] * total
            turned[l * l + k, c] = total * factor[c]


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
    """Return the loops that turn both nodes of each edge into its frame, times radial weights, as order-major rows.

    The sizes are written out for each degree: only loops of known length become vector instructions, which makes
    these two functions eight times faster.
    """
    C, K = channels, (l_max + 1) ** 2

    def gather(nodes, source, target, wigner, radial, place, x):
        """nodes (n, K, C), source/target (B,), wigner (B, Σ(2l+1)²), radial (B, more than (l_max+1)·2C), place
        (K,) first column of each component in x (B, columns): source channels, then target channels."""
        pair = np.empty((K, 2 * C), dtype=x.dtype)
        for b in range(len(source)):
            d, weight, row = wigner[b], radial[b], x[b]
            load_pair(nodes[source[b]], nodes[target[b]], pair, K, C)
            rotate_degree(0, 0, 2 * C, pair, d, weight, row, place)
            rotate_degree(1, 1, 2 * C, pair, d, weight, row, place)
            if l_max >= 2:
                rotate_degree(2, 10, 2 * C, pair, d, weight, row, place)
            if l_max >= 3:
                rotate_degree(3, 35, 2 * C, pair, d, weight, row, place)
            if l_max >= 4:
                rotate_degree(4, 84, 2 * C, pair, d, weight, row, place)
            if l_max >= 5:
                rotate_degree(5, 165, 2 * C, pair, d, weight, row, place)
            if l_max >= 6:
                rotate_degree(6, 286, 2 * C, pair, d, weight, row, place)
            if l_max >= 7:
                rotate_degree(7, 455, 2 * C, pair, d, weight, row, place)
            if l_max >= 8:
                rotate_degree(8, 680, 2 * C, pair, d, weight, row, place)

    def scatter(nodes, source, target, wigner, radial, place, dx, dnodes, dradial):
        """Gradients of gather: added to dnodes (n, K, C), written to the first columns of dradial."""
        pair = np.empty((K, 2 * C), dtype=dx.dtype)
        rows = np.empty((K, 2 * C), dtype=dx.dtype)
        turned = np.empty((K, 2 * C), dtype=dx.dtype)
        for b in range(len(source)):
            d, weight, row, dweight = wigner[b], radial[b], dx[b], dradial[b]
            load_pair(nodes[source[b]], nodes[target[b]], pair, K, C)
            turn_back_degree(0, 0, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            turn_back_degree(1, 1, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            if l_max >= 2:
                turn_back_degree(2, 10, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            if l_max >= 3:
                turn_back_degree(3, 35, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            if l_max >= 4:
                turn_back_degree(4, 84, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            if l_max >= 5:
                turn_back_degree(5, 165, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            if l_max >= 6:
                turn_back_degree(6, 286, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            if l_max >= 7:
                turn_back_degree(7, 455, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            if l_max >= 8:
                turn_back_degree(8, 680, 2 * C, pair, d, weight, row, place, rows, turned, dweight)
            first, second = dnodes[source[b]], dnodes[target[b]]
            for k in range(K):
                for c in range(C):
                    first[k, c] += turned[k, c]
                for c in range(C):
                    second[k, c] += turned[k, C + c]

    return compiled(gather), compiled(scatter)


def _own_kernels(l_max: int, channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops of the edge's own invariants: layer norm times weights, beside those of the nodes in l = 0."""
    C, at = channels, (l_max + 1) * 2 * channels

    def own(features, scale, bias, weights, epsilon, normed, x):
        """features (B, C); weights (B, at + C); written to normed (B, C) and to columns 2C … 3C of x."""
        scaled = np.empty(C, dtype=x.dtype)
        for b in range(len(features)):
            normalise(features[b], scale, bias, epsilon, normed[b], scaled, C)
            weight, out = weights[b, at : at + C], x[b, 2 * C : 2 * C + C]
            for c in range(C):
                out[c] = scaled[c] * weight[c]

    def own_back(normed, scale, bias, weights, dx, dweights, dscale, dbias):
        """Gradients of own: the last columns of dweights are written, the others added to."""
        for b in range(len(normed)):
            value, weight = normed[b], weights[b, at : at + C]
            above, out = dx[b, 2 * C : 2 * C + C], dweights[b, at : at + C]
            for c in range(C):
                out[c] = above[c] * (value[c] * scale[c] + bias[c])
            for c in range(C):
                dscale[c] += above[c] * weight[c] * value[c]
            for c in range(C):
                dbias[c] += above[c] * weight[c]

    return compiled(own), compiled(own_back)


def _gate_kernels(l_max: int, hidden: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops from order-major rows to gated degree-major segments."""
    H = hidden

    def gate(y, place, gates, z):
        """y (B, columns), place (K,) first column of each component, gates (B, (l_max+1)·H) sigmoids: of the
        invariants themselves, then of every l > 0; z flat, degree-major (width H)."""
        B = len(y)
        for b in range(B):
            for l in range(l_max + 1):
                weight = gates[b, l * H : l * H + H]
                for row in range(2 * l + 1):
                    start = place[l * l + row]
                    value = y[b, start : start + H]
                    at = l * l * B * H + (b * (2 * l + 1) + row) * H
                    out = z[at : at + H]
                    for c in range(H):
                        out[c] = value[c] * weight[c]

    def gate_back(y, place, gates, dz, dy):
        """Gradient of gate, dy (B, columns), whose columns H … (l_max+1)·H are the gates before the sigmoid."""
        B = len(y)
        one, zero = y.dtype.type(1), y.dtype.type(0)
        dweight = np.empty(H, dtype=y.dtype)
        for b in range(B):
            start = place[0]
            first, dfirst, above, s = (
                y[b, start : start + H],
                dy[b, start : start + H],
                dz[b * H : b * H + H],
                gates[b, :H],
            )
            for c in range(H):
                dfirst[c] = above[c] * s[c] * (one + first[c] * (one - s[c]))
            for l in range(1, l_max + 1):
                weight = gates[b, l * H : l * H + H]
                for c in range(H):
                    dweight[c] = zero
                for row in range(2 * l + 1):
                    start = place[l * l + row]
                    value, dvalue = y[b, start : start + H], dy[b, start : start + H]
                    at = l * l * B * H + (b * (2 * l + 1) + row) * H
                    above = dz[at : at + H]
                    for c in range(H):
                        dvalue[c] = above[c] * weight[c]
                    for c in range(H):
                        dweight[c] += above[c] * value[c]
                out = dy[b, l * H : l * H + H]
                for c in range(H):
                    out[c] = dweight[c] * weight[c] * (one - weight[c])

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
    C = channels

    def norm(e, scale0, bias0, weight, epsilon, f, statistics):
        """e, f flat, degree-major (width C); statistics (B, 3): mean and 1/σ of l = 0, 1/rms of l > 0."""
        B = len(statistics)
        count, one, zero, eps = e.dtype.type(C), e.dtype.type(1), e.dtype.type(0), e.dtype.type(epsilon)
        sums = np.empty(C, dtype=e.dtype)
        for b in range(B):
            value, out = e[b * C : b * C + C], f[b * C : b * C + C]
            mean = zero
            for c in range(C):
                mean += value[c]
            mean /= count
            variance = zero
            for c in range(C):
                variance += (value[c] - mean) * (value[c] - mean)
            inverse = one / np.sqrt(variance / count + eps)
            for c in range(C):
                out[c] = (value[c] - mean) * inverse * scale0[c] + bias0[c]
            square = zero
            for l in range(1, l_max + 1):
                for c in range(C):
                    sums[c] = zero
                for row in range(2 * l + 1):
                    start = l * l * B * C + (b * (2 * l + 1) + row) * C
                    value = e[start : start + C]
                    for c in range(C):
                        sums[c] += value[c] * value[c]
                part = zero
                for c in range(C):
                    part += sums[c]
                square += part / e.dtype.type((2 * l + 1) * l_max * C)
            rms = one / np.sqrt(square + eps)
            statistics[b, 0], statistics[b, 1], statistics[b, 2] = mean, inverse, rms
            for l in range(1, l_max + 1):
                factor = weight[l - 1]
                for row in range(2 * l + 1):
                    start = l * l * B * C + (b * (2 * l + 1) + row) * C
                    value, out = e[start : start + C], f[start : start + C]
                    for c in range(C):
                        out[c] = value[c] * rms * factor[c]

    def norm_back(e, scale0, weight, statistics, df, de, dscale0, dbias0, dweight):
        """Gradients of norm: added to de, dscale0, dbias0 (C,) and dweight (l_max, C)."""
        B = len(statistics)
        count, zero = e.dtype.type(C), e.dtype.type(0)
        sums, normed = np.empty(C, dtype=e.dtype), np.empty(C, dtype=e.dtype)
        for b in range(B):
            mean, inverse, rms = statistics[b, 0], statistics[b, 1], statistics[b, 2]
            value, above, out = e[b * C : b * C + C], df[b * C : b * C + C], de[b * C : b * C + C]
            total, along = zero, zero
            for c in range(C):
                normed[c] = (value[c] - mean) * inverse
            for c in range(C):
                dscale0[c] += above[c] * normed[c]
            for c in range(C):
                dbias0[c] += above[c]
            for c in range(C):
                total += above[c] * scale0[c]
            for c in range(C):
                along += above[c] * scale0[c] * normed[c]
            total /= count
            along /= count
            for c in range(C):
                out[c] += inverse * (above[c] * scale0[c] - total - normed[c] * along)
            product = zero
            for l in range(1, l_max + 1):
                along_l, factor = dweight[l - 1], weight[l - 1]
                for c in range(C):
                    sums[c] = zero
                for row in range(2 * l + 1):
                    start = l * l * B * C + (b * (2 * l + 1) + row) * C
                    value, above = e[start : start + C], df[start : start + C]
                    for c in range(C):
                        sums[c] += above[c] * value[c]
                for c in range(C):
                    along_l[c] += sums[c] * rms
                for c in range(C):
                    product += sums[c] * factor[c]
            for l in range(1, l_max + 1):
                common, factor = product * rms * rms * rms / e.dtype.type((2 * l + 1) * l_max * C), weight[l - 1]
                for row in range(2 * l + 1):
                    start = l * l * B * C + (b * (2 * l + 1) + row) * C
                    value, above, out = e[start : start + C], df[start : start + C], de[start : start + C]
                    for c in range(C):
                        out[c] += above[c] * rms * factor[c] - common * value[c]

    return compiled(norm), compiled(norm_back)


def _rotate_kernels(l_max: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops that turn coupled outputs from the frames of the edges to the common axes, and back."""

    def rotate_out(o, wigner, counts, widths, starts, out):
        """o flat, degree l a (B, 2l+1, widths[l]) array at offset B·Σ_{k<l} (2k+1)·widths[k], whose first counts[l]
        columns are turned; starts: first column in out (B, size) of the irreps, degree by degree."""
        B = len(wigner)
        x, y = np.zeros((2 * l_max + 1) * SIDE, o.dtype), np.empty((2 * l_max + 1) * SIDE, o.dtype)
        for b in range(B):
            d, row = wigner[b], out[b]
            offset, first, at = 0, 0, 0
            for l in range(l_max + 1):
                width, size = widths[l], 2 * l + 1
                for k0 in range(0, counts[l], SIDE):
                    base, slots = offset + b * size * width + k0, starts[first + k0 : first + min(counts[l], k0 + SIDE)]
                    for m in range(size):
                        for k in range(len(slots)):
                            x[m * SIDE + k] = o[base + m * width + k]
                    strided(d, at, 1, size, x, 0, SIDE, y, 0, SIDE, size, SIDE, size, 0)
                    for m in range(size):
                        for k in range(len(slots)):
                            row[slots[k] + m] = y[m * SIDE + k]
                offset += B * size * width
                first += counts[l]
                at += size * size

    def rotate_in(dout, wigner, counts, widths, starts, do):
        """The inverse (and transpose) of rotate_out, written to do; further columns become zero."""
        B = len(wigner)
        x, y = np.zeros((2 * l_max + 1) * SIDE, do.dtype), np.empty((2 * l_max + 1) * SIDE, do.dtype)
        for b in range(B):
            d, row = wigner[b], dout[b]
            offset, first, at = 0, 0, 0
            for l in range(l_max + 1):
                width, size = widths[l], 2 * l + 1
                for k0 in range(0, counts[l], SIDE):
                    base, slots = offset + b * size * width + k0, starts[first + k0 : first + min(counts[l], k0 + SIDE)]
                    for m in range(size):
                        for k in range(len(slots)):
                            x[m * SIDE + k] = row[slots[k] + m]
                        for k in range(len(slots), SIDE):
                            x[m * SIDE + k] = 0
                    strided(d, at, size, 1, x, 0, SIDE, y, 0, SIDE, size, SIDE, size, 0)
                    for m in range(size):
                        for k in range(min(SIDE, width - k0)):
                            do[base + m * width + k] = y[m * SIDE + k]
                offset += B * size * width
                first += counts[l]
                at += size * size

    return compiled(rotate_out), compiled(rotate_in)
