"""The Hamiltonian of a structure from a trained model, part after part.

Layers run in step: every part updates its own nodes from all their incoming edges, then, with all nodes updated, the
edges that arrive at them. Every node and every directed edge belongs to exactly one part (the edge to its target's),
so the result does not depend on how the structure is cut, and memory holds one chunk of edges at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.nn.graph_tensors import GraphTensors, graph_tensors
from nearsight.nn.model import Model
from nearsight.nn.so3 import only_scalars
from nearsight.nn.xia2025 import parameter_dtype
from nearsight.operators.blocks import BlockOperator, group_by_elements, zeros
from nearsight.operators.symmetry import hermitian_part
from nearsight.partition.partition import Partition, partition_graph
from nearsight.structures.graph import Graph, build_graph, pair_order
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

CHUNK = 8192
"""Edges computed at once: their features fit into a few hundred MB."""


@torch.no_grad()
def predict_hamiltonian(
    model: Model, structure: Structure, parts: np.ndarray | None = None, *, symmetrise: bool = True,
    chunk: int = CHUNK, report: Callable[[int, int], None] = lambda done, total: None,
) -> BlockOperator:
    """H of a structure; no reference is needed.

    Args:
        model: trained network.
        structure: of elements that the model knows.
        parts: (N,) part of each atom; one part by default.
        symmetrise: return ½(H + H†) (paper, Fig. 5), exactly Hermitian.
        chunk: edges computed at once.
        report: called with edges done and edges in all, both counted once per layer.

    Returns:
        Blocks resolved in R, eV, on site and within the model's cutoff.

    Raises:
        InputError: an element that the model was not trained on.
    """
    check_elements(model, structure)
    model.network.eval()
    graph = build_graph(structure, model.config.cutoff)
    labels = np.zeros(len(structure), dtype=np.int64) if parts is None else parts
    sweep = _Sweep(model, structure, graph, partition_graph(graph, labels), chunk, report)
    raw = sweep.run()
    return hermitian_part(raw) if symmetrise else raw


def check_elements(model: Model, structure: Structure) -> None:
    """Raises InputError for an element that the model does not know."""
    unknown = [symbol_of(z) for z in structure.elements if z not in model.basis.shells]
    if unknown:
        known = ", ".join(symbol_of(z) for z in model.basis.shells)
        raise InputError(f"expected a structure of the model's elements ({known}), got {', '.join(unknown)} in "
                         f"{structure.formula}; train on data that holds them")


@dataclass
class _Sweep:
    """One prediction under way."""

    model: Model
    structure: Structure
    graph: Graph
    parts: Sequence[Partition]
    chunk: int
    report: Callable[[int, int], None]
    done: int = 0

    def run(self) -> BlockOperator:
        network, layers = self.model.network, self.model.config.layers
        self.device = next(network.parameters()).device
        numbers = torch.as_tensor(self.structure.numbers.copy(), device=self.device)
        nodes = only_scalars(network.embedding(numbers), self.model.config.l_max)
        writer = _Writer(self.model, self.structure, self.graph)
        edges: Tensor | None = None
        for layer in range(layers):
            nodes = self._nodes(layer, nodes, edges)
            edges = self._edges(layer, nodes, edges, writer if layer == layers - 1 else None)
        writer.write_nodes(network.node_head(nodes))
        return writer.operator

    def _nodes(self, layer: int, nodes: Tensor, edges: Tensor | None) -> Tensor:
        """All nodes after the node update of a layer, part after part."""
        updated = torch.empty_like(nodes)
        network = self.model.network
        needs_frames = network.plain or edges is not None
        for part in self.parts:
            own = torch.as_tensor(part.nodes, device=self.device)
            tensors = self._tensors(part, part.edges, part.source, part.target, rotated=needs_frames)
            mine = None if edges is None else edges[torch.as_tensor(part.edges, device=self.device)]
            result = network.update_nodes(layer, nodes[own], mine, tensors)
            updated[own[: part.n_labelled]] = result[: part.n_labelled]
        return updated

    def _edges(self, layer: int, nodes: Tensor, edges: Tensor | None, writer: _Writer | None) -> Tensor | None:
        """All edges after the edge update of a layer, kept (`writer` None) or written as blocks and forgotten."""
        network = self.model.network
        kept = None
        if writer is None:
            kept = nodes.new_empty(self.graph.n_edges, *nodes.shape[1:])
        for part, chosen in self._chunks():
            tensors = self._tensors(part, part.edges[chosen], part.source[chosen], part.target[chosen], rotated=True)
            positions = part.edges[chosen]
            own = torch.as_tensor(part.nodes, device=self.device)
            mine = None if edges is None else edges[torch.as_tensor(positions, device=self.device)]
            if writer is not None:
                writer.write_edges(positions, network.edge_outputs(nodes[own], mine, tensors))
            elif kept is not None:
                result = network.update_edges(layer, nodes[own], mine, tensors)
                kept[torch.as_tensor(positions, device=self.device)] = result
            self.done += len(positions)
            self.report(self.done, self.graph.n_edges * self.model.config.layers)
        return kept

    def _chunks(self) -> Iterator[tuple[Partition, slice]]:
        for part in self.parts:
            for start in range(0, len(part.edges), self.chunk):
                yield part, slice(start, start + self.chunk)

    def _tensors(
        self, part: Partition, edges: np.ndarray, source: np.ndarray, target: np.ndarray, rotated: bool
    ) -> GraphTensors:
        return graph_tensors(
            self.structure.numbers[part.nodes], source, target, self.graph.vector[edges], self.model.config.l_max,
            parameter_dtype(self.model.network), part.n_labelled, len(edges), None if rotated else 0,
        ).to(self.device)


class _Writer:
    """Coupled outputs (E_h) to blocks (eV) in the places of an operator."""

    def __init__(self, model: Model, structure: Structure, graph: Graph) -> None:
        n = len(structure)
        atoms = np.arange(n)
        source, target = np.concatenate([atoms, graph.source]), np.concatenate([atoms, graph.target])
        shift = np.concatenate([np.zeros((n, 3), dtype=np.int64), graph.shift])
        order = pair_order(source, target, shift)
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        self.place_of_node, self.place_of_edge = place[:n], place[n:]
        basis = model.basis.restricted(structure.numbers)
        self.operator = zeros(structure.numbers, basis, source[order], target[order], shift[order], folded=False)
        self.layout = model.layout

    def write_nodes(self, output: Tensor) -> None:
        """All on-site blocks."""
        self._write(self.place_of_node, output)

    def write_edges(self, edges: np.ndarray, output: Tensor) -> None:
        """The blocks of some edges."""
        self._write(self.place_of_edge[edges], output)

    def _write(self, places: np.ndarray, output: Tensor) -> None:
        coupled = output.double().cpu().numpy() * HARTREE_IN_EV
        op = self.operator
        for (zi, zj), rows in group_by_elements(op.numbers, op.source[places], op.target[places]).items():
            blocks = self.layout.uncouple(coupled[rows], zi, zj).reshape(len(rows), -1)
            op.values[op.offsets[places[rows]][:, None] + np.arange(blocks.shape[1])] = blocks
