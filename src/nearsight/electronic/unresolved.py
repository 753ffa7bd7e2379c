"""The directions that a sparse overlap does not resolve: its eigenvectors with small eigenvalues, none missed.

The same policy as `electronic.independent`, for matrices too large to be diagonalised.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from nearsight.electronic.independent import SMALLEST
from nearsight.electronic.window import SHARE, SMALL, Report, lowest_of_overlap, not_positive, solve_window
from nearsight.errors import InputError

FAR = 30.0
"""Times the limit: where Lanczos finds nothing below, nothing is counted. Its lowest value is above that of S, by less
than a factor of two in a hundred products."""


def unresolved(s: sparse.csr_matrix, smallest: float = SMALLEST, report: Report = lambda line: None) -> np.ndarray:
    """(n, m) orthonormal eigenvectors of S with eigenvalues below `smallest`.

    Args:
        s: (n, n) Hermitian.
        smallest: eigenvalues of directions that are kept.
        report: told what is done.

    Raises:
        InputError: an eigenvalue below −`SMALLEST`, or too many of these directions for a sparse solution.
    """
    n = s.shape[0]
    lowest = lowest_of_overlap(s) if n > SMALL else None
    if lowest is not None and lowest < -SMALLEST:
        raise not_positive()
    if lowest is not None and lowest >= FAR * smallest:
        return np.zeros((n, 0), s.dtype)
    report(f"eigenvectors of S with eigenvalues below {smallest:.2g}")
    scaled = sparse.csr_matrix(s / smallest)  # a window resolves 1e-6
    found = solve_window(scaled, sparse.identity(n, format="csr"), range=(-SMALLEST / smallest, 1), report=report)
    if found.first:
        raise not_positive()
    if n > SMALL and len(found.eigenvalues) >= SHARE * n:
        raise InputError(f"expected an overlap S that resolves most directions, got {len(found.eigenvalues)} of {n} "
                         f"with eigenvalues below {smallest:.2g}; use --method dense, or a smaller --project")
    return np.asarray(found.coefficients)
