"""The functional of the density in a model `nearsight`: fitted to what it was trained on, kept only where it helps.

It is judged on atoms that a trial fit has not seen: a slab of the smallest structure, or a validation structure with S.
The trial makes a prediction self-consistent; only if the on-site blocks of the unseen atoms are nearer to the reference
than those of a local regression that has not seen them either is the functional fitted to everything and kept.
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
from nearsight.nn.batches import PlannedBatches
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
    """Return the different structures of some batches."""
    plans = cast("list[BondBatchPlan]", batches.plans)
    return list({id(plan.source.calculation): plan.source.calculation for plan in plans}.values())


def with_functional(
    model: M, training: Sequence[Calculation], validation: Sequence[Calculation], progress: Progress = silent
) -> M:
    """Return the model with its functional, or without where it does not help; what was found is said and stored."""
    progress(Event("learning H as a functional of the density"))
    settings = BaselineSettings(strictly_local=model.config.strictly_local)
    unseen = [c for c in validation if c.overlap is not None and all(c is not known for known in training)]
    judge = min(unseen or training, key=lambda c: len(c.structure))
    left_out = np.ones(len(judge.structure), dtype=bool)
    if not unseen:
        left_out = Slabs(count=SLABS).assign(judge.structure) == SLABS - 1
    used = [~left_out if c is judge else np.ones(len(c.structure), dtype=bool) for c in training]
    layout, cutoff = model.layout, model.config.cutoff
    try:
        trial = fit_functional(training, layout, cutoff, settings, used)
        local = fit_local(training, layout, cutoff, settings, used)(
            judge.structure, build_graph(judge.structure, cutoff)
        )
        plain = model.predict(judge.structure, judge).operator()
        solved = solve_self_consistent(plain, judge, trial, progress=progress)
        before = _error(judge, left_out, lambda z, own: HARTREE_IN_EV * layout.uncouple(local[own], z, z))
        after = _error(judge, left_out, lambda z, own: solved.hamiltonian.blocks((z, z), own, own))
    except (InputError, NotConvergedError) as error:
        return _without(model, f"not used: {error}", progress)
    said = f"on-site error of {int(left_out.sum())} unseen atoms {before:.3f} → {after:.3f} mE_h"
    if after >= before:
        return _without(model, f"not used, it does not help here: {said}", progress)
    functional = trial if unseen else fit_functional(training, layout, cutoff, settings)
    progress(Event(f"self-consistency: {said}"))
    return replace(model, functional=functional, provenance={**model.provenance, "self_consistency": said})


def _without(model: M, said: str, progress: Progress) -> M:
    progress(Event(f"self-consistency: {said}"))
    return replace(model, functional=None, provenance={**model.provenance, "self_consistency": said})


def _error(judge: Calculation, atoms: np.ndarray, blocks_of: Callable[[int, np.ndarray], np.ndarray]) -> float:
    """Mean |error| of the on-site elements of some atoms, mE_h."""
    exact, numbers, errors = judge.require_hamiltonian(), judge.structure.numbers, []
    for z in judge.structure.elements:
        own = np.flatnonzero((numbers == z) & atoms)
        if len(own):
            errors.append(np.abs(blocks_of(z, own) - exact.blocks((z, z), own, own)).ravel())
    return 1e3 * float(np.concatenate(errors).mean()) / HARTREE_IN_EV
