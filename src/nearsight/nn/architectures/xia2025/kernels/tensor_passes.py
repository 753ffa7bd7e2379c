"""Edge updates, edge outputs and node messages chunk by chunk, on any device, by tensor operations.

Edges: chunks are computed again in the backward pass, or go forward and backward at once where the loss is a sum over
edges (`recompute.py`). The reference implementations are `EdgeUpdate.forward` and `CoupledHead` on all edges at once.

Node messages of the second layer and later: nodes are taken in groups with all edges that arrive at them, so that each
node's attention is complete within a group, nothing of it is kept, and the backward pass computes it again. The
reference implementation is `NodeUpdate.forward`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.kernels.recompute import (
    Chunk,
    ChunkedComputation,
    recomputed,
    slices_of,
    summed_error,
    trained_parameters,
)
from nearsight.nn.architectures.xia2025.so2 import in_common_axes
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.nn.architectures.xia2025.updates import CoupledHead, GaussianBasis
from nearsight.nn.kernels.device_memory import with_smaller_chunks

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.updates import EdgeUpdate, NodeUpdate


SMALLEST = 1024
"""Edges of a chunk below which it is not divided when a GPU's memory runs out."""


class EdgeChunks:
    """One edge update, alone or with the edge head behind it, over all edges of a graph.

    Parameters
    ----------
    update : EdgeUpdate
        The edge update.
    head : CoupledHead
        The edge head.
    gaussians : GaussianBasis
        The radial basis, which is also the initial edge feature.
    size : int
        Edges in a chunk.
    """

    def __init__(self, update: EdgeUpdate, head: CoupledHead, gaussians: GaussianBasis, size: int) -> None:
        self.update, self.head, self.gaussians, self.size = update, head, gaussians, size

    def features(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Return the updated edge features.

        Parameters
        ----------
        nodes : Tensor
            (n, K, C), after the node update.
        edges : Tensor or None
            (e, K, C) in the edges' frames; None for the initial ones.
        graph : GraphTensors
            Nodes and edges.

        Returns
        -------
        Tensor
            (e, K, C) in the edges' frames.
        """

        def compute(size: int) -> Tensor:
            shape = (graph.n_edges, *nodes.shape[1:])
            computation = ChunkedComputation(
                graph, slices_of(graph, size), self._update, trained_parameters(self.update), shape
            )
            return recomputed(computation, nodes, edges)

        return with_smaller_chunks(compute, self.size, SMALLEST)

    def outputs(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Return the coupled outputs after the update.

        Parameters
        ----------
        nodes, edges, graph
            Arguments of `features`.

        Returns
        -------
        Tensor
            (e, size) E_h.
        """
        return with_smaller_chunks(lambda size: recomputed(self._work(graph, size), nodes, edges), self.size, SMALLEST)

    def error(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors, targets: EdgeTargets) -> Tensor:
        """Return `targets.error` of all outputs, none of which is kept.

        Parameters
        ----------
        nodes, edges, graph
            Arguments of `features`.
        targets : EdgeTargets
            Targets of the edges.

        Returns
        -------
        Tensor
            The error, a scalar.
        """
        return with_smaller_chunks(
            lambda size: summed_error(self._work(graph, size), targets, nodes, edges), self.size, SMALLEST
        )

    def _work(self, graph: GraphTensors, size: int) -> ChunkedComputation:
        shape = (graph.n_edges, len(self.head.restore))
        parameters = trained_parameters(self.update, self.head)
        return ChunkedComputation(graph, slices_of(graph, size), self._output, parameters, shape)

    def _update(self, chunk: Chunk, nodes: Tensor, edges: Tensor | None) -> Tensor:
        return self.update.in_frames(nodes, edges, self.gaussians(chunk.graph.distance), chunk.graph)

    def _output(self, chunk: Chunk, nodes: Tensor, edges: Tensor | None) -> Tensor:
        return self.head(in_common_axes(self._update(chunk, nodes, edges), chunk.graph))


@dataclass(frozen=True)
class Group:
    """The nodes first … last − 1 with the edges that arrive at them.

    Attributes
    ----------
    first, last : int
        The nodes.
    edges : Tensor
        (e,) their incoming edges, sorted by target.
    ends : ndarray
        (last − first,) where in `edges` those of each node end.
    """

    first: int
    last: int
    edges: Tensor
    ends: np.ndarray


def group_by_target(graph: GraphTensors, size: int) -> list[Group]:
    """Return groups of consecutive nodes with their incoming edges.

    Parameters
    ----------
    graph : GraphTensors
        Nodes and edges.
    size : int
        Least number of edges of a group, except of the last one.

    Returns
    -------
    list of Group
        The groups.
    """
    order = torch.argsort(graph.target, stable=True)
    ends = torch.cumsum(torch.bincount(graph.target, minlength=graph.n_nodes), 0).cpu().numpy()
    groups, first, start = [], 0, 0
    while first < len(ends):
        last = max(first + 1, min(int(np.searchsorted(ends, start + size)) + 1, len(ends)))
        end = int(ends[last - 1])
        groups.append(Group(first, last, order[start:end], ends[first:last] - start))
        first, start = last, end
    return groups


def messages_in_groups(
    update: NodeUpdate, normed: Tensor, edges: Tensor, gaussians: GaussianBasis, graph: GraphTensors, size: int
) -> Tensor:
    """Return the attention-weighted sum of all messages at each node.

    Parameters
    ----------
    update : NodeUpdate
        The node update whose parameters are used.
    normed : Tensor
        (n, K, C), the nodes after `update.norm_message`.
    edges : Tensor
        (e, K, C), the edge features in the edges' frames.
    gaussians : GaussianBasis
        The radial basis.
    graph : GraphTensors
        Nodes and edges.
    size : int
        Approximate number of edges in a group.

    Returns
    -------
    Tensor
        (n, K, heads·value).
    """

    def compute(chunk: Chunk, normed: Tensor, edges: Tensor | None) -> Tensor:
        assert edges is not None
        own = chunk.graph
        logits, values = update.messages_in_frames(normed, edges, gaussians(own.distance), own)
        target = chunk.nodes[own.target] - chunk.rows.start
        return update.sum_up(logits, values, target, chunk.rows.stop - chunk.rows.start)

    w = update.widths
    chunks = [(group.edges, slice(group.first, group.last)) for group in group_by_target(graph, size)]
    parameters = trained_parameters(update.radial, update.first, update.attention, update.second)
    computation = ChunkedComputation(
        graph, chunks, compute, parameters, (graph.n_nodes, normed.shape[1], w.heads * w.value)
    )
    return recomputed(computation, normed, edges)
