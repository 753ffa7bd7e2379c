"""benchmarks/reading.py in small: it writes what CP2K writes, and both forms give the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("triangle", ["full", "upper"])
def test_text_and_binary_agree(triangle: str) -> None:
    command = [sys.executable, "benchmarks/reading.py", "--lines", "60000", "--atoms", "150", "--triangle", triangle]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    report = json.loads(done.stdout)
    text, binary = report["text"], report["binary"]
    assert text["entries"] == binary["entries"] == report["lines"]
    assert 55_000 < report["lines"] < 65_000
    assert text["values"] == binary["values"] > report["lines"] * (1.5 if triangle == "upper" else 0.99)
    assert text["checksum"] == pytest.approx(binary["checksum"], rel=1e-14)
    assert text["seconds"] > 0
