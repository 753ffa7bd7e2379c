"""Overlap: S is positive definite, well-conditioned, and has ones on the diagonal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from nearsight.checks.subject import DENSE_ORBITALS, Finding, Subject
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator

CHECK = "overlap"
WORST_CONDITION = 1e8
"""Condition number (largest over smallest eigenvalue) beyond which errors of S in single precision reach the levels."""
SENSITIVE = 0.02
"""Eigenvalue of S below which levels of a-GST in DZVP were off by eV where matrix elements were off by meV."""
DIAGONAL = 1e-3
"""Deviation of S_ii from 1 that single precision and far images leave."""
FAR = 5.0
"""Radius (Å): with a smaller `unfolded_radius` an atom's own images add to the diagonal of a folded S."""
SMALL = 64
"""Number of orbitals up to which all eigenvalues take no time; Lanczos needs more room than this."""
_LANCZOS: dict[str, Any] = {"k": 1, "return_eigenvectors": False, "tol": 1e-3, "maxiter": 3000}


def check_overlap(subject: Subject) -> Iterator[Finding]:
    """Check S: its diagonal, its smallest eigenvalue and its condition number."""
    s = subject.overlap
    if s is None:
        yield subject.finding(
            "note",
            CHECK,
            "not checked: the file holds no overlap matrix",
            "Without S there are no eigenvalues, and most checks cannot be made.",
            "Import S along with H, where the basis is not orthogonal.",
        )
        return
    yield from _diagonal(subject, s)
    smallest, largest = _extremes(subject)
    if smallest is None:
        yield subject.finding(
            "note",
            CHECK,
            "not checked: the smallest eigenvalue of S did not converge",
            "S is probably close to singular.",
            "Check it with a smaller structure in this basis.",
        )
    elif smallest <= 0:
        yield subject.finding(
            "error",
            CHECK,
            f"expected a positive definite S, got one with smallest eigenvalue {smallest:.4g}",
            "It is no overlap of functions: elements or neighbours are missing, a sign or an order is wrong, or it is "
            "of another structure.",
            "Import S again, with all images and both triangles.",
        )
    elif largest / smallest > WORST_CONDITION:
        yield subject.finding(
            "warning",
            CHECK,
            f"expected a condition number of S below {WORST_CONDITION:.0e}, got {largest / smallest:.2g} (smallest "
            f"eigenvalue {smallest:.2g})",
            "Small errors of H become large errors of the levels.",
            "Use a smaller or less diffuse basis (such as an -SR one), and keep the matrices in float64.",
        )
    elif smallest < SENSITIVE:
        yield subject.finding(
            "note",
            CHECK,
            f"the smallest eigenvalue of S is {smallest:.2g}",
            f"Errors of H between atoms are multiplied by up to {1 / smallest:.0f} in the levels: a prediction with "
            "small matrix errors can have wrong levels.",
            "Judge predictions by their levels (`nearsight evaluate`); a smaller basis is less sensitive.",
        )


def _diagonal(subject: Subject, s: BlockOperator) -> Iterator[Finding]:
    if s.folded and subject.unfolded_radius < FAR:
        return
    for (a, b), pairs in s.element_pairs.items():
        own = pairs[s.on_site[pairs]]
        if a != b or len(own) == 0:
            continue
        diagonal = np.einsum("pii->pi", s.stack(own))
        worst = float(diagonal.reshape(-1)[np.argmax(np.abs(diagonal - 1))])
        if abs(worst - 1) > DIAGONAL:
            yield subject.finding(
                "warning",
                CHECK,
                f"expected ones on the diagonal of S, got {worst:.6g} for atoms of Z = {a}",
                "The basis is not normalised, or S is off by a factor.",
                "Nothing where the code's basis is like this; otherwise import S again.",
            )


def _extremes(subject: Subject) -> tuple[float | None, float]:
    """Smallest (None where Lanczos fails) and largest eigenvalue of S at Γ."""
    if subject.n_orbitals > DENSE_ORBITALS:
        matrix = to_csr(subject.calculation.require_overlap()).astype(np.float64)
        return _lanczos(matrix, "SA"), _lanczos(matrix, "LA") or float("nan")
    dense = subject.dense_overlap
    assert dense is not None
    if len(dense) <= SMALL:
        eigenvalues = linalg.eigvalsh(dense)
        return float(eigenvalues[0]), float(eigenvalues[-1])
    try:
        factor = linalg.cholesky(dense, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return min(_lanczos(dense, "SA") or 0.0, 0.0), float("nan")
    inverse = LinearOperator(dense.shape, dtype=dense.dtype, matvec=lambda x: linalg.cho_solve((factor, True), x))
    largest_inverse = _lanczos(inverse, "LA")
    return 1 / largest_inverse if largest_inverse else None, _lanczos(dense, "LA") or float("nan")


def _lanczos(matrix: Any, which: str) -> float | None:
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    try:
        return float(eigsh(matrix, which=which, v0=start, **_LANCZOS)[0])
    except ArpackNoConvergence:
        return None
