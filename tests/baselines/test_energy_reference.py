"""Zeros of energy of structures."""

from __future__ import annotations

import numpy as np

from nearsight.baselines.reference import energy_references


def test_what_elements_explain_is_not_a_gauge() -> None:
    """Structures of another composition have another mean, and the same zero."""
    numbers = [np.array([8, 8, 72]), np.array([8, 72, 72, 72])]
    level = {8: 0.15, 72: -0.05}
    shifts = [np.array([level[z] for z in part]) for part in numbers]
    np.testing.assert_allclose(energy_references(shifts, numbers), 0, atol=1e-14)


def test_the_zeros_of_structures_are_found() -> None:
    numbers = [np.array([8, 8, 72]), np.array([8, 72, 72, 72]), np.array([8, 72])]
    level, mu = {8: 0.15, 72: -0.05}, np.array([0.01, -0.02, 0.04])
    shifts = [np.array([level[z] for z in part]) + m for part, m in zip(numbers, mu)]
    counts = [3, 4, 2]
    np.testing.assert_allclose(energy_references(shifts, numbers), mu - mu @ counts / 9, atol=1e-14)


def test_structures_of_different_elements_share_the_mean() -> None:
    """Nothing tells a zero of energy from the elements' own levels: each structure has half of the difference."""
    found = energy_references([np.array([0.1, 0.1]), np.array([0.3, 0.3])], [np.array([8, 8]), np.array([72, 72])])
    assert abs(found).max() <= 0.1
    assert found.sum() == 0 or abs(found.sum()) < 1e-15


def test_one_structure_has_none() -> None:
    assert abs(energy_references([np.array([0.1, 0.5])], [np.array([8, 72])])[0]) < 1e-15
