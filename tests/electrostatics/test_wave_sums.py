"""Sums over waves by products of matrices are those wave by wave."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nearsight.electrostatics.wave_sums import sum_over_waves
from nearsight.structures.structure import Structure


@pytest.mark.parametrize("with_dipoles", [False, True])
def test_in_a_skewed_cell_each_wave_counts_once(with_dipoles: bool) -> None:
    rng, longest = np.random.default_rng(0), 3.0
    cell = np.array([[5.0, 0.3, 0], [1.5, 6.0, 0.2], [-2.0, 1.0, 7.0]])
    positions, charges = 9 * rng.standard_normal((7, 3)), rng.standard_normal(7)
    dipoles = rng.standard_normal((7, 3)) if with_dipoles else np.zeros((7, 3))
    potential, field, number = np.zeros(7), np.zeros((7, 3)), 0
    for indices in itertools.product(range(-6, 7), repeat=3):
        k = np.array(indices) @ (2 * np.pi * np.linalg.inv(cell).T)
        if not 0 < k @ k <= longest**2:
            continue
        density = ((charges + 1j * dipoles @ k) * np.exp(1j * positions @ k)).sum() / (1 + k @ k)
        back = density * np.exp(-1j * positions @ k)
        potential, field, number = potential + back.real, field - np.outer(back.imag, k), number + 1
    assert number > 80
    structure = Structure(np.full(7, 8), positions, cell, np.ones(3, bool))
    found = sum_over_waves(structure, charges, dipoles if with_dipoles else None, longest, lambda s: 1 / (1 + s))
    np.testing.assert_allclose(found[0], potential, atol=1e-11)
    np.testing.assert_allclose(found[1], field, atol=1e-11)
