"""Whether self-consistency helps: found out at the end of a training, on atoms that a trial fit has not seen.

They are those of a validation structure with S, or of a slab of the smallest training structure, without which a trial
fit of the on-site functional is made. The trial makes the prediction self-consistent. Only if both the on-site blocks
and the charges of the unseen atoms come nearer to the reference than those of the local model, whose on-site regression
has not seen them either, are the informed terms kept. Where they do not, the on-site functional is fitted again with
what the density tells held back more and more strongly, which few atoms of an element (vacancies) ask for, and the one
with the best charges is kept. What was found is said and stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, TypeVar, cast

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
from nearsight.self_consistency.functional import (
    HELD_BACK,
    DensityPenalties,
    OnSiteFunctional,
    fit_functional,
    fit_local,
)
from nearsight.self_consistency.response import fit_response
from nearsight.self_consistency.solver import NotConvergedError, SelfConsistent, solve_self_consistent
from nearsight.structures.graph import Graph, build_graph
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
    trial = _trial(model, terms, local, training, validation)
    said, helpful = "", list[_Found]()
    for held_back in HELD_BACK:
        if said:
            progress(Event(f"self-consistency: {said}; again, with what the density tells held back more strongly"))
        try:
            found = trial.solved(held_back, progress)
        except NotConvergedError as error:
            said = f"not used: {error}"
            continue
        except InputError as error:
            return _without(model, f"not used: {error}", progress)
        helpful += [found] if found.helps else []
        if found.helps and not said:
            break
        said = found.said if found.helps else f"not used, it does not help here: {found.said}"
    if not helpful:
        return _without(model, said, progress)
    best = min(helpful, key=lambda found: found.charges[1])
    progress(Event(f"self-consistency: {best.said}"))
    provenance = {**model.provenance, "self_consistency": best.said}
    return replace(model, provenance=provenance).with_informed(trial.kept(best))


@dataclass(frozen=True, eq=False)
class _Found:
    """What a trial found: the solution, and errors of the local and the self-consistent model (mE_h and e, r.m.s.)."""

    held_back: DensityPenalties
    functional: OnSiteFunctional
    solved: SelfConsistent
    on_site: tuple[float, float]
    charges: tuple[float, float]
    atoms: int

    @property
    def helps(self) -> bool:
        return self.on_site[1] < self.on_site[0] and self.charges[1] < self.charges[0]

    @property
    def said(self) -> str:
        (plain, own), (far, near) = self.on_site, self.charges
        return (
            f"on-site error of {self.atoms} unseen atoms {plain:.3f} → {own:.3f} mE_h, of their "
            f"charges {far:.4f} → {near:.4f} e"
        )


@dataclass(frozen=True, eq=False)
class _Trial(Generic[M]):
    """A structure of which some atoms (N,) were not fitted, or none where the whole is for validation."""

    model: M
    terms: InformedTerms
    local: Callable[[Structure], BlockOperator]
    training: Sequence[Calculation]
    chosen: Calculation
    left_out: np.ndarray
    whole: bool

    @property
    def settings(self) -> BaselineSettings:
        return BaselineSettings(strictly_local=self.model.config.strictly_local)

    @property
    def used(self) -> list[np.ndarray]:
        return [~self.left_out if c is self.chosen else np.ones(len(c.structure), dtype=bool) for c in self.training]

    @cached_property
    def graph(self) -> Graph:
        return build_graph(self.chosen.structure, self.model.config.cutoff)

    @cached_property
    def plain(self) -> BlockOperator:
        """H of the local model, whose on-site blocks have not seen the atoms either."""
        fitted = fit_local(self.training, self.model.layout, self.model.config.cutoff, self.settings, self.used)
        own = fitted(self.chosen.structure, self.graph)
        return _with_on_site(self.local(self.chosen.structure), self.terms, own, self.left_out)

    def fitted(self, held_back: DensityPenalties, used: Sequence[np.ndarray] | None) -> OnSiteFunctional:
        if used is None and held_back == HELD_BACK[0]:
            return self.terms.functional
        known = self.training, self.model.layout, self.model.config.cutoff, self.settings
        return fit_functional(*known, used, self.model.basis, held_back).functional

    def solved(self, held_back: DensityPenalties, progress: Progress) -> _Found:
        """Return the self-consistent H of the structure beside the local one."""
        functional = self.fitted(held_back, None if self.whole else self.used)
        plain = self.plain
        solver = InformedFunctional(replace(self.terms, functional=functional, response=None))
        solved = solve_self_consistent(solver, self.chosen, tolerance=CLOSE, progress=progress)
        basis, exact = LoewdinBasis(self.chosen, self.model.layout), self.chosen.require_hamiltonian()
        charges = [basis.density_of(h)[0].charges[self.left_out] for h in (exact, plain, solved.hamiltonian)]
        far, near = (float(np.sqrt(((q - charges[0]) ** 2).mean())) for q in charges[1:])
        on_site = [_error(self.chosen, self.left_out, h) for h in (plain, solved.hamiltonian)]
        return _Found(held_back, functional, solved, (on_site[0], on_site[1]), (far, near), int(self.left_out.sum()))

    def kept(self, found: _Found) -> InformedTerms:
        """Return the terms, fitted to all atoms, with what the iteration told of errors and responses."""
        features = found.functional.features(self.chosen.structure, self.graph)
        return replace(
            self.terms,
            functional=self.fitted(found.held_back, None),
            fitted=None,
            fitted_bonds=None,
            residual=_residual(self.chosen, self.left_out, found.solved.hamiltonian),
            response=fit_response(features, found.solved.first_steps, found.solved.density),
        )


def _trial(
    model: M,
    terms: InformedTerms,
    local: Callable[[Structure], BlockOperator],
    training: Sequence[Calculation],
    validation: Sequence[Calculation],
) -> _Trial[M]:
    unseen = [c for c in validation if c.overlap is not None and all(c is not known for known in training)]
    chosen = min(unseen or training, key=lambda c: len(c.structure))
    left_out = np.ones(len(chosen.structure), dtype=bool) if unseen else _slab(chosen.structure)
    return _Trial(model, terms, local, training, chosen, left_out, bool(unseen))


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
