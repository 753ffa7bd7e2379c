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
from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, leading_edges, updates_needed
from nearsight.nn.architectures.xia2025.kernels.edge_engine import EdgeEngine
from nearsight.nn.architectures.xia2025.kernels.messages import scalar_messages
from nearsight.nn.architectures.xia2025.kernels.tensor_passes import EdgeChunks, messages_in_groups
from nearsight.nn.architectures.xia2025.so3 import only_scalars
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.nn.architectures.xia2025.updates import CoupledHead, EdgeUpdate, GaussianBasis, NodeUpdate

CHUNK = 1024
"""Edges computed at once unless the network is told otherwise."""

CHUNK_ON_GPU = 65_536
"""The same on a GPU, which larger chunks keep busy."""


class Xia2025(nn.Module):
    """Coupled on-site and off-site targets of a graph.

    Parameters
    ----------
    widths : Widths
        Sizes of the layers.
    layers : int
        Message-passing layers; one makes the network strictly local (one hop).
    degrees : sequence of int
        Degree of every irrep of the target (`CoupledLayout.degrees`).
    reference : bool
        Compute everything as written in the paper, by rotation and convolution of all edges at once: slow, the
        reference implementation with which the tests compare the fast paths.

    Attributes
    ----------
    chunk : int or None
        Edges that are computed at once where the compiled engine does not run; None for what suits the device.

    Raises
    ------
    InputError
        The target has a higher degree than the features.
    """

    def __init__(self, widths: Widths, layers: int, degrees: Sequence[int], reference: bool = False) -> None:
        super().__init__()
        if max(degrees) > widths.l_max:
            raise InputError(
                f"expected model.l_max >= {max(degrees)}, the highest degree in products of this basis' "
                f"shells, got {widths.l_max}"
            )
        self.widths, self.layers, self.reference = widths, layers, reference
        self.chunk: int | None = None
        self.embedding = nn.Embedding(widths.max_number, widths.channels)
        self.gaussians = GaussianBasis(widths.n_gaussians)
        self.node_updates = nn.ModuleList(NodeUpdate(widths) for _ in range(layers))
        self.edge_updates = nn.ModuleList(EdgeUpdate(widths) for _ in range(layers))
        self.node_head = CoupledHead(widths.channels, degrees)
        self.edge_head = CoupledHead(widths.channels, degrees)

    @property
    def edges_at_once(self) -> int:
        """Edges that are computed at once by tensor operations."""
        return self.chunk or (CHUNK if self.embedding.weight.device.type == "cpu" else CHUNK_ON_GPU)

    def describe_path(self) -> str:
        """Return one line that says how the network is computed here."""
        if self.reference:
            return "reference implementation, all edges at once"
        device, threads = self.embedding.weight.device, torch.get_num_threads()
        where = f"{threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else str(device)
        if self.engine() is not None:
            return f"compiled engine (numba), {where}"
        text = f"torch in chunks of {self.edges_at_once} edges, {where}"
        if device.type != "cpu":
            return text
        return f"{text}; first node messages compiled (numba)"

    def edges_updated(self, graph: GraphTensors) -> list[int]:
        """Return for each layer how many of a graph's first edges it must update for the labelled outputs."""
        if self.reference:
            return [graph.n_edges] * (self.layers - 1) + [graph.n_labelled_edges]
        updates = updates_needed(
            graph.source, graph.target, graph.n_nodes, graph.n_labelled, graph.n_labelled_edges, self.layers
        )
        return leading_edges(updates, self.layers)

    def forward(self, graph: GraphTensors, edge_targets: EdgeTargets | None = None) -> tuple[Tensor, Tensor]:
        """Return the outputs of the labelled nodes and edges.

        Parameters
        ----------
        graph : GraphTensors
            Nodes and edges, labelled ones first.
        edge_targets : EdgeTargets, optional
            Targets of the labelled edges; with them no edge's output is kept in memory.

        Returns
        -------
        nodes : Tensor
            (n_labelled, size) E_h.
        edges : Tensor
            (n_labelled_edges, size) E_h; where `edge_targets` are given, their error instead.
        """
        nodes, edges = only_scalars(self.embedding(graph.numbers), self.widths.l_max), None
        n_updated = self.edges_updated(graph)
        for layer in range(self.layers):
            nodes = self.update_nodes(layer, nodes, edges, graph)
            graph = graph.edges(slice(n_updated[layer]))
            if edges is not None and graph.n_edges < len(edges):
                edges = edges[: graph.n_edges]
            if layer < self.layers - 1:
                edges = self.update_edges(layer, nodes, edges, graph)
        node_output = self.node_head(nodes[: graph.n_labelled])
        if edge_targets is None:
            return node_output, self.edge_outputs(nodes, edges, graph)
        return node_output, self._edge_error(nodes, edges, graph, edge_targets)

    def _edge_error(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors, targets: EdgeTargets) -> Tensor:
        engine = self.engine() if edges is None else None
        if engine is not None:
            return engine.error(nodes, graph, targets)
        if not self.reference:
            return self.chunked(self.layers - 1).error(nodes, edges, graph, targets)
        return targets.error(self.edge_outputs(nodes, edges, graph))

    def edge_outputs(self, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Return the outputs of edges from the updated nodes and the edges before their last update.

        Parameters
        ----------
        nodes : Tensor
            (n, K, C).
        edges : Tensor or None
            (e, K, C) as `update_edges` gave them; None for the initial edge features.
        graph : GraphTensors
            The nodes with these edges.

        Returns
        -------
        Tensor
            (e, size) E_h.
        """
        engine = self.engine() if edges is None else None
        if engine is not None:
            return engine.outputs(nodes, graph)
        if not self.reference:
            return self.chunked(self.layers - 1).outputs(nodes, edges, graph)
        return self.edge_head(self.update_edges(self.layers - 1, nodes, edges, graph))

    def engine(self) -> EdgeEngine | None:
        """Return the compiled pass over the edges of a one-layer network, where it can run (on a CPU); else None."""
        on_cpu = self.embedding.weight.device.type == "cpu"
        if self.reference or self.layers > 1 or not on_cpu:
            return None
        return EdgeEngine(cast(EdgeUpdate, self.edge_updates[0]), self.edge_head, self.gaussians)

    def update_nodes(self, layer: int, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Return the nodes after the node update of a layer.

        Parameters
        ----------
        layer : int
            Number of the layer, from 0.
        nodes : Tensor
            (n, K, C).
        edges : Tensor or None
            (e, K, C) as `update_edges` gave them; None for the initial edge features.
        graph : GraphTensors
            A graph with all edges that arrive at the nodes whose result is used.

        Returns
        -------
        Tensor
            (n, K, C).
        """
        update = cast(NodeUpdate, self.node_updates[layer])
        if self.reference:
            gaussians = self.gaussians(graph.distance)
            edges = only_scalars(gaussians, self.widths.l_max) if edges is None else edges
            return update(nodes, edges, gaussians, graph)
        if edges is None:
            return update.finish(nodes, scalar_messages(update, nodes[:, 0], self.gaussians, graph))
        normed = update.norm_message(nodes)
        return update.finish(
            nodes, messages_in_groups(update, normed, edges, self.gaussians, graph, self.edges_at_once)
        )

    def update_edges(self, layer: int, nodes: Tensor, edges: Tensor | None, graph: GraphTensors) -> Tensor:
        """Return the edges after the edge update of a layer.

        Parameters
        ----------
        layer : int
            Number of the layer, from 0.
        nodes : Tensor
            (n, K, C), after the node update of the layer.
        edges : Tensor or None
            (e, K, C) as the layer before gave them; None for the initial edge features.
        graph : GraphTensors
            The nodes with these edges.

        Returns
        -------
        Tensor
            (e, K, C) in the frames of the bonds; with `reference` in the common axes.
        """
        if not self.reference:
            return self.chunked(layer).features(nodes, edges, graph)
        gaussians = self.gaussians(graph.distance)
        edges = only_scalars(gaussians, self.widths.l_max) if edges is None else edges
        return self.edge_updates[layer](nodes, edges, gaussians, graph)

    def chunked(self, layer: int) -> EdgeChunks:
        """Return the edge update of a layer, alone or with the edge head, in chunks by tensor operations."""
        return EdgeChunks(
            cast(EdgeUpdate, self.edge_updates[layer]), self.edge_head, self.gaussians, self.edges_at_once
        )


def count_parameters(network: nn.Module) -> int:
    """Return the number of learnable numbers of a network."""
    return sum(p.numel() for p in network.parameters())


def parameter_dtype(network: nn.Module) -> torch.dtype:
    """Return the number type of a network's parameters."""
    return next(network.parameters()).dtype
