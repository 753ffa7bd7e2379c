"""benchmarks/transport.py in small: dense inversion and elimination give the same transmission."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def test_the_benchmark_runs() -> None:
    command = [sys.executable, "benchmarks/transport.py", "--layers", "3", "--compare"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["functions"] == 384
    assert found["T"]["nearsight"] == pytest.approx(found["T"]["dense"], abs=1e-9)
