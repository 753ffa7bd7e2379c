"""The density of states of a spectrum."""

from __future__ import annotations

import numpy as np

from nearsight.electronic.spectrum import Spectrum

REACH = 5.0
"""Widths from a level beyond which its Gaussian is taken as zero."""


def energy_grid(spectrum: Spectrum, width: float) -> np.ndarray:
    """(m,) energies, eV, in steps of width / 5 over all levels and the reach of their Gaussians."""
    lower, upper = spectrum.eigenvalues[0] - REACH * width, spectrum.eigenvalues[-1] + REACH * width
    step = width / 5
    return np.asarray(lower + step * np.arange(int(np.ceil((upper - lower) / step)) + 2))


def density_of_states(spectrum: Spectrum, energies: np.ndarray, width: float) -> np.ndarray:
    """Electrons per eV that levels at these energies can hold: a Gaussian of integral two for every level.

    Args:
        spectrum: the levels.
        energies: (m,) eV.
        width: standard deviation of the Gaussians, eV.

    Returns:
        (m,) 1/eV.
    """
    density = np.zeros(len(energies))
    for level in spectrum.eigenvalues:
        near = np.abs(energies - level) <= REACH * width
        density[near] += np.exp(-0.5 * ((energies[near] - level) / width) ** 2)
    return density * 2 / (width * np.sqrt(2 * np.pi))
