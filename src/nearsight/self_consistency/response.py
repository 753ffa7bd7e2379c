"""DensityResponse: how far a density is from self-consistency, from what it changes by in a step.

Near the solution x* of x = f(x) the error is linear in the residual, x* − x = A (f(x) − x): charges answer to the
potential of charges, so A screens. It is approximated by a local map, irrep by irrep and the same for all atoms of an
element, of what the residual tells of each atom as a density does (`DensityFeatures`): the potential and the field of
its charges and dipoles are among that. It is learnt from the first steps of an iteration on a training structure.

No more is learnt than the waves that this structure has. The potential of a wave of charges grows with the square of
its length, so that a map with a small error in what it makes of potentials lets charges slosh to and fro in a longer
cell. Of waves longer than those, which an insulator screens by a constant, a share of the residual is taken instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.orbitals.rotations import AXES
from nearsight.self_consistency.atomic_density import AtomicDensity, populations, shared_equally
from nearsight.self_consistency.density_features import DensityFeatures, irreps_by_element, own_count
from nearsight.self_consistency.long_waves import LongWaves, longest_wave

PENALTY = 1e-4
"""Share of each feature's variance that is added in the regression."""
SCREENED = 0.3
"""Share of the residual that is taken of waves longer than any that was seen: about the inverse of a dielectric
constant."""
SEEN = 10.0
"""Å, the longest wave that was seen where that is not known: the length of small cells."""

Step = tuple[AtomicDensity, AtomicDensity]
"""A density, and that of its H."""


@dataclass(frozen=True, eq=False)
class DensityResponse:
    """The error of a density as a linear function of its residual.

    Attributes
    ----------
    weights : mapping of (int, int) to (F, K) array
        (Z, l) → coefficients: of what a residual tells, for the irreps of `AtomicDensity.own_blocks`, then (l = 1) for
        the dipole. Charges follow from the blocks.
    longest : float
        Å, of the waves of the structure that it was learnt from.
    """

    weights: Mapping[tuple[int, int], np.ndarray]
    longest: float = SEEN

    def __call__(self, features: DensityFeatures, density: AtomicDensity, residual: np.ndarray) -> np.ndarray:
        """Return the step towards self-consistency.

        Parameters
        ----------
        features : DensityFeatures
            Of the structure.
        density : AtomicDensity
            x.
        residual : (n,) array
            f(x) − x, or a part of it, as `AtomicDensity.vector` orders it.

        Returns
        -------
        (n,) array
            In the same order; its charges add up to 0.
        """
        table, numbers, found = features.table, features.structure.numbers, []
        waves, missing = LongWaves(features.structure, self.longest), density.with_vector(residual)
        rest = _irreps(table, numbers, missing)
        for degree, told in enumerate(_told(features, density, residual)):
            irreps = np.zeros_like(rest[degree])
            for z in features.structure.elements:
                atoms = np.flatnonzero(numbers == z)
                # files of before charges followed from blocks have one more column
                irreps[atoms] = self.weights[z, degree][:, : irreps.shape[1]].T @ told[atoms]
            found.append(irreps + waves.of(SCREENED * rest[degree] - irreps))
        return _vector(table, numbers, found, missing)


def fit_response(features: DensityFeatures, steps: Sequence[Step], solution: AtomicDensity) -> DensityResponse:
    """Learn the response from steps of an iteration, all of which weigh alike.

    Parameters
    ----------
    features : DensityFeatures
        Of the structure.
    steps : sequence of (AtomicDensity, AtomicDensity)
        Densities and those of their H.
    solution : AtomicDensity
        Where the iteration ended.
    """
    numbers, weights = features.structure.numbers, {}
    told, errors = [], []
    for density, found in steps:
        residual = found.vector() - density.vector()
        scale = 1 / max(float(np.sqrt((residual**2).mean())), 1e-300)
        told.append([scale * own for own in _told(features, density, residual)])
        missing = density.with_vector(scale * (solution.vector() - density.vector()))
        errors.append(_irreps(features.table, numbers, missing))
    for z in features.structure.elements:
        atoms = numbers == z
        for degree in range(features.table.layout.l_max + 1):
            x, y = (_rows(rows, degree, atoms) for rows in (told, errors))
            spread = np.sqrt((x**2).mean(axis=1)) + 1e-9
            x /= spread[:, None]
            system = x @ x.T + PENALTY * x.shape[1] * np.eye(len(x))
            weights[z, degree] = np.ascontiguousarray(np.linalg.solve(system, x @ y.T) / spread[:, None])
    return DensityResponse(weights, longest_wave(features.structure))


def _rows(found: Sequence[Sequence[np.ndarray]], degree: int, atoms: np.ndarray) -> np.ndarray:
    """(F, samples): components of all steps and some atoms."""
    parts = [one[degree][atoms].transpose(1, 0, 2) for one in found]
    return np.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)


def _told(features: DensityFeatures, density: AtomicDensity, residual: np.ndarray) -> list[np.ndarray]:
    """What a residual tells; a density tells a linear function of itself and a constant."""
    before = features.told(density)
    after = features.told(density.with_vector(density.vector() + residual))
    return [b - a for a, b in zip(before, after)]


def _irreps(table: IrrepTable, numbers: np.ndarray, density: AtomicDensity) -> list[np.ndarray]:
    """(N, K, 2l+1) numbers of a density of each degree."""
    result = []
    for degree in range(table.layout.l_max + 1):
        parts = [irreps_by_element(table, numbers, blocks, degree) for blocks in density.own_blocks]
        if degree == 1:
            parts.append(density.dipoles[:, None, AXES])
        result.append(np.concatenate(parts, axis=1))
    return result


def _vector(table: IrrepTable, numbers: np.ndarray, irreps: Sequence[np.ndarray], rest: AtomicDensity) -> np.ndarray:
    """The reverse of `_irreps`, as `AtomicDensity.vector` orders it; other irreps, unlike all features, are those of
    `rest`."""
    blocks = [own.copy() for own in rest.own_blocks]
    for degree, found in enumerate(irreps):
        count = own_count(table, degree)
        for kind, own in enumerate(blocks):
            for z in np.unique(numbers).tolist():
                atoms, here = np.flatnonzero(numbers == z), table.independent(z, degree)
                if len(here):
                    values = found[atoms][:, kind * count : kind * count + len(here)]
                    for same in (here, table.exchanged[here]):
                        own[atoms[:, None, None], table.columns(same)] = values
    dipoles = np.zeros_like(rest.dipoles)
    if len(irreps) > 1:
        dipoles[:, AXES] = irreps[1][:, -1]
    layout, (loewdin, net, gross) = table.layout, blocks
    loewdin = loewdin - shared_equally(layout, numbers, float(populations(layout, numbers, loewdin).mean()))
    return AtomicDensity(-populations(layout, numbers, loewdin), loewdin, net, gross, dipoles).vector()
