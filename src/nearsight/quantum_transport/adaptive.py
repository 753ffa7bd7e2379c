"""Energies chosen as they are needed: an interval is halved until its integral of T no longer changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Evaluate = Callable[[np.ndarray], np.ndarray]
"""Values at ascending energies that were not asked for before."""


def refined(evaluate: Evaluate, start: np.ndarray, tolerance: float, finest: float, weight: Evaluate) -> np.ndarray:
    """Add energies to a grid until ∫ T w dE is converged.

    Parameters
    ----------
    evaluate : callable
        T at an array of energies; called with the new ones of each round together.
    start : (E,) array of float
        Ascending energies to begin with, two or more.
    tolerance : float
        Error of the integral that is accepted, as a fraction of ∫ |T w| dE.
    finest : float
        Intervals shorter than this (in the unit of the energies) are not halved.
    weight : callable
        w at energies, such as the window of a bias.

    Returns
    -------
    (F,) array of float
        All energies, ascending.

    Notes
    -----
    In each round every interval that is still open is halved. Its error is how far the value in its middle is from the
    straight line between its ends, times its length. Each interval may have the share of the tolerance that its length
    has of the whole. Which energies are chosen depends on the values alone, so that an interrupted run which finds its
    values again chooses the same.
    """
    energies = np.unique(np.asarray(start, dtype=np.float64))
    values = np.asarray(evaluate(energies), dtype=np.float64)
    known = dict(zip(energies.tolist(), values.tolist()))
    pieces = list(zip(energies[:-1].tolist(), energies[1:].tolist()))
    whole = float(energies[-1] - energies[0])
    while True:
        pieces = [(a, b) for a, b in pieces if b - a > 2 * finest and a < (a + b) / 2 < b]
        if not pieces:
            break
        middles = np.unique(np.array([(a + b) / 2 for a, b in pieces]))
        known.update(zip(middles.tolist(), np.asarray(evaluate(middles), dtype=np.float64).tolist()))
        grid = np.array(sorted(known))
        integrand = np.abs(np.array([known[e] for e in grid.tolist()]) * weight(grid))
        total = float(np.trapezoid(integrand, grid))
        still = []
        for a, b in pieces:
            m = (a + b) / 2
            most = float(np.max(np.abs(weight(np.array([a, m, b])))))
            error = abs(known[m] - (known[a] + known[b]) / 2) * (b - a) * most
            if error > tolerance * total * (b - a) / whole:
                still += [(a, m), (m, b)]
        pieces = still
    return np.array(sorted(known))
