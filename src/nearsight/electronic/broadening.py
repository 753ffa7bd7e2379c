"""Gaussian broadening of levels into densities of states."""

from __future__ import annotations

import numpy as np

from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError

REACH = 5.0
"""Number of widths from a level beyond which its Gaussian is taken as zero."""


def energy_grid(levels: Spectrum | np.ndarray, width: float) -> np.ndarray:
    """Make energies for a density of states, in steps of width / 5 over all levels and the reach of their Gaussians.

    Parameters
    ----------
    levels : Spectrum or ndarray
        Levels in eV, of any shape.
    width : float
        Standard deviation of the Gaussians, in eV.

    Returns
    -------
    ndarray of shape (e,)
        Energies in eV, ascending.
    """
    values = _levels(levels)
    lower, upper = values.min() - REACH * width, values.max() + REACH * width
    step = width / 5
    return np.asarray(lower + step * np.arange(int(np.ceil((upper - lower) / step)) + 2))


def level_density(
    levels: Spectrum | np.ndarray, energies: np.ndarray, width: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Compute how many electrons per eV levels can hold at some energies: a Gaussian of integral two for every level.

    Parameters
    ----------
    levels : Spectrum, or ndarray of shape (n,) or (K, n)
        Levels in eV, of one matrix or of K k-points.
    energies : ndarray of shape (e,)
        Energies in eV, ascending.
    width : float
        Standard deviation of the Gaussians, in eV.
    weights : ndarray of shape (K,), optional
        Weights of the k-points, which are normalised. By default equal.

    Returns
    -------
    ndarray of shape (e,)
        Density of states of one cell, in 1/eV.

    Raises
    ------
    InputError
        If the width is not positive, or there is another number of weights than k-points.
    """
    values = np.atleast_2d(_levels(levels))
    shares = np.full(len(values), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(values),):
        raise InputError(f"expected {len(values)} weights, one for each k-point, got {shares.size}")
    each = np.repeat(shares / shares.sum(), values.shape[1])
    return broadened(values.ravel(), 2 * each[None], energies, width)[0]


def broadened(levels: np.ndarray, weights: np.ndarray, energies: np.ndarray, width: float) -> np.ndarray:
    """Compute Σ_n w_gn δ(E − ε_n) with Gaussians for δ.

    Parameters
    ----------
    levels : ndarray of shape (n,)
        Levels ε in eV.
    weights : ndarray of shape (g, n)
        Weights of the levels in each of g densities.
    energies : ndarray of shape (e,)
        Energies E in eV, ascending.
    width : float
        Standard deviation of the Gaussians, in eV.

    Returns
    -------
    ndarray of shape (g, e)
        Densities, in 1/eV.

    Raises
    ------
    InputError
        If the width is not positive.
    """
    if not width > 0:
        raise InputError(f"expected a width above 0 eV, got {width:g}")
    density = np.zeros((len(weights), len(energies)))
    first = np.searchsorted(energies, levels - REACH * width)
    last = np.searchsorted(energies, levels + REACH * width, side="right")
    for n, level in enumerate(levels):
        near = slice(first[n], last[n])
        density[:, near] += weights[:, n, None] * np.exp(-0.5 * ((energies[near] - level) / width) ** 2)
    return density / (width * np.sqrt(2 * np.pi))


def _levels(levels: Spectrum | np.ndarray) -> np.ndarray:
    return levels.eigenvalues if isinstance(levels, Spectrum) else np.asarray(levels, dtype=np.float64)
