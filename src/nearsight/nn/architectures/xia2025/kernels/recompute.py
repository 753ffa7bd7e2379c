"""Computations over edges in chunks: nothing of a chunk is kept, the backward pass computes it again.

A chunk reads some nodes and some rows of the edge features, and writes some rows of the output. Every edge is in one
chunk at most, a node may be in many. Between forward and backward pass only the nodes, the edge features and the
output are kept, so memory grows with those alone. Chunks are assigned to threads in a fixed order: results depend on
the number of threads only by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.nn.kernels.threads import in_threads, thread_count


@dataclass(frozen=True, eq=False)
class Chunk:
    """What is computed at once.

    Attributes
    ----------
    nodes : Tensor
        (k,) the nodes it reads, ascending.
    edges : slice or Tensor
        Rows of the edge features that it reads.
    rows : slice
        Rows of the output that it writes.
    graph : GraphTensors
        Its nodes and edges, numbered within the chunk.
    """

    nodes: Tensor
    edges: slice | Tensor
    rows: slice
    graph: GraphTensors


def chunk_of(graph: GraphTensors, edges: slice | Tensor, rows: slice) -> Chunk:
    """Return some edges of a graph with the nodes at their ends.

    Parameters
    ----------
    graph : GraphTensors
        All nodes and edges.
    edges : slice or Tensor
        Which edges.
    rows : slice
        Rows of the output that they write.

    Returns
    -------
    Chunk
        The chunk.
    """
    source, target = graph.source[edges], graph.target[edges]
    nodes, places = torch.unique(torch.cat([source, target]), return_inverse=True)
    own = GraphTensors(
        graph.numbers[nodes],
        places[: len(source)],
        places[len(source) :],
        select_rows(graph.distance, edges),
        select_rows(graph.harmonics, edges),
        select_rows(graph.frames, edges),
        len(nodes),
        len(source),
    )
    return Chunk(nodes, edges, rows, own)


def select_rows(x: Tensor, rows: slice | Tensor) -> Tensor:
    """Return rows of x; several times faster than indexing where they are numbered one by one.

    Parameters
    ----------
    x : Tensor
        Any tensor.
    rows : slice or Tensor
        Which rows.

    Returns
    -------
    Tensor
        The rows.
    """
    return x[rows] if isinstance(rows, slice) else x.index_select(0, rows)


Compute = Callable[[Chunk, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, eq=False)
class ChunkedComputation:
    """A computation divided into chunks.

    Attributes
    ----------
    graph : GraphTensors
        All nodes and edges.
    chunks : sequence of (slice or Tensor, slice)
        Edges and rows of each chunk.
    compute : callable
        Maps (chunk, its nodes, its edge features or None) to its rows of the output.
    parameters : sequence of Tensor
        What `compute` reads besides.
    shape : tuple of int
        Shape of the output.
    """

    graph: GraphTensors
    chunks: Sequence[tuple[slice | Tensor, slice]]
    compute: Compute
    parameters: Sequence[Tensor]
    shape: tuple[int, ...]


def slices_of(graph: GraphTensors, size: int) -> list[tuple[slice, slice]]:
    """Return all edges in slices, each of which writes one row per edge.

    Parameters
    ----------
    graph : GraphTensors
        Nodes and edges.
    size : int
        Edges in a slice.

    Returns
    -------
    list of (slice, slice)
        Edges and rows of each slice.
    """
    starts = range(0, graph.n_edges, size)
    return [(batch, batch) for batch in (slice(k, min(k + size, graph.n_edges)) for k in starts)]


def trained_parameters(*modules: nn.Module) -> list[Tensor]:
    """Return the parameters of some modules that want a gradient."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def recomputed(computation: ChunkedComputation, nodes: Tensor, edges: Tensor | None) -> Tensor:
    """Return the output of a computation, differentiable.

    Parameters
    ----------
    computation : ChunkedComputation
        The computation.
    nodes : Tensor
        (n, …).
    edges : Tensor or None
        (e, …), edge features.

    Returns
    -------
    Tensor
        `computation.shape`; rows that no chunk writes are zero.
    """
    return cast(Tensor, _Recomputed.apply(computation, nodes, edges, *computation.parameters))


def summed_error(computation: ChunkedComputation, targets: EdgeTargets, nodes: Tensor, edges: Tensor | None) -> Tensor:
    """Return the error of all outputs, differentiable; each chunk is followed at once by its backward pass.

    Parameters
    ----------
    computation : ChunkedComputation
        The computation.
    targets : EdgeTargets
        Targets of the outputs.
    nodes : Tensor
        (n, …).
    edges : Tensor or None
        (e, …), edge features.

    Returns
    -------
    Tensor
        The error, a scalar.
    """
    return cast(
        Tensor, _SummedError.apply(computation, targets, torch.is_grad_enabled(), nodes, edges, *computation.parameters)
    )


@dataclass
class _Sums:
    """What one thread adds up."""

    nodes: Tensor | None = None
    parameters: list[Tensor | None] = field(default_factory=list)
    value: Tensor | float = 0.0


@dataclass(frozen=True)
class _Inputs:
    """Nodes and edge features or None, whether nodes want a gradient, and where those of edges go or None."""

    nodes: Tensor
    edges: Tensor | None
    to_nodes: bool = False
    to_edges: Tensor | None = None

    def of(self, chunk: Chunk) -> tuple[Tensor, Tensor | None]:
        """Return those of a chunk, as leaves."""
        nodes = select_rows(self.nodes.detach(), chunk.nodes).requires_grad_(self.to_nodes)
        if self.edges is None:
            return nodes, None
        return nodes, select_rows(self.edges.detach(), chunk.edges).requires_grad_(self.to_edges is not None)


def _over_chunks(computation: ChunkedComputation, device: torch.device, visit: Callable[[Chunk, _Sums], None]) -> _Sums:
    """Visit every chunk, and return the threads' sums added up."""
    threads = thread_count(len(computation.chunks)) if device.type == "cpu" else 1

    def run(first: int) -> _Sums:
        sums = _Sums()
        for edges, rows in computation.chunks[first::threads]:
            visit(chunk_of(computation.graph, edges, rows), sums)
        return sums

    total, *others = in_threads(run, range(threads), device)
    for other in others:
        total.nodes = _sum(total.nodes, other.nodes)
        total.parameters = _sum_each(total.parameters, other.parameters)
        total.value = total.value + other.value
    return total


def _differentiate(
    computation: ChunkedComputation, chunk: Chunk, inputs: _Inputs, gradient_of: Callable[[Tensor], Tensor], sums: _Sums
) -> None:
    """Compute a chunk and add the gradients, given that of its output."""
    with torch.enable_grad():
        nodes, edges = inputs.of(chunk)
        out = computation.compute(chunk, nodes, edges)
    leaves = [x for x in (nodes, edges) if x is not None and x.requires_grad]
    above = gradient_of(out.detach())
    if not out.requires_grad:
        return
    found: list[Tensor | None] = list(
        torch.autograd.grad(out, [*leaves, *computation.parameters], above, allow_unused=True)
    )
    if inputs.to_nodes:
        own = found.pop(0)
        if own is not None:
            if sums.nodes is None:
                sums.nodes = torch.zeros_like(inputs.nodes)
            sums.nodes.index_add_(0, chunk.nodes, own)
    if inputs.to_edges is not None:
        mine = found.pop(0)
        if mine is not None:
            inputs.to_edges[chunk.edges] = mine
    sums.parameters = _sum_each(sums.parameters, found)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a.add_(b)


def _sum_each(a: list[Tensor | None], b: list[Tensor | None]) -> list[Tensor | None]:
    return [_sum(x, y) for x, y in zip(a, b)] if a and b else a or b


class _Recomputed(torch.autograd.Function):
    """The output of all shares; the backward pass computes each again."""

    @staticmethod
    def forward(
        ctx: Any, computation: ChunkedComputation, nodes: Tensor, edges: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        out = nodes.new_zeros(computation.shape)
        inputs = _Inputs(nodes, edges)

        def write(chunk: Chunk, sums: _Sums) -> None:
            with torch.no_grad():
                out[chunk.rows] = computation.compute(chunk, *inputs.of(chunk))

        _over_chunks(computation, nodes.device, write)
        ctx.computation, ctx.n_parameters = computation, len(parameters)
        ctx.save_for_backward(nodes, *([] if edges is None else [edges]))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        nodes, *rest = ctx.saved_tensors
        edges = rest[0] if rest else None
        wanted = ctx.needs_input_grad
        to_edges = torch.zeros_like(edges) if edges is not None and wanted[2] else None
        inputs = _Inputs(nodes, edges, wanted[1], to_edges)

        def back(chunk: Chunk, sums: _Sums) -> None:
            _differentiate(ctx.computation, chunk, inputs, lambda out: gradients[0][chunk.rows], sums)

        sums = _over_chunks(ctx.computation, nodes.device, back)
        return None, sums.nodes, to_edges, *(sums.parameters or [None] * ctx.n_parameters)


class _SummedError(torch.autograd.Function):
    """`EdgeTargets.error`; value and gradient in one pass."""

    @staticmethod
    def forward(
        ctx: Any,
        computation: ChunkedComputation,
        targets: EdgeTargets,
        with_gradient: bool,
        nodes: Tensor,
        edges: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        wanted = [with_gradient and needed for needed in ctx.needs_input_grad]
        to_edges = torch.zeros_like(edges) if edges is not None and wanted[4] else None
        inputs = _Inputs(nodes, edges, wanted[3], to_edges)

        def visit(chunk: Chunk, sums: _Sums) -> None:
            def compare(out: Tensor) -> Tensor:
                error, gradient = targets.rows(chunk.rows).error_and_gradient(out)
                sums.value = sums.value + error
                return gradient

            if any(wanted):
                _differentiate(computation, chunk, inputs, compare, sums)
            else:
                with torch.no_grad():
                    compare(computation.compute(chunk, *inputs.of(chunk)))

        sums = _over_chunks(computation, nodes.device, visit)
        gradients = [sums.nodes, to_edges, *(sums.parameters or [None] * len(parameters))]
        ctx.known = [g is not None for g in gradients]
        ctx.save_for_backward(*(g for g in gradients if g is not None))
        return torch.as_tensor(sums.value, dtype=nodes.dtype, device=nodes.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        # In place, as another copy would cost as much as all edge features; a second backward pass is refused by torch.
        saved = iter(ctx.saved_tensors)
        scaled = [next(saved).mul_(gradients[0]) if known else None for known in ctx.known]
        return None, None, None, *scaled
