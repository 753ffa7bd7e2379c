"""How levels fill: closed forms at zero and finite temperature, with and without k-points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.electronic.filling import occupations
from nearsight.errors import InputError
from nearsight.units import BOLTZMANN_IN_EV

LEVELS = np.array([-3.0, -1.0, 0.5, 2.5])


def test_an_insulator_fills_from_below():
    filling = occupations(LEVELS, 4)
    assert filling.occupations.tolist() == [2, 2, 0, 0]
    assert (filling.homo, filling.lumo, filling.gap, filling.fermi) == (-1.0, 0.5, 1.5, -0.25)


def test_an_odd_electron_is_at_the_fermi_level():
    filling = occupations(LEVELS, 3)
    assert filling.occupations.tolist() == [2, 1, 0, 0]
    assert (filling.homo, filling.lumo, filling.gap, filling.fermi) == (-1.0, -1.0, 0.0, -1.0)


def test_nothing_and_everything():
    assert math.isnan(occupations(LEVELS, 0).homo)
    assert math.isnan(occupations(LEVELS, 8).lumo)
    assert occupations(LEVELS, 8, temperature=300).occupations.tolist() == [2, 2, 2, 2]
    assert occupations(LEVELS, 0, temperature=300).occupations.tolist() == [0, 0, 0, 0]


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=12), st.floats(0, 1), st.floats(50, 20000))
def test_the_electrons_are_all_there(levels, share, temperature):
    electrons = 2 * len(levels) * share
    for filling in (
        occupations(np.array(levels), electrons),
        occupations(np.array(levels), electrons, temperature=temperature),
    ):
        assert filling.occupations.sum() == pytest.approx(electrons, abs=1e-8)
        order = np.argsort(levels)
        assert np.all(np.diff(filling.occupations[order]) <= 1e-8)


def test_two_levels_at_a_temperature():
    """One pair of electrons in levels ±a: μ = 0, f = 2/(exp(±a/kT) + 1), and −TS is that of two independent spins."""
    a, temperature = 0.1, 800.0
    width = BOLTZMANN_IN_EV * temperature
    filling = occupations(np.array([-a, a]), 2, temperature=temperature)
    f = 1 / (np.exp(-a / width) + 1)
    assert filling.fermi == pytest.approx(0.0, abs=1e-10)
    assert filling.occupations == pytest.approx([2 * f, 2 * (1 - f)])
    assert filling.entropy_energy == pytest.approx(4 * width * (f * np.log(f) + (1 - f) * np.log(1 - f)))
    assert (filling.homo, filling.lumo) == (-a, a)


def test_k_points_count_with_their_weights():
    levels = np.array([[-1.0, 1.0], [0.0, 3.0]])
    whole = occupations(levels, 2, weights=np.array([1, 3]))
    assert whole.occupations.tolist() == [[2, 0], [2, 0]]
    assert (whole.homo, whole.lumo) == (0.0, 1.0)
    metal = occupations(levels, 1, weights=np.array([1, 3]))  # half of 3/4 of a cell's electron is left for level 0
    assert metal.occupations[0].tolist() == [2, 0]
    assert metal.occupations[1] == pytest.approx([2 / 3, 0])
    assert metal.fermi == 0.0


def test_a_half_filled_chain_is_a_metal():
    """Its Fermi level is in the middle of the band, and the number of electrons below μ follows from cos k."""
    k = 2 * np.pi * (np.arange(400) + 0.5) / 400
    levels = (-2 * np.cos(k))[:, None]
    assert occupations(levels, 1).fermi == pytest.approx(0, abs=0.02)
    third = occupations(levels, 2 / 3, temperature=20).fermi
    assert third == pytest.approx(-2 * np.cos(np.pi / 3), abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((LEVELS, 9), "expected 0 to 8 electrons in 4 levels, got 9"),
        ((LEVELS, 2, np.array([1.0, 2.0])), "expected 1 positive weights"),
        ((LEVELS, 2, None, 0.0), "expected a temperature above 0 K, got 0"),
        ((np.array([np.nan]), 1), "expected finite levels"),
    ],
)
def test_what_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        occupations(*arguments)
