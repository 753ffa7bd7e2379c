"""The node update: attention over messages in the bond frames, then a feed-forward network (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearsight.nn.attention import AttentionLogits, softmax_over_targets
from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.radial import RadialWeights
from nearsight.nn.so2 import SO2Convolution, pair_in_frames, rotate, rotate_back
from nearsight.nn.so3 import EquivariantLayerNorm, FeedForward, Gate, SO3Linear, degree_of_component
from nearsight.nn.widths import Widths


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

    def messages(
        self, normed: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors
    ) -> tuple[Tensor, Tensor]:
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
        hidden, _ = self.second(self.gate(hidden, extra[:, w.heads * w.alpha:]))
        return logits, rotate_back(hidden, graph.wigner)
