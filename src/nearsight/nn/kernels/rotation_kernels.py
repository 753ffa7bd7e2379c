"""Features turned into the frames of edges and back, and sums over the edges of a node, in Triton and differentiable.

Turning a feature multiplies each degree l by D^l of its edge. Gradients of nodes are summed in a fixed order, without
atomic additions. The reference implementations are `rotate`, `rotate_back` and sums by `index_add`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

from nearsight.nn.kernels.incidence import Incidence
from nearsight.nn.kernels.segment_kernels import add_segment_sums

EDGES = 16
"""Edges of a program."""


@triton.jit(do_not_specialize=["edges"])
def _turn(
    x,
    index,
    frames,
    out,
    edges,
    channels,
    x_width,
    out_width,
    ROWS: tl.constexpr,
    FRAME: tl.constexpr,
    GATHERED: tl.constexpr,
    BACK: tl.constexpr,
    EDGES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    l = tl.program_id(1)
    size = 2 * l + 1
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    q = tl.arange(0, CHANNELS)
    here = edge < edges
    inside = here[:, None] & (q < channels)[None, :]
    if GATHERED:  # noqa: SIM108
        row = tl.load(index + edge, mask=here, other=0)
    else:
        row = edge
    known = x + ((row * ROWS + l * l) * x_width)[:, None] + q[None, :]
    to = out + ((edge * ROWS + l * l) * out_width)[:, None] + q[None, :]
    turn = frames + edge * FRAME + l * (2 * l - 1) * size // 3
    for m in range(size):
        total = tl.zeros([EDGES, CHANNELS], dtype=x.dtype.element_ty)
        for k in range(size):
            if BACK:
                w = tl.load(turn + k * size + m, mask=here, other=0.0)
            else:
                w = tl.load(turn + m * size + k, mask=here, other=0.0)
            total += w[:, None] * tl.load(known + k * x_width, mask=inside, other=0.0)
        tl.store(to + m * out_width, total, mask=inside)


def turn(x: Tensor, index: Tensor | None, frames: Tensor, out: Tensor, back: bool) -> None:
    """Write features in the frames of edges, or back in the common axes.

    Parameters
    ----------
    x : Tensor
        (n, K, C); the last dimension is contiguous, and the first two are as if it were wider.
    index : Tensor or None
        (e,) int64, row of x for each edge; None where they are numbered alike.
    frames : Tensor
        (e, Σ_l (2l+1)²), rows of D^0, D^1, … of each edge.
    out : Tensor
        Written: (e, K, C), strided like x.
    back : bool
        Whether features are in the frames, and are turned back.
    """
    edges, rows, channels = out.shape
    degrees = int(rows**0.5 + 0.5)
    if not edges:
        return
    with torch.cuda.device_of(x):
        _turn[triton.cdiv(edges, EDGES), degrees](
            x,
            x if index is None else index,
            frames,
            out,
            edges,
            channels,
            x.stride(1),
            out.stride(1),
            rows,
            frames.shape[1],
            index is not None,
            back,
            EDGES,
            triton.next_power_of_2(channels),
        )


class _PairInFrames(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, nodes: Tensor, source: Tensor, target: Tensor, frames: Tensor) -> Tensor:
        rows, channels = nodes.shape[1:]
        nodes = nodes.contiguous()
        out = nodes.new_empty(len(source), rows, 2 * channels)
        turn(nodes, source, frames, out[:, :, :channels], back=False)
        turn(nodes, target, frames, out[:, :, channels:], back=False)
        ctx.shape = nodes.shape
        ctx.save_for_backward(source, target, frames)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        source, target, frames = ctx.saved_tensors
        above, (n, rows, channels) = gradients[0].contiguous(), ctx.shape
        ends = above.new_empty(2 * len(source), rows, channels)
        turn(above[:, :, :channels], None, frames, ends[: len(source)], back=True)
        turn(above[:, :, channels:], None, frames, ends[len(source) :], back=True)
        found = above.new_zeros(ctx.shape)
        incidence = Incidence.of(torch.cat([source, target]), n)
        add_segment_sums(ends, incidence.order, incidence.start, found)
        return found, None, None, None


def pair_in_frames(nodes: Tensor, source: Tensor, target: Tensor, frames: Tensor) -> Tensor:
    """Return source and target of every edge, side by side, in the frame of the edge.

    Parameters
    ----------
    nodes : Tensor
        (n, K, C).
    source, target : Tensor
        (e,) int64.
    frames : Tensor
        (e, Σ_l (2l+1)²).

    Returns
    -------
    Tensor
        (e, K, 2C).
    """
    return cast(Tensor, _PairInFrames.apply(nodes, source, target, frames))


class _TurnedBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: Tensor) -> Tensor:
        x = x.contiguous()
        out = torch.empty_like(x)
        turn(x, None, frames, out, back=True)
        ctx.save_for_backward(frames)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (frames,) = ctx.saved_tensors
        above = gradients[0].contiguous()
        out = torch.empty_like(above)
        turn(above, None, frames, out, back=False)
        return out, None


def turned_back(x: Tensor, frames: Tensor) -> Tensor:
    """Return features (e, K, C) of edges in the common axes, given in the frames (e, Σ_l (2l+1)²) of the edges."""
    return cast(Tensor, _TurnedBack.apply(x, frames))


class _NodeSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, node: Tensor, incidence: Incidence) -> Tensor:
        values = values.contiguous()
        out = values.new_zeros(len(incidence.start) - 1, *values.shape[1:])
        add_segment_sums(values, incidence.order, incidence.start, out)
        ctx.save_for_backward(node)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (node,) = ctx.saved_tensors
        return gradients[0].index_select(0, node), None, None


def node_sums(values: Tensor, node: Tensor, incidence: Incidence) -> Tensor:
    """Return the sum of the rows that belong to each node.

    Parameters
    ----------
    values : Tensor
        (e, …).
    node : Tensor
        (e,) int64, the node of each row.
    incidence : Incidence
        The rows of each of n nodes.

    Returns
    -------
    Tensor
        (n, …).
    """
    return cast(Tensor, _NodeSums.apply(values, node, incidence))


@triton.jit
def _harmonic_sums(
    functions, harmonics, order, start, out, width, ROWS: tl.constexpr, AT_ONCE: tl.constexpr, WIDTH: tl.constexpr
):
    node, row = tl.program_id(0), tl.program_id(1)
    l = tl.floor(tl.sqrt(row.to(tl.float32) + 0.5)).to(tl.int32)
    q = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    first, last = tl.load(start + node), tl.load(start + node + 1)
    degrees = tl.floor(tl.sqrt(tl.full([], ROWS, tl.float32) + 0.5)).to(tl.int32)
    total = tl.zeros([AT_ONCE, WIDTH], dtype=functions.dtype.element_ty)
    for at in range(first, last, AT_ONCE):
        place = at + tl.arange(0, AT_ONCE)
        here = place < last
        edge = tl.load(order + place, mask=here, other=0)
        y = tl.load(harmonics + edge * ROWS + row, mask=here, other=0.0)
        f = functions + ((edge * degrees + l) * width)[:, None] + q[None, :]
        total += y[:, None] * tl.load(f, mask=here[:, None] & (q < width)[None, :], other=0.0)
    tl.store(out + (node.to(tl.int64) * ROWS + row) * width + q, tl.sum(total, axis=0), mask=q < width)


@triton.jit(do_not_specialize=["edges"])
def _harmonic_sums_back(
    above, harmonics, target, out, edges, width, ROWS: tl.constexpr, EDGES: tl.constexpr, WIDTH: tl.constexpr
):
    l = tl.program_id(1)
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    q = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    here = edge < edges
    inside = here[:, None] & (q < width)[None, :]
    node = tl.load(target + edge, mask=here, other=0)
    total = tl.zeros([EDGES, WIDTH], dtype=above.dtype.element_ty)
    for row in range(l * l, (l + 1) * (l + 1)):
        y = tl.load(harmonics + edge * ROWS + row, mask=here, other=0.0)
        total += y[:, None] * tl.load(
            above + ((node * ROWS + row) * width)[:, None] + q[None, :], mask=inside, other=0.0
        )
    degrees = tl.num_programs(1)
    tl.store(out + ((edge * degrees + l) * width)[:, None] + q[None, :], total, mask=inside)


class _HarmonicSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, functions: Tensor, harmonics: Tensor, target: Tensor, incidence: Incidence) -> Tensor:
        functions, harmonics = functions.contiguous(), harmonics.contiguous()
        nodes, width, rows = len(incidence.start) - 1, functions.shape[2], harmonics.shape[1]
        out, columns = functions.new_empty(nodes, rows, width), min(128, triton.next_power_of_2(width))
        with torch.cuda.device_of(functions):
            _harmonic_sums[nodes, rows, triton.cdiv(width, columns)](
                functions, harmonics, incidence.order, incidence.start, out, width, rows, 16, columns
            )
        ctx.save_for_backward(harmonics, target)
        ctx.shape = functions.shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        harmonics, target = ctx.saved_tensors
        above = gradients[0].contiguous()
        (edges, degrees, width), rows = ctx.shape, harmonics.shape[1]
        out, columns = above.new_empty(ctx.shape), min(128, triton.next_power_of_2(width))
        if edges:
            with torch.cuda.device_of(above):
                _harmonic_sums_back[triton.cdiv(edges, EDGES), degrees, triton.cdiv(width, columns)](
                    above, harmonics, target, out, edges, width, rows, EDGES, columns
                )
        return out, None, None, None


def harmonic_sums(functions: Tensor, harmonics: Tensor, target: Tensor, incidence: Incidence) -> Tensor:
    """Return at each node the sum over incoming edges of Y_lm·f_l.

    Parameters
    ----------
    functions : Tensor
        (e, l_max+1, V), f_l.
    harmonics : Tensor
        (e, K), Y_lm.
    target : Tensor
        (e,) int64.
    incidence : Incidence
        The edges of each of n nodes.

    Returns
    -------
    Tensor
        (n, K, V).
    """
    return cast(Tensor, _HarmonicSums.apply(functions, harmonics, target, incidence))
