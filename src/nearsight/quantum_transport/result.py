"""Transmission: what a sweep found, on ascending energies relative to the Fermi level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.quantum_transport import landauer
from nearsight.quantum_transport.energy_point import EnergyPoint
from nearsight.quantum_transport.junction import Junction


@dataclass(frozen=True, eq=False)
class Transmission:
    """Transmission of a junction, and what was computed with it.

    Attributes
    ----------
    energies : (E,) array of float
        eV, ascending, relative to the Fermi level.
    transmission : (E,) array of float
        T for one spin, averaged over k⊥.
    per_k : (K, E) array of float
        T of each k⊥.
    k_points : (K, 3) array of float
        In units of the reciprocal lattice vectors.
    weights : (K,) array of float
        Of the k⊥; their sum is 1.
    channels_left, channels_right : (E,) array of float
        Open channels of the leads, averaged over k⊥.
    eigenchannels : (K, E, 8) array of float
        The largest transmissions of eigenchannels.
    reflection : (E,) array of float or None
        R for one spin, averaged over k⊥; None where local densities were not asked for.
    density_left, density_right : (E, N) array of float or None
        Local density of states of each atom (1/eV, one spin, in the structure's order) of states that come in from
        either lead.
    fermi : float
        Fermi level in the device's zero of energy, eV.
    bias : float
        V, that was applied to H; 0 for a junction in equilibrium.
    junction : Junction
        What was solved.
    """

    energies: np.ndarray
    transmission: np.ndarray
    per_k: np.ndarray
    k_points: np.ndarray
    weights: np.ndarray
    channels_left: np.ndarray
    channels_right: np.ndarray
    eigenchannels: np.ndarray
    reflection: np.ndarray | None
    density_left: np.ndarray | None
    density_right: np.ndarray | None
    fermi: float
    bias: float
    junction: Junction

    def current(self, bias: float | None = None, temperature: float = 300.0) -> float:
        """Return the current in A, both spins.

        Parameters
        ----------
        bias : float, optional
            V; by default the one that was applied to H.
        temperature : float, default 300
            K.

        Raises
        ------
        InputError
            If the energies do not cover the bias window.
        """
        return landauer.current(self.energies, self.transmission, self.bias if bias is None else bias, temperature)

    def conductance(self, temperature: float = 300.0) -> float:
        """Return the conductance at zero bias in units of G₀ = 2e²/h.

        Raises
        ------
        InputError
            If the energies do not cover 15 kT about the Fermi level.
        """
        return landauer.conductance(self.energies, self.transmission, temperature)

    def density_in_window(self, bias: float | None = None, temperature: float = 300.0) -> np.ndarray:
        """Return (N,) electrons of both spins on each atom that come in from the left in the bias window.

        Parameters
        ----------
        bias : float, optional
            V; by default the one that was applied to H.
        temperature : float, default 300
            K.

        Raises
        ------
        InputError
            If there are no local densities, or the energies do not cover the window.
        """
        bias = self.bias if bias is None else bias
        landauer.check_window(self.energies, bias, temperature)
        window = landauer.window_function(self.energies, bias, temperature)
        return 2 * np.trapezoid(self.require_density() * window[:, None], self.energies, axis=0)

    def require_density(self) -> np.ndarray:
        """Return the local densities of states that come in from the left, (E, N).

        Raises
        ------
        InputError
            If they were not computed.
        """
        if self.density_left is None:
            raise InputError("expected local densities of states, got a sweep without them: set local=True")
        return self.density_left


def gathered(
    junction: Junction,
    energies: np.ndarray,
    points: list[list[EnergyPoint]],
    k_points: np.ndarray,
    weights: np.ndarray,
    fermi: float,
    bias: float,
) -> Transmission:
    """Return the points of a sweep, (K) lists of (E), as arrays averaged over k⊥."""

    def table(name: str) -> np.ndarray:
        return np.array([[getattr(point, name) for point in row] for row in points])

    def averaged(name: str) -> np.ndarray:
        return np.tensordot(weights, table(name), axes=1)

    local = len(points[0][0].from_left) > 0
    back = np.argsort(junction.order)
    per_k = table("transmission")
    return Transmission(
        energies,
        np.tensordot(weights, per_k, axes=1),
        per_k,
        k_points,
        weights,
        averaged("n_left"),
        averaged("n_right"),
        table("eigenchannels"),
        averaged("reflection") if local else None,
        averaged("from_left")[:, back] if local else None,
        averaged("from_right")[:, back] if local else None,
        fermi,
        bias,
        junction,
    )
