"""Scattering: elimination of the device layer by layer, and what passes from lead to lead.

With A(E) = E S − H − Σ_L(E) − Σ_R(E) on the functions of the device, G = A⁻¹ and Γ = L L†, the states that come in from
the left are the columns of ψ = G L_L, one for each open channel. All that is measured follows from them:

    t = i L_R† ψ,    r = i L_L† ψ − 1,    T = ‖t‖²,    A_L = ψ ψ† (spectral function of states from the left).

A is block-tridiagonal, so ψ comes from one forward elimination over the layers and one substitution back (the recursive
Green's function: D. A. Ryndyk, Theory of Quantum Transport at Nanoscale, Springer 2016; D. S. Fisher, P. A. Lee,
Phys. Rev. B 23, 6851 (1981)). T is a sum of squares, without differences of nearly equal numbers: the smallest
transmissions keep their digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight.quantum_transport.block_tridiagonal import BlockTridiagonal, Coupling
from nearsight.quantum_transport.dense_solve import solved
from nearsight.quantum_transport.lead import Lead
from nearsight.quantum_transport.self_energy import ETA, SelfEnergy, self_energy
from nearsight.quantum_transport.wide_band import WideBandLead


@dataclass(frozen=True, eq=False)
class Scattering:
    """What happens to electrons of one energy.

    Attributes
    ----------
    energy : float
        E in eV.
    n_left, n_right : int
        Numbers of open channels of the leads.
    t : (n_right, n_left) array of complex
        Amplitudes of transmission from the left lead into the right one, between channels of unit current.
    r : (n_left, n_left) array of complex or None
        Amplitudes of reflection into the left lead; None where states were not asked for.
    from_left, from_right : (n, c) array of complex or None
        States ψ = G L on the functions of the device that come in from a lead, 1/√eV; None where they were not asked
        for.
    """

    energy: float
    n_left: int
    n_right: int
    t: np.ndarray
    r: np.ndarray | None = None
    from_left: np.ndarray | None = None
    from_right: np.ndarray | None = None

    @property
    def transmission(self) -> float:
        """T = Tr t† t, for one spin."""
        return float(np.sum(np.abs(self.t) ** 2))

    @property
    def reflection(self) -> float:
        """R = Tr r† r, from the left.

        Raises
        ------
        ValueError
            If the states were not computed.
        """
        if self.r is None:
            raise ValueError("reflection needs the states: scatter(..., states=True)")
        return float(np.sum(np.abs(self.r) ** 2))

    @cached_property
    def eigenchannels(self) -> np.ndarray:
        """Transmissions of the eigenchannels, descending: squares of the singular values of t."""
        return np.linalg.svd(self.t, compute_uv=False) ** 2 if self.t.size else np.zeros(0)


def scatter(
    device: BlockTridiagonal,
    left: Lead | WideBandLead,
    right: Lead | WideBandLead,
    energy: float,
    *,
    eta: float = ETA,
    states: bool = False,
) -> Scattering:
    """Solve for the states that come in from the leads at one energy.

    Parameters
    ----------
    device : BlockTridiagonal
        H and S. The first functions of the first layer are those of a principal layer of the left lead, the last of the
        last layer one of the right lead.
    left, right : Lead
        The leads, in the device's zero of energy.
    energy : float
        E in eV.
    eta : float, default ETA
        Imaginary part of the energy in the leads, eV; there is none in the device.
    states : bool, default False
        Whether states are computed everywhere, which densities, currents and the reflection need.

    Returns
    -------
    Scattering
        Amplitudes, and the states where they were asked for.

    Raises
    ------
    InputError
        If a self-energy does not converge.
    """
    sigma_left = self_energy(left, "left", energy, eta)
    sigma_right = self_energy(right, "right", energy, eta)
    if not states and not (sigma_left.n_channels and sigma_right.n_channels):
        return Scattering(
            energy,
            sigma_left.n_channels,
            sigma_right.n_channels,
            np.zeros((sigma_right.n_channels, sigma_left.n_channels), dtype=np.complex128),
        )
    return scatter_between(device, sigma_left, sigma_right, energy, states)


def scatter_between(
    device: BlockTridiagonal, left: SelfEnergy, right: SelfEnergy, energy: float, states: bool = False
) -> Scattering:
    """Solve for the states of a device between two self-energies.

    Parameters
    ----------
    device : BlockTridiagonal
        H and S, as in `scatter`.
    left, right : SelfEnergy
        On its first and last functions.
    energy : float
        E in eV.
    states : bool, default False
        Whether states are computed everywhere.
    """
    n, m, last = len(left.sigma), len(right.sigma), device.n_layers - 1
    diagonal = _matrix(device, 0, energy)
    diagonal[:n, :n] -= left.sigma
    source = np.zeros((len(diagonal), left.n_channels), dtype=np.complex128)
    source[:n] = left.channels
    factors: list[np.ndarray] = []
    waves: list[np.ndarray] = []
    for layer, coupling in enumerate(device.couplings):
        bridge = energy * coupling.s - coupling.h
        beside = np.zeros((len(diagonal), bridge.shape[1]), dtype=np.complex128)
        beside[coupling.rows] = bridge
        onward, wave = np.split(solved(diagonal, np.concatenate([beside, source], axis=1)), [bridge.shape[1]], axis=1)
        if states:
            factors.append(onward)
            waves.append(wave)
        back = bridge.conj().T
        diagonal = _matrix(device, layer + 1, energy)
        diagonal[np.ix_(coupling.columns, coupling.columns)] -= back @ onward[coupling.rows]
        source = np.zeros((len(diagonal), left.n_channels), dtype=np.complex128)
        source[coupling.columns] = -back @ wave[coupling.rows]
    diagonal[-m:, -m:] -= right.sigma
    arriving = np.zeros((len(diagonal), right.n_channels if states else 0), dtype=np.complex128)
    arriving[-m:] = right.channels[:, : arriving.shape[1]]
    wave, reverse = np.split(solved(diagonal, np.concatenate([source, arriving], axis=1)), [left.n_channels], axis=1)
    t = 1j * right.channels.conj().T @ wave[-m:]
    if not states:
        return Scattering(energy, left.n_channels, right.n_channels, t)
    from_left = _substituted(device.couplings, factors, waves, wave)
    nothing = [np.zeros((size, right.n_channels)) for size in device.sizes[:last]]
    from_right = _substituted(device.couplings, factors, nothing, reverse)
    r = 1j * left.channels.conj().T @ from_left[:n] - np.eye(left.n_channels)
    return Scattering(energy, left.n_channels, right.n_channels, t, r, from_left, from_right)


def _matrix(device: BlockTridiagonal, layer: int, energy: float) -> np.ndarray:
    return (energy * device.s[layer] - device.h[layer]).astype(np.complex128)


def _substituted(
    couplings: tuple[Coupling, ...], factors: list[np.ndarray], waves: list[np.ndarray], last: np.ndarray
) -> np.ndarray:
    """All layers of a state whose last layer is known: ψ_b = w_b − A_bb⁻¹ A_b,b+1 ψ_b+1."""
    layers = [last]
    for coupling, factor, wave in zip(reversed(couplings), reversed(factors), reversed(waves)):
        layers.append(wave - factor @ layers[-1][coupling.columns])
    return np.concatenate(layers[::-1])
