"""Energies chosen as they are needed: an interval is halved until its integral of T no longer changes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

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
    In each round intervals are halved. With T_m in the middle of (a, b), linear interpolation between three points is
    off by about |T_m − (T_a + T_b)/2| (b − a)/6; halves of intervals whose error is above an equal share of what is
    accepted stay open, until all errors together are accepted. Which energies are chosen depends on the values
    alone, so an interrupted run that finds its values again chooses the same.
    """
    energies = np.unique(np.asarray(start, dtype=np.float64))
    known = dict(zip(energies.tolist(), np.asarray(evaluate(energies), dtype=np.float64).tolist()))
    pieces = list(pairwise(energies.tolist()))
    settled = 0.0
    while True:
        pieces = [(a, b) for a, b in pieces if b - a > 2 * finest and a < (a + b) / 2 < b]
        if not pieces:
            break
        middles = np.unique(np.array([(a + b) / 2 for a, b in pieces]))
        known.update(zip(middles.tolist(), np.asarray(evaluate(middles), dtype=np.float64).tolist()))
        grid = np.array(sorted(known))
        integrand = np.abs(np.array([known[e] for e in grid.tolist()]) * weight(grid))
        accepted = tolerance * float(np.trapezoid(integrand, grid))
        errors = [_error(known, a, b, weight) for a, b in pieces]
        if settled + sum(errors) <= accepted:
            break
        share = accepted / len(grid)
        still = []
        for (a, b), error in zip(pieces, errors):
            if error > share:
                still += [(a, (a + b) / 2), ((a + b) / 2, b)]
            else:
                settled += error
        pieces = still
    return np.array(sorted(known))


def _error(known: dict[float, float], a: float, b: float, weight: Evaluate) -> float:
    """Error of the integral between a and b, with the point in the middle."""
    middle = (a + b) / 2
    most = float(np.max(np.abs(weight(np.array([a, middle, b])))))
    return abs(known[middle] - (known[a] + known[b]) / 2) * (b - a) * most / 6
