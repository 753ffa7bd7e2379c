"""Checks of data, through the Python interface."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import pytest

from nearsight.api import checking
from nearsight.api.checking import check
from nearsight.api.files import read
from nearsight.errors import InputError
from nearsight.progress import Event

SILICON = Path("data/silicon_2.h5")


def test_examples() -> None:
    assert doctest.testmod(checking).failed == 0


def test_files_and_calculations_are_checked_alike() -> None:
    calculation = read(SILICON)
    events: list[Event] = []
    files = check([SILICON], quick=True, progress=events.append)
    memory = check(calculation, quick=True)
    assert [replace(f, file="") for f in files] == [replace(f, file="") for f in memory]
    assert {f.file for f in memory} == {"calculation 1 (Si2)"}
    assert [(event.message, event.total) for event in events] == [(f"checking {SILICON}", 1)]


def test_errors_come_first_and_say_where(tmp_path: Path) -> None:
    (tmp_path / "damaged.h5").write_bytes(b"nothing")
    wrong = replace(read(SILICON), fermi=1000.0)
    findings = check([SILICON, wrong], tests=[tmp_path / "damaged.h5", str(SILICON)], quick=True)
    errors = [(f.check, f.file) for f in findings if f.level == "error"]
    assert ("file", str(tmp_path / "damaged.h5")) in errors
    assert ("Fermi level", "calculation 2 (Si2)") in errors
    assert [f.level for f in findings] == sorted((f.level for f in findings), key=["error", "warning", "note"].index)


def test_a_cutoff_that_is_none() -> None:
    with pytest.raises(InputError, match="positive cutoff"):
        check(SILICON, cutoff=0.0)
