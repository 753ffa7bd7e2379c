"""Operations that act on each degree l alone, and so commute with rotations.

Features are (n, (l_max+1)², channels), degrees ascending, m = −l..l.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

EPSILON = 1e-5
"""Added to variances and mean squares before the inverse root."""


def degree_of_component(l_max: int) -> Tensor:
    """Return ((l_max+1)²,) degree l of every component."""
    degrees = torch.arange(l_max + 1)
    return torch.repeat_interleave(degrees, 2 * degrees + 1)


def components(l: int) -> slice:
    """Return the slice of degree l among the components."""
    return slice(l * l, (l + 1) * (l + 1))


def by_degree(x: Tensor) -> tuple[Tensor, ...]:
    """Return features (n, K, channels) as views (n, 2l+1, channels) by l, cheaper to differentiate than slices."""
    return x.split([2 * l + 1 for l in range(math.isqrt(x.shape[1]))], dim=1)


def of_components(x: Tensor, degree: Tensor, dim: int) -> Tensor:
    """Return numbers of each degree as numbers of each component.

    Parameters
    ----------
    x : Tensor
        Any shape, degrees along `dim`: 0 … l_max, or 1 … l_max.
    degree : Tensor
        (K,) int64, position of the degree of every component.
    dim : int
        The dimension.

    Returns
    -------
    Tensor
        Components along `dim`.
    """
    # On a GPU the gradient of index_select is a sum in any order, and slow.
    return x.index_select(dim, degree) if x.device.type == "cpu" else _expanded(x, len(degree), dim)


def _expanded(x: Tensor, count: int, dim: int) -> Tensor:
    """Return `of_components` for so many components by views, whose gradients are sums in a fixed order."""
    n, shape = x.shape[dim], list(x.shape)
    first = 0 if count == n * n else 1
    parts = []
    for l, part in enumerate(x.split(1, dim), start=first):
        shape[dim] = 2 * l + 1
        parts.append(part.expand(shape))
    return torch.cat(parts, dim)


def permuted(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Return the columns (second dimension) of x in another order, given that order and its inverse (int64)."""
    return x.index_select(1, order) if x.device.type == "cpu" else cast(Tensor, _Permuted.apply(x, order, inverse))


class _Permuted(torch.autograd.Function):
    """A permutation, whose gradient is one, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inverse,) = ctx.saved_tensors
        return gradients[0].index_select(1, inverse), None, None


def only_scalars(scalars: Tensor, l_max: int) -> Tensor:
    """Return invariant features as features that are zero above l = 0.

    Parameters
    ----------
    scalars : Tensor
        (n, channels).
    l_max : int
        Highest degree.

    Returns
    -------
    Tensor
        (n, (l_max+1)², channels).
    """
    result = scalars.new_zeros(len(scalars), (l_max + 1) ** 2, scalars.shape[-1])
    result[:, 0] = scalars
    return result


class SO3Linear(nn.Module):
    """Linear map y_lm = W_l x_lm with a bias on l = 0 (EquiformerV2).

    Parameters
    ----------
    channels_in, channels_out : int
        Channels of inputs and outputs.
    l_max : int
        Highest degree.
    """

    def __init__(self, channels_in: int, channels_out: int, l_max: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(channels_in)
        self.weight = nn.Parameter(torch.empty(l_max + 1, channels_out, channels_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.l_max = l_max

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, K, channels_out) of features x (n, K, channels_in)."""
        parts = [part @ weight.T for part, weight in zip(by_degree(x), self.weight.unbind())]
        parts[0] = parts[0] + self.bias
        return torch.cat(parts, dim=1)


class EquivariantLayerNorm(nn.Module):
    """Layer norm on l = 0; all l > 0 share one root mean square in which every degree counts alike.

    Parameters
    ----------
    channels : int
        Channels.
    l_max : int
        Highest degree.
    """

    degree: Tensor
    balance: Tensor

    def __init__(self, channels: int, l_max: int) -> None:
        super().__init__()
        self.scalar = nn.LayerNorm(channels, eps=EPSILON)
        self.weight = nn.Parameter(torch.ones(l_max, channels))
        degrees = degree_of_component(l_max)[1:]
        self.register_buffer("degree", degrees - 1, persistent=False)
        self.register_buffer("balance", 1.0 / ((2 * degrees.double() + 1) * l_max), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features, (n, K, channels) like x."""
        scalars, higher = x.split([1, x.shape[1] - 1], dim=1)
        square = torch.einsum("nkc,k->nc", higher**2, self.balance.to(x.dtype)).mean(dim=1)
        scale = (square + EPSILON).rsqrt()
        higher = higher * (scale[:, None, None] * of_components(self.weight, self.degree, 0))
        return torch.cat([self.scalar(scalars), higher], dim=1)


class Gate(nn.Module):
    """SiLU on l = 0; each l > 0 is multiplied by the sigmoid of its own invariant gate.

    Parameters
    ----------
    l_max : int
        Highest degree.
    """

    degree: Tensor

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.register_buffer("degree", degree_of_component(l_max)[1:] - 1, persistent=False)

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Return the gated features.

        Parameters
        ----------
        x : Tensor
            (n, K, channels).
        gates : Tensor
            (n, l_max·channels), degree-major.

        Returns
        -------
        Tensor
            (n, K, channels).
        """
        sigmoid = torch.sigmoid(gates).reshape(len(x), gates.shape[1] // x.shape[-1], x.shape[-1])
        scalars, higher = x.split([1, x.shape[1] - 1], dim=1)
        return torch.cat([nn.functional.silu(scalars), higher * of_components(sigmoid, self.degree, 1)], dim=1)


class FeedForward(nn.Module):
    """Linear, gate, linear on every node or edge; gates are linear in the invariant input (paper, Table 7).

    Parameters
    ----------
    channels, hidden : int
        Channels outside and inside.
    l_max : int
        Highest degree.
    """

    def __init__(self, channels: int, hidden: int, l_max: int) -> None:
        super().__init__()
        self.gates = nn.Linear(channels, l_max * hidden)
        self.up = SO3Linear(channels, hidden, l_max)
        self.gate = Gate(l_max)
        self.down = SO3Linear(hidden, channels, l_max)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, K, channels) like x."""
        return self.down(self.gate(self.up(x), self.gates(x[:, 0])))
