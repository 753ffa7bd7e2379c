"""LAPACK called without the interpreter's lock, against what eigenvectors are."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from nearsight.electronic.eigenvectors import eigenvectors
from nearsight.errors import InputError


@pytest.mark.parametrize("precision", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("n", [0, 1, 2, 70])
def test_eigenvectors_diagonalise_a_matrix_in_its_precision(precision: type, n: int) -> None:
    rng = np.random.default_rng(n)
    dense = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if issubclass(precision, np.complexfloating) else 0)
    matrix = (dense + dense.conj().T).astype(precision)
    levels, vectors = eigenvectors(matrix.copy())
    assert vectors.dtype == precision
    assert levels.dtype == matrix.real.dtype
    error = 200 * np.finfo(precision).eps * max(n, 1) ** 0.5
    assert (np.diff(levels) >= 0).all()
    np.testing.assert_allclose(matrix @ vectors, vectors * levels, atol=error)
    np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(n), atol=error)


def test_threads_diagonalise_side_by_side() -> None:
    rng, found = np.random.default_rng(0), dict[int, np.ndarray]()
    matrices = [rng.normal(size=(60, 60)) for _ in range(4)]
    matrices = [matrix + matrix.T for matrix in matrices]

    def solve(k: int) -> None:
        for _ in range(10):
            found[k] = eigenvectors(matrices[k])[0]

    threads = [threading.Thread(target=solve, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, matrix in enumerate(matrices):
        np.testing.assert_allclose(found[k], np.linalg.eigvalsh(matrix), atol=1e-10)


def test_more_rows_than_lapack_can_number_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected at most 32,766 orbitals .* got 32,767"):
        eigenvectors(np.broadcast_to(np.float32(1), (32_767, 32_767)))
