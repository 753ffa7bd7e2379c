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
    """One partition of a structure with its targets.

    Attributes
    ----------
    graph : GraphTensors
        Labelled nodes and edges, then the halo.
    targets : Targets
        Targets of the labelled ones.
    """

    graph: GraphTensors
    targets: Targets

    @property
    def nbytes(self) -> int:
        """Memory of all tensors in bytes."""
        t = self.targets
        targets = [x for x in (t.values, t.row_of_edge, t.element_pair, t.filled) if x is not None]
        return sum(x.nbytes for x in [*vars(self.graph).values(), *targets] if isinstance(x, Tensor))

    def to(self, device: torch.device | str) -> PartitionBatch:
        """Return a copy on another device."""
        return PartitionBatch(self.graph.to(device), self.targets.to(device))


@dataclass(frozen=True, eq=False)
class PartitionPlan:
    """A partition of a structure before its tensors are made.

    Attributes
    ----------
    model : CoupledNetwork
        The model that decides dtype, device and layout of the tensors.
    masked : bool
        Whether the loss leaves the padding out.
    calculation : Calculation
        The structure and its Hamiltonian.
    graph : Graph
        Graph of the whole structure.
    partition : Partition
        Labelled nodes and edges, then the halo.
    n_updated : tuple of int
        Number of edges that the edge update of each layer computes.
    n_rows : int
        Rows of the targets.
    n_filled : int
        Numbers of the targets that are not padding.
    n_summed : int
        Edges whose outputs are summed into rows; 0 where each has a row of its own.
    size : int
        Numbers in a row of the targets.
    """

    model: CoupledNetwork
    masked: bool
    calculation: Calculation
    graph: Graph
    partition: Partition
    n_updated: tuple[int, ...]
    n_rows: int
    n_filled: int
    n_summed: int
    size: int

    @property
    def n_terms(self) -> int:
        """Number of terms that the partition contributes to the mean of a loss."""
        return self.n_filled if self.masked else self.n_rows * self.size

    @property
    def cost(self) -> int:
        """Work that the partition takes: edges whose messages or updates are computed, over all layers."""
        return sum(self.n_updated) + self.partition.n_edges

    def part(self, index: int, count: int) -> None:
        """A partition is not divided further: its parts would have larger halos than itself."""

    def build(self) -> PartitionBatch:
        """Return the batch in the model's dtype, where its network is; every call gives bitwise equal tensors."""
        hamiltonian, model = self.calculation.require_hamiltonian(), self.model
        batch = PartitionBatch(
            partition_tensors(model, self.calculation.structure, self.graph, self.partition),
            make_targets(hamiltonian, self.graph, self.partition, model.layout, model.dtype),
        )
        return batch.to(model.device)


def plan_batches(
    calculation: Calculation, model: CoupledNetwork, config: Xia2025Partition, masked: bool = False
) -> list[PartitionPlan]:
    """Divide a structure into partitions, each with its halo.

    Parameters
    ----------
    calculation : Calculation
        The structure and its Hamiltonian.
    model : CoupledNetwork
        The model, with its cutoff and number of layers.
    config : Xia2025Partition
        How the structure is divided; `kind=auto` must have been decided.
    masked : bool
        Whether the loss leaves the padding out.

    Returns
    -------
    list of PartitionPlan
        The partitions that have labelled nodes.
    """
    graph = build_graph(calculation.structure, model.config.cutoff)
    partitions = partitions_of(calculation.structure, graph, config, model.config.layers)
    return [_plan_of(calculation, model, masked, graph, partition) for partition in partitions if partition.n_labelled]


def _plan_of(
    calculation: Calculation, model: CoupledNetwork, masked: bool, graph: Graph, partition: Partition
) -> PartitionPlan:
    hamiltonian, layout, network = calculation.require_hamiltonian(), model.layout, model.network
    rows = target_rows(hamiltonian.folded, graph, partition)
    updates = _updates(partition, network.layers)
    n_updated = tuple(
        partition.n_edges if network.reference else int((updates > k).sum()) for k in range(network.layers)
    )
    n_summed = 0 if rows.row_of_edge is None else len(rows.row_of_edge)
    return PartitionPlan(
        model,
        masked,
        calculation,
        graph,
        partition,
        n_updated,
        len(rows),
        rows.n_filled(hamiltonian.numbers, layout),
        n_summed,
        layout.size,
    )


def _updates(partition: Partition, layers: int) -> Tensor:
    source, target = torch.as_tensor(partition.source), torch.as_tensor(partition.target)
    return updates_needed(source, target, partition.n_nodes, partition.n_labelled, partition.n_labelled_edges, layers)


def partitions_of(structure: Structure, graph: Graph, config: Xia2025Partition, layers: int) -> list[Partition]:
    """Return the partitions of a structure that a configuration asks for.

    Parameters
    ----------
    structure : Structure
        The structure.
    graph : Graph
        Its graph within the cutoff.
    config : Xia2025Partition
        How it is divided.
    layers : int
        Message-passing layers, the number of hops of the halo.

    Returns
    -------
    list of Partition
        The partitions.

    Raises
    ------
    ConfigError
        The configuration says `partition.kind=auto`, which is decided before (`Xia2025Model.prepare`).
    """
    if config.kind == "whole":
        return [undivided(graph)]
    return partition_graph(graph, partition_labels(structure, graph, config), halo=config.halo, hops=layers)


def partition_labels(structure: Structure, graph: Graph, config: Xia2025Partition) -> np.ndarray:
    """Return the partition label of each atom.

    Parameters
    ----------
    structure : Structure
        The structure.
    graph : Graph
        Its graph within the cutoff.
    config : Xia2025Partition
        How it is divided; a count replaces the thickness.

    Returns
    -------
    ndarray
        (N,) int.

    Raises
    ------
    ConfigError
        The kind divides nothing.
    """
    if config.kind not in PARTITIONERS:
        raise ConfigError(f"expected partition.kind={' or '.join(PARTITIONERS)} to cut a structure, got {config.kind}")
    partitioner: Any = PARTITIONERS[config.kind]
    options = config.model_dump(include={f.name for f in fields(partitioner)})
    if options.get("count") and "thickness" in options:
        options["thickness"] = None
    return np.asarray(partitioner(**options).assign(structure, graph))


def partition_tensors(model: CoupledNetwork, structure: Structure, graph: Graph, partition: Partition) -> GraphTensors:
    """Return one partition as the tensors that the network reads, edges ordered by how long the network needs them.

    Parameters
    ----------
    model : CoupledNetwork
        The model, with l_max and dtype.
    structure : Structure
        The structure.
    graph : Graph
        Its graph.
    partition : Partition
        The partition.

    Returns
    -------
    GraphTensors
        Labelled nodes and edges, then the halo, where the network is.
    """
    updates = _updates(partition, model.network.layers)
    order = torch.argsort(updates, descending=True, stable=True).numpy()
    return graph_tensors(
        structure.numbers[partition.nodes],
        partition.source[order],
        partition.target[order],
        graph.vector[partition.edges[order]],
        model.config.l_max,
        model.dtype,
        partition.n_labelled,
        partition.n_labelled_edges,
        None if model.network.reference else int((updates > 0).sum()),
        model.device,
    )
