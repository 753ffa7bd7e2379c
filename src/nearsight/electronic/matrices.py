"""H and S as plain matrices (finite, Hermitian, in double precision), and their products with a few vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.row_threads import fast_row_loop, over_rows

Matrix: TypeAlias = "BlockOperator | sparse.spmatrix | np.ndarray"
"""Blocks are summed over images (Γ); a complex matrix is H(k) or S(k)."""

HERMITICITY_TOLERANCE = 1e-6
"""Largest |A − A†| over largest |A| that counts as Hermitian: what single precision or text with seven digits leaves.
"""
STRIP = 1024
"""Number of rows that are compared at once."""


def hermitian_dense(matrix: Matrix, name: str) -> np.ndarray:
    """Return ½(A + A†) as a dense copy in double precision.

    Parameters
    ----------
    matrix : BlockOperator, sparse matrix or ndarray of shape (n, n)
        A; blocks are summed over images (Γ).
    name : str
        What an error calls it.

    Returns
    -------
    ndarray of shape (n, n)
        In Fortran order.

    Raises
    ------
    InputError
        If A is not square, not finite or not Hermitian.
    """
    return hermitian_part_dense(matrix, name)[0]


def hermitian_part_dense(matrix: Matrix, name: str) -> tuple[np.ndarray, float]:
    """Return ½(A + A†) as a dense copy in double precision, and max |A − A†|.

    Parameters and errors are those of `hermitian_dense`.
    """
    bare: Any = to_csr(matrix) if isinstance(matrix, BlockOperator) else matrix
    dense = bare.toarray() if sparse.issparse(bare) else np.array(bare)
    _check_square(dense.shape, name)
    dense = np.asarray(dense, dtype=np.complex128 if np.iscomplexobj(dense) else np.float64)
    wrong = ~np.isfinite(dense)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise _not_finite(name, dense[row, column], int(row), int(column), int(wrong.sum()))
    deviation = _make_hermitian(dense, name)
    # Of a symmetric matrix the transpose in Fortran's order is there already.
    turned = dense.T if dense.flags.c_contiguous and not np.iscomplexobj(dense) else dense
    return np.asfortranarray(turned), deviation


def sparse_hermitian(matrix: Matrix, name: str) -> sparse.csr_matrix:
    """Return ½(A + A†) in CSR and double precision, with sorted indices; a dense matrix loses its zeros.

    Parameters
    ----------
    matrix : BlockOperator, sparse matrix or ndarray of shape (n, n)
        A; blocks are summed over images (Γ).
    name : str
        What an error calls it.

    Returns
    -------
    sparse matrix of shape (n, n)
        Real, or complex where A is.

    Raises
    ------
    InputError
        If A is not square, not finite or not Hermitian.
    """
    return sparse_hermitian_part(matrix, name)[0]


def sparse_hermitian_part(matrix: Matrix, name: str) -> tuple[sparse.csr_matrix, float]:
    """Return ½(A + A†) in CSR and double precision, and max |A − A†|.

    Parameters and errors are those of `sparse_hermitian`.
    """
    bare: Any = to_csr(matrix) if isinstance(matrix, BlockOperator) else matrix
    csr = sparse.csr_matrix(bare)
    _check_square(csr.shape, name)
    csr = csr.astype(np.complex128 if np.iscomplexobj(csr.data) else np.float64)
    csr.sum_duplicates()
    wrong = ~np.isfinite(csr.data)
    if wrong.any():
        k = int(np.argmax(wrong))
        row = int(np.searchsorted(csr.indptr, k, side="right") - 1)
        raise _not_finite(name, csr.data[k], row, int(csr.indices[k]), int(wrong.sum()))
    difference = csr - csr.conj().T
    deviation = float(np.abs(difference.data).max(initial=0.0))
    if deviation > HERMITICITY_TOLERANCE * np.abs(csr.data).max(initial=0.0):
        k = int(np.argmax(np.abs(difference.data)))
        row = int(np.searchsorted(difference.indptr, k, side="right") - 1)
        column = int(difference.indices[k])
        raise _not_hermitian(name, csr[row, column], csr[column, row], row, column, deviation)
    if deviation:
        csr = sparse.csr_matrix((csr + csr.conj().T) / 2)
    csr.sort_indices()
    return csr, deviation


def check_same_size(h: np.ndarray | sparse.spmatrix, s: np.ndarray | sparse.spmatrix) -> None:
    """Check that H and S are of one size.

    Raises
    ------
    InputError
        If they are not.
    """
    if h.shape != s.shape:
        raise InputError(
            f"expected H and S of the same size, got {h.shape[0]} and {s.shape[0]} orbitals; "
            "are they of the same structure and basis?"
        )


def hermiticity_error(matrix: np.ndarray) -> float:
    """Return max |A − A†| of a square matrix, strip by strip (no second matrix in memory)."""
    worst = 0.0
    for start in range(0, len(matrix), STRIP):
        rows = slice(start, start + STRIP)
        difference = matrix[rows, start:] - matrix[start:, rows].conj().T
        worst = max(worst, float(np.abs(difference).max(initial=0.0)))
    return worst


def _make_hermitian(matrix: np.ndarray, name: str) -> float:
    """Replace A by ½(A + A†) in place; returns max |A − A†|."""
    deviation = hermiticity_error(matrix)
    if deviation > HERMITICITY_TOLERANCE * np.abs(matrix).max():
        difference = np.abs(matrix - matrix.conj().T)
        row, column = np.unravel_index(int(np.argmax(difference)), difference.shape)
        raise _not_hermitian(name, matrix[row, column], matrix[column, row], int(row), int(column), deviation)
    if deviation:
        for start in range(0, len(matrix), STRIP):
            rows = slice(start, start + STRIP)
            mean = (matrix[rows, start:] + matrix[start:, rows].conj().T) / 2
            matrix[rows, start:] = mean
            matrix[start:, rows] = mean.conj().T
    return deviation


def _check_square(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise InputError(f"expected a square matrix {name}, got shape {shape}")


def _not_finite(name: str, value: complex, row: int, column: int, number: int) -> InputError:
    return InputError(
        f"expected finite numbers in {name}, got {value} at row {row}, column {column} (counted from "
        f"0), {number} such numbers in all"
    )


def _not_hermitian(name: str, upper: complex, lower: complex, row: int, column: int, deviation: float) -> InputError:
    return InputError(
        f"expected a Hermitian {name}, got {upper:.6g} at ({row}, {column}) and {lower:.6g} at "
        f"({column}, {row}), counted from 0 (max |{name} − {name}†| = {deviation:.3g}); is only one "
        "triangle stored?"
    )


AT_ONCE = 4
"""Number of vectors that a row is multiplied with in registers."""


@dataclass(frozen=True, eq=False)
class SparseProduct:
    """A sparse matrix times a few vectors, on all cores (SciPy's product uses one), kept in the precision of its
    products.

    Attributes
    ----------
    starts : ndarray of shape (n + 1,)
        First element of each row, int64.
    columns : ndarray of shape (M,)
        Columns of the elements, int32.
    values : ndarray of shape (M,)
        Elements, float32 or float64.
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix: sparse.csr_matrix, dtype: np.dtype, drop: float = 0.0) -> SparseProduct:
        """Take a matrix without its elements of at most `drop`."""
        kept = np.abs(matrix.data) > drop
        before = np.concatenate([[0], np.cumsum(kept)])
        return cls(before[matrix.indptr], matrix.indices[kept].astype(np.int32), matrix.data[kept].astype(dtype))

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @property
    def n_elements(self) -> int:
        """Number of stored elements."""
        return len(self.values)

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        """Return the product with x of shape (n, r) in C order, with r a multiple of `AT_ONCE`."""
        result = np.empty_like(x)
        over_rows(_multiply, self.size, self.starts, self.columns, self.values, x, result)
        return result


@fast_row_loop
def _multiply(begin, end, starts, columns, values, x, result):  # type: ignore[no-untyped-def]
    for row in range(begin, end):
        for first in range(0, x.shape[1], 4):
            a = b = c = d = x.dtype.type(0)
            for place in range(starts[row], starts[row + 1]):
                value, column = values[place], columns[place]
                a += value * x[column, first]
                b += value * x[column, first + 1]
                c += value * x[column, first + 2]
                d += value * x[column, first + 3]
            result[row, first] = a
            result[row, first + 1] = b
            result[row, first + 2] = c
            result[row, first + 3] = d
