"""Computations over edges in shares: nothing of a share is kept, the backward pass computes it again.

A share reads some nodes and some rows of the edge features, and writes some rows of the output. Every edge is in one
share at most, a node may be in many. Between forward and backward pass only the nodes, the edge features and the
output are kept, so memory grows with those alone. Shares are dealt to threads in a fixed order: results depend on the
number of threads only by rounding.
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
class Share:
    """What is computed at once.

    Attributes:
        nodes: (k,) the nodes it reads, ascending.
        edges: which rows of the edge features it reads.
        rows: which rows of the output it writes.
        graph: its nodes and edges, numbered within the share.
    """

    nodes: Tensor
    edges: slice | Tensor
    rows: slice
    graph: GraphTensors


def share_of(graph: GraphTensors, edges: slice | Tensor, rows: slice) -> Share:
    """Some edges of a graph with the nodes at their ends."""
    source, target = graph.source[edges], graph.target[edges]
    nodes, places = torch.unique(torch.cat([source, target]), return_inverse=True)
    own = GraphTensors(
        graph.numbers[nodes],
        places[: len(source)],
        places[len(source) :],
        taken(graph.distance, edges),
        taken(graph.harmonics, edges),
        taken(graph.frames, edges),
        len(nodes),
        len(source),
    )
    return Share(nodes, edges, rows, own)


def taken(x: Tensor, rows: slice | Tensor) -> Tensor:
    """Rows of x; several times faster than plain indexing where they are numbered one by one."""
    return x[rows] if isinstance(rows, slice) else x.index_select(0, rows)


Compute = Callable[[Share, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, eq=False)
class Work:
    """A computation cut into shares.

    Attributes:
        graph: all nodes and edges.
        cuts: edges and rows of each share.
        compute: (share, its nodes, its edge features or None) → its rows of the output.
        parameters: what `compute` reads besides.
        shape: of the output.
    """

    graph: GraphTensors
    cuts: Sequence[tuple[slice | Tensor, slice]]
    compute: Compute
    parameters: Sequence[Tensor]
    shape: tuple[int, ...]


def slices_of(graph: GraphTensors, size: int) -> list[tuple[slice, slice]]:
    """All edges in slices of `size`; each writes one row per edge."""
    starts = range(0, graph.n_edges, size)
    return [(batch, batch) for batch in (slice(k, min(k + size, graph.n_edges)) for k in starts)]


def trained_parameters(*modules: nn.Module) -> list[Tensor]:
    """The parameters that want a gradient."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def recomputed(work: Work, nodes: Tensor, edges: Tensor | None) -> Tensor:
    """The output, `work.shape`; rows that no share writes are zero."""
    return cast(Tensor, _Recomputed.apply(work, nodes, edges, *work.parameters))


def summed_error(work: Work, targets: EdgeTargets, nodes: Tensor, edges: Tensor | None) -> Tensor:
    """The error of all outputs; each share is followed at once by its backward pass."""
    return cast(Tensor, _SummedError.apply(work, targets, torch.is_grad_enabled(), nodes, edges, *work.parameters))


@dataclass
class _Sums:
    """What one thread adds up."""

    nodes: Tensor | None = None
    parameters: list[Tensor | None] = field(default_factory=list)
    value: Tensor | float = 0.0


@dataclass(frozen=True)
class _Inputs:
    """Nodes and edge features, and which of them want a gradient.

    Attributes:
        nodes: (n, …).
        edges: (e, …) or None.
        to_nodes: whether the nodes want one.
        to_edges: (e, …) where the gradients of the edge features go, or None.
    """

    nodes: Tensor
    edges: Tensor | None
    to_nodes: bool = False
    to_edges: Tensor | None = None

    def of(self, share: Share) -> tuple[Tensor, Tensor | None]:
        """Those of a share, as leaves."""
        nodes = taken(self.nodes.detach(), share.nodes).requires_grad_(self.to_nodes)
        if self.edges is None:
            return nodes, None
        return nodes, taken(self.edges.detach(), share.edges).requires_grad_(self.to_edges is not None)


def _sweep(work: Work, device: torch.device, visit: Callable[[Share, _Sums], None]) -> _Sums:
    """Visit every share; the threads' sums added up."""
    threads = thread_count(len(work.cuts)) if device.type == "cpu" else 1

    def run(first: int) -> _Sums:
        sums = _Sums()
        for edges, rows in work.cuts[first::threads]:
            visit(share_of(work.graph, edges, rows), sums)
        return sums

    total, *others = in_threads(run, range(threads), device)
    for other in others:
        total.nodes = _sum(total.nodes, other.nodes)
        total.parameters = _sum_each(total.parameters, other.parameters)
        total.value = total.value + other.value
    return total


def _differentiate(
    work: Work, share: Share, inputs: _Inputs, gradient_of: Callable[[Tensor], Tensor], sums: _Sums
) -> None:
    """Compute a share and add the gradients, given that of its output."""
    with torch.enable_grad():
        nodes, edges = inputs.of(share)
        out = work.compute(share, nodes, edges)
    leaves = [x for x in (nodes, edges) if x is not None and x.requires_grad]
    above = gradient_of(out.detach())
    if not out.requires_grad:
        return
    found: list[Tensor | None] = list(torch.autograd.grad(out, [*leaves, *work.parameters], above, allow_unused=True))
    if inputs.to_nodes:
        own = found.pop(0)
        if own is not None:
            if sums.nodes is None:
                sums.nodes = torch.zeros_like(inputs.nodes)
            sums.nodes.index_add_(0, share.nodes, own)
    if inputs.to_edges is not None:
        mine = found.pop(0)
        if mine is not None:
            inputs.to_edges[share.edges] = mine
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
    def forward(ctx: Any, work: Work, nodes: Tensor, edges: Tensor | None, *parameters: Tensor) -> Tensor:
        out = nodes.new_zeros(work.shape)
        inputs = _Inputs(nodes, edges)

        def write(share: Share, sums: _Sums) -> None:
            with torch.no_grad():
                out[share.rows] = work.compute(share, *inputs.of(share))

        _sweep(work, nodes.device, write)
        ctx.work, ctx.n_parameters = work, len(parameters)
        ctx.save_for_backward(nodes, *([] if edges is None else [edges]))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        nodes, *rest = ctx.saved_tensors
        edges = rest[0] if rest else None
        wanted = ctx.needs_input_grad
        to_edges = torch.zeros_like(edges) if edges is not None and wanted[2] else None
        inputs = _Inputs(nodes, edges, wanted[1], to_edges)

        def back(share: Share, sums: _Sums) -> None:
            _differentiate(ctx.work, share, inputs, lambda out: gradients[0][share.rows], sums)

        sums = _sweep(ctx.work, nodes.device, back)
        return None, sums.nodes, to_edges, *(sums.parameters or [None] * ctx.n_parameters)


class _SummedError(torch.autograd.Function):
    """`EdgeTargets.error`; value and gradient in one pass."""

    @staticmethod
    def forward(
        ctx: Any,
        work: Work,
        targets: EdgeTargets,
        with_gradient: bool,
        nodes: Tensor,
        edges: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        wanted = [with_gradient and needed for needed in ctx.needs_input_grad]
        to_edges = torch.zeros_like(edges) if edges is not None and wanted[4] else None
        inputs = _Inputs(nodes, edges, wanted[3], to_edges)

        def visit(share: Share, sums: _Sums) -> None:
            def compare(out: Tensor) -> Tensor:
                error, gradient = targets.rows(share.rows).error_and_gradient(out)
                sums.value = sums.value + error
                return gradient

            if any(wanted):
                _differentiate(work, share, inputs, compare, sums)
            else:
                with torch.no_grad():
                    compare(work.compute(share, *inputs.of(share)))

        sums = _sweep(work, nodes.device, visit)
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
