"""What scattering states say of places: local densities of states, and currents from atom to atom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from nearsight.quantum_transport.scattering import Scattering


@dataclass(frozen=True, eq=False)
class BondCurrents:
    """The current from atom to atom at one energy, of states that come in from the left.

    Attributes
    ----------
    source, target : (B,) array of int
        Positions of the atoms in the order of the matrices; each pair of atoms once, source < target.
    current : (B,) array of float
        From source to target, in channels: summed over the bonds through any cut across the device it is T.
    """

    source: np.ndarray
    target: np.ndarray
    current: np.ndarray

    def through(self, cut: int) -> float:
        """Return the current from the first `cut` atoms to the rest."""
        across = (self.source < cut) & (self.target >= cut)
        return float(self.current[across].sum())


def averaged_currents(each: Sequence[BondCurrents], weights: np.ndarray) -> BondCurrents:
    """Return the weighted sum of currents between the same atoms, each pair once.

    Parameters
    ----------
    each : sequence of BondCurrents
        Such as those of each k⊥; atoms may be in any order.
    weights : (len(each),) array of float
        Of each.
    """
    source, target = (np.concatenate([getattr(x, name) for x in each]) for name in ("source", "target"))
    current = np.concatenate([w * x.current for w, x in zip(weights, each)])
    low, high = np.minimum(source, target), np.maximum(source, target)
    n = int(high.max(initial=0)) + 1
    signed = np.where(source < target, current, -current)
    summed = sparse.csr_matrix((signed, (low, high)), shape=(n, n)).tocoo()
    return BondCurrents(summed.row, summed.col, summed.data)


def local_density(states: np.ndarray, s: sparse.csr_matrix, starts: np.ndarray) -> np.ndarray:
    """Return the local density of states of each atom from the states that come in from one lead.

    Parameters
    ----------
    states : (n, c) array of complex
        ψ = G L, of `Scattering`.
    s : sparse matrix of shape (n, n)
        The overlap.
    starts : (N+1,) array of int
        First function of each atom, and n.

    Returns
    -------
    (N,) array of float
        Σ_μ Re(ψψ†S)_μμ / 2π over the functions μ of each atom, states per eV and spin (Mulliken). The sum over both
        leads is the density of states but for bound states, which touch neither.
    """
    per_function = np.real(np.sum(states.conj() * (s @ states), axis=1)) / (2 * np.pi)
    return np.add.reduceat(per_function, np.asarray(starts)[:-1])


def bond_currents(
    scattering: Scattering, h: sparse.csr_matrix, s: sparse.csr_matrix, starts: np.ndarray
) -> BondCurrents:
    """Return the currents between all pairs of atoms that couple.

    Parameters
    ----------
    scattering : Scattering
        With states.
    h, s : sparse matrix of shape (n, n)
        H (eV) and S of the device.
    starts : (N+1,) array of int
        First function of each atom, and n.

    Returns
    -------
    BondCurrents
        J(i ← j) = 2 Im Σ ψ_i* (H_ij − E S_ij) ψ_j, summed over channels and over the functions of the two atoms.

    Raises
    ------
    ValueError
        If the states were not computed.

    Notes
    -----
    T. N. Todorov, J. Phys.: Condens. Matter 14, 3049 (2002). Within a lead's own layer the current also flows through
    the lead, so bonds there do not add up to T.
    """
    psi = scattering.from_left
    if psi is None:
        raise ValueError("currents need the states: scatter(..., states=True)")
    bridge = sparse.coo_matrix(h - scattering.energy * s)
    atom = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    i, j = atom[bridge.row], atom[bridge.col]
    onwards = j < i
    rows, columns, values = bridge.row[onwards], bridge.col[onwards], bridge.data[onwards]
    flow = 2 * np.imag(values * np.einsum("bc,bc->b", psi[rows].conj(), psi[columns]))
    n = len(starts) - 1
    summed = sparse.csr_matrix((flow, (j[onwards], i[onwards])), shape=(n, n)).tocoo()
    return BondCurrents(summed.row, summed.col, summed.data)


def layer_currents(
    scattering: Scattering, h: sparse.csr_matrix, s: sparse.csr_matrix, layers: np.ndarray
) -> np.ndarray:
    """Return the current between each two neighbouring layers, (B − 1,), in channels: T for each.

    Parameters
    ----------
    scattering : Scattering
        With states.
    h, s : sparse matrix of shape (n, n)
        H (eV) and S of the device.
    layers : (B+1,) array of int
        First function of each layer, and n.
    """
    currents = bond_currents(scattering, h, s, layers)
    return np.array([currents.through(cut) for cut in range(1, len(layers) - 1)])
