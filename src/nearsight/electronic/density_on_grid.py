"""The electron density on a grid, ρ(r) = Σ_ij P_ij φ_i(r) φ_j(r), from P at Γ and Gaussian functions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial import cKDTree

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.orbitals.rotations import spherical_harmonics
from nearsight.progress import Event, Progress, silent
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM

SPACING = 0.2
"""Å, between points."""
MARGIN = 4.0
"""Å around a molecule."""
MOST_POINTS = 200_000_000
_SMALLEST = 1e-6
"""Bohr^(−3/2), of a function; it ends where it is smaller."""
_EDGE = 8
"""Points along the edge of a box of points that are computed together."""


@dataclass(frozen=True, eq=False)
class DensityOnGrid:
    """A density at the points origin + k · steps.

    Attributes
    ----------
    origin : (3,) array of float64
        Å.
    steps : (3, 3) array of float64
        Rows: from a point to the next along each axis, Å.
    values : (K, L, M) array of float64
        Electrons/bohr³.
    """

    origin: np.ndarray
    steps: np.ndarray
    values: np.ndarray

    @property
    def electrons(self) -> float:
        """Their sum over all points: in a cell, the number of electrons, to what the spacing resolves."""
        return float(self.values.sum() * abs(np.linalg.det(self.steps / BOHR_IN_ANGSTROM)))


def density_on_grid(
    structure: Structure, basis: BasisSet, density: np.ndarray, spacing: float = SPACING, progress: Progress = silent
) -> DensityOnGrid:
    """Evaluate the density of a cell, or of a molecule in a box around it.

    Parameters
    ----------
    structure : Structure
        Periodic along all cell vectors, or along none.
    basis : BasisSet
        With functions for all elements.
    density : (n, n) array of float
        P at Γ, of both spins, in the internal order of orbitals.
    spacing : float, optional
        Å, at most, between points along each axis.
    progress : Progress, optional
        Told how many points are done.

    Raises
    ------
    InputError
        If functions are not known, the structure is periodic along some axes only, or there are too many points.
    """
    functions = _Functions.of(structure, basis)
    periodic = structure.pbc.all()
    if structure.pbc.any() and not periodic:
        raise InputError(
            f"expected a structure that is periodic along all axes or along none, got pbc {structure.pbc.tolist()}"
        )
    positions = structure.positions
    origin = np.zeros(3) if periodic else positions.min(axis=0) - MARGIN
    cell = structure.cell if periodic else np.diag(np.ptp(positions, axis=0) + 2 * MARGIN)
    if not 0 < spacing < np.inf:
        raise InputError(f"expected a spacing of points above 0 Å, got {spacing}")
    counts = np.ceil(np.linalg.norm(cell, axis=1) / spacing)
    if counts.prod() > MOST_POINTS:
        raise InputError(f"expected at most {MOST_POINTS:,} points, got {counts.prod():,.0f}; give a larger spacing")
    shape = counts.astype(int)
    steps = cell / shape[:, None]
    images = _Images.around(structure, origin, cell, functions.reach) if periodic else _Images.alone(structure)
    values = np.zeros(shape)
    for start in product(*(range(0, n, _EDGE) for n in shape)):
        box = tuple(slice(a, min(a + _EDGE, n)) for a, n in zip(start, shape))
        places = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
        points = origin + places.reshape(-1, 3) @ steps
        values[box] = functions.density(points, images, density).reshape(places.shape[:3])
        if start[2] == 0:
            progress(Event(done=start[0] * shape[1] + start[1], total=int(shape[0] * shape[1])))
    return DensityOnGrid(origin, steps, values)


@dataclass(frozen=True, eq=False)
class _Images:
    """Atoms, and their images, that may reach a grid."""

    atom: np.ndarray
    positions: np.ndarray
    tree: cKDTree

    @classmethod
    def alone(cls, structure: Structure) -> _Images:
        return cls(np.arange(len(structure)), structure.positions, cKDTree(structure.positions))

    @classmethod
    def around(cls, structure: Structure, origin: np.ndarray, cell: np.ndarray, reach: float) -> _Images:
        """All images that are nearer to the cell than `reach`."""
        inverse = np.linalg.inv(cell)
        fractional = (structure.positions - origin) @ inverse
        whole = np.floor(fractional)
        # The heights of the cell are the inverse lengths of the reciprocal vectors.
        room = reach * np.linalg.norm(inverse, axis=0)
        ranges = [np.arange(-np.ceil(x), np.ceil(x) + 1) for x in room]
        shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        places = fractional - whole + shifts
        near = ((places > -room) & (places < 1 + room)).all(axis=-1)
        positions = origin + places[near] @ cell
        return cls(np.nonzero(near)[1], positions, cKDTree(positions))


@dataclass(frozen=True, eq=False)
class _Functions:
    """The functions of all atoms."""

    numbers: np.ndarray
    offsets: np.ndarray
    shells: dict[int, tuple[GaussianShell, ...]]
    reaches: dict[int, float]

    @classmethod
    def of(cls, structure: Structure, basis: BasisSet) -> _Functions:
        numbers = structure.numbers
        shells = {int(z): basis.functions.get(int(z)) or () for z in np.unique(numbers)}
        for z, own in shells.items():
            if tuple(shell.l for shell in own) != basis.shells[z]:
                raise InputError(f"expected the radial functions of {symbol_of(z)} in the basis, got none")
        return cls(numbers, basis.offsets(numbers), shells, {z: _reach(own) for z, own in shells.items()})

    @property
    def reach(self) -> float:
        """Å."""
        return max(self.reaches.values())

    def density(self, points: np.ndarray, images: _Images, density: np.ndarray) -> np.ndarray:
        """The density at points that lie together."""
        middle = points.mean(axis=0)
        radius = float(np.linalg.norm(points - middle, axis=1).max())
        near = np.array(images.tree.query_ball_point(middle, radius + self.reach), dtype=int)
        if not len(near):
            return np.zeros(len(points))
        distance = np.linalg.norm(images.positions[near] - middle, axis=1)
        near = near[distance < radius + np.array([self.reaches[z] for z in self.numbers[images.atom[near]].tolist()])]
        atoms, place = np.unique(images.atom[near], return_inverse=True)
        sizes = self.offsets[atoms + 1] - self.offsets[atoms]
        begin = np.concatenate([[0], np.cumsum(sizes)])
        values = np.zeros((len(points), begin[-1]))
        numbers = self.numbers[images.atom[near]]
        for z, shells in self.shells.items():
            some = np.flatnonzero(numbers == z)
            found = evaluated(shells, points[:, None] - images.positions[near[some]])
            for k, own in enumerate(place[some]):
                values[:, begin[own] : begin[own + 1]] += found[:, k]
        orbitals = np.concatenate([np.arange(self.offsets[a], self.offsets[a + 1]) for a in atoms])
        return np.einsum("pi,pi->p", values @ density[np.ix_(orbitals, orbitals)], values)


def evaluated(shells: tuple[GaussianShell, ...], vectors: np.ndarray) -> np.ndarray:
    """Return the values (..., n) of an atom's normalised functions, bohr^(−3/2), at vectors (..., 3) from it, Å."""
    distance = np.linalg.norm(vectors, axis=-1)
    # At the nucleus only l = 0 counts, whose harmonic has no direction.
    directions = np.where(distance[..., None] > 0, vectors, [0.0, 0.0, 1.0])
    harmonics = spherical_harmonics(directions, max(shell.l for shell in shells))
    r = distance / BOHR_IN_ANGSTROM
    return np.concatenate([_radial(shell, r)[..., None] * harmonics[shell.l] for shell in shells], axis=-1)


def _radial(shell: GaussianShell, r: np.ndarray) -> np.ndarray:
    value = np.zeros(r.shape)
    for exponent, coefficient in zip(shell.exponents, shell.coefficients / shell.norm):
        value += coefficient * np.exp(-exponent * r**2)
    return np.asarray(r**shell.l * value)


def _reach(shells: tuple[GaussianShell, ...]) -> float:
    """Å from which all functions of an atom are smaller than `_SMALLEST`."""
    r = np.arange(0.0, 60.0, 0.1)
    large = np.array([np.abs(_radial(shell, r)) > _SMALLEST for shell in shells]).any(axis=0)
    return float(r[large][-1] + 0.1) * BOHR_IN_ANGSTROM
