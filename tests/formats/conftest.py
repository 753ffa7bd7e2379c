"""Fixtures of the formats' tests."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.formats.cp2k_runs import ARCHIVE


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of all small runs of CP2K, not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A run's folder that may be changed."""
    return lambda name: Path(shutil.copytree(runs / name, tmp_path / name))
