"""`RadialWeights` on one chunk of edges, forward and backward, with compiled loops.

The small network from distance and elements to weights has two linear layers, each with a layer norm and SiLU, on C
channels, before its last layer. The first acts on [gaussians, source, target]; what the elements contribute is a row
of a table each. SiLU is left to torch, whose exponentials are vectorised; the forward pass is `first`, SiLU, `second`,
SiLU, and `back` does all of the backward pass. The reference implementation is `RadialWeights`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numba
import numpy as np
import torch
from torch import Tensor, nn

from nearsight.nn.architectures.xia2025.so3 import EPSILON
from nearsight.nn.kernels.blas import workspace
from nearsight.nn.kernels.compilation import Buffers, compiled
from nearsight.nn.kernels.linear_layer import linear, linear_back
from nearsight.nn.kernels.tiles import fit_tiles, times, times_tn
from nearsight.nn.kernels.vectors import lanes_of, load, spread, store, total

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.updates import GaussianBasis, RadialWeights


@dataclass(frozen=True)
class RadialKernels:
    """Compiled loops for a network's sizes; the inner functions of `radial_kernels` document their arguments."""

    first: Callable[..., Any]
    second: Callable[..., Any]
    back: Callable[..., Any]


@numba.njit(inline="always")
def normalise(W: int, z: Any, scale: Any, bias: Any, epsilon: Any, normed: Any, out: Any, size: int) -> Any:
    """Compute the layer norm of z, and return 1/σ.

    Parameters
    ----------
    W : int
        Lanes of vectors (`lanes_of`).
    z : array
        (size,).
    scale, bias : array
        (size,), parameters of the norm.
    epsilon : float
        Added to the variance.
    normed, out : array
        Written: (size,), z normalised, and then scaled.
    size : int
        Length.

    Returns
    -------
    float
        1/σ.
    """
    zero, count = z.dtype.type(0), z.dtype.type(size)
    sums, squares = spread(zero, W), spread(zero, W)
    for c in range(0, size, W):
        sums = sums + load(z, c, W)
    middle = spread(total(sums) / count, W)
    for c in range(0, size, W):
        off = load(z, c, W) - middle
        squares = squares + off * off
    inverse = z.dtype.type(1) / np.sqrt(total(squares) / count + z.dtype.type(epsilon))
    for c in range(0, size, W):
        value = (load(z, c, W) - middle) * spread(inverse, W)
        store(normed, c, value)
        store(out, c, value * load(scale, c, W) + load(bias, c, W))
    return inverse


@numba.njit(inline="always")
def normalise_back(
    W: int, above: Any, scale: Any, normed: Any, inverse: Any, dscale: Any, dbias: Any, dz: Any, size: int
) -> None:
    """Compute the gradient of `normalise` given that of its output.

    Parameters
    ----------
    W, scale, normed, inverse, size
        Arguments and results of `normalise`.
    above : array
        (size,), gradient of the output.
    dscale, dbias : array
        (size,), added to.
    dz : array
        Written: (size,).
    """
    zero, count = above.dtype.type(0), above.dtype.type(size)
    sums, along = spread(zero, W), spread(zero, W)
    for c in range(0, size, W):
        given, value = load(above, c, W), load(normed, c, W)
        scaled = given * load(scale, c, W)
        sums = sums + scaled
        along = along + scaled * value
        store(dscale, c, load(dscale, c, W) + given * value)
        store(dbias, c, load(dbias, c, W) + given)
    middle, slope = spread(total(sums) / count, W), spread(total(along) / count, W)
    for c in range(0, size, W):
        scaled = load(above, c, W) * load(scale, c, W)
        store(dz, c, spread(inverse, W) * (scaled - middle - load(normed, c, W) * slope))


@numba.njit(inline="always")
def silu_back(W: int, above: Any, a: Any, s: Any, out: Any, size: int) -> None:
    """Compute the gradient of a·s with s = σ(a).

    Parameters
    ----------
    W : int
        Lanes of vectors (`lanes_of`).
    above, a, s : array
        (size,), gradient of the result, and the factors.
    out : array
        Written: (size,).
    size : int
        Length.
    """
    one = spread(a.dtype.type(1), W)
    for c in range(0, size, W):
        gate = load(s, c, W)
        store(out, c, load(above, c, W) * gate * (one + load(a, c, W) * (one - gate)))


@numba.njit(inline="always")
def add_to(W: int, x: Any, y: Any, size: int) -> None:
    """Add x to y, both (size,); W: lanes of vectors (`lanes_of`)."""
    for c in range(0, size, W):
        store(y, c, load(y, c, W) + load(x, c, W))


@cache
def radial_kernels(gaussians: int, channels: int) -> RadialKernels:
    """Return the compiled loops for G Gaussians and C channels.

    Parameters
    ----------
    gaussians, channels : int
        G and C.

    Returns
    -------
    RadialKernels
        The loops, compiled at their first call.
    """
    G, C, W = gaussians, channels, lanes_of(channels)
    fits = fit_tiles(C)

    def first(x, zi, zj, source, target, w, scale, bias, epsilon, normed, inverse, a):
        """x (B, G); zi, zj (B,) rows of the tables source, target (Z, C); w (G, C); normed, a (B, C), inverse (B,)."""
        B = len(x)
        z = np.empty(B * C, dtype=x.dtype)
        times(fits, workspace(x), x.ravel(), w.ravel(), z, B, C, G, 0)
        for b in range(B):
            row = z[b * C : b * C + C]
            add_to(W, source[zi[b]], row, C)
            add_to(W, target[zj[b]], row, C)
            inverse[b] = normalise(W, row, scale, bias, epsilon, normed[b], a[b], C)

    def second(h, w, constant, scale, bias, epsilon, normed, inverse, a):
        """h (B, C) hidden features; w (C in, C out), constant (C,)."""
        B = len(h)
        z = np.empty(B * C, dtype=h.dtype)
        times(fits, workspace(h), h.ravel(), w.ravel(), z, B, C, C, 0)
        for b in range(B):
            row = z[b * C : b * C + C]
            add_to(W, constant, row, C)
            inverse[b] = normalise(W, row, scale, bias, epsilon, normed[b], a[b], C)

    def back(
        x,
        zi,
        zj,
        w1,
        scale0,
        scale1,
        normed0,
        inverse0,
        a0,
        s0,
        h,
        normed1,
        inverse1,
        a1,
        s1,
        dhidden,
        dsource,
        dtarget,
        dw0,
        dscale0,
        dbias0,
        dw1,
        dconstant,
        dscale1,
        dbias1,
    ):
        """Add all gradients given those of hidden features (B, C); w1 (C out, C in), dw0 (G, C), dw1 (C in, C out)."""
        B, space = len(x), workspace(x)
        above, dz, dh = np.empty(C, dtype=x.dtype), np.empty(B * C, dtype=x.dtype), np.empty(B * C, dtype=x.dtype)
        for b in range(B):
            row = dz[b * C : b * C + C]
            silu_back(W, dhidden[b], a1[b], s1[b], above, C)
            normalise_back(W, above, scale1, normed1[b], inverse1[b], dscale1, dbias1, row, C)
            add_to(W, row, dconstant, C)
        times_tn(fits, space, h.ravel(), dz, dw1.ravel(), C, C, B, 1)
        times(fits, space, dz, w1.ravel(), dh, B, C, C, 0)
        for b in range(B):
            row = dz[b * C : b * C + C]
            silu_back(W, dh[b * C : b * C + C], a0[b], s0[b], above, C)
            normalise_back(W, above, scale0, normed0[b], inverse0[b], dscale0, dbias0, row, C)
            add_to(W, row, dsource[zi[b]], C)
            add_to(W, row, dtarget[zj[b]], C)
        times_tn(fits, space, x.ravel(), dz, dw0.ravel(), G, C, B, 1)

    return RadialKernels(compiled(first), compiled(second), compiled(back))


@compiled
def exponents(distance, centres, factor, out):
    """Compute factor·(distance − centre)²: distance (B,), centres (G,), out (B, G)."""
    G, scale = len(centres), out.dtype.type(factor)
    for b in range(len(distance)):
        at, row = distance[b], out[b]
        for g in range(G):
            x = at - centres[g]
            row[g] = scale * x * x


N_PARAMETERS = 11
"""Number of tensors that `pack_radial` gives."""


def pack_radial(radial: RadialWeights, rows: Tensor) -> list[Tensor]:
    """Return the parameters in the shapes of `RadialPass`, differentiable.

    Parameters
    ----------
    radial : RadialWeights
        The network.
    rows : Tensor
        int64, the outputs of the last layer that are wanted.

    Returns
    -------
    list of Tensor
        `N_PARAMETERS` tensors.
    """
    steps = list(radial.network)
    linear0, norm0, linear1, norm1, last = (cast(nn.Linear, steps[k]) for k in (0, 1, 3, 4, 6))
    channels = radial.source.weight.shape[1]
    n_gaussians = linear0.weight.shape[1] - 2 * channels
    on_gaussians, on_source, on_target = linear0.weight.split([n_gaussians, channels, channels], dim=1)
    return [
        radial.source.weight @ on_source.T + linear0.bias,
        radial.target.weight @ on_target.T,
        on_gaussians.T,
        norm0.weight,
        norm0.bias,
        linear1.weight.T,
        linear1.bias,
        norm1.weight,
        norm1.bias,
        last.weight[rows],
        last.bias[rows],
    ]


class RadialPass:
    """Forward and backward pass of one thread.

    Parameters
    ----------
    packed : sequence of Tensor
        What `pack_radial` gives, detached and contiguous.
    basis : GaussianBasis
        The functions of the distance.
    buffers : Buffers
        Scratch memory of the thread.
    """

    def __init__(self, packed: Sequence[Tensor], basis: GaussianBasis, buffers: Buffers) -> None:
        arrays = [cast(np.ndarray, p.numpy()) for p in packed]
        (source, target, w0, scale0, bias0, w1, constant, scale1, bias1, self.last, self.last_bias) = arrays
        self.tables, self.layer0, self.layer1 = (source, target), (w0, scale0, bias0), (w1, constant, scale1, bias1)
        self.w1_back, self.last_t = np.ascontiguousarray(w1.T), np.ascontiguousarray(self.last.T)
        self.width = w0.shape[1]
        self.kernels = radial_kernels(*w0.shape)
        self.centres, self.exponent = basis.centres.numpy().astype(w0.dtype), basis.exponent
        self.buffers = buffers

    def gaussians(self, distance: Tensor) -> np.ndarray:
        """Return the basis functions at distances.

        Parameters
        ----------
        distance : Tensor
            (B,) Å.

        Returns
        -------
        ndarray
            (B, G), in a buffer.
        """
        shape = len(distance), len(self.centres)
        out, values = self.buffers.array("gaussians", *shape), self.buffers("gaussians", *shape)
        exponents(distance.numpy(), self.centres, self.exponent, out)
        torch.exp(values, out=values)
        return out

    def forward(self, gaussians: np.ndarray, zi: np.ndarray, zj: np.ndarray) -> np.ndarray:
        """Return the weights of edges.

        Parameters
        ----------
        gaussians : ndarray
            (B, G).
        zi, zj : ndarray
            (B,) atomic numbers of source and target.

        Returns
        -------
        ndarray
            (B, outputs), in a buffer.
        """
        n, C, buffer = len(zi), self.width, self.buffers
        self.inputs = gaussians, zi, zj
        self.normed0, self.inverse0 = buffer.array("radial n0", n, C), buffer.array("radial i0", n)
        self.a0 = buffer.array("radial a0", n, C)
        self.kernels.first(*self.inputs, *self.tables, *self.layer0, EPSILON, self.normed0, self.inverse0, self.a0)
        self.s0, self.h = self._silu("0", n)
        self.normed1, self.inverse1 = buffer.array("radial n1", n, C), buffer.array("radial i1", n)
        self.a1 = buffer.array("radial a1", n, C)
        self.kernels.second(self.h, *self.layer1, EPSILON, self.normed1, self.inverse1, self.a1)
        self.s1, self.hidden = self._silu("1", n)
        out = buffer.array("radial out", n, len(self.last))
        linear(self.hidden, self.last_t, self.last_bias, out)
        return out

    def _silu(self, layer: str, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return σ(a) and a·σ(a) of a layer."""
        C, buffer = self.width, self.buffers
        a = buffer(f"radial a{layer}", n, C)
        s = torch.sigmoid(a, out=buffer(f"radial s{layer}", n, C))
        torch.mul(a, s, out=buffer(f"radial h{layer}", n, C))
        return buffer.array(f"radial s{layer}", n, C), buffer.array(f"radial h{layer}", n, C)

    def backward(self, gradient: np.ndarray, sums: Sequence[np.ndarray]) -> None:
        """Add the gradients of all parameters, in the order of `pack_radial`.

        Parameters
        ----------
        gradient : ndarray
            (B, outputs), gradient of the weights.
        sums : sequence of ndarray
            Gradients of the parameters, added to.
        """
        *others, dlast, dlast_bias = sums
        dhidden = self.buffers.array("radial dhidden", *self.hidden.shape)
        linear_back(self.hidden, self.last, gradient, dhidden, dlast, dlast_bias)
        self.kernels.back(
            *self.inputs,
            self.w1_back,
            self.layer0[1],
            self.layer1[2],
            self.normed0,
            self.inverse0,
            self.a0,
            self.s0,
            self.h,
            self.normed1,
            self.inverse1,
            self.a1,
            self.s1,
            dhidden,
            *others,
        )
