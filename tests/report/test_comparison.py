"""The page of two predictions: one file that loads nothing, with the numbers of both."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.electronic.evaluation import evaluate
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import hermitian_part
from nearsight.report.compared_prediction import ComparedPrediction, key_rows
from nearsight.report.comparison import Comparison, render_comparison, write_comparison
from nearsight.report.html import prose
from nearsight.report.training_log import TrainingLog
from nearsight.units import ev_to_millihartree

DATA = Path(__file__).parents[2] / "data"
LOG = TrainingLog(*(np.array([1.0, 2.0, 4.0]) * k for k in (1, 60, 3, 5, 1e-3, 7, 11, 13)))
NOTHING = np.full(3, np.nan)
BARE = replace(LOG, validation_loss=NOTHING, eps_n=NOTHING, eps_e=NOTHING, eps_tot=NOTHING)


@pytest.fixture(scope="module")
def reference() -> Calculation:
    return read_calculation(DATA / "aHfO2_96_A.h5")


@pytest.fixture(scope="module")
def candidates(reference) -> list[ComparedPrediction]:
    """Noise of two sizes on a real calculation; the second run held nothing out."""
    h = reference.require_hamiltonian()
    noise = np.random.default_rng(0).normal(size=h.n_values)
    found = [
        evaluate(replace(reference, hamiltonian=hermitian_part(h.with_values(h.values + size * noise))), reference)
        for size in (0.001, 0.02)
    ]
    return [
        ComparedPrediction("good", found[0], LOG, [("model", "net & co")], "seed: 1 # <\n"),
        ComparedPrediction("b<d", found[1], BARE),
    ]


@pytest.fixture(scope="module")
def text(candidates) -> str:
    return render_comparison(
        Comparison("A <title>", "so & so", candidates, [("structure", "HfO2")], [("code", "DFT <3")])
    )


def test_numbers_of_both_side_by_side(candidates):
    rows = {row[0]: row[1:] for row in key_rows(candidates)}
    for name, form, values in (
        ("ε_n, on site", "{:.3f} mE_h", [ev_to_millihartree(c.evaluation.matrix.eps_n) for c in candidates]),
        ("ε_e, between atoms", "{:.4f} mE_h", [ev_to_millihartree(c.evaluation.matrix.eps_e) for c in candidates]),
        ("ε_tot, in meV", "{:.2f} meV", [1e3 * c.evaluation.matrix.eps_tot for c in candidates]),
        ("levels, relative L1", "{:.3f} %", [100 * c.evaluation.spectrum.relative_l1 for c in candidates]),
    ):
        assert rows[name] == (*(form.format(value) for value in values), "")
        assert values[0] < values[1]
    gaps = [*(c.evaluation.prediction.gap for c in candidates), candidates[0].evaluation.reference.gap]
    assert rows["gap"] == tuple(f"{gap:.3f} eV" for gap in gaps)
    assert rows["training"] == ("4.0 min, 4 epochs", "4.0 min, 4 epochs", "")


def test_without_eigenvalues_and_logs(candidates):
    bare = [
        replace(c, evaluation=replace(c.evaluation, spectrum=None, prediction=None, reference=None), log=None)
        for c in candidates
    ]
    assert [row[0] for row in key_rows(bare)][-1] == "ε_tot, in meV"
    assert key_rows(bare)[0] == ("training", "–", "–", "")
    text = render_comparison(Comparison("p", "", bare))
    assert "<h2>Eigenvalues</h2>" not in text
    assert "<h2>Training</h2>" not in text


def test_page_holds_the_table(text, candidates):
    for row in key_rows(candidates):
        assert "".join(f"<td>{prose(cell)}</td>" for cell in row) in text
    assert "<th>good</th><th>b&lt;d</th><th>reference</th>" in text
    for name in ("Hf, on site", "O, on site", "Hf → O", "O → Hf", "Hf → Hf", "O → O"):
        assert f"<td>{name}</td>" in text


def test_page_shows_what_only_one_run_measured(text):
    assert "<td>best validation loss</td><td>5.000e+00 (epoch 1)</td><td>–</td>" in text


def test_text_is_escaped_and_nothing_is_loaded(text):
    for shown in ("A &lt;title&gt;", "so &amp; so", "net &amp; co", "DFT &lt;3", "seed: 1 # &lt;", "<h3>b&lt;d</h3>"):
        assert shown in text
    images = re.findall(r'src="([^"]+)"', text)
    assert len(images) == 6  # levels, states, errors, two parities, training
    assert all(address.startswith("data:image/svg+xml;base64,") for address in images)
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b|@import", text)
    assert "nan" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def test_file(tmp_path, candidates):
    write_comparison(tmp_path / "page.html", Comparison("p", "", candidates[:1]))
    assert "<h2>In numbers</h2>" in (tmp_path / "page.html").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
