"""Fitting a baseline: one pass over the data for the terms, and one more for their residuals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.h0.edge_terms import H0EdgeTerms
from nearsight.baselines.h0.on_site import fit_two_rounds
from nearsight.baselines.h0.reference import H0Reference, fit_edge_terms, with_energy_references
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.long_range import ChargeModel, LongRangeDescriptor, fit_charges
from nearsight.baselines.on_site import EnvironmentDescriptor, OnSite, fit_on_site
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.reference import Reference
from nearsight.baselines.residual_scale import EdgeScale, EdgeScaleFit, NodeScaleFit
from nearsight.baselines.settings import BaselineSettings
from nearsight.baselines.two_centre import TwoCentre, TwoCentreFit
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout

DEFAULTS = BaselineSettings()


def fit_baseline(
    calculations: Sequence[Calculation],
    layout: CoupledLayout,
    cutoff: float,
    settings: BaselineSettings = DEFAULTS,
    charges: Sequence[np.ndarray] | None = None,
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
    table = IrrepTable(layout)
    references: Sequence[Reference]
    first_round: OnSite | None = None
    h0_terms: H0EdgeTerms | None = None
    charge_model: ChargeModel | None = None
    if settings.h0:
        started = with_energy_references([H0Reference.of(calculation, layout, cutoff) for calculation in calculations])
        rounds = fit_two_rounds(started, table, cutoff, settings)
        first_round, on_site, residuals = rounds.first, rounds.second, rounds.residuals
        h0_terms, references = fit_edge_terms(rounds.references, table, cutoff, settings)
    else:
        references = [Reference.of(calculation, layout, cutoff) for calculation in calculations]
        descriptor = EnvironmentDescriptor(table, cutoff, settings)
        features = [descriptor(reference.structure, reference.graph) for reference in references]
        if settings.long_range == "charges":
            structures = [reference.structure for reference in references]
            charge_model, known = fit_charges(descriptor, features, structures, _required(charges))
            descriptor = further = LongRangeDescriptor(table, cutoff, settings)
            features = [
                further.extended(part, reference.structure, reference.graph, charge_model, q)
                for part, reference, q in zip(features, references, known)
            ]
        on_site, residuals = fit_on_site(descriptor, references, features)
    edges = TwoCentreFit(table, RadialFunctions(cutoff, settings.pair_functions), settings)
    for reference in references:
        edges.add(reference)
    two_centre, node_scales = edges.solve(), NodeScaleFit(table)
    for parts in residuals:
        for z, part in parts.items():
            node_scales.add(z, part.residual)
    found = node_scales.solve()
    if not found:
        raise _nothing_usable(cutoff, settings)
    edge_scales = _edge_scales(references, two_centre, cutoff)
    return Baseline(layout, cutoff, two_centre, on_site, edge_scales, found, first_round, h0_terms, charge_model)


def _required(charges: Sequence[np.ndarray] | None) -> Sequence[np.ndarray]:
    if charges is None:
        raise InputError(
            "expected charges of the atoms for a baseline with long_range='charges', got none; "
            "they follow from H and S (nearsight.electronic.populations.atomic_charges), or set "
            "long_range='none'"
        )
    return charges


def _edge_scales(references: Sequence[Reference], two_centre: TwoCentre, cutoff: float) -> EdgeScale:
    scales = EdgeScaleFit(two_centre.table, cutoff)
    for reference in references:
        for pair, chosen, blocks in reference.edges():
            vectors = reference.graph.vector[chosen]
            scales.add(pair, np.linalg.norm(vectors, axis=1), blocks - two_centre(pair, vectors))
    return scales.solve()


def _nothing_usable(cutoff: float, settings: BaselineSettings) -> InputError:
    atoms = "whose neighbours have one image" if settings.h0 else "without an image of their own"
    return InputError(
        f"expected atoms {atoms} within {cutoff} Å, got none: a matrix at Γ does not tell images apart; "
        "use a larger cell or a matrix in real space"
    )
