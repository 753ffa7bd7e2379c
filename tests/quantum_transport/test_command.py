"""`nearsight transport` on a small junction: tables, figures, a page, and errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import nearsight as ns
from nearsight.cli.main import app
from nearsight.units import CONDUCTANCE_QUANTUM
from tests.quantum_transport.tight_binding import chain

FILE = """
device: device.h5
bulk: bulk.h5
energies: {start: -0.6, end: 0.6, step: 0.1, adaptive: 0.01}
biases: [0.05, 0.1, 0.2]
local: true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    on_site = np.zeros(9)
    on_site[4] = 1.0
    ns.write(tmp_path / "device.h5", chain(9, on_site=on_site))
    ns.write(tmp_path / "bulk.h5", chain(1))
    (tmp_path / "junction.yaml").write_text(FILE)
    return tmp_path


def run(folder: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["transport", str(folder / "junction.yaml"), *options])
    return result.exit_code, result.output


def test_a_junction_from_its_file(folder: Path) -> None:
    code, said = run(folder, "-o", str(folder / "out"))
    assert code == 0, said
    out = folder / "out"
    figures = {"transmission.png", "local_density.png", "bond_currents.png"}
    assert {path.name for path in out.iterdir()} == {
        "transmission.csv",
        "transport.json",
        "report.html",
        "points.h5",
    } | figures
    numbers = json.loads((out / "transport.json").read_text())
    # T = 1 / (1 + 1 / (4 − E²)), nearly constant over the window
    assert numbers["currents_A"] == pytest.approx([v * CONDUCTANCE_QUANTUM * 0.8 for v in (0.05, 0.1, 0.2)], rel=1e-2)
    page = (out / "report.html").read_text()
    assert "Current against bias" in page
    assert "Where the current flows" in page
    assert "<script" in page
    # Again: nothing is computed, the numbers are the same.
    before = (out / "transport.json").read_text()
    assert run(folder, "-o", str(out))[0] == 0
    assert (out / "transport.json").read_text() == before


def test_the_potential_follows_each_bias(folder: Path) -> None:
    code, said = run(folder, "-o", str(folder / "out"), "--set", "potential=linear", "--set", "local=false", "--json")
    assert code == 0, said
    numbers = json.loads((folder / "out" / "transport.json").read_text())
    assert [x["bias_V"] for x in numbers["transmissions"]] == [0.05, 0.1, 0.2]
    assert len(set(numbers["currents_A"])) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("energies.end=0.1", "bias of"),
        ("layer=1.0", "one of bulk (a file), layer"),
        ("bluk=x.h5", "bluk"),
        ("bulk=nowhere.h5", "nowhere.h5"),
        ("axis=d", "axis"),
        ("biases=[]", "at least one bias"),
    ],
)
def test_errors_are_one_line(folder: Path, change: str, message: str) -> None:
    code, said = run(folder, "-o", str(folder / "out"), "--set", change)
    assert code == 2
    assert message in said
    assert "Traceback" not in said


def test_energies_outside_the_bands_are_said(folder: Path) -> None:
    from nearsight.api.transport import load_junction, transport_study

    config = load_junction(folder / "junction.yaml", ["energies.adaptive=null", "fermi=5.0", "local=false"])
    study = transport_study(config)
    assert study.currents == (0.0, 0.0, 0.0)
    assert any("outside the leads' bands" in note for note in study.notes)


def test_the_other_processes_of_a_launch_help_and_write_no_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "out"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("nearsight.quantum_transport.shared_points.PATIENCE", 0.3)
    changes = ("-o", str(out), "--set", "energies.adaptive=null", "--set", "local=false")
    code, said = run(folder, *changes)
    assert code == 2
    assert "process 1 of 2: " in said
    assert "got nothing from them" in said
    assert [path.name for path in out.iterdir()] == ["points.1.h5"]
    # With the first one's points, it is done.
    monkeypatch.delenv("RANK")
    assert run(folder, *changes)[0] == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setenv("RANK", "1")
    assert run(folder, *changes) == (0, "")
    assert {path: path.read_bytes() for path in out.iterdir() if path.name != "points.1.h5"} == before
