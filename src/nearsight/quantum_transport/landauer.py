"""Current and conductance from the transmission (Landauer and Büttiker).

    I = (2e/h) ∫ T(E) [f(E − μ_L) − f(E − μ_R)] dE,    G = G₀ ∫ T(E) (−∂f/∂E) dE,    G₀ = 2e²/h,

T for one spin, the factor 2 for both. M. Büttiker, Y. Imry, R. Landauer and S. Pinhas, Phys. Rev. B 31, 6207 (1985).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from nearsight.errors import InputError
from nearsight.units import BOLTZMANN_IN_EV, CONDUCTANCE_QUANTUM

TAIL = 15.0
"""kT beyond a chemical potential where the Fermi function is 0 or 1 to 3e-7."""
COLDEST = 1e-6
"""K below which electrons are taken as at 0 K: numbers do not resolve kT any more."""


def window_function(energies: np.ndarray, bias: float, temperature: float) -> np.ndarray:
    """Return f_L − f_R at energies (eV, relative to the Fermi level), (E,), positive for a positive bias.

    Parameters
    ----------
    energies : (E,) array of float
        eV.
    bias : float
        V; the chemical potentials are ±bias/2.
    temperature : float
        K; 0 is a step.
    """
    kt = _kt(temperature)
    up, down = bias / 2, -bias / 2
    if kt == 0:
        return np.where(energies < up, 1.0, np.where(energies == up, 0.5, 0.0)) - np.where(
            energies < down, 1.0, np.where(energies == down, 0.5, 0.0)
        )
    return expit((up - energies) / kt) - expit((down - energies) / kt)


def bias_window(bias: float, temperature: float) -> tuple[float, float]:
    """Return the energies between which a bias moves electrons, eV relative to the Fermi level."""
    half = abs(bias) / 2 + TAIL * _kt(temperature)
    return -half, half


def current(energies: np.ndarray, transmission: np.ndarray, bias: float, temperature: float = 300.0) -> float:
    """Integrate the current.

    Parameters
    ----------
    energies : (E,) array of float
        Ascending, eV relative to the Fermi level; they must cover the window of the bias.
    transmission : (E,) array of float
        T for one spin.
    bias : float
        V.
    temperature : float, default 300
        K.

    Returns
    -------
    float
        A, for both spins; positive where electrons flow from left to right.

    Raises
    ------
    InputError
        If the energies do not cover the bias window.

    Notes
    -----
    T is linear between the energies; the Fermi functions are integrated on the energies and, within 30 kT of the
    chemical potentials, on a grid of kT/20.
    """
    check_window(energies, bias, temperature)
    grid = _fine(energies, bias, temperature)
    values = np.interp(grid, energies, transmission) * window_function(grid, bias, temperature)
    return float(np.trapezoid(values, grid) * CONDUCTANCE_QUANTUM)


def conductance(energies: np.ndarray, transmission: np.ndarray, temperature: float = 300.0) -> float:
    """Return the conductance at zero bias in units of G₀ = 2e²/h.

    Parameters and errors are those of `current`; at 0 K it is T at the Fermi level.
    """
    kt = _kt(temperature)
    if kt == 0:
        check_window(energies, 0.0, 0.0)
        return float(np.interp(0.0, energies, transmission))
    check_window(energies, 0.0, temperature)
    grid = _fine(energies, 0.0, temperature)
    occupied = expit(-grid / kt)
    values = np.interp(grid, energies, transmission) * occupied * (1 - occupied) / kt
    return float(np.trapezoid(values, grid))


def check_window(energies: np.ndarray, bias: float, temperature: float) -> None:
    """Raise InputError where energies do not cover the window of a bias (V) at a temperature (K)."""
    low, high = bias_window(bias, temperature)
    if len(energies) == 0 or energies[0] > low + 1e-9 or energies[-1] < high - 1e-9:
        got = "none" if len(energies) == 0 else f"{energies[0]:.5g} to {energies[-1]:.5g} eV"
        raise InputError(
            f"expected energies from {low:.5g} to {high:.5g} eV for a bias of {bias:g} V at {temperature:g} K, got "
            f"{got}; compute T(E) in a wider window"
        )


def _fine(energies: np.ndarray, bias: float, temperature: float) -> np.ndarray:
    low, high = bias_window(bias, temperature)
    own = energies[(energies >= low) & (energies <= high)]
    steps = np.array([low, -abs(bias) / 2, abs(bias) / 2, high])
    kt = _kt(temperature)
    if kt == 0:
        inside = [np.nextafter(steps[1], np.inf), np.nextafter(steps[2], -np.inf)]
        return np.unique(np.concatenate([own, steps, inside]))
    around = np.linspace(-2 * TAIL, 2 * TAIL, round(4 * TAIL * 20) + 1) * kt
    regular = np.clip(np.concatenate([steps[1] + around, steps[2] + around]), low, high)
    return np.unique(np.concatenate([own, regular, steps]))


def _kt(temperature: float) -> float:
    """Return kT in eV."""
    if not 0 <= temperature < np.inf:
        raise InputError(f"expected a temperature of at least 0 K, got {temperature}")
    return BOLTZMANN_IN_EV * temperature if temperature >= COLDEST else 0.0
