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
    """Places of components in the rows before (x) and after (y) the convolution.

    Attributes
    ----------
    l_max, channels, hidden, feed_forward : int
        Sizes of the network.
    x_place, y_place : ndarray
        (K,) first column of each component.
    x_blocks, y_blocks : tuple of slice
        Columns of order m = 0 … l_max.
    inputs : tuple of Tensor
        For each order the columns of the published weights that meet non-zero features.
    """

    l_max: int
    channels: int
    hidden: int
    feed_forward: int
    x_place: np.ndarray
    y_place: np.ndarray
    x_blocks: tuple[slice, ...]
    y_blocks: tuple[slice, ...]
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
    x_place = np.zeros((l_max + 1) ** 2, dtype=np.int64)
    y_place = np.zeros((l_max + 1) ** 2, dtype=np.int64)
    x_blocks, y_blocks, inputs = [], [], []
    x_at, y_at = 0, 0
    for m in range(l_max + 1):
        x_start, y_start = x_at, y_at
        for sign in (1, -1) if m else (1,):
            for l in range(m, l_max + 1):
                x_place[l * l + l + sign * m], y_place[l * l + l + sign * m] = x_at, y_at
                x_at += channels * (3 if l == 0 else 2)
                y_at += hidden * (1 + l_max if l == 0 else 1)
        x_blocks.append(slice(x_start, x_at))
        y_blocks.append(slice(y_start, y_at))
        columns = [torch.arange(2 * channels) + k * 3 * channels for k in range(l_max + 1 - m)]
        if m == 0:
            columns[0] = torch.arange(3 * channels)
        inputs.append(torch.cat(columns))
    return Layout(
        l_max, channels, hidden, feed_forward, x_place, y_place, tuple(x_blocks), tuple(y_blocks), tuple(inputs)
    )


def pack(update: EdgeUpdate, head: CoupledHead, ways: DegreeWays) -> list[Tensor]:
    """Return the parameters in the shapes the engine uses, differentiable.

    They are the convolution per order, its bias, projection, norm, feed-forward (all that acts on invariants in one
    matrix, then every degree) and head (`pack_head`): `EdgeChunk` takes them in this order.

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
    convolutions = [zero.weight[rows][:, layout.inputs[0]]]
    for m in range(1, w.l_max + 1):
        real, imaginary = update.convolution.order_weight(m)[:, layout.inputs[m]].chunk(2)
        convolutions.append(torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)]))
    feed, norm = update.feed_forward, update.norm_feed_forward
    return [
        *convolutions,
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


def pack_radial_inputs(update: EdgeUpdate) -> list[Tensor]:
    """Return the parameters of an edge's weights and own invariant features, in the order that `EdgeChunk` takes them.

    Outputs of the radial network are ordered as in `Layout`: of both nodes degree by degree, then of the edge itself.
    """
    w, scalar = update.widths, update.norm_message.scalar
    nodes = [torch.arange(2 * w.channels) + l * 3 * w.channels for l in range(w.l_max + 1)]
    rows = torch.cat([*nodes, torch.arange(2 * w.channels, 3 * w.channels)])
    return [*pack_radial(update.radial, rows), scalar.weight, scalar.bias]
