"""Edge updates and edge outputs in chunks of edges, on any device, by tensor operations.

Chunks are computed again in the backward pass, or go forward and backward at once where the loss is a sum over edges
(`recompute.py`). The slow twins are `EdgeUpdate.forward` and `CoupledHead` on all edges at once.

Node messages of the second layer and later, in groups of nodes with all edges that arrive at them.

A group's attention is complete, nothing of it is kept, and the backward pass computes it again (`recompute.py`).
The slow twin is `NodeUpdate.forward`.

Nodes in groups with all edges that arrive at them, so that each node's attention is complete within a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.kernels.recompute import (
    Share,
    Work,
    recomputed,
    slices_of,
    summed_error,
    trained_parameters,
)
from nearsight.nn.architectures.xia2025.so2 import rotate_back
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.nn.architectures.xia2025.updates import CoupledHead, GaussianBasis

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.updates import EdgeUpdate, NodeUpdate


class EdgeChunks:
    """One edge update, alone or with the edge head behind it, over all edges of a graph.

    Args:
        update: the edge update.
        head: the edge head.
        gaussians: the radial basis, which is also the initial edge feature.
        size: edges in a chunk.
    """

    def __init__(self, update: EdgeUpdate, head: CoupledHead, gaussians: GaussianBasis, size: int) -> None:
        self.update, self.head, self.gaussians, self.size = update, head, gaussians, size

    def features(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Updated edge features (e, K, C) in the edges' frames; `edges` likewise, None for the initial ones."""
        shape = (graph.n_edges, *nodes.shape[1:])
        work = Work(graph, slices_of(graph, self.size), self._update, trained_parameters(self.update), shape)
        return recomputed(work, nodes, edges)

    def outputs(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Coupled outputs (e, size) after the update."""
        return recomputed(self._work(graph), nodes, edges)

    def error(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors, targets: EdgeTargets) -> Tensor:
        """`targets.error` of all outputs, none of which is kept."""
        return summed_error(self._work(graph), targets, nodes, edges)

    def _work(self, graph: GraphTensors) -> Work:
        shape = (graph.n_edges, len(self.head.restore))
        parameters = trained_parameters(self.update, self.head)
        return Work(graph, slices_of(graph, self.size), self._output, parameters, shape)

    def _update(self, share: Share, nodes: Tensor, edges: Tensor | None) -> Tensor:
        return self.update.in_frames(nodes, edges, self.gaussians(share.graph.distance), share.graph)

    def _output(self, share: Share, nodes: Tensor, edges: Tensor | None) -> Tensor:
        return self.head(rotate_back(self._update(share, nodes, edges), share.graph.wigner))


@dataclass(frozen=True)
class Group:
    """Nodes first … last − 1.

    Attributes:
        first, last: the nodes.
        edges: (e,) their incoming edges, sorted by target.
        ends: (last − first,) where in `edges` those of each node end.
    """

    first: int
    last: int
    edges: Tensor
    ends: np.ndarray


def group_by_target(graph: GraphTensors, size: int) -> list[Group]:
    """Consecutive nodes whose incoming edges number at least `size` (the last group: what is left)."""
    order = torch.argsort(graph.target, stable=True)
    ends = torch.cumsum(torch.bincount(graph.target, minlength=graph.n_nodes), 0).cpu().numpy()
    groups, first, start = [], 0, 0
    for node, end in enumerate(ends.tolist()):
        if end - start >= size or node == len(ends) - 1:
            groups.append(Group(first, node + 1, order[start:end], ends[first : node + 1] - start))
            first, start = node + 1, end
    return groups


def messages_in_groups(
    update: NodeUpdate, normed: Tensor, edges: Tensor, gaussians: GaussianBasis, graph: GraphTensors, size: int
) -> Tensor:
    """Attention-weighted sum of all messages at each node.

    Args:
        update: whose parameters are used.
        normed: (n, K, C), the nodes after `update.norm_message`.
        edges: (e, K, C), the edge features in the edges' frames.
        gaussians: the radial basis.
        graph: nodes and edges.
        size: edges in a group, about.

    Returns:
        (n, K, heads·value).
    """

    def compute(share: Share, normed: Tensor, edges: Tensor | None) -> Tensor:
        assert edges is not None
        own = share.graph
        logits, values = update.messages_in_frames(normed, edges, gaussians(own.distance), own)
        target = share.nodes[own.target] - share.rows.start
        return update.sum_up(logits, values, target, share.rows.stop - share.rows.start)

    w = update.widths
    cuts = [(group.edges, slice(group.first, group.last)) for group in group_by_target(graph, size)]
    parameters = trained_parameters(update.radial, update.first, update.attention, update.second)
    work = Work(graph, cuts, compute, parameters, (graph.n_nodes, normed.shape[1], w.heads * w.value))
    return recomputed(work, normed, edges)
