"""Scales: the r.m.s. of noise whose size is known."""

from __future__ import annotations

import numpy as np

from nearsight.baselines.bond_scale import fit_bond_scale
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.residual_scale import (
    SMALLEST,
    NodeScaleFit,
    add_to_bins,
    bin_centres,
    mean_squares,
    scale_at,
    smoothed,
)
from tests.baselines.random_baseline import LAYOUT, random_baseline, random_calculation

TABLE = IrrepTable(LAYOUT)


def test_mean_squares_are_means_over_each_irrep(rng: np.random.Generator) -> None:
    residual = rng.standard_normal((3, LAYOUT.size))
    expected = [(residual[:, s : s + 2 * l + 1] ** 2).mean(axis=1) for s, l in zip(TABLE.start, TABLE.degree)]
    np.testing.assert_allclose(mean_squares(TABLE, residual), np.array(expected).T, atol=1e-14)


def test_noise_that_decays_with_distance_is_measured(rng: np.random.Generator) -> None:
    distance = rng.uniform(1.5, 6.0, 20000)
    sizes = 1e-2 * np.exp(-distance)
    centres, sums = bin_centres(6.0), np.zeros((len(bin_centres(6.0)), 1 + LAYOUT.size))
    for part in np.array_split(np.arange(20000), 3):
        residual = sizes[part, None] * rng.standard_normal((len(part), LAYOUT.size))
        add_to_bins(sums, distance[part], np.column_stack([np.ones(len(part)), residual**2]))
    r = np.linspace(2.0, 5.5, 50)
    np.testing.assert_allclose(scale_at(centres, smoothed(sums), r) / (1e-2 * np.exp(-r))[:, None], 1.0, atol=0.2)


def test_scales_of_bonds_are_positive_smooth_and_defined_everywhere() -> None:
    scale = fit_bond_scale([random_calculation(1)], random_baseline())
    for pair in scale.values:
        r = np.linspace(0.0, 5.0, 5001)
        values = scale(pair, r)
        assert np.isfinite(values).all()
        assert values.min() >= SMALLEST * (1 - 1e-12)
        slope = np.diff(np.log(values), axis=0) / 1e-3
        assert np.abs(slope).max() > 0.1
        assert np.abs(np.diff(slope, axis=0)).max() < 0.05


def test_scales_of_atoms_do_not_depend_on_the_order_of_shells() -> None:
    baseline = random_baseline()
    for z in (8, 72):
        assert np.array_equal(baseline.node_scales[z], baseline.node_scales[z][TABLE.exchanged])


def test_node_scales_are_root_mean_squares(rng: np.random.Generator) -> None:
    residual = rng.standard_normal((6, LAYOUT.size))
    fit = NodeScaleFit(TABLE)
    fit.add(8, residual[:2])
    fit.add(8, residual[2:])
    squares = mean_squares(TABLE, residual).mean(axis=0)
    expected = np.sqrt((squares + squares[TABLE.exchanged]) / 2) + SMALLEST
    np.testing.assert_allclose(fit.solve()[8], expected, rtol=1e-12)
