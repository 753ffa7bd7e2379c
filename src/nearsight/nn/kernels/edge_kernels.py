"""Loops over edges that eager tensors do badly, compiled with numba: gather and rotate, gate, norm, rotate back.

All work on one chunk of B edges in the frames of their bonds. Two layouts occur:

* order-major rows: the components of order m lie together (+m, then −m; l ascending), as the convolutions want them;
* degree-major segments: degree l is a contiguous (B, 2l+1, width) array at offset l²·B·width of a flat buffer, as
  everything that acts on each degree alone wants it.

`kernels` builds the functions for given sizes, which the compiler then knows. Slow twin of all: `EdgeUpdate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

FAST = {"contract", "reassoc", "arcp", "nsz"}


@dataclass(frozen=True)
class Kernels:
    """Compiled loops; arguments as documented at each function below."""

    gather: Callable[..., Any]
    scatter: Callable[..., Any]
    gate: Callable[..., Any]
    gate_back: Callable[..., Any]
    norm: Callable[..., Any]
    norm_back: Callable[..., Any]
    multiply: Callable[..., Any]
    multiply_back: Callable[..., Any]
    rotate_out: Callable[..., Any]
    rotate_out_back: Callable[..., Any]


@cache
def kernels(l_max: int, channels: int, hidden: int, feed_forward: int) -> Kernels:
    """The loops for a network's sizes."""
    gather, scatter = _gather_kernels(l_max, channels)
    gate, gate_back = _gate_kernels(l_max, hidden)
    norm, norm_back = _norm_kernels(l_max, channels)
    multiply, multiply_back = _multiply_kernels(l_max, feed_forward)
    rotate_out, rotate_out_back = _rotate_kernels(l_max)
    return Kernels(gather, scatter, gate, gate_back, norm, norm_back, multiply, multiply_back, rotate_out,
                   rotate_out_back)


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    return numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")(function)


def _gather_kernels(l_max: int, channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Both nodes of each edge into its frame, times the radial weights, as order-major rows.

    The sizes are written out for each degree: only loops of known length become vector instructions, which makes
    these two functions eight times faster.
    """
    from nearsight.nn.kernels.rotation_loops import load_pair, rotate_degree, turn_back_degree

    C, K = channels, (l_max + 1) ** 2

    def gather(nodes, source, target, wigner, radial, place, x):
        """nodes (n, K, C), source/target (B,), wigner (B, Σ(2l+1)²), radial (B, l_max+1, 2C), place (K,) first
        column of each component in x (B, columns): source channels, then target channels."""
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
        """Gradients of gather: added to dnodes (n, K, C), written to dradial (B, l_max+1, 2C)."""
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

    return _jit(gather), _jit(scatter)


def _gate_kernels(l_max: int, hidden: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Gated order-major rows to degree-major segments."""
    H = hidden

    def gate(y, place, gates, z):
        """y (B, columns), place (K,) first column of each component, gates (B, (l_max+1)·H) sigmoids: of the
        invariants themselves, then of every l > 0; z flat, degree-major (width H)."""
        B = len(y)
        for b in range(B):
            for l in range(l_max + 1):
                weight = gates[b, l * H:(l + 1) * H]
                for row in range(2 * l + 1):
                    value = y[b, place[l * l + row]:place[l * l + row] + H]
                    at = l * l * B * H + (b * (2 * l + 1) + row) * H
                    out = z[at:at + H]
                    for c in range(H):
                        out[c] = value[c] * weight[c]

    def gate_back(y, place, gates, dz, dy):
        """Gradient of gate, dy (B, columns), whose columns H … (l_max+1)·H are the gates before the sigmoid."""
        B = len(y)
        for b in range(B):
            first, dfirst, above = y[b, place[0]:place[0] + H], dy[b, place[0]:place[0] + H], dz[b * H:(b + 1) * H]
            for c in range(H):
                s = gates[b, c]
                dfirst[c] = above[c] * s * (1 + first[c] * (1 - s))
            for l in range(1, l_max + 1):
                weight, dweight = gates[b, l * H:(l + 1) * H], dy[b, l * H:(l + 1) * H]
                for c in range(H):
                    dweight[c] = 0.0
                for row in range(2 * l + 1):
                    value = y[b, place[l * l + row]:place[l * l + row] + H]
                    dvalue = dy[b, place[l * l + row]:place[l * l + row] + H]
                    at = l * l * B * H + (b * (2 * l + 1) + row) * H
                    above = dz[at:at + H]
                    for c in range(H):
                        dvalue[c] = above[c] * weight[c]
                    for c in range(H):
                        dweight[c] += above[c] * value[c]
                for c in range(H):
                    dweight[c] *= weight[c] * (1 - weight[c])

    return _jit(gate), _jit(gate_back)


def _norm_kernels(l_max: int, channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`EquivariantLayerNorm` on degree-major segments."""
    C = channels

    def norm(e, scale0, bias0, weight, epsilon, f, statistics):
        """e, f flat, degree-major (width C); statistics (B, 3): mean and 1/σ of l = 0, 1/rms of l > 0."""
        B = len(statistics)
        for b in range(B):
            mean = 0.0
            for c in range(C):
                mean += e[b * C + c]
            mean /= C
            variance = 0.0
            for c in range(C):
                variance += (e[b * C + c] - mean) ** 2
            inverse = 1.0 / np.sqrt(variance / C + epsilon)
            square = 0.0
            for l in range(1, l_max + 1):
                start = l * l * B * C + b * (2 * l + 1) * C
                part = 0.0
                for k in range((2 * l + 1) * C):
                    part += e[start + k] ** 2
                square += part / ((2 * l + 1) * l_max * C)
            rms = 1.0 / np.sqrt(square + epsilon)
            statistics[b, 0], statistics[b, 1], statistics[b, 2] = mean, inverse, rms
            for c in range(C):
                f[b * C + c] = (e[b * C + c] - mean) * inverse * scale0[c] + bias0[c]
            for l in range(1, l_max + 1):
                for row in range(2 * l + 1):
                    start = l * l * B * C + (b * (2 * l + 1) + row) * C
                    for c in range(C):
                        f[start + c] = e[start + c] * statistics[b, 2] * weight[l - 1, c]

    def norm_back(e, scale0, weight, statistics, df, de, dscale0, dbias0, dweight):
        """Gradients of norm: added to de, dscale0, dbias0 (C,) and dweight (l_max, C)."""
        B = len(statistics)
        for b in range(B):
            mean, inverse, rms = statistics[b, 0], statistics[b, 1], statistics[b, 2]
            total, along = 0.0, 0.0
            for c in range(C):
                normed = (e[b * C + c] - mean) * inverse
                g = df[b * C + c]
                dscale0[c] += g * normed
                dbias0[c] += g
                total += g * scale0[c]
                along += g * scale0[c] * normed
            for c in range(C):
                normed = (e[b * C + c] - mean) * inverse
                de[b * C + c] += inverse * (df[b * C + c] * scale0[c] - total / C - normed * along / C)
            product = 0.0
            for l in range(1, l_max + 1):
                along_l = dweight[l - 1]
                for row in range(2 * l + 1):
                    start = l * l * B * C + (b * (2 * l + 1) + row) * C
                    value, above = e[start:start + C], df[start:start + C]
                    for c in range(C):
                        along_l[c] += above[c] * value[c] * rms
                    for c in range(C):
                        product += above[c] * value[c] * weight[l - 1, c]
            for l in range(1, l_max + 1):
                common = product * rms**3 / ((2 * l + 1) * l_max * C)
                for row in range(2 * l + 1):
                    start = l * l * B * C + (b * (2 * l + 1) + row) * C
                    value, above, out = e[start:start + C], df[start:start + C], de[start:start + C]
                    for c in range(C):
                        out[c] += above[c] * rms * weight[l - 1, c] - common * value[c]

    return _jit(norm), _jit(norm_back)


def _multiply_kernels(l_max: int, width: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The gate of the feed-forward network on degree-major segments."""
    F = width

    def multiply(u, gates, g):
        """u, g flat, degree-major (width F); gates (B, (l_max+1)·F) sigmoids, those of the invariants first."""
        B = len(gates)
        for b in range(B):
            for l in range(l_max + 1):
                weight = gates[b, l * F:(l + 1) * F]
                for row in range(2 * l + 1):
                    start = l * l * B * F + (b * (2 * l + 1) + row) * F
                    value, out = u[start:start + F], g[start:start + F]
                    for c in range(F):
                        out[c] = value[c] * weight[c]

    def multiply_back(u, gates, dg, dgates):
        """dg becomes the gradient of u; dgates (B, l_max·F) is that of the gates before the sigmoid."""
        B = len(gates)
        for b in range(B):
            value, above = u[b * F:(b + 1) * F], dg[b * F:(b + 1) * F]
            for c in range(F):
                s = gates[b, c]
                above[c] *= s * (1 + value[c] * (1 - s))
            for l in range(1, l_max + 1):
                weight, dweight = gates[b, l * F:(l + 1) * F], dgates[b, (l - 1) * F:l * F]
                for c in range(F):
                    dweight[c] = 0.0
                for row in range(2 * l + 1):
                    start = l * l * B * F + (b * (2 * l + 1) + row) * F
                    value, above = u[start:start + F], dg[start:start + F]
                    for c in range(F):
                        dweight[c] += above[c] * value[c]
                    for c in range(F):
                        above[c] *= weight[c]
                for c in range(F):
                    dweight[c] *= weight[c] * (1 - weight[c])

    return _jit(multiply), _jit(multiply_back)


def _rotate_kernels(l_max: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Coupled outputs from the frames of the edges to the common axes."""

    def rotate_out(o, wigner, counts, starts, out):
        """o flat, degree l a (B, 2l+1, counts[l]) array at offset B·Σ_{k<l} (2k+1)·counts[k]; starts: first column in
        out (B, size) of the irreps, degree by degree."""
        B = len(wigner)
        for b in range(B):
            offset, first, at = 0, 0, 0
            for l in range(l_max + 1):
                n, size = counts[l], 2 * l + 1
                base = offset + b * size * n
                for k in range(n):
                    for m in range(size):
                        total = wigner.dtype.type(0)
                        for row in range(size):
                            total += wigner[b, at + row * size + m] * o[base + row * n + k]
                        out[b, starts[first + k] + m] = total
                offset += B * size * n
                first += n
                at += size * size

    def rotate_out_back(dout, wigner, counts, starts, do):
        """Gradient of rotate_out, written to do."""
        B = len(wigner)
        for b in range(B):
            offset, first, at = 0, 0, 0
            for l in range(l_max + 1):
                n, size = counts[l], 2 * l + 1
                base = offset + b * size * n
                for row in range(size):
                    for k in range(n):
                        total = wigner.dtype.type(0)
                        for m in range(size):
                            total += wigner[b, at + row * size + m] * dout[b, starts[first + k] + m]
                        do[base + row * n + k] = total
                offset += B * size * n
                first += n
                at += size * size

    return _jit(rotate_out), _jit(rotate_out_back)
