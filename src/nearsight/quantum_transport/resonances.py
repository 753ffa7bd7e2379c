"""Resonances: levels of the device that are broader than nothing and narrower than the step of an energy grid.

A level ψ of the device with Re Σ has the width γ = ψ† (Γ_L + Γ_R) ψ. Where that is far below the distance of two
energies, a grid steps over it and never knows; so levels are found first, and energies put around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from nearsight.quantum_transport.junction import JunctionAtK
from nearsight.quantum_transport.self_energy import ETA, SelfEnergy, self_energy

LARGEST = 3000
"""Functions of a device up to which its levels are computed (dense, minutes at most)."""


@dataclass(frozen=True)
class Resonance:
    """A level of the device coupled to the leads.

    Attributes
    ----------
    energy : float
        eV.
    width : float
        γ in eV, full width at half maximum.
    """

    energy: float
    width: float


def find_resonances(junction: JunctionAtK, low: float, high: float, eta: float = ETA) -> list[Resonance]:
    """Return the levels of a device between two energies, with their widths.

    Parameters
    ----------
    junction : JunctionAtK
        The device and its leads.
    low, high : float
        eV.
    eta : float, default ETA
        η in the leads, eV.

    Returns
    -------
    list of Resonance
        By energy; empty for devices larger than `LARGEST` functions.

    Notes
    -----
    Levels are those with Re Σ in the middle of the window, corrected to first order for Σ at their own energy. A narrow
    level is weak at the leads, so that its error is of the order of its width.
    """
    n = junction.device.n_orbitals
    if n > LARGEST:
        return []
    middle = (low + high) / 2
    reference = _ends(junction, middle, eta)
    h = junction.h.toarray()
    s = junction.s.toarray()
    a, b = len(reference[0].sigma), len(reference[1].sigma)
    h = h.astype(np.complex128)
    h[:a, :a] += _hermitian(reference[0].sigma)
    h[-b:, -b:] += _hermitian(reference[1].sigma)
    reach = (high - low) / 4
    levels, vectors = scipy.linalg.eigh(h, s, subset_by_value=(low - reach, high + reach), check_finite=False)
    found = []
    for level, vector in zip(levels, vectors.T):
        start, end = vector[:a], vector[-b:]
        own = _ends(junction, float(level), eta)
        shift = width = 0.0
        for part, now, before in ((start, own[0], reference[0]), (end, own[1], reference[1])):
            change = _hermitian(now.sigma) - _hermitian(before.sigma)
            shift += float(np.real(part.conj() @ change @ part))
            width += float(np.sum(np.abs(now.channels.conj().T @ part) ** 2))
        if low <= level + shift <= high:
            found.append(Resonance(float(level) + shift, width))
    return found


def energies_around(resonances: list[Resonance], low: float, high: float, step: float) -> np.ndarray:
    """Return energies that no narrow resonance hides between.

    Parameters
    ----------
    resonances : list of Resonance
        Levels with their widths.
    low, high : float
        eV; no energies beyond are returned.
    step : float
        Distance of the grid, eV; broader resonances need no energies of their own.

    Returns
    -------
    (E,) array of float
        The level, and pairs of energies about it whose distance doubles from half its width up to the step.
    """
    energies: list[float] = []
    for resonance in resonances:
        if not 0 < resonance.width < step:
            continue
        away = resonance.width / 2
        energies.append(resonance.energy)
        while away < step:
            energies += [resonance.energy - away, resonance.energy + away]
            away *= 2
    array = np.unique(np.array(energies))
    return array[(array > low) & (array < high)]


def _ends(junction: JunctionAtK, energy: float, eta: float) -> tuple[SelfEnergy, SelfEnergy]:
    return self_energy(junction.left, "left", energy, eta), self_energy(junction.right, "right", energy, eta)


def _hermitian(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.conj().T) / 2
