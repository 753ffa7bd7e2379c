"""A folder that the user may not write into is one line, before any work, and what lies in it stays."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nearsight as ns
from tests.quantum_transport.tight_binding import chain

ROOT = Path(__file__).parents[2]
SILICON = ROOT / "data" / "silicon_2.h5"
KNOWN = ROOT / "tests" / "data" / "version_0_1_0"
COMMANDS = [
    f"import {SILICON} -o ro/old.h5",
    f"predict {KNOWN / 'nearsight'} {KNOWN / 'calculation.h5'} -o ro/p.h5",
    f"report {SILICON} -o ro/r.html",
    f"check {SILICON} --json ro/c.json",
    f"bands {SILICON} --csv ro/b.csv",
    f"train nearsight data.train=[{KNOWN / 'calculation.h5'}] run_dir=ro/run data.check=false",
    f"train nearsight data.train=[{KNOWN / 'calculation.h5'}] run_dir=ro data.check=false",
    "generate c.yaml --output ro/out",
    "generate c.yaml --output ro",
    "transport j.yaml -o ro/out",
    "transport j.yaml -o ro",
]
SCRIPT = """
import json, sys
from typer.testing import CliRunner
from nearsight.cli.main import app

for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, words.split(), env={"COLUMNS": "400"})
    print(json.dumps([result.exit_code, repr(result.exception), result.output]), flush=True)
"""
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def as_everybody() -> None:
    """Take from root what lets it write anywhere; others do not have it."""
    if os.getuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def test_every_command_says_so_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    shutil.copy(SILICON, folder / "old.h5")
    (tmp_path / "a.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    (tmp_path / "c.yaml").write_text(
        "structures: [{name: a, files: [a.xyz], cell: none}]\ndft: {code: pyscf, basis: sto-3g}\n"
    )
    ns.write(tmp_path / "d.h5", chain(9))
    (tmp_path / "j.yaml").write_text("device: d.h5\nlayer: 1.0\nenergies: {start: -1, end: 1, step: 0.5}\n")
    folder.chmod(0o555)
    try:
        command = [sys.executable, "-c", SCRIPT, json.dumps(COMMANDS)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, preexec_fn=as_everybody
        )
    finally:
        folder.chmod(0o755)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(COMMANDS), done.stderr
    for words, (code, exception, said) in zip(COMMANDS, found):
        assert (code, exception) == (2, "SystemExit(2)"), (words, exception, said)
        assert said.strip().splitlines()[-1].startswith("error: expected"), (words, said)
        assert said.count("error:") == 1
    assert [path.name for path in folder.iterdir()] == ["old.h5"]
    assert (folder / "old.h5").read_bytes() == SILICON.read_bytes()
