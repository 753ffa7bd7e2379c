"""No command writes over what it reads, over another kind of file, or over anything but a regular file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nearsight.cli.main import app
from tests.cli.test_main import start

ROOT = Path(__file__).parents[2]
SILICON = ROOT / "data" / "silicon_2.h5"
MODEL = ROOT / "tests" / "data" / "version_0_1_0" / "nearsight"

COMMANDS = {
    "import": "import a.h5 -o OUT",
    "report": "report a.h5 -o OUT",
    "report, reference": "report b.h5 --reference a.h5 -o OUT",
    "view": "view a.h5 --no-states -o OUT",
    "view, overlap": "view b.h5 --overlap a.h5 --no-states -o OUT",
    "check": "check a.h5 --quick --json OUT",
    "check, test": "check b.h5 --test a.h5 --quick --json OUT",
    "start cp2k": "start a.h5 --cp2k OUT",
    "start pyscf": "start a.h5 --pyscf OUT",
    "predict": "predict MODEL a.h5 -o OUT",
    "overlap": "overlap a.h5 -o OUT",
    "dos csv": "dos a.h5 --csv OUT",
    "bands csv": "bands b.h5 --reference a.h5 --csv OUT",
    "charges csv": "charges a.h5 --csv OUT",
}


def run(words: str) -> Result:
    return CliRunner().invoke(app, words.replace("MODEL", str(MODEL)).split(), env={"COLUMNS": "150"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SILICON, tmp_path / "a.h5")
    shutil.copy(SILICON, tmp_path / "b.h5")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_read_is_not_written(folder: Path, command: str) -> None:
    before = (folder / "a.h5").read_bytes()
    os.link("a.h5", "hard.h5")
    os.symlink("a.h5", "soft.h5")
    for name in ("a.h5", "hard.h5", "soft.h5"):
        result = run(COMMANDS[command].replace("OUT", name))
        assert result.exit_code == 2, result.output
        assert "expected another file to write than those that are read" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert (folder / "a.h5").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.h5", "b.h5", "hard.h5", "soft.h5"]


@pytest.mark.parametrize("command", COMMANDS)
def test_devices_folders_and_other_kinds_of_files_stay(folder: Path, command: str) -> None:
    (folder / "job.inp").write_text("&GLOBAL\n&END\n")
    os.mkfifo("pipe")
    (folder / "null").symlink_to(os.devnull)
    for name, expected in (
        ("job.inp", "another kind"),
        ("pipe", "a pipe"),
        ("null", "a device"),
        (".", "the folder"),
        ("nowhere/a", "folder"),
    ):
        result = run(COMMANDS[command].replace("OUT", name))
        assert result.exit_code == 2, result.output
        assert expected in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert (folder / "job.inp").read_text() == "&GLOBAL\n&END\n"
    assert len(list(folder.iterdir())) == 5


@pytest.mark.parametrize("words", ["dos a.h5 -o OUT", "bands a.h5 -o OUT", "figure decay a.h5 -o OUT"])
def test_figures_replace_figures_of_their_format(folder: Path, words: str) -> None:
    for name in ("a.png", "a.pdf", "a.svg"):
        shutil.copy("a.h5", name)
        result = run(words.replace("OUT", name))
        assert result.exit_code == 2
        assert "another kind" in result.stderr
        shutil.copy("a.h5", "x" + name)
        assert run(words.replace("a.h5", "x" + name).replace("OUT", "x" + name)).exit_code == 2
        assert (folder / ("x" + name)).read_bytes() == SILICON.read_bytes()


def test_two_outputs_are_two_files(folder: Path) -> None:
    result = run("dos a.h5 -o x.png --csv ./x.png")
    assert result.exit_code == 2
    assert "expected different files to write, got x.png twice" in result.stderr


def test_a_full_standard_output_is_one_line() -> None:
    code = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nfrom nearsight.cli.main import main; main()"
    done = start("spectrum", str(SILICON), "--json", code=code)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: standard output: expected to write it, got: No space left on device"
    assert "Traceback" not in done.stderr
