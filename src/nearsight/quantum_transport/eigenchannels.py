"""Eigenchannels: the states that pass a junction each by itself, and where in the device they are.

With t = U √T V† (singular values), the states ψ V that come in from the left do not mix on their way: channel n passes
with probability T_n, and the T_n add up to T. M. Paulsson, M. Brandbyge, Phys. Rev. B 76, 115117 (2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from nearsight.quantum_transport.observables import local_density
from nearsight.quantum_transport.scattering import Scattering


@dataclass(frozen=True, eq=False)
class Eigenchannels:
    """Eigenchannels of one energy and k⊥, the most transparent first.

    Attributes
    ----------
    energy : float
        E in eV, in the device's zero of energy.
    transmissions : (c,) array of float
        T_n, descending, between 0 and 1.
    states : (n, c) array of complex
        Coefficients of the states on the functions of the device, 1/√eV: a channel that passes wholly carries unit
        current, and Σ_n ψ_n ψ_n† / 2π is the density of states from the left. Phases are arbitrary.
    densities : (N, c) array of float
        Local density of states of each atom, 1/eV, one spin.
    """

    energy: float
    transmissions: np.ndarray
    states: np.ndarray
    densities: np.ndarray

    @property
    def count(self) -> int:
        """Number of channels that come in from the left."""
        return len(self.transmissions)


def eigenchannels(scattering: Scattering, s: sparse.csr_matrix, starts: np.ndarray) -> Eigenchannels:
    """Return the eigenchannels of states that come in from the left.

    Parameters
    ----------
    scattering : Scattering
        With states.
    s : sparse matrix of shape (n, n)
        The overlap.
    starts : (N+1,) array of int
        First function of each atom, and n.

    Raises
    ------
    ValueError
        If the states were not computed.
    """
    if scattering.from_left is None:
        raise ValueError("eigenchannels need the states: scatter(..., states=True)")
    _, amplitudes, right = np.linalg.svd(scattering.t, full_matrices=True)
    transmissions = np.zeros(scattering.n_left)
    transmissions[: len(amplitudes)] = amplitudes[: scattering.n_left] ** 2
    states = scattering.from_left @ right.conj().T
    atoms = len(starts) - 1
    densities = [local_density(states[:, [n]], s, starts) for n in range(scattering.n_left)]
    return Eigenchannels(scattering.energy, transmissions, states, np.array(densities).reshape(-1, atoms).T)
