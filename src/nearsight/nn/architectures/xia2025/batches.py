"""Batches of the network `xia2025`: augmented partitions of structures with their targets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight.errors import ConfigError
from nearsight.nn.architectures.xia2025.config import Xia2025Partition
from nearsight.nn.architectures.xia2025.coupled import CoupledNetwork
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors, updates_needed
from nearsight.nn.architectures.xia2025.targets import Targets, make_targets, target_rows
from nearsight.operators.calculation import Calculation
from nearsight.partition.partition import Partition, partition_graph, undivided
from nearsight.partition.partitioner import PARTITIONERS
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class PartitionBatch:
    """One part of a structure.

    Attributes:
        graph: labelled nodes and edges, then the halo.
        targets: of the labelled ones.
    """

    graph: GraphTensors
    targets: Targets

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        t = self.targets
        targets = [x for x in (t.values, t.row_of_edge, t.element_pair, t.filled) if x is not None]
        return sum(x.nbytes for x in [*vars(self.graph).values(), *targets] if isinstance(x, Tensor))

    def to(self, device: torch.device | str) -> PartitionBatch:
        """The same on another device."""
        return PartitionBatch(self.graph.to(device), self.targets.to(device))


@dataclass(frozen=True, eq=False)
class PartitionPlan:
    """A part of a structure before its tensors are made.

    Attributes:
        model: whose tensors they will be.
        masked: the loss leaves the padding out.
        calculation: the structure and its Hamiltonian.
        graph: of the whole structure.
        part: labelled nodes and edges, then the halo.
        n_updated: for each layer, how many edges its edge update computes.
        n_rows: rows of the targets.
        n_filled: numbers of the targets that are not padding.
        n_summed: edges whose outputs are summed into rows; none where each has a row of its own.
        size: numbers in a row of the targets.
    """

    model: CoupledNetwork
    masked: bool
    calculation: Calculation
    graph: Graph
    part: Partition
    n_updated: tuple[int, ...]
    n_rows: int
    n_filled: int
    n_summed: int
    size: int

    @property
    def n_terms(self) -> int:
        """Numbers that the partition contributes to the mean of a loss."""
        return self.n_filled if self.masked else self.n_rows * self.size

    def build(self) -> PartitionBatch:
        """Make the tensors in the model's dtype, where its network is; equal to the last bit every time."""
        hamiltonian, model = self.calculation.require_hamiltonian(), self.model
        batch = PartitionBatch(
            partition_tensors(model, self.calculation.structure, self.graph, self.part),
            make_targets(hamiltonian, self.graph, self.part, model.layout, model.dtype),
        )
        return batch.to(model.device)


def plan_batches(
    calculation: Calculation, model: CoupledNetwork, partition: Xia2025Partition, masked: bool = False
) -> list[PartitionPlan]:
    """Divide a structure into partitions, each with its halo."""
    graph = build_graph(calculation.structure, model.config.cutoff)
    parts = cut(calculation.structure, graph, partition, model.config.layers)
    return [_plan_of(calculation, model, masked, graph, part) for part in parts if part.n_labelled]


def _plan_of(
    calculation: Calculation, model: CoupledNetwork, masked: bool, graph: Graph, part: Partition
) -> PartitionPlan:
    hamiltonian, layout, network = calculation.require_hamiltonian(), model.layout, model.network
    rows = target_rows(hamiltonian.folded, graph, part)
    updates = _updates(part, network.layers)
    n_updated = tuple(part.n_edges if network.reference else int((updates > k).sum()) for k in range(network.layers))
    n_summed = 0 if rows.row_of_edge is None else len(rows.row_of_edge)
    return PartitionPlan(
        model,
        masked,
        calculation,
        graph,
        part,
        n_updated,
        len(rows),
        rows.n_filled(hamiltonian.numbers, layout),
        n_summed,
        layout.size,
    )


def _updates(part: Partition, layers: int) -> Tensor:
    source, target = torch.as_tensor(part.source), torch.as_tensor(part.target)
    return updates_needed(source, target, part.n_nodes, part.n_labelled, part.n_labelled_edges, layers)


def cut(structure: Structure, graph: Graph, config: Xia2025Partition, layers: int) -> list[Partition]:
    """The parts of a structure that a configuration asks for.

    Raises:
        ConfigError: partition.kind=auto, which is decided before (`memory_plan.choose_partition`).
    """
    if config.kind == "whole":
        return [undivided(graph)]
    return partition_graph(graph, part_labels(structure, graph, config), halo=config.halo, hops=layers)


def part_labels(structure: Structure, graph: Graph, config: Xia2025Partition) -> np.ndarray:
    """(N,) number of the part of each atom.

    Raises:
        ConfigError: a kind that cuts nothing.
    """
    if config.kind not in PARTITIONERS:
        raise ConfigError(f"expected partition.kind={' or '.join(PARTITIONERS)} to cut a structure, got {config.kind}")
    partitioner: Any = PARTITIONERS[config.kind]
    options = config.model_dump(include={f.name for f in fields(partitioner)})
    if options.get("count") and "thickness" in options:
        options["thickness"] = None
    return np.asarray(partitioner(**options).assign(structure, graph))


def partition_tensors(model: CoupledNetwork, structure: Structure, graph: Graph, part: Partition) -> GraphTensors:
    """One part as the tensors the model reads: edges in the order in which the network needs them longest."""
    updates = _updates(part, model.network.layers)
    order = torch.argsort(updates, descending=True, stable=True).numpy()
    return graph_tensors(
        structure.numbers[part.nodes],
        part.source[order],
        part.target[order],
        graph.vector[part.edges[order]],
        model.config.l_max,
        model.dtype,
        part.n_labelled,
        part.n_labelled_edges,
        None if model.network.reference else int((updates > 0).sum()),
    )
