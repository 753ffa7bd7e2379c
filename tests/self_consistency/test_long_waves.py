"""Waves of a lattice longer than some length, and a response that leaves them alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearsight.self_consistency.atomic_density import AtomicDensity, populations
from nearsight.self_consistency.long_waves import LongWaves, longest_wave
from nearsight.self_consistency.response import SCREENED, fit_response
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.self_consistency.test_self_consistency import CUTOFF, calculation, fitted, layout_of


def chain(length: float = 40.0, periodic: bool = True) -> Structure:
    rng = np.random.default_rng(0)
    numbers = np.repeat([8, 72], 60)
    places = rng.uniform(size=(120, 3)) * np.array([length, 8.0, 8.0])
    return Structure(numbers, places, np.diag([length, 8.0, 8.0]), np.array([periodic, True, True]))


def wave(own: Structure, count: int) -> np.ndarray:
    return np.cos(2 * np.pi * count * own.positions[:, 0] / own.cell[0, 0])


def test_long_waves_are_kept_and_short_ones_and_means_are_not() -> None:
    own = chain()
    waves = LongWaves(own, 15.0)  # 40 and 20 Å, not 13.3
    long = wave(own, 1) + 2 * wave(own, 2)
    for z in (8, 72):
        long[own.numbers == z] -= long[own.numbers == z].mean()
    np.testing.assert_allclose(waves.of(long), long, atol=1e-12)
    assert np.abs(waves.of(own.numbers.astype(float))).max() < 1e-12
    several = np.random.default_rng(1).normal(size=(120, 2, 3))
    once = waves.of(several)
    np.testing.assert_allclose(waves.of(once), once, atol=1e-12)
    assert 0 < np.linalg.norm(once) < 0.5 * np.linalg.norm(several)  # 4 of 60 columns of each element


def test_a_cell_has_no_longer_waves_than_its_own() -> None:
    assert longest_wave(chain()) == pytest.approx(40.0)
    assert longest_wave(chain(periodic=False)) == pytest.approx(8.0)
    skewed = Structure(np.array([8]), np.zeros((1, 3)), np.array([[8.0, 0, 0], [4, 8, 0], [0, 0, 9]]), np.ones(3, bool))
    inverse = 2 * np.pi * np.linalg.inv(skewed.cell).T
    assert longest_wave(skewed) == pytest.approx(2 * np.pi / np.linalg.norm(inverse, axis=1).min())
    molecule = Structure(np.array([8]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, bool))
    assert longest_wave(molecule) == np.inf
    several = np.random.default_rng(1).normal(size=120)
    for none in (LongWaves(chain(), 40.0), LongWaves(chain(), np.inf), LongWaves(chain(periodic=False), 8.0)):
        assert not none.of(several).any()


def test_charges_of_a_longer_cell_than_the_response_knows_do_not_slosh() -> None:
    """A wave of charges twice as long as the cell that was learnt from is screened; what repeats that cell is not
    touched."""
    known, fit = calculation(), fitted()
    small, exact = known.structure, fit.densities[0]
    cell = small.cell * np.array([[2.0], [1.0], [1.0]])
    places = np.concatenate([small.positions, small.positions + small.cell[0]])
    double = Structure(np.tile(small.numbers, 2), places, cell, small.pbc)
    features, larger = (fit.functional.features(s, build_graph(s, CUTOFF)) for s in (small, double))
    residual = exact.with_vector(1e-2 * np.random.default_rng(0).normal(size=exact.vector().shape))
    start = exact.with_vector(exact.vector() - residual.vector())
    response = fit_response(features, [(start, exact)], exact.with_vector(exact.vector() + residual.vector()))
    assert response.longest == pytest.approx(longest_wave(small))

    step = exact.with_vector(response(features, start, residual.vector()))
    again = twice(exact).with_vector(response(larger, twice(start), twice(residual).vector()))
    np.testing.assert_allclose(again.charges, twice(step).charges, atol=1e-7)
    slow = np.cos(2 * np.pi * double.positions @ np.linalg.inv(cell)[:, 0])
    none = twice(exact).with_vector(np.zeros_like(twice(exact).vector()))
    blocks = slow[:, None] * twice(exact).blocks
    found = none.with_vector(response(larger, twice(exact), replace(none, blocks=blocks).vector()))
    waves, electrons = LongWaves(double, response.longest), populations(layout_of(known), double.numbers, blocks)
    assert np.abs(waves.of(electrons)).max() > 1
    np.testing.assert_allclose(waves.of(found.charges), -SCREENED * waves.of(electrons), atol=1e-8)


def twice(density: AtomicDensity) -> AtomicDensity:
    parts = (density.charges, *density.own_blocks, density.dipoles)
    return AtomicDensity(*(np.concatenate([part, part]) for part in parts))
