"""Overlaps of contracted Gaussian shells of two atoms, exactly, with the bond along z.

The product of two primitives is a Gaussian about a point between the atoms times a polynomial, which Gaussian
quadrature (Hermite along the bond, Laguerre in the square of the distance from it) integrates without error. Shells are
normalised here, so that only the ratios of coefficients count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.orbitals.rotations import spherical_harmonics
from nearsight.units import BOHR_IN_ANGSTROM


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
    result = np.zeros((len(distances), sum(2 * s.l + 1 for s in lower), sum(2 * s.l + 1 for s in upper)))
    bohr = np.asarray(distances, dtype=np.float64) / BOHR_IN_ANGSTROM
    for ours in _with_same_primitives(lower):
        for theirs in _with_same_primitives(upper):
            m = np.arange(min(ours.l, theirs.l) + 1)
            along = _contracted(ours, theirs, bohr) * np.where(m == 0, 2 * np.pi, np.pi)[:, None, None]
            for i, row in enumerate(ours.middle):
                for j, column in enumerate(theirs.middle):
                    for sign in (1, -1):  # diagonal in m, alike for m and −m
                        result[:, row + sign * m, column + sign * m] = along[:, :, i, j]
    return result


@dataclass(frozen=True, eq=False)
class _Primitives:
    """Shells of one atom with the same l and exponents: rows of coefficients of normalised shells, places of m = 0."""

    l: int
    exponents: np.ndarray
    coefficients: np.ndarray
    middle: list[int]


def _with_same_primitives(shells: Sequence[GaussianShell]) -> list[_Primitives]:
    starts = np.cumsum([0] + [2 * s.l + 1 for s in shells])
    groups: dict[tuple[int, bytes], list[int]] = {}
    for k, s in enumerate(shells):
        groups.setdefault((s.l, np.ascontiguousarray(s.exponents, dtype=np.float64).tobytes()), []).append(k)
    return [
        _Primitives(
            l,
            shells[own[0]].exponents,
            np.array([shells[k].coefficients / shells[k].norm for k in own]),
            [int(starts[k]) + l for k in own],
        )
        for (l, _), own in groups.items()
    ]


_POINTS = 300_000
"""Points of quadrature at once."""


def _contracted(ours: _Primitives, theirs: _Primitives, distance: np.ndarray) -> np.ndarray:
    """(D, m, i, j) of all shells of two groups, m ≥ 0, at distances in bohr, but for the integral over the angle."""
    points, weights = _points(ours.l + theirs.l)
    result = np.empty(
        (len(distance), min(ours.l, theirs.l) + 1, len(ours.coefficients), len(theirs.coefficients)), dtype=np.float64
    )
    at_once = max(1, _POINTS // (len(ours.exponents) * len(theirs.exponents) * len(points)))
    for some in (slice(k, k + at_once) for k in range(0, len(distance), at_once)):
        primitive = _quadrature(ours, theirs, points, weights, distance[some])
        result[some] = ours.coefficients @ primitive @ theirs.coefficients.T
    return result


def _points(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (ρ, 0, z) and weights that integrate polynomials in ρ² and z times exp(−ρ² − z²) over ρ dρ dz exactly."""
    z, along = np.polynomial.hermite.hermgauss(degree // 2 + 1)
    squares, across = np.polynomial.laguerre.laggauss(degree // 4 + 1)
    rho, height = (x.reshape(-1) for x in np.meshgrid(np.sqrt(squares), z, indexing="ij"))
    return np.stack([rho, np.zeros_like(rho), height], axis=1), np.outer(across / 2, along).reshape(-1)


def _quadrature(
    ours: _Primitives, theirs: _Primitives, points: np.ndarray, weights: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """(D, m, K, K') of pairs of primitives."""
    alpha, beta = ours.exponents[:, None], theirs.exponents
    p = alpha + beta
    d = distance[:, None, None]
    size = np.exp(-alpha * beta / p * d**2) / p**1.5
    shape = (*size.shape, *points.shape)
    places = np.broadcast_to(points / np.sqrt(p)[..., None, None], shape).copy()
    places[..., 2] += (beta / p * d)[..., None]
    m = np.arange(min(ours.l, theirs.l) + 1)
    first = _solid(places, ours.l)[..., ours.l + m]
    places[..., 2] -= d[..., None]
    products = np.einsum("dabpm,dabpm,p->dmab", first, _solid(places, theirs.l)[..., theirs.l + m], weights)
    return np.asarray(products * size[:, None])


def _solid(places: np.ndarray, l: int) -> np.ndarray:
    """r^l Y_lm, also at the origin."""
    length = np.linalg.norm(places, axis=-1, keepdims=True)
    safe = np.where(length > 0, places, [0.0, 0.0, 1.0])
    return np.asarray(length**l * spherical_harmonics(safe, l)[l])
