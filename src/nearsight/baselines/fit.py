"""Fit a baseline to calculations: once through the data for the terms, once more for what they leave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import ElementDegree, OnSite, OnSiteFit, Surroundings, independent_irreps
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.reference import Reference
from nearsight.baselines.residual_scale import EdgeScaleFit, NodeScaleFit
from nearsight.baselines.ridge import Leverage
from nearsight.baselines.settings import BaselineSettings
from nearsight.baselines.two_centre import TwoCentreFit
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout

Features = tuple[np.ndarray, ...]
DEFAULTS = BaselineSettings()


def fit_baseline(
    calculations: Sequence[Calculation], layout: CoupledLayout, cutoff: float, settings: BaselineSettings = DEFAULTS
) -> Baseline:
    """The baseline of one or more structures. Only sums and the features of atoms are kept, not the edges.

    Args:
        calculations: with Hamiltonians, resolved in R or folded to Γ (see `Reference`).
        layout: coupled layout that has all their elements.
        cutoff: Å.
        settings: sizes and penalties.

    Raises:
        InputError: no calculation, one without Hamiltonian or in another basis, or none with a usable block.
    """
    if not calculations:
        raise InputError("expected at least one calculation to fit a baseline, got none")
    table = IrrepTable(layout)
    surroundings = Surroundings(table, cutoff, settings)
    references = [Reference.of(calculation, layout, cutoff) for calculation in calculations]
    features = [surroundings(reference.structure, reference.graph) for reference in references]
    edges = TwoCentreFit(table, RadialFunctions(cutoff, settings.pair_functions), settings)
    nodes = OnSiteFit(surroundings)
    for reference, known in zip(references, features):
        edges.add(reference)
        nodes.add(reference, known)
    two_centre, (on_site, leverages) = edges.solve(), nodes.solve()
    edge_scales, node_scales = EdgeScaleFit(table, cutoff), NodeScaleFit(table)
    for reference, known in zip(references, features):
        for pair, chosen, blocks in reference.edges():
            vectors = reference.graph.vector[chosen]
            edge_scales.add(pair, np.linalg.norm(vectors, axis=1), blocks - two_centre(pair, vectors))
        _add_nodes(node_scales, reference, known, on_site, leverages)
    found = node_scales.solve()
    if not found:
        raise InputError(f"expected atoms without an image of their own within {cutoff} Å, got none: a matrix at Γ "
                         "does not tell images apart; use a larger cell or a matrix resolved in R")
    return Baseline(layout, cutoff, two_centre, on_site, edge_scales.solve(), found)


def _add_nodes(
    scales: NodeScaleFit, reference: Reference, features: Features, on_site: OnSite,
    leverages: dict[ElementDegree, Leverage],
) -> None:
    """Residuals of the on-site blocks, each as if its own atom had not been fitted."""
    table = on_site.surroundings.table
    for z in reference.structure.elements:
        atoms, blocks = reference.on_site(z)
        own = tuple(part[atoms] for part in features)
        residual = blocks - on_site.of_features(own, reference.structure.numbers[atoms])
        for (element, degree), leverage in leverages.items():
            if element != z or len(atoms) == 0:
                continue
            irreps = independent_irreps(table, z, degree)
            if leverage.offset == 1:  # without its only atom an element has no terms
                left_out = blocks[:, table.columns(irreps)]
            else:
                left_out = leverage.left_out(own[degree], residual[:, table.columns(irreps)])
            for same in (irreps, table.exchanged[irreps]):
                residual[:, table.columns(same)] = left_out
        scales.add(z, residual)
