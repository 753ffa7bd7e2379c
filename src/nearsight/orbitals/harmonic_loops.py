"""Real spherical harmonics and Wigner matrices of many vectors, by compiled recursions over sparse coupling tables.

Both couple degree 1 with l − 1 to l, as `rotations` does by tensor products, but touch only the coefficients that are
not zero (a tenth of them) and keep each vector's numbers in registers and cache.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numba
import numpy as np

from nearsight.compiled_code import compiled_with
from nearsight.orbitals.coupling import coupling

LANES = 16
"""Rotations whose matrices are computed side by side."""


class Terms(NamedTuple):
    """Coefficients C[a, b, M] of 1 ⊗ (l − 1) → l that are not zero, of all degrees from 2 on, sorted by l, M, a, b.

    Attributes
    ----------
    start : (l_max + 2,) array of int64
        Where the coefficients of each degree begin.
    a, b, m : (T,) array of int64
        Components 0 … 2, 0 … 2l − 2 and 0 … 2l.
    value : (T,) array of float64
        The coefficients.
    """

    start: np.ndarray
    a: np.ndarray
    b: np.ndarray
    m: np.ndarray
    value: np.ndarray


@cache
def coupling_terms(l_max: int) -> Terms:
    """Return the coefficients of the recursion of Wigner matrices up to a degree."""
    start, rows = [0, 0], list[tuple[int, int, int, float]]()
    for l in range(2, l_max + 1):
        start.append(len(rows))
        table = coupling(1, l - 1, l)
        m, a, b = np.nonzero(table.transpose(2, 0, 1))
        rows += zip(a.tolist(), b.tolist(), m.tolist(), table[a, b, m].tolist())
    start.append(len(rows))
    columns = np.ascontiguousarray(np.array(rows, dtype=np.float64).reshape(-1, 4).T)
    places = columns[:3].astype(np.int64)
    return Terms(np.array(start), places[0], places[1], places[2], columns[3])


@cache
def harmonic_terms(l_max: int) -> Terms:
    """Return the coefficients of the recursion of harmonics, scaled so that Σ_m Y_lm² = 1."""
    terms = coupling_terms(l_max)
    value = terms.value.copy()
    for l in range(2, l_max + 1):
        # Coupling scales the component m = 0 on the polar axis by this.
        value[terms.start[l] : terms.start[l + 1]] /= coupling(1, l - 1, l)[1, l - 1, l]
    return terms._replace(value=value)


@numba.njit(inline="always")
def harmonics_at(x, y, z, l_max, terms, values):  # type: ignore[no-untyped-def]
    """Write Y_0 … Y_l_max, side by side, of a vector of length 1."""
    values[0] = 1.0
    if l_max >= 1:
        values[1], values[2], values[3] = y, z, x
    for l in range(2, l_max + 1):
        below, here = (l - 1) * (l - 1), l * l
        for m in range(2 * l + 1):
            values[here + m] = 0.0
        for t in range(terms.start[l], terms.start[l + 1]):
            values[here + terms.m[t]] += terms.value[t] * values[1 + terms.a[t]] * values[below + terms.b[t]]


def _harmonics(vectors, l_max, terms, values):  # type: ignore[no-untyped-def]
    for n in range(len(vectors)):
        x, y, z = vectors[n, 0], vectors[n, 1], vectors[n, 2]
        length = np.sqrt(x * x + y * y + z * z)
        harmonics_at(x / length, y / length, z / length, l_max, terms, values[n])


def _wigner(rotations, l_max, terms, rows):  # type: ignore[no-untyped-def]
    axes, columns = (1, 2, 0), rows.shape[1]
    # Numbers of several rotations lie side by side: one instruction works on all of them.
    own, half, factor = np.empty((columns, LANES)), np.empty((3 * (2 * l_max + 1) ** 2, LANES)), np.empty(LANES)
    for first in range(0, len(rotations), LANES):
        n = min(LANES, len(rotations) - first)
        own[:] = 0.0
        own[0] = 1.0
        if l_max >= 1:
            for a in range(3):
                for c in range(3):
                    for q in range(n):
                        own[1 + 3 * a + c, q] = rotations[first + q, axes[a], axes[c]]
        at, below = 10, 1
        for l in range(2, l_max + 1):
            _next_degree(own, half, factor, l, at, below, terms)
            below, at = at, at + (2 * l + 1) ** 2
        for q in range(n):
            for k in range(columns):
                rows[first + q, k] = own[k, q]


@numba.njit(inline="always")
def _next_degree(own, half, factor, l, at, below, terms):  # type: ignore[no-untyped-def]
    """Compute D^l from D^1 and D^(l−1), which begins at `below`."""
    width, less = 2 * l + 1, 2 * l - 1
    half[: width * 3 * less] = 0.0
    for t in range(terms.start[l], terms.start[l + 1]):
        a, b, m, value = terms.a[t], terms.b[t], terms.m[t], terms.value[t]
        for c in range(3):
            left = own[1 + 3 * a + c]
            for q in range(LANES):
                factor[q] = value * left[q]
            for d in range(less):
                place, lower = half[(m * 3 + c) * less + d], own[below + b * less + d]
                for q in range(LANES):
                    place[q] += factor[q] * lower[q]
    for m in range(width):
        for k in range(width):
            own[at + m * width + k] = 0.0
        for t in range(terms.start[l], terms.start[l + 1]):
            upper, value = own[at + m * width + terms.m[t]], terms.value[t]
            lower = half[(m * 3 + terms.a[t]) * less + terms.b[t]]
            for q in range(LANES):
                upper[q] += value * lower[q]


harmonics = compiled_with(_harmonics, (), nogil=True, error_model="numpy")
"""Write Y_0 … Y_l_max of vectors (n, 3) of any length but 0 into (n, (l_max+1)²); terms of `harmonic_terms`."""

wigner = compiled_with(_wigner, (), nogil=True, error_model="numpy")
"""Write D^0 … D^l_max of rotations (n, 3, 3) row by row into (n, Σ_l (2l+1)²); terms of `coupling_terms`."""
