"""Convolutions in the frame of the bond (eSCN: Passaro & Zitnick, ICML 2023).

With the edge turned to +z an equivariant map commutes with rotations about z only: it mixes degrees and channels of
equal |m|, and acts on the pair (m, −m) as multiplication by complex numbers.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from nearsight.nn.so3 import components


def rotate(x: Tensor, wigner: tuple[Tensor, ...]) -> Tensor:
    """Features (e, K, channels) into the frames of their edges."""
    return torch.cat([d @ x[:, components(l)] for l, d in enumerate(wigner)], dim=1)


def rotate_back(x: Tensor, wigner: tuple[Tensor, ...]) -> Tensor:
    """Features in the frames of their edges back to the common axes."""
    return torch.cat([d.transpose(1, 2) @ x[:, components(l)] for l, d in enumerate(wigner)], dim=1)


def order_components(l_max: int, m: int) -> list[int]:
    """Where the components of order m lie, degrees l = |m| … l_max."""
    return [l * l + l + m for l in range(abs(m), l_max + 1)]


class SO2Convolution(nn.Module):
    """Linear map of features in the bond's frame that commutes with rotations about the bond.

    Inputs of order m are flattened degree-major (l, then channel). Order 0 has a bias and `extra` further invariant
    outputs, which come first. For m > 0 the weight holds the real part, then the imaginary part.
    """

    restore: Tensor

    def __init__(self, channels_in: int, channels_out: int, l_max: int, extra: int = 0) -> None:
        super().__init__()
        self.l_max, self.channels_out, self.extra = l_max, channels_out, extra
        self.order_zero = nn.Linear((l_max + 1) * channels_in, extra + (l_max + 1) * channels_out)
        self.orders = nn.ModuleList()
        for m in range(1, l_max + 1):
            degrees = l_max + 1 - m
            linear = nn.Linear(degrees * channels_in, 2 * degrees * channels_out, bias=False)
            linear.weight.data.mul_(1 / math.sqrt(2))
            self.orders.append(linear)
        self.plus = [order_components(l_max, m) for m in range(l_max + 1)]
        self.minus = [order_components(l_max, -m) for m in range(l_max + 1)]
        blocks = self.plus[0] + [k for m in range(1, l_max + 1) for k in self.plus[m] + self.minus[m]]
        self.register_buffer("restore", torch.argsort(torch.tensor(blocks)), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(e, K, channels_in) → (e, K, channels_out) and (e, extra)."""
        zero = self.order_zero(x[:, self.plus[0]].flatten(1))
        parts = [zero[:, self.extra:].unflatten(1, (self.l_max + 1, self.channels_out))]
        for m in range(1, self.l_max + 1):
            parts += self._complex(self.order_weight(m), x[:, self.plus[m]], x[:, self.minus[m]])
        return torch.cat(parts, dim=1)[:, self.restore], zero[:, : self.extra]

    def order_weight(self, m: int) -> Tensor:
        """The weight of order m > 0."""
        return cast(nn.Linear, self.orders[m - 1]).weight

    def _complex(self, weight: Tensor, plus: Tensor, minus: Tensor) -> list[Tensor]:
        """(a + ib)(x₊ + ix₋) on all degrees of one order."""
        real, imaginary = weight.chunk(2)
        plus, minus = plus.flatten(1), minus.flatten(1)
        outputs = (plus @ real.T - minus @ imaginary.T, minus @ real.T + plus @ imaginary.T)
        degrees = len(real) // self.channels_out
        return [out.unflatten(1, (degrees, self.channels_out)) for out in outputs]
