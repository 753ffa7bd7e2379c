"""The density of states of a calculation, whole and by parts, at Γ or over a mesh of k-points."""

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


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """Densities of states of one cell.

    Attributes:
        energies: (e,) eV, ascending.
        total: (e,) electrons per eV.
        projections: label → (e,) electrons per eV; they add up to the total. Empty where none were asked for.
        filling: of the levels.
        width: eV, standard deviation of the Gaussians.
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

    Args:
        calculation: with H, S and the valence of every element; resolved in R for more than Γ.
        width: standard deviation of the Gaussians, eV.
        by: parts: element, shell or atom; None: the total alone, which is several times faster.
        kind: populations that share a state among parts.
        points: (K, 3) k-points in units of the reciprocal lattice vectors.
        weights: (K,) of the k-points, positive; None: equal.
        temperature: K, of the electrons; None: levels filled from below.
        progress: told the number of k-points done.

    Raises:
        InputError: H, S or a valence is missing, matrices that `eigen.solve` refuses, or an operator folded to Γ at
            another k.
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
