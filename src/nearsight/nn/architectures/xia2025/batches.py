"""Parts of structures with their targets, ready for the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from nearsight.errors import ConfigError, InputError
from nearsight.learning.config import PartitionConfig
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors, updates_needed
from nearsight.nn.architectures.xia2025.network import parameter_dtype
from nearsight.nn.architectures.xia2025.targets import Targets, make_targets, target_rows
from nearsight.nn.model import Model
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.partition.partition import Partition, partition_graph, undivided
from nearsight.partition.partitioner import PARTITIONERS
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure

Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Piece:
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
                raise InputError(
                    f"expected one basis in all training structures, got {own.describe()} in "
                    f"{calculation.structure.formula} where another one has l = {shells[z]}"
                )
        valence.update(own.valence)
    return BasisSet(calculations[0].basis.name, shells, valence)


@dataclass(frozen=True, eq=False)
class Outline:
    """A part of a structure before its tensors are made.

    Attributes:
        calculation: the structure and its Hamiltonian.
        graph: of the whole structure.
        part: labelled nodes and edges, then the halo.
        n_updated: for each layer, how many edges its edge update computes.
        n_rows: rows of the targets.
        n_filled: numbers of the targets that are not padding.
        n_summed: edges whose outputs are summed into rows; none where each has a row of its own.
        size: numbers in a row of the targets.
    """

    calculation: Calculation
    graph: Graph
    part: Partition
    n_updated: tuple[int, ...]
    n_rows: int
    n_filled: int
    n_summed: int
    size: int

    def n_terms(self, masked: bool) -> int:
        """Numbers that the part contributes to the mean of a loss."""
        return self.n_filled if masked else self.n_rows * self.size

    def build(self, model: Model) -> Piece:
        """The part's tensors, in the model's dtype; the same to the last bit every time."""
        hamiltonian, dtype = self.calculation.require_hamiltonian(), parameter_dtype(model.network)
        return Piece(
            partition_tensors(model, self.calculation.structure, self.graph, self.part),
            make_targets(hamiltonian, self.graph, self.part, model.layout, dtype),
        )


@dataclass
class Room:
    """Bytes left for kept pieces."""

    left: float = math.inf

    def take(self, size: int) -> bool:
        """Whether there was room, which is then taken."""
        if size > self.left:
            return False
        self.left -= size
        return True


class Pieces(Sequence[Piece]):
    """Pieces that are made when they are asked for; those that there is room for are kept.

    Args:
        outlines: of the pieces.
        model: whose tensors they are.
        device: where the network is.
        room: for kept pieces.
    """

    def __init__(
        self, outlines: Sequence[Outline], model: Model, device: torch.device | str, room: Room | None = None
    ) -> None:
        self.outlines, self.model, self.device, self.room = list(outlines), model, device, room or Room()
        self._kept: dict[int, Piece] = {}

    def __len__(self) -> int:
        return len(self.outlines)

    def __getitem__(self, index: int) -> Piece:  # type: ignore[override]  # no slices
        piece = self._kept.get(index)
        if piece is None:
            piece = self.outlines[index].build(self.model).to(self.device)
            if self.room.take(piece.nbytes):
                self._kept[index] = piece
        return piece

    def n_terms(self, chosen: Sequence[int], masked: bool) -> int:
        """The common denominator of a step over several pieces."""
        return sum(self.outlines[k].n_terms(masked) for k in chosen)


def make_outlines(calculation: Calculation, model: Model, config: PartitionConfig) -> list[Outline]:
    """A structure cut into parts, each with its halo."""
    graph = build_graph(calculation.structure, model.config.cutoff)
    parts = cut(calculation.structure, graph, config, model.config.layers)
    return [_outline(calculation, model, graph, part) for part in parts if part.n_labelled]


def make_pieces(calculation: Calculation, model: Model, config: PartitionConfig) -> list[Piece]:
    """A structure cut into parts, each with its halo, as tensors of the model's dtype."""
    return [outline.build(model) for outline in make_outlines(calculation, model, config)]


def _outline(calculation: Calculation, model: Model, graph: Graph, part: Partition) -> Outline:
    hamiltonian, layout, network = calculation.require_hamiltonian(), model.layout, model.network
    rows = target_rows(hamiltonian.folded, graph, part)
    updates = _updates(part, network.layers)
    n_updated = tuple(part.n_edges if network.plain else int((updates > k).sum()) for k in range(network.layers))
    n_summed = 0 if rows.row_of_edge is None else len(rows.row_of_edge)
    return Outline(
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


def cut(structure: Structure, graph: Graph, config: PartitionConfig, layers: int) -> list[Partition]:
    """The parts of a structure that a configuration asks for.

    Raises:
        ConfigError: partition.kind=auto, which is decided before (`memory_plan.choose_partition`).
    """
    if config.kind == "whole":
        return [undivided(graph)]
    return partition_graph(graph, part_labels(structure, graph, config), halo=config.halo, hops=layers)


def part_labels(structure: Structure, graph: Graph, config: PartitionConfig) -> np.ndarray:
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


def partition_tensors(model: Model, structure: Structure, graph: Graph, part: Partition) -> GraphTensors:
    """One part as the tensors the model reads: edges in the order in which the network needs them longest."""
    updates = _updates(part, model.network.layers)
    order = torch.argsort(updates, descending=True, stable=True).numpy()
    return graph_tensors(
        structure.numbers[part.nodes],
        part.source[order],
        part.target[order],
        graph.vector[part.edges[order]],
        model.config.l_max,
        parameter_dtype(model.network),
        part.n_labelled,
        part.n_labelled_edges,
        None if model.network.plain else int((updates > 0).sum()),
    )


def hold_out(parts: list[Part], count: int) -> tuple[list[Part], list[Part]]:
    """Training parts and `count` validation parts, equally spaced among those of one structure.

    Raises:
        ConfigError: nothing would be left to train on.
    """
    if count >= len(parts):
        raise ConfigError(
            f"expected more parts than data.holdout_parts={count}, got {len(parts)}: make the slabs "
            "thinner (partition.thickness) or give data.validation=[...]"
        )
    chosen = {int(k) for k in np.round((np.arange(count) + 0.5) * len(parts) / max(count, 1) - 0.5)}
    train = [p for k, p in enumerate(parts) if k not in chosen]
    return train, [p for k, p in enumerate(parts) if k in chosen]
