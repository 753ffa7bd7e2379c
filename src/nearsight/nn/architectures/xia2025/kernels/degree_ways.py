"""In which order the linear maps behind the last gate are multiplied, chosen for each degree by its number of irreps.

The outputs of degree l are o = H·(e + D·g) with g = s ⊙ (U·f): e and f are features before and after the norm, U and D
the maps of the feed-forward network, H the head, and s the gates, which are the same for all components of a degree
(and functions of U·f itself for l = 0). Products of weights are the same for all edges, so three orders are equal up to
rounding:

* wide: H·(e + D·g), with as many columns as there are channels;
* narrow: H·e + (H·D)·g, with as many columns as there are irreps, filled up to whole vectors;
* contracted: (H + T(s)) acting on e and f, with T(s)[k, q] = Σ_c (H·D)[k, c]·U[c, q]·s[c], once for all components.

With few irreps and many components the last one needs a tenth of the multiplications of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.nn.kernels.vectors import LANES

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.so3 import FeedForward
    from nearsight.nn.architectures.xia2025.updates import CoupledHead

WIDE, NARROW, CONTRACTED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class DegreeWays:
    """The order of multiplication of each degree, and the places of its outputs.

    Attributes
    ----------
    ways : ndarray
        (l_max+1,) WIDE, NARROW or CONTRACTED.
    counts : ndarray
        (l_max+1,) number of irreps.
    widths : ndarray
        (l_max+1,) columns of the outputs in buffers and rows of the head: `counts`, filled up where narrow.
    """

    ways: np.ndarray
    counts: np.ndarray
    widths: np.ndarray


def ways_of_degrees(counts: Sequence[int], channels: int, feed_forward: int) -> DegreeWays:
    """Return the order that takes the fewest multiplications for each degree.

    Parameters
    ----------
    counts : sequence of int
        Number of irreps of each degree.
    channels, feed_forward : int
        Channels outside and inside the feed-forward network.

    Returns
    -------
    DegreeWays
        The orders.
    """
    C, F = channels, feed_forward
    ways, widths = [], []
    for l, n in enumerate(counts):
        size, filled = 2 * l + 1, -(-n // LANES) * LANES
        costs = {WIDE: size * (2 * C * F + C * n), NARROW: size * (C * F + F * filled + C * filled)}
        if l > 0:
            costs[CONTRACTED] = n * C * (F + 2 * size)
        ways.append(min(costs, key=lambda way: costs[way]))
        widths.append(filled if ways[-1] == NARROW else n)
    return DegreeWays(np.array(ways), np.array(counts), np.array(widths))


N_PARAMETERS = 4
"""Number of tensors that `pack_head` gives."""


def pack_head(ways: DegreeWays, feed: FeedForward, head: CoupledHead) -> list[Tensor]:
    """Return the head and its products with the feed-forward network, differentiable.

    Parameters
    ----------
    ways : DegreeWays
        Orders of multiplication.
    feed : FeedForward
        The feed-forward network.
    head : CoupledHead
        The head.

    Returns
    -------
    list of Tensor
        H (Σ widths, C); what is added to the outputs of l = 0 (widths[0],); H·D (Σ widths, F), zero where it is not
        needed; the matrices of T, one after another, each (F, n·C), flat.
    """
    heads, joined, contracted = [], [], []
    weight = head.weight * head.scale
    for l, (way, n, width) in enumerate(zip(ways.ways, ways.counts, ways.widths)):
        own = weight[head.rows[l]] if n else weight[:0]
        both = own @ feed.down.weight[l]
        heads.append(_filled(own, width))
        joined.append(_filled(both, width) if way == NARROW else torch.zeros_like(both))
        if way == CONTRACTED:
            contracted.append((both.T[:, :, None] * feed.up.weight[l][:, None, :]).flatten())
    bias = head.bias + weight[head.rows[0]] @ feed.down.bias
    flat = torch.cat(contracted) if contracted else weight.new_empty(0)
    return [torch.cat(heads), _filled(bias[:, None], ways.widths[0]).flatten(), torch.cat(joined), flat]


def _filled(x: Tensor, rows: int) -> Tensor:
    """Return x with rows of zeros behind its own, `rows` in all."""
    return nn.functional.pad(x, (0, 0, 0, int(rows) - len(x)))
