"""How electrons fill levels, of one matrix or of many k-points: two to a level, at zero or finite temperature."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, xlogy

from nearsight.errors import InputError
from nearsight.units import BOLTZMANN_IN_EV

DEGENERATE = 1e-5
"""Levels that are the same within this (eV) share their electrons, so that densities have the structure's symmetry."""


@dataclass(frozen=True, eq=False)
class Filling:
    """Electrons in levels.

    Attributes
    ----------
    fermi : float
        Fermi level in eV: the chemical potential at a temperature; without one the middle between the highest level
        with electrons and the lowest with room (that level where it is partly filled). NaN where one is not there.
    occupations : ndarray of shape (n,) or (K, n)
        Electrons in each level, 0 to 2.
    homo, lumo : float
        Highest level with electrons and lowest with room, in eV; at a temperature the highest below and the lowest
        above the Fermi level. NaN where there is none.
    entropy_energy : float
        −T·S in eV: what the free energy has more than the energy. 0 without temperature.
    """

    fermi: float
    occupations: np.ndarray
    homo: float
    lumo: float
    entropy_energy: float = 0.0

    @property
    def gap(self) -> float:
        """LUMO − HOMO in eV, at least 0. NaN where one is not there."""
        return max(self.lumo - self.homo, 0.0)


def occupations(
    levels: np.ndarray, electrons: float, weights: np.ndarray | None = None, temperature: float | None = None
) -> Filling:
    """Fill levels with electrons.

    Parameters
    ----------
    levels : ndarray of shape (n,) or (K, n)
        Levels in eV, in any order, of one matrix or of K k-points.
    electrons : float
        Number of electrons in the cell, 0 to 2n.
    weights : ndarray of shape (K,), optional
        Weights of the k-points, positive, which are normalised. By default equal.
    temperature : float, optional
        In K, of the Fermi–Dirac distribution. By default levels are filled from below.

    Returns
    -------
    Filling
        Occupations of the levels' shape, with Fermi level, HOMO and LUMO.

    Raises
    ------
    InputError
        If levels are not finite, the electrons have no room, or weights or the temperature are not positive.

    Examples
    --------
    >>> from nearsight.electronic.filling import occupations
    >>> filling = occupations([-1.0, 0.0, 1.0], electrons=3)
    >>> filling.occupations, filling.fermi
    (array([2., 1., 0.]), 0.0)
    """
    levels = np.asarray(levels, dtype=np.float64)
    rows = np.atleast_2d(levels)
    shares = _shares(len(rows), weights)
    if not np.isfinite(rows).all():
        raise InputError("expected finite levels, got some that are not")
    if not 0 <= electrons <= 2 * rows.shape[1]:
        raise InputError(f"expected 0 to {2 * rows.shape[1]} electrons in {rows.shape[1]} levels, got {electrons:g}")
    if temperature is not None and not temperature > 0:
        raise InputError(f"expected a temperature above 0 K, got {temperature:g}")
    capacity = np.repeat(shares, rows.shape[1])
    filling = _from_below if temperature is None else _at_temperature
    result = filling(rows.ravel(), capacity, electrons, (temperature or 0.0) * BOLTZMANN_IN_EV)
    return replace(result, occupations=result.occupations.reshape(levels.shape))


def _shares(number: int, weights: np.ndarray | None) -> np.ndarray:
    if weights is None:
        return np.full(number, 1.0 / number)
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != (number,) or not (shares > 0).all():
        raise InputError(f"expected {number} positive weights, one for each k-point, got shape {shares.shape}")
    return shares / shares.sum()


def _from_below(levels: np.ndarray, capacity: np.ndarray, electrons: float, _: float) -> Filling:
    order = np.argsort(levels, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(2 * capacity[order])])[:-1]
    some = np.clip((electrons - before) / capacity[order], 0.0, 2.0)
    some[np.abs(some) < 1e-9] = 0.0
    ascending = levels[order]
    partly = np.flatnonzero(some > 0)
    if len(partly):
        same = np.abs(ascending - ascending[partly[-1]]) < DEGENERATE
        some[same] = np.average(some[same], weights=capacity[order][same])
    filled, free = ascending[some > 1e-9], ascending[some < 2 - 1e-9]
    homo, lumo = (filled[-1] if len(filled) else np.nan), (free[0] if len(free) else np.nan)
    result = np.empty_like(some)
    result[order] = some
    return Filling(float((homo + lumo) / 2), result, float(homo), float(lumo))


def _at_temperature(levels: np.ndarray, capacity: np.ndarray, electrons: float, width: float) -> Filling:
    def surplus(fermi: float) -> float:
        return float(2 * (capacity * expit((fermi - levels) / width)).sum() - electrons)

    reach = 60 * width
    if surplus(levels.min() - reach) >= 0 or surplus(levels.max() + reach) <= 0:  # none, or no room left
        return _from_below(levels, capacity, electrons, width)
    fermi = float(brentq(surplus, levels.min() - reach, levels.max() + reach, xtol=1e-12))
    share = expit((fermi - levels) / width)
    entropy = -2 * float((capacity * (xlogy(share, share) + xlogy(1 - share, 1 - share))).sum())
    below, above = levels[levels <= fermi], levels[levels > fermi]
    return Filling(
        fermi,
        2 * share,
        float(below.max(initial=-np.inf)) if len(below) else float("nan"),
        float(above.min(initial=np.inf)) if len(above) else float("nan"),
        -width * entropy,
    )
