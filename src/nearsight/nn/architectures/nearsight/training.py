"""A model `nearsight` before training, and the bonds it is trained and validated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np
from scipy.spatial.distance import pdist

from nearsight.baselines.baseline import pair_name
from nearsight.baselines.bond_scale import fit_bond_scale
from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.settings import BaselineSettings
from nearsight.electronic.populations import atomic_charges
from nearsight.errors import ConfigError, InputError
from nearsight.nn.architectures.nearsight.batches import BondBatchPlan, BondSource, InformedSource, random_split
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork, standardise
from nearsight.nn.architectures.nearsight.config import NearsightConfig, NearsightLoss, NearsightPartition
from nearsight.nn.architectures.nearsight.graph import ElementPair, canonical_edges
from nearsight.nn.architectures.nearsight.informed import InformedTerms, fit_informed
from nearsight.nn.architectures.nearsight.informed_bonds import fit_informed_bonds, predicted_bonds
from nearsight.nn.architectures.nearsight.linear_bonds import (
    fitted_bond_terms,
    predicted_blocks,
    unseen_blocks,
    with_terms,
    without_terms,
    without_two_centre,
)
from nearsight.nn.architectures.nearsight.transfer import transfer_weights
from nearsight.nn.batches import MemoryBudget, PlannedBatches, split_validation
from nearsight.nn.fine_tuning import check_basis, common_basis
from nearsight.nn.model import TrainingData, TrainingTask
from nearsight.operators.calculation import Calculation
from nearsight.operators.side_by_side import side_by_side
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.partition.slabs import Slabs
from nearsight.self_consistency.functional import fit_functional, predicted_by
from nearsight.self_consistency.potential import exact_potential, without_potential
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

INFORMED_SEED = 1_000_003
"""Added to the seed for the weights of the informed network."""

MOST_ORBITALS = 10_000
"""Of a training structure whose density is computed: some ten minutes on a few cores."""

NOT_VALIDATED = "not used, it was not validated: the run has not ended; the same command continues it"
"""What a file says that a run wrote before its end."""

MOST_TOGETHER = 2_000
"""Atoms of molecules that are put side by side: their features and targets are in memory at once."""

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
            known = replace(start, network=network, provenance=task.provenance, uncertainty=None)
            return _informed(known, task)
    task.say("fitting the baseline")
    charges = None
    if config.long_range != "none":
        task.say("charges of the training structures from H and S")
        charges = [atomic_charges(calculation) for calculation in task.training]
    settings = BaselineSettings(strictly_local=config.strictly_local, h0=config.h0, long_range=config.long_range)
    baseline = fit_baseline(task.training, CoupledLayout(basis), config.cutoff, settings, charges)
    wanted = settings == BaselineSettings() and not (
        config.self_consistent and _all_have_density(config, task.training)
    )
    bonds = fitted_bond_terms(task, baseline) if wanted else None
    baseline = baseline if bonds is None else without_two_centre(baseline, bonds.terms.pairs)
    rest = task.training if bonds is None else without_terms(task.training, bonds.unseen, config.cutoff)
    scale = fit_bond_scale(rest, baseline)
    model = cls.new(config, basis, baseline, scale, task.dtype, task.config.seed, task.provenance)
    model = model if bonds is None else with_terms(model, bonds)
    if start is not None:
        _describe_change(model, start, task.say)
    return _informed(model, task)


def _informed(model: M, task: TrainingTask) -> M:
    """Return the model with informed terms, where they are wanted and can be had."""
    if not model.config.self_consistent:
        return model.with_informed(None)
    if model.informed is not None:
        return model
    try:
        check_density(model.config, task.training)
        seed = task.config.seed + INFORMED_SEED
        terms = fit_informed(task.training, model.config, model.basis, model.baseline, seed, task.dtype, task.progress)
    except InputError as error:
        said = f"not used: {error}"
        task.say(f"self-consistency: {said}")
        return replace(model, provenance={**model.provenance, "self_consistency": said}).with_informed(None)
    provenance = {**model.provenance, "self_consistency": NOT_VALIDATED}
    return replace(model, provenance=provenance).with_informed(terms)


def check_density(config: NearsightConfig, training: Sequence[Calculation]) -> None:
    """Refuse what H cannot be learnt from as a functional of the density, in words that say what to do.

    Raises
    ------
    InputError
        The settings or the data rule it out: only a local model can be trained.
    """
    for key in ("h0", "strictly_local"):
        if getattr(config, key):
            raise InputError(f"expected model.{key}=false to learn H as a functional of the density, got true")
    if all(_is_seen_whole(calculation.structure, config.cutoff) for calculation in training):
        raise InputError(
            f"expected structures beyond the cutoff of {config.cutoff:g} Å, got molecules of which every atom sees all "
            "others: there is nothing that only the density could tell"
        )
    for calculation in training:
        formula = calculation.structure.formula
        if calculation.overlap is None:
            raise InputError(
                f"expected S in the training data, without which there is no density, got {formula} without; import "
                "it with its S, or with its basis (--basis-file), of which S follows"
            )
        calculation.n_electrons  # noqa: B018, refused where a valence is not known
        if calculation.overlap.n_orbitals > MOST_ORBITALS:
            raise InputError(
                f"expected training structures of at most {MOST_ORBITALS:,} orbitals, whose densities dense "
                f"diagonalisation finds, got {formula} with {calculation.overlap.n_orbitals:,}; train on smaller ones"
            )


def _is_seen_whole(structure: Structure, cutoff: float) -> bool:
    """Whether every atom of a molecule is within the cutoff of all others."""
    return not structure.pbc.any() and bool(pdist(structure.positions).max(initial=0.0) < cutoff)


def _all_have_density(config: NearsightConfig, training: Sequence[Calculation]) -> bool:
    try:
        check_density(config, training)
    except InputError:
        return False
    return True


def _has_density(calculation: Calculation) -> bool:
    """Whether its density can be computed."""
    return _all_have_density(NearsightConfig(), [calculation])


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
    known, unknown = _without_bond_terms(model, task)
    sources: list[BondSource] = [BondSource(calculation, model, loss) for calculation in together(known, model)]
    if not task.resumed and (start is None or start.baseline is not model.baseline):
        standardise(model.network, [source.atoms for source in sources])
        if start is not None:
            transfer_weights(model, start)
    training: list[BondBatchPlan] = []
    validation: list[BondBatchPlan] = []
    validating = [BondSource(calculation, model, loss) for calculation in together(unknown, model)]
    if model.informed is not None:
        terms = model.informed
        terms = fitted_again(terms, task.training, task.resumed)
        told = informed_sources(terms, task.training, loss, trained_on=True)
        if not task.resumed and terms.fitted is not None:
            standardise(terms.network, [source.atoms for source in told])
        sources += told
        validating += informed_sources(terms, [c for c in task.validation if _has_density(c)], loss)
    for source in sources:
        own = random_split(source, partition.bonds_per_batch, config.seed)
        slabs = None if task.validation else _validation_atoms(source, partition, config.validation_slabs)
        training += own if slabs is None else _selected(own, slabs, False)
        validation += [] if slabs is None else _selected(own, slabs, True)
    for source in validating:
        validation += random_split(source, partition.bonds_per_batch, config.seed)
    if not training:
        raise ConfigError("expected bonds to train on, got none within the cutoff")
    available = task.available_bytes()
    task.say(described(training, validation, available))
    budget = MemoryBudget(USED * available)
    return TrainingData(partition, PlannedBatches(training, budget), PlannedBatches(validation, budget))


def _without_bond_terms(
    model: BaselinePlusNetwork, task: TrainingTask
) -> tuple[Sequence[Calculation], Sequence[Calculation]]:
    """Training and validation structures, whose H lacks what bond terms say of it."""
    terms, cutoff = model.bond_terms, model.config.cutoff
    if terms is None:
        return task.training, task.validation
    unseen = unseen_blocks(terms, model.fitted_terms, model.baseline, task.training, task.resumed)
    return (
        without_terms(task.training, unseen, cutoff),
        without_terms(task.validation, predicted_blocks(terms, task.validation), cutoff),
    )


def together(calculations: Sequence[Calculation], model: BaselinePlusNetwork) -> list[Calculation]:
    """Put molecules side by side, so that a batch holds bonds of many; other structures stay by themselves.

    What the network sees of each is the same, for that is strictly local; what sees charges (a baseline with them, a
    model that has learnt H as a functional of the density) is not.
    """
    molecules = [c for c in calculations if not c.structure.pbc.any()]
    sees_charges = model.config.long_range != "none" or model.informed is not None
    if sees_charges or len(molecules) < len(calculations):
        return list(calculations)
    groups: list[list[Calculation]] = []
    atoms = MOST_TOGETHER
    for molecule in molecules:
        if atoms + len(molecule.structure) > MOST_TOGETHER:
            groups.append([])
            atoms = 0
        groups[-1].append(molecule)
        atoms += len(molecule.structure)
    return [side_by_side(group, model.basis, 2 * model.config.cutoff) for group in groups]


def described(training: Sequence[BondBatchPlan], validation: Sequence[BondBatchPlan], available: int) -> str:
    """Return one line on how the structures are divided, why, and how much memory that takes.

    Parameters
    ----------
    training, validation : sequence of BondBatchPlan
        The batches; the first one is made to see its size.
    available : int
        Bytes that are free where the network is.
    """
    count, more = (sum(plan.n_bonds for plan in plans) for plans in (training, validation))
    size = training[0].build().nbytes / max(1, training[0].n_bonds) * (count + more)
    kept = "all are kept" if size <= USED * available else "what does not fit is made when it is needed"
    return (
        f"{count} bonds in {len(training)} batches, {more} for validation; batches of random bonds: what bonds see of "
        f"atoms is computed for the whole structure, so that none are virtual; memory: {available / 1e9:.1f} GB "
        f"available, batches {size / 1e9:.2f} GB, {kept}"
    )


def fitted_again(terms: InformedTerms, training: Sequence[Calculation], resumed: bool) -> InformedTerms:
    """Return the terms with what they were fitted to, for a run that goes on too; as they are where that was other.

    A file holds the functionals, not the leave-one-out predictions that a run trains on: the fits are repeated.
    """
    if terms.fitted is not None or not resumed:
        return terms
    settings = BaselineSettings(strictly_local=terms.config.strictly_local)
    again = fit_functional(training, terms.layout, terms.config.cutoff, settings, basis=terms.basis)
    ours, theirs = (f.on_site.regressions for f in (terms.functional, again.functional))
    if set(ours) != set(theirs) or not all(np.allclose(ours[k].weights, theirs[k].weights) for k in ours):
        return terms
    rest = [without_potential(c, exact_potential(c, terms.levels)) for c in training]
    bonds = fit_informed_bonds(rest, again, terms.baseline.two_centre, terms.config.cutoff)
    return replace(
        terms, fitted=replace(again, functional=terms.functional), fitted_bonds=replace(bonds, functional=terms.bonds)
    )


def informed_sources(
    terms: InformedTerms, calculations: Sequence[Calculation], loss: NearsightLoss, trained_on: bool = False
) -> list[BondSource]:
    """Return the structures as the informed network sees them.

    What is linear is predicted: of those that it was fitted to (`trained_on`, where `terms.fitted` knows them) without
    the atom or the bond in question, so that it is off as it will be elsewhere.
    """
    if not calculations:
        return []
    known = terms.fitted if trained_on else None
    bonds = terms.fitted_bonds if trained_on else None
    known = known or predicted_by(terms.functional, calculations)
    bonds = bonds or predicted_bonds(terms.bonds, calculations, known)
    return [
        InformedSource(calculation, terms, loss, density, on_site, blocks)
        for calculation, density, on_site, blocks in zip(calculations, known.densities, known.unseen, bonds.unseen)
    ]


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
