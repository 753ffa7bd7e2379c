"""Loops of the small network from distance and elements to weights (`RadialWeights`), up to its last layer.

Two linear layers, each with a layer norm and SiLU, on C channels. The first acts on [gaussians, source, target]; what
the elements contribute is a row of a table each. The sigmoids are left to torch, whose are vectorised; so the forward
pass is `first`, sigmoid, `second`, sigmoid, and `back` does all of the backward pass.

Slow twin: `RadialWeights`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np

from nearsight.nn.kernels.compilation import compiled


@dataclass(frozen=True)
class RadialKernels:
    """Compiled loops; arguments as documented at each function below."""

    first: Callable[..., Any]
    second: Callable[..., Any]
    back: Callable[..., Any]


@numba.njit(inline="always")
def normalise(z: Any, scale: Any, bias: Any, epsilon: Any, normed: Any, out: Any, size: int) -> Any:
    """Layer norm of z (size,): normed and scaled; returns 1/σ."""
    mean = z[0]
    for c in range(1, size):
        mean += z[c]
    mean /= z.dtype.type(size)
    square = (z[0] - mean) ** 2
    for c in range(1, size):
        square += (z[c] - mean) * (z[c] - mean)
    inverse = z.dtype.type(1) / np.sqrt(square / z.dtype.type(size) + z.dtype.type(epsilon))
    for c in range(size):
        normed[c] = (z[c] - mean) * inverse
    for c in range(size):
        out[c] = normed[c] * scale[c] + bias[c]
    return inverse


@numba.njit(inline="always")
def normalise_back(
    above: Any, scale: Any, normed: Any, inverse: Any, dscale: Any, dbias: Any, dz: Any, size: int
) -> None:
    """Gradient of `normalise` given that of its output; added to dscale and dbias, written to dz."""
    total, along = above[0] * scale[0], above[0] * scale[0] * normed[0]
    for c in range(1, size):
        total += above[c] * scale[c]
    for c in range(1, size):
        along += above[c] * scale[c] * normed[c]
    total /= above.dtype.type(size)
    along /= above.dtype.type(size)
    for c in range(size):
        dscale[c] += above[c] * normed[c]
    for c in range(size):
        dbias[c] += above[c]
    for c in range(size):
        dz[c] = inverse * (above[c] * scale[c] - total - normed[c] * along)


@numba.njit(inline="always")
def silu_back(above: Any, a: Any, s: Any, out: Any, size: int) -> None:
    """Gradient of a·s, s = σ(a)."""
    one = a.dtype.type(1)
    for c in range(size):
        out[c] = above[c] * s[c] * (one + a[c] * (one - s[c]))


@cache
def radial_kernels(gaussians: int, channels: int) -> RadialKernels:
    """The loops for G Gaussians and C channels."""
    G, C = gaussians, channels

    def first(x, zi, zj, source, target, w, scale, bias, epsilon, normed, inverse, a):
        """x (B, G); zi, zj (B,) rows of the tables source, target (Z, C); w (G, C); normed, a (B, C), inverse (B,)."""
        z = np.empty(C, dtype=x.dtype)
        for b in range(len(x)):
            row, left, right = x[b], source[zi[b]], target[zj[b]]
            for c in range(C):
                z[c] = left[c] + right[c]
            for g in range(G):
                value, weight = row[g], w[g]
                for c in range(C):
                    z[c] += value * weight[c]
            inverse[b] = normalise(z, scale, bias, epsilon, normed[b], a[b], C)

    def second(a0, s0, w, constant, scale, bias, epsilon, normed, inverse, a):
        """a0, s0 (B, C) before the first SiLU and its sigmoid; w (C in, C out), constant (C,)."""
        z = np.empty(C, dtype=a0.dtype)
        for b in range(len(a0)):
            left, right = a0[b], s0[b]
            for c in range(C):
                z[c] = constant[c]
            for k in range(C):
                value, weight = left[k] * right[k], w[k]
                for c in range(C):
                    z[c] += value * weight[c]
            inverse[b] = normalise(z, scale, bias, epsilon, normed[b], a[b], C)

    def back(x, zi, zj, w1, scale0, scale1, normed0, inverse0, a0, s0, normed1, inverse1, a1, s1, dhidden,
             dsource, dtarget, dw0, dscale0, dbias0, dw1, dconstant, dscale1, dbias1):
        """Adds all gradients given that of the hidden features (B, C); w1 (C out, C in), dw0 (G, C), dw1 (C in, C out).
        """
        above, dz, dh = np.empty(C, dtype=x.dtype), np.empty(C, dtype=x.dtype), np.empty(C, dtype=x.dtype)
        zero = x.dtype.type(0)
        for b in range(len(x)):
            silu_back(dhidden[b], a1[b], s1[b], above, C)
            normalise_back(above, scale1, normed1[b], inverse1[b], dscale1, dbias1, dz, C)
            left, right, row = a0[b], s0[b], x[b]
            for c in range(C):
                dconstant[c] += dz[c]
            for c in range(C):
                dh[c] = zero
            for k in range(C):
                value, sums, weight = left[k] * right[k], dw1[k], w1[k]
                for c in range(C):
                    sums[c] += value * dz[c]
                value = dz[k]
                for c in range(C):
                    dh[c] += value * weight[c]
            silu_back(dh, left, right, above, C)
            normalise_back(above, scale0, normed0[b], inverse0[b], dscale0, dbias0, dz, C)
            first_row, second_row = dsource[zi[b]], dtarget[zj[b]]
            for c in range(C):
                first_row[c] += dz[c]
            for c in range(C):
                second_row[c] += dz[c]
            for g in range(G):
                value, sums = row[g], dw0[g]
                for c in range(C):
                    sums[c] += value * dz[c]

    return RadialKernels(compiled(first), compiled(second), compiled(back))
