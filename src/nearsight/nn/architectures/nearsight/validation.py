"""Whether self-consistency helps: found out at the end of a training, on atoms that a trial fit has not seen.

They are those of a validation structure with S, or of a slab of the smallest training structure, without which a trial
fit of the on-site functional is made. The trial makes the prediction self-consistent. Only if both the on-site blocks
and the charges of the unseen atoms come nearer to the reference than those of the local model, whose on-site regression
has not seen them either, are the informed terms kept. What was found is said and stored.
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
from nearsight.self_consistency.atomic_density import LoewdinBasis
from nearsight.self_consistency.functional import fit_functional, fit_local
from nearsight.self_consistency.response import fit_response
from nearsight.self_consistency.solver import NotConvergedError, solve_self_consistent
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

M = TypeVar("M", bound=BaselinePlusNetwork)

CLOSE = 2e-5
"""e, tolerance of the iteration that a response is learnt from."""
SLABS = 4
"""Slabs of a structure, of which one is left out."""


def calculations_of(batches: PlannedBatches[BondBatch]) -> list[Calculation]:
    """Return the different structures of some batches, with their whole Hamiltonians."""
    plans = cast("list[BondBatchPlan]", batches.plans)
    sources = {id(p.source.calculation): p.source.calculation for p in plans if not p.source.informed}
    return list(sources.values())


def validated(
    model: M,
    terms: InformedTerms,
    local: Callable[[Structure], BlockOperator],
    training: Sequence[Calculation],
    validation: Sequence[Calculation],
    progress: Progress = silent,
) -> M:
    """Return the model with its informed terms, or without where they do not help.

    Parameters
    ----------
    model : BaselinePlusNetwork
        The model.
    terms : InformedTerms
        Its informed terms, trained.
    local : callable
        H (eV, real space) of a structure by the local model.
    training, validation : sequence of Calculation
        What the model was trained and validated on.
    progress : Progress
        Told what was found.
    """
    progress(Event("self-consistency: validating it on atoms that were not fitted"))
    settings = BaselineSettings(strictly_local=model.config.strictly_local)
    unseen = [c for c in validation if c.overlap is not None and all(c is not known for known in training)]
    chosen = min(unseen or training, key=lambda c: len(c.structure))
    left_out = np.ones(len(chosen.structure), dtype=bool)
    if not unseen:
        left_out = _slab(chosen.structure)
    used = [~left_out if c is chosen else np.ones(len(c.structure), dtype=bool) for c in training]
    layout, cutoff = model.layout, model.config.cutoff
    try:
        trial = terms.functional
        if not unseen:
            trial = fit_functional(training, layout, cutoff, settings, used, model.basis).functional
        graph = build_graph(chosen.structure, cutoff)
        own = fit_local(training, layout, cutoff, settings, used)(chosen.structure, graph)
        plain = _with_on_site(local(chosen.structure), terms, own, left_out)
        functional = InformedFunctional(replace(terms, functional=trial, response=None))
        solved = solve_self_consistent(functional, chosen, tolerance=CLOSE, progress=progress)
        basis, exact = LoewdinBasis(chosen, layout), chosen.require_hamiltonian()
        charges = [basis.density_of(h)[0].charges[left_out] for h in (exact, plain, solved.hamiltonian)]
    except (InputError, NotConvergedError) as error:
        return _without(model, f"not used: {error}", progress)
    on_site = [_error(chosen, left_out, h) for h in (plain, solved.hamiltonian)]
    off = [float(np.sqrt(((q - charges[0]) ** 2).mean())) for q in charges[1:]]
    said = (
        f"on-site error of {int(left_out.sum())} unseen atoms {on_site[0]:.3f} → {on_site[1]:.3f} mE_h, of their "
        f"charges {off[0]:.4f} → {off[1]:.4f} e"
    )
    if on_site[1] >= on_site[0] or off[1] >= off[0]:
        return _without(model, f"not used, it does not help here: {said}", progress)
    progress(Event(f"self-consistency: {said}"))
    provenance = {**model.provenance, "self_consistency": said}
    known = replace(
        terms,
        fitted=None,
        fitted_bonds=None,
        residual=_residual(chosen, left_out, solved.hamiltonian),
        response=fit_response(trial.features(chosen.structure, graph), solved.first_steps, solved.density),
    )
    return replace(model, provenance=provenance).with_informed(known)


def _slab(structure: Structure) -> np.ndarray:
    """(N,) bool, the atoms of the slab with most elements: a slab of a metal's end says nothing of an oxide."""
    labels = Slabs(count=SLABS).assign(structure)
    kinds = [len(np.unique(structure.numbers[labels == k])) for k in range(SLABS)]
    return np.asarray(labels == max(range(SLABS), key=lambda k: (kinds[k], k)))


def _with_on_site(h: BlockOperator, terms: InformedTerms, own: np.ndarray, atoms: np.ndarray) -> BlockOperator:
    """H with coupled on-site blocks (N, size), E_h, put in for some atoms."""
    result = h.with_values(h.values.copy())
    for z in np.unique(h.numbers).tolist():
        some = np.flatnonzero((h.numbers == z) & atoms)
        place = h.find(some, some, np.zeros((len(some), 3), dtype=np.int64))
        result.put(place, HARTREE_IN_EV * terms.layout.uncouple(own[some], z, z))
    return result


def _residual(chosen: Calculation, atoms: np.ndarray, h: BlockOperator) -> dict[int, float]:
    """Z → r.m.s. error of the on-site elements of some atoms, eV."""
    exact, numbers, result = chosen.require_hamiltonian(), chosen.structure.numbers, {}
    for z in chosen.structure.elements:
        own = np.flatnonzero((numbers == z) & atoms)
        if len(own):
            errors = h.blocks((z, z), own, own) - exact.blocks((z, z), own, own)
            result[z] = float(np.sqrt((errors**2).mean()))
    return result


def _without(model: M, said: str, progress: Progress) -> M:
    progress(Event(f"self-consistency: {said}"))
    return replace(model, provenance={**model.provenance, "self_consistency": said}).with_informed(None)


def _error(chosen: Calculation, atoms: np.ndarray, h: BlockOperator) -> float:
    """Mean |error| of the on-site elements of some atoms, mE_h."""
    exact, numbers, errors = chosen.require_hamiltonian(), chosen.structure.numbers, []
    for z in chosen.structure.elements:
        own = np.flatnonzero((numbers == z) & atoms)
        if len(own):
            errors.append(np.abs(h.blocks((z, z), own, own) - exact.blocks((z, z), own, own)).ravel())
    return 1e3 * float(np.concatenate(errors).mean()) / HARTREE_IN_EV
