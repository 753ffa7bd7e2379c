"""The first edge update and the edge head in one pass over cache-sized chunks of edges, forward and backward.

What it computes is `EdgeUpdate` on the initial edge features followed by `CoupledHead`, exactly:

* everything after the rotation of the two nodes acts per degree or commutes with rotations about the bond, so the
  edge stays in its own frame until the coupled outputs, which are turned back;
* the initial edge features are invariant, so they feed order m = 0 of l = 0 alone, and the columns of the
  convolution's weights that would multiply zeros are left out;
* complex multiplication by the weights of order m is one product with [[a, −b], [b, a]].

A chunk's forward pass is followed at once by its backward pass where the loss is a sum over edges
(`square_error`), or repeated in the backward pass (`outputs`), so memory does not grow with the number of edges.
Chunks are dealt to threads in a fixed order: results depend on the number of threads only by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.head import CoupledHead
from nearsight.nn.kernels.edge_kernels import kernels
from nearsight.nn.kernels.threads import in_threads
from nearsight.nn.so3 import EPSILON

if TYPE_CHECKING:
    from nearsight.nn.edge_update import EdgeUpdate
    from nearsight.nn.radial import GaussianBasis

CHUNK = 640
"""Edges at once; their buffers stay in the last level of the cache."""


@dataclass(frozen=True)
class Layout:
    """Where components lie in the rows before (x) and after (y) the convolution.

    Attributes:
        l_max, channels, hidden, feed_forward: sizes.
        x_place, y_place: (K,) first column of each component.
        x_blocks, y_blocks: the columns of order m = 0 … l_max.
        inputs: for each order the columns of the published weights that meet non-zero features.
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
    """The layout for a network's sizes."""
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
    return Layout(l_max, channels, hidden, feed_forward, x_place, y_place, tuple(x_blocks), tuple(y_blocks),
                  tuple(inputs))


def pack(update: EdgeUpdate, head: CoupledHead) -> list[Tensor]:
    """The parameters in the shapes the engine uses, differentiable.

    Convolution per order, its bias, projection, norm, feed-forward, head: see `_Chunk` for the order.
    """
    w = update.widths
    layout = layout_for(w.l_max, w.channels, w.hidden, w.feed_forward)
    zero = update.convolution.order_zero
    gates = torch.arange(update.unused, update.unused + w.l_max * w.hidden)
    values = torch.arange(update.unused + w.l_max * w.hidden, len(zero.weight))
    rows = torch.cat([values[: w.hidden], gates, values[w.hidden:]])
    convolutions = [zero.weight[rows][:, layout.inputs[0]]]
    for m in range(1, w.l_max + 1):
        real, imaginary = update.convolution.order_weight(m)[:, layout.inputs[m]].chunk(2)
        convolutions.append(torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)]))
    feed, norm = update.feed_forward, update.norm_feed_forward
    return [
        *convolutions, zero.bias[rows], update.project.weight, update.project.bias, norm.scalar.weight,
        norm.scalar.bias, norm.weight, feed.up.weight, feed.up.bias, feed.gates.weight, feed.gates.bias,
        feed.down.weight, feed.down.bias, head.weight * head.scale, head.bias,
    ]


def radial_parameters(update: EdgeUpdate) -> list[Tensor]:
    """The parameters of an edge's invariant inputs, in the order that `edge_radial` takes them."""
    layers, scalar = list(update.radial.network.parameters()), update.norm_message.scalar
    return [update.radial.source.weight, update.radial.target.weight, *layers, scalar.weight, scalar.bias]


def edge_radial(
    parameters: Sequence[Tensor], sizes: tuple[int, int], gaussians: Tensor, number_source: Tensor,
    number_target: Tensor,
) -> tuple[Tensor, Tensor]:
    """`RadialWeights` split by what they multiply: the two nodes (B, l_max+1, 2C), and the edge's own invariant
    features, already multiplied (B, C). A plain function of its parameters, so that threads can share it."""
    (source, target, w0, b0, w1, b1, w3, b3, w4, b4, w6, b6, scale, bias) = parameters
    degrees, channels = sizes
    x = torch.cat([gaussians, functional.embedding(number_source, source),
                   functional.embedding(number_target, target)], dim=1)
    x = functional.silu(functional.layer_norm(functional.linear(x, w0, b0), w1.shape, w1, b1, EPSILON))
    x = functional.silu(functional.layer_norm(functional.linear(x, w3, b3), w4.shape, w4, b4, EPSILON))
    every = functional.linear(x, w6, b6).unflatten(1, (degrees, 3 * channels))
    own = functional.layer_norm(gaussians, scale.shape, scale, bias, EPSILON) * every[:, 0, 2 * channels:]
    return every[:, :, : 2 * channels].contiguous(), own


@dataclass
class _Gradients:
    """Sums of one thread."""

    packed: list[Tensor]
    radial: list[Tensor]
    nodes: Tensor
    square_error: float = 0.0


class EdgeEngine:
    """Runs the first edge update and the head of one network over a graph's labelled edges.

    Args:
        update: the edge update.
        head: the edge head.
        gaussians: the radial basis, which is also the initial edge feature.
    """

    def __init__(self, update: EdgeUpdate, head: CoupledHead, gaussians: GaussianBasis) -> None:
        w = update.widths
        self.update, self.head, self.gaussians = update, head, gaussians
        self.layout = layout_for(w.l_max, w.channels, w.hidden, w.feed_forward)
        self.kernels = kernels(w.l_max, w.channels, w.hidden, w.feed_forward)
        self.counts = np.array([rows.stop - rows.start for rows in head.rows] + [0] * (w.l_max - head.l_max))
        self.starts = _irrep_starts(head, self.counts)
        self.size = len(head.restore)

    def outputs(self, nodes: Tensor, graph: GraphTensors) -> Tensor:
        """Coupled outputs (e, size); the backward pass computes each chunk again."""
        radial = radial_parameters(self.update)
        packed = pack(self.update, self.head)
        return _Outputs.apply(self, graph, len(packed), nodes, *packed, *radial)

    def square_error(self, nodes: Tensor, graph: GraphTensors, targets: Tensor, mask: Tensor | None) -> Tensor:
        """Σ (output − target)² over the edges, targets (e, size), mask (e, size) or None."""
        radial = radial_parameters(self.update)
        packed = pack(self.update, self.head)
        return _SquareError.apply(self, graph, targets, mask, len(packed), nodes, *packed, *radial)

    def sweep(
        self, nodes: Tensor, packed: Sequence[Tensor], radial: Sequence[Tensor], graph: GraphTensors,
        visit: Callable[[_Chunk, slice, _Gradients], None], with_gradient: bool,
    ) -> _Gradients:
        """Forward on every chunk, then `visit`, in as many threads as torch has; the threads' sums added up."""
        pieces = [slice(k, min(k + CHUNK, graph.n_edges)) for k in range(0, graph.n_edges, CHUNK)]
        threads = max(1, min(torch.get_num_threads(), len(pieces)))
        nodes, packed = nodes.detach().contiguous(), [p.detach().contiguous() for p in packed]
        values = [r.detach() for r in radial]

        def work(first: int) -> _Gradients:
            sums = _Gradients([torch.zeros_like(p) for p in packed] if with_gradient else [],
                              [torch.zeros_like(r) for r in values] if with_gradient else [],
                              torch.zeros_like(nodes) if with_gradient else nodes)
            chunk = _Chunk(self, nodes, packed, values, with_gradient)
            for piece in pieces[first::threads]:
                chunk.forward(graph, piece)
                visit(chunk, piece, sums)
            return sums

        results = in_threads(work, range(threads), nodes.device)
        return _add_up(results, with_gradient)


def _add_up(parts: Sequence[_Gradients], with_gradient: bool) -> _Gradients:
    first = parts[0]
    for other in parts[1:]:
        first.square_error += other.square_error
        if with_gradient:
            for mine, theirs in zip([*first.packed, *first.radial, first.nodes],
                                    [*other.packed, *other.radial, other.nodes]):
                mine += theirs
    return first


def _irrep_starts(head: CoupledHead, counts: np.ndarray) -> np.ndarray:
    """First column of every irrep in the coupled vector, irreps sorted by degree."""
    column_of = torch.argsort(head.restore).numpy()
    starts, at = [], 0
    for l, count in enumerate(counts):
        for _ in range(count):
            starts.append(int(column_of[at]))
            at += 2 * l + 1
    return np.array(starts, dtype=np.int64)


class _Chunk:
    """Buffers and passes of one thread."""

    def __init__(self, engine: EdgeEngine, nodes: Tensor, packed: Sequence[Tensor], radial: Sequence[Tensor],
                 with_gradient: bool) -> None:
        self.engine, self.nodes, self.layout = engine, nodes, engine.layout
        n_orders = self.layout.l_max + 1
        self.convolutions = list(packed[:n_orders])
        (self.convolution_bias, self.project, self.project_bias, self.scale, self.bias, self.norm_weight, self.up,
         self.up_bias, self.gate_weight, self.gate_bias, self.down, self.down_bias, self.head,
         self.head_bias) = packed[n_orders:]
        self.with_gradient = with_gradient
        self.radial = [r.clone().requires_grad_(with_gradient) for r in radial]
        self._buffers: dict[str, Tensor] = {}
        self._views: dict[tuple[Any, ...], Any] = {}

    def buffer(self, name: str, *shape: int) -> Tensor:
        """A buffer that is allocated once and used for every chunk."""
        key = (name, shape)
        if key not in self._views:
            wanted = math.prod(shape)
            flat = self._buffers.get(name)
            if flat is None or len(flat) < wanted:
                flat = self._buffers[name] = torch.empty(wanted, dtype=self.nodes.dtype)
            self._views[key] = flat[:wanted].view(shape)
        return cast(Tensor, self._views[key])

    def segments(self, name: str, width: int) -> tuple[Tensor, list[Tensor]]:
        """A degree-major buffer: flat, and as one (B·(2l+1), width) matrix per degree."""
        key = (name, "segments", self.n)
        if key not in self._views:
            degrees = range(self.layout.l_max + 1)
            flat = self.buffer(name, (self.layout.l_max + 1) ** 2 * self.n * width)
            parts = [flat[l * l * self.n * width:(l + 1) ** 2 * self.n * width].view(-1, width) for l in degrees]
            self._views[key] = flat, parts
        return cast("tuple[Tensor, list[Tensor]]", self._views[key])

    @torch.no_grad()
    def forward(self, graph: GraphTensors, piece: slice) -> None:
        """Coupled outputs of a slice of the edges, in `self.out`."""
        lay, ker = self.layout, self.engine.kernels
        self.n = piece.stop - piece.start
        self.source, self.target = graph.source[piece].numpy(), graph.target[piece].numpy()
        self.wigner = graph.frames[piece].numpy()
        self._radial(graph, piece)
        self.x = self.buffer("x", self.n, lay.x_blocks[-1].stop)
        ker.gather(self.nodes.numpy(), self.source, self.target, self.wigner, self.pair_weights.detach().numpy(),
                   lay.x_place, self.x.numpy())
        self.x[:, 2 * lay.channels:3 * lay.channels] = self.own.detach()
        self._convolve()
        self._project()
        self._feed_forward()
        self._head()

    def _radial(self, graph: GraphTensors, piece: slice) -> None:
        source, target = graph.source[piece], graph.target[piece]
        self.gaussians = self.engine.gaussians(graph.distance[piece])
        with torch.set_grad_enabled(self.with_gradient):
            self.pair_weights, self.own = edge_radial(
                self.radial, (self.layout.l_max + 1, self.layout.channels), self.gaussians, graph.numbers[source],
                graph.numbers[target],
            )

    def _convolve(self) -> None:
        lay, ker = self.layout, self.engine.kernels
        self.y = self.buffer("y", self.n, lay.y_blocks[-1].stop)
        for m, (weight, a, b) in enumerate(zip(self.convolutions, lay.x_blocks, lay.y_blocks)):
            torch.mm(self.x[:, a], weight.T, out=self.y[:, b])
            if m == 0:
                self.y[:, b] += self.convolution_bias
        width = (lay.l_max + 1) * lay.hidden
        self.gates = torch.sigmoid(self.y[:, :width], out=self.buffer("gates", self.n, width))
        self.z, self.z_parts = self.segments("z", lay.hidden)
        ker.gate(self.y.numpy(), lay.y_place, self.gates.numpy(), self.z.numpy())

    def _project(self) -> None:
        lay, ker = self.layout, self.engine.kernels
        self.e, self.e_parts = self.segments("e", lay.channels)
        for l, (z, e) in enumerate(zip(self.z_parts, self.e_parts)):
            torch.mm(z, self.project[l].T, out=e)
        self.e_parts[0] += self.project_bias
        self.e_parts[0] += self.gaussians
        self.f, self.f_parts = self.segments("f", lay.channels)
        self.statistics = self.buffer("statistics", self.n, 3)
        ker.norm(self.e.numpy(), self.scale.numpy(), self.bias.numpy(), self.norm_weight.numpy(), EPSILON,
                 self.f.numpy(), self.statistics.numpy())

    def _feed_forward(self) -> None:
        lay, ker, width = self.layout, self.engine.kernels, self.layout.feed_forward
        self.u, self.u_parts = self.segments("u", width)
        for l, (f, u) in enumerate(zip(self.f_parts, self.u_parts)):
            torch.mm(f, self.up[l].T, out=u)
        self.u_parts[0] += self.up_bias
        raw = torch.addmm(self.gate_bias, self.f_parts[0], self.gate_weight.T,
                          out=self.buffer("raw gates", self.n, lay.l_max * width))
        self.inner = self.buffer("inner gates", self.n, (lay.l_max + 1) * width)
        torch.sigmoid(self.u_parts[0], out=self.inner[:, :width])
        torch.sigmoid(raw, out=self.inner[:, width:])
        self.g, self.g_parts = self.segments("g", width)
        ker.multiply(self.u.numpy(), self.inner.numpy(), self.g.numpy())
        self.e2, self.e2_parts = self.segments("e2", lay.channels)
        for l, (g, e, e2) in enumerate(zip(self.g_parts, self.e_parts, self.e2_parts)):
            torch.addmm(e, g, self.down[l].T, out=e2)
        self.e2_parts[0] += self.down_bias

    def _head(self) -> None:
        engine = self.engine
        self.o, self.o_parts = self._output_segments("o")
        for l, (e2, o) in enumerate(zip(self.e2_parts, self.o_parts)):
            if o.shape[1]:
                torch.mm(e2, self._head_rows(l).T, out=o)
        self.o_parts[0] += self.head_bias
        self.out = self.buffer("out", self.n, engine.size)
        engine.kernels.rotate_out(self.o.numpy(), self.wigner, engine.counts, engine.starts, self.out.numpy())

    def _head_rows(self, l: int) -> Tensor:
        first = int(self.engine.counts[:l].sum())
        return self.head[first:first + int(self.engine.counts[l])]

    def _output_segments(self, name: str) -> tuple[Tensor, list[Tensor]]:
        key = (name, "outputs", self.n)
        if key not in self._views:
            sizes = [self.n * (2 * l + 1) * int(c) for l, c in enumerate(self.engine.counts)]
            flat = self.buffer(name, sum(sizes))
            parts = [p.view(self.n * (2 * l + 1), int(c))
                     for l, (p, c) in enumerate(zip(flat.split(sizes), self.engine.counts))]
            self._views[key] = flat, parts
        return cast("tuple[Tensor, list[Tensor]]", self._views[key])

    @torch.no_grad()
    def backward(self, gradient: Tensor, sums: _Gradients) -> None:
        """Add the gradients of Σ gradient·out, gradient (B, size)."""
        n_orders = self.layout.l_max + 1
        (d_bias, d_project, d_project_bias, d_scale, d_norm_bias, d_norm_weight, d_up, d_up_bias, d_gate_weight,
         d_gate_bias, d_down, d_down_bias, d_head, d_head_bias) = sums.packed[n_orders:]
        de, de_parts = self._head_back(gradient, d_head, d_head_bias)
        df = self._feed_forward_back(de_parts, d_up, d_up_bias, d_gate_weight, d_gate_bias, d_down, d_down_bias)
        self.engine.kernels.norm_back(
            self.e.numpy(), self.scale.numpy(), self.norm_weight.numpy(), self.statistics.numpy(), df.numpy(),
            de.numpy(), d_scale.numpy(), d_norm_bias.numpy(), d_norm_weight.numpy(),
        )
        dz, dz_parts = self.segments("dz", self.layout.hidden)
        for l, (d, z, out) in enumerate(zip(de_parts, self.z_parts, dz_parts)):
            d_project[l].addmm_(d.T, z)
            torch.mm(d, self.project[l], out=out)
        d_project_bias += de_parts[0].sum(0)
        self._convolve_back(dz, sums.packed[:n_orders], d_bias)
        self._gather_back(sums)

    def _head_back(self, gradient: Tensor, d_head: Tensor, d_bias: Tensor) -> tuple[Tensor, list[Tensor]]:
        engine = self.engine
        do, do_parts = self._output_segments("do")
        engine.kernels.rotate_out_back(gradient.contiguous().numpy(), self.wigner, engine.counts, engine.starts,
                                       do.numpy())
        de, de_parts = self.segments("de", self.layout.channels)
        first = 0
        for l, (d, e2, out) in enumerate(zip(do_parts, self.e2_parts, de_parts)):
            if d.shape[1]:
                d_head[first:first + d.shape[1]].addmm_(d.T, e2)
                torch.mm(d, self._head_rows(l), out=out)
            else:
                out.zero_()
            first += d.shape[1]
        d_bias += do_parts[0].sum(0)
        return de, de_parts

    def _feed_forward_back(self, de_parts: list[Tensor], d_up: Tensor, d_up_bias: Tensor, d_gate_weight: Tensor,
                           d_gate_bias: Tensor, d_down: Tensor, d_down_bias: Tensor) -> Tensor:
        lay = self.layout
        dg, dg_parts = self.segments("dg", lay.feed_forward)
        for l, (d, g, out) in enumerate(zip(de_parts, self.g_parts, dg_parts)):
            d_down[l].addmm_(d.T, g)
            torch.mm(d, self.down[l], out=out)
        d_down_bias += de_parts[0].sum(0)
        d_gates = self.buffer("d gates", self.n, lay.l_max * lay.feed_forward)
        self.engine.kernels.multiply_back(self.u.numpy(), self.inner.numpy(), dg.numpy(), d_gates.numpy())
        df, df_parts = self.segments("df", lay.channels)
        for l, (d, f, out) in enumerate(zip(dg_parts, self.f_parts, df_parts)):
            d_up[l].addmm_(d.T, f)
            torch.mm(d, self.up[l], out=out)
        d_up_bias += dg_parts[0].sum(0)
        df_parts[0].addmm_(d_gates, self.gate_weight)
        d_gate_weight.addmm_(d_gates.T, self.f_parts[0])
        d_gate_bias += d_gates.sum(0)
        return df

    def _convolve_back(self, dz: Tensor, d_convolutions: Sequence[Tensor], d_bias: Tensor) -> None:
        lay = self.layout
        dy = self.buffer("dy", self.n, lay.y_blocks[-1].stop)
        self.engine.kernels.gate_back(self.y.numpy(), lay.y_place, self.gates.numpy(), dz.numpy(), dy.numpy())
        self.dx = self.buffer("dx", self.n, lay.x_blocks[-1].stop)
        for weight, d_weight, a, b in zip(self.convolutions, d_convolutions, lay.x_blocks, lay.y_blocks):
            d_weight.addmm_(dy[:, b].T, self.x[:, a])
            torch.mm(dy[:, b], weight, out=self.dx[:, a])
        d_bias += dy[:, lay.y_blocks[0]].sum(0)

    def _gather_back(self, sums: _Gradients) -> None:
        lay = self.layout
        d_weights = self.buffer("d weights", self.n, lay.l_max + 1, 2 * lay.channels)
        self.engine.kernels.scatter(
            self.nodes.numpy(), self.source, self.target, self.wigner, self.pair_weights.detach().numpy(), lay.x_place,
            self.dx.numpy(), sums.nodes.numpy(), d_weights.numpy(),
        )
        d_own = self.dx[:, 2 * lay.channels:3 * lay.channels]
        gradients = torch.autograd.grad((self.pair_weights, self.own), self.radial, (d_weights, d_own))
        for total, gradient in zip(sums.radial, gradients):
            total += gradient


class _Outputs(torch.autograd.Function):
    """Coupled outputs of all edges; the backward pass repeats each chunk's forward pass."""

    @staticmethod
    def forward(ctx: Any, engine: EdgeEngine, graph: GraphTensors, n_packed: int, nodes: Tensor,
                *parameters: Tensor) -> Tensor:
        out = nodes.new_empty(graph.n_edges, engine.size)

        def keep(chunk: _Chunk, piece: slice, sums: _Gradients) -> None:
            out[piece] = chunk.out

        engine.sweep(nodes, parameters[:n_packed], parameters[n_packed:], graph, keep, with_gradient=False)
        ctx.engine, ctx.graph, ctx.n_packed = engine, graph, n_packed
        ctx.save_for_backward(nodes, *parameters)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        nodes, *parameters = ctx.saved_tensors

        def back(chunk: _Chunk, piece: slice, sums: _Gradients) -> None:
            chunk.backward(gradient[piece], sums)

        with torch.enable_grad():
            sums = ctx.engine.sweep(nodes, parameters[: ctx.n_packed], parameters[ctx.n_packed:], ctx.graph, back,
                                    with_gradient=True)
        return (None, None, None, sums.nodes, *sums.packed, *sums.radial)


class _SquareError(torch.autograd.Function):
    """Σ (output − target)²; value and gradient in one pass."""

    @staticmethod
    def forward(ctx: Any, engine: EdgeEngine, graph: GraphTensors, targets: Tensor, mask: Tensor | None,
                n_packed: int, nodes: Tensor, *parameters: Tensor) -> Tensor:
        needed = any(ctx.needs_input_grad)

        def compare(chunk: _Chunk, piece: slice, sums: _Gradients) -> None:
            error = chunk.out - targets[piece]
            if mask is not None:
                error *= mask[piece]
            sums.square_error += float(error.square().sum(dtype=torch.float64))
            if needed:
                chunk.backward(error.mul_(2), sums)

        sums = engine.sweep(nodes, parameters[:n_packed], parameters[n_packed:], graph, compare, needed)
        if needed:
            ctx.save_for_backward(sums.nodes, *sums.packed, *sums.radial)
        return nodes.new_tensor(sums.square_error)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return (None, None, None, None, None, *(g * gradient for g in ctx.saved_tensors))
