"""Bond terms of a model: when they are fitted, and what is left of H for its network.

A network that has seen some hundred molecules knows their bonds by heart; linear terms with a penalty chosen by
cross-validation predict unseen ones, as the regression does on site. What the network is trained on is what fits
without the molecule in question leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np
import torch

from nearsight.baselines.baseline import Baseline, pair_name
from nearsight.baselines.bond_terms import BondTerms
from nearsight.baselines.bond_terms_fit import FEWEST, FittedBondTerms, blocks_between, fit_bond_terms
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork
from nearsight.nn.architectures.nearsight.informed_bonds import without_bonds
from nearsight.nn.architectures.nearsight.network import name
from nearsight.nn.architectures.nearsight.pair_network import PairNetwork
from nearsight.nn.model import TrainingTask
from nearsight.operators.blocks import ElementPair
from nearsight.operators.calculation import Calculation

M = TypeVar("M", bound=BaselinePlusNetwork)
Blocks = Mapping[ElementPair, np.ndarray]


def fitted_bond_terms(task: TrainingTask, baseline: Baseline) -> FittedBondTerms | None:
    """Return bond terms of many molecules; None of other data, and where they do not make unseen errors smaller."""
    training = task.training
    if len(training) < FEWEST or any(c.structure.pbc.any() for c in training):
        return None
    fitted = fit_bond_terms(training, baseline)
    for pair, (before, after) in fitted.errors.items():
        if pair in fitted.terms.pairs:
            task.say(
                f"bonds {pair_name(pair)}: linear terms of what stands around them, unseen molecules "
                f"{1e3 * before:.3g} → {1e3 * after:.3g} mE_h"
            )
    return fitted if fitted.terms.pairs else None


def with_terms(model: M, fitted: FittedBondTerms) -> M:
    """Return a new model with bond terms, whose network says nothing of their pairs of elements before it is trained.

    Random outputs, though small, are ten times the errors of these terms.
    """
    with torch.no_grad():
        for pair in fitted.terms.pairs:
            for weights in cast(PairNetwork, model.network.pairs[name(pair)]).last:
                weights.zero_()
    return replace(model, bond_terms=fitted.terms, fitted_terms=fitted)


def without_two_centre(baseline: Baseline, pairs: Sequence[ElementPair]) -> Baseline:
    """Return a baseline whose two-centre terms of some pairs of elements are zero."""
    known = baseline.two_centre
    coefficients = {p: np.zeros_like(c) if p in pairs else c for p, c in known.coefficients.items()}
    return replace(baseline, two_centre=replace(known, coefficients=coefficients))


def without_terms(calculations: Sequence[Calculation], blocks: Sequence[Blocks], cutoff: float) -> list[Calculation]:
    """Return calculations whose H lacks blocks (E_h) between atoms."""
    return [without_bonds(calculation, own, cutoff) for calculation, own in zip(calculations, blocks)]


def predicted_blocks(terms: BondTerms, calculations: Sequence[Calculation]) -> list[dict[ElementPair, np.ndarray]]:
    """Return the blocks of bond terms for structures, E_h."""
    return [blocks_between(terms, calculation.structure) for calculation in calculations]


def unseen_blocks(
    terms: BondTerms, known: FittedBondTerms | None, baseline: Baseline, training: Sequence[Calculation], resumed: bool
) -> Sequence[Blocks]:
    """Return what fits without each training structure make of it; what the terms do where these are of other data.

    A file holds the terms alone: of a run that goes on the fit is repeated.
    """
    if known is None and resumed:
        known = fit_bond_terms(training, baseline)
        ours, again = terms.weights, known.terms.weights
        if set(ours) != set(again) or not all(np.allclose(ours[k], again[k], rtol=1e-4, atol=1e-6) for k in ours):
            known = None
    return known.unseen if known is not None else predicted_blocks(terms, training)
