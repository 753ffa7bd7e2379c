"""benchmarks/data_path.py in small: every stage works on what the one before it made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_stages() -> None:
    command = [
        sys.executable,
        "benchmarks/data_path.py",
        "--atoms",
        "96",
        "--entries",
        "150000",
        "--skip-epoch",
        "--json",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    report = json.loads(done.stdout)
    assert 140_000 < report["entries_per_matrix"] < 160_000
    assert report["stored_elements"] == report["entries_per_matrix"]
    assert 96 < report["labelled_rows"] <= report["edges"] + 96
    assert len(report["seconds"]) == 7
    assert all(seconds > 0 for seconds in report["seconds"].values())
