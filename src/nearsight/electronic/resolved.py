"""In which directions of the basis a Hamiltonian with errors still says something.

In an eigenvector of S with eigenvalue λ an error δ of H moves a level by δ/λ. A predicted H comes with expected errors,
and where they move a level by as much as the whole spectrum is wide, it may end up anywhere, below the gap, too: such
directions are left out, as those that S does not resolve (`electronic.independent`). What they would add to the levels
near the gap is small, because their own levels are high.
"""

from __future__ import annotations

import numpy as np

from nearsight.electronic.independent import SMALLEST
from nearsight.operators.calculation import Calculation

WIDTH = 100.0
"""eV, of a spectrum."""


def smallest_resolved(calculation: Calculation) -> float:
    """The smallest eigenvalue of S of directions that are kept: `SMALLEST`, or more for an H with expected errors."""
    return max(SMALLEST, error_norm(calculation) / WIDTH)


def error_norm(calculation: Calculation) -> float:
    """Expected norm of the errors of H, eV: 2 √(mean over rows of the sum of squares), as of a random matrix.

    0 for an H without expected errors; blocks whose error is unknown (NaN) do not count.
    """
    operator, estimate = calculation.hamiltonian, calculation.error_estimate
    if operator is None or estimate is None:
        return 0.0
    squares = np.nan_to_num(estimate) ** 2 * operator.lengths
    return float(2 * np.sqrt(squares.sum() / operator.n_orbitals))
