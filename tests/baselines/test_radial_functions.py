"""Radial functions: smooth everywhere, gone at the cutoff."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearsight.baselines.radial_functions import RadialFunctions, cubic_b_splines
from nearsight.errors import InputError


def test_value_and_two_derivatives_vanish_at_the_cutoff() -> None:
    radial = RadialFunctions(6.0, 9)
    knot = 6.0 / 9
    for step in (1e-2, 1e-3, 1e-4):
        assert np.abs(radial(np.array([6.0 - step]))).max() == pytest.approx((step / knot) ** 3 / 6, rel=1e-6)
    assert not radial(np.array([6.0, 6.1, 100.0])).any()


def test_two_derivatives_are_continuous_at_the_knots() -> None:
    radial = RadialFunctions(6.0, 9)
    knots, h = np.arange(1, 10) * 6.0 / 9, 1e-3
    for sign in (-1, 1):
        a, b, c, d = (radial(knots + sign * k * h) for k in range(4))
        first, second = sign * (-11 * a + 18 * b - 9 * c + 2 * d) / (6 * h), (2 * a - 5 * b + 4 * c - d) / h**2
        if sign == -1:
            before = first, second
    np.testing.assert_allclose(first, before[0], atol=1e-5)
    np.testing.assert_allclose(second, before[1], atol=1e-8)


def test_functions_are_independent_and_sum_to_one_away_from_the_cutoff() -> None:
    radial = RadialFunctions(6.0, 9)
    r = np.linspace(0.01, 5.99, 200)
    values = radial(r)
    assert np.linalg.matrix_rank(values) == 9
    np.testing.assert_allclose(values[r < 6.0 * 6 / 9].sum(axis=1), 1.0, atol=1e-14)
    assert values.min() >= 0


def test_bending_is_the_sum_of_squares_of_second_differences(rng: np.random.Generator) -> None:
    radial = RadialFunctions(6.0, 5)
    c = rng.standard_normal(5)
    expected = np.sum(np.diff(np.concatenate([c, np.zeros(3)]), n=2) ** 2)
    assert c @ radial.bending() @ c == pytest.approx(expected)
    assert np.linalg.eigvalsh(radial.bending()).min() > 0


def test_arrays_and_tensors_give_the_same_splines(rng: np.random.Generator) -> None:
    t = rng.random(50)
    for a, b in zip(cubic_b_splines(t), cubic_b_splines(torch.as_tensor(t))):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-15)
    np.testing.assert_allclose(sum(cubic_b_splines(t)), 1.0, atol=1e-15)


@pytest.mark.parametrize(("cutoff", "count"), [(0.0, 4), (-1.0, 4), (5.0, 0), (float("nan"), 4)])
def test_impossible_numbers_are_refused(cutoff: float, count: int) -> None:
    with pytest.raises(InputError, match="expected a positive cutoff"):
        RadialFunctions(cutoff, count)
