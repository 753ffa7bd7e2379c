"""Entries to blocks: nothing is doubled, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from nearsight.errors import FormatError
from nearsight.formats.cp2k_csr import read_csr
from nearsight.formats.triplets import Triplets, assemble, check_complete
from nearsight.operators.bloch import from_csr, to_csr
from nearsight.orbitals.basis import BasisSet
from tests.formats.files import Entries, entries_of, symmetric, write_binary

NUMBERS = np.array([72, 8, 8])
SIZE = 18


@pytest.fixture
def matrix() -> np.ndarray:
    """Three atoms, the two oxygens without an element between them."""
    matrix = symmetric(SIZE)
    matrix[10:14, 14:] = 0
    matrix[14:, 10:14] = 0
    return matrix


def triplets(folder: Path, entries: Entries) -> Triplets:
    return read_csr(write_binary(folder / "m.csr", entries))[0]


@pytest.mark.parametrize("part", ["upper", "lower", "full"])
@pytest.mark.parametrize("chunk", [13, 1 << 21])
def test_any_part_gives_the_matrix(
    tmp_path: Path, basis: BasisSet, matrix: np.ndarray, part: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearsight.formats.triplets._CHUNK", chunk)
    operator, found = assemble(triplets(tmp_path, entries_of(matrix, part)), NUMBERS, basis)
    assert found == part
    np.testing.assert_array_equal(to_csr(operator).toarray(), matrix)
    slow = from_csr(sparse.csr_matrix(matrix), NUMBERS, basis)
    assert operator.n_pairs == slow.n_pairs == 7
    np.testing.assert_array_equal(operator.values, slow.values)
    np.testing.assert_array_equal(operator.source, slow.source)


def test_the_order_of_the_entries_does_not_matter(tmp_path: Path, basis: BasisSet, matrix: np.ndarray) -> None:
    entries = entries_of(matrix, "upper")
    shuffled = [entries[k] for k in np.random.default_rng(1).permutation(len(entries))]
    operator, _ = assemble(triplets(tmp_path, shuffled), NUMBERS, basis)
    np.testing.assert_array_equal(to_csr(operator).toarray(), matrix)


def test_a_diagonal_matrix(tmp_path: Path, basis: BasisSet) -> None:
    operator, found = assemble(triplets(tmp_path, entries_of(np.diag(np.arange(1.0, 19.0)))), NUMBERS, basis)
    assert found == "diagonal"
    np.testing.assert_array_equal(to_csr(operator).toarray(), np.diag(np.arange(1.0, 19.0)))


def test_rounding_differences_are_settled_by_the_upper_triangle(
    tmp_path: Path, basis: BasisSet, matrix: np.ndarray
) -> None:
    rounded = matrix + np.tril(np.full((SIZE, SIZE), 1e-8), -1) * (matrix != 0)
    operator, _ = assemble(triplets(tmp_path, entries_of(rounded)), NUMBERS, basis)
    np.testing.assert_array_equal(to_csr(operator).toarray(), matrix)


@pytest.mark.parametrize(
    ("row", "column", "atoms"), [(0, 5, r"Hf \(atom 0\) and Hf \(atom 0\)"), (0, 12, r"Hf \(atom 0\) and O \(atom 1\)")]
)
def test_real_asymmetry_is_an_error(
    tmp_path: Path, basis: BasisSet, matrix: np.ndarray, row: int, column: int, atoms: str
) -> None:
    matrix[row, column] += 1e-3
    with pytest.raises(FormatError, match=rf"expected a symmetric matrix, got \|M − Mᵀ\| = 0.001 between {atoms}"):
        assemble(triplets(tmp_path, entries_of(matrix)), NUMBERS, basis)


def test_a_block_without_its_transpose_is_an_error(tmp_path: Path, basis: BasisSet, matrix: np.ndarray) -> None:
    matrix[10:14, :10] = 0
    matrix[1, 0] += 1e-9
    with pytest.raises(FormatError, match="expected a symmetric matrix"):
        assemble(triplets(tmp_path, entries_of(matrix)), NUMBERS, basis)


@pytest.mark.parametrize("part", ["upper", "full"])
def test_an_entry_that_occurs_twice(tmp_path: Path, basis: BasisSet, matrix: np.ndarray, part: str) -> None:
    entries = entries_of(matrix, part)
    with pytest.raises(FormatError, match=r"expected every \(row, column\) once, got \d twice"):
        assemble(triplets(tmp_path, [*entries, entries[1]]), NUMBERS, basis)


def test_an_index_beyond_the_basis(tmp_path: Path, basis: BasisSet, matrix: np.ndarray) -> None:
    with pytest.raises(
        FormatError, match="expected indices 1 to 14 for 2 atoms in O 1s1p, Hf 2s1p1d, got row 1, column 15"
    ):
        assemble(triplets(tmp_path, entries_of(matrix)), NUMBERS[:2], basis)


def test_gaps_in_the_diagonal(tmp_path: Path, matrix: np.ndarray) -> None:
    matrix[3, 3] = matrix[7, 7] = 0
    found = triplets(tmp_path, entries_of(matrix))
    check_complete(found, SIZE, 2)
    with pytest.raises(FormatError, match=r"each of the 18 orbitals, got none for 2 \(the first is orbital 4\)"):
        check_complete(found, SIZE, 1)
