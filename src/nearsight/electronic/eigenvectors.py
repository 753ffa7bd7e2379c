"""All eigenvectors of a dense Hermitian matrix by LAPACK, while other threads of Python run.

SciPy's functions hold the interpreter's lock for as long as LAPACK computes, and NumPy's compute single precision in
double. The routines are ?syevd and ?heevd (divide and conquer).
"""

from __future__ import annotations

import numpy as np

from nearsight.electronic.lapack import LETTERS, place, routine
from nearsight.errors import InputError

MOST = 32_766
"""Rows for which the size of the work space, 1 + 6 n + 2 n², is an integer of 32 bits."""


def eigenvectors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonalise a Hermitian matrix.

    Parameters
    ----------
    matrix : (n, n) array
        Of single or double precision, real or complex; overwritten where it lies in Fortran's order.

    Returns
    -------
    levels : (n,) array
        Ascending.
    vectors : (n, n) array
        Columns.

    Raises
    ------
    InputError
        There are more rows than LAPACK can number the work space of.
    numpy.linalg.LinAlgError
        LAPACK did not converge, which it does for any finite matrix.
    """
    if len(matrix) > MOST:
        raise InputError(f"expected at most {MOST:,} orbitals for all eigenvectors by LAPACK, got {len(matrix):,}")
    vectors = np.asfortranarray(matrix)
    n, complex_ = len(vectors), np.iscomplexobj(vectors)
    levels, info = np.empty(n, dtype=vectors.real.dtype), np.zeros(1, dtype=np.intc)
    many = max(1, 1 + 6 * n + 2 * n * n)  # what LAPACK asks for
    works = [np.empty(many, dtype=vectors.dtype), np.empty(3 + 5 * n, dtype=np.intc)]
    if complex_:
        works = [np.empty(2 * n + n * n + 1, dtype=vectors.dtype), np.empty(many, dtype=levels.dtype), works[1]]
    sizes = np.array([n, max(1, n), *(len(work) for work in works)], dtype=np.intc)
    spaces = [place(part) for k, work in enumerate(works) for part in (work, sizes[2 + k :])]
    name = f"{LETTERS[vectors.dtype]}{'he' if complex_ else 'sy'}evd"
    routine(name, 2, 9 + 2 * complex_)(
        b"V", b"L", place(sizes), place(vectors), place(sizes[1:]), place(levels), *spaces, place(info)
    )
    if info[0]:
        raise np.linalg.LinAlgError(f"expected eigenvectors of a finite matrix, got error {info[0]} of LAPACK")
    return levels, vectors
