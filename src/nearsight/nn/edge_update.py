"""The edge update: the two nodes of an edge change its features (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.radial import RadialWeights
from nearsight.nn.so2 import SO2Convolution, pair_in_frames, rotate, rotate_back
from nearsight.nn.so3 import (
    EquivariantLayerNorm,
    FeedForward,
    Gate,
    SO3Linear,
    degree_of_component,
    only_scalars,
)
from nearsight.nn.widths import Widths


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
        return self.finish(edges, rotate_back(self.gate(hidden, extra[:, self.unused:]), graph.wigner))

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
        return self.finish(edges, self.gate(hidden, extra[:, self.unused:]))

    def weights(self, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """Radial weights (e, l_max+1, 3C) of the messages."""
        radial = self.radial(gaussians, graph.numbers[graph.source], graph.numbers[graph.target])
        return radial.unflatten(1, (self.widths.l_max + 1, 3 * self.widths.channels))

    def finish(self, edges: Tensor, hidden: Tensor) -> Tensor:
        """What is left after the convolution, in any frame: edges (e, K, C), hidden (e, K, hidden) → edges."""
        edges = edges + self.project(hidden)
        return edges + self.feed_forward(self.norm_feed_forward(edges))
