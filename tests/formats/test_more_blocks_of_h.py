"""H with blocks where S has none, as of projectors of pseudopotentials: none of them is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.api.exports import export
from nearsight.checks.linter import check_calculation
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from tests.fuzz.seeds import small_calculation

WORDS = {"Hf": "2s1p1d", "O": "1s1p"}


@pytest.fixture
def wider() -> Calculation:
    """S within 2.6 Å, H within 3.2 Å."""
    known = small_calculation()
    s = known.require_overlap()
    positions = known.structure.positions
    vectors = positions[s.target] + s.shift @ known.structure.cell - positions[s.source]
    near = s.select(np.linalg.norm(vectors, axis=1) < 2.6)
    assert near.n_pairs < s.n_pairs
    return replace(known, overlap=near)


def test_the_store_keeps_them(wider: Calculation, tmp_path: Path) -> None:
    write_calculation(tmp_path / "x.h5", wider)
    back = read_calculation(tmp_path / "x.h5")
    assert back.hamiltonian.n_pairs == wider.hamiltonian.n_pairs > back.overlap.n_pairs
    np.testing.assert_array_equal(back.hamiltonian.values, wider.hamiltonian.values)


@pytest.mark.parametrize("layout", ["deepx", "deeph", "dftio", "abacus", "tshs"])
def test_files_of_others_keep_them(layout: str, wider: Calculation, tmp_path: Path) -> None:
    name = "x.TSHS" if layout == "tshs" else "x"
    export(wider, tmp_path / name, layout)
    words = {"basis": WORDS} if layout in ("abacus", "tshs") else {}
    found = read_any(tmp_path / name, **words).require_hamiltonian()
    known = wider.require_hamiltonian()
    there = found.on_pairs(known.source, known.target, known.shift)
    np.testing.assert_allclose(there.values, known.values, atol=1e-13)


def test_the_linter_counts_them(wider: Calculation) -> None:
    found = [f for f in check_calculation(wider, quick=True) if "where S has none" in f.message]
    missing = wider.hamiltonian.n_pairs - wider.overlap.n_pairs
    assert [f.level for f in found] == ["note"]
    assert f"{missing} blocks" in found[0].message
