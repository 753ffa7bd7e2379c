"""Overlaps of contracted Gaussian shells of two atoms, exactly, with the bond along z.

The product of two primitives is a Gaussian about a point between the atoms times a polynomial, which Gauss-Hermite
quadrature integrates without error. Shells are normalised here, so that only the ratios of coefficients count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gamma

from nearsight.orbitals.rotations import spherical_harmonics
from nearsight.units import BOHR_IN_ANGSTROM


@dataclass(frozen=True, eq=False)
class GaussianShell:
    """A contracted shell, Σ_k c_k r^l exp(−α_k r²) Y_lm.

    Attributes
    ----------
    l : int
        Angular momentum.
    exponents : (K,) array of float64
        α, 1/bohr².
    coefficients : (K,) array of float64
        c, of primitives that are not normalised; a common factor has no meaning.
    """

    l: int
    exponents: np.ndarray
    coefficients: np.ndarray

    @property
    def norm(self) -> float:
        """Square root of the overlap with itself."""
        p = self.exponents[:, None] + self.exponents
        radial = gamma(self.l + 1.5) / (2 * p ** (self.l + 1.5))
        return float(np.sqrt(self.coefficients @ radial @ self.coefficients * 4 * np.pi / (2 * self.l + 1)))

    def reach(self, smallest: float = 1e-6) -> float:
        """Return the distance in Å from which the overlap of two such shells is about `smallest`."""
        return float(np.sqrt(-2 * np.log(smallest) / self.exponents.min())) * BOHR_IN_ANGSTROM


def overlaps_along_z(
    lower: Sequence[GaussianShell], upper: Sequence[GaussianShell], distances: np.ndarray
) -> np.ndarray:
    """Compute the blocks of two atoms on the z axis.

    Parameters
    ----------
    lower, upper : sequence of GaussianShell
        The shells of the atom at the origin, and of the one above it.
    distances : (D,) array of float
        Å.

    Returns
    -------
    (D, n_lower, n_upper) array of float64
        Overlaps, m = −l..l inside each shell.
    """
    rows = [[_shells(a, b, distances / BOHR_IN_ANGSTROM) for b in upper] for a in lower]
    return np.concatenate([np.concatenate(row, axis=2) for row in rows], axis=1)


def _shells(a: GaussianShell, b: GaussianShell, distance: np.ndarray) -> np.ndarray:
    """(D, 2l+1, 2l'+1) at distances in bohr."""
    points, weights = np.polynomial.hermite.hermgauss((a.l + b.l) // 2 + 1)
    grid = np.stack(np.meshgrid(points, points, points, indexing="ij"), axis=-1).reshape(-1, 3)
    weight = np.einsum("i,j,k->ijk", weights, weights, weights).reshape(-1)
    alpha, beta = (x.reshape(-1) for x in np.meshgrid(a.exponents, b.exponents, indexing="ij"))
    factor = np.outer(a.coefficients, b.coefficients).reshape(-1)
    result = np.zeros((len(distance), 2 * a.l + 1, 2 * b.l + 1))
    at_once = max(1, _POINTS // (len(alpha) * len(grid)))
    for some in (slice(k, k + at_once) for k in range(0, len(distance), at_once)):
        result[some] = _quadrature(a.l, b.l, alpha, beta, factor, grid, weight, distance[some])
    return result / (a.norm * b.norm)


_POINTS = 300_000
"""Points of quadrature at once."""


def _quadrature(
    l: int,
    other: int,
    alpha: np.ndarray,
    beta: np.ndarray,
    factor: np.ndarray,
    grid: np.ndarray,
    weight: np.ndarray,
    distance: np.ndarray,
) -> np.ndarray:
    """(D, 2l+1, 2l'+1) sums over pairs of primitives and points, but for those that are negligible at each distance."""
    p = alpha + beta
    size = factor * np.exp(-alpha * beta / p * distance[:, None] ** 2) / p**1.5
    which, kept = np.nonzero(np.abs(size) > 1e-14)
    result = np.zeros((len(distance), 2 * l + 1, 2 * other + 1))
    if not len(which):
        return result
    d, places = distance[which], grid / np.sqrt(p[kept])[:, None, None]
    places[..., 2] += (beta[kept] * d / p[kept])[:, None]
    ours = _solid(places, l) * (size[which, kept][:, None] * weight)[..., None]
    places[..., 2] -= d[:, None]
    products = ours.transpose(0, 2, 1) @ _solid(places, other)
    first = np.flatnonzero(np.diff(which, prepend=-1))
    result[which[first]] = np.add.reduceat(products, first, axis=0)
    return result


def _solid(places: np.ndarray, l: int) -> np.ndarray:
    """r^l Y_lm, also at the origin."""
    length = np.linalg.norm(places, axis=-1, keepdims=True)
    safe = np.where(length > 0, places, [0.0, 0.0, 1.0])
    return np.asarray(length**l * spherical_harmonics(safe, l)[l])
