"""Two commands at the same time in one place: the second is refused in one line and harms nothing, or both are whole.

Each test waits until the first is at work before the second begins, and looks that it still is when the second ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nearsight as ns
from nearsight.cli.main import app

ROOT = Path(__file__).parents[2]
KNOWN = ROOT / "tests" / "data" / "version_0_1_0" / "calculation.h5"
RUN = (
    f"train nearsight data.train=[{KNOWN}] run_dir=run model.cutoff=4 data.check=false budget_minutes=null --threads 1"
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def start(folder: Path, words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nearsight.cli.main", *words.split()]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def second(words: str) -> tuple[int, str]:
    """Run a command here, in another process than the first; its exit code and what it says."""
    result = CliRunner().invoke(app, words.split(), env={"COLUMNS": "400"})
    return result.exit_code, result.output


@contextmanager
def at_work(folder: Path, words: str, begun: Callable[[], bool]) -> Iterator[subprocess.Popen[str]]:
    """A command that is under way in the `with` block; it is let go on to its end by the test."""
    with start(folder, words) as first:
        try:
            for _ in range(3000):
                if begun() or first.poll() is not None:
                    break
                time.sleep(0.05)
            assert first.poll() is None, first.communicate()[0]
            yield first
        finally:
            first.kill()


def epochs(folder: Path) -> list[int]:
    log = folder / "run" / "log.jsonl"
    return [json.loads(line)["epoch"] for line in log.read_text().splitlines()] if log.exists() else []


def test_a_second_training_is_refused_and_the_first_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with at_work(tmp_path, f"{RUN} max_epochs=100000", lambda: len(epochs(tmp_path)) > 1) as first:
        code, said = second(f"{RUN} max_epochs=100000")  # the command that continues a run is the same
        assert (code, said.count("\n")) == (2, 1), said
        assert f"got another nearsight (process {first.pid} on" in said
        assert "at work in it; wait for it, or give another run_dir" in said
        assert first.poll() is None
        seen = len(epochs(tmp_path))
        first.send_signal(signal.SIGINT)
        said = first.communicate()[0]
        assert first.returncode in (0, 130), said
    done = epochs(tmp_path)
    assert done == list(range(1, len(done) + 1))  # every epoch once
    assert len(done) >= seen
    assert ns.load_model(tmp_path / "run").cutoff == 4
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.endswith(".tmp") or p.name == ".lock"]


@pytest.mark.slow
def test_a_second_campaign_is_refused_and_the_first_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.xyz").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    (tmp_path / "c.yaml").write_text(
        "structures: [{name: a, files: [a.xyz], cell: none}]\ndft: {code: pyscf, basis: def2-svp}\n"
    )
    words = "generate c.yaml --output out"
    with at_work(tmp_path, words, (tmp_path / "out" / ".lock").exists) as first:
        code, said = second(words)
        assert (code, "got another nearsight (process" in said, said.count("\n")) == (2, True, 1), said
        assert first.communicate()[0].count("1 of 1 structures") == 1
        assert first.returncode == 0
    assert not list(tmp_path.rglob(".lock")) + list(tmp_path.rglob("*.tmp"))


MEETING = """
import sys, time
from pathlib import Path
from matplotlib.figure import Figure
from nearsight.cli.main import main

own, words, write = sys.argv[1], sys.argv[2].split(), Figure.savefig

def meet(figure, *names, **options):
    write(figure, *names, **options)
    Path(own).touch()
    for _ in range(2400):
        if Path("first").exists() and Path("second").exists():
            return
        time.sleep(0.05)
    raise SystemExit("the other one did not come")

Figure.savefig = meet
sys.argv[1:] = words
main()
"""


FIGURE = f"bands {ROOT / 'data' / 'silicon_2.h5'} --points 3 -o b.png"


def test_two_that_write_one_figure_at_the_same_moment_both_do(tmp_path: Path) -> None:
    """Both have written all of it, under a name of their own, before either takes its place."""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, name, FIGURE],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("first", "second")
    ]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert (tmp_path / "b.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "first", "second"]
