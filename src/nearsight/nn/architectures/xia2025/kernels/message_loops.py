"""Loops over the edges that arrive at a group of nodes: scalar messages, attention, sums of harmonics.

Edges are sorted by their target; `ends` says where each node's edges end. The reference implementation is
`messages.by_tensors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np

from nearsight.nn.architectures.xia2025.kernels.radial import normalise, normalise_back
from nearsight.nn.kernels.blas import workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.tiles import fit_vectors, times_in_vectors, times_tn_in_vectors
from nearsight.nn.kernels.vectors import LANES, lanes_of, load, spread, store, total


@dataclass(frozen=True)
class MessageKernels:
    """Compiled loops for a network's sizes; the inner functions of this module document their arguments."""

    combine: Callable[..., Any]
    combine_back: Callable[..., Any]
    norm: Callable[..., Any]
    attend: Callable[..., Any]
    attend_back: Callable[..., Any]
    gate: Callable[..., Any]
    gate_back: Callable[..., Any]
    moments: Callable[..., Any]
    moments_back: Callable[..., Any]


@cache
def message_kernels(l_max: int, channels: int, gaussians: int, heads: int, alpha: int, hidden: int) -> MessageKernels:
    """Return the compiled loops for a network's sizes.

    Parameters
    ----------
    l_max, channels, gaussians, heads, alpha, hidden : int
        Sizes of the network (`Widths`).

    Returns
    -------
    MessageKernels
        The loops, compiled at their first call.
    """
    combine, combine_back = _combine_kernels(channels, gaussians)
    norm, attend, attend_back = _attention_kernels(heads, alpha)
    gate, gate_back = _gate_kernels(l_max, hidden)
    moments, moments_back = _moment_kernels(l_max, heads, hidden)
    return MessageKernels(combine, combine_back, norm, attend, attend_back, gate, gate_back, moments, moments_back)


def _combine_kernels(channels: int, gaussians: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    C, G, W = channels, gaussians, lanes_of(channels, gaussians)

    def combine(nodes, source, target, x, weight, out):
        """[node i, node j, x] · weight: nodes (n, C), x (B, G), weight and out (B, 2C + G)."""
        for b in range(len(source)):
            w, row = weight[b], out[b]
            for c in range(0, C, W):
                store(row, c, load(nodes[source[b]], c, W) * load(w, c, W))
                store(row, C + c, load(nodes[target[b]], c, W) * load(w, C + c, W))
            for c in range(0, G, W):
                store(row, 2 * C + c, load(x[b], c, W) * load(w, 2 * C + c, W))

    def combine_back(nodes, source, target, x, weight, above, dnodes):
        """`above` (B, 2C + G) becomes the gradient of the weights; that of the nodes is added to dnodes (n, C)."""
        for b in range(len(source)):
            w, row = weight[b], above[b]
            for end in range(2):
                i = target[b] if end else source[b]
                value, below = nodes[i], dnodes[i]
                for c in range(0, C, W):
                    given = load(row, end * C + c, W)
                    store(below, c, load(below, c, W) + given * load(w, end * C + c, W))
                    store(row, end * C + c, given * load(value, c, W))
            for c in range(0, G, W):
                store(row, 2 * C + c, load(row, 2 * C + c, W) * load(x[b], c, W))

    return compiled(combine), compiled(combine_back)


def _attention_kernels(heads: int, alpha: int) -> tuple[Callable[..., Any], ...]:
    N, A, W = heads, alpha, lanes_of(alpha)

    def norm(f, scale, bias, epsilon, normed, inverse, a):
        """The first heads·alpha columns of f through the layer norm: normed, a (B, heads·alpha), inverse (B, heads)."""
        for b in range(len(f)):
            for h in range(N):
                part = slice(h * A, h * A + A)
                inverse[b, h] = normalise(W, f[b, part], scale, bias, epsilon, normed[b, part], a[b, part], A)

    def attend(a, s, vector, slope, ends, weights):
        """Logits of a and s = σ(a), soft maximum over each node's edges; vector (heads·alpha,), weights (B, heads)."""
        one, two = a.dtype.type(1), a.dtype.type(2)
        linear, bent = spread((one + a.dtype.type(slope)) / two, W), spread((one - a.dtype.type(slope)) / two, W)
        ones, zero = spread(one, W), a.dtype.type(0)
        for b in range(len(a)):
            x, y = a[b], s[b]
            for h in range(N):
                logit = spread(zero, W)
                for c in range(h * A, h * A + A, W):
                    gate = load(y, c, W)
                    logit = logit + load(vector, c, W) * load(x, c, W) * (linear + bent * (gate + gate - ones))
                weights[b, h] = total(logit)
        start = 0
        for j in range(len(ends)):
            for h in range(N):
                highest = a.dtype.type(-np.inf)
                for b in range(start, ends[j]):
                    highest = max(highest, weights[b, h])
                summed = a.dtype.type(0)
                for b in range(start, ends[j]):
                    weights[b, h] = np.exp(weights[b, h] - highest)
                    summed += weights[b, h]
                for b in range(start, ends[j]):
                    weights[b, h] /= summed
            start = ends[j]

    def attend_back(a, s, vector, slope, ends, weights, dweights, normed, inverse, scale, df, dvector, dscale, dbias):
        """dweights (B, heads) becomes the gradient of the logits; writes the first heads·alpha columns of df."""
        one, two = a.dtype.type(1), a.dtype.type(2)
        linear, bent = spread((one + a.dtype.type(slope)) / two, W), spread((one - a.dtype.type(slope)) / two, W)
        ones, above = spread(one, W), np.empty(A, dtype=a.dtype)
        start = 0
        for j in range(len(ends)):
            for h in range(N):
                mean = a.dtype.type(0)
                for b in range(start, ends[j]):
                    mean += weights[b, h] * dweights[b, h]
                for b in range(start, ends[j]):
                    dweights[b, h] = weights[b, h] * (dweights[b, h] - mean)
            start = ends[j]
        for b in range(len(a)):
            x, y = a[b], s[b]
            for h in range(N):
                given, part = spread(dweights[b, h], W), slice(h * A, h * A + A)
                for c in range(0, A, W):
                    at = h * A + c
                    value, gate = load(x, at, W), load(y, at, W)
                    swing, opening = gate + gate - ones, value * gate * (ones - gate)
                    store(dvector, at, load(dvector, at, W) + given * value * (linear + bent * swing))
                    store(above, c, given * load(vector, at, W) * (linear + bent * (swing + opening + opening)))
                normalise_back(W, above, scale, normed[b, part], inverse[b, h], dscale, dbias, df[b, part], A)

    return compiled(norm), compiled(attend), compiled(attend_back)


def _gate_kernels(l_max: int, hidden: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    L, H = l_max, hidden

    def gate(f, start, s, g):
        """Columns from `start` of f are l_max·H gates, H invariants, l_max·H values; s = σ(gates, invariants);
        g (B, (l_max+1)·H): invariants by their own sigmoid, values by the gates'."""
        for b in range(len(f)):
            value, weight, out = f[b, start + L * H : start + L * H + H], s[b, L * H : L * H + H], g[b, :H]
            for c in range(H):
                out[c] = value[c] * weight[c]
            value, weight, out = f[b, start + L * H + H : start + 2 * L * H + H], s[b, : L * H], g[b, H : H + L * H]
            for c in range(L * H):
                out[c] = value[c] * weight[c]

    def gate_back(f, start, s, dg, df):
        """Gradient of gate, written to the columns from `start` of df."""
        one = f.dtype.type(1)
        for b in range(len(f)):
            value, weight, above = f[b, start + L * H : start + L * H + H], s[b, L * H : L * H + H], dg[b, :H]
            out = df[b, start + L * H : start + L * H + H]
            for c in range(H):
                out[c] = above[c] * weight[c] * (one + value[c] * (one - weight[c]))
            value, weight, above = f[b, start + L * H + H : start + 2 * L * H + H], s[b, : L * H], dg[b, H : H + L * H]
            out = df[b, start + L * H + H : start + 2 * L * H + H]
            for c in range(L * H):
                out[c] = above[c] * weight[c]
            out = df[b, start : start + L * H]
            for c in range(L * H):
                out[c] = above[c] * value[c] * weight[c] * (one - weight[c])

    return compiled(gate), compiled(gate_back)


def _moment_kernels(l_max: int, heads: int, hidden: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the loops of sums over each node's edges, taken before the second, linear, convolution.

    The edges of a node are one matrix product, with a matrix of factors weight·Y_lm (edges, heads·K).
    """
    N, K, W = heads, (l_max + 1) ** 2, (l_max + 1) * hidden
    rows, fits = heads * (l_max + 1) ** 2, fit_vectors(W)
    filled = -(-rows // LANES) * LANES

    def moments(weights, harmonics, g, ends, out, sums):
        """Σ over a node's edges of weight·Y_lm·g: weights (B, heads), harmonics (B, K), g (B, W) → out (n, heads, K, W)
        and the same without g, sums (n, heads, K); both are overwritten."""
        space, flat, start, most = workspace(g), g.ravel(), 0, 0
        for j in range(len(ends)):
            most, start = max(most, ends[j] - start), ends[j]
        factors, start = np.empty(most * rows, dtype=g.dtype), 0
        for j in range(len(ends)):
            own, count = sums[j].ravel(), ends[j] - start
            factors_of(N, K, weights, harmonics, start, count, factors)
            for k in range(rows):
                own[k] = 0
            for b in range(count):
                row = factors[b * rows : b * rows + rows]
                for k in range(rows):
                    own[k] += row[k]
            if count > 0:
                into = out[j].ravel()
                times_tn_in_vectors(fits, space, factors, flat[start * W :], into, rows, W, count, 0)
            else:
                out[j] = 0
            start = ends[j]

    def moments_back(weights, harmonics, g, ends, dout, dsums, dweights, dg):
        """Gradients of moments, written to dweights (B, heads) and dg (B, W)."""
        space, flat, dflat, start, most = workspace(g), g.ravel(), dg.ravel(), 0, 0
        for j in range(len(ends)):
            most, start = max(most, ends[j] - start), ends[j]
        factors, dfactors = np.empty(most * rows, dtype=g.dtype), np.empty(most * filled, dtype=g.dtype)
        turned, start = np.zeros(W * filled, dtype=g.dtype), 0
        for j in range(len(ends)):
            above, own, count = dout[j].ravel(), dsums[j].ravel(), ends[j] - start
            if count > 0:
                for k in range(rows):
                    for c in range(W):
                        turned[c * filled + k] = above[k * W + c]
                times_in_vectors(True, space, flat[start * W :], turned, dfactors, count, filled, W, 0)
                for b in range(count):
                    for h in range(N):
                        along, y = g.dtype.type(0), harmonics[start + b]
                        row, constant = dfactors[b * filled + h * K : b * filled + h * K + K], own[h * K : h * K + K]
                        for k in range(K):
                            along += y[k] * (row[k] + constant[k])
                        dweights[start + b, h] = along
                factors_of(N, K, weights, harmonics, start, count, factors)
                times_in_vectors(fits, space, factors, above, dflat[start * W :], count, W, rows, 0)
            start = ends[j]

    return compiled(moments), compiled(moments_back)


@numba.njit(inline="always")
def factors_of(N: int, K: int, weights: Any, harmonics: Any, start: int, count: int, factors: Any) -> None:
    """Compute weight·Y_lm of edges from `start` on.

    Parameters
    ----------
    N, K : int
        Heads, and components.
    weights, harmonics : array
        (B, N) and (B, K).
    start, count : int
        The edges.
    factors : array
        Written: flat (count, N·K).
    """
    for b in range(count):
        y = harmonics[start + b]
        for h in range(N):
            weight, row = weights[start + b, h], factors[(b * N + h) * K : (b * N + h) * K + K]
            for k in range(K):
                row[k] = weight * y[k]
