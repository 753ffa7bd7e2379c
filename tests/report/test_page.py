"""The page is one file that loads nothing and shows the numbers it was given."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nearsight.electronic.evaluation import evaluate
from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import FormatError
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.report.page import Page, render, write_page
from nearsight.report.training_log import TrainingLog
from nearsight.units import ev_to_millihartree

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def pair() -> tuple[Calculation, Calculation]:
    """A real calculation and a copy whose H is off by known noise."""
    from dataclasses import replace

    from nearsight.operators.symmetry import hermitian_part

    reference = read_calculation(DATA / "aHfO2_96_A.h5")
    h = reference.require_hamiltonian()
    noise = np.random.default_rng(0).normal(scale=0.02, size=h.n_values)
    return replace(reference, hamiltonian=hermitian_part(h.with_values(h.values + noise))), reference


def test_page_shows_the_numbers_and_loads_nothing(pair):
    result = evaluate(*pair)
    text = render(Page("A <title>", evaluation=result, facts=[("model", "net & co")], config="seed: 42\n"))
    assert f"{ev_to_millihartree(result.matrix.eps_n):.3f} mE_h" in text
    assert f"{100 * result.spectrum.relative_l1_occupied:.3f} %" in text
    assert f"{result.spectrum.gap_reference:.4f} eV" in text
    assert "A &lt;title&gt;" in text
    assert "net &amp; co" in text
    assert "seed: 42" in text
    addresses = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s]+)', text)
    assert len(addresses) == 3
    assert all(a.startswith("data:image/svg+xml;base64,") for a in addresses)
    assert "<script" not in text


def test_parts_that_are_missing_are_left_out():
    text = render(Page("Only a log", log=TrainingLog(*(np.arange(1.0, 4.0) for _ in range(8)))))
    assert "Training" in text
    assert "Eigenvalue" not in text
    alone = render(Page("Only levels", spectrum=Spectrum(np.array([-1.0, 0.5, 2.25]), 1, 1.5, 0.0)))
    assert "1.5000 eV" in alone


def test_an_old_page_survives_a_failed_write(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, Page("first"))
    before = path.read_text()
    with pytest.raises(FormatError, match="expected a place for the report"):
        write_page(tmp_path / "none" / "page.html", Page("second"))
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
