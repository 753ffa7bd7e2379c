"""H with blocks where S has none, as of projectors of pseudopotentials: none of them is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.api.exports import export
from nearsight.checks.linter import check_calculation
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.quantum_transport.quatrex_files import read_quatrex
from tests.fuzz.seeds import small_calculation

WORDS = {"Hf": "2s1p1d", "O": "1s1p"}


@pytest.fixture
def wider() -> Calculation:
    """S within 2.6 Å, H within 3.2 Å."""
    known = small_calculation()
    s = known.require_overlap()
    positions = known.structure.positions
    vectors = positions[s.target] + s.shift @ known.structure.cell - positions[s.source]
    near = np.linalg.norm(vectors, axis=1) < 2.6
    assert not near.all()
    h = known.require_hamiltonian()
    small = np.repeat(np.where(near, 1.0, 1e-4), h.lengths)
    return replace(known, hamiltonian=h.with_values(h.values * small), overlap=s.select(near))


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
    np.testing.assert_allclose(there.values, known.values, rtol=0, atol=1e-15 * np.abs(known.values).max())


def test_quatrex_keeps_them(wider: Calculation, tmp_path: Path) -> None:
    export(wider, tmp_path / "x", "quatrex")
    k, known = np.array([0.1, 0.2, 0.3]), wider.require_hamiltonian()
    parts = read_quatrex(tmp_path / "x" / "hamiltonian.h5")
    ours = sum(np.exp(2j * np.pi * (k @ cell)) * matrix.toarray() for cell, matrix in parts.items())
    np.testing.assert_allclose(ours, bloch(known, k).toarray(), atol=1e-14)


def test_the_linter_counts_them(wider: Calculation) -> None:
    found = [f for f in check_calculation(wider, quick=True) if "where S has none" in f.message]
    missing = wider.hamiltonian.n_pairs - wider.overlap.n_pairs
    assert [f.level for f in found] == ["note"]
    assert f"{missing} blocks" in found[0].message


def test_large_ones_are_an_error(wider: Calculation) -> None:
    """S was cut off; with H cut off it is the other way round."""
    known = small_calculation()
    for calculation, words in (
        (replace(known, overlap=wider.overlap), "between atoms that do not overlap"),
        (replace(known, hamiltonian=_in_the_home_cell(known)), "expected blocks of H wherever atoms overlap"),
    ):
        found = [f for f in check_calculation(calculation, quick=True) if words in f.message]
        assert [f.level for f in found] == ["error"]
    assert not [f for f in check_calculation(known, quick=True) if f.check == "completeness" and f.level == "error"]


def _in_the_home_cell(calculation: Calculation) -> BlockOperator:
    h = calculation.require_hamiltonian()
    return h.select(~h.shift.any(axis=1))
