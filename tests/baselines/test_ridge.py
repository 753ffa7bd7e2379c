"""Ridge regression over pieces of data, against the whole at once."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.baselines.ridge import SMALLEST_SPREAD, Leverage, NormalEquations, Regression


def solve(
    features: np.ndarray, targets: np.ndarray, ridge: float | np.ndarray, pieces: int = 1
) -> tuple[Regression, Leverage]:
    """Fit in pieces."""
    equations = NormalEquations(features.shape[1], targets.shape[1], (features.shape[2] - 1) // 2)
    for x, y in zip(np.array_split(features, pieces), np.array_split(targets, pieces)):
        equations.add(x, y)
    return equations.solve(ridge)


@pytest.mark.parametrize("m", [1, 3])
def test_exact_data_are_recovered(m: int, rng: np.random.Generator) -> None:
    features, weights = rng.standard_normal((40, 6, m)), rng.standard_normal((6, 2))
    targets = weights.T @ features + (1.5 if m == 1 else 0.0)
    regression, _ = solve(features, targets, 1e-13, pieces=3)
    np.testing.assert_allclose(regression(features), targets, atol=1e-10)


def test_the_penalty_is_relative_to_the_variance_and_spares_the_mean(rng: np.random.Generator) -> None:
    features = rng.standard_normal((50, 4, 1)) * [[1.0], [5.0], [0.5], [2.0]] + 3
    targets = rng.standard_normal((50, 2, 1))
    x, y = features[:, :, 0] - features[:, :, 0].mean(0), targets[:, :, 0] - targets[:, :, 0].mean(0)
    for ridge in (15.0, np.array([15.0, 0.3, 2.0, 4.0])):
        penalty = np.diag(ridge * (x.var(0) + SMALLEST_SPREAD**2))
        expected = targets[:, :, 0].mean(0) + x @ np.linalg.solve(x.T @ x + penalty, x.T @ y)
        found = solve(features, targets, ridge, pieces=4)[0](features)[:, :, 0]
        np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(solve(features, targets, 1e14)[0].constant, targets.mean((0, 2)), atol=1e-10)


@pytest.mark.parametrize("m", [1, 5])
def test_left_out_residuals_are_those_of_a_fit_without_the_sample(m: int, rng: np.random.Generator) -> None:
    features, targets = rng.standard_normal((12, 4, m)) + (m == 1), rng.standard_normal((12, 2, m))
    regression, leverage = solve(features, targets, 2.0)
    found = leverage.leave_one_out(features, targets - regression(features))
    x = features.transpose(0, 2, 1).reshape(-1, 4)
    variance = x.var(axis=0) if m == 1 else (x**2).mean(axis=0)
    penalty = np.diag([*(2.0 * (variance + SMALLEST_SPREAD**2)), 0.0 if m == 1 else 1.0])
    design = np.concatenate([x, np.full((len(x), 1), float(m == 1))], axis=1)
    y = targets.transpose(0, 2, 1).reshape(-1, 2)
    for sample in range(12):
        keep = np.repeat(np.arange(12), m) != sample
        weights = np.linalg.solve(design[keep].T @ design[keep] + penalty, design[keep].T @ y[keep])
        np.testing.assert_allclose(found[sample].T, (y - design @ weights)[~keep], atol=1e-10)


def test_a_constant_feature_gets_no_weight(rng: np.random.Generator) -> None:
    features = rng.standard_normal((30, 3, 1))
    features[:, 1] = 7.0
    regression, _ = solve(features, rng.standard_normal((30, 2, 1)), 3e-3)
    np.testing.assert_allclose(regression.weights[1], 0.0, atol=1e-8)
