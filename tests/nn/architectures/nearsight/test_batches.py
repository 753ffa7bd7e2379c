"""Bonds in parts: every bond once, targets that are the residual, sums over images in small cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nearsight.inference.predict import predict_hamiltonian
from nearsight.nn.architectures.nearsight.batches import MEV, BondSource, random_split
from nearsight.nn.architectures.nearsight.config import NearsightLoss
from nearsight.nn.architectures.nearsight.objective import bond_error, validate_bonds
from nearsight.nn.batches import PlannedBatches
from nearsight.nn.error_sums import ErrorSums
from nearsight.operators.bloch import fold
from nearsight.operators.calculation import Calculation
from tests.baselines.random_baseline import random_calculation
from tests.nn.architectures.nearsight.random_model import random_bond_model

MODEL = random_bond_model()
LOSS = NearsightLoss(huber_delta=0.0, weight_power=1.0)


def predicted(n_units: int, folded: bool) -> Calculation:
    """A structure with the model's own prediction as its reference: the right answer is known."""
    calculation = random_calculation(5, n_units=n_units)
    operator = predict_hamiltonian(MODEL, calculation.structure)
    return replace(calculation, hamiltonian=fold(operator) if folded else operator)


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("n_units", [2, 8])
def test_the_model_has_no_error_on_its_own_prediction(n_units: int, folded: bool) -> None:
    """Resolved in R, and folded to Γ in cells where most pairs have several images."""
    source = BondSource(predicted(n_units, folded), MODEL, LOSS)
    parts = random_split(source, 50, 0)
    assert any(part.folded for part in parts) == (folded and n_units == 2)
    errors = ErrorSums()
    for part in parts:
        batch = part.build()
        assert batch.n_terms == part.n_terms
        assert float(bond_error(MODEL.network, batch).detach()) < 1e-10 * part.n_terms
        assert validate_bonds(MODEL.network, batch, errors) < 1e-10 * part.n_terms
    # What symmetry keeps from being learnt, pseudoscalars along the bond, is zero in a prediction.
    assert errors.summary()["eps_e_mEh"] < 1e-6
    assert errors.edge_count > 100


@pytest.mark.parametrize("folded", [False, True])
def test_every_bond_is_in_one_part(folded: bool) -> None:
    source = BondSource(predicted(3, folded), MODEL, LOSS)
    parts = random_split(source, 40, 1)
    for kind, edges in ((False, source.single_edges()), (True, source.folded_edges())):
        for pair, own in edges.items():
            split = [part.edges[pair] for part in parts if part.folded == kind and pair in part.edges]
            np.testing.assert_array_equal(np.sort(np.concatenate([*split, np.empty(0, np.int64)])), own)
    for part in parts:
        if part.folded:
            images = [
                (int(source.graph.source[e]), int(source.graph.target[e])) for own in part.edges.values() for e in own
            ]
            elsewhere = [
                (int(source.graph.source[e]), int(source.graph.target[e]))
                for other in parts
                if other is not part and other.folded
                for own in other.edges.values()
                for e in own
            ]
            assert not set(images) & set(elsewhere)


def test_the_gradient_of_folded_sums_is_that_of_finite_differences() -> None:
    calculation = predicted(2, True)
    source = BondSource(calculation, MODEL, NearsightLoss(huber_delta=0.3, weight_power=0.5))
    batch = next(part for part in random_split(source, 10_000, 0) if part.folded).build()
    weight = MODEL.network.mix[0]
    MODEL.network.zero_grad()
    with torch.no_grad():
        weight += 0.05
    try:
        bond_error(MODEL.network, batch).backward()
        place = np.unravel_index(int(weight.grad.abs().argmax()), weight.shape)
        step, values = 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
                values.append(float(bond_error(MODEL.network, batch)))
                weight[place] -= sign * step
    finally:
        with torch.no_grad():
            weight -= 0.05
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(weight.grad[place]), rel=1e-5)


def test_targets_are_residuals_in_units_of_their_scale() -> None:
    """A reference off by a block in one bond: only this bond's target changes, by that block over the scale."""
    calculation = predicted(8, False)
    source = BondSource(calculation, MODEL, LOSS)
    pair, edges = next(iter(source.single_edges().items()))
    hamiltonian = calculation.require_hamiltonian()
    shifted = replace(hamiltonian, values=hamiltonian.values.copy())
    graph = source.graph
    found = hamiltonian.find(*(x[edges[:1]] for x in (graph.source, graph.target, graph.shift)))
    block = np.random.default_rng(0).standard_normal(hamiltonian.stack(found)[0].shape)
    shifted.put(found, hamiltonian.stack(found) + block)
    before = source.make({pair: edges})
    after = BondSource(replace(calculation, hamiltonian=shifted), MODEL, LOSS).make({pair: edges})
    change = (after.targets[pair].values - before.targets[pair].values).numpy()
    assert np.abs(change[1:]).max() < 1e-12
    size = np.linalg.norm(change[0] * before.unit[pair][0].numpy()) / MEV * 27.211386245988
    assert size == pytest.approx(np.linalg.norm(block), rel=0.5)
    assert size <= np.linalg.norm(block) * (1 + 1e-9)


@pytest.mark.exact
def test_kept_and_remade_parts_are_the_same_to_the_last_bit() -> None:
    parts = random_split(BondSource(predicted(8, False), MODEL, LOSS), 60, 0)
    batches = PlannedBatches(parts)
    first, again = batches[1], parts[1].build()
    assert batches[1] is first
    for pair, target in first.targets.items():
        assert torch.equal(target.values, again.targets[pair].values)
        assert torch.equal(target.weights, again.targets[pair].weights)


def test_bonds_without_overlap_are_learnt() -> None:
    """H has blocks where S has none: all edges within the cutoff are there, with H's blocks, whatever S has."""
    whole = random_calculation(5)
    s = whole.require_hamiltonian()
    without = replace(whole, overlap=s.select(s.on_site))
    source, other = (BondSource(c, MODEL, LOSS) for c in (without, whole))
    edges = source.single_edges()
    assert 2 * sum(map(len, edges.values())) == source.graph.n_edges > 100
    for pair, own in edges.items():
        values = [x.make({pair: own}).targets[pair].values for x in (source, other)]
        assert torch.equal(*values)
        assert bool((values[0] != 0).any(dim=1).all())
