"""The density of states of a calculation, whole and projected on groups of orbitals, at Γ or over a k-point mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.eigen import solve, solve_states
from nearsight.electronic.filling import Filling, occupations
from nearsight.electronic.matrices import Matrix
from nearsight.electronic.populations import Grouping, Kind, orbital_groups, orbital_populations
from nearsight.electronic.spectrum import Spectrum, States
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, silent

GAMMA = np.zeros((1, 3))
"""The k-point Γ alone, as an array of shape (1, 3)."""
REACH = 5.0
"""Number of widths from a level beyond which its Gaussian is taken as zero."""


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
    n_electrons: float | None = None,
    progress: Progress = silent,
) -> DensityOfStates:
    """Diagonalise at every k-point and broaden the levels.

    Parameters
    ----------
    calculation : Calculation
        H, S and the valence of every element, unless `n_electrons` is given; in real space for more than Γ.
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
    n_electrons : float, optional
        Number of electrons in the cell; by default the valence electrons less the charge.
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
    electrons = calculation.n_electrons if n_electrons is None else n_electrons
    threshold = overlap_threshold(calculation)
    groups = orbital_groups(numbers, basis, by) if by is not None else {}
    levels, shares = [], []
    for done, k in enumerate(points):
        hk: Matrix = bloch(h, k) if np.any(k) else h
        sk: Matrix = bloch(s, k) if np.any(k) else s
        if by is None:
            levels.append(solve(hk, sk, round(electrons), threshold=threshold).eigenvalues)
        else:
            states = solve_states(hk, sk, round(electrons), threshold=threshold)
            populations = orbital_populations(states, sk, kind)
            levels.append(states.levels)
            shares.append(np.stack([populations[orbitals].sum(axis=0) for orbitals in groups.values()]))
        progress(Event(done=done + 1, total=len(points)))
    return _broadened(levels, shares, list(groups), electrons, width, weights, temperature)


def projected_densities(
    states: States, populations: np.ndarray, groups: Mapping[str, np.ndarray], energies: np.ndarray, width: float
) -> dict[str, np.ndarray]:
    """Compute the density of states of each group of orbitals; they add up to that of the states.

    Parameters
    ----------
    states : States
        m of them.
    populations : ndarray of shape (n, m)
        As `orbital_populations` gives them.
    groups : mapping of str to ndarray
        The orbitals of each label.
    energies : ndarray of shape (e,)
        In eV, ascending.
    width : float
        Standard deviation of the Gaussians, in eV.

    Returns
    -------
    dict of str to ndarray of shape (e,)
        Electrons per eV.
    """
    weights = np.stack([populations[orbitals].sum(axis=0) for orbitals in groups.values()])
    return dict(zip(groups, broadened(states.levels, 2 * weights, energies, width)))


def energy_grid(levels: Spectrum | np.ndarray, width: float) -> np.ndarray:
    """Make energies for a density of states, in steps of width / 5 over all levels and the reach of their Gaussians.

    Parameters
    ----------
    levels : Spectrum or ndarray
        Levels in eV, of any shape.
    width : float
        Standard deviation of the Gaussians, in eV.

    Returns
    -------
    ndarray of shape (e,)
        Energies in eV, ascending.
    """
    values = _levels(levels)
    lower, upper = values.min() - REACH * width, values.max() + REACH * width
    step = width / 5
    return np.asarray(lower + step * np.arange(int(np.ceil((upper - lower) / step)) + 2))


def level_density(
    levels: Spectrum | np.ndarray, energies: np.ndarray, width: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Compute how many electrons per eV levels can hold at some energies: a Gaussian of integral two for every level.

    Parameters
    ----------
    levels : Spectrum, or ndarray of shape (n,) or (K, n)
        Levels in eV, of one matrix or of K k-points.
    energies : ndarray of shape (e,)
        Energies in eV, ascending.
    width : float
        Standard deviation of the Gaussians, in eV.
    weights : ndarray of shape (K,), optional
        Weights of the k-points, which are normalised. By default equal.

    Returns
    -------
    ndarray of shape (e,)
        Density of states of one cell, in 1/eV.

    Raises
    ------
    InputError
        If the width is not positive, or there is another number of weights than k-points.
    """
    values = np.atleast_2d(_levels(levels))
    shares = np.full(len(values), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(values),):
        raise InputError(f"expected {len(values)} weights, one for each k-point, got {shares.size}")
    each = np.repeat(shares / shares.sum(), values.shape[1])
    return broadened(values.ravel(), 2 * each[None], energies, width)[0]


def broadened(levels: np.ndarray, weights: np.ndarray, energies: np.ndarray, width: float) -> np.ndarray:
    """Compute Σ_n w_gn δ(E − ε_n) with Gaussians for δ.

    Parameters
    ----------
    levels : ndarray of shape (n,)
        Levels ε in eV.
    weights : ndarray of shape (g, n)
        Weights of the levels in each of g densities.
    energies : ndarray of shape (e,)
        Energies E in eV, ascending.
    width : float
        Standard deviation of the Gaussians, in eV.

    Returns
    -------
    ndarray of shape (g, e)
        Densities, in 1/eV.

    Raises
    ------
    InputError
        If the width is not positive.
    """
    if not width > 0:
        raise InputError(f"expected a width above 0 eV, got {width:g}")
    density = np.zeros((len(weights), len(energies)))
    first = np.searchsorted(energies, levels - REACH * width)
    last = np.searchsorted(energies, levels + REACH * width, side="right")
    for n, level in enumerate(levels):
        near = slice(first[n], last[n])
        density[:, near] += weights[:, n, None] * np.exp(-0.5 * ((energies[near] - level) / width) ** 2)
    return density / (width * np.sqrt(2 * np.pi))


def _broadened(
    levels: list[np.ndarray],
    shares: list[np.ndarray],
    labels: list[str],
    electrons: float,
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


def _levels(levels: Spectrum | np.ndarray) -> np.ndarray:
    return levels.eigenvalues if isinstance(levels, Spectrum) else np.asarray(levels, dtype=np.float64)
