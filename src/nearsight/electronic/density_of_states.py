"""The density of states of a calculation, whole and projected on groups of orbitals, at Γ or over a k-point mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nearsight.electronic.broadening import broadened, energy_grid
from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.eigen import solve, solve_states
from nearsight.electronic.filling import Filling, occupations
from nearsight.electronic.matrices import Matrix
from nearsight.electronic.populations import Grouping, Kind, orbital_groups, orbital_populations
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, silent

GAMMA = np.zeros((1, 3))
"""The k-point Γ alone, as an array of shape (1, 3)."""


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """Densities of states of one cell.

    Attributes
    ----------
    energies : ndarray of shape (e,)
        Energies in eV, ascending.
    total : ndarray of shape (e,)
        Electrons per eV, of both spins.
    projections : mapping of str to ndarray of shape (e,)
        Electrons per eV of each group of orbitals; they add up to the total. Empty where none were asked for.
    filling : Filling
        Electrons in the levels.
    width : float
        Standard deviation of the Gaussians, in eV.
    """

    energies: np.ndarray
    total: np.ndarray
    projections: Mapping[str, np.ndarray]
    filling: Filling
    width: float


def density_of_states(
    calculation: Calculation,
    width: float = 0.1,
    by: Grouping | None = None,
    kind: Kind = "mulliken",
    points: np.ndarray = GAMMA,
    weights: np.ndarray | None = None,
    temperature: float | None = None,
    progress: Progress = silent,
) -> DensityOfStates:
    """Diagonalise at every k-point and broaden the levels.

    Parameters
    ----------
    calculation : Calculation
        H, S and the valence of every element; in real space for more than Γ.
    width : float
        Standard deviation of the Gaussians, in eV.
    by : {"element", "shell", "atom"}, optional
        Groups of orbitals on which states are projected. By default the total alone, which is several times faster.
    kind : {"mulliken", "loewdin"}
        Populations that share a state among groups.
    points : ndarray of shape (K, 3)
        k-points in units of the reciprocal lattice vectors.
    weights : ndarray of shape (K,), optional
        Weights of the k-points, positive. By default equal.
    temperature : float, optional
        In K, of the electrons. By default levels are filled from below.
    progress : callable, optional
        Told the number of k-points done.

    Returns
    -------
    DensityOfStates
        On a grid of energies around all levels.

    Raises
    ------
    InputError
        If H, S or a valence is missing, `eigen.solve` refuses the matrices, or an operator is folded to Γ where another
        k is asked for.
    """
    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    numbers, basis = calculation.structure.numbers, calculation.basis
    electrons, threshold = calculation.n_electrons, overlap_threshold(calculation)
    groups = orbital_groups(numbers, basis, by) if by is not None else {}
    levels, shares = [], []
    for done, k in enumerate(points):
        hk: Matrix = bloch(h, k) if np.any(k) else h
        sk: Matrix = bloch(s, k) if np.any(k) else s
        if by is None:
            levels.append(solve(hk, sk, electrons, threshold=threshold).eigenvalues)
        else:
            states = solve_states(hk, sk, electrons, threshold=threshold)
            populations = orbital_populations(states, sk, kind)
            levels.append(states.levels)
            shares.append(np.stack([populations[orbitals].sum(axis=0) for orbitals in groups.values()]))
        progress(Event(done=done + 1, total=len(points)))
    return _broadened(levels, shares, list(groups), electrons, width, weights, temperature)


def _broadened(
    levels: list[np.ndarray],
    shares: list[np.ndarray],
    labels: list[str],
    electrons: int,
    width: float,
    weights: np.ndarray | None,
    temperature: float | None,
) -> DensityOfStates:
    if len({len(row) for row in levels}) > 1:
        raise InputError(
            "expected as many levels at every k-point, got another number of directions that S does not "
            "resolve; use a smaller or less diffuse basis"
        )
    rows = np.stack(levels)
    filling = occupations(rows, electrons, weights, temperature)
    energies = energy_grid(rows, width)
    portion = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    each = np.repeat(2 * portion / portion.sum(), rows.shape[1])
    total = broadened(rows.ravel(), each[None], energies, width)[0]
    parts = {}
    if shares:
        densities = broadened(rows.ravel(), np.concatenate(shares, axis=1) * each, energies, width)
        parts = dict(zip(labels, densities))
    return DensityOfStates(energies, total, parts, filling, width)
