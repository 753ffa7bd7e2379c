"""Ill-conditioned directions of the basis: one policy for an overlap matrix S that is nearly singular.

An eigenvector u of S with eigenvalue λ is a function of squared norm λ. In it an error δ of H moves a level by δ/λ, and
numbers stored in single precision are good to about 1e-7 times the square root of the number of orbitals. So directions
with λ below `OVERLAP_THRESHOLD` are noise: they are projected out (canonical orthogonalisation), and the spectrum says
how many were (`Spectrum.projected_out`). An eigenvalue below −`OVERLAP_THRESHOLD` is not noise but a mistake, and
refused.

A predicted H comes with expected errors. Where they move a level by as much as the whole spectrum is wide, it may end
up anywhere, below the gap, too: such directions are projected out as well (`overlap_threshold`). What they would add to
the levels near the gap is small, because their own levels are high.

Dense matrices are diagonalised (`independent_directions`). For sparse ones too large for that, the eigenvectors with
small eigenvalues are found by a window of S, none missed (`ill_conditioned_directions`).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.window import SHARE, SMALL, lowest_of_overlap, not_positive, solve_window
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, silent

OVERLAP_THRESHOLD = 1e-5
"""Eigenvalue of S below which a direction is projected out by default. CP2K's EPS_EIGVAL is the same."""


def independent_directions(overlap: np.ndarray, threshold: float = OVERLAP_THRESHOLD) -> np.ndarray:
    """Return the well-conditioned directions of a basis, by canonical orthogonalisation.

    Parameters
    ----------
    overlap : ndarray of shape (n, n)
        S, Hermitian.
    threshold : float
        Smallest eigenvalue of S of a direction that is kept.

    Returns
    -------
    ndarray of shape (n, r)
        X with X† S X = 1, for the r directions with eigenvalues of at least `threshold`.

    Raises
    ------
    InputError
        If an eigenvalue is below −`threshold`, or no direction is left.
    """
    values, vectors = linalg.eigh(overlap, check_finite=False)
    if values[0] < -max(threshold, OVERLAP_THRESHOLD):
        raise InputError(
            f"expected a positive definite overlap S, got one with smallest eigenvalue "
            f"{values[0]:.6g}; is it complete (all neighbours, both triangles) and of this structure?"
        )
    kept = values >= threshold
    if not kept.any():
        raise InputError(
            f"expected an overlap S with eigenvalues of {threshold:g} or more, got {values[-1]:.6g} at most"
        )
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))


WIDTH = 100.0
"""Width of a spectrum in eV: an expected error of a level as large as this says that nothing is known of it."""
WELL_CONDITIONED = 0.05
"""Eigenvalue of S from which on a direction is kept whatever errors are expected: where these are so large, all of H is
unknown, and levels without some of its directions would be no better."""


def overlap_threshold(calculation: Calculation) -> float:
    """Return the smallest eigenvalue of S whose direction is kept: more for an H with expected errors, up to a limit.

    Parameters
    ----------
    calculation : Calculation
        H, and the expected errors of its blocks where there are such.

    Returns
    -------
    float
        `OVERLAP_THRESHOLD`, or the norm of the expected errors over `WIDTH` where that is more, but at most
        `WELL_CONDITIONED`.
    """
    return min(max(OVERLAP_THRESHOLD, error_norm(calculation) / WIDTH), WELL_CONDITIONED)


def error_norm(calculation: Calculation) -> float:
    """Estimate the norm of the errors of H, 2 √(mean over rows of the sum of squares), as of a random matrix.

    Parameters
    ----------
    calculation : Calculation
        H, and the expected errors of its blocks. Blocks whose error is unknown (NaN) do not count.

    Returns
    -------
    float
        In eV; 0 for an H without expected errors.
    """
    operator, estimate = calculation.hamiltonian, calculation.error_estimate
    if operator is None or estimate is None:
        return 0.0
    squares = np.nan_to_num(estimate) ** 2 * operator.lengths
    return float(2 * np.sqrt(squares.sum() / operator.n_orbitals))


FAR = 30.0
"""Factor above the threshold from which Lanczos' lowest eigenvalue of S proves that nothing needs to be counted.
Lanczos' value is above that of S by less than a factor of two in a hundred products.
"""


def ill_conditioned_directions(
    s: sparse.csr_matrix, threshold: float = OVERLAP_THRESHOLD, progress: Progress = silent
) -> np.ndarray:
    """Find the ill-conditioned directions of a sparse S, none missed.

    Parameters
    ----------
    s : sparse matrix of shape (n, n)
        S, Hermitian.
    threshold : float
        Eigenvalue of S below which a direction counts as ill-conditioned.
    progress : callable, optional
        Told what is done.

    Returns
    -------
    ndarray of shape (n, m)
        Orthonormal eigenvectors of S with eigenvalues below `threshold`.

    Raises
    ------
    InputError
        If an eigenvalue is below −`OVERLAP_THRESHOLD`, or there are too many of these directions for a sparse solution.
    """
    n = s.shape[0]
    lowest = lowest_of_overlap(s) if n > SMALL else None
    if lowest is not None and lowest < -OVERLAP_THRESHOLD:
        raise not_positive()
    if lowest is not None and lowest >= FAR * threshold:
        return np.zeros((n, 0), s.dtype)
    progress(Event(f"eigenvectors of S with eigenvalues below {threshold:.2g}"))
    scaled = sparse.csr_matrix(s / threshold)  # a window resolves 1e-6
    found = solve_window(
        scaled, sparse.identity(n, format="csr"), range=(-OVERLAP_THRESHOLD / threshold, 1), progress=progress
    )
    if found.first:
        raise not_positive()
    if n > SMALL and len(found.eigenvalues) >= SHARE * n:
        raise InputError(
            f"expected an overlap S that resolves most directions, got {len(found.eigenvalues)} of {n} "
            f"with eigenvalues below {threshold:.2g}; use --method dense, or a smaller --project"
        )
    return np.asarray(found.coefficients)
