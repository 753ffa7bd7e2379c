"""Fitting a baseline: one pass over the data for the terms, and one more for their residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.h0.edge_terms import H0EdgeTerms
from nearsight.baselines.h0.on_site import fit_two_rounds
from nearsight.baselines.h0.reference import H0Reference, fit_edge_terms, with_energy_references
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.long_range import ChargeModel, LongRangeDescriptor, fit_charges
from nearsight.baselines.on_site import EnvironmentDescriptor, LeaveOneOut, OnSite, fit_on_site
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.reference import Reference
from nearsight.baselines.residual_scale import NodeScaleFit
from nearsight.baselines.settings import BaselineSettings
from nearsight.baselines.two_centre import TwoCentre, TwoCentreFit
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.progress import Event, Progress, silent

DEFAULTS = BaselineSettings()


def fit_baseline(
    calculations: Sequence[Calculation],
    layout: CoupledLayout,
    cutoff: float,
    settings: BaselineSettings = DEFAULTS,
    charges: Sequence[np.ndarray] | None = None,
    progress: Progress = silent,
) -> Baseline:
    """Fit a baseline to one or more structures. Only sums and the features of atoms are kept in memory, not the edges.

    Parameters
    ----------
    calculations : sequence of Calculation
        With Hamiltonians, in real space or folded to Γ (see `Reference`); with `settings.h0` also with H₀ and S.
    layout : CoupledLayout
        A coupled layout that has all their elements.
    cutoff : float
        Å.
    settings : BaselineSettings
        Sizes and penalties.
    charges : sequence of (N,) array of float, optional
        Charges (e) of the atoms of each calculation, such as `electronic.populations.atomic_charges` gives; needed for
        `settings.long_range`.
    progress : Progress, default silent
        Told of each of the three steps.

    Returns
    -------
    Baseline
        The fitted baseline with its residual scales.

    Raises
    ------
    InputError
        If there is no calculation, one has no Hamiltonian or is in another basis, none has a usable block, or charges
        are missing or do not fit.
    """
    if not calculations:
        raise InputError("expected at least one calculation to fit a baseline, got none")
    fit_atoms = _fit_with_h0 if settings.h0 else _fit_without_h0
    table = IrrepTable(layout)
    progress(Event("baseline: fitting the on-site terms", 0, 3))
    atoms = fit_atoms(calculations, table, cutoff, settings, charges)
    progress(Event("baseline: fitting the two-centre terms", 1, 3))
    two_centre = _fit_edges(atoms.references, table, cutoff, settings)
    node_scales = _node_scales(table, atoms.residuals)
    if not node_scales:
        raise _nothing_usable(cutoff, settings)
    progress(Event("baseline: measuring its residuals", 2, 3))
    progress(Event(done=3, total=3))
    return Baseline(
        layout, cutoff, two_centre, atoms.on_site, node_scales, atoms.first_round, atoms.h0_terms, atoms.charges
    )


def fit_two_centre(
    calculations: Sequence[Calculation], layout: CoupledLayout, cutoff: float, settings: BaselineSettings = DEFAULTS
) -> TwoCentre:
    """Fit two-centre terms alone.

    Parameters
    ----------
    calculations : sequence of Calculation
        With Hamiltonians.
    layout : CoupledLayout
        Of the blocks.
    cutoff : float
        Å.
    settings : BaselineSettings
        Sizes and penalties.

    Returns
    -------
    TwoCentre
        Of all pairs of elements that occur.
    """
    return _fit_edges([Reference.of(c, layout, cutoff) for c in calculations], IrrepTable(layout), cutoff, settings)


@dataclass(frozen=True, eq=False)
class _AtomFit:
    """On-site terms with their leave-one-out residuals, what was fitted before them, and the edges to be fitted."""

    on_site: OnSite
    residuals: list[dict[int, LeaveOneOut]]
    references: Sequence[Reference]
    first_round: OnSite | None = None
    h0_terms: H0EdgeTerms | None = None
    charges: ChargeModel | None = None


def _fit_with_h0(
    calculations: Sequence[Calculation],
    table: IrrepTable,
    cutoff: float,
    settings: BaselineSettings,
    charges: Sequence[np.ndarray] | None,
) -> _AtomFit:
    started = with_energy_references([H0Reference.of(c, table.layout, cutoff) for c in calculations])
    rounds = fit_two_rounds(started, table, cutoff, settings)
    h0_terms, references = fit_edge_terms(rounds.references, table, cutoff, settings)
    return _AtomFit(rounds.second, rounds.residuals, references, rounds.first, h0_terms)


def _fit_without_h0(
    calculations: Sequence[Calculation],
    table: IrrepTable,
    cutoff: float,
    settings: BaselineSettings,
    charges: Sequence[np.ndarray] | None,
) -> _AtomFit:
    references = [Reference.of(calculation, table.layout, cutoff) for calculation in calculations]
    descriptor = EnvironmentDescriptor(table, cutoff, settings)
    features = [descriptor(reference.structure, reference.graph) for reference in references]
    model: ChargeModel | None = None
    if settings.long_range == "charges":
        structures = [reference.structure for reference in references]
        model, known = fit_charges(descriptor, features, structures, _required(charges))
        descriptor = further = LongRangeDescriptor(table, cutoff, settings)
        features = [
            further.extended(part, reference.structure, reference.graph, model, q)
            for part, reference, q in zip(features, references, known)
        ]
    on_site, residuals = fit_on_site(descriptor, references, features, choose=True)
    return _AtomFit(on_site, residuals, references, charges=model)


def _fit_edges(
    references: Sequence[Reference], table: IrrepTable, cutoff: float, settings: BaselineSettings
) -> TwoCentre:
    edges = TwoCentreFit(table, RadialFunctions(cutoff, settings.pair_functions), settings)
    for reference in references:
        edges.add(reference)
    return edges.solve()


def _node_scales(table: IrrepTable, residuals: Sequence[dict[int, LeaveOneOut]]) -> dict[int, np.ndarray]:
    scales = NodeScaleFit(table)
    for structure in residuals:
        for z, part in structure.items():
            scales.add(z, part.residual)
    return scales.solve()


def _required(charges: Sequence[np.ndarray] | None) -> Sequence[np.ndarray]:
    if charges is None:
        raise InputError(
            "expected charges of the atoms for a baseline with long_range='charges', got none; "
            "they follow from H and S (nearsight.electronic.populations.atomic_charges), or set "
            "long_range='none'"
        )
    return charges


def _nothing_usable(cutoff: float, settings: BaselineSettings) -> InputError:
    atoms = "whose neighbours have one image" if settings.h0 else "without an image of their own"
    return InputError(
        f"expected atoms {atoms} within {cutoff} Å, got none: a matrix at Γ does not tell images apart; "
        "use a larger cell or a matrix in real space"
    )
