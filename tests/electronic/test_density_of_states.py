"""The density of states against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.electronic.density_of_states import energy_grid, level_density
from nearsight.electronic.spectrum import Spectrum

SPECTRUM = Spectrum(np.array([-7.0, -1.0, -1.0, 0.5, 30.0]), 2, 1.0, 0.0)


def test_it_holds_two_electrons_a_level():
    energies = energy_grid(SPECTRUM, 0.2)
    density = level_density(SPECTRUM, energies, 0.2)
    assert density.sum() * 0.04 == pytest.approx(10.0, rel=1e-5)
    assert density[energies < -4].sum() * 0.04 == pytest.approx(2.0, rel=1e-5)


def test_height_of_a_level_and_of_two_at_one_energy():
    height = 2 / (0.2 * np.sqrt(2 * np.pi))
    density = level_density(SPECTRUM, np.array([-7.0, -1.0, -0.8, 10.0]), 0.2)
    assert density == pytest.approx([height, 2 * height, 2 * height * np.exp(-0.5), 0.0])


def test_the_grid_covers_the_spectrum():
    energies = energy_grid(SPECTRUM, 0.1)
    assert energies[0] == pytest.approx(-7.5)
    assert 30.5 <= energies[-1] < 30.6
    np.testing.assert_allclose(np.diff(energies), 0.02)
