"""A model `nearsight` before training, and the bonds it is trained and validated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np

from nearsight.baselines.baseline import pair_name
from nearsight.baselines.bond_scale import fit_bond_scale
from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.settings import BaselineSettings
from nearsight.electronic.populations import atomic_charges
from nearsight.errors import ConfigError
from nearsight.nn.architectures.nearsight.batches import BondBatchPlan, BondSource, random_split
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork, standardise
from nearsight.nn.architectures.nearsight.config import NearsightConfig, NearsightLoss, NearsightPartition
from nearsight.nn.architectures.nearsight.graph import ElementPair, canonical_edges
from nearsight.nn.architectures.nearsight.transfer import transfer_weights
from nearsight.nn.batches import MemoryBudget, PlannedBatches, available_bytes, split_validation
from nearsight.nn.fine_tuning import check_basis, common_basis
from nearsight.nn.model import TrainingData, TrainingTask
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.partition.slabs import Slabs
from nearsight.structures.graph import build_graph

USED = 0.6
"""Fraction of the available memory that kept batches may take."""

M = TypeVar("M", bound=BaselinePlusNetwork)


def begin(cls: type[M], task: TrainingTask) -> M:
    """Return the model that a run begins with.

    That is `task.start` where it knows all pairs of elements in the data, else a new model with its baseline fitted to
    the structures; what `task.start` has learnt comes into that with the features (`divide`).

    Parameters
    ----------
    cls : type
        Class of the model.
    task : TrainingTask
        The training task.

    Returns
    -------
    BaselinePlusNetwork
        A model of that class, not calibrated.
    """
    config, start = cast(NearsightConfig, task.config.model), cast("M | None", task.start)
    basis = common_basis(task.training)
    if start is not None:
        check_basis(task, start.basis, basis)
        if not unknown_pairs(start, task.training):
            task.say("baseline, scales and weights are those of the model that this run starts from")
            # What was calibrated at the end of its training is no longer so.
            network = start.network.to(task.dtype)
            return replace(start, network=network, provenance=task.provenance, uncertainty=None)
    task.say("fitting the baseline")
    charges = None
    if config.long_range != "none":
        task.say("charges of the training structures from H and S")
        charges = [atomic_charges(calculation) for calculation in task.training]
    settings = BaselineSettings(strictly_local=config.strictly_local, h0=config.h0, long_range=config.long_range)
    baseline = fit_baseline(task.training, CoupledLayout(basis), config.cutoff, settings, charges)
    scale = fit_bond_scale(task.training, baseline)
    model = cls.new(config, basis, baseline, scale, task.dtype, task.config.seed, task.provenance)
    if start is not None:
        _describe_change(model, start, task.say)
    return model


def divide(model: BaselinePlusNetwork, task: TrainingTask) -> TrainingData:
    """Return batches of bonds; the features of a new model are standardised.

    A new model with another baseline than `task.start` then takes over what that has learnt.

    Parameters
    ----------
    model : BaselinePlusNetwork
        The model, whose network is moved to the device of the task.
    task : TrainingTask
        The training task.

    Returns
    -------
    TrainingData
        Batches to train and to validate on.

    Raises
    ------
    ConfigError
        There are no bonds to train on.
    """
    config, start = task.config, cast("BaselinePlusNetwork | None", task.start)
    loss, partition = cast(NearsightLoss, config.loss), cast(NearsightPartition, config.partition)
    model.network.to(task.device)
    sources = [BondSource(calculation, model, loss) for calculation in task.training]
    if not task.resumed and (start is None or start.baseline is not model.baseline):
        standardise(model.network, [source.atoms for source in sources])
        if start is not None:
            transfer_weights(model, start)
    training: list[BondBatchPlan] = []
    validation: list[BondBatchPlan] = []
    for source in sources:
        own = random_split(source, partition.bonds_per_batch, config.seed)
        slabs = None if task.validation else _validation_atoms(source, partition, config.validation_slabs)
        training += own if slabs is None else _selected(own, slabs, False)
        validation += [] if slabs is None else _selected(own, slabs, True)
    for calculation in task.validation:
        validation += random_split(BondSource(calculation, model, loss), partition.bonds_per_batch, config.seed)
    if not training:
        raise ConfigError("expected bonds to train on, got none within the cutoff")
    count = sum(plan.n_bonds for plan in training)
    task.say(f"{count} bonds in {len(training)} batches, {sum(p.n_bonds for p in validation)} for validation")
    budget = MemoryBudget(USED * available_bytes(task.device, config.memory_gb))
    return TrainingData(partition, PlannedBatches(training, budget), PlannedBatches(validation, budget))


def unknown_pairs(model: BaselinePlusNetwork, training: Sequence[Calculation]) -> list[ElementPair]:
    """Return the pairs of elements within the cutoff that a model does not know.

    Parameters
    ----------
    model : BaselinePlusNetwork
        The model.
    training : sequence of Calculation
        The structures.

    Returns
    -------
    list of ElementPair
        The pairs, sorted; (Z, Z) for a new element.
    """
    found = {(z, z) for c in training for z in c.structure.elements if z not in model.baseline.elements}
    for calculation in training:
        graph = build_graph(calculation.structure, model.config.cutoff)
        found |= set(canonical_edges(calculation.structure, graph)) - set(model.network.layouts)
    return sorted(found)


def _describe_change(model: BaselinePlusNetwork, known: BaselinePlusNetwork, say: Callable[[str], None]) -> None:
    """Say which pairs of elements are new and which are lost."""
    new, old = set(model.network.layouts), set(known.network.layouts)
    say(f"pairs of elements: {_names(new & old)} as in the model that this run starts from, {_names(new - old)} new")
    if old - new:
        say(
            f"no longer known: {_names(old - new)}, of which the data hold none within {known.config.cutoff:g} Å; "
            "include old data to keep them"
        )


def _names(pairs: set[ElementPair]) -> str:
    return ", ".join(map(pair_name, sorted(pairs))) or "none"


def _validation_atoms(source: BondSource, partition: NearsightPartition, slabs: int) -> np.ndarray | None:
    """Return the atoms of the validation slabs, (N,) bool; None where there are no such slabs."""
    if not slabs:
        return None
    thickness = None if partition.count else partition.thickness
    labels = Slabs(partition.axis, partition.count, thickness).assign(source.calculation.structure)
    _, chosen = split_validation(list(range(int(labels.max()) + 1)), slabs)
    return np.isin(labels, chosen)


def _selected(plans: Sequence[BondBatchPlan], atoms: np.ndarray, inside: bool) -> list[BondBatchPlan]:
    """Return the bonds between two of some atoms, or all the others; batches without any are dropped."""
    result = []
    for plan in plans:
        graph = plan.source.graph
        edges = {
            pair: own[(atoms[graph.source[own]] & atoms[graph.target[own]]) == inside]
            for pair, own in plan.edges.items()
        }
        edges = {pair: own for pair, own in edges.items() if len(own)}
        if edges:
            result.append(BondBatchPlan(plan.source, edges, plan.folded))
    return result
