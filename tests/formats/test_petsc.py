"""PETSc's binary matrices, read by their documented layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from nearsight.api.exports import export
from nearsight.errors import InputError
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.calculation import Calculation
from tests.fuzz.seeds import small_calculation


def load(path: Path) -> np.ndarray:
    """As MatLoad does: big-endian, 1211216, sizes, elements of each row, columns, values."""
    raw = path.read_bytes()
    number, rows, columns, count = np.frombuffer(raw, ">i4", 4).tolist()
    assert number == 1211216
    per_row = np.frombuffer(raw, ">i4", rows, 16)
    assert per_row.sum() == count
    places = np.frombuffer(raw, ">i4", count, 16 + 4 * rows)
    values = np.frombuffer(raw, ">f8", count, 16 + 4 * rows + 4 * count)
    assert len(raw) == 16 + 4 * rows + 12 * count
    return csr_matrix((values, places, np.concatenate([[0], np.cumsum(per_row)])), (rows, columns)).toarray()


@pytest.mark.parametrize("folded", [False, True])
def test_matrices_at_gamma(folded: bool, tmp_path: Path) -> None:
    """To the last bit; matrices in real space are summed."""
    known = small_calculation()
    h, s = fold(known.require_hamiltonian()), fold(known.require_overlap())
    given = replace(known, hamiltonian=h, overlap=s) if folded else known
    files = export(given, tmp_path / "x", "petsc")
    assert [file.name for file in files] == ["structure.xyz", "orbitals.csv", "hamiltonian.petsc", "overlap.petsc"]
    np.testing.assert_array_equal(load(files[2]), to_csr(h).toarray())
    np.testing.assert_array_equal(load(files[3]), to_csr(s).toarray())


def test_without_matrices(tmp_path: Path) -> None:
    known = small_calculation()
    with pytest.raises(InputError, match="H or S to write"):
        export(Calculation(known.structure, known.basis), tmp_path / "y", "petsc")
    export(known, tmp_path / "z", "petsc")
    with pytest.raises(InputError, match="without matrices of something else"):
        export(replace(known, overlap=None), tmp_path / "z", "petsc")
