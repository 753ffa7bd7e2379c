"""Whether self-consistency helps: judged at the end of a training, on atoms that a trial has not seen.

They are those of a validation structure with S, or of a slab of the smallest training structure, without which a trial
fit of the on-site functional is made. The trial makes the prediction self-consistent; only if the on-site blocks of the
unseen atoms come nearer to the reference than those of a local regression that has not seen them either are the
informed terms kept. What was found is said and stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np

from nearsight.baselines.settings import BaselineSettings
from nearsight.errors import InputError
from nearsight.nn.architectures.nearsight.batches import BondBatch, BondBatchPlan
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork
from nearsight.nn.architectures.nearsight.density_functional import InformedFunctional
from nearsight.nn.architectures.nearsight.informed import InformedTerms
from nearsight.nn.batches import PlannedBatches
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.partition.slabs import Slabs
from nearsight.progress import Event, Progress, silent
from nearsight.self_consistency.functional import fit_functional, fit_local
from nearsight.self_consistency.solver import NotConvergedError, solve_self_consistent
from nearsight.structures.graph import build_graph
from nearsight.units import HARTREE_IN_EV

M = TypeVar("M", bound=BaselinePlusNetwork)

SLABS = 4
"""Slabs of a structure, of which one judges."""


def calculations_of(batches: PlannedBatches[BondBatch]) -> list[Calculation]:
    """Return the different structures of some batches, with their whole Hamiltonians."""
    plans = cast("list[BondBatchPlan]", batches.plans)
    sources = {id(p.source.calculation): p.source.calculation for p in plans if not p.source.informed}
    return list(sources.values())


def judged(
    model: M,
    terms: InformedTerms,
    training: Sequence[Calculation],
    validation: Sequence[Calculation],
    progress: Progress = silent,
) -> M:
    """Return the model with its informed terms, or without where they do not help."""
    progress(Event("self-consistency: judging it on atoms that were not fitted"))
    settings = BaselineSettings(strictly_local=model.config.strictly_local)
    unseen = [c for c in validation if c.overlap is not None and all(c is not known for known in training)]
    judge = min(unseen or training, key=lambda c: len(c.structure))
    left_out = np.ones(len(judge.structure), dtype=bool)
    if not unseen:
        left_out = Slabs(count=SLABS).assign(judge.structure) == SLABS - 1
    used = [~left_out if c is judge else np.ones(len(c.structure), dtype=bool) for c in training]
    layout, cutoff = model.layout, model.config.cutoff
    try:
        trial = terms.functional
        if not unseen:
            trial = fit_functional(training, layout, cutoff, settings, used, model.basis).functional
        graph = build_graph(judge.structure, cutoff)
        local = fit_local(training, layout, cutoff, settings, used)(judge.structure, graph)
        functional = InformedFunctional(replace(terms, functional=trial))
        solved = solve_self_consistent(functional, judge, progress=progress)
        before = _error(judge, left_out, lambda z, own: HARTREE_IN_EV * layout.uncouple(local[own], z, z))
        after = _error(judge, left_out, lambda z, own: solved.hamiltonian.blocks((z, z), own, own))
    except (InputError, NotConvergedError) as error:
        return _without(model, f"not used: {error}", progress)
    said = f"on-site error of {int(left_out.sum())} unseen atoms {before:.3f} → {after:.3f} mE_h"
    if after >= before:
        return _without(model, f"not used, it does not help here: {said}", progress)
    progress(Event(f"self-consistency: {said}"))
    provenance = {**model.provenance, "self_consistency": said}
    residual = _residual(judge, left_out, solved.hamiltonian)
    return replace(model, provenance=provenance).with_informed(replace(terms, fitted=None, residual=residual))


def _residual(judge: Calculation, atoms: np.ndarray, h: BlockOperator) -> dict[int, float]:
    """Z → r.m.s. error of the on-site elements of some atoms, eV."""
    exact, numbers, result = judge.require_hamiltonian(), judge.structure.numbers, {}
    for z in judge.structure.elements:
        own = np.flatnonzero((numbers == z) & atoms)
        if len(own):
            errors = h.blocks((z, z), own, own) - exact.blocks((z, z), own, own)
            result[z] = float(np.sqrt((errors**2).mean()))
    return result


def _without(model: M, said: str, progress: Progress) -> M:
    progress(Event(f"self-consistency: {said}"))
    return replace(model, provenance={**model.provenance, "self_consistency": said}).with_informed(None)


def _error(judge: Calculation, atoms: np.ndarray, blocks_of: Callable[[int, np.ndarray], np.ndarray]) -> float:
    """Mean |error| of the on-site elements of some atoms, mE_h."""
    exact, numbers, errors = judge.require_hamiltonian(), judge.structure.numbers, []
    for z in judge.structure.elements:
        own = np.flatnonzero((numbers == z) & atoms)
        if len(own):
            errors.append(np.abs(blocks_of(z, own) - exact.blocks((z, z), own, own)).ravel())
    return 1e3 * float(np.concatenate(errors).mean()) / HARTREE_IN_EV
