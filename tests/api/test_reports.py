"""Pages of every kind of source; predictions are made by hand here."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nearsight.api import reports as module
from nearsight.api.reports import compare_predictions, write_report
from nearsight.cli.main import app
from nearsight.errors import FormatError, InputError
from nearsight.operators.store import read_calculation, write_calculation

DATA = Path(__file__).parents[2] / "data" / "aHfO2_96_A.h5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A prediction with and without S, a run, and a run that was stopped before its first epoch was over."""
    folder = tmp_path_factory.mktemp("report")
    calculation = replace(read_calculation(DATA), cutoff=6.5, provenance={"model": "net.safetensors"})
    write_calculation(folder / "prediction.h5", calculation)
    write_calculation(folder / "bare.h5", replace(calculation, overlap=None))
    for name in ("run", "stopped"):
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text("seed: 1234\n")
    (folder / "run" / "log.jsonl").write_text(json.dumps({"epoch": 1, "seconds": 60, "loss": 2.0}) + "\n")
    return folder


def page(folder: Path, source: str, reference: Path | None = None, run: str | None = None) -> str:
    output = folder / "page.html"
    assert write_report(folder / source, reference, None if run is None else folder / run, output) == output
    return output.read_text()


def titles(text: str) -> list[str]:
    return [part.split("</h2>")[0] for part in text.split("<h2>")[1:]]


def test_run(folder):
    text = page(folder, "run")
    assert titles(text) == ["Training", "Configuration of the training", "Terms"]
    assert "Training run: run" in text
    assert "seed: 1234" in text


def test_prediction_and_reference(folder):
    text = page(folder, "prediction.h5", DATA, "run")
    assert titles(text) == [
        "Eigenvalue spectrum",
        "Matrix elements",
        "By elements and distance",
        "Training",
        "Structure",
        "Structure and prediction",
        "Reference",
        "Configuration of the training",
        "Terms",
    ]
    assert "Hf32O64, 96 atoms" in text
    assert "10.532 × 10.532 × 10.532 Å, periodic" in text
    assert "<td>cutoff</td><td>6.5 Å</td>" in text
    assert "net.safetensors" in text
    assert "CP2K 2023.1" in text  # the reference's origin


def test_prediction_alone(folder):
    text = page(folder, "prediction.h5")
    assert titles(text) == ["Eigenvalue spectrum", "Structure", "Structure and prediction", "Terms"]
    assert "No reference was given" in text
    assert "no eigenvalues either" not in text


def test_prediction_without_overlap(folder):
    text = page(folder, "bare.h5")
    assert titles(text) == ["Structure", "Structure and prediction"]
    assert "no eigenvalues either" in text


def test_run_without_a_log(folder):
    """Part of a prediction's page without its curve; alone it is an error."""
    assert "Training" not in titles(page(folder, "prediction.h5", run="stopped"))
    with pytest.raises(FormatError, match="expected a training log"):
        page(folder, "stopped")


def test_default_places(folder):
    assert write_report(folder / "run", None, None, None) == folder / "run" / "report.html"
    assert write_report(folder / "bare.h5", None, None, None) == folder / "bare.html"


def test_nothing_there(folder):
    with pytest.raises(FormatError, match="got nothing of that name"):
        page(folder, "absent.h5")


def test_reference_for_a_folder(folder):
    with pytest.raises(FormatError, match="expected a file with a predicted H to compare with the reference"):
        page(folder, "run", DATA)


def test_a_calculation_has_no_default_place(folder):
    calculation = read_calculation(folder / "bare.h5")
    with pytest.raises(InputError, match="expected the name of the page as output"):
        write_report(calculation)
    written = write_report(calculation, output=folder / "given.html")
    assert titles(written.read_text()) == ["Structure", "Structure and prediction"]


def test_nothing_to_compare(folder):
    with pytest.raises(InputError, match="expected at least one prediction"):
        compare_predictions({}, DATA, folder / "comparison.html")


def test_comparison_of_files_with_their_runs(folder):
    predictions = {"one": folder / "prediction.h5", "two": folder / "bare.h5"}
    compared = compare_predictions(predictions, DATA, folder / "comparison.html", runs={"one": folder / "run"})
    assert [c.name for c in compared] == ["one", "two"]
    assert (compared[0].log is None, compared[1].log is None) == (False, True)
    text = (folder / "comparison.html").read_text()
    assert "one and two, trained on the same structure" in text
    assert {"Prediction: one", "Prediction: two", "Reference", "Structure"} <= set(titles(text))


def test_command(folder):
    result = CliRunner().invoke(app, ["report", str(folder / "run"), "-o", str(folder / "command.html")])
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'command.html'}\n")
    assert "Training" in titles((folder / "command.html").read_text())


def test_examples():
    assert doctest.testmod(module).failed == 0
