"""Questions about files are answered, or not within the limits; and no module of the present folder is run for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nearsight import limited_process
from nearsight.limited_process import NO_MEMORY, LimitedProcess, NoAnswerError, NoProcessError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[LimitedProcess]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = LimitedProcess("tests.limited_answers")
    yield found
    found.stop()


def test_one_process_answers_all_questions(process: LimitedProcess, tmp_path: Path) -> None:
    assert process.ask(tmp_path, what="ä") == "ä"
    first = process.pid
    assert process.ask(tmp_path / "absent", what="second") == "second"
    assert process.pid == first is not None


@pytest.mark.parametrize("what", ["end", "half a line"])
def test_one_that_ends_is_followed_by_another(process: LimitedProcess, tmp_path: Path, what: str) -> None:
    with pytest.raises(NoAnswerError):
        process.ask(tmp_path, what=what)
    assert process.ask(tmp_path, what="next") == "next"


def test_time_and_memory_have_limits(process: LimitedProcess, tmp_path: Path) -> None:
    assert process.ask(tmp_path, what="memory") == NO_MEMORY
    began = time.monotonic()
    with pytest.raises(NoAnswerError):
        process.ask(tmp_path, what="loop")
    assert time.monotonic() - began < 60
    assert process.ask(tmp_path, what="next") == "next"


def test_an_interrupt_leaves_no_answer_for_the_next_question(
    process: LimitedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(process: object) -> str:
        raise KeyboardInterrupt

    assert process.ask(tmp_path, what="first") == "first"
    with monkeypatch.context() as patched:
        patched.setattr(limited_process, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            process.ask(tmp_path, what="second")
    assert process.ask(tmp_path, what="third") == "third"


def test_without_a_python_there_is_no_process(
    process: LimitedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(NoProcessError):
        process.ask(tmp_path, what="first")


READ = """
import sys
from nearsight.formats.registry import read_any
from nearsight.formats.structure_files import read_structure
print(len(read_any(sys.argv[1]).structure), len(read_structure(sys.argv[2]).numbers))
"""
MODULES = ("json", "h5py", "ase", "numpy", "os", "selectors", "nearsight", "multiprocessing", "sitecustomize")


def test_modules_of_the_present_folder_are_not_run(tmp_path: Path) -> None:
    """Data of others come in a folder, and a folder can hold anything."""
    from tests.fuzz.seeds import POSCAR

    script = tmp_path / "own" / "read.py"
    script.parent.mkdir()
    script.write_text(READ)
    folder = tmp_path / "of_others"
    folder.mkdir()
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w'); raise ImportError('run')")
    (folder / "POSCAR").write_text(POSCAR)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(script), str(ROOT / "data" / "silicon_2.h5"), "POSCAR"]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert not (tmp_path / "was_run").exists()
    assert found.stdout.split() == ["2", "3"], found.stderr
