"""S^−½ of a large sparse overlap in blocks: a Chebyshev series, then corrections that measure what is left to do.

With X = Z S Z, whose distance from 1 is the error, Z (15 − 10 X + 3 X²)/8 is an inverse root to third order. What was
neglected before does not add up, since X is computed of S itself (A. M. N. Niklasson, Phys. Rev. B 70, 193102, 2004).
"""

from __future__ import annotations

import numpy as np

from nearsight.electronic.block_sparse import BlockSparse, identity
from nearsight.electronic.chebyshev import Interval, extremes, series

STARTING_ERROR = 0.1
"""Of the series, relative; a correction takes it to its third power."""
MOST_CORRECTIONS = 6
LANCZOS_STEPS, STARTS = 30, 2
"""For the interval of eigenvalues."""
MARGIN = 0.01
"""Share of its width that an interval is widened by: Lanczos finds outermost values from inside. Of a positive matrix
the lower end is lowered by no more than a tenth."""


def interval_of(matrix: BlockSparse) -> Interval:
    """Return where the eigenvalues of a symmetric matrix are."""
    start = np.random.default_rng(0).standard_normal((matrix.n, STARTS))
    found = extremes(matrix.__matmul__, start, LANCZOS_STEPS)
    margin = MARGIN * (found.upper - found.lower)
    lower = max(found.lower - margin, 0.9 * found.lower) if found.lower > 0 else found.lower - margin
    return Interval(lower, found.upper + margin)


def inverse_root(overlap: BlockSparse, interval: Interval, threshold: float) -> tuple[BlockSparse, float]:
    """Compute S^−½.

    Parameters
    ----------
    overlap : BlockSparse
        S, positive definite.
    interval : Interval
        Of its eigenvalues; the lower end is positive.
    threshold : float
        Norm of the blocks that are left out.

    Returns
    -------
    root : BlockSparse
        Z.
    error : float
        |Z S Z − 1|_F / √n before the last correction.
    """
    coefficients = series(lambda x: 1 / np.sqrt(x), interval, STARTING_ERROR)
    z = _clenshaw(overlap, interval, coefficients, threshold)
    error = np.inf
    for _ in range(MOST_CORRECTIONS):
        zs = z.times(overlap, threshold)
        x = zs.times(z, threshold, symmetric=True)
        before, error = error, x.scaled(1.0, -1.0).norm() / np.sqrt(x.n)
        if error > 0.5 * before:
            break
        factor = x.scaled(-10 / 8, 15 / 8).plus(x.times(x, threshold, symmetric=True), 3 / 8)
        z = z.times(factor, threshold, symmetric=True)
        if error < 0.1 * threshold ** (1 / 3):
            break
    return z, error


def _clenshaw(a: BlockSparse, interval: Interval, coefficients: np.ndarray, threshold: float) -> BlockSparse:
    """Σ c_k T_k of a matrix scaled to [−1, 1]."""
    scaled = a.scaled(1 / interval.half_width, -interval.centre / interval.half_width)
    one = identity(a.clusters)
    if len(coefficients) == 1:
        return one.scaled(float(coefficients[0]))
    later, last = one.scaled(0.0), one.scaled(float(coefficients[-1]))
    for c in coefficients[-2:0:-1]:
        step = scaled.times(last, threshold, symmetric=True).scaled(2.0, float(c))
        later, last = last, step.plus(later, -1.0, threshold)
    return scaled.times(last, threshold, symmetric=True).scaled(1.0, float(coefficients[0])).plus(later, -1.0)
