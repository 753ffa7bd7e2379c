"""Functions of a matrix as Chebyshev series on the interval of its eigenvalues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError

Product = Callable[[np.ndarray], np.ndarray]
"""Gives a symmetric matrix times x of shape (n, r)."""

MOST = 4000
"""Largest number of terms of a series."""


@dataclass(frozen=True)
class Interval:
    """Where the eigenvalues of a matrix are.

    Attributes
    ----------
    lower, upper : float
        Ends of the interval.
    """

    lower: float
    upper: float

    @property
    def centre(self) -> float:
        """Middle of the interval."""
        return (self.upper + self.lower) / 2

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.upper - self.lower) / 2


def series(function: Callable[[np.ndarray], np.ndarray], interval: Interval, tolerance: float) -> np.ndarray:
    """Expand a function in Chebyshev polynomials on an interval.

    Parameters
    ----------
    function : callable
        Takes and gives an array.
    interval : Interval
        Where it is expanded.
    tolerance : float
        Error relative to the function's smallest size on the interval.

    Returns
    -------
    ndarray of shape (K,)
        Coefficients c of Σ c_k T_k((x − centre)/half width).

    Raises
    ------
    InputError
        If more than `MOST` terms are needed.
    """
    size = 32
    while size <= 2 * MOST:
        nodes = np.cos(np.pi * (np.arange(size) + 0.5) / size)
        values = function(interval.centre + interval.half_width * nodes)
        k = np.arange(size)
        coefficients = 2 / size * np.cos(np.pi * np.outer(k, np.arange(size) + 0.5) / size) @ values
        coefficients[0] /= 2
        # The terms dropped from a series add up; their sum is compared with the function where that is smallest.
        rest = np.cumsum(np.abs(coefficients[::-1]))[::-1]
        enough = np.flatnonzero(rest <= tolerance * np.abs(values).min())
        if len(enough) and enough[0] <= size // 2:
            return np.asarray(coefficients[: max(1, enough[0])])
        size *= 2
    raise InputError(
        f"expected a function that {MOST} Chebyshev terms resolve on {interval.lower:.3g} … "
        f"{interval.upper:.3g}; the overlap is too ill-conditioned"
    )


def apply_series(product: Product, interval: Interval, coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Compute Σ c_k T_k(Ã) x with Ã = (A − centre)/half width.

    Parameters
    ----------
    product : callable
        Gives A times an array of shape (n, r).
    interval : Interval
        Where the eigenvalues of A are.
    coefficients : ndarray of shape (K,)
        As `series` gives them.
    x : ndarray of shape (n, r)
        Vectors.

    Returns
    -------
    ndarray of shape (n, r)
        In the precision of x.
    """
    kind = x.dtype.type
    result = kind(coefficients[0]) * x
    if len(coefficients) == 1:
        return np.asarray(result)
    before, now = x, _scaled(product, interval, x)
    result += kind(coefficients[1]) * now
    for coefficient in coefficients[2:]:
        following = _scaled(product, interval, now)
        following *= kind(2)
        following -= before
        before, now = now, following
        result += kind(coefficient) * now
    return np.asarray(result)


def _scaled(product: Product, interval: Interval, x: np.ndarray) -> np.ndarray:
    kind = x.dtype.type
    result = product(x)
    result -= kind(interval.centre) * x
    result *= kind(1 / interval.half_width)
    return result


def extremes(product: Product, start: np.ndarray, steps: int, inner: Product = lambda x: x) -> Interval:
    """Find the smallest and largest eigenvalue of A M by Lanczos steps.

    A M is symmetric in the inner product ⟨x, y⟩ = xᵀ M y. The residual of the outermost Ritz values bounds how far an
    eigenvalue is from them, so the interval is a little wider than what is found.

    Parameters
    ----------
    product : callable
        Gives A times an array of shape (n, r).
    start : ndarray of shape (n, r)
        Independent starts.
    steps : int
        Number of steps of each.
    inner : callable, optional
        Gives M times an array. By default M is the identity, for a symmetric A.

    Returns
    -------
    Interval
        Around all that was found.
    """
    before, beta = np.zeros_like(start), np.zeros(start.shape[1])
    alphas, betas = [], []
    q, dual = _normalised(start, inner(start))[:2]
    for _ in range(steps):
        w = product(dual)
        alphas.append(_dots(dual, w))
        w -= q * alphas[-1].astype(w.dtype) + before * beta.astype(w.dtype)
        before = q
        q, dual, beta = _normalised(w, inner(w))
        betas.append(beta)
        if (beta <= 1e-6 * np.abs(alphas[0])).any():  # the space is exhausted
            break
    found = [_outermost(np.array(alphas)[:, k], np.array(betas)[:, k]) for k in range(start.shape[1])]
    return Interval(min(low for low, _ in found), max(high for _, high in found))


def _outermost(alphas: np.ndarray, betas: np.ndarray) -> tuple[float, float]:
    values, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1))
    slack = betas[-1] * np.abs(vectors[-1])
    return float(values[0] - slack[0]), float(values[-1] + slack[-1])


def _normalised(x: np.ndarray, dual: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    norm = np.sqrt(np.maximum(_dots(x, dual), 1e-300))
    return x / norm.astype(x.dtype), dual / norm.astype(x.dtype), norm


def _dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(r,) in double precision."""
    return np.asarray(np.einsum("nr,nr->r", x, y, dtype=np.float64))
