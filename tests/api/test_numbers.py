"""Results as plain numbers."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest

from nearsight.api import numbers, spectra

SILICON = "data/silicon_2.h5"


def test_examples() -> None:
    assert doctest.testmod(numbers).failed == 0


def test_all_results_are_plain_numbers() -> None:
    levels = spectra.spectrum(SILICON)
    bands = spectra.bands(SILICON, path="GX", points=5)
    results = [
        numbers.spectrum_numbers(levels, levels.filling(300.0)),
        numbers.stochastic_density_numbers(spectra.stochastic_density(SILICON, resolution=2.0), 8),
        numbers.density_of_states_numbers(spectra.density_of_states(SILICON)),
        numbers.band_numbers(bands, bands.levels + 0.001),
        numbers.evaluation_numbers(spectra.evaluate(SILICON, SILICON, states=True)),
    ]
    for result in results:
        assert json.loads(json.dumps(result)).keys() == result.keys()
    assert results[3]["largest_difference_meV"] == pytest.approx(1.0)
    assert np.isclose(results[0]["chemical_potential_eV"], levels.fermi, atol=0.5)
