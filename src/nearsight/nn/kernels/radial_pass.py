"""`RadialWeights` on one chunk of edges, forward and backward, with the compiled loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.nn.kernels.buffers import Buffers
from nearsight.nn.kernels.radial_kernels import radial_kernels
from nearsight.nn.so3 import EPSILON

if TYPE_CHECKING:
    from nearsight.nn.radial import RadialWeights

N_PARAMETERS = 11
"""Tensors that `pack_radial` gives."""


def pack_radial(radial: RadialWeights, rows: Tensor) -> list[Tensor]:
    """The parameters in the shapes of `RadialPass`, differentiable; only some outputs (rows) of the last layer."""
    steps = list(radial.network)
    linear0, norm0, linear1, norm1, last = (cast(nn.Linear, steps[k]) for k in (0, 1, 3, 4, 6))
    channels = radial.source.weight.shape[1]
    n_gaussians = linear0.weight.shape[1] - 2 * channels
    on_gaussians, on_source, on_target = linear0.weight.split([n_gaussians, channels, channels], dim=1)
    return [
        radial.source.weight @ on_source.T + linear0.bias, radial.target.weight @ on_target.T, on_gaussians.T,
        norm0.weight, norm0.bias, linear1.weight.T, linear1.bias, norm1.weight, norm1.bias, last.weight[rows],
        last.bias[rows],
    ]


class RadialPass:
    """Forward and backward pass of one thread.

    Args:
        packed: what `pack_radial` gives, detached and contiguous.
        buffers: scratch of the thread.
    """

    def __init__(self, packed: Sequence[Tensor], buffers: Buffers) -> None:
        (source, target, w0, scale0, bias0, w1, constant, scale1, bias1, self.last, self.last_bias) = packed
        self.tables = source.numpy(), target.numpy()
        self.layer0 = w0.numpy(), scale0.numpy(), bias0.numpy()
        self.layer1 = w1.numpy(), constant.numpy(), scale1.numpy(), bias1.numpy()
        self.w1_back = w1.T.contiguous().numpy()
        self.width = w0.shape[1]
        self.kernels = radial_kernels(*w0.shape)
        self.buffers = buffers

    def forward(self, gaussians: Tensor, zi: np.ndarray, zj: np.ndarray) -> Tensor:
        """(B, G), (B,), (B,) → weights (B, outputs), in a buffer."""
        n, C, buffer = len(zi), self.width, self.buffers
        self.inputs = gaussians.numpy(), zi, zj
        self.normed0, self.inverse0, a0 = buffer("radial n0", n, C), buffer("radial i0", n), buffer("radial a0", n, C)
        self.kernels.first(*self.inputs, *self.tables, *self.layer0, EPSILON, self.normed0.numpy(),
                           self.inverse0.numpy(), a0.numpy())
        s0 = torch.sigmoid(a0, out=buffer("radial s0", n, C))
        self.normed1, self.inverse1, a1 = buffer("radial n1", n, C), buffer("radial i1", n), buffer("radial a1", n, C)
        self.h = torch.mul(a0, s0, out=buffer("radial h", n, C))
        self.kernels.second(self.h.numpy(), *self.layer1, EPSILON, self.normed1.numpy(),
                            self.inverse1.numpy(), a1.numpy())
        s1 = torch.sigmoid(a1, out=buffer("radial s1", n, C))
        self.a0, self.s0, self.a1, self.s1 = a0, s0, a1, s1
        self.hidden = torch.mul(a1, s1, out=buffer("radial hidden", n, C))
        return torch.addmm(self.last_bias, self.hidden, self.last.T, out=buffer("radial out", n, len(self.last)))

    def backward(self, gradient: Tensor, sums: Sequence[Tensor]) -> None:
        """Add the gradients of all parameters, in the order of `pack_radial`, given that of the weights."""
        dsource, dtarget, dw0, dscale0, dbias0, dw1, dconstant, dscale1, dbias1, dlast, dlast_bias = sums
        dlast.addmm_(gradient.T, self.hidden)
        dlast_bias += gradient.sum(0)
        dhidden = torch.mm(gradient, self.last, out=self.buffers("radial dhidden", *self.hidden.shape))
        arrays = [dsource, dtarget, dw0, dscale0, dbias0, dw1, dconstant, dscale1, dbias1]
        self.kernels.back(
            *self.inputs, self.w1_back, self.layer0[1], self.layer1[2], self.normed0.numpy(), self.inverse0.numpy(),
            self.a0.numpy(), self.s0.numpy(), self.h.numpy(), self.normed1.numpy(), self.inverse1.numpy(),
            self.a1.numpy(), self.s1.numpy(), dhidden.numpy(), *(a.numpy() for a in arrays),
        )
