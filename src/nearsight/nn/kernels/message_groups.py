"""Node messages of the second layer and later, in groups of nodes with all edges that arrive at them.

A group's attention is complete, nothing of it is kept, and the backward pass computes it again (`recompute.py`).
The slow twin is `NodeUpdate.forward`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.kernels.recompute import Share, Work, recomputed, trained_parameters
from nearsight.nn.kernels.target_groups import group_by_target
from nearsight.nn.radial import GaussianBasis

if TYPE_CHECKING:
    from nearsight.nn.node_update import NodeUpdate


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
