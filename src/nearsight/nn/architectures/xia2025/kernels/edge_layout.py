"""The places of components in the edge engine, and the network's parameters in the shapes it uses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.kernels.degree_ways import DegreeWays, pack_head
from nearsight.nn.architectures.xia2025.kernels.radial import pack_radial
from nearsight.nn.architectures.xia2025.updates import CoupledHead

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.updates import EdgeUpdate


@dataclass(frozen=True)
class Layout:
    """Places of components before (x) and after (y) the convolution: flat, order by order.

    Order 0 is one matrix with a row for each of B edges; an order m > 0 is a matrix of its components +m and one of
    those −m, and in x a third one for their sums.

    Attributes
    ----------
    l_max, channels, hidden, feed_forward : int
        Sizes of the network.
    x_place, y_place : ndarray
        (K, 3): component k of edge b begins at place[k, 0]·B + b·place[k, 1] + place[k, 2].
    x_size, y_size : int
        Numbers per edge.
    inputs : tuple of Tensor
        For each order the columns of the published weights that meet non-zero features.
    """

    l_max: int
    channels: int
    hidden: int
    feed_forward: int
    x_place: np.ndarray
    y_place: np.ndarray
    x_size: int
    y_size: int
    inputs: tuple[Tensor, ...]


@cache
def layout_for(l_max: int, channels: int, hidden: int, feed_forward: int) -> Layout:
    """Return the layout for a network's sizes.

    Parameters
    ----------
    l_max, channels, hidden, feed_forward : int
        Sizes of the network.

    Returns
    -------
    Layout
        The layout.
    """
    x_place, x_size = _places(l_max, 2 * channels, channels, 3)
    y_place, y_size = _places(l_max, hidden, l_max * hidden, 2)
    inputs = [
        torch.cat([torch.arange(2 * channels) + k * 3 * channels for k in range(l_max + 1 - m)])
        for m in range(l_max + 1)
    ]
    inputs[0] = torch.cat([torch.arange(3 * channels), inputs[0][2 * channels :]])
    return Layout(l_max, channels, hidden, feed_forward, x_place, y_place, x_size, y_size, tuple(inputs))


def _places(l_max: int, width: int, extra: int, matrices: int) -> tuple[np.ndarray, int]:
    """Return places (K, 3), and how many numbers an edge has.

    Each component has `width` numbers, but that of l = 0 `extra` more; orders m > 0 have so many matrices.
    """
    place, start = np.zeros(((l_max + 1) ** 2, 3), dtype=np.int64), 0
    for m in range(l_max + 1):
        columns = (l_max + 1 - m) * width + (0 if m else extra)
        for k, sign in enumerate((1, -1) if m else (1,)):
            for l in range(m, l_max + 1):
                column = (l - m) * width + (extra if m == 0 and l > 0 else 0)
                place[l * l + l + sign * m] = start + k * columns, columns, column
        start += columns * (matrices if m else 1)
    return place, start


def pack(update: EdgeUpdate, head: CoupledHead, ways: DegreeWays) -> list[Tensor]:
    """Return the parameters in the shapes the engine uses, differentiable.

    They are the convolution (`convolution_loops`), its bias, projection, norm, feed-forward (all that acts on
    invariants in one matrix, then every degree) and head (`pack_head`): `EdgeChunk` takes them in this order.

    Parameters
    ----------
    update : EdgeUpdate
        The edge update.
    head : CoupledHead
        The edge head.
    ways : DegreeWays
        Orders of multiplication of feed-forward network and head.

    Returns
    -------
    list of Tensor
        The parameters.
    """
    w = update.widths
    layout = layout_for(w.l_max, w.channels, w.hidden, w.feed_forward)
    zero = update.convolution.order_zero
    gates = torch.arange(update.unused, update.unused + w.l_max * w.hidden)
    values = torch.arange(update.unused + w.l_max * w.hidden, len(zero.weight))
    rows = torch.cat([values[: w.hidden], gates, values[w.hidden :]])
    convolutions = [zero.weight[rows][:, layout.inputs[0]].flatten()]
    for m in range(1, w.l_max + 1):
        real, imaginary = update.convolution.order_weight(m)[:, layout.inputs[m]].chunk(2)
        convolutions += [real.flatten(), (imaginary - real).flatten(), (-real - imaginary).flatten()]
    feed, norm = update.feed_forward, update.norm_feed_forward
    return [
        torch.cat(convolutions),
        zero.bias[rows],
        update.project.weight,
        update.project.bias,
        norm.scalar.weight,
        norm.scalar.bias,
        norm.weight,
        torch.cat([feed.up.weight[0], feed.gates.weight]),
        torch.cat([feed.up.bias, feed.gates.bias]),
        feed.up.weight,
        feed.down.weight,
        *pack_head(ways, feed, head),
    ]


def transposed(convolution: Tensor, layout: Layout) -> Tensor:
    """Return the weights of a convolution with each matrix transposed.

    Parameters
    ----------
    convolution : Tensor
        Matrices (outputs, inputs) of all orders, flat, as `pack` gives them.
    layout : Layout
        Sizes.

    Returns
    -------
    Tensor
        Flat.
    """
    parts, at = [], 0
    for m in range(layout.l_max + 1):
        outputs = (layout.l_max + 1 - m) * layout.hidden + (0 if m else layout.l_max * layout.hidden)
        for _ in range(3 if m else 1):
            size = outputs * len(layout.inputs[m])
            parts.append(convolution[at : at + size].view(outputs, -1).T.flatten())
            at += size
    return torch.cat(parts)


def pack_radial_inputs(update: EdgeUpdate) -> list[Tensor]:
    """Return the parameters of an edge's weights and own invariant features, in the order that `EdgeChunk` takes them.

    Outputs of the radial network are ordered as in `Layout`: of both nodes degree by degree, then of the edge itself.
    """
    w, scalar = update.widths, update.norm_message.scalar
    nodes = [torch.arange(2 * w.channels) + l * 3 * w.channels for l in range(w.l_max + 1)]
    rows = torch.cat([*nodes, torch.arange(2 * w.channels, 3 * w.channels)])
    return [*pack_radial(update.radial, rows), scalar.weight, scalar.bias]
