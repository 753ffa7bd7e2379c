"""Spoilt files of every kind end in an error that names the file, or in content that passes an audit; nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.fuzz.campaign import run


def assert_nothing_else(folder: Path, first: int, count: int, workers: int) -> None:
    found = run(folder, first, count, workers)
    print(f"cases {first} to {first + count - 1}; one is repeated by `python -m tests.fuzz.worker FOLDER CASE 1`")
    print(found.table())
    assert found.done >= count
    assert found.wrong == []
    assert found.grown < 1000
    assert found.probe < 1000


def test_a_few_thousand_cases(tmp_path: Path) -> None:
    """The same ones every time."""
    assert_nothing_else(tmp_path, 0, 4000, 2)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_million_cases(tmp_path: Path) -> None:
    """Others every time."""
    assert_nothing_else(tmp_path, int(time.time()) * 1000, 1_000_000, os.cpu_count() or 1)
