"""Dense complex linear systems without estimates of their condition, which cost time and warn near every resonance."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack


def solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return A⁻¹ B by LU decomposition with partial pivoting (LAPACK's zgesv).

    Parameters
    ----------
    matrix : (n, n) array
        A.
    right : (n, m) array
        B.

    Returns
    -------
    (n, m) array of complex
        The solution; not finite where A is singular to the last bit.
    """
    if right.shape[1] == 0:
        return np.zeros(right.shape, dtype=np.complex128)
    _, _, result, info = lapack.zgesv(np.asarray(matrix, dtype=np.complex128), right)
    if info > 0:
        return np.full(right.shape, np.nan + 0j)
    solution: np.ndarray = result
    return solution
