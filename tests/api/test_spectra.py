"""Levels, densities, bands, charges and errors, through the Python interface."""

from __future__ import annotations

import doctest
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.api import sources, spectra
from nearsight.api.files import read
from nearsight.errors import FormatError, InputError
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event

SILICON = Path("data/silicon_2.h5")


@dataclass
class Holder:
    """What a model gives."""

    calculation: Calculation


@pytest.fixture(scope="module")
def silicon() -> Calculation:
    return read(SILICON)


@pytest.mark.parametrize("module", [sources, spectra])
def test_examples(module) -> None:
    assert doctest.testmod(module).failed == 0


def test_all_kinds_of_arguments_give_one_spectrum(silicon: Calculation) -> None:
    bare = replace(silicon, overlap=None)
    expected = spectra.spectrum(silicon).eigenvalues
    h, s = silicon.require_hamiltonian(), silicon.require_overlap()
    for arguments in ((str(SILICON),), (Holder(silicon),), (bare, s), (bare, SILICON), (Holder(bare), silicon), (h, s)):
        found = spectra.spectrum(*arguments)
        np.testing.assert_array_equal(found.eigenvalues, expected)
        assert found.n_electrons == 8


def test_options_of_a_spectrum(silicon: Calculation) -> None:
    events: list[Event] = []
    found = spectra.states(silicon, number=6, n_electrons=10, method="window", progress=events.append)
    assert (found.spectrum.first, found.spectrum.n_electrons) == (2, 10)
    assert any("window" in event.message for event in events)
    assert spectra.spectrum(silicon, threshold=0.0).projected_out == 0
    assert spectra.spectrum(silicon, threshold=0.1).projected_out > 0


@pytest.mark.parametrize(
    ("source", "said"), [(3.0, "a path, a Calculation"), ("nowhere.h5", "nowhere.h5"), (None, "a path, a Calculation")]
)
def test_what_is_no_calculation(source: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        spectra.spectrum(source)  # type: ignore[arg-type]


def test_what_is_missing(silicon: Calculation) -> None:
    with pytest.raises(InputError, match="with a bare operator H"):
        spectra.spectrum(silicon.require_hamiltonian())
    with pytest.raises(InputError, match="expected an overlap"):
        spectra.charges(replace(silicon, overlap=None))
    with pytest.raises(InputError, match="three counts"):
        spectra.density_of_states(silicon, mesh=(2, 2))


def test_what_is_too_large(silicon: Calculation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "ALL_LEVELS_UP_TO", 20)
    monkeypatch.setattr(spectra, "free_bytes", lambda: 10)
    with pytest.raises(InputError, match="stochastic_density"):
        spectra.spectrum(silicon)
    monkeypatch.setattr(spectra, "free_bytes", lambda: 10**9)
    assert spectra.recommended_method(26) == ("window", 50)


def test_densities_agree(silicon: Calculation) -> None:
    """The stochastic density integrates to the same number of electrons as that of all levels."""
    exact = spectra.density_of_states(silicon, by="element", kind="loewdin")
    np.testing.assert_allclose(sum(exact.projections.values()), exact.total, atol=1e-9)
    estimate = spectra.stochastic_density(silicon, resolution=1.0)
    energies = np.linspace(*estimate.bounds, 4001)
    step = energies[1] - energies[0]
    assert estimate.density(energies).sum() * step == pytest.approx(52, rel=0.02)


def test_bands_take_their_points_from_anywhere(silicon: Calculation) -> None:
    line = spectra.band_path(silicon.structure, "GX", 5)
    expected = spectra.bands(silicon, path=line).levels
    np.testing.assert_array_equal(spectra.bands(silicon, path=line.points).levels, expected)
    np.testing.assert_array_equal(spectra.bands(silicon, path="GX", points=5).levels, expected)
    assert spectra.band_path(silicon.structure, "GX", given=line.points).labels == ("G", "X")
    assert spectra.band_path(silicon.structure, "GL", given=line.points).labels == ("1", "5")


def test_tables_of_bands(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    for name in ("bad.csv", "none.csv"):
        with pytest.raises(FormatError, match="columns kx, ky, kz"):
            spectra.read_band_table(tmp_path / name)


def test_an_evaluation_with_another_overlap(silicon: Calculation) -> None:
    bare = replace(silicon, overlap=None)
    assert spectra.evaluate(bare, bare).missing_overlap
    result = spectra.evaluate(bare, Holder(bare), overlap=silicon, states=True)
    assert result.spectrum is not None
    assert result.states is not None
    assert result.states.misplaced == pytest.approx(0, abs=1e-12)
