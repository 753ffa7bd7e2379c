"""Edge updates and edge outputs in chunks of edges, on any device, by tensor operations.

Chunks are computed again in the backward pass, or go forward and backward at once where the loss is a sum over edges
(`recompute.py`). The slow twins are `EdgeUpdate.forward` and `CoupledHead` on all edges at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nearsight.nn.architectures.xia2025.edge_targets import EdgeTargets
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
from nearsight.nn.architectures.xia2025.updates import CoupledHead, GaussianBasis

if TYPE_CHECKING:
    from nearsight.nn.architectures.xia2025.updates import EdgeUpdate


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
