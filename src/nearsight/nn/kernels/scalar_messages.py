"""Messages of the first node update, whose inputs are invariant: no rotation, no convolution of order m > 0.

A feature with l = 0 only is the same in every frame, so the convolutions see order m = 0 alone, and turning the result
back multiplies it by the column m = 0 of Dᵀ, which is Y_lm of the bond. The message is a function of (Z_i, Z_j, r)
times Y_lm: exact, not an approximation. Slow twin: `NodeUpdate.messages`.

Nodes are taken in groups with all their incoming edges, so that each group's attention is complete. Nothing of a group
is kept for the backward pass, which computes it again: memory does not grow with the number of edges. On the CPU the
groups run in as many threads as torch has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from nearsight.nn.attention import softmax_over_targets
from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.kernels import COMPILED
from nearsight.nn.kernels.target_groups import Group, group_by_target
from nearsight.nn.kernels.threads import in_threads

if TYPE_CHECKING:
    from nearsight.nn.node_update import NodeUpdate

EDGES = 4096
"""Edges of a group, about: their features fit into a few MB."""

Radial = Callable[[Tensor], Tensor]


def scalar_messages(update: NodeUpdate, scalars: Tensor, gaussians: Radial, graph: GraphTensors) -> Tensor:
    """Attention-weighted sum of all messages at each node.

    Args:
        update: whose parameters are used.
        scalars: (n, C), the nodes' only features.
        gaussians: the radial basis, which is also the edges' only feature.
        graph: nodes and edges.

    Returns:
        (n, K, heads·value).
    """
    if COMPILED and scalars.device.type == "cpu":
        from nearsight.nn.kernels.compiled_messages import compiled_messages

        return compiled_messages(update, scalars, gaussians, graph)
    return by_tensors(update, scalars, gaussians, graph)


def by_tensors(update: NodeUpdate, scalars: Tensor, gaussians: Radial, graph: GraphTensors) -> Tensor:
    """`scalar_messages` with tensor operations."""
    parameters = used_parameters(update)
    return cast(Tensor, _Messages.apply(update, gaussians, graph, scalars, *parameters))


def used_parameters(update: NodeUpdate) -> list[Tensor]:
    """The parameters that the messages read."""
    modules = (update.norm_message.scalar, update.radial, update.attention, update.first.order_zero,
               update.second.order_zero)
    return [p for module in modules for p in module.parameters()]


class _Messages(torch.autograd.Function):
    """The messages of all nodes, group by group; the backward pass computes each group again."""

    @staticmethod
    def forward(ctx: Any, update: NodeUpdate, gaussians: Radial, graph: GraphTensors, scalars: Tensor,
                *parameters: Tensor) -> Tensor:
        w = update.widths
        out = scalars.new_zeros(graph.n_nodes, (w.l_max + 1) ** 2, w.heads * w.value)
        groups = group_by_target(graph, EDGES)

        def work(group: Group) -> None:
            with torch.no_grad():
                out[group.first:group.last] = _messages_of(update, scalars, gaussians, graph, group)

        in_threads(work, groups, scalars.device)
        ctx.update, ctx.gaussians, ctx.graph, ctx.groups = update, gaussians, graph, groups
        ctx.save_for_backward(scalars)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (scalars,) = ctx.saved_tensors
        parameters = used_parameters(ctx.update)

        def work(group: Group) -> Sequence[Tensor]:
            with torch.enable_grad():
                leaf = scalars.detach().requires_grad_()
                out = _messages_of(ctx.update, leaf, ctx.gaussians, ctx.graph, group)
            return torch.autograd.grad(out, [leaf, *parameters], gradient[group.first:group.last], allow_unused=True)

        totals: list[Tensor | None] = [None] * (1 + len(parameters))
        for gradients in in_threads(work, ctx.groups, scalars.device):
            for k, part in enumerate(gradients):
                if part is not None:
                    total = totals[k]
                    totals[k] = part if total is None else total.add_(part)
        return None, None, None, *totals


def _messages_of(update: NodeUpdate, scalars: Tensor, gaussians: Radial, graph: GraphTensors, group: Group) -> Tensor:
    """The weighted sums at the nodes of one group."""
    w, edges = update.widths, group.edges
    source, target = graph.source[edges], graph.target[edges]
    logits, values = _functions_of_distance(update, scalars, gaussians(graph.distance[edges]), graph.numbers, source,
                                            target)
    own = target - group.first
    weights = softmax_over_targets(logits, own, group.last - group.first)
    values = (values.unflatten(2, (w.heads, w.value)) * weights[:, None, :, None]).flatten(2)
    return aggregate(values, graph.harmonics[edges], own, group.last - group.first)


def aggregate(functions: Tensor, harmonics: Tensor, target: Tensor, n_nodes: int) -> Tensor:
    """Σ at each node over incoming edges of Y_lm·f_l: (e, l_max+1, V), (e, K), (e,) → (n_nodes, K, V)."""
    parts = []
    for l in range(functions.shape[1]):
        outer = harmonics[:, l * l:(l + 1) ** 2, None] * functions[:, None, l]
        parts.append(functions.new_zeros(n_nodes, *outer.shape[1:]).index_add(0, target, outer))
    return torch.cat(parts, dim=1)


def _functions_of_distance(
    update: NodeUpdate, scalars: Tensor, gaussians: Tensor, numbers: Tensor, source: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits (e, heads) and the factor of Y_l of each message (e, l_max+1, heads·value)."""
    w = update.widths
    width = 3 * w.channels
    normed = update.norm_message.scalar(scalars)
    last = cast(nn.Linear, update.radial.network[-1])
    hidden = torch.cat([gaussians, update.radial.source(numbers[source]), update.radial.target(numbers[target])], dim=1)
    for step in list(update.radial.network)[:-1]:
        hidden = step(hidden)
    radial = torch.addmm(last.bias[:width], hidden, last.weight[:width].T)
    message = torch.cat([normed[source], normed[target], gaussians], dim=1) * radial
    first = torch.addmm(update.first.order_zero.bias, message, update.first.order_zero.weight[:, :width].T)
    n_alpha, n_extra = w.heads * w.alpha, update.first.extra
    logits = update.attention(first[:, :n_alpha])
    gates = torch.sigmoid(first[:, n_alpha:n_extra])
    invariant, higher = first[:, n_extra:n_extra + w.hidden], first[:, n_extra + w.hidden:]
    gated = torch.cat([nn.functional.silu(invariant), higher * gates], dim=1)
    return logits, update.second.order_zero(gated).unflatten(1, (w.l_max + 1, w.heads * w.value))
