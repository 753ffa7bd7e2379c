"""The node update: attention over messages in the bond frames, then a feed-forward network (paper, section 3.2).

The edge update: the two nodes of an edge change its features (paper, section 3.2).

Attention over the edges that arrive at a node.

The linear map from features to the coupled target.

Functions of the distance and of the two elements of an edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.so2 import SO2Convolution, pair_in_frames, rotate, rotate_back
from nearsight.nn.architectures.xia2025.so3 import (
    EquivariantLayerNorm,
    FeedForward,
    Gate,
    SO3Linear,
    components,
    degree_of_component,
    only_scalars,
)


class SmoothLeakyReLU(nn.Module):
    """½(1+a)x + ½(1−a)x(2σ(x) − 1), a smooth leaky ReLU (EquiformerV2)."""

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return (1 + self.slope) / 2 * x + (1 - self.slope) / 2 * x * (2 * torch.sigmoid(x) - 1)


def softmax_over_targets(logits: Tensor, target: Tensor, n_nodes: int) -> Tensor:
    """(e, heads) logits → weights that sum to one over the edges of each target; nodes without edges have none."""
    index = target[:, None].expand_as(logits)
    highest = logits.new_full((n_nodes, logits.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, logits.detach(), "amax")
    weight = torch.exp(logits - highest[target])
    total = logits.new_zeros(n_nodes, logits.shape[1]).index_add(0, target, weight)
    return weight / total[target]


class AttentionLogits(nn.Module):
    """One logit per head from the head's own invariant channels."""

    def __init__(self, heads: int, channels: int) -> None:
        super().__init__()
        self.heads = heads
        bound = 1 / math.sqrt(channels)
        self.norm = nn.LayerNorm(channels)
        self.activation = SmoothLeakyReLU()
        self.vector = nn.Parameter(torch.empty(heads, channels).uniform_(-bound, bound))

    def forward(self, invariants: Tensor) -> Tensor:
        """(e, heads·channels) → (e, heads)."""
        x = self.activation(self.norm(invariants.unflatten(1, self.vector.shape)))
        return torch.einsum("ehc,hc->eh", x, self.vector)


class CoupledHead(nn.Module):
    """Every irrep of the target is a linear combination of the channels of its degree; a bias on l = 0.

    Equals e3nn's `o3.Linear(channels x 0e + … , targets)`. Rows of `weight` are the target's irreps sorted by degree
    (stable), which is e3nn's order.
    """

    restore: Tensor

    def __init__(self, channels: int, degrees: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(len(degrees), channels))
        self.bias = nn.Parameter(torch.zeros(sum(l == 0 for l in degrees)))
        self.scale = 1 / math.sqrt(channels)
        self.l_max = max(degrees)
        counts = [sum(d == l for d in degrees) for l in range(self.l_max + 1)]
        self.rows = [slice(sum(counts[:l]), sum(counts[: l + 1])) for l in range(self.l_max + 1)]
        self.register_buffer("restore", _restore(degrees), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, K, channels) → (n, size of the coupled vector)."""
        parts = []
        for l, rows in enumerate(self.rows):
            part = self.scale * (x[:, components(l)] @ self.weight[rows].T)
            parts.append((part + self.bias if l == 0 else part).transpose(1, 2).flatten(1))
        return torch.cat(parts, dim=1)[:, self.restore]


def _restore(degrees: Sequence[int]) -> Tensor:
    """For every number of the coupled vector its place when the irreps are sorted by degree."""
    starts, at = {}, 0
    for k in sorted(range(len(degrees)), key=lambda k: degrees[k]):
        starts[k] = at
        at += 2 * degrees[k] + 1
    return torch.tensor([starts[k] + m for k, l in enumerate(degrees) for m in range(2 * l + 1)])


class GaussianBasis(nn.Module):
    """Gaussians with fixed centres, equally spaced on [0, upper] Å; σ = width × spacing."""

    centres: Tensor

    def __init__(self, count: int, upper: float = 13.0, width: float = 2.0) -> None:
        super().__init__()
        centres = torch.linspace(0.0, upper, count, dtype=torch.float64)
        self.register_buffer("centres", centres, persistent=False)
        self.exponent = -0.5 / (width * float(centres[1] - centres[0])) ** 2

    def forward(self, distance: Tensor) -> Tensor:
        """(e,) Å → (e, count)."""
        return torch.exp(self.exponent * (distance[:, None] - self.centres.to(distance.dtype)) ** 2)


class RadialWeights(nn.Module):
    """Weights of every (degree, channel) of a message from the distance and the elements of source and target."""

    def __init__(self, n_gaussians: int, channels: int, outputs: int, max_number: int) -> None:
        super().__init__()
        self.source = nn.Embedding(max_number, channels)
        self.target = nn.Embedding(max_number, channels)
        for table in (self.source, self.target):
            nn.init.uniform_(table.weight, -0.001, 0.001)
        self.network = nn.Sequential(
            nn.Linear(n_gaussians + 2 * channels, channels),
            nn.LayerNorm(channels),
            nn.SiLU(),
            nn.Linear(channels, channels),
            nn.LayerNorm(channels),
            nn.SiLU(),
            nn.Linear(channels, outputs),
        )

    def forward(self, gaussians: Tensor, number_source: Tensor, number_target: Tensor) -> Tensor:
        """(e, n_gaussians), (e,), (e,) → (e, outputs)."""
        return self.network(torch.cat([gaussians, self.source(number_source), self.target(number_target)], dim=1))


class NodeUpdate(nn.Module):
    """n_j ← n_j + Σ_i attention-weighted messages (i → j); n_j ← n_j + feed-forward(n_j).

    A message is [norm(n_i), norm(n_j), e_ij], weighted by functions of the distance and the elements, turned into the
    frame of the bond, convolved, gated, convolved, and turned back.
    """

    degree: Tensor

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        w = widths
        self.widths = w
        self.norm_message = EquivariantLayerNorm(w.channels, w.l_max)
        self.norm_feed_forward = EquivariantLayerNorm(w.channels, w.l_max)
        self.radial = RadialWeights(w.n_gaussians, w.channels, 3 * w.channels * (w.l_max + 1), w.max_number)
        self.attention = AttentionLogits(w.heads, w.alpha)
        self.first = SO2Convolution(3 * w.channels, w.hidden, w.l_max, w.heads * w.alpha + w.l_max * w.hidden)
        self.gate = Gate(w.l_max)
        self.second = SO2Convolution(w.hidden, w.heads * w.value, w.l_max)
        self.project = SO3Linear(w.heads * w.value, w.channels, w.l_max)
        self.feed_forward = FeedForward(w.channels, w.feed_forward, w.l_max)
        self.register_buffer("degree", degree_of_component(w.l_max), persistent=False)

    def forward(self, nodes: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """nodes (n, K, C), edges (e, K, C), gaussians (e, G) → nodes (n, K, C)."""
        logits, values = self.messages(self.norm_message(nodes), edges, gaussians, graph)
        return self.finish(nodes, self.sum_up(logits, values, graph.target, graph.n_nodes))

    def sum_up(self, logits: Tensor, values: Tensor, target: Tensor, n_nodes: int) -> Tensor:
        """Attention-weighted sum of the values (e, K, heads·value) at each target, (n_nodes, K, heads·value)."""
        weights = softmax_over_targets(logits, target, n_nodes)
        values = values.unflatten(2, (self.widths.heads, self.widths.value)) * weights[:, None, :, None]
        return values.new_zeros(n_nodes, *values.shape[1:]).index_add(0, target, values).flatten(2)

    def finish(self, nodes: Tensor, received: Tensor) -> Tensor:
        """What is left once the weighted messages are summed: (n, K, heads·value) → nodes (n, K, C)."""
        nodes = nodes + self.project(received)
        return nodes + self.feed_forward(self.norm_feed_forward(nodes))

    def messages(self, normed: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors) -> tuple[Tensor, Tensor]:
        """Attention logits (e, heads) and values (e, K, heads·value) of every edge."""
        message = torch.cat([normed.index_select(0, graph.source), normed.index_select(0, graph.target), edges], dim=2)
        weights = self.weights(gaussians, graph)
        return self.convolve(rotate(message * weights.index_select(1, self.degree), graph.wigner), graph)

    def messages_in_frames(
        self, normed: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors
    ) -> tuple[Tensor, Tensor]:
        """`messages` of edges given in the frames of their bonds, so that only the two nodes have to be turned."""
        message = torch.cat([pair_in_frames(normed, graph), edges], dim=2)
        weights = self.weights(gaussians, graph)
        return self.convolve(message * weights.index_select(1, self.degree), graph)

    def weights(self, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """Radial weights (e, l_max+1, 3C) of the messages."""
        radial = self.radial(gaussians, graph.numbers[graph.source], graph.numbers[graph.target])
        return radial.unflatten(1, (self.widths.l_max + 1, 3 * self.widths.channels))

    def convolve(self, message: Tensor, graph: GraphTensors) -> tuple[Tensor, Tensor]:
        """Logits and values of messages (e, K, 3C) in the frames of their bonds."""
        w = self.widths
        hidden, extra = self.first(message)
        logits = self.attention(extra[:, : w.heads * w.alpha])
        hidden, _ = self.second(self.gate(hidden, extra[:, w.heads * w.alpha :]))
        return logits, rotate_back(hidden, graph.wigner)


class EdgeUpdate(nn.Module):
    """e_ij ← e_ij + message; e_ij ← e_ij + feed-forward(e_ij). The message is as a node's, without attention.

    The message is [n_i, n_j, norm(e_ij)] with the updated nodes. The published network computes heads × alpha further
    outputs of the convolution and does not use them; they are kept so that its parameters fit.
    """

    degree: Tensor

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        w = widths
        self.widths = w
        self.unused = w.heads * w.alpha
        self.norm_message = EquivariantLayerNorm(w.channels, w.l_max)
        self.norm_feed_forward = EquivariantLayerNorm(w.channels, w.l_max)
        self.radial = RadialWeights(w.n_gaussians, w.channels, 3 * w.channels * (w.l_max + 1), w.max_number)
        self.convolution = SO2Convolution(3 * w.channels, w.hidden, w.l_max, self.unused + w.l_max * w.hidden)
        self.gate = Gate(w.l_max)
        self.project = SO3Linear(w.hidden, w.channels, w.l_max)
        self.feed_forward = FeedForward(w.channels, w.feed_forward, w.l_max)
        self.register_buffer("degree", degree_of_component(w.l_max), persistent=False)

    def forward(self, nodes: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """nodes (n, K, C), edges (e, K, C), gaussians (e, G) → edges (e, K, C)."""
        parts = [nodes.index_select(0, graph.source), nodes.index_select(0, graph.target), self.norm_message(edges)]
        message = torch.cat(parts, dim=2) * self.weights(gaussians, graph).index_select(1, self.degree)
        hidden, extra = self.convolution(rotate(message, graph.wigner))
        return self.finish(edges, rotate_back(self.gate(hidden, extra[:, self.unused :]), graph.wigner))

    def in_frames(self, nodes: Tensor, edges: Tensor | None, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """`forward` with the edges given and returned in the frames of their bonds; None: the initial, invariant ones.

        All but the two nodes commutes with turning an edge, so nothing else has to be turned.
        """
        channels = self.widths.channels
        pair_weights, own_weights = self.weights(gaussians, graph).split([2 * channels, channels], dim=2)
        pair = pair_in_frames(nodes, graph) * pair_weights.index_select(1, self.degree)
        if edges is None:
            edges = only_scalars(gaussians, self.widths.l_max)
            own = self.norm_message.scalar(gaussians) * own_weights[:, 0]
            hidden, extra = self.convolution.with_scalars(pair, own)
        else:
            own = self.norm_message(edges) * own_weights.index_select(1, self.degree)
            hidden, extra = self.convolution(torch.cat([pair, own], dim=2))
        return self.finish(edges, self.gate(hidden, extra[:, self.unused :]))

    def weights(self, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """Radial weights (e, l_max+1, 3C) of the messages."""
        radial = self.radial(gaussians, graph.numbers[graph.source], graph.numbers[graph.target])
        return radial.unflatten(1, (self.widths.l_max + 1, 3 * self.widths.channels))

    def finish(self, edges: Tensor, hidden: Tensor) -> Tensor:
        """What is left after the convolution, in any frame: edges (e, K, C), hidden (e, K, hidden) → edges."""
        edges = edges + self.project(hidden)
        return edges + self.feed_forward(self.norm_feed_forward(edges))
