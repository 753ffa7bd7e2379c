"""Calibrate the uncertainty of a trained model on bonds that were held out."""

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
from nearsight.nn.architectures.nearsight.uncertainty import Uncertainty, inverse_root, leverage
from nearsight.nn.batches import PlannedBatches
from nearsight.units import HARTREE_IN_EV

SMALLEST = 1e-4
"""Of an error in units of the outputs."""

FEWEST = 30
"""Held-out bonds of a pair below which its errors are calibrated on the training bonds."""


@torch.no_grad()
def fit_uncertainty(
    model: BaselinePlusNetwork, train: PlannedBatches[BondBatch], held: PlannedBatches[BondBatch]
) -> Uncertainty:
    """The uncertainty of a model.

    Args:
        model: trained.
        train: what it was trained on.
        held: what it was not; batches of folded sums are passed over.
    """
    moments: dict[ElementPair, list[np.ndarray]] = {}
    counts: dict[ElementPair, int] = {}
    for batch in _single(train):
        features = model.network.features(batch.graph)
        for pair, bonds in batch.graph.bonds.items():
            rows = [z.double().flatten(0, 1) for z in model.network.hidden(features, pair, bonds)]
            own = [(z.T @ z).cpu().numpy() / max(len(z) // max(len(bonds), 1), 1) for z in rows]
            moments[pair] = [a + b for a, b in zip(moments[pair], own)] if pair in moments else own
            counts[pair] = counts.get(pair, 0) + len(bonds)
    roots = {pair: [inverse_root(m / counts[pair]) for m in own] for pair, own in moments.items()}
    seen = _errors(model, train, roots)
    centres = bin_centres(model.config.cutoff)
    profiles = {pair: np.column_stack([_profile(block, len(centres)) for block in own]) for pair, own in seen.items()}
    calibration = _calibrate(seen, _errors(model, held, roots), centres, profiles)
    sources = list({id(plan.source): plan.source for plan in _plans(train)}.values())
    known = Uncertainty(
        roots, calibration, centres, profiles, *_atoms(model, sources), 1.0, _on_site_ratio(model, sources)
    )
    return replace(known, ratio=_ratio(model, held if len(held) else train, known))


def _plans(batches: PlannedBatches[BondBatch]) -> list[BondBatchPlan]:
    return cast("list[BondBatchPlan]", batches.plans)


def _single(batches: PlannedBatches[BondBatch]) -> list[BondBatch]:
    """The batches of bonds that are compared one by one, not as sums over images."""
    return [batches[k] for k, plan in enumerate(_plans(batches)) if not plan.folded]


Errors = dict[ElementPair, list[list[np.ndarray]]]
"""For every block of every pair: lengths of bonds, their q, and mean squares of their errors in units of outputs."""


def _calibrate(
    seen: Errors, held: Errors, centres: np.ndarray, profiles: dict[ElementPair, np.ndarray]
) -> dict[ElementPair, np.ndarray]:
    """c0, c1 of every block of every pair."""
    result = {}
    for pair, own in seen.items():
        judged = held[pair] if pair in held and len(held[pair][0][0]) >= FEWEST else own
        lines = []
        for k, (distance, q, squares) in enumerate(judged):
            lines.append(_line(q, squares / scale_at(centres, profiles[pair], distance)[:, k] ** 2))
        result[pair] = np.array(lines)
    return result


def _profile(block: Sequence[np.ndarray], bins: int) -> np.ndarray:
    """(G,) r.m.s. error by length."""
    distance, _, squares = block
    sums = np.zeros((bins, 2))
    add_to_bins(sums, distance, np.column_stack([np.ones(len(squares)), squares]))
    return smoothed(sums)[:, 0] + SMALLEST


def _ratio(model: BaselinePlusNetwork, batches: PlannedBatches[BondBatch], known: Uncertainty) -> float:
    """Mean |error| of matrix elements over the mean of the r.m.s. errors expected of their blocks."""
    absolute = expected = 0.0
    for batch in _single(batches):
        features = model.network.features(batch.graph)
        outputs = model.network.outputs(features, batch.graph.bonds)
        for pair, bonds in batch.graph.bonds.items():
            unit = batch.unit[pair].double().cpu().numpy()
            error = (outputs[pair] - batch.targets[pair].values).double().cpu().numpy() * unit
            squares = known.bond_squares(model.network, features, pair, bonds) * unit**2
            absolute += float(np.abs(error).sum())
            expected += float(np.sqrt(squares.mean(axis=1)).sum()) * error.shape[1]
    return absolute / expected if expected else 1.0


def _errors(
    model: BaselinePlusNetwork, batches: PlannedBatches[BondBatch], roots: dict[ElementPair, list[np.ndarray]]
) -> Errors:
    found: Errors = {}
    for batch in _single(batches):
        features = model.network.features(batch.graph)
        outputs = model.network.outputs(features, batch.graph.bonds)
        for pair, bonds in batch.graph.bonds.items():
            hidden = model.network.hidden(features, pair, bonds)
            squares = (outputs[pair] - batch.targets[pair].values).double().square().cpu().numpy()
            distance = bonds.distance.double().cpu().numpy()
            own = found.setdefault(pair, [[np.empty(0)] * 3 for _ in hidden])
            at = 0
            for k, (z, root, block) in enumerate(zip(hidden, roots[pair], model.network.pair(pair).blocks)):
                width = block.components * block.outputs
                mean = squares[:, at : at + width].mean(axis=1) if width else np.zeros(len(bonds))
                own[k] = [np.append(old, new) for old, new in zip(own[k], (distance, leverage(z, root), mean))]
                at += width
    return found


def _line(q: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Non-negative c0 + c1 q through the mean squares of errors in bins of equal numbers of bonds."""
    order = np.array_split(np.argsort(q), max(2, min(10, len(q) // 20)))
    rows = np.array([[1.0, q[k].mean(), squares[k].mean()] for k in order if len(k)])
    return np.asarray(nnls(rows[:, :2], rows[:, 2])[0])


def _on_site_ratio(model: BaselinePlusNetwork, sources: Sequence[BondSource]) -> float:
    """Mean |error| over the mean of blocks' r.m.s. errors, of the baseline on the training atoms."""
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


def _atoms(
    model: BaselinePlusNetwork, sources: Sequence[BondSource]
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Root, limit and number for every element."""
    rows = np.concatenate([model.network.descriptors(s.tensors).double().cpu().numpy() for s in sources])
    element = np.concatenate([s.atoms.element for s in sources])
    roots, limits, counts = [], [], []
    for k in range(len(model.network.elements)):
        own = rows[element == k]
        root = inverse_root(own.T @ own / max(len(own), 1))
        h = ((own @ root.T) ** 2).sum(axis=1) / max(len(own), 1)
        # Sherman-Morrison: q of each atom with its own contribution to A taken out.
        unseen = h / np.maximum(1 - h, 1e-6) * max(len(own), 1) / rows.shape[1]
        roots.append(root)
        limits.append(unseen.max() if len(own) else 0.0)
        counts.append(max(len(own), 1))
    return roots, np.array(limits), np.array(counts, dtype=float)
