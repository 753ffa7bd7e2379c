"""SciPy's sparse matrices: whoever loads them has H(k) with NumPy and SciPy alone."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from scipy import sparse

from nearsight.api.exports import export
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch, fold, to_csr
from nearsight.operators.calculation import Calculation
from tests.fuzz.seeds import small_calculation


def at(folder: Path, name: str, k: np.ndarray) -> np.ndarray:
    matrix, cells = sparse.load_npz(folder / name), np.load(folder / "cells.npy")
    blocks = matrix.toarray().reshape(matrix.shape[0], len(cells), -1)
    return np.einsum("icj,c->ij", blocks, np.exp(2j * np.pi * (cells @ k)))


def test_h_of_k_by_scipy_alone(tmp_path: Path) -> None:
    """To the last bits; the home cell comes first; rows are named."""
    known = small_calculation()
    export(known, tmp_path / "x", "csr")
    k = np.array([0.1, 0.2, 0.3])
    for name, operator in (("hamiltonian.npz", known.hamiltonian), ("overlap.npz", known.overlap)):
        np.testing.assert_allclose(at(tmp_path / "x", name, k), bloch(operator, k).toarray(), atol=1e-14)
    assert not np.load(tmp_path / "x" / "cells.npy")[0].any()
    rows = list(csv.DictReader((tmp_path / "x" / "orbitals.csv").read_text().splitlines()))
    assert [int(row["orbital"]) for row in rows] == list(range(18))
    assert [row["element"] for row in rows] == ["Hf"] * 10 + ["O"] * 8
    assert [row["shell"] + row["l"] + row["m"] for row in rows[10:14]] == ["000", "11-1", "110", "111"]
    atoms = ase.io.read(tmp_path / "x" / "structure.xyz")
    np.testing.assert_allclose(atoms.positions, known.structure.positions, atol=1e-8)


def test_at_gamma_and_without_s(tmp_path: Path) -> None:
    known = small_calculation()
    h = fold(known.require_hamiltonian())
    export(replace(known, hamiltonian=h, overlap=None), tmp_path / "x", "csr")
    assert not (tmp_path / "x" / "overlap.npz").exists()
    matrix = sparse.load_npz(tmp_path / "x" / "hamiltonian.npz")
    np.testing.assert_array_equal(matrix.toarray(), to_csr(h).toarray())
    with pytest.raises(InputError, match="H or S to write"):
        export(Calculation(known.structure, known.basis), tmp_path / "y", "csr")
