"""Convolutions in the frame of the bond (eSCN: Passaro & Zitnick, ICML 2023).

With the edge turned to +z an equivariant map commutes with rotations about z only: it mixes degrees and channels of
equal |m|, and acts on the pair (m, −m) as multiplication by complex numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.so3 import by_degree, permuted
from nearsight.nn.kernels.device_memory import compiles_kernels


def rotate(x: Tensor, wigner: tuple[Tensor, ...]) -> Tensor:
    """Return features in the frames of their edges.

    Parameters
    ----------
    x : Tensor
        (e, K, channels) in the common axes.
    wigner : tuple of Tensor
        D^l for each l, (e, 2l+1, 2l+1).

    Returns
    -------
    Tensor
        (e, K, channels).
    """
    return torch.cat([d @ part for d, part in zip(wigner, by_degree(x))], dim=1)


def rotate_back(x: Tensor, wigner: tuple[Tensor, ...]) -> Tensor:
    """Return features in the common axes.

    Parameters
    ----------
    x : Tensor
        (e, K, channels) in the frames of the edges.
    wigner : tuple of Tensor
        D^l for each l, (e, 2l+1, 2l+1).

    Returns
    -------
    Tensor
        (e, K, channels).
    """
    return torch.cat([d.transpose(1, 2) @ part for d, part in zip(wigner, by_degree(x))], dim=1)


def pair_in_frames(nodes: Tensor, graph: GraphTensors) -> Tensor:
    """Return source and target of every edge, side by side, in the frame of the edge.

    Parameters
    ----------
    nodes : Tensor
        (n, K, C).
    graph : GraphTensors
        Edges with Wigner matrices.

    Returns
    -------
    Tensor
        (e, K, 2C).
    """
    if compiles_kernels(nodes.device):
        # Triton comes with torch for GPUs alone.
        from nearsight.nn.kernels import rotation_kernels

        return rotation_kernels.pair_in_frames(nodes, graph.source, graph.target, graph.frames)
    pair = [nodes.index_select(0, graph.source), nodes.index_select(0, graph.target)]
    return rotate(torch.cat(pair, dim=2), graph.wigner)


def in_common_axes(x: Tensor, graph: GraphTensors) -> Tensor:
    """Return features of edges in the common axes.

    Parameters
    ----------
    x : Tensor
        (e, K, channels) in the frames of the edges.
    graph : GraphTensors
        Edges with Wigner matrices.

    Returns
    -------
    Tensor
        (e, K, channels).
    """
    if compiles_kernels(x.device):
        from nearsight.nn.kernels import rotation_kernels

        return rotation_kernels.turned_back(x, graph.frames)
    return rotate_back(x, graph.wigner)


def order_components(l_max: int, m: int) -> list[int]:
    """Return the positions of the components of order m, degrees l = |m| … l_max.

    Parameters
    ----------
    l_max, m : int
        Highest degree, and the order.

    Returns
    -------
    list of int
        Positions among the (l_max+1)² components.
    """
    return [l * l + l + m for l in range(abs(m), l_max + 1)]


class SO2Convolution(nn.Module):
    """Linear map of features in the bond's frame that commutes with rotations about the bond.

    Inputs of order m are flattened degree-major (l, then channel). Order 0 has a bias and `extra` further invariant
    outputs, which come first. For m > 0 the weight holds the real part, then the imaginary part.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels of inputs and outputs.
    l_max : int
        Highest degree.
    extra : int
        Further invariant outputs.
    """

    orders_first: Tensor
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
        self.sizes = [len(order_components(l_max, m)) * (2 if m else 1) for m in range(l_max + 1)]
        orders = torch.tensor(
            [
                k
                for m in range(l_max + 1)
                for sign in ((1, -1) if m else (1,))
                for k in order_components(l_max, sign * m)
            ]
        )
        self.register_buffer("orders_first", orders, persistent=False)
        self.register_buffer("restore", torch.argsort(orders), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs (e, K, channels_out) and (e, extra) of features x (e, K, channels_in)."""
        zero, *others = self._by_order(x)
        weights = [self.order_weight(m) for m in range(1, self.l_max + 1)]
        return self._assemble(self.order_zero(zero.flatten(1)), weights, others)

    def with_scalars(self, x: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Return `forward` of features of which some channels are invariant, without multiplying their zeros.

        Parameters
        ----------
        x : Tensor
            (e, K, c), the first channels.
        scalars : Tensor
            (e, channels_in − c), the other channels, which are zero above l = 0.

        Returns
        -------
        tuple of Tensor
            (e, K, channels_out) and (e, extra).
        """
        c = x.shape[2]
        zero, *others = self._by_order(x)
        first, rest = zero.flatten(1).split([c, self.l_max * c], dim=1)
        weight = self.order_zero.weight.unflatten(1, (self.l_max + 1, -1))
        weight = torch.cat([weight[:, 0], weight[:, 1:, :c].flatten(1)], dim=1)
        invariant = nn.functional.linear(torch.cat([first, scalars, rest], dim=1), weight, self.order_zero.bias)
        weights = [
            self.order_weight(m).unflatten(1, (self.l_max + 1 - m, -1))[:, :, :c].flatten(1)
            for m in range(1, self.l_max + 1)
        ]
        return self._assemble(invariant, weights, others)

    def _by_order(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the components of each order m, those of +m before those of −m."""
        return permuted(x, self.orders_first, self.restore).split(self.sizes, dim=1)

    def _assemble(
        self, invariant: Tensor, weights: Sequence[Tensor], others: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the outputs from those of order 0, and from the weights and inputs of the other orders."""
        extra, zero = invariant.split([self.extra, invariant.shape[1] - self.extra], dim=1)
        parts = [zero.unflatten(1, (self.l_max + 1, self.channels_out))]
        parts += [self._complex(weight, x) for weight, x in zip(weights, others)]
        return permuted(torch.cat(parts, dim=1), self.restore, self.orders_first), extra

    def order_weight(self, m: int) -> Tensor:
        """Return the weight of order m > 0."""
        return cast(nn.Linear, self.orders[m - 1]).weight

    def _complex(self, weight: Tensor, x: Tensor) -> Tensor:
        """Return (a + ib)(x₊ + ix₋) on all degrees of one order."""
        real, imaginary = (x.unflatten(1, (2, -1)).flatten(2) @ weight.T).chunk(2, dim=2)
        (real_plus, real_minus), (imaginary_plus, imaginary_minus) = real.unbind(1), imaginary.unbind(1)
        out = torch.stack([real_plus - imaginary_minus, real_minus + imaginary_plus], dim=1)
        return out.unflatten(2, (-1, self.channels_out)).flatten(1, 2)
