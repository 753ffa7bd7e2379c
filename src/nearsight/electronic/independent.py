"""Directions of the basis that the overlap resolves, and those it does not: one policy for ill-conditioned S.

An eigenvector u of S with eigenvalue λ is a function of squared norm λ. In it an error δ of H counts δ/λ, and numbers
stored in single precision are good to about 1e-7 times the square root of the number of orbitals. So directions with λ
below `SMALLEST` are noise: they are projected out (canonical orthogonalisation), and the spectrum says how many were
(`Spectrum.left_out`). An eigenvalue below −`SMALLEST` is not noise but a mistake, and refused.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from nearsight.errors import InputError

SMALLEST = 1e-5
"""Eigenvalue of S. CP2K's EPS_EIGVAL is the same."""


def independent_directions(overlap: np.ndarray, smallest: float = SMALLEST) -> np.ndarray:
    """X, (n, r), of the r directions with eigenvalues of S of at least `smallest`: X† S X = 1.

    Args:
        overlap: (n, n) Hermitian.
        smallest: which eigenvalues of S count.

    Raises:
        InputError: an eigenvalue below −`smallest`, or no direction left.
    """
    values, vectors = linalg.eigh(overlap, check_finite=False)
    if values[0] < -max(smallest, SMALLEST):
        raise InputError(f"expected a positive definite overlap S, got one with smallest eigenvalue "
                         f"{values[0]:.6g}; is it complete (all neighbours, both triangles) and of this structure?")
    kept = values >= smallest
    if not kept.any():
        raise InputError(f"expected an overlap S with eigenvalues of {smallest:g} or more, got {values[-1]:.6g} at "
                         "most")
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))
