"""The network of Xia, Kaniselvan et al., "Learning the Electronic Hamiltonian of Large Atomic Structures" (ICML 2025).

Node features start as embeddings of the atomic numbers, edge features as Gaussians of the distance, all on l = 0. Each
layer updates the nodes from their incoming edges, then the edges from their two nodes. Two linear heads read the
coupled target (`CoupledLayout`) in Hartree.

Two corrections to the published code are part of this preset: the target's coupling is orthonormal (theirs weights
degree L by 2L+1 in the loss), and the rotation about the bond is fixed instead of random (the result does not depend
on it, the rounding did).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nearsight.errors import InputError
from nearsight.nn.edge_update import EdgeUpdate
from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.head import CoupledHead
from nearsight.nn.kernels import COMPILED
from nearsight.nn.kernels.edge_engine import EdgeEngine
from nearsight.nn.kernels.scalar_messages import scalar_messages
from nearsight.nn.node_update import NodeUpdate
from nearsight.nn.radial import GaussianBasis
from nearsight.nn.so3 import only_scalars
from nearsight.nn.widths import Widths


class Xia2025(nn.Module):
    """Coupled on-site and off-site targets of a graph.

    Args:
        widths: sizes of the layers.
        layers: message-passing layers; one makes the network strictly local (one hop).
        degrees: degree of every irrep of the target (`CoupledLayout.degrees`).
        plain: compute everything as written in the paper, by rotation and convolution of all edges at once (slow;
            the twin that the tests compare the fast paths with).

    Raises:
        InputError: a target of higher degree than the features.
    """

    def __init__(self, widths: Widths, layers: int, degrees: Sequence[int], plain: bool = False) -> None:
        super().__init__()
        if max(degrees) > widths.l_max:
            raise InputError(f"expected model.l_max >= {max(degrees)}, the highest degree in products of this basis' "
                             f"shells, got {widths.l_max}")
        self.widths, self.layers, self.plain = widths, layers, plain
        self.embedding = nn.Embedding(widths.max_number, widths.channels)
        self.gaussians = GaussianBasis(widths.n_gaussians)
        self.node_updates = nn.ModuleList(NodeUpdate(widths) for _ in range(layers))
        self.edge_updates = nn.ModuleList(EdgeUpdate(widths) for _ in range(layers))
        self.node_head = CoupledHead(widths.channels, degrees)
        self.edge_head = CoupledHead(widths.channels, degrees)

    def rotates_all_edges(self) -> bool:
        """Whether virtual edges need Wigner matrices, too."""
        return self.plain or self.layers > 1

    def forward(
        self, graph: GraphTensors, edge_targets: Tensor | None = None, edge_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Targets (n_labelled, size) of the nodes and (n_labelled_edges, size) of the edges, E_h.

        Where `edge_targets` (n_labelled_edges, size) are given, the second is Σ (output − target)² over the edges
        instead, with `edge_mask` (same shape) over what it marks; this keeps no edge's output in memory.
        """
        nodes, edges = only_scalars(self.embedding(graph.numbers), self.widths.l_max), None
        for layer in range(self.layers - 1):
            nodes = self.update_nodes(layer, nodes, edges, graph)
            edges = self.update_edges(layer, nodes, edges, graph)
        nodes = self.update_nodes(self.layers - 1, nodes, edges, graph)
        labelled = graph.edges(slice(graph.n_labelled_edges))
        edges = None if edges is None else edges[: graph.n_labelled_edges]
        node_output = self.node_head(nodes[: graph.n_labelled])
        engine = self.engine() if edges is None else None
        if edge_targets is None:
            return node_output, self.edge_outputs(nodes, edges, labelled)
        if engine is not None:
            return node_output, engine.square_error(nodes, labelled, edge_targets, edge_mask)
        error = self.edge_outputs(nodes, edges, labelled) - edge_targets
        return node_output, (error if edge_mask is None else error * edge_mask).square().sum()

    def edge_outputs(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Targets (e, size) of edges from the updated nodes and the edges before their last update."""
        engine = self.engine() if edges is None else None
        if engine is not None:
            return engine.outputs(nodes, graph)
        return self.edge_head(self.update_edges(self.layers - 1, nodes, edges, graph))

    def engine(self) -> EdgeEngine | None:
        """The compiled pass over the edges of a one-layer network, where it can run (CPU, numba installed)."""
        on_cpu = self.embedding.weight.device.type == "cpu"
        if self.plain or self.layers > 1 or not on_cpu or not COMPILED:
            return None
        return EdgeEngine(cast(EdgeUpdate, self.edge_updates[0]), self.edge_head, self.gaussians)

    def update_nodes(self, layer: int, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Nodes (n, K, C) after the node update of a layer; `edges` None stands for the initial edge features."""
        update = cast(NodeUpdate, self.node_updates[layer])
        if edges is None and not self.plain:
            return update.finish(nodes, scalar_messages(update, nodes[:, 0], self.gaussians, graph))
        gaussians = self.gaussians(graph.distance)
        edges = only_scalars(gaussians, self.widths.l_max) if edges is None else edges
        return update(nodes, edges, gaussians, graph)

    def update_edges(self, layer: int, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Edges (e, K, C) after the edge update of a layer; `edges` None stands for the initial edge features."""
        gaussians = self.gaussians(graph.distance)
        edges = only_scalars(gaussians, self.widths.l_max) if edges is None else edges
        return self.edge_updates[layer](nodes, edges, gaussians, graph)


def count_parameters(network: nn.Module) -> int:
    """Learnable numbers."""
    return sum(p.numel() for p in network.parameters())


def parameter_dtype(network: nn.Module) -> torch.dtype:
    """dtype of the parameters."""
    return next(network.parameters()).dtype
