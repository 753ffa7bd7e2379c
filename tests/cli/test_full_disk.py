"""A full disk: the old file stays, one line names the file, nothing is left behind.

Every write of the process fails beyond so many bytes (the limit of the size of a file, which every library meets).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import nearsight as ns
from nearsight.cli.main import main
from tests.quantum_transport.tight_binding import chain

ROOT = Path(__file__).parents[2]
SILICON = ROOT / "data" / "silicon_2.h5"
KNOWN = ROOT / "tests" / "data" / "version_0_1_0"

OLD = {
    "out.h5": KNOWN / "calculation.h5",
    "out.html": b"<!doctype html>old",
    "out.json": b"{}",
    "out.csv": b"atom,charge\n",
    "out.npy": b"\x93NUMPY old",
    "out.wfn": b"\x14\0\0\0" + bytes(30),
    "out.cube": b"electron density, old",
    "out.png": b"\x89PNG old",
    "out.svg": b"<?xml old",
}
COMMANDS_THAT_WRITE = {
    "import": "import SILICON -o out.h5",
    "overlap": "overlap SILICON -o out.h5",
    "predict": "predict MODEL MHFO2 -o out.h5",
    "report": "report SILICON -o out.html",
    "report, reference": "report SILICON --reference SILICON -o out.html",
    "report, run": "report run -o out.html",
    "view": "view SILICON --no-states -o out.html",
    "check": "check SILICON --quick --json out.json",
    "start cp2k": "start SILICON --cp2k out.wfn",
    "start pyscf": "start SILICON --pyscf out.npy",
    "start cube": "start SILICON --spacing 1 --cube out.cube",
    "dos": "dos SILICON -o out.png",
    "dos csv": "dos SILICON --csv out.csv",
    "bands": "bands SILICON --points 10 -o out.svg",
    "bands csv": "bands SILICON --points 10 --csv out.csv",
    "charges": "charges SILICON --csv out.csv",
    "figure": "figure decay SILICON -o out.png",
}
TRAIN = (
    f"train nearsight data.train=[{KNOWN / 'calculation.h5'}] run_dir=run max_epochs=2 budget_minutes=null "
    "data.check=false --threads 1"
)
CAMPAIGN = """name: full
structures: [{name: a, files: [a.xyz], cell: none}]
dft: {code: pyscf, basis: sto-3g}
"""


SERVER = multiprocessing.get_context("forkserver")
"""Children come from a process that has no threads: one of pytest's own could wait for ever for a lock of a thread."""
SERVER.set_forkserver_preload(["tests.cli.every_command"])
LONGEST = 120.0
"""Seconds a command may take."""


def run(words: str, folder: Path, limit: int) -> tuple[int, str]:
    """Run a command in a child process in which no file can grow beyond so many bytes; exit code and stderr."""
    words = words.replace("SILICON", str(SILICON)).replace("MODEL", str(KNOWN / "nearsight"))
    words = words.replace("MHFO2", str(KNOWN / "calculation.h5"))
    reader, writer = SERVER.Pipe(duplex=False)
    child = SERVER.Process(target=limited, args=(words.split(), folder, limit, writer))
    child.start()
    writer.close()
    parts: list[bytes] = []
    reading = threading.Thread(target=lambda: parts.extend(iter(lambda: os.read(reader.fileno(), 65536), b"")))
    reading.start()
    child.join(LONGEST)
    if child.is_alive():
        child.kill()
        child.join()
    reading.join()
    reader.close()
    assert child.exitcode is not None
    return child.exitcode, b"".join(parts).decode(errors="replace")


def limited(words: list[str], folder: Path, limit: int, errors: Connection) -> None:
    """Be the command, with stderr into a pipe; the process ends here."""
    status = 99
    try:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(errors.fileno(), 2)
        errors.close()
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["nearsight", *words]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        main()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException as error:
        os.write(2, f"Traceback: {error!r}".encode())
    finally:
        sys.stderr.flush()
        os._exit(status)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in OLD.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        (tmp_path / name).write_bytes(data)
    shutil.copytree(KNOWN / "nearsight", tmp_path / "run") if (KNOWN / "nearsight").is_dir() else None
    (tmp_path / "run").mkdir(exist_ok=True)
    if not (tmp_path / "run" / "log.jsonl").exists():
        (tmp_path / "run" / "log.jsonl").write_text(json.dumps({"epoch": 1, "seconds": 1.0, "loss": 2.0}) + "\n")
    return tmp_path


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def check_message(text: str, name: str) -> None:
    lines = [line for line in text.splitlines() if line.startswith("error")]
    assert "Traceback" not in text, text
    assert len(lines) == 1, text
    assert name in lines[0], text
    assert "File too large" in lines[0], text


@pytest.mark.parametrize("limit", [0, 700])
@pytest.mark.parametrize("command", COMMANDS_THAT_WRITE)
def test_the_old_file_stays(folder: Path, command: str, limit: int) -> None:
    words, before = COMMANDS_THAT_WRITE[command], state(folder)
    code, text = run(words, folder, limit)
    if code == 0:  # small enough
        assert limit
        return
    assert code == 2, text
    check_message(text, words.split()[-1])
    assert state(folder) == before


@pytest.mark.parametrize("limit", [0, 200, 4000, 60_000])
def test_a_training_names_its_file_and_leaves_no_half_one(tmp_path: Path, limit: int) -> None:
    code, text = run(TRAIN, tmp_path, limit)
    assert code == 2, text
    check_message(text, "run/")
    assert not [name for name in state(tmp_path) if name.endswith((".tmp", ".lock"))]
    whole = {"config.yaml", "log.jsonl", "best.safetensors"}
    assert {name.removeprefix("run/") for name in state(tmp_path)} <= whole


@pytest.mark.parametrize("limit", [0, 100, 2000])
def test_a_campaign_names_its_file(tmp_path: Path, limit: int) -> None:
    (tmp_path / "a.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    code, text = run("generate campaign.yaml --output out", tmp_path, limit)
    assert code in (1, 2), text
    assert "Traceback" not in text
    assert not [name for name in state(tmp_path) if name.endswith((".tmp", ".h5"))]


@pytest.mark.parametrize("limit", [0, 2000, 9000, 30_000])
def test_a_junction_names_its_file_and_leaves_no_half_one(tmp_path: Path, limit: int) -> None:
    ns.write(tmp_path / "device.h5", chain(9))
    (tmp_path / "j.yaml").write_text("device: device.h5\nlayer: 1.0\nenergies: {start: -0.6, end: 0.6, step: 0.3}\n")
    code, text = run("transport j.yaml -o out", tmp_path, limit)
    assert code == 2, text
    check_message(text, "out/")
    assert not [name for name in state(tmp_path) if name.endswith((".tmp", ".lock", "report.html"))]


@pytest.mark.parametrize("limit", [0, 2000])
@pytest.mark.parametrize("layout", ["deepx", "deeph", "abacus", "dftio", "tshs", "quatrex"])
def test_an_export_names_its_file_and_leaves_no_half_one(tmp_path: Path, layout: str, limit: int) -> None:
    name = "out.TSHS" if layout == "tshs" else "out"
    code, text = run(f"export MHFO2 -o {name} --layout {layout}", tmp_path, limit)
    assert code == 2, text
    check_message(text, name)
    assert not [each for each in state(tmp_path) if each.endswith(".tmp")]
