"""Commands that draw or tabulate: figures are written whole, numbers are those of the library, mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nearsight.cli.main import app
from nearsight.electronic.populations import atomic_charges
from nearsight.operators.store import read_calculation

DATA = Path(__file__).parents[2] / "data"
SMALL = DATA / "aHfO1.8_96_train.h5"


def call(*arguments: object, fails: bool = False) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert (result.exit_code == 2) == fails, result.output
    return result.output if fails else result.stdout


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("dos", SMALL, "--by", "shell", "--window=-10:6"),
        ("bands", DATA / "silicon_2.h5", "--path", "LGX", "--points", 12),
        ("figure", "structure", SMALL, DATA / "aHfO2_96_A.h5"),
        ("figure", "decay", SMALL, DATA / "aGST_70_train.h5"),
        ("figure", "cutoff", SMALL, "--cutoffs", "5,8"),
        ("figure", "spectrum", SMALL, SMALL),
        ("figure", "response", DATA / "response" / "unchanged.h5", DATA / "response" / "vacancy.h5"),
    ],
)
def test_figures_are_written(tmp_path, arguments):
    call(*arguments, "-o", tmp_path / "figure.png")
    assert is_png(tmp_path / "figure.png")
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_a_density_of_states_as_numbers(tmp_path):
    numbers = json.loads(call("dos", SMALL, "--by", "element", "--csv", tmp_path / "dos.csv", "--json"))
    table = pd.read_csv(tmp_path / "dos.csv")
    assert list(table.columns) == ["energy_eV", "total_per_eV", "Hf_per_eV", "O_per_eV", "X_per_eV"]
    np.testing.assert_allclose(table["total_per_eV"], numbers["total_per_eV"], rtol=1e-6, atol=1e-9)
    assert sum(numbers["parts_per_eV"]["O"]) > 0


def test_bands_against_a_table_name_their_points():
    numbers = json.loads(call("bands", DATA / "silicon_2.h5", "--reference", DATA / "silicon_2_bands.csv", "--json"))
    assert numbers["largest_difference_meV"] < 1
    assert numbers["gap_eV"] == pytest.approx(0.63, abs=0.01)


def test_charges(tmp_path):
    numbers = json.loads(call("charges", SMALL, "--csv", tmp_path / "q.csv", "--json"))
    expected = atomic_charges(read_calculation(SMALL), "mulliken")
    np.testing.assert_allclose(numbers["charges_e"], expected, atol=1e-9)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "q.csv")["charge_e"], expected, atol=1e-6)
    assert "Mulliken charges" in call("charges", SMALL)


def test_states_around_the_gap():
    numbers = json.loads(call("spectrum", SMALL, "--states", 8, "--temperature", 300, "--json"))
    assert len(numbers["eigenvalues_eV"]) == len(numbers["participating_atoms"]) == 8
    assert numbers["first"] + 4 == numbers["n_occupied"]
    assert sum(numbers["occupations"]) == pytest.approx(8, abs=1e-6)
    assert "on atoms" in call("spectrum", SMALL, "--states", 8)


def test_a_window_is_the_middle_of_all():
    some = json.loads(call("spectrum", SMALL, "--method", "window", "--states", 10, "--json"))
    every = json.loads(call("spectrum", SMALL, "--json"))
    first = some["first"]
    np.testing.assert_allclose(some["eigenvalues_eV"], every["eigenvalues_eV"][first : first + 10], atol=1e-8)
    assert every["first"] == 0
    assert every["n_levels"] == len(every["eigenvalues_eV"])


def test_a_stochastic_density():
    numbers = json.loads(call("spectrum", SMALL, "--method", "kpm", "--resolution", 3.0, "--json"))
    energies, density = (np.array(numbers[key]) for key in ("energies_eV", "density_per_eV"))
    assert numbers["resolution_eV"] <= 3.0
    step = energies[1] - energies[0]
    assert density.sum() * step == pytest.approx(2 * numbers["n_levels"], rel=0.02)
    assert energies[0] < numbers["fermi_eV"] < energies[-1]


def test_responses_as_numbers():
    folder = DATA / "response"
    numbers = json.loads(call("figure", "response", folder / "unchanged.h5", folder / "displaced.h5", "--json"))
    found = numbers["displaced"]
    assert len(found["distance_A"]) == len(found["aligned_eV"]) == 95


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dos", SMALL), "expected a figure (-o dos.png)"),
        (("dos", SMALL, "-o", "x.gif"), "to end in .png, .svg, .pdf, got .gif"),
        (("dos", SMALL, "--mesh", "2,2", "--json"), "three counts"),
        (("dos", SMALL, "--window", "5", "--json"), "window of two energies"),
        (("dos", DATA / "aHfO2_96_A.h5", "--mesh", "2,2,2", "--json"), "in real space"),
        (("bands", DATA / "aHfO2_96_A.h5", "--json"), "a real-space operator for bands"),
        (("bands", DATA / "silicon_2.h5", "--path", "GQ", "--json"), "special points"),
        (("figure", "spectrum", SMALL, "--json"), "a prediction and its reference"),
        (("figure", "structure", SMALL, "--pair", "Hf", "--json"), "two elements"),
        (("figure", "cutoff", SMALL, "--cutoffs", "a", "--json"), "cutoffs in Å"),
        (("figure", "decay", SMALL), "expected a figure"),
        (("spectrum", SMALL, "--method", "kpm", "--states", 3), "no --states with --method kpm"),
    ],
)
def test_mistakes_are_named(arguments, said):
    output = call(*arguments, fails=True)
    assert said in " ".join(output.split())


def test_predictions_beside_each_other(tmp_path):
    for name in ("plain", "solved"):
        (tmp_path / f"{name}.h5").write_bytes((DATA / "silicon_2.h5").read_bytes())
    files = (tmp_path / "solved.h5", "--beside", tmp_path / "plain.h5")
    call("report", *files, "--reference", DATA / "silicon_2.h5", "-o", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<th>plain</th><th>solved</th><th>reference</th>" in page
    assert "charges, r.m.s. (Mulliken)" in page
    assert "expected --reference with several predictions" in call("report", *files, fails=True)
