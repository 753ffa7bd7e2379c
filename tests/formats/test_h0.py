"""H₀ from the files it comes in."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.formats.h0 import read_h0
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.operators.store import write_calculation
from nearsight.units import HARTREE_IN_EV
from tests.formats.files import H_NAME, MHFO2, entries_of, symmetric, write_text

CALCULATION = read_any(MHFO2 / "binary_upper")
H0 = symmetric(72, 5)


def matrix_of(path: Path) -> np.ndarray:
    return to_csr(read_h0(path, CALCULATION)).toarray() / HARTREE_IN_EV


def test_a_whole_matrix_and_its_upper_triangle(tmp_path: Path) -> None:
    np.save(tmp_path / "h0.npy", H0)
    np.savez(tmp_path / "h0.npz", H0_triu=H0[np.triu_indices(72)])
    for name in ("h0.npy", "h0.npz"):
        np.testing.assert_allclose(matrix_of(tmp_path / name), H0, rtol=1e-15)


@pytest.mark.parametrize("part", ["full", "upper"])
def test_a_matrix_of_cp2k(tmp_path: Path, part: str) -> None:
    np.testing.assert_allclose(matrix_of(write_text(tmp_path / "h0.csr", entries_of(H0, part))), H0, rtol=1e-15)


def test_a_run_of_its_own_and_a_store(tmp_path: Path) -> None:
    """What `import` reads by itself: then H is H₀."""
    expected = to_csr(CALCULATION.require_hamiltonian()).toarray() / HARTREE_IN_EV
    folder = Path(shutil.copytree(MHFO2 / "binary_upper", tmp_path / "first_step"))
    np.testing.assert_array_equal(matrix_of(folder), expected)
    write_calculation(tmp_path / "a.h5", CALCULATION)
    np.testing.assert_array_equal(matrix_of(tmp_path / "a.h5"), expected)
    only = replace(CALCULATION, hamiltonian=None, h0=CALCULATION.hamiltonian)
    write_calculation(tmp_path / "b.h5", only)
    np.testing.assert_array_equal(matrix_of(tmp_path / "b.h5"), expected)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (
            symmetric(71),
            r"expected a matrix of 72 × 72 or its upper triangle \(2628 numbers\) for Hf4O8 in O 1s1p, Hf "
            r"2s1p1d, got shape \(71, 71\)",
        ),
        (np.zeros(2627), r"got shape \(2627,\)"),
        (np.where(np.eye(72) > 0, np.nan, H0), "expected finite real numbers"),
        (H0.astype(complex), "expected finite real numbers"),
        (np.triu(H0) + 0.5 * np.tril(H0, -1), "expected a symmetric matrix"),
        (H0 * (np.arange(72)[:, None] < 40) * (np.arange(72) < 40), "expected a diagonal element for each of the 72"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(tmp_path: Path, matrix: np.ndarray, expected: str) -> None:
    np.save(tmp_path / "h0.npy", matrix)
    with pytest.raises(FormatError, match=expected) as caught:
        read_h0(tmp_path / "h0.npy", CALCULATION)
    assert str(tmp_path) in str(caught.value)


def test_a_csr_of_another_size_is_refused(tmp_path: Path) -> None:
    larger = write_text(tmp_path / "larger.csr", entries_of(symmetric(76)))
    with pytest.raises(FormatError, match="expected indices 1 to 72 for 12 atoms"):
        read_h0(larger, CALCULATION)
    smaller = write_text(tmp_path / "smaller.csr", entries_of(symmetric(40)))
    with pytest.raises(FormatError, match="expected a diagonal element for each of the 72 orbitals, got none for 32"):
        read_h0(smaller, CALCULATION)


def test_other_structures_and_other_files_are_refused(tmp_path: Path) -> None:
    moved = CALCULATION.structure.translated(0.1 * np.eye(3)[np.arange(12) % 3])
    write_calculation(tmp_path / "moved.h5", replace(CALCULATION, structure=moved))
    with pytest.raises(FormatError, match="expected H₀ of the same 12 atoms"):
        read_h0(tmp_path / "moved.h5", CALCULATION)
    write_calculation(tmp_path / "empty.h5", replace(CALCULATION, hamiltonian=None))
    with pytest.raises(FormatError, match="got a file without a Hamiltonian"):
        read_h0(tmp_path / "empty.h5", CALCULATION)
    with pytest.raises(FormatError, match="got no such file"):
        read_h0(tmp_path / "nowhere.npy", CALCULATION)
    (tmp_path / "broken.npz").write_bytes((MHFO2 / "binary_upper" / H_NAME).read_bytes()[:100])
    with pytest.raises(FormatError, match="expected a NumPy array or archive"):
        read_h0(tmp_path / "broken.npz", CALCULATION)
