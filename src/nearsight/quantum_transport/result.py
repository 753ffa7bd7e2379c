"""Transmission: what a sweep found, on ascending energies relative to the Fermi level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.quantum_transport import landauer
from nearsight.quantum_transport.arguments import real_number
from nearsight.quantum_transport.eigenchannels import Eigenchannels, eigenchannels
from nearsight.quantum_transport.energy_point import EnergyPoint
from nearsight.quantum_transport.junction import Junction, JunctionAtK
from nearsight.quantum_transport.junction_notes import junction_notes
from nearsight.quantum_transport.observables import BondCurrents, averaged_currents, bond_currents
from nearsight.quantum_transport.scattering import Scattering, scatter

WIDE_ETA = 1e-3
"""eV; a wider imaginary part of the energy is seen in T."""


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
    eta : float
        η in the leads, eV.
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
    eta: float

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be known of the junction, a line each; what is doubtful begins with "warning:"."""
        notes = junction_notes(self.junction)
        if self.eta > WIDE_ETA:
            notes += (f"warning: η of {self.eta:g} eV broadens the leads' states; T is not that of sharp ones",)
        if not (self.channels_left * self.channels_right).any():
            closed = "no channel is open in both leads at any energy: the energies lie outside the leads' bands"
            notes += (f"warning: {closed}",)
        return notes

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
        bias = self.bias if bias is None else real_number("a bias in V", bias)
        temperature = real_number("a temperature in K", temperature, least=0)
        return landauer.current(self.energies, self.transmission, bias, temperature)

    def conductance(self, temperature: float = 300.0) -> float:
        """Return the conductance at zero bias in units of G₀ = 2e²/h.

        Raises
        ------
        InputError
            If the energies do not cover 15 kT about the Fermi level.
        """
        temperature = real_number("a temperature in K", temperature, least=0)
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

    def bond_currents(self, energy: float = 0.0) -> BondCurrents:
        """Solve at one energy for the current from atom to atom, of electrons that come in from the left.

        Parameters
        ----------
        energy : float, default 0.0
            eV, relative to the Fermi level; it need not be one of `energies`.

        Returns
        -------
        BondCurrents
            In channels, averaged over k⊥, atoms numbered as in the structure. Through any cut across the device between
            the leads' layers they add up to T.

        Raises
        ------
        InputError
            If the sweep was one without local densities, whose mesh of k⊥ is halved by time reversal.
        """
        self.require_density()
        order = self.junction.order
        each = []
        for k in self.k_points:
            at_k, found = self._solved(k, energy)
            flow = bond_currents(found, at_k.h, at_k.s, self.junction.starts)
            each.append(BondCurrents(order[flow.source], order[flow.target], flow.current))
        return averaged_currents(each, self.weights)

    def eigenchannels_at(self, energy: float = 0.0, k: int = 0) -> Eigenchannels:
        """Solve at one energy for the eigenchannels: their transmissions, states and local densities.

        Parameters
        ----------
        energy : float, default 0.0
            eV, relative to the Fermi level; it need not be one of `energies`.
        k : int, default 0
            Which of `k_points`.

        Returns
        -------
        Eigenchannels
            Functions and atoms numbered as in the device's calculation.
        """
        at_k, found = self._solved(self.k_points[k], energy)
        own = eigenchannels(found, at_k.s, self.junction.starts)
        states, densities = np.empty_like(own.states), np.empty_like(own.densities)
        states[self.junction.functions], densities[self.junction.order] = own.states, own.densities
        return Eigenchannels(own.energy, own.transmissions, states, densities)

    def _solved(self, k: np.ndarray, energy: float) -> tuple[JunctionAtK, Scattering]:
        at_k = self.junction.at(k)
        return at_k, scatter(at_k.device, at_k.left, at_k.right, energy + self.fermi, eta=self.eta, states=True)


def gathered(
    junction: Junction,
    energies: np.ndarray,
    points: list[list[EnergyPoint]],
    k_points: np.ndarray,
    weights: np.ndarray,
    fermi: float,
    bias: float,
    eta: float,
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
        eta,
    )
