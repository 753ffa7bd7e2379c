"""Gaussian broadening of levels into densities of states."""

from __future__ import annotations

import numpy as np

from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError

REACH = 5.0
"""Widths from a level beyond which its Gaussian is taken as zero."""


def energy_grid(levels: Spectrum | np.ndarray, width: float) -> np.ndarray:
    """(m,) energies, eV, in steps of width / 5 over all levels and the reach of their Gaussians."""
    values = _levels(levels)
    lower, upper = values.min() - REACH * width, values.max() + REACH * width
    step = width / 5
    return np.asarray(lower + step * np.arange(int(np.ceil((upper - lower) / step)) + 2))


def level_density(
    levels: Spectrum | np.ndarray, energies: np.ndarray, width: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Electrons per eV that levels at these energies can hold: a Gaussian of integral two for every level.

    Args:
        levels: a spectrum; or (n,) or (K, n) levels of k-points, eV.
        energies: (m,) eV.
        width: standard deviation of the Gaussians, eV.
        weights: (K,) of the k-points; they are normalised. None: equal.

    Returns:
        (m,) 1/eV, of one cell.

    Raises:
        InputError: a width that is not positive, or weights of another number.
    """
    values = np.atleast_2d(_levels(levels))
    shares = np.full(len(values), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(values),):
        raise InputError(f"expected {len(values)} weights, one for each k-point, got {shares.size}")
    each = np.repeat(shares / shares.sum(), values.shape[1])
    return broadened(values.ravel(), 2 * each[None], energies, width)[0]


def broadened(levels: np.ndarray, weights: np.ndarray, energies: np.ndarray, width: float) -> np.ndarray:
    """Σ_n w_gn δ(E − ε_n), with Gaussians for δ.

    Args:
        levels: (n,) eV.
        weights: (g, n).
        energies: (m,) eV, ascending.
        width: standard deviation of the Gaussians, eV.

    Returns:
        (g, m) 1/eV.

    Raises:
        InputError: a width that is not positive.
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
