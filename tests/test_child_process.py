"""Child processes look for modules where their parent does, answer in order, and say how they ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from nearsight.child_process import ChildProcess, Workers, end
from nearsight.errors import InputError, NearsightError
from nearsight.operators.store import write_calculation
from tests.quantum_transport.tight_binding import chain

ROOT = Path(__file__).parents[1]
MODULES = ("json", "h5py", "numpy", "os", "pickle", "multiprocessing", "nearsight", "sitecustomize", "usercustomize")
SCRIPT = """
import sys
import nearsight as ns
from nearsight.cli.main import main

ns.transport(ns.junction("chain.h5", layer=1.0), [0.0, 0.1], processes=2)
sys.argv = ["nearsight", "generate", "campaign.yaml", "-o", "out"]
main()
"""
CAMPAIGN = "structures: [{name: a, files: [a.xyz], cell: none}]\ndft: {code: pyscf, basis: sto-3g}\n"


def _add(connection: Connection, *numbers: int) -> None:
    connection.send((sum(numbers), os.environ.get("OMP_NUM_THREADS"), sys.path))


def _adder(first: int) -> Callable[[int], int]:
    def add(second: int) -> int:
        if second < 0:
            raise InputError("expected a number, got a negative one")
        if second > 100:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02 * (second % 3))
        return first + second

    return add


def _sleep(connection: Connection) -> None:
    connection.send("begun")
    time.sleep(60)


def test_a_function_in_a_fresh_interpreter() -> None:
    child = ChildProcess(_add, 1, 2, environment={"OMP_NUM_THREADS": "7"})
    total, threads, path = child.connection.recv()
    assert (total, threads) == (3, "7")
    assert set(path) == {os.path.abspath(p) for p in sys.path}
    end([child])
    assert child.exit_code is not None
    assert not child.alive


def test_ending() -> None:
    children = [ChildProcess(_sleep) for _ in range(2)]
    assert [child.connection.recv() for child in children] == ["begun"] * 2
    assert all(child.alive for child in children)
    end(children)
    assert [child.exit_code for child in children] == [-signal.SIGTERM] * 2


def test_answers_come_in_order_and_errors_as_they_are() -> None:
    with Workers(2, _adder, 10) as workers:
        assert list(workers.map(range(7))) == list(range(10, 17))
        assert list(workers.map([])) == []
        with pytest.raises(InputError, match="got a negative one"):
            list(workers.map([1, -1, 2]))


def test_a_killed_worker_is_named() -> None:
    with Workers(2, _adder, 10) as workers, pytest.raises(NearsightError, match="exit code -9; was it killed"):
        list(workers.map([1, 101, 2]))


def test_modules_of_the_present_folder_are_not_run(tmp_path: Path) -> None:
    """Neither by the processes of `transport` nor by those of `generate`, on any version of Python."""
    own, folder = tmp_path / "own", tmp_path / "of_others"
    for made in (own, folder):
        made.mkdir()
    (own / "run.py").write_text(SCRIPT)
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w'); raise ImportError('run')")
    write_calculation(folder / "chain.h5", chain(5))
    (folder / "a.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"} | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(own / "run.py")]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert not (tmp_path / "was_run").exists()
    assert (folder / "out" / "a-a.h5").is_file()
