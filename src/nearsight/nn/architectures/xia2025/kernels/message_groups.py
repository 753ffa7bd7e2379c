"""Node messages of the second layer and later, in groups of nodes with all edges that arrive at them.

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
from nearsight.nn.architectures.xia2025.kernels.recompute import Share, Work, recomputed, trained_parameters
from nearsight.nn.architectures.xia2025.updates import GaussianBasis

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.updates import NodeUpdate


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
