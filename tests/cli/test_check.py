"""`nearsight check` from the outside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nearsight.cli.main import app
from nearsight.operators.store import write_calculation
from tests.checks.faults import A96, crystal
from tests.formats.files import MHFO2


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *(str(a) for a in arguments)], env={"COLUMNS": "150"})


@pytest.fixture
def shifted(tmp_path: Path) -> Path:
    """A store with a wrong Fermi level."""
    path = tmp_path / "shifted.h5"
    write_calculation(path, replace(crystal(), fermi=0.0))
    return path


def test_good_files_exit_with_0(tmp_path: Path) -> None:
    result = run(A96, "--quick", "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    assert "1 file: 0 errors, 0 warnings" in result.output
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["files"] == [str(A96)]
    assert found["counts"]["error"] == 0
    assert set(found["findings"][0]) == {"level", "check", "file", "message", "meaning", "advice"}


def test_errors_exit_with_1_and_say_what_to_do(shifted: Path) -> None:
    result = run(shifted, "--quick")
    assert result.exit_code == 1
    for part in ("error", "Fermi level", "got 0.0000 eV", "another zero of energy", "→ Compare with the output"):
        assert part in result.output


def test_a_file_in_training_and_test_and_one_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"nothing")
    result = run(MHFO2 / "binary_upper", tmp_path / "x.h5", "--test", MHFO2 / "text_full", "--quick", "--json", "-")
    assert result.exit_code == 1
    checks = [f["check"] for f in json.loads(result.stdout)["findings"] if f["level"] == "error"]
    assert sorted(checks) == ["duplicates", "file"]


@pytest.mark.parametrize("arguments", [[], [A96, "--cutoff", "0"], [A96, "--nonsense"]])
def test_wrong_usage_exits_with_2(arguments: list[object]) -> None:
    assert run(*arguments).exit_code == 2
