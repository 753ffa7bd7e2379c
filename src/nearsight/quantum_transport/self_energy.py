"""Self-energies: what a half-infinite lead does to the first layer of the device.

A lead enters the Green's function of the device as a complex, energy-dependent matrix on the layer that it touches,

    Σ(E) = τ† g(E) τ,    τ = z S₁ − H₁,    z = E + iη,

where g is the Green's function of the lead's own last layer. Its broadening Γ = i(Σ − Σ†) is positive, and has one
eigenvalue above zero for each open channel: each Bloch state of the lead that carries current at E.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.quantum_transport.dense_solve import solved
from nearsight.quantum_transport.lead import Lead, Side
from nearsight.quantum_transport.lead_modes import self_energy_from_modes
from nearsight.quantum_transport.wide_band import WideBandLead

ETA = 1e-9
"""eV, imaginary part of the energy in the leads. It decides which solution is the outgoing one, and broadens bands by
as much: transmissions are off by about η over the width of a band. Smaller ones lose digits in the decimation."""

ITERATIONS = 100
"""Each iteration doubles the number of layers; 2^60 layers are enough for any η that doubles can hold."""

CONVERGED = 1e-15
"""Coupling between decimated layers, as a fraction of that between neighbours, at which decimation ends."""


BELIEVED = 1e-9
"""Largest residual of a surface's Green's function, 1 being its size."""


@dataclass(frozen=True, eq=False)
class SelfEnergy:
    """The self-energy of a lead at one energy.

    Attributes
    ----------
    sigma : (n, n) array of complex
        Σ in eV, on the functions of one principal layer. Its broadening is that of the open channels: what η alone
        absorbs is taken out, so that every electron is found in a lead.
    channels : (n, c) array of complex
        L with L L† = Γ on the open channels: orthogonal columns, each the square root of a channel's broadening.
    """

    sigma: np.ndarray
    channels: np.ndarray

    @property
    def n_channels(self) -> int:
        """Number of open channels at this energy."""
        return int(self.channels.shape[1])


def self_energy(lead: Lead | WideBandLead, side: Side, energy: float, eta: float = ETA) -> SelfEnergy:
    """Compute a lead's self-energy by decimation, or from its Bloch states where decimation loses digits.

    Parameters
    ----------
    lead : Lead or WideBandLead
        The lead.
    side : {"left", "right"}
        At which end of the device it is.
    energy : float
        E in eV.
    eta : float, default ETA
        η in eV, above 0.

    Returns
    -------
    SelfEnergy
        Σ, and the open channels.

    Raises
    ------
    InputError
        If η is not positive, or decimation does not end.
    """
    if isinstance(lead, WideBandLead):
        one = np.eye(lead.n_orbitals, dtype=np.complex128)
        return SelfEnergy(-0.5j * lead.broadening * one, np.sqrt(lead.broadening) * one)
    if not (np.isfinite(eta) and eta > 0):
        raise InputError(f"expected an imaginary part η of the energy above 0 eV in leads, got {eta}")
    sigma = decimated_self_energy(lead, side, energy, eta)
    if sigma is None:
        sigma = self_energy_from_modes(lead, side, energy, eta)
    channels = open_channels(sigma, lead, eta)
    hermitian = (sigma + sigma.conj().T) / 2
    return SelfEnergy(hermitian - 0.5j * channels @ channels.conj().T, channels)


def decimated_self_energy(lead: Lead, side: Side, energy: float, eta: float = ETA) -> np.ndarray | None:
    """Return Σ at E + iη by decimation, (n, n) in eV; None where it lost its digits.

    Parameters are those of `self_energy`, errors those of `surface_green_function`.
    """
    surface = surface_green_function(lead, side, energy, eta)
    if surface is None:
        return None
    tau, back = couplings(lead, side, energy + 1j * eta)
    result: np.ndarray = back @ surface @ tau
    return result


def couplings(lead: Lead, side: Side, z: complex) -> tuple[np.ndarray, np.ndarray]:
    """Return τ from the lead's last layer to the device's first one, and back: z S − H between them.

    Parameters
    ----------
    lead : Lead
        The lead.
    side : {"left", "right"}
        At which end of the device it is.
    z : complex
        Energy, eV.

    Returns
    -------
    (n, n) array, (n, n) array
        From lead (rows) to device (columns); from device (rows) to lead (columns).
    """
    onwards = z * lead.s1 - lead.h1
    backwards = z * lead.s1.conj().T - lead.h1.conj().T
    return (onwards, backwards) if side == "left" else (backwards, onwards)


def surface_green_function(lead: Lead, side: Side, energy: float, eta: float = ETA) -> np.ndarray | None:
    """Return the Green's function of the last layer of a half-infinite lead by decimation.

    Parameters are those of `self_energy`.

    Returns
    -------
    (n, n) array of complex or None
        1/eV; None where decimation lost its digits, as where the energy is a level of a layer alone.

    Raises
    ------
    InputError
        If decimation does not end.

    Notes
    -----
    Every second layer is eliminated, so that each iteration doubles the length that is counted. M. P. López Sancho,
    J. M. López Sancho and J. Rubio, J. Phys. F 15, 851 (1985), with z S − H in place of z − H. The result is believed
    if it is the Green's function of a layer whose neighbour has that same Green's function.
    """
    z = energy + 1j * eta
    layer = z * lead.s0 - lead.h0
    inner, surface = layer, layer
    # `away` leads from a layer deeper into the lead, `home` from there towards the device.
    home, away = couplings(lead, side, z)
    start = max(float(np.abs(home).max()), float(np.abs(away).max()))
    towards, from_there = home, away
    for _ in range(ITERATIONS):
        to_home, to_away = np.split(solved(inner, np.concatenate([home, away], axis=1)), 2, axis=1)
        surface = surface - away @ to_home
        inner = inner - away @ to_home - home @ to_away
        with np.errstate(over="ignore", invalid="ignore"):  # without η, some energies do not converge
            home, away = -home @ to_home, -away @ to_away
        largest = max(float(np.abs(home).max()), float(np.abs(away).max()))
        if not np.isfinite(largest):
            return None
        if largest <= CONVERGED * start:
            result = np.linalg.inv(surface)
            residual = (layer - from_there @ result @ towards) @ result - np.eye(len(result))
            return result if np.abs(residual).max() < BELIEVED else None
    raise InputError(
        f"expected the self-energy of a lead at {energy:.6g} eV to converge, got none after {ITERATIONS} iterations: "
        f"the energy is at a band edge or the coupling of its layers is singular; raise eta (now {eta:g} eV)"
    )


def open_channels(sigma: np.ndarray, lead: Lead, eta: float) -> np.ndarray:
    """Return L with L L† = Γ = i(Σ − Σ†), without channels that η alone opens.

    Parameters
    ----------
    sigma : (n, n) array of complex
        Self-energy, eV.
    lead : Lead
        Its coupling sets the scale.
    eta : float
        η in eV.

    Returns
    -------
    (n, c) array of complex
        One column for each open channel.

    Notes
    -----
    At δ above the edge of a band of width t an open channel has a broadening of about √(δt), at δ below it one of
    η √(t/δ). Both are √(ηt) at δ = η, beyond which an energy cannot tell; channels below that are closed.
    """
    gamma = 1j * (sigma - sigma.conj().T)
    values, vectors = np.linalg.eigh(gamma)
    kept = values > np.sqrt(eta * lead.scale)
    return vectors[:, kept] * np.sqrt(values[kept])
