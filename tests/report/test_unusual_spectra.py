"""Figures of spectra as they come: one level, none filled, no gap, directions projected out, one kind of atom."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.api.figures import decay_with_distance, level_comparison, levels_by_cutoff, response_to_one_atom
from nearsight.api.files import read
from nearsight.api.reports import compare_predictions, write_report
from nearsight.electronic.locality import Response
from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.report.figures import spectrum_figure
from nearsight.report.material_figures import cutoff_figure, response_figure
from nearsight.report.sections import single_spectrum_section
from nearsight.report.style import svg_bytes

ROOT = Path(__file__).parents[2]


def spectrum(levels: np.ndarray, occupied: int, projected_out: int = 0, single: bool = False) -> Spectrum:
    return Spectrum(np.asarray(levels, dtype=np.float64), occupied, 1.0, 0.0, single, projected_out=projected_out)


WIDE = np.linspace(-10, 10, 50)
SPECTRA = {
    "one level, full": spectrum([1.0], 1),
    "one level, empty": spectrum([1.0], 0),
    "one level, one electron": spectrum([1.0], 0, single=True),
    "all full": spectrum([1.0, 2.0], 2),
    "all empty": spectrum([1.0, 2.0], 0),
    "all at one energy": spectrum([1.0] * 4, 2),
    "no gap": spectrum([-1.0, 0.0, 0.0, 1.0], 2),
    "usual": spectrum(WIDE, 20),
    "directions projected out": spectrum(WIDE[:45] + 0.01, 20, 5),
}


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("name", SPECTRA)
def test_every_spectrum_is_drawn(name: str) -> None:
    own = SPECTRA[name]
    single_spectrum_section(own)
    for figure in (spectrum_figure(own), spectrum_figure(None, own), spectrum_figure(own, own)):
        assert svg_bytes(figure).startswith(b"<?xml")
    others = [SPECTRA["usual"], own]
    assert svg_bytes(cutoff_figure({str(n): {4.0: own, np.inf: other} for n, other in enumerate(others)}))
    assert svg_bytes(cutoff_figure({str(n): {4.0: other, np.inf: own} for n, other in enumerate(others)}))


def test_levels_are_compared_as_far_as_both_have_them() -> None:
    usual, fewer = SPECTRA["usual"], SPECTRA["directions projected out"]
    for ours, theirs in itertools.permutations((usual, fewer)):
        figure = spectrum_figure(ours, theirs)
        x, y = figure.axes[2].get_lines()[1].get_data()
        np.testing.assert_allclose(x, theirs.eigenvalues[:45])
        np.testing.assert_allclose(y, 1e3 * (ours.eigenvalues[:45] - theirs.eigenvalues[:45]), atol=1e-9)


@pytest.fixture(scope="module")
def exact() -> Calculation:
    return read(ROOT / "data" / "silicon_2.h5")


@pytest.fixture(scope="module")
def projected(exact: Calculation) -> Calculation:
    """A prediction whose expected errors ask for directions to be projected out, as `evaluate` does."""
    h = exact.require_hamiltonian()
    guess = replace(exact, hamiltonian=h.with_values(1.01 * h.values), error_estimate=np.full(h.n_pairs, 0.06))
    result = level_comparison(guess, exact)
    assert len(result.numbers["prediction_eV"]) < len(result.numbers["reference_eV"])
    return guess


def test_pages_and_figures_of_a_spectrum_with_directions_projected_out(
    tmp_path: Path, exact: Calculation, projected: Calculation
) -> None:
    assert svg_bytes(level_comparison(projected, exact).draw())
    page = write_report(projected, exact, output=tmp_path / "a.html")
    assert "projected out" in page.read_text()
    compare_predictions({"one": projected, "two": exact}, exact, tmp_path / "b.html")
    write_report(projected, output=tmp_path / "c.html")
    assert svg_bytes(levels_by_cutoff({"a": projected}, [3.0]).draw())


def test_a_report_without_s(tmp_path: Path, exact: Calculation) -> None:
    bare = replace(exact, overlap=None)
    assert "no eigenvalues" in write_report(bare, bare, output=tmp_path / "a.html").read_text()
    write_report(bare, output=tmp_path / "b.html")
    compare_predictions({"one": bare}, bare, tmp_path / "c.html")


def test_a_response_of_many_kinds_of_atoms_and_of_none() -> None:
    numbers = np.arange(1, 21)
    labels = {int(z): str(z) for z in numbers}
    atoms = np.arange(20)
    for size in (0.0, 1e-3):
        found = Response(0, atoms, 1.0 + atoms, np.full(20, size), np.full(20, size), 0.0)
        assert svg_bytes(response_figure({"a": found}, numbers, labels))
    with pytest.raises(InputError, match="expected one atom that was moved or replaced, got 0"):
        response_to_one_atom(ROOT / "data" / "silicon_2.h5", {"same": ROOT / "data" / "silicon_2.h5"})


def test_a_decay_of_an_h_without_pairs(exact: Calculation) -> None:
    h = exact.require_hamiltonian()
    alone = replace(exact, hamiltonian=h.select(h.on_site), overlap=None)
    assert svg_bytes(decay_with_distance({"a": alone}).draw())
