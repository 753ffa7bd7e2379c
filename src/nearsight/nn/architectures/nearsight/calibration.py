"""Calibration of the last-layer uncertainty of a trained model on the validation bonds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from scipy.optimize import nnls

from nearsight.baselines.residual_scale import add_to_bins, bin_centres, scale_at, smoothed
from nearsight.nn.architectures.nearsight.batches import BondBatch, BondBatchPlan, BondSource
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork
from nearsight.nn.architectures.nearsight.graph import ElementPair
from nearsight.nn.architectures.nearsight.informed import InformedTerms
from nearsight.nn.architectures.nearsight.uncertainty import LastLayerUncertainty, inverse_cholesky, leverage
from nearsight.nn.batches import PlannedBatches
from nearsight.units import HARTREE_IN_EV

BondModel = BaselinePlusNetwork | InformedTerms

SMALLEST = 1e-4
"""Lowest r.m.s. error in units of the outputs."""

FEWEST = 30
"""Number of validation bonds of a pair of elements below which its errors are calibrated on the training bonds."""


@torch.no_grad()
def fit_uncertainty(
    model: BondModel, training: PlannedBatches[BondBatch], validation: PlannedBatches[BondBatch]
) -> LastLayerUncertainty:
    """Fit and calibrate the last-layer uncertainty of a model.

    Parameters
    ----------
    model : BaselinePlusNetwork or InformedTerms
        Trained; the batches of the other one are skipped.
    training : PlannedBatches of BondBatch
        The batches that it was trained on.
    validation : PlannedBatches of BondBatch
        The batches that it was not trained on; batches of folded sums are skipped.

    Returns
    -------
    LastLayerUncertainty
        The calibrated uncertainty.
    """
    moments: dict[ElementPair, list[np.ndarray]] = {}
    counts: dict[ElementPair, int] = {}
    for batch in _single(model, training):
        features = model.network.features(batch.graph)
        for pair, bonds in batch.graph.bonds.items():
            rows = [z.double().flatten(0, 1) for z in model.network.outputs_and_hidden(features, pair, bonds)[1]]
            own = [(z.T @ z).cpu().numpy() / max(len(z) // max(len(bonds), 1), 1) for z in rows]
            moments[pair] = [a + b for a, b in zip(moments[pair], own)] if pair in moments else own
            counts[pair] = counts.get(pair, 0) + len(bonds)
    inverse_factors = {pair: [inverse_cholesky(m / counts[pair]) for m in own] for pair, own in moments.items()}
    training_errors = _errors(model, training, inverse_factors)
    centres = bin_centres(model.config.cutoff)
    rms_profiles = {
        pair: np.column_stack([_profile(block, len(centres)) for block in own]) for pair, own in training_errors.items()
    }
    calibration = _calibrate(training_errors, _errors(model, validation, inverse_factors), centres, rms_profiles)
    sources = list({id(plan.source): plan.source for plan in _plans(training) if _is_of(model, plan)}.values())
    known = LastLayerUncertainty(
        inverse_factors,
        calibration,
        centres,
        rms_profiles,
        *_atoms(model, sources),
        1.0,
        _on_site_ratio(model, sources),
    )
    return replace(known, mean_to_rms=_ratio(model, validation if len(validation) else training, known))


def _plans(batches: PlannedBatches[BondBatch]) -> list[BondBatchPlan]:
    """Return the plans of batches, with their type."""
    return cast("list[BondBatchPlan]", batches.plans)


def _single(model: BondModel, batches: PlannedBatches[BondBatch]) -> list[BondBatch]:
    """Return the batches of a model's bonds that are compared one by one, not as sums over images."""
    return [batches[k] for k, plan in enumerate(_plans(batches)) if not plan.folded and _is_of(model, plan)]


def _is_of(model: BondModel, plan: BondBatchPlan) -> bool:
    return plan.source.informed == isinstance(model, InformedTerms)


Errors = dict[ElementPair, list[list[np.ndarray]]]
"""Lengths of bonds, leverages q, and mean squares of errors in units of outputs, for every block of every pair."""


def _calibrate(
    training: Errors, validation: Errors, centres: np.ndarray, rms_profiles: dict[ElementPair, np.ndarray]
) -> dict[ElementPair, np.ndarray]:
    """Return c0 and c1 of every block of every pair of elements."""
    result = {}
    for pair, own in training.items():
        errors = validation[pair] if pair in validation and len(validation[pair][0][0]) >= FEWEST else own
        lines = []
        for k, (distance, q, squares) in enumerate(errors):
            lines.append(_line(q, squares / scale_at(centres, rms_profiles[pair], distance)[:, k] ** 2))
        result[pair] = np.array(lines)
    return result


def _profile(block: Sequence[np.ndarray], bins: int) -> np.ndarray:
    """Return the (G,) r.m.s. error as a function of the bond's length."""
    distance, _, squares = block
    sums = np.zeros((bins, 2))
    add_to_bins(sums, distance, np.column_stack([np.ones(len(squares)), squares]))
    return smoothed(sums)[:, 0] + SMALLEST


def _ratio(model: BondModel, batches: PlannedBatches[BondBatch], known: LastLayerUncertainty) -> float:
    """Return the mean |error| of matrix elements over the mean of the r.m.s. errors expected of their blocks."""
    absolute = expected = 0.0
    for batch in _single(model, batches):
        features = model.network.features(batch.graph)
        for pair, bonds in batch.graph.bonds.items():
            outputs, hidden = model.network.outputs_and_hidden(features, pair, bonds)
            unit = batch.unit[pair].double().cpu().numpy()
            error = (outputs - batch.targets[pair].values).double().cpu().numpy() * unit
            squares = known.bond_variances(model.network, hidden, pair, bonds) * unit**2
            absolute += float(np.abs(error).sum())
            expected += float(np.sqrt(squares.mean(axis=1)).sum()) * error.shape[1]
    return absolute / expected if expected else 1.0


def _errors(
    model: BondModel, batches: PlannedBatches[BondBatch], inverse_factors: dict[ElementPair, list[np.ndarray]]
) -> Errors:
    """Return lengths, leverages and mean squared errors of all bonds, block by block."""
    found: Errors = {}
    for batch in _single(model, batches):
        features = model.network.features(batch.graph)
        for pair, bonds in batch.graph.bonds.items():
            outputs, hidden = model.network.outputs_and_hidden(features, pair, bonds)
            squares = (outputs - batch.targets[pair].values).double().square().cpu().numpy()
            distance = bonds.distance.double().cpu().numpy()
            own = found.setdefault(pair, [[np.empty(0)] * 3 for _ in hidden])
            at = 0
            for k, (z, inverse_factor, block) in enumerate(
                zip(hidden, inverse_factors[pair], model.network.pair(pair).blocks)
            ):
                width = block.components * block.outputs
                mean = squares[:, at : at + width].mean(axis=1) if width else np.zeros(len(bonds))
                own[k] = [
                    np.append(old, new) for old, new in zip(own[k], (distance, leverage(z, inverse_factor), mean))
                ]
                at += width
    return found


def _line(q: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Fit a non-negative c0 + c1 q to the mean squares of errors in bins of equal numbers of bonds."""
    order = np.array_split(np.argsort(q), max(2, min(10, len(q) // 20)))
    rows = np.array([[1.0, q[k].mean(), squares[k].mean()] for k in order if len(k)])
    return np.asarray(nnls(rows[:, :2], rows[:, 2])[0])


def _on_site_ratio(model: BondModel, sources: Sequence[BondSource]) -> float:
    """Return the mean |error| over the mean of blocks' r.m.s. errors, of the baseline on the training atoms."""
    absolute = expected = 0.0
    for source in sources:
        numbers, hamiltonian = source.calculation.structure.numbers, source.calculation.require_hamiltonian()
        for z in np.unique(numbers).tolist():
            atoms = np.flatnonzero(numbers == z)
            blocks = hamiltonian.blocks((z, z), atoms, atoms)
            error = blocks / HARTREE_IN_EV - model.layout.uncouple(source.on_site[atoms], z, z)
            absolute += float(np.abs(error).sum())
            expected += float(np.sqrt((error**2).mean(axis=(1, 2))).sum()) * error[0].size
    return absolute / expected if expected else 1.0


def _atoms(model: BondModel, sources: Sequence[BondSource]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return inverse factor, threshold and number of atoms for every element."""
    rows = np.concatenate([model.network.descriptors(s.tensors).double().cpu().numpy() for s in sources])
    element = np.concatenate([s.atoms.element for s in sources])
    inverse_factors, limits, counts = [], [], []
    for k in range(len(model.network.elements)):
        own = rows[element == k]
        inverse_factor = inverse_cholesky(own.T @ own / max(len(own), 1))
        h = ((own @ inverse_factor.T) ** 2).sum(axis=1) / max(len(own), 1)
        # Sherman-Morrison: q of each atom with its own contribution to A taken out.
        unseen = h / np.maximum(1 - h, 1e-6) * max(len(own), 1) / rows.shape[1]
        inverse_factors.append(inverse_factor)
        limits.append(unseen.max() if len(own) else 0.0)
        counts.append(max(len(own), 1))
    return inverse_factors, np.array(limits), np.array(counts, dtype=float)
