"""The page is one file that loads nothing and shows the numbers it was given."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.electronic.evaluation import evaluate
from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import hermitian_part
from nearsight.report.page import Page, render, write_page
from nearsight.report.training_log import TrainingLog
from nearsight.units import ev_to_millihartree

DATA = Path(__file__).parents[2] / "data"
LOG = TrainingLog(*(np.array([1.0, 2.0, 4.0]) * k for k in (1, 60, 3, 5, 1e-3, 7, 11, 13)))


@pytest.fixture(scope="module")
def pair() -> tuple[Calculation, Calculation]:
    """A real calculation cut at 4 Å with known noise, and the calculation itself."""
    reference = read_calculation(DATA / "aHfO2_96_A.h5")
    h = reference.require_hamiltonian()
    noise = np.random.default_rng(0).normal(scale=0.02, size=h.n_values)
    noisy = hermitian_part(h.with_values(h.values + noise))
    near = np.abs(noisy.source - noisy.target) != 7  # blocks that are not predicted
    return replace(reference, hamiltonian=noisy.select(near)), reference


@pytest.fixture(scope="module")
def evaluation(pair):
    return evaluate(*pair)


@pytest.fixture(scope="module")
def text(evaluation):
    return render(
        Page(
            "A <title>",
            "so & so",
            evaluation,
            log=LOG,
            facts=[("model", "net & co")],
            reference_facts=[("code", "DFT <3")],
            config="seed: 42 # <\n",
        )
    )


def addresses(text: str) -> list[str]:
    return re.findall(r'(?:src|href|action|data|poster)\s*=\s*"([^"]+)"', text) + re.findall(r"url\(([^)]*)\)", text)


def test_loads_nothing(text):
    """Four images inside the page, and no other address, script or import."""
    assert len(addresses(text)) == 4
    assert all(a.startswith("data:image/svg+xml;base64,") for a in addresses(text))
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b|@import", text)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def test_errors_of_the_matrix(text, evaluation):
    m = evaluation.matrix
    assert f"<b>{ev_to_millihartree(m.eps_n):.3f} mE<sub>h</sub></b><span>{1e3 * m.eps_n:.2f} meV</span>" in text
    assert f"<b>{ev_to_millihartree(m.eps_e):.4f} mE<sub>h</sub></b><span>{1e3 * m.eps_e:.2f} meV</span>" in text
    assert f"<b>{ev_to_millihartree(m.eps_tot):.4f} mE<sub>h</sub></b><span>{1e3 * m.eps_tot:.2f} meV</span>" in text
    assert f"{m.outside.n_blocks:,} more blocks" in text
    for row in m.element_pairs:
        assert (
            f"<td>{ev_to_millihartree(row.errors.mean_absolute):.4f}</td><td>{1e3 * row.errors.mean_absolute:.2f}</td>"
            in text
        )
    for name in ("Hf, on site", "O, on site", "Hf → O", "O → Hf", "Hf → Hf", "O → O"):
        assert f"<td>{name}</td>" in text
    for row in m.distances:
        assert f"<td>{row.lower:.1f} – {row.upper:.1f}</td><td>{row.errors.n_blocks:,}</td>" in text


def test_errors_of_the_spectrum(text, evaluation):
    s = evaluation.spectrum
    for fraction in (s.relative_l1, s.relative_l1_occupied, s.relative_l2, s.relative_l2_occupied):
        assert f"<td>{100 * fraction:.3f} %</td>" in text
    assert f"<td>gap</td><td>{s.gap_prediction:.4f} eV</td><td>{s.gap_reference:.4f} eV</td>" in text
    assert f"<td>{1e3 * s.mean_absolute_near_gap:.1f} meV</td>" in text


def test_training_and_origin(text):
    assert "<td>1.0 minutes</td>" not in text
    assert "<td>4.0 minutes</td>" in text  # 240 s
    assert "5.000e+00 (epoch 1)" in text
    assert "28 / 44 / 52 mE<sub>h</sub>" in text
    for shown in ("A &lt;title&gt;", "so &amp; so", "net &amp; co", "DFT &lt;3", "seed: 42 # &lt;"):
        assert shown in text


def test_every_figure_says_what_it_shows(text):
    captions = re.findall(r"<figure><img [^>]*alt=\"[^\"]{10,}\"[^>]*><figcaption>([^<]|<sub>|</sub>){80,}", text)
    assert len(captions) == 4


def test_without_overlap_or_on_request(pair):
    bare = [replace(c, overlap=None) for c in pair]
    assert "Neither file holds an overlap matrix" in render(Page("p", evaluation=evaluate(*bare)))
    assert "Eigenvalues were not asked for" in render(Page("p", evaluation=evaluate(*pair, eigenvalues=False)))


def test_on_site_blocks_alone(pair):
    """No number between atoms: a dash, and the page is written all the same."""
    prediction, reference = pair
    h = prediction.require_hamiltonian()
    text = render(Page("p", evaluation=evaluate(replace(prediction, hamiltonian=h.select(h.on_site)), reference)))
    assert "<b>–</b><span>–</span>" in text
    assert "nan" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def test_parts_that_are_missing_are_left_out():
    text = render(Page("Only a log", log=LOG))
    assert "<h2>Training</h2>" in text
    assert "<h2>Eigenvalue" not in text
    assert len(addresses(text)) == 1
    alone = render(Page("Only levels", spectrum=Spectrum(np.array([-1.0, 0.5, 2.25]), 1, 1.5, 0.0)))
    assert "<td>1.5000 eV</td>" in alone
    assert "odd" not in alone


def test_a_run_that_held_nothing_out():
    """Neither rows nor words about a validation."""
    nothing = np.full(3, np.nan)
    text = render(Page("p", log=replace(LOG, validation_loss=nothing, eps_n=nothing, eps_e=nothing, eps_tot=nothing)))
    training = text.split("<h2>Training</h2>")[1].split("</section>")[0]
    assert "last training loss" in training
    assert "validation" not in training
    assert "Right" not in training


def test_odd_electrons_are_said():
    text = render(Page("Radical", spectrum=Spectrum(np.array([-1.0, 0.5]), 0, 1.5, 0.0, True)))
    assert "The number of electrons is odd" in text
    assert "<td>gap</td><td>0.0000 eV</td>" in text
    assert "<td>HOMO</td><td>−1.0000 eV</td>" in text


def test_an_old_page_survives_a_failed_write(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, Page("first"))
    before = path.read_text()
    with pytest.raises(InputError, match=r"expected an existing folder for .*page\.html"):
        write_page(tmp_path / "none" / "page.html", Page("second"))
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_page(path, Page("first"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match=r"expected to write .*page\.html, got: No space left on device"):
        write_page(path, Page("second"))
    assert "first" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
