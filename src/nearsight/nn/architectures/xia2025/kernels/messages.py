"""Messages of the first node update, whose inputs are invariant: no rotation, no convolution of order m > 0.

A feature with l = 0 only is the same in every frame, so the convolutions see order m = 0 alone, and turning the result
back multiplies it by the column m = 0 of Dᵀ, which is Y_lm of the bond. The message is a function of (Z_i, Z_j, r)
times Y_lm: exact, not an approximation. The reference implementation is `NodeUpdate.messages`.

Nodes are taken in groups with all their incoming edges, so that each group's attention is complete. Nothing of a group
is kept for the backward pass, which computes it again: memory does not grow with the number of edges. On the CPU the
groups run in as many threads as torch has.

With compiled loops, the edges of a group go through the radial weights, the first convolution's order 0, attention and
gate; then the weighted sum over each node's edges is taken *before* the second convolution, which is linear and acts on
every (l, m) alike within a degree: 4,000 multiplications per edge instead of 13,600 for the paper's sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.kernels.message_loops import message_kernels
from nearsight.nn.architectures.xia2025.kernels.radial import N_PARAMETERS, RadialPass, pack_radial
from nearsight.nn.architectures.xia2025.kernels.recompute import select_rows
from nearsight.nn.architectures.xia2025.kernels.tensor_passes import Group, group_by_target
from nearsight.nn.architectures.xia2025.so3 import EPSILON
from nearsight.nn.architectures.xia2025.updates import softmax_over_targets
from nearsight.nn.kernels.compilation import Buffers
from nearsight.nn.kernels.device_memory import compiles_kernels, with_smaller_chunks
from nearsight.nn.kernels.incidence import Incidence
from nearsight.nn.kernels.linear_layer import linear, linear_back
from nearsight.nn.kernels.threads import in_threads, thread_count

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.updates import GaussianBasis, NodeUpdate

COMPILED_EDGES = 2048
"""Approximate number of edges of a group in compiled loops: their buffers stay in the cache."""


def compiled_messages(update: NodeUpdate, scalars: Tensor, gaussians: GaussianBasis, graph: GraphTensors) -> Tensor:
    """Compute `scalar_messages` with compiled loops, on a CPU.

    Parameters
    ----------
    update, scalars, gaussians, graph
        Arguments of `scalar_messages`.

    Returns
    -------
    Tensor
        (n, K, heads·value).
    """
    normed = update.norm_message.scalar(scalars)
    moments, totals = _Moments.apply(update, gaussians, graph, normed, *pack(update))
    w = update.widths
    second = update.second.order_zero
    weight = second.weight.view(w.l_max + 1, w.heads, w.value, -1)
    bias = second.bias.view(w.l_max + 1, w.heads, w.value)
    parts = []
    for l in range(w.l_max + 1):
        rows = slice(l * l, (l + 1) ** 2)
        part = torch.einsum("nhkc,hvc->nkhv", moments[:, :, rows], weight[l])
        parts.append(part + torch.einsum("nhk,hv->nkhv", totals[:, :, rows], bias[l]))
    return torch.cat(parts, dim=1).flatten(2)


def pack(update: NodeUpdate) -> list[Tensor]:
    """Return the parameters that a group's pass reads, in its shapes, differentiable."""
    inputs = 2 * update.widths.channels + update.widths.n_gaussians
    first, attention = update.first.order_zero, update.attention
    return [
        *pack_radial(update.radial, torch.arange(inputs)),
        first.weight[:, :inputs],
        first.bias,
        attention.norm.weight,
        attention.norm.bias,
        attention.vector.flatten(),
    ]


@dataclass
class _Gradients:
    """What one thread adds up."""

    packed: list[Tensor]
    nodes: Tensor


class _GroupPass:
    """Buffers and passes of one thread."""

    def __init__(
        self, update: NodeUpdate, gaussians: GaussianBasis, graph: GraphTensors, nodes: Tensor, packed: Sequence[Tensor]
    ) -> None:
        w = update.widths
        self.update, self.graph, self.nodes = update, graph, nodes
        self.slope = update.attention.activation.slope
        self.buffer = Buffers(nodes.dtype)
        self.radial = RadialPass(packed[:N_PARAMETERS], gaussians, self.buffer)
        self.weight, self.bias, self.scale, self.shift, self.vector = packed[N_PARAMETERS:]
        self.weight_t = self.weight.T.contiguous()
        self.kernels = message_kernels(w.l_max, w.channels, w.n_gaussians, w.heads, w.alpha, w.hidden)
        self.n_alpha, self.n_gates = w.heads * w.alpha, w.l_max * w.hidden
        self.n_sigmoids, self.n_gated = self.n_gates + w.hidden, (w.l_max + 1) * w.hidden

    def forward(self, group: Group) -> None:
        """Go up to attention weights and gated features."""
        graph, ker, buffer, n = self.graph, self.kernels, self.buffer, len(group.edges)
        numbers = graph.numbers.numpy()
        self.source, self.target, self.harmonics = (
            select_rows(x, group.edges).numpy() for x in (graph.source, graph.target, graph.harmonics)
        )
        self.x = self.radial.gaussians(select_rows(graph.distance, group.edges))
        self.radial_weights = self.radial.forward(self.x, numbers[self.source], numbers[self.target])
        self.message = buffer("message", n, self.weight.shape[1])
        ker.combine(self.nodes.numpy(), self.source, self.target, self.x, self.radial_weights, self.message.numpy())
        self.f = buffer("f", n, len(self.weight))
        linear(self.message.numpy(), self.weight_t.numpy(), self.bias.numpy(), self.f.numpy())
        self._attend(group, n)
        sigmoids = self.f[:, self.n_alpha : self.n_alpha + self.n_sigmoids]
        self.gates = torch.sigmoid(sigmoids, out=buffer("gates", n, self.n_sigmoids))
        self.g = buffer("gated", n, self.n_gated)
        ker.gate(self.f.numpy(), self.n_alpha, self.gates.numpy(), self.g.numpy())

    def _attend(self, group: Group, n: int) -> None:
        heads, buffer, ker = self.update.widths.heads, self.buffer, self.kernels
        self.normed, self.inverse = buffer("normed", n, self.n_alpha), buffer("inverse", n, heads)
        self.a = buffer("a", n, self.n_alpha)
        ker.norm(
            self.f.numpy(),
            self.scale.numpy(),
            self.shift.numpy(),
            EPSILON,
            self.normed.numpy(),
            self.inverse.numpy(),
            self.a.numpy(),
        )
        self.s = torch.sigmoid(self.a, out=buffer("s", n, self.n_alpha))
        self.weights = buffer("weights", n, heads)
        ker.attend(self.a.numpy(), self.s.numpy(), self.vector.numpy(), self.slope, group.ends, self.weights.numpy())

    def sum_up(self, group: Group, moments: Tensor, totals: Tensor) -> None:
        """Write the weighted sums of the group's nodes to their rows."""
        rows = slice(group.first, group.last)
        self.kernels.moments(
            self.weights.numpy(),
            self.harmonics,
            self.g.numpy(),
            group.ends,
            moments[rows].numpy(),
            totals[rows].numpy(),
        )

    def backward(self, group: Group, dmoments: Tensor, dtotals: Tensor, sums: _Gradients) -> None:
        """Add the gradients given those of the group's sums."""
        ker, buffer, n, rows = self.kernels, self.buffer, len(group.edges), slice(group.first, group.last)
        dweight, dbias, dscale, dshift, dvector = sums.packed[N_PARAMETERS:]
        dweights, dg = buffer("dweights", n, self.weights.shape[1]), buffer("dgated", n, self.n_gated)
        ker.moments_back(
            self.weights.numpy(),
            self.harmonics,
            self.g.numpy(),
            group.ends,
            dmoments[rows].numpy(),
            dtotals[rows].numpy(),
            dweights.numpy(),
            dg.numpy(),
        )
        df = buffer("df", *self.f.shape)
        ker.attend_back(
            self.a.numpy(),
            self.s.numpy(),
            self.vector.numpy(),
            self.slope,
            group.ends,
            self.weights.numpy(),
            dweights.numpy(),
            self.normed.numpy(),
            self.inverse.numpy(),
            self.scale.numpy(),
            df.numpy(),
            dvector.numpy(),
            dscale.numpy(),
            dshift.numpy(),
        )
        ker.gate_back(self.f.numpy(), self.n_alpha, self.gates.numpy(), dg.numpy(), df.numpy())
        above = buffer("dmessage", *self.message.shape)
        linear_back(
            self.message.numpy(), self.weight.numpy(), df.numpy(), above.numpy(), dweight.numpy(), dbias.numpy()
        )
        ker.combine_back(
            self.nodes.numpy(), self.source, self.target, self.x, self.radial_weights, above.numpy(), sums.nodes.numpy()
        )
        self.radial.backward(above.numpy(), [p.numpy() for p in sums.packed[:N_PARAMETERS]])


class _Moments(torch.autograd.Function):
    """Σ over incoming edges of attention weight × Y_lm × gated features, and of attention weight × Y_lm."""

    @staticmethod
    def forward(
        ctx: Any, update: NodeUpdate, gaussians: GaussianBasis, graph: GraphTensors, nodes: Tensor, *packed: Tensor
    ) -> tuple[Tensor, Tensor]:
        w, groups = update.widths, group_by_target(graph, COMPILED_EDGES)
        size = (graph.n_nodes, w.heads, (w.l_max + 1) ** 2)
        moments, totals = nodes.new_empty(*size, (w.l_max + 1) * w.hidden), nodes.new_empty(size)
        values, threads = [p.detach().contiguous() for p in packed], thread_count(len(groups))

        def work(first: int) -> None:
            step = _GroupPass(update, gaussians, graph, nodes.detach().contiguous(), values)
            for group in groups[first::threads]:
                step.forward(group)
                step.sum_up(group, moments, totals)

        in_threads(work, range(threads), nodes.device)
        ctx.update, ctx.gaussians, ctx.graph, ctx.groups = update, gaussians, graph, groups
        ctx.save_for_backward(nodes, *packed)
        return moments, totals

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        nodes, *packed = ctx.saved_tensors
        dmoments, dtotals = (g.contiguous() for g in gradients)
        values, threads = [p.detach().contiguous() for p in packed], thread_count(len(ctx.groups))

        def work(first: int) -> _Gradients:
            sums = _Gradients([torch.zeros_like(p) for p in values], torch.zeros_like(nodes))
            step = _GroupPass(ctx.update, ctx.gaussians, ctx.graph, nodes.detach().contiguous(), values)
            for group in ctx.groups[first::threads]:
                step.forward(group)
                step.backward(group, dmoments, dtotals, sums)
            return sums

        total, *others = in_threads(work, range(threads), nodes.device)
        for other in others:
            for mine, theirs in zip([*total.packed, total.nodes], [*other.packed, other.nodes]):
                mine += theirs
        return None, None, None, total.nodes, *total.packed


EDGES = 4096
"""Approximate number of edges of a group in tensor operations: their features fit into a few MB."""

EDGES_ON_GPU = 131_072
"""The same on a GPU, which larger groups keep busy."""

Radial = Callable[[Tensor], Tensor]


def scalar_messages(update: NodeUpdate, scalars: Tensor, gaussians: GaussianBasis, graph: GraphTensors) -> Tensor:
    """Return the attention-weighted sum of all messages at each node.

    Parameters
    ----------
    update : NodeUpdate
        The node update whose parameters are used.
    scalars : Tensor
        (n, C), the nodes' only features.
    gaussians : GaussianBasis
        The radial basis, which is also the edges' only feature.
    graph : GraphTensors
        Nodes and edges.

    Returns
    -------
    Tensor
        (n, K, heads·value).
    """
    if scalars.device.type == "cpu":
        return compiled_messages(update, scalars, gaussians, graph)
    return by_tensors(update, scalars, gaussians, graph)


def by_tensors(update: NodeUpdate, scalars: Tensor, gaussians: Radial, graph: GraphTensors) -> Tensor:
    """Compute `scalar_messages` with tensor operations, on any device.

    Parameters
    ----------
    update, scalars, gaussians, graph
        Arguments of `scalar_messages`.

    Returns
    -------
    Tensor
        (n, K, heads·value).
    """
    parameters = used_parameters(update)
    return cast(Tensor, _Messages.apply(update, gaussians, graph, scalars, *parameters))


def used_parameters(update: NodeUpdate) -> list[Tensor]:
    """Return the parameters that the messages read."""
    modules = (
        update.norm_message.scalar,
        update.radial,
        update.attention,
        update.first.order_zero,
        update.second.order_zero,
    )
    return [p for module in modules for p in module.parameters()]


class _Messages(torch.autograd.Function):
    """The messages of all nodes, group by group; the backward pass computes each group again."""

    @staticmethod
    def forward(
        ctx: Any, update: NodeUpdate, gaussians: Radial, graph: GraphTensors, scalars: Tensor, *parameters: Tensor
    ) -> Tensor:
        w = update.widths
        out = scalars.new_zeros(graph.n_nodes, (w.l_max + 1) ** 2, w.heads * w.value)

        def work(group: Group) -> None:
            with torch.no_grad():
                out[group.first : group.last] = _messages_of(update, scalars, gaussians, graph, group)

        def all_of(size: int) -> list[Group]:
            groups = group_by_target(graph, size)
            in_threads(work, groups, scalars.device)
            return groups

        groups = with_smaller_chunks(all_of, EDGES if scalars.device.type == "cpu" else EDGES_ON_GPU, EDGES)
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
            return torch.autograd.grad(out, [leaf, *parameters], gradient[group.first : group.last], allow_unused=True)

        totals: list[Tensor | None] = [None] * (1 + len(parameters))
        for gradients in in_threads(work, ctx.groups, scalars.device):
            for k, part in enumerate(gradients):
                if part is not None:
                    total = totals[k]
                    totals[k] = part if total is None else total.add_(part)
        return None, None, None, *totals


def _messages_of(update: NodeUpdate, scalars: Tensor, gaussians: Radial, graph: GraphTensors, group: Group) -> Tensor:
    """Return the weighted sums at the nodes of one group."""
    w, edges = update.widths, group.edges
    source, target = graph.source[edges], graph.target[edges]
    logits, values = _functions_of_distance(
        update, scalars, gaussians(graph.distance[edges]), graph.numbers, source, target
    )
    own = target - group.first
    weights = softmax_over_targets(logits, own, group.last - group.first)
    values = (values.unflatten(2, (w.heads, w.value)) * weights[:, None, :, None]).flatten(2)
    return aggregate(values, graph.harmonics[edges], own, group.last - group.first)


def aggregate(functions: Tensor, harmonics: Tensor, target: Tensor, n_nodes: int) -> Tensor:
    """Return at each node the sum over incoming edges of Y_lm·f_l.

    Parameters
    ----------
    functions : Tensor
        (e, l_max+1, V), f_l.
    harmonics : Tensor
        (e, K), Y_lm.
    target : Tensor
        (e,) int64.
    n_nodes : int
        Number of nodes.

    Returns
    -------
    Tensor
        (n_nodes, K, V).
    """
    if compiles_kernels(functions.device):
        # Triton comes with torch for GPUs alone.
        from nearsight.nn.kernels.rotation_kernels import harmonic_sums

        return harmonic_sums(functions, harmonics, target, Incidence.of(target, n_nodes))
    parts = []
    for l in range(functions.shape[1]):
        outer = harmonics[:, l * l : (l + 1) ** 2, None] * functions[:, None, l]
        parts.append(functions.new_zeros(n_nodes, *outer.shape[1:]).index_add(0, target, outer))
    return torch.cat(parts, dim=1)


def _functions_of_distance(
    update: NodeUpdate, scalars: Tensor, gaussians: Tensor, numbers: Tensor, source: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logits (e, heads) and the factor of Y_l of each message (e, l_max+1, heads·value)."""
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
    invariant, higher = first[:, n_extra : n_extra + w.hidden], first[:, n_extra + w.hidden :]
    gated = torch.cat([nn.functional.silu(invariant), higher * gates], dim=1)
    return logits, update.second.order_zero(gated).unflatten(1, (w.l_max + 1, w.heads * w.value))
