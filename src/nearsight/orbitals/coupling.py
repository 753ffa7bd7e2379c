"""Clebsch-Gordan coupling of real spherical harmonics: from orbital blocks to irreducible parts (irreps) and back.

A block H[a, b] between shells l1 and l2 transforms as l1 ⊗ l2 = |l1−l2| ⊕ … ⊕ l1+l2 (Xia et al. 2025, section 3.1).
With the tables of this file the change of basis is orthonormal: the squared norm of a block is that of its irreps. (The
authors' transform inflates degree L by √(2L+1).) Signs are those of e3nn's `wigner_3j`.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import factorial, sqrt

import numpy as np


def _su2(j1: int, m1: int, j2: int, m2: int, j3: int, m3: int) -> float:
    """⟨j1 m1 j2 m2 | j3 m3⟩ by Racah's formula (Condon-Shortley phases), in exact integers up to the square root."""
    if m1 + m2 != m3:
        return 0.0
    f = factorial
    square = Fraction(
        (2 * j3 + 1)
        * f(j3 + j1 - j2)
        * f(j3 - j1 + j2)
        * f(j1 + j2 - j3)
        * f(j3 + m3)
        * f(j3 - m3)
        * f(j1 + m1)
        * f(j1 - m1)
        * f(j2 + m2)
        * f(j2 - m2),
        f(j1 + j2 + j3 + 1),
    )
    total = Fraction(0)
    for k in range(j1 + j2 - j3 + 1):
        arguments = (k, j1 + j2 - j3 - k, j1 - m1 - k, j2 + m2 - k, j3 - j2 + m1 + k, j3 - j1 - m2 + k)
        if min(arguments) >= 0:
            product = 1
            for a in arguments:
                product *= f(a)
            total += Fraction((-1) ** k, product)
    return float(total) * sqrt(square)


def _real_to_complex(l: int) -> np.ndarray:
    """(2l+1, 2l+1) unitary: complex harmonics (rows, m = −l..l) from real ones, with the phase (−i)^l."""
    q = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    q[l, l] = 1
    for m in range(1, l + 1):
        q[l - m, l + m] = 1 / sqrt(2)
        q[l - m, l - m] = -1j / sqrt(2)
        q[l + m, l + m] = (-1) ** m / sqrt(2)
        q[l + m, l - m] = 1j * (-1) ** m / sqrt(2)
    return (-1j) ** l * q


@cache
def coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    """Return the real coupling coefficients C, with which coupled[M] = Σ_ab C[a, b, M] block[a, b].

    Parameters
    ----------
    l1, l2 : int
        Degrees of the two shells.
    l3 : int
        Degree of the irrep, |l1 − l2| ≤ l3 ≤ l1 + l2.

    Returns
    -------
    (2·l1+1, 2·l2+1, 2·l3+1) array of float64
        Real and orthonormal: Σ_ab C[a, b, M] C[a, b, M'] = δ_MM'. Read-only.

    Raises
    ------
    ValueError
        If the degrees do not couple.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"expected |l1-l2| <= l3 <= l1+l2, got {l1}, {l2}, {l3}")
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            table[l1 + m1, l2 + m2, l3 + m1 + m2] = _su2(l1, m1, l2, m2, l3, m1 + m2)
    q1, q2, q3 = (_real_to_complex(l) for l in (l1, l2, l3))
    real = np.einsum("ij,kl,mn,ikn->jlm", q1, q2, np.conj(q3.T), table, optimize=True)
    if np.abs(real.imag).max() > 1e-12:
        raise ArithmeticError(f"the coupling {l1} x {l2} -> {l3} is not real")
    result = np.ascontiguousarray(real.real)
    result.setflags(write=False)
    return result


def irreps_of(l1: int, l2: int) -> range:
    """Return the degrees L in the product of two shells, ascending.

    Parameters
    ----------
    l1, l2 : int
        Degrees of the two shells.

    Returns
    -------
    range
        |l1 − l2| … l1 + l2.
    """
    return range(abs(l1 - l2), l1 + l2 + 1)


@cache
def shell_pair_matrix(l1: int, l2: int) -> np.ndarray:
    """Return the orthogonal matrix T of a pair of shells, with which coupled = T @ block.reshape(-1).

    Parameters
    ----------
    l1, l2 : int
        Degrees of the two shells.

    Returns
    -------
    (n, n) array of float64
        n = (2·l1+1)(2·l2+1); rows run over (L, M) with L ascending. Read-only.
    """
    rows = [coupling(l1, l2, l3).reshape(-1, 2 * l3 + 1).T for l3 in irreps_of(l1, l2)]
    result = np.concatenate(rows)
    result.setflags(write=False)
    return result
