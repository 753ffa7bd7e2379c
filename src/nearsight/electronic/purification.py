"""The density matrix of an insulator without eigenvectors: trace-correcting purification in sparse blocks.

H in orthogonal orbitals is mapped to X with eigenvalues between 0 (highest level) and 1 (lowest). X² moves all towards
0, 2X − X² towards 1; taking what brings the trace nearer to the number of occupied levels, X becomes the projector on
these. The number of products grows with the logarithm of spectral width over gap. Between metals' levels there is
nothing to converge to: they are refused. A. M. N. Niklasson, Phys. Rev. B 66, 155115 (2002).

The gap is bounded on the way: with v = |X − X²|₂ < 1/4 no eigenvalue is between (1 ± √(1 − 4v))/2, and the polynomials
are inverted back to the energies (E. H. Rubensson and A. M. N. Niklasson, SIAM J. Sci. Comput. 36, B147, 2014). It ends
where v does not fall as two different polynomials must take it: what is left comes of what was neglected (A.
Kruchinina, E. Rudberg and E. H. Rubensson, J. Chem. Theory Comput. 12, 5788, 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.electronic.block_sparse import BlockSparse
from nearsight.electronic.chebyshev import Interval, extremes
from nearsight.errors import InputError

MOST = 40
"""Products; a gap of 10⁻⁴ of the width of the spectrum needs no more."""
QUADRATIC = 6.8872
"""v after two different polynomials is at most so many times v² before them."""
LANCZOS_STEPS = 10
"""For v."""
UNDECIDED = 0.02
"""Mean of x (1 − x) over the eigenvalues of X above which it is not yet worth the time to measure v."""
LAST = 6
"""Steps at the end, of which each bounds the gap; before them the trace had not yet chosen the levels."""


@dataclass(frozen=True, eq=False)
class Purified:
    """A density matrix of one spin, and how good it is.

    Attributes
    ----------
    density : BlockSparse
        The projector on the occupied levels.
    homo, lumo : float
        eV, bounds: the highest occupied level is not above `homo`, the lowest empty one not below `lumo`, but for what
        is neglected.
    products : int
        How many matrix products it took.
    idempotency : float
        |X − X²|₂ at the end.
    excess : float
        Electrons of both spins too many (or, negative, too few) in the trace.
    """

    density: BlockSparse
    homo: float
    lumo: float
    products: int
    idempotency: float
    excess: float

    @property
    def gap(self) -> float:
        """eV, a lower bound."""
        return self.lumo - self.homo


def purified(h: BlockSparse, interval: Interval, occupied: float, threshold: float) -> Purified:
    """Purify the density matrix.

    Parameters
    ----------
    h : BlockSparse
        eV, in orthogonal orbitals.
    interval : Interval
        Of its eigenvalues.
    occupied : float
        Number of occupied levels.
    threshold : float
        Norm of the blocks of the density matrix that are left out.

    Raises
    ------
    InputError
        It does not become idempotent: there is no gap.
    """
    width = interval.upper - interval.lower
    x = h.scaled(-1 / width, interval.upper / width)
    squared: list[bool] = []
    errors: list[float] = []
    for products in range(1, MOST + 1):
        square = x.times(x, threshold, symmetric=True)
        rest = x.plus(square, -1.0)
        trace, trace2 = x.trace(), square.trace()
        errors.append(_spectral_norm(rest) if trace - trace2 < UNDECIDED * x.n else np.inf)
        different = len(squared) > 1 and squared[-1] != squared[-2]
        if different and errors[-1] < 0.25 and errors[-1] > QUADRATIC * errors[-3] ** 2:
            homo, lumo = (interval.upper - width * x for x in _edges(errors, squared))
            return Purified(x, homo, lumo, products, errors[-1], 2 * (trace - occupied))
        squared.append(abs(trace2 - occupied) < abs(2 * trace - trace2 - occupied))
        x = square if squared[-1] else x.plus(rest, threshold=threshold)
    raise InputError(
        f"expected a gap for a density matrix without eigenvectors, got none within {MOST} products; metals need "
        "density_solver=dense"
    )


def _spectral_norm(matrix: BlockSparse) -> float:
    """Largest |eigenvalue| by Lanczos steps, with its residual."""
    start = np.random.default_rng(0).standard_normal((matrix.n, 1))
    found = extremes(matrix.__matmul__, start, LANCZOS_STEPS)
    return max(abs(found.lower), abs(found.upper))


def _edges(errors: Sequence[float], squared: Sequence[bool]) -> tuple[float, float]:
    """Lower bound of the occupied and upper bound of the empty eigenvalues of X at the start, of the last steps."""
    one, zero = 0.0, 1.0
    for count in range(max(0, len(errors) - LAST), len(errors)):
        if errors[count] < 0.25:
            root = np.sqrt(1 - 4 * errors[count])
            bounds = _back(np.array([0.5 + 0.5 * root, 0.5 - 0.5 * root]), squared[:count])
            one, zero = max(one, float(bounds[0])), min(zero, float(bounds[1]))
    return one, zero


def _back(values: np.ndarray, squared: Sequence[bool]) -> np.ndarray:
    """The values of X at the start that became these."""
    for square in reversed(squared):
        values = np.sqrt(values) if square else 1 - np.sqrt(np.maximum(1 - values, 0.0))
    return values
