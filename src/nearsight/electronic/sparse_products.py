"""Sparse matrix times a few vectors, on all cores (SciPy's product uses one)."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy import sparse

AT_ONCE = 4
"""Vectors that a row is multiplied with in registers."""


@dataclass(frozen=True, eq=False)
class SparseProduct:
    """A matrix in CSR, kept in the precision of its products.

    Attributes:
        starts: (n + 1,) int64.
        columns: (M,) int32.
        values: (M,) float32 or float64.
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix: sparse.csr_matrix, dtype: np.dtype, drop: float = 0.0) -> SparseProduct:
        """A matrix without its elements of at most `drop`."""
        kept = np.abs(matrix.data) > drop
        before = np.concatenate([[0], np.cumsum(kept)])
        return cls(before[matrix.indptr], matrix.indices[kept].astype(np.int32), matrix.data[kept].astype(dtype))

    @property
    def size(self) -> int:
        """Rows."""
        return len(self.starts) - 1

    @property
    def n_elements(self) -> int:
        """Stored elements."""
        return len(self.values)

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        """(n, r) of x (n, r), in C order, with r a multiple of `AT_ONCE`."""
        result = np.empty_like(x)
        _multiply(self.starts, self.columns, self.values, x, result)
        return result


@numba.njit(parallel=True, fastmath=True, cache=True)
def _multiply(starts, columns, values, x, result):  # type: ignore[no-untyped-def]
    for row in numba.prange(len(starts) - 1):
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
