"""Physical errors: zero where nothing is wrong, known where the error is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf

from nearsight.electronic.eigen import solve, solve_states
from nearsight.electronic.evaluation import evaluate
from nearsight.electronic.spectrum import States
from nearsight.electronic.spectrum_errors import dos_distance, level_errors, state_errors
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from tests.electronic.small_models import chain_calculation

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def oxide() -> Calculation:
    return read_calculation(DATA / "aHfO1.8_96_train.h5")


def shifted(calculation: Calculation, shift: float) -> Calculation:
    """H + shift · S."""
    h, s = fold(calculation.require_hamiltonian()), fold(calculation.require_overlap())
    s = s.on_pairs(h.source, h.target, h.shift)
    return replace(calculation, hamiltonian=h.with_values(h.values + shift * s.values))


def test_the_same_matrices_have_no_errors(oxide):
    result = evaluate(oxide, oxide, states=True)
    levels, states = result.levels, result.states
    assert (levels.gap, levels.fermi, levels.dos, levels.band_energy) == (0, 0, 0, 0)
    assert states.homo_overlap == pytest.approx(1)
    assert states.lumo_overlap == pytest.approx(1)
    assert abs(states.misplaced) < 1e-10
    assert states.largest_charge < 1e-10


def test_a_common_shift_is_told_apart(oxide):
    """H + c S: every level moves by c, and nothing else changes."""
    result = evaluate(shifted(oxide, 0.25), oxide, states=True)
    levels = result.levels
    for value in (levels.homo, levels.lumo, levels.fermi, levels.shift):
        assert value == pytest.approx(0.25, abs=1e-4)
    assert abs(levels.gap) < 1e-4
    assert levels.occupied_shifted < 1e-4
    assert levels.dos_shifted < 1e-3 < 0.3 < levels.dos_occupied
    electrons = oxide.n_electrons
    assert levels.band_energy == pytest.approx(0.25 * electrons / len(oxide.structure), rel=1e-3)
    assert result.states.homo_overlap == pytest.approx(1, abs=1e-6)
    assert result.states.charge < 1e-5


def test_mixing_by_a_known_angle():
    """Two levels, whose states are turned by an angle: the overlap is cos², and sin² of the electrons are misplaced."""
    chain = chain_calculation(2, -1.0, -0.5, 0.0)
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    reference = solve_states(np.diag([-1.0, 1.0]), np.eye(2), 2)
    prediction = States(reference.spectrum, turn @ reference.coefficients)
    found = state_errors(prediction, reference, np.eye(2), chain)
    assert found.homo_overlap == pytest.approx(np.cos(angle) ** 2)
    assert found.lumo_overlap == pytest.approx(np.cos(angle) ** 2)
    assert found.misplaced == pytest.approx(np.sin(angle) ** 2)
    assert found.charge == pytest.approx(2 * np.sin(angle) ** 2)


def test_degenerate_states_may_be_turned():
    """Any two states in the space of a degenerate HOMO are as good."""
    chain = chain_calculation(4, -1.0, -0.5, 0.0)
    reference = solve_states(np.diag([-1.0, -1.0, 1.0, 1.0]), np.eye(4), 4)
    turn = np.eye(4)
    turn[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    found = state_errors(States(reference.spectrum, turn @ reference.coefficients), reference, np.eye(4), chain)
    assert found.homo_overlap == pytest.approx(1)
    assert abs(found.misplaced) < 1e-12


def test_distance_of_densities():
    """0 for the same, 2 for levels apart, 2 erf(Δ/√8σ) for one level moved by Δ."""
    levels = np.array([-3.0, 0.0, 2.0])
    assert dos_distance(levels, levels) == 0
    assert dos_distance(levels + 0.5, levels + 10) == pytest.approx(2, abs=1e-3)
    assert dos_distance(np.array([0.1]), np.array([0.0]), 0.1) == pytest.approx(2 * erf(1 / np.sqrt(8)), rel=5e-3)
    assert np.isnan(dos_distance(np.zeros(0), np.zeros(0)))


def test_directions_left_out_have_no_partner():
    """A prediction with fewer levels is compared from below."""
    reference = solve(np.diag([-2.0, -1.0, 1.0]), np.eye(3), 2)
    fewer = replace(solve(np.diag([-2.0, -1.5]), np.eye(2), 2), projected_out=1)
    found = level_errors(fewer, reference, 1)
    assert found.homo == 0
    assert found.lumo == pytest.approx(-0.5)
    with pytest.raises(InputError, match="two spectra of 3 levels and 2 electrons"):
        level_errors(replace(fewer, projected_out=0), reference, 1)


def test_windows_are_refused(oxide):
    electrons = oxide.n_electrons
    some = solve_states(oxide.hamiltonian, oxide.overlap, electrons, number=4)
    with pytest.raises(InputError, match="a window of them"):
        level_errors(some.spectrum, some.spectrum, 1)
    with pytest.raises(InputError, match="got a window"):
        state_errors(some, some, oxide.overlap, oxide)
