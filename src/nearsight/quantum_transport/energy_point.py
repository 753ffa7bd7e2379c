"""EnergyPoint: everything that is kept of one energy at one k⊥, and how it is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.quantum_transport.junction import JunctionAtK
from nearsight.quantum_transport.observables import local_density
from nearsight.quantum_transport.scattering import scatter

EIGENCHANNELS = 8
"""How many transmissions of eigenchannels are kept, the largest."""


@dataclass(frozen=True, eq=False)
class EnergyPoint:
    """What is known of electrons of one energy at one k⊥.

    Attributes
    ----------
    energy : float
        eV, in the device's zero of energy.
    transmission : float
        T for one spin.
    n_left, n_right : int
        Open channels of the leads.
    eigenchannels : (8,) array of float
        The largest transmissions of eigenchannels, descending, then zeros.
    reflection : float
        R for one spin, from the left; NaN where states were not asked for.
    from_left, from_right : (N,) array of float, or of length 0
        Local density of states of each atom (1/eV, one spin, in the order of the matrices), of states that come in from
        either lead; empty where they were not asked for.
    """

    energy: float
    transmission: float
    n_left: int
    n_right: int
    eigenchannels: np.ndarray
    reflection: float
    from_left: np.ndarray
    from_right: np.ndarray


def energy_point(junction: JunctionAtK, starts: np.ndarray, energy: float, eta: float, local: bool) -> EnergyPoint:
    """Solve a junction at one energy.

    Parameters
    ----------
    junction : JunctionAtK
        The device and its leads.
    starts : (N+1,) array of int
        First function of each atom, and n.
    energy : float
        eV, in the device's zero of energy.
    eta : float
        η in the leads, eV.
    local : bool
        Whether reflection and local densities of states are computed.
    """
    found = scatter(junction.device, junction.left, junction.right, energy, eta=eta, states=local)
    channels = np.zeros(EIGENCHANNELS)
    largest = found.eigenchannels[:EIGENCHANNELS]
    channels[: len(largest)] = largest
    reflection, left, right = np.nan, np.zeros(0), np.zeros(0)
    if found.from_left is not None and found.from_right is not None:
        reflection = found.reflection
        left = local_density(found.from_left, junction.s, starts)
        right = local_density(found.from_right, junction.s, starts)
    return EnergyPoint(energy, found.transmission, found.n_left, found.n_right, channels, reflection, left, right)
