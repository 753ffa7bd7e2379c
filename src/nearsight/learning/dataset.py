"""Parts of structures with their targets, ready for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nearsight.errors import ConfigError, InputError
from nearsight.learning.config import PartitionConfig
from nearsight.learning.targets import Targets, make_targets
from nearsight.nn.graph_tensors import GraphTensors, graph_tensors
from nearsight.nn.model import Model
from nearsight.nn.xia2025 import parameter_dtype
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.partition.partition import Partition, partition_graph, whole
from nearsight.partition.slabs import Slabs
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Piece:
    """One part of a structure.

    Attributes:
        graph: labelled nodes and edges, then the halo.
        targets: of the labelled ones.
    """

    graph: GraphTensors
    targets: Targets

    def to(self, device: torch.device | str) -> Piece:
        """The same on another device."""
        return Piece(self.graph.to(device), self.targets.to(device))


def common_basis(calculations: Sequence[Calculation]) -> BasisSet:
    """One basis for all elements of several calculations.

    Raises:
        InputError: two calculations with different shells for the same element.
    """
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    for calculation in calculations:
        own = calculation.basis.restricted(calculation.structure.numbers)
        for z, ls in own.shells.items():
            if shells.setdefault(z, ls) != ls:
                raise InputError(f"expected one basis in all training structures, got {own.describe()} in "
                                 f"{calculation.structure.formula} where another one has l = {shells[z]}")
        valence.update(own.valence)
    return BasisSet(calculations[0].basis.name, shells, valence)


def make_pieces(calculation: Calculation, model: Model, config: PartitionConfig) -> list[Piece]:
    """A structure cut into parts, each with its halo, as tensors of the model's dtype."""
    hamiltonian = calculation.require_hamiltonian()
    graph = build_graph(calculation.structure, model.config.cutoff)
    parts = cut(calculation.structure, graph, config, model.config.layers)
    return [
        Piece(partition_tensors(model, calculation.structure, graph, part),
              make_targets(hamiltonian, graph, part, model.layout, parameter_dtype(model.network)))
        for part in parts if part.n_labelled
    ]


def cut(structure: Structure, graph: Graph, config: PartitionConfig, layers: int) -> list[Partition]:
    """The parts of a structure that a configuration asks for."""
    if config.kind == "whole":
        return [whole(graph)]
    thickness = None if config.count else config.thickness
    slabs = Slabs(axis=config.axis, count=config.count, thickness=thickness)
    return partition_graph(graph, slabs.assign(structure), halo=config.halo, hops=layers)


def partition_tensors(model: Model, structure: Structure, graph: Graph, part: Partition) -> GraphTensors:
    """One part as the tensors the model reads."""
    return graph_tensors(
        structure.numbers[part.nodes], part.source, part.target, graph.vector[part.edges], model.config.l_max,
        parameter_dtype(model.network), part.n_labelled, part.n_labelled_edges,
        None if model.network.rotates_all_edges() else part.n_labelled_edges,
    )


def hold_out(pieces: list[Piece], count: int) -> tuple[list[Piece], list[Piece]]:
    """Training pieces and `count` validation pieces, equally spaced among those of one structure.

    Raises:
        ConfigError: nothing would be left to train on.
    """
    if count >= len(pieces):
        raise ConfigError(f"expected more parts than data.holdout_parts={count}, got {len(pieces)}: make the slabs "
                          "thinner (partition.thickness) or give data.validation=[...]")
    chosen = {int(k) for k in np.round((np.arange(count) + 0.5) * len(pieces) / max(count, 1) - 0.5)}
    train = [p for k, p in enumerate(pieces) if k not in chosen]
    return train, [p for k, p in enumerate(pieces) if k in chosen]
