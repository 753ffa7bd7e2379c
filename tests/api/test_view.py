"""The page that shows a structure, through the Python interface."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

from nearsight.api import view as module
from nearsight.api.files import read
from nearsight.api.view import computes_states, view

SILICON = Path("data/silicon_2.h5")


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_colours_follow_what_is_known(tmp_path: Path) -> None:
    calculation = read(SILICON)
    view(tmp_path / "all.html", calculation, reference=calculation)
    text = (tmp_path / "all.html").read_text()
    assert "Mulliken charge" in text
    assert "error on site" in text
    view(tmp_path / "bare.html", replace(calculation, hamiltonian=None), title="bare")
    text = (tmp_path / "bare.html").read_text()
    assert "Mulliken charge" not in text
    assert "bare" in text
    assert not computes_states(replace(calculation, hamiltonian=None), states=True)
