"""Xia2025Model: the architecture `xia2025` as training, prediction and files see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import cast

import numpy as np

from nearsight.elements import symbol_of
from nearsight.errors import ConfigError
from nearsight.nn.architectures.xia2025.batches import PartitionPlan, plan_batches
from nearsight.nn.architectures.xia2025.config import Xia2025Config, Xia2025Loss, Xia2025Partition
from nearsight.nn.architectures.xia2025.coupled import CoupledNetwork
from nearsight.nn.architectures.xia2025.memory_plan import make_plan
from nearsight.nn.architectures.xia2025.objective import CoupledObjective
from nearsight.nn.architectures.xia2025.prediction import LayerwisePass, groups
from nearsight.nn.batches import MemoryBudget, PlannedBatches, split_validation
from nearsight.nn.config import LossSection
from nearsight.nn.fine_tuning import check_basis, common_basis
from nearsight.nn.model import CHUNK, Reach, TrainingData, TrainingTask, edges_within
from nearsight.nn.prediction import Prediction, pairs_of
from nearsight.operators.calculation import Calculation
from nearsight.partition.quality import cost_of
from nearsight.progress import Progress, silent
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure

NODES = "nodes"
"""Name of the table of updated nodes."""


@dataclass(frozen=True, eq=False)
class Xia2025Model(CoupledNetwork):
    """The network of Xia, Kaniselvan et al. (ICML 2025)."""

    @classmethod
    def begin(cls, task: TrainingTask) -> Xia2025Model:
        """Return a model with random weights, or the one that the run starts from."""
        calculations = [*task.training, *task.validation]
        basis, start = common_basis(calculations), cast("Xia2025Model | None", task.start)
        if start is None:
            config = cast(Xia2025Config, task.config.model)
            return cls.new(config, basis, task.dtype, task.config.seed, task.provenance)
        unknown = [symbol_of(z) for z in basis.shells if z not in start.basis.shells]
        if unknown:
            raise ConfigError(
                f"expected elements that the model in {task.start_from} knows ({start.basis.describe()}), got "
                f"{', '.join(unknown)}: outputs of the network xia2025 are padded for its elements; train anew "
                "without start_from, or train the network nearsight, which takes new elements"
            )
        check_basis(task, start.basis, basis)
        return replace(start, network=start.network.to(task.dtype), provenance=task.provenance)

    def prepare(self, task: TrainingTask) -> TrainingData:
        """Divide the structures into augmented partitions, with as much kept in memory as fits."""
        partition, loss = cast(Xia2025Partition, task.config.partition), cast(Xia2025Loss, task.config.loss)
        per_step = task.config.optimizer.batches_per_step
        task.say("dividing structures into partitions")
        available = task.available_bytes()
        self.network.to(task.device)
        if partition.kind == "auto":
            kind, why = "slabs", "of which data.validation_slabs are kept for validation"
            if task.validation or not task.config.validation_slabs:
                whole = [*self._plans(task, partition.model_copy(update={"kind": "whole"}))]
                fits = make_plan([*whole[0], *whole[1]], loss, per_step, available).fits
                kind, why = (
                    ("whole", "structures fit into memory") if fits else ("slabs", "structures do not fit whole")
                )
            partition = partition.model_copy(update={"kind": kind})
            task.say(f"partition.kind=auto: {kind}, {why}")
        training, validation = self._plans(task, partition)
        cost = cost_of([plan.partition for plan in training])
        task.say(f"{len(training)} partitions to train on, {len(validation)} for validation; {cost.describe()}")
        plan = make_plan([*training, *validation], loss, per_step, available)
        task.say(plan.describe())
        self.network.chunk = plan.chunk
        budget = MemoryBudget(plan.budget)
        return TrainingData(partition, PlannedBatches(training, budget), PlannedBatches(validation, budget))

    def objective(self, loss: LossSection) -> CoupledObjective:
        """Return the loss in the coupled space."""
        return CoupledObjective(cast(Xia2025Loss, loss), self.layout)

    def predict(
        self,
        structure: Structure,
        known: Calculation | None = None,
        *,
        parts: np.ndarray | None = None,
        hermitian: bool = True,
        chunk: int = CHUNK,
        progress: Progress = silent,
    ) -> Prediction:
        """Predict H of a structure, to be read block after block (see `HamiltonianModel.predict`).

        Parameters
        ----------
        structure, known, parts, hermitian, chunk, progress
            Arguments of `HamiltonianModel.predict`.

        Returns
        -------
        Prediction
            Blocks in eV, without expected errors.
        """
        self.check(structure, known)
        graph, labels = edges_within(self, structure, parts)
        pairs, basis = pairs_of(graph, half=hermitian), self.basis.restricted(structure.numbers)
        layerwise = LayerwisePass(self, structure, graph, labels, chunk, progress)
        return Prediction(structure.numbers, basis, pairs, hermitian, groups(layerwise, pairs, hermitian))

    @property
    def reach(self) -> Reach:
        """A cutoff for each layer, and one for edges; of one layer, updated nodes are tables of atoms."""
        cutoff, layers = self.config.cutoff, self.config.layers
        return Reach(cutoff, cutoff) if layers == 1 else Reach(0.0, cutoff * (layers + 1))

    def atom_tables(self, structure: Structure, atoms: np.ndarray) -> Mapping[str, np.ndarray]:
        """Compute the nodes of a network of one layer (see `HamiltonianModel.atom_tables`).

        Further layers need the features of edges, which are many: their rows are computed with all that they see.
        """
        self.check(structure)
        if self.config.layers > 1:
            return {}
        layerwise = self._pass(structure, build_graph(structure, self.config.cutoff), CHUNK, silent, atoms)
        layerwise.run()
        return {NODES: layerwise.nodes.cpu().numpy()[atoms]}

    def predict_rows(
        self,
        structure: Structure,
        rows: np.ndarray,
        tables: Mapping[str, np.ndarray],
        *,
        chunk: int = CHUNK,
        progress: Progress = silent,
    ) -> Prediction:
        """Predict half of the rows of some atoms (see `HamiltonianModel.predict_rows`)."""
        graph = build_graph(structure, self.config.cutoff)
        pairs, basis = pairs_of(graph, half=True, rows=rows), self.basis.restricted(structure.numbers)
        ends = np.unique(np.concatenate([rows, pairs.target]))
        layerwise = self._pass(structure, graph, chunk, progress, ends)
        blocks = groups(layerwise, pairs, True, tables.get(NODES))
        return Prediction(structure.numbers, basis, pairs, True, blocks)

    def _pass(
        self, structure: Structure, graph: Graph, chunk: int, progress: Progress, wanted: np.ndarray
    ) -> LayerwisePass:
        labels = np.zeros(len(structure), dtype=np.int64)
        return LayerwisePass(self, structure, graph, labels, chunk, progress, wanted)

    def describe(self) -> str:
        """Return one line that says how the network is computed here."""
        return self.network.describe_path()

    def _plans(
        self, task: TrainingTask, partition: Xia2025Partition
    ) -> tuple[list[PartitionPlan], list[PartitionPlan]]:
        """Return the partitions to train on and those for validation."""
        masked, slabs = cast(Xia2025Loss, task.config.loss).masked, task.config.validation_slabs

        def planned(calculations: Sequence[Calculation]) -> list[list[PartitionPlan]]:
            return [plan_batches(calculation, self, partition, masked) for calculation in calculations]

        if task.validation or not slabs:
            return [*chain(*planned(task.training))], [*chain(*planned(task.validation))]
        halves = [split_validation(plans, slabs) for plans in planned(task.training)]
        return [*chain(*(own[0] for own in halves))], [*chain(*(own[1] for own in halves))]
