"""The first edge update and the edge head in one pass over cache-sized chunks of edges, forward and backward.

What it computes is `EdgeUpdate` on the initial edge features followed by `CoupledHead`, exactly:

* everything after the rotation of the two nodes acts per degree or commutes with rotations about the bond, so the
  edge stays in its own frame until the coupled outputs, which are turned back;
* the initial edge features are invariant, so they feed order m = 0 of l = 0 alone, and the columns of the
  convolution's weights that would multiply zeros are left out;
* complex multiplication by the weights of order m takes three real products (`convolution_loops`).

A chunk's forward pass is followed at once by its backward pass where the loss is a sum over edges
(`error`), or repeated in the backward pass (`outputs`), so memory does not grow with the number of edges.
Chunks are assigned to threads in a fixed order: results depend on the number of threads only by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.kernels.convolution_loops import convolution_kernels
from nearsight.nn.architectures.xia2025.kernels.degree_loops import degree_pass
from nearsight.nn.architectures.xia2025.kernels.degree_ways import CONTRACTED, DegreeWays, ways_of_degrees
from nearsight.nn.architectures.xia2025.kernels.degree_ways import N_PARAMETERS as N_OF_HEAD
from nearsight.nn.architectures.xia2025.kernels.edge_layout import layout_for, pack, pack_radial_inputs, transposed
from nearsight.nn.architectures.xia2025.kernels.edge_loops import kernels
from nearsight.nn.architectures.xia2025.kernels.radial import N_PARAMETERS, RadialPass
from nearsight.nn.architectures.xia2025.so3 import EPSILON
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.nn.architectures.xia2025.updates import CoupledHead
from nearsight.nn.kernels.compilation import Buffers
from nearsight.nn.kernels.linear_layer import linear, linear_back
from nearsight.nn.kernels.threads import in_threads, thread_count

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.updates import EdgeUpdate, GaussianBasis


@dataclass
class Gradients:
    """What one thread adds up.

    Attributes
    ----------
    packed, radial : list of Tensor
        Gradients of what `pack` and `pack_radial_inputs` give.
    nodes : Tensor
        (n, K, C), gradient of the nodes.
    error : float
        Sum of the errors.
    """

    packed: list[Tensor]
    radial: list[Tensor]
    nodes: Tensor
    error: float = 0.0

    def __post_init__(self) -> None:
        self.arrays, self.radial_arrays = [_array(p) for p in self.packed], [_array(r) for r in self.radial]
        self.node_array = _array(self.nodes)


def _array(x: Tensor) -> np.ndarray:
    return cast(np.ndarray, x.numpy())


class EdgeChunk:
    """Buffers and passes of one thread. Call `begin`, then one of `outputs`, `compare` and `backward`.

    Parameters
    ----------
    engine : EdgeEngine
        Sizes and loops.
    nodes : Tensor
        (n, K, C).
    packed, radial : sequence of Tensor
        What `pack` and `pack_radial_inputs` give, detached and contiguous.
    """

    def __init__(self, engine: EdgeEngine, nodes: Tensor, packed: Sequence[Tensor], radial: Sequence[Tensor]) -> None:
        self.engine, self.layout = engine, engine.layout
        lay = self.layout
        self.nodes = _array(nodes)
        self.packed = [_array(p) for p in packed]
        (
            self.convolution,
            self.convolution_bias,
            self.project,
            self.project_bias,
            self.scale,
            self.bias,
            self.norm_weight,
            self.invariant,
            self.invariant_bias,
            *_,
        ) = self.packed
        self.convolution_t = _array(transposed(packed[0], lay))
        self.invariant_t = np.ascontiguousarray(self.invariant.T)
        self.project_t = np.ascontiguousarray(self.project.transpose(0, 2, 1))
        self.maps = _maps(engine.ways, *packed[-2 - N_OF_HEAD :])
        self.buffer = Buffers(nodes.dtype)
        self.radial = RadialPass(radial[:N_PARAMETERS], engine.gaussians, self.buffer)
        self.own_scale, self.own_bias = (_array(r) for r in radial[N_PARAMETERS:])
        self.degrees_pass = degree_pass(lay.l_max, lay.channels, lay.feed_forward)

    def segment(self, name: str, width: int) -> np.ndarray:
        """Return a degree-major buffer.

        Parameters
        ----------
        name : str
            Name of the buffer.
        width : int
            Channels.

        Returns
        -------
        ndarray
            Flat; degree l is a (B·(2l+1), width) matrix from l²·B·width on.
        """
        return self.buffer.array(name, (self.layout.l_max + 1) ** 2 * self.n * width)

    def invariants(self, segment: np.ndarray) -> np.ndarray:
        """Return degree 0 of a segment, (B, C)."""
        return segment[: self.n * self.layout.channels].reshape(self.n, -1)

    @torch.no_grad()
    def begin(self, graph: GraphTensors, batch: slice) -> None:
        """Run the forward pass of a slice of the edges up to the norm before the feed-forward network.

        Parameters
        ----------
        graph : GraphTensors
            Nodes and edges.
        batch : slice
            Which edges.
        """
        lay, ker, buffer = self.layout, self.engine.kernels, self.buffer
        self.n = batch.stop - batch.start
        self.source, self.target = graph.source[batch].numpy(), graph.target[batch].numpy()
        self.wigner = graph.frames[batch].numpy()
        self.gaussians = self.radial.gaussians(graph.distance[batch])
        numbers = graph.numbers.numpy()
        self.weights = self.radial.forward(self.gaussians, numbers[self.source], numbers[self.target])
        self.x = buffer.array("x", self.n * lay.x_size)
        ker.gather(self.nodes, self.source, self.target, self.wigner, self.weights, lay.x_place, self.x)
        self.own = buffer.array("own", self.n, lay.channels)
        ker.own(self.gaussians, self.own_scale, self.own_bias, self.weights, EPSILON, self.own, self.x)
        self._convolve()
        self._project()

    def _convolve(self) -> None:
        lay, buffer = self.layout, self.buffer
        self.y = buffer.array("y", self.n * lay.y_size)
        self.engine.convolve(self.x, self.convolution_t, self.convolution_bias, self.y)
        width, columns = (lay.l_max + 1) * lay.hidden, (2 * lay.l_max + 1) * lay.hidden
        first = buffer("y", self.n * lay.y_size)[: self.n * columns].view(self.n, columns)[:, :width]
        torch.sigmoid(first, out=buffer("gates", self.n, width))
        self.gates, self.z = buffer.array("gates", self.n, width), self.segment("z", lay.hidden)
        self.engine.kernels.gate(self.y, lay.y_place, self.gates, self.z)

    def _project(self) -> None:
        lay, ker, buffer = self.layout, self.engine.kernels, self.buffer
        self.e, self.f = self.segment("e", lay.channels), self.segment("f", lay.channels)
        ker.project(self.z, self.project_t, self.project_bias, self.gaussians, self.e)
        self.statistics = buffer.array("statistics", self.n, 3)
        ker.norm(self.e, self.scale, self.bias, self.norm_weight, EPSILON, self.f, self.statistics)
        width = (lay.l_max + 1) * lay.feed_forward
        self.raw, self.inner = buffer.array("raw", self.n, width), buffer.array("inner", self.n, width)
        linear(self.invariants(self.f), self.invariant_t, self.invariant_bias, self.raw)
        torch.sigmoid(buffer("raw", self.n, width), out=buffer("inner", self.n, width))

    @torch.no_grad()
    def outputs(self) -> Tensor:
        """Return the coupled outputs (B, size) on the common axes, in a buffer."""
        engine, ways = self.engine, self.engine.ways
        o = self._degrees(None, None)[1]
        out = self.buffer.array("out", self.n, engine.size)
        engine.kernels.rotate_out(o, self.wigner, ways.counts, ways.widths, engine.starts, out)
        return self.buffer("out", self.n, engine.size)

    @torch.no_grad()
    def compare(self, targets: EdgeTargets, sums: Gradients, with_gradient: bool) -> None:
        """Add the error of the chunk's outputs, and where wanted its gradients.

        Parameters
        ----------
        targets : EdgeTargets
            Targets of the chunk.
        sums : Gradients
            Sums of the thread.
        with_gradient : bool
            Whether gradients are wanted.
        """
        sums.error += self._degrees(targets, sums if with_gradient else None)[0]
        if with_gradient:
            self._finish(sums)

    @torch.no_grad()
    def backward(self, gradient: Tensor, sums: Gradients) -> None:
        """Add the gradients of Σ gradient·output.

        Parameters
        ----------
        gradient : Tensor
            (B, size).
        sums : Gradients
            Sums of the thread.
        """
        self._degrees(gradient, sums)
        self._finish(sums)

    def _degrees(self, given: EdgeTargets | Tensor | None, sums: Gradients | None) -> tuple[float, np.ndarray]:
        """Run feed-forward network and head (`degree_pass`) with targets or gradients; return error and outputs."""
        targets = given if isinstance(given, EdgeTargets) else None
        values = given.values if isinstance(given, EdgeTargets) else given
        weights = None if targets is None else targets.mask
        engine, buffer, lay, ways = self.engine, self.buffer, self.layout, self.engine.ways
        o, inside = buffer.array("o", self.n * engine.columns), buffer.array("given", self.n * engine.columns)
        if values is not None:
            values = values.contiguous()
            engine.kernels.rotate_in(_array(values), self.wigner, ways.counts, ways.widths, engine.starts, inside)
        self.de, self.df = self.segment("de", lay.channels), self.segment("df", lay.channels)
        self.draw = buffer.array("draw", *self.raw.shape)
        factors = np.zeros((0, 0), dtype=bool) if weights is None else _array(weights.contiguous())
        error = self.degrees_pass(
            targets is not None,
            sums is not None,
            ways.ways,
            ways.counts,
            ways.widths,
            engine.starts,
            self.e,
            self.f,
            self.raw,
            self.inner,
            inside,
            factors,
            o,
            self.de,
            self.df,
            self.draw,
            *self.maps,
            *self._slots(sums),
        )
        return float(error), o

    def _slots(self, sums: Gradients | None) -> list[np.ndarray]:
        """Return where the pass adds the gradients of the feed-forward network and the head."""
        up, down, *head = (self.packed if sums is None else sums.arrays)[-2 - N_OF_HEAD :]
        return [up, down, *(p.reshape(-1) for p in head)]

    def _finish(self, sums: Gradients) -> None:
        """Go from the gradients at the norm back to nodes and weights."""
        ker = self.engine.kernels
        (
            d_convolution,
            d_bias,
            d_project,
            d_project_bias,
            d_scale,
            d_norm_bias,
            d_norm_weight,
            d_invariant,
            d_invariant_bias,
            *_,
        ) = sums.arrays
        below = self.invariants(self.df)
        linear_back(self.invariants(self.f), self.invariant, self.draw, below, d_invariant, d_invariant_bias)
        ker.norm_back(
            self.e, self.scale, self.norm_weight, self.statistics, self.df, self.de, d_scale, d_norm_bias, d_norm_weight
        )
        dz = self.segment("dz", self.layout.hidden)
        ker.project_back(self.z, self.project, self.de, dz, d_project, d_project_bias)
        self._convolve_back(dz, d_convolution, d_bias)
        self._gather_back(sums)

    def _convolve_back(self, dz: np.ndarray, d_convolution: np.ndarray, d_bias: np.ndarray) -> None:
        lay, buffer = self.layout, self.buffer
        dy, self.dx = buffer.array("dy", self.n * lay.y_size), buffer.array("dx", self.n * lay.x_size)
        self.engine.kernels.gate_back(self.y, lay.y_place, self.gates, dz, dy)
        self.engine.convolve_back(self.x, self.convolution, dy, self.dx, d_convolution, d_bias)

    def _gather_back(self, sums: Gradients) -> None:
        ker = self.engine.kernels
        d_weights = self.buffer.array("d weights", *self.weights.shape)
        *d_radial, d_scale, d_bias = sums.radial_arrays
        ker.scatter(
            self.nodes,
            self.source,
            self.target,
            self.wigner,
            self.weights,
            self.layout.x_place,
            self.dx,
            sums.node_array,
            d_weights,
        )
        ker.own_back(self.own, self.own_scale, self.own_bias, self.weights, self.dx, d_weights, d_scale, d_bias)
        self.radial.backward(d_weights, d_radial)


CHUNK = 256
"""Edges at once; their buffers stay in the last level of the cache."""


class EdgeEngine:
    """The compiled pass of the first edge update and the head of one network over a graph's labelled edges.

    Parameters
    ----------
    update : EdgeUpdate
        The edge update.
    head : CoupledHead
        The edge head.
    gaussians : GaussianBasis
        The radial basis, which is also the initial edge feature.
    """

    def __init__(self, update: EdgeUpdate, head: CoupledHead, gaussians: GaussianBasis) -> None:
        w = update.widths
        self.update, self.head, self.gaussians = update, head, gaussians
        self.layout = layout_for(w.l_max, w.channels, w.hidden, w.feed_forward)
        self.kernels = kernels(w.l_max, w.channels, w.hidden)
        self.convolve, self.convolve_back = convolution_kernels(w.l_max, w.channels, w.hidden)
        counts = [rows.stop - rows.start for rows in head.rows] + [0] * (w.l_max - head.l_max)
        self.ways = ways_of_degrees(counts, w.channels, w.feed_forward)
        self.starts = _irrep_starts(head, self.ways.counts)
        self.columns = int(((2 * np.arange(w.l_max + 1) + 1) * self.ways.widths).sum())
        self.size = len(head.restore)

    def outputs(self, nodes: Tensor, graph: GraphTensors) -> Tensor:
        """Return the coupled outputs, differentiable; the backward pass computes each chunk again.

        Parameters
        ----------
        nodes : Tensor
            (n, K, C), after the node update.
        graph : GraphTensors
            Nodes and edges.

        Returns
        -------
        Tensor
            (e, size) E_h.
        """
        radial = pack_radial_inputs(self.update)
        packed = pack(self.update, self.head, self.ways)
        return _Outputs.apply(self, graph, len(packed), nodes, *packed, *radial)

    def error(self, nodes: Tensor, graph: GraphTensors, targets: EdgeTargets) -> Tensor:
        """Return `targets.error` of all outputs, differentiable.

        Parameters
        ----------
        nodes : Tensor
            (n, K, C), after the node update.
        graph : GraphTensors
            Nodes and edges.
        targets : EdgeTargets
            Targets of the edges.

        Returns
        -------
        Tensor
            The error, a scalar.
        """
        radial = pack_radial_inputs(self.update)
        packed = pack(self.update, self.head, self.ways)
        return _SummedError.apply(self, graph, targets, len(packed), nodes, *packed, *radial)

    def over_chunks(
        self,
        nodes: Tensor,
        packed: Sequence[Tensor],
        radial: Sequence[Tensor],
        graph: GraphTensors,
        visit: Callable[[EdgeChunk, slice, Gradients], None],
        with_gradient: bool,
    ) -> Gradients:
        """Run the forward pass on every chunk, then `visit` it, in as many threads as torch has.

        Parameters
        ----------
        nodes : Tensor
            (n, K, C).
        packed, radial : sequence of Tensor
            What `pack` and `pack_radial_inputs` give.
        graph : GraphTensors
            Nodes and edges.
        visit : callable
            Called with the chunk, the slice of its edges and the sums of the thread.
        with_gradient : bool
            Whether the sums have room for gradients.

        Returns
        -------
        Gradients
            The sums of all threads.
        """
        batches = [slice(k, min(k + CHUNK, graph.n_edges)) for k in range(0, graph.n_edges, CHUNK)]
        threads = thread_count(len(batches))
        nodes, packed = nodes.detach().contiguous(), [p.detach().contiguous() for p in packed]
        values = [r.detach().contiguous() for r in radial]

        def work(first: int) -> Gradients:
            sums = Gradients(
                [torch.zeros_like(p) for p in packed] if with_gradient else [],
                [torch.zeros_like(r) for r in values] if with_gradient else [],
                torch.zeros_like(nodes) if with_gradient else nodes,
            )
            chunk = EdgeChunk(self, nodes, packed, values)
            for batch in batches[first::threads]:
                chunk.begin(graph, batch)
                visit(chunk, batch, sums)
            return sums

        results = in_threads(work, range(threads), nodes.device)
        return _add_up(results, with_gradient)


def _add_up(parts: Sequence[Gradients], with_gradient: bool) -> Gradients:
    first = parts[0]
    for other in parts[1:]:
        first.error += other.error
        if with_gradient:
            for mine, theirs in zip(
                [*first.packed, *first.radial, first.nodes], [*other.packed, *other.radial, other.nodes]
            ):
                mine += theirs
    return first


def _maps(ways: DegreeWays, up: Tensor, down: Tensor, *head: Tensor) -> list[np.ndarray]:
    """Return all maps of `degree_pass`, with those that are transposed of each degree."""
    both, bias, joined, inner = head
    turned: list[list[Tensor]] = [[both[:0].flatten()], [joined[:0].flatten()], [inner[:0]]]
    row, place, width = 0, 0, up.shape[1]
    for way, count, rows in zip(ways.ways, ways.counts, ways.widths):
        for k, matrix in enumerate((both, joined)):
            turned[k].append(matrix[row : row + rows].T.flatten())
        row += rows
        if way == CONTRACTED:
            size = width * int(count) * up.shape[2]
            turned[2].append(inner[place : place + size].view(width, -1).T.flatten() if size else inner[:0])
            place += size
    heads_t, joined_t, inner_t = (torch.cat(parts) for parts in turned)
    up_t, down_t = (p.transpose(1, 2).contiguous() for p in (up, down))
    flat = (both.view(-1), heads_t, bias, joined.view(-1), joined_t, inner, inner_t)
    return [_array(p) for p in (up, up_t, down, down_t, *flat)]


def _irrep_starts(head: CoupledHead, counts: np.ndarray) -> np.ndarray:
    """Return the first column of every irrep in the coupled vector, irreps sorted by degree."""
    column_of = torch.argsort(head.restore).numpy()
    starts, at = [], 0
    for l, count in enumerate(counts):
        for _ in range(count):
            starts.append(int(column_of[at]))
            at += 2 * l + 1
    return np.array(starts, dtype=np.int64)


class _Outputs(torch.autograd.Function):
    """Coupled outputs of all edges; the backward pass repeats each chunk's forward pass."""

    @staticmethod
    def forward(
        ctx: Any, engine: EdgeEngine, graph: GraphTensors, n_packed: int, nodes: Tensor, *parameters: Tensor
    ) -> Tensor:
        out = nodes.new_empty(graph.n_edges, engine.size)

        def keep(chunk: EdgeChunk, batch: slice, sums: Gradients) -> None:
            out[batch] = chunk.outputs()

        engine.over_chunks(nodes, parameters[:n_packed], parameters[n_packed:], graph, keep, with_gradient=False)
        ctx.engine, ctx.graph, ctx.n_packed = engine, graph, n_packed
        ctx.save_for_backward(nodes, *parameters)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        nodes, *parameters = ctx.saved_tensors

        def back(chunk: EdgeChunk, batch: slice, sums: Gradients) -> None:
            chunk.backward(gradient[batch], sums)

        sums = ctx.engine.over_chunks(
            nodes, parameters[: ctx.n_packed], parameters[ctx.n_packed :], ctx.graph, back, with_gradient=True
        )
        return (None, None, None, sums.nodes, *sums.packed, *sums.radial)


class _SummedError(torch.autograd.Function):
    """`EdgeTargets.error`; value and gradient in one pass."""

    @staticmethod
    def forward(
        ctx: Any,
        engine: EdgeEngine,
        graph: GraphTensors,
        targets: EdgeTargets,
        n_packed: int,
        nodes: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        needed = any(ctx.needs_input_grad)

        def compare(chunk: EdgeChunk, batch: slice, sums: Gradients) -> None:
            chunk.compare(targets.rows(batch), sums, needed)

        sums = engine.over_chunks(nodes, parameters[:n_packed], parameters[n_packed:], graph, compare, needed)
        if needed:
            ctx.save_for_backward(sums.nodes, *sums.packed, *sums.radial)
        return nodes.new_tensor(sums.error)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return (None, None, None, None, *(g * gradient for g in ctx.saved_tensors))
