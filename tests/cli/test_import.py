"""`nearsight import` from the outside."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from nearsight.cli.import_ import import_command
from nearsight.errors import NearsightError
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.operators.store import describe, read_calculation
from nearsight.units import HARTREE_IN_EV
from tests.formats.files import BASIS_EXCERPT, H_NAME, MHFO2
from tests.formats.molecules import water
from tests.formats.test_schnorb import arrays_of, raw
from tests.formats.test_schnorb import write as write_database

app = typer.Typer()
app.command()(import_command)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "150"})


def message(result: Result) -> str:
    assert isinstance(result.exception, NearsightError)
    return str(result.exception)


def test_a_run_becomes_a_store_and_a_summary(tmp_path: Path) -> None:
    result = run(MHFO2 / "binary_upper", "-o", tmp_path / "a.h5")
    assert result.exit_code == 0
    for part in (
        "binary upper triangle",
        "Hf4O8, 12 atoms",
        "SZV-MOLOPT-SR-GTH (O 1s1p, Hf 2s1p1d)",
        "72",
        "nonzeros in 144 blocks, |H − H†| ≤ 0.0e+00 eV",
        "-8863.620301 eV",
        "9.0397 eV",
        "56 printed",
    ):
        assert part in result.output
    stored, expected = read_calculation(tmp_path / "a.h5"), read_any(MHFO2 / "binary_upper")
    np.testing.assert_array_equal(stored.require_hamiltonian().values, expected.require_hamiltonian().values)
    assert dict(stored.provenance) == {**expected.provenance, "levels": "those that the code printed"}


def test_options_reach_the_reader(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(MHFO2 / "text_full" / H_NAME, folder)
    result = run(
        folder,
        "-o",
        tmp_path / "a.h5",
        "--structure",
        MHFO2 / "mhfo2.xyz",
        "--cell",
        "20 20 20",
        "--basis",
        "Hf=SZV-MOLOPT-SR-GTH-q12,O=SZV-MOLOPT-SR-GTH",
        "--basis-file",
        BASIS_EXCERPT,
        "--precision",
        "float32",
        "--drop-below",
        "1e-3",
    )
    assert result.exit_code == 0, result.output
    stored = read_calculation(tmp_path / "a.h5")
    np.testing.assert_array_equal(stored.structure.cell, 20 * np.eye(3))
    assert describe(tmp_path / "a.h5")["hamiltonian"]["dtype"] == "float32"
    values = np.abs(stored.require_hamiltonian().values)
    assert values[values > 0].min() > 1e-3 * 27.2
    assert "below 0.001 E_h" in stored.provenance["stored"]
    assert "none" in result.output


def test_an_initial_hamiltonian_is_attached(tmp_path: Path) -> None:
    run_folder, first = MHFO2 / "binary_upper", MHFO2 / "text_upper" / H_NAME
    result = run(run_folder, "-o", tmp_path / "a.h5", "--initial", first, "--drop-below", "1e-3")
    assert result.exit_code == 0, result.output
    assert "|H₀ − H₀†| ≤ 0.0e+00 eV" in result.output
    stored, expected = read_calculation(tmp_path / "a.h5"), read_any(MHFO2 / "text_upper")
    found = to_csr(stored.require_h0()).toarray()
    exact = to_csr(expected.require_hamiltonian()).toarray()
    np.testing.assert_allclose(found, np.where(np.abs(exact) < 1e-3 * HARTREE_IN_EV, 0, exact), rtol=1e-14)
    assert stored.provenance["initial Hamiltonian"] == H_NAME
    run(tmp_path / "a.h5", "-o", tmp_path / "b.h5")
    again = read_calculation(tmp_path / "b.h5").require_h0()
    np.testing.assert_array_equal(again.values, stored.require_h0().values)


def test_an_initial_hamiltonian_of_another_size_writes_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "h0.npy", np.eye(71))
    result = run(MHFO2 / "binary_upper", "-o", tmp_path / "a.h5", "--h0", tmp_path / "h0.npy")
    assert "expected a matrix of 72 × 72" in message(result)
    assert not (tmp_path / "a.h5").exists()


def test_an_isolated_molecule(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(MHFO2 / "text_full" / H_NAME, folder)
    result = run(folder, "-o", tmp_path / "a.h5", "--structure", MHFO2 / "mhfo2.xyz", "--cell", "none")
    assert result.exit_code == 0
    assert not read_calculation(tmp_path / "a.h5").structure.pbc.any()


def test_a_run_that_did_not_converge_is_marked(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MHFO2 / "binary_upper", tmp_path / "run"))
    text = (folder / "hfo2.out").read_text()
    (folder / "hfo2.out").write_text(text.replace("SCF run converged in    15 steps", "SCF run NOT converged"))
    result = run(folder, "-o", tmp_path / "a.h5")
    assert "the SCF did not converge" in result.output


def test_a_row_of_a_database_is_chosen(tmp_path: Path) -> None:
    source = write_database(tmp_path / "water.db", *[raw(arrays_of(water()))] * 3)
    assert "got 3 rows with one each; choose one from 0 to 2 with --row N" in message(
        run(source, "-o", tmp_path / "a.h5")
    )
    result = run(source, "-o", tmp_path / "a.h5", "--row", "1")
    for part in ("SchNOrb database (row 1 of 3)", "H2O, 3 atoms, isolated", "def2-SVP (H 2s1p, O 3s2p1d)", "24"):
        assert part in result.output
    stored, expected = read_calculation(tmp_path / "a.h5"), read_any(source, row=1)
    np.testing.assert_array_equal(stored.require_overlap().values, expected.require_overlap().values)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-o", "a.h5", "--precision", "half"], "expected --precision float32 or float64, got 'half'"),
        (["-o", "nowhere/a.h5"], "expected a folder that can be written for --output"),
        (["-o", "."], "expected a file name for --output, got the folder"),
        (["-o", "a.h5", "--cell", "big"], "expected a cell such as"),
        (["-o", "a.h5", "--basis", "Hf=A,B"], "expected --basis NAME or Hf=NAME,O=NAME"),
        (["-o", "a.h5", "--basis", "Qq=A"], r"expected element symbols"),
        (["-o", "a.h5", "--basis", "Hf=SZV-MOLOPT-SR-GTH"], "expected a basis for every element, got none for O"),
    ],
)
def test_bad_options_are_named_before_anything_is_written(
    tmp_path: Path, arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in message(run(MHFO2 / "binary_upper", *arguments))
    assert list(tmp_path.iterdir()) == []
