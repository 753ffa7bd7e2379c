"""Long range: symmetries, charges that follow from the surroundings, and how far an atom then sees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.long_range import fit_charges
from nearsight.baselines.on_site import EnvironmentDescriptor
from nearsight.baselines.serialisation import from_arrays, to_arrays
from nearsight.electrostatics.potential import electrostatics
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.operators.symmetry import permute, rotate
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import CUTOFF, LAYOUT, SMALL, operator_of, random_calculation
from tests.random_cases import HFO2_SZV

LONG_RANGE = replace(SMALL, long_range="charges")


def charges_of(calculations: Sequence[Calculation]) -> list[np.ndarray]:
    """1.4 and −0.7 e, and a random part."""
    rng = np.random.default_rng(9)
    return [
        np.where(c.structure.numbers == 72, 1.4, -0.7) + 0.1 * rng.standard_normal(len(c.structure))
        for c in calculations
    ]


@cache
def random_long_range() -> Baseline:
    calculations = [random_calculation(1), random_calculation(2)]
    return fit_baseline(calculations, LAYOUT, CUTOFF, LONG_RANGE, charges_of(calculations))


STRUCTURE = random_calculation(3).structure
GRAPH = build_graph(STRUCTURE, CUTOFF)


def test_symmetries(rng: np.random.Generator) -> None:
    """Improper rotation, permutation, translation, other images of atoms."""
    baseline = random_long_range()
    known, order = operator_of(baseline, STRUCTURE, GRAPH), rng.permutation(len(STRUCTURE))
    rotation = -Rotation.random(random_state=4).as_matrix()
    images = STRUCTURE.translated(rng.integers(-2, 3, (len(STRUCTURE), 3)) @ STRUCTURE.cell)
    for other, expected in (
        (STRUCTURE.rotated(rotation), rotate(known, rotation).values),
        (STRUCTURE.permuted(order), permute(known, order).values),
        (STRUCTURE.translated(np.array([0.4, 1.0, -2.0])), known.values),
    ):
        found = operator_of(baseline, other, build_graph(other, CUTOFF))
        np.testing.assert_allclose(found.values, expected, atol=1e-8)
    nodes = baseline.nodes(images, build_graph(images, CUTOFF))
    np.testing.assert_allclose(nodes, baseline.nodes(STRUCTURE, GRAPH), atol=1e-9)
    assert np.array_equal(nodes[:, baseline.table.exchanged_columns], nodes)


def test_a_larger_graph_and_a_supercell_change_nothing() -> None:
    baseline = random_long_range()
    known = baseline.nodes(STRUCTURE, GRAPH)
    np.testing.assert_allclose(baseline.nodes(STRUCTURE, build_graph(STRUCTURE, CUTOFF + 0.7)), known, atol=1e-10)
    positions = np.concatenate([STRUCTURE.positions, STRUCTURE.positions + STRUCTURE.cell[1]])
    double = Structure(np.tile(STRUCTURE.numbers, 2), positions, np.diag([1, 2, 1]) @ STRUCTURE.cell, STRUCTURE.pbc)
    found = baseline.nodes(double, build_graph(double, CUTOFF))
    np.testing.assert_allclose(found, np.tile(known, (2, 1)), atol=1e-8)


def test_an_atom_sees_charges_beyond_the_hops() -> None:
    """A chain with steps of 3 Å and a cutoff of 4 Å: without long range the third neighbour is too far."""
    baseline = random_long_range()
    chain = Structure([72, 8, 72, 8], [[0.0, 0, 3.0 * k] for k in range(4)], np.zeros((3, 3)), np.zeros(3, bool))
    moved = chain.translated(np.array([[0.0, 0, 0]] * 3 + [[0, 0.3, 0]]))
    before, after = (baseline.nodes(s, build_graph(s, CUTOFF))[0] for s in (chain, moved))
    assert np.abs(after - before).max() > 1e-6
    model, plain = baseline.charges, EnvironmentDescriptor(baseline.table, CUTOFF, LONG_RANGE)
    assert model is not None
    features = plain(chain, build_graph(chain, CUTOFF))
    assert model(features[0], chain.numbers).sum() == pytest.approx(0, abs=1e-12)


def test_charges_that_follow_from_the_surroundings_are_recovered() -> None:
    descriptor = EnvironmentDescriptor(random_long_range().table, CUTOFF, replace(SMALL, scalar_ridge=1e-10))
    structures = [random_calculation(seed, 60).structure for seed in (1, 2)]
    features = [descriptor(s, build_graph(s, CUTOFF)) for s in structures]
    weights = np.random.default_rng(0).standard_normal((descriptor.n_features(0), 1, 1)) / 100
    charges = [
        np.einsum("nfm,fkm->n", part[0], weights) + np.where(s.numbers == 72, 2.0, -1.0)
        for part, s in zip(features, structures)
    ]
    charges = [q - q.mean() for q in charges]
    whole = np.concatenate(charges)
    model, leave_one_out = fit_charges(descriptor, features[:1], structures[:1], charges[:1])
    np.testing.assert_allclose(model(features[0][0], structures[0].numbers), charges[0], atol=1e-4 * np.ptp(whole))
    assert np.abs(leave_one_out[0] - charges[0]).max() < 0.05 * np.ptp(whole)


def test_on_site_blocks_that_follow_from_a_potential_are_learnt() -> None:
    """H is −V of ionic charges on the diagonal: with long range an unseen structure is predicted, without it is not."""
    made, charges = [], []
    for seed in range(5):
        calculation = random_calculation(seed, 20)
        structure = calculation.structure
        q = np.where(structure.numbers == 72, 2.0, -1.0)
        h = calculation.require_hamiltonian()
        values, potential = np.zeros(h.n_values), electrostatics(structure, q).potential
        for pair in np.flatnonzero(h.on_site):
            size = HFO2_SZV.n_orbitals(int(structure.numbers[h.source[pair]]))
            diagonal = -potential[h.source[pair]] * np.eye(size)
            values[h.offsets[pair] : h.offsets[pair + 1]] = diagonal.reshape(-1)
        made.append(replace(calculation, hamiltonian=h.with_values(values)))
        charges.append(q)
    unseen = made[-1].structure
    expected = made[-1].require_hamiltonian()
    left = []
    for settings in (SMALL, LONG_RANGE):
        settings = replace(settings, scalar_ridge=1e-8)
        baseline = fit_baseline(made[:-1], LAYOUT, CUTOFF, settings, charges[:-1])
        found = operator_of(baseline, unseen, build_graph(unseen, CUTOFF))
        left.append(np.abs(found.select(found.on_site).values - expected.select(expected.on_site).values).max())
    assert left[1] < 1e-3
    assert left[0] > 0.1


def test_a_file_gives_back_the_same_baseline() -> None:
    baseline = random_long_range()
    arrays, metadata = to_arrays(baseline)
    assert {"charge.O.weights", "charge.Hf.constant"} <= set(arrays)
    read = from_arrays(arrays, json.loads(json.dumps(metadata)))
    assert np.array_equal(read.nodes(STRUCTURE, GRAPH), baseline.nodes(STRUCTURE, GRAPH))
    with pytest.raises(InputError, match=r"without 'charge.O.weights'"):
        from_arrays({name: array for name, array in arrays.items() if name != "charge.O.weights"}, metadata)


def test_the_only_atom_of_an_element() -> None:
    structure = Structure([72, 8, 8], [[0.0, 0, 0], [2.1, 0, 0], [0, 2.2, 0]], np.zeros((3, 3)), np.zeros(3, bool))
    made = Calculation(structure, HFO2_SZV, operator_of(random_long_range(), structure, build_graph(structure, CUTOFF)))
    baseline = fit_baseline([made], LAYOUT, CUTOFF, LONG_RANGE, [np.array([1.4, -0.7, -0.7])])
    assert np.isfinite(baseline.nodes(structure, build_graph(structure, CUTOFF))).all()


def test_what_does_not_fit_is_refused() -> None:
    calculation = random_calculation(1)
    with pytest.raises(InputError, match="expected charges of the atoms for a baseline with long_range"):
        fit_baseline([calculation], LAYOUT, CUTOFF, LONG_RANGE)
    with pytest.raises(InputError, match=r"for every atom of every structure, \[\(24,\)\], got \[\(3,\)\]"):
        fit_baseline([calculation], LAYOUT, CUTOFF, LONG_RANGE, [np.zeros(3)])
    for other in ("strictly_local", "h0"):
        with pytest.raises(InputError, match=f"expected long_range='none' with {other}"):
            replace(LONG_RANGE, **{other: True})
    with pytest.raises(InputError, match="long_range to be none or charges, got 'on'"):
        replace(SMALL, long_range="on")
