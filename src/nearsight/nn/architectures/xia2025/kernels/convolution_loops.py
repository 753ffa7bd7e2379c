"""The convolution in the frames of the bonds, order by order, forward and backward, on one chunk of edges.

Order m > 0 multiplies by complex numbers: y₊ + iy₋ = (a + ib)(x₊ + ix₋). Three real products do it instead of four
(Gauss), with weights P₁ = a, P₂ = b − a and P₃ = −(a + b): y₊ = t + P₃x₋ and y₋ = t + P₂x₊ with t = P₁(x₊ + x₋). The
gradients are those of these products: three, too. The reference implementation is `SO2Convolution`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from nearsight.nn.kernels.blas import workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.linear_layer import add_times_tn_by_rows, times_by_rows
from nearsight.nn.kernels.tiles import fit_vectors


@cache
def convolution_kernels(l_max: int, channels: int, hidden: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled loops for a network's sizes, forward and backward.

    Parameters
    ----------
    l_max, channels, hidden : int
        Sizes of the network.

    Returns
    -------
    tuple of callable
        The loops; the inner functions document their arguments.
    """
    L, C, H = l_max, channels, hidden
    fits = fit_vectors(C, H)

    def convolve(x, weights_t, bias, y):
        """x and y flat (`Layout`): sums x₊ + x₋ are written to x; weights_t: P of each order, transposed, flat."""
        n_in, n_out = (L + 1) * 2 * C + C, (L + 1) * H + L * H
        B, space = len(x) // (n_in + 3 * L * (L + 1) * C), workspace(x)
        for b in range(B):
            out = y[b * n_out : b * n_out + n_out]
            for c in range(n_out):
                out[c] = bias[c]
        times_by_rows(fits, space, x, 0, weights_t, 0, y, 0, B, n_out, n_in, 1)
        at, to, place = B * n_in, B * n_out, n_in * n_out
        for m in range(1, L + 1):
            n_in, n_out = (L + 1 - m) * 2 * C, (L + 1 - m) * H
            rows, size = B * n_in, n_in * n_out
            plus, minus, both = x[at : at + rows], x[at + rows : at + 2 * rows], x[at + 2 * rows : at + 3 * rows]
            for k in range(rows):
                both[k] = plus[k] + minus[k]
            times_by_rows(fits, space, x, at + 2 * rows, weights_t, place, y, to, B, n_out, n_in, 0)
            first, second = y[to : to + B * n_out], y[to + B * n_out : to + 2 * B * n_out]
            for k in range(B * n_out):
                second[k] = first[k]
            times_by_rows(fits, space, x, at, weights_t, place + size, y, to + B * n_out, B, n_out, n_in, 1)
            times_by_rows(fits, space, x, at + rows, weights_t, place + 2 * size, y, to, B, n_out, n_in, 1)
            at, to, place = at + 3 * rows, to + 2 * B * n_out, place + 3 * size

    def convolve_back(x, weights, dy, dx, dweights, dbias):
        """Write dx but for its sums; add to dweights and dbias; weights: P of each order (outputs, inputs), flat."""
        n_in, n_out = (L + 1) * 2 * C + C, (L + 1) * H + L * H
        B, space = len(x) // (n_in + 3 * L * (L + 1) * C), workspace(x)
        dboth = np.empty(B * L * H, x.dtype)
        for b in range(B):
            above = dy[b * n_out : b * n_out + n_out]
            for c in range(n_out):
                dbias[c] += above[c]
        times_by_rows(fits, space, dy, 0, weights, 0, dx, 0, B, n_in, n_out, 0)
        add_times_tn_by_rows(fits, space, dy, 0, x, 0, dweights, 0, n_out, n_in, B)
        at, to, place = B * n_in, B * n_out, n_in * n_out
        for m in range(1, L + 1):
            n_in, n_out = (L + 1 - m) * 2 * C, (L + 1 - m) * H
            rows, size, half = B * n_in, n_in * n_out, B * n_out
            plus, minus = dy[to : to + half], dy[to + half : to + 2 * half]
            for k in range(half):
                dboth[k] = plus[k] + minus[k]
            add_times_tn_by_rows(fits, space, dboth, 0, x, at + 2 * rows, dweights, place, n_out, n_in, B)
            add_times_tn_by_rows(fits, space, dy, to + half, x, at, dweights, place + size, n_out, n_in, B)
            add_times_tn_by_rows(fits, space, dy, to, x, at + rows, dweights, place + 2 * size, n_out, n_in, B)
            times_by_rows(fits, space, dboth, 0, weights, place, dx, at, B, n_in, n_out, 0)
            first, second = dx[at : at + rows], dx[at + rows : at + 2 * rows]
            for k in range(rows):
                second[k] = first[k]
            times_by_rows(fits, space, dy, to + half, weights, place + size, dx, at, B, n_in, n_out, 1)
            times_by_rows(fits, space, dy, to, weights, place + 2 * size, dx, at + rows, B, n_in, n_out, 1)
            at, to, place = at + 3 * rows, to + 2 * half, place + 3 * size

    return compiled(convolve), compiled(convolve_back)
