"""The first edge update and the edge head in one pass over cache-sized chunks of edges, forward and backward.

What it computes is `EdgeUpdate` on the initial edge features followed by `CoupledHead`, exactly:

* everything after the rotation of the two nodes acts per degree or commutes with rotations about the bond, so the
  edge stays in its own frame until the coupled outputs, which are turned back;
* the initial edge features are invariant, so they feed order m = 0 of l = 0 alone, and the columns of the
  convolution's weights that would multiply zeros are left out;
* complex multiplication by the weights of order m is one product with [[a, −b], [b, a]].

A chunk's forward pass is followed at once by its backward pass where the loss is a sum over edges
(`error`), or repeated in the backward pass (`outputs`), so memory does not grow with the number of edges.
Chunks are dealt to threads in a fixed order: results depend on the number of threads only by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.edge_targets import EdgeTargets
from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.head import CoupledHead
from nearsight.nn.kernels.edge_chunk import EdgeChunk, Gradients
from nearsight.nn.kernels.edge_kernels import kernels
from nearsight.nn.kernels.edge_layout import layout_for, pack, pack_radial_inputs
from nearsight.nn.kernels.threads import in_threads, thread_count

if TYPE_CHECKING:
    from nearsight.nn.edge_update import EdgeUpdate
    from nearsight.nn.radial import GaussianBasis

CHUNK = 640
"""Edges at once; their buffers stay in the last level of the cache."""


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
        self.kernels = kernels(w.l_max, w.channels, w.hidden)
        self.counts = np.array([rows.stop - rows.start for rows in head.rows] + [0] * (w.l_max - head.l_max))
        self.starts = _irrep_starts(head, self.counts)
        self.size = len(head.restore)

    def outputs(self, nodes: Tensor, graph: GraphTensors) -> Tensor:
        """Coupled outputs (e, size); the backward pass computes each chunk again."""
        radial = pack_radial_inputs(self.update)
        packed = pack(self.update, self.head)
        return _Outputs.apply(self, graph, len(packed), nodes, *packed, *radial)

    def error(self, nodes: Tensor, graph: GraphTensors, targets: EdgeTargets) -> Tensor:
        """`targets.error` of all outputs."""
        radial = pack_radial_inputs(self.update)
        packed = pack(self.update, self.head)
        return _SummedError.apply(self, graph, targets, len(packed), nodes, *packed, *radial)

    def sweep(
        self, nodes: Tensor, packed: Sequence[Tensor], radial: Sequence[Tensor], graph: GraphTensors,
        visit: Callable[[EdgeChunk, slice, Gradients], None], with_gradient: bool,
    ) -> Gradients:
        """Forward on every chunk, then `visit`, in as many threads as torch has; the threads' sums added up."""
        pieces = [slice(k, min(k + CHUNK, graph.n_edges)) for k in range(0, graph.n_edges, CHUNK)]
        threads = thread_count(len(pieces))
        nodes, packed = nodes.detach().contiguous(), [p.detach().contiguous() for p in packed]
        values = [r.detach().contiguous() for r in radial]

        def work(first: int) -> Gradients:
            sums = Gradients([torch.zeros_like(p) for p in packed] if with_gradient else [],
                              [torch.zeros_like(r) for r in values] if with_gradient else [],
                              torch.zeros_like(nodes) if with_gradient else nodes)
            chunk = EdgeChunk(self, nodes, packed, values)
            for piece in pieces[first::threads]:
                chunk.begin(graph, piece)
                visit(chunk, piece, sums)
            return sums

        results = in_threads(work, range(threads), nodes.device)
        return _add_up(results, with_gradient)


def _add_up(parts: Sequence[Gradients], with_gradient: bool) -> Gradients:
    first = parts[0]
    for other in parts[1:]:
        first.error += other.error
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


class _Outputs(torch.autograd.Function):
    """Coupled outputs of all edges; the backward pass repeats each chunk's forward pass."""

    @staticmethod
    def forward(ctx: Any, engine: EdgeEngine, graph: GraphTensors, n_packed: int, nodes: Tensor,
                *parameters: Tensor) -> Tensor:
        out = nodes.new_empty(graph.n_edges, engine.size)

        def keep(chunk: EdgeChunk, piece: slice, sums: Gradients) -> None:
            out[piece] = chunk.outputs()

        engine.sweep(nodes, parameters[:n_packed], parameters[n_packed:], graph, keep, with_gradient=False)
        ctx.engine, ctx.graph, ctx.n_packed = engine, graph, n_packed
        ctx.save_for_backward(nodes, *parameters)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        nodes, *parameters = ctx.saved_tensors

        def back(chunk: EdgeChunk, piece: slice, sums: Gradients) -> None:
            chunk.backward(gradient[piece], sums)

        sums = ctx.engine.sweep(nodes, parameters[: ctx.n_packed], parameters[ctx.n_packed:], ctx.graph, back,
                                with_gradient=True)
        return (None, None, None, sums.nodes, *sums.packed, *sums.radial)


class _SummedError(torch.autograd.Function):
    """`EdgeTargets.error`; value and gradient in one pass."""

    @staticmethod
    def forward(ctx: Any, engine: EdgeEngine, graph: GraphTensors, targets: EdgeTargets, n_packed: int,
                nodes: Tensor, *parameters: Tensor) -> Tensor:
        needed = any(ctx.needs_input_grad)

        def compare(chunk: EdgeChunk, piece: slice, sums: Gradients) -> None:
            chunk.compare(targets.rows(piece), sums, needed)

        sums = engine.sweep(nodes, parameters[:n_packed], parameters[n_packed:], graph, compare, needed)
        if needed:
            ctx.save_for_backward(sums.nodes, *sums.packed, *sums.radial)
        return nodes.new_tensor(sums.error)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return (None, None, None, None, *(g * gradient for g in ctx.saved_tensors))
