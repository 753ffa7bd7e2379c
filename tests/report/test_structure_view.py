"""The structure in 3D: data come through, nothing is loaded, and a browser draws every atom."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nearsight.cli.main import app
from nearsight.report.html import document
from nearsight.report.structure_view import Colouring, structure_section
from nearsight.structures.structure import Structure

DATA = Path(__file__).parents[2] / "data"
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (apt-get install chromium)")


def structure(n: int = 12, seed: int = 0) -> Structure:
    """Atoms of three kinds outside and inside a skewed cell."""
    rng = np.random.default_rng(seed)
    edge = 2.5 * n ** (1 / 3)
    cell = edge * np.array([[1, 0, 0], [0.2, 1, 0], [0, -0.1, 1]])
    return Structure(np.resize([72, 8, 0], n), rng.uniform(-1, 2, (n, 3)) @ cell, cell, np.ones(3, dtype=bool))


def page(tmp_path: Path, n: int = 12, colourings: tuple[Colouring, ...] = ()) -> Path:
    path = tmp_path / "view.html"
    path.write_text(document("A structure", "", [structure_section(structure(n), colourings)]), encoding="utf-8")
    return path


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="structure-data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found.group(1))


def drawn(path: Path, fragment: str = "") -> dict[str, str]:
    """What the page says of itself after it was drawn: the data attributes of its body."""
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--virtual-time-budget=5000",
        "--dump-dom",
        f"file://{path}{fragment}",
    ]
    text = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    body = re.search(r"<body([^>]*)>", text)
    assert body
    return dict(re.findall(r'data-([a-z-]+)="([^"]*)"', body.group(1)))


def test_values_come_through(tmp_path):
    charges, energies = np.linspace(-1, 1, 12), np.array([-0.5, 0.0])
    local = np.arange(24.0).reshape(2, 12)
    text = page(
        tmp_path,
        12,
        (
            Colouring("charge", charges, "e", "diverging", ""),
            Colouring("states", local, "1/eV", "sequential", "", energies),
        ),
    ).read_text()
    data = data_of(text)
    assert [c["name"] for c in data["colourings"]] == ["element", "charge", "states"]
    np.testing.assert_allclose(data["colourings"][1]["values"], charges, rtol=1e-3)
    np.testing.assert_allclose(data["colourings"][2]["values"], local, rtol=1e-3)
    assert data["colourings"][2]["energies"] == [-0.5, 0.0]
    fractional = np.array(data["positions"]) @ np.linalg.inv(structure().cell)
    assert fractional.min() > -1e-3
    assert fractional.max() < 1 + 1e-3


def test_nothing_is_loaded(tmp_path):
    """No element of the page refers to another address."""
    text = page(tmp_path).read_text()
    without_scripts = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.search(r"(src|href)\s*=", without_scripts)
    assert "<script src" not in text


@needs_browser
@pytest.mark.parametrize("n", [12, 3000])
def test_a_browser_draws_every_atom(tmp_path, n):
    state = drawn(page(tmp_path, n))
    assert state["view-errors"] == ""
    assert state["view-atoms"] == str(n)
    assert (state["view-colouring"], state["view-colour"]) == ("element", "#4dc2ff")  # Jmol's Hf


@needs_browser
def test_another_colouring_gives_other_colours(tmp_path):
    path = page(tmp_path, 12, (Colouring("charge", np.linspace(-1, 1, 12), "e", "diverging", ""),))
    charged = drawn(path, "#colour=charge")
    assert charged["view-colouring"] == "charge"
    assert charged["view-colour"] == "rgb(33,102,172)"  # the lowest of a diverging scale


@needs_browser
def test_a_page_of_real_data(tmp_path):
    """Charges of a-HfO₁.₈: Hf red, on the positive side."""
    result = CliRunner().invoke(app, ["view", str(DATA / "aHfO1.8_96_test.h5"), "-o", str(tmp_path / "view.html")])
    assert result.exit_code == 0, result.output
    names = [c["name"] for c in data_of((tmp_path / "view.html").read_text())["colourings"]]
    assert names == ["element", "charge", "local density of states"]
    state = drawn(tmp_path / "view.html", "#colour=local%20density%20of%20states")
    assert (state["view-errors"], state["view-atoms"], state["view-colouring"]) == ("", "96", names[2])
