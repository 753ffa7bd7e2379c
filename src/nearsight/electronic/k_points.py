"""Points of the Brillouin zone: meshes that sample it, and paths along its special points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase.cell import Cell

from nearsight.errors import InputError
from nearsight.structures.structure import Structure

SAME = 1e-9
"""Distances along a path, and k-points, that differ by less are the same."""
MOST_POINTS = 1_000_000
"""Points of a mesh."""


@dataclass(frozen=True, eq=False)
class KPath:
    """Points along lines between special points of the Brillouin zone.

    Attributes
    ----------
    points : ndarray of shape (K, 3)
        In units of the reciprocal lattice vectors.
    distances : ndarray of shape (K,)
        Distance from the first point along the path in 1/Å (with 2π); no step where the path jumps.
    ticks : tuple of float
        Distances of the special points.
    labels : tuple of str
        Names of the special points, such as G (Γ), X; ``U,K`` where the path jumps from one to the other.
    """

    points: np.ndarray
    distances: np.ndarray
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


def monkhorst_pack(
    counts: tuple[int, int, int], through_gamma: bool = False, time_reversal: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Make a regular mesh of k-points and its weights.

    Parameters
    ----------
    counts : (int, int, int)
        Numbers of points along each reciprocal lattice vector.
    through_gamma : bool
        Whether k = i/n instead of (2i − n − 1)/2n, which does not contain Γ where n is even.
    time_reversal : bool
        Whether of k and −k, whose levels are the same, only one is kept, with twice the weight.

    Returns
    -------
    points : ndarray of shape (K, 3)
        In units of the reciprocal lattice vectors, in (−½, ½].
    weights : ndarray of shape (K,)
        Their sum is 1.

    Raises
    ------
    InputError
        If a count is below 1, or there are more than `MOST_POINTS`.

    Notes
    -----
    Monkhorst and Pack, Phys. Rev. B 13, 5188 (1976).
    """
    if len(counts) != 3 or min(counts) < 1:
        raise InputError(f"expected three counts of at least 1 for a mesh, got {counts}")
    if math.prod(counts) > MOST_POINTS:
        raise InputError(f"expected at most {MOST_POINTS:,} k-points, got a mesh of {' × '.join(map(str, counts))}")
    axes = [(np.arange(n) if through_gamma else np.arange(n) - (n - 1) / 2) / n for n in counts]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points - np.ceil(points - 0.5 - SAME)
    weights = np.full(len(points), 1.0 / len(points))
    return _halved(points, weights) if time_reversal else (points, weights)


def half_mesh(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep one of k and −k, whose levels are the same, of a mesh that may hold both or one of them.

    Parameters
    ----------
    points : ndarray of shape (K, 3)
        In units of the reciprocal lattice vectors, of equal weight in the whole mesh.

    Returns
    -------
    points : ndarray of shape (K', 3)
        In (−½, ½].
    weights : ndarray of shape (K',)
        Their sum is 1.
    """
    wrapped = np.concatenate([points, -np.asarray(points)])
    wrapped = wrapped - np.ceil(wrapped - 0.5 - SAME)
    different = np.unique(_keys(wrapped), axis=0, return_index=True)[1]
    whole = wrapped[np.sort(different)]
    return _halved(whole, np.full(len(whole), 1.0 / len(whole)))


def sampled_length(structure: Structure, points: np.ndarray) -> float:
    """Return the smallest edge of the Born-von Kármán cell of a mesh: edges of the cell times numbers of k-points.

    Parameters
    ----------
    structure : Structure
        With periodic directions.
    points : ndarray of shape (K, 3)
        A mesh, whole or one of each k and −k.

    Returns
    -------
    float
        Å; infinity where nothing is periodic.
    """
    whole = np.concatenate([points, -np.asarray(points)])
    counts = [len(np.unique(_keys(whole)[:, axis])) for axis in range(3)]
    edges = np.linalg.norm(structure.cell, axis=1)
    return float(min((n * edge for n, edge, periodic in zip(counts, edges, structure.pbc) if periodic), default=np.inf))


def mesh_of_length(structure: Structure, length: float) -> np.ndarray:
    """Return a mesh through Γ whose Born-von Kármán cell has edges of about a length, one of each k and −k.

    Parameters
    ----------
    structure : Structure
        The cell.
    length : float
        Å; nine tenths of it are enough.

    Returns
    -------
    ndarray of shape (K, 3)
        In units of the reciprocal lattice vectors.

    Raises
    ------
    InputError
        If the length is no number, or there are more than `MOST_POINTS`.
    """
    if not 0 <= length < np.inf:
        raise InputError(f"expected a length in Å for a mesh of k-points, got {length}")
    edges = np.linalg.norm(structure.cell, axis=1)
    counts = [max(1, math.ceil(0.9 * length / edge)) if p else 1 for edge, p in zip(edges, structure.pbc)]
    return monkhorst_pack((counts[0], counts[1], counts[2]), through_gamma=True)[0]


def special_path(structure: Structure, path: str | None = None, number: int = 100) -> KPath:
    """Make a path between special points, with ASE's names for the structure's Bravais lattice.

    Parameters
    ----------
    structure : Structure
        Only its periodic directions count.
    path : str, optional
        Such as ``"GXWLG"``, with a comma where it jumps (``"GX,LG"``). By default ASE's path for this lattice.
    number : int
        Approximate number of points in all.

    Returns
    -------
    KPath
        Points, distances and labels.

    Raises
    ------
    InputError
        If there is no periodic direction, the lattice has no point of such a name, or fewer than two points are asked
        for.
    """
    if not structure.pbc.any():
        raise InputError("expected a periodic structure for a path of k-points, got a molecule")
    if number < 2:
        raise InputError(f"expected two points or more, got {number}")
    cell = Cell(structure.cell)
    try:
        found = cell.bandpath(path, npoints=number, pbc=structure.pbc.tolist())
    except (KeyError, ValueError) as error:
        names = ", ".join(sorted(cell.bandpath(npoints=0, pbc=structure.pbc.tolist()).special_points))
        raise InputError(f"expected a path of this lattice's special points ({names}), got {path!r}: {error}") from None
    distances, ticks, labels = found.get_linear_kpoint_axis()
    return _merged(found.kpts, np.asarray(distances), np.asarray(ticks), list(labels))


def path_through(structure: Structure, points: np.ndarray) -> KPath:
    """Make a path of given points, whose first and last are labelled by their number.

    Parameters
    ----------
    structure : Structure
        Its cell gives the distances.
    points : ndarray of shape (K, 3)
        In units of the reciprocal lattice vectors.

    Returns
    -------
    KPath
        The points one after another.

    Raises
    ------
    InputError
        If the structure is a molecule.
    """
    if not structure.pbc.any():
        raise InputError("expected a periodic structure for bands, got a molecule")
    reciprocal = 2 * np.pi * np.linalg.pinv(structure.cell).T
    steps = np.linalg.norm(np.diff(points, axis=0) @ reciprocal, axis=1)
    distances = np.concatenate([[0.0], np.cumsum(steps)])
    return KPath(points, distances, (0.0, float(distances[-1])), ("1", str(len(points))))


def _halved(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of each pair k, −k (modulo reciprocal lattice vectors)."""
    keys = {tuple(key): n for n, key in enumerate(_keys(points))}
    kept, result = [], weights.copy()
    for n, key in enumerate(_keys(-points)):
        other = keys.get(tuple(key), n)
        if other > n:
            result[n] += weights[other]
        if other >= n:
            kept.append(n)
    return points[kept], result[kept]


def _keys(points: np.ndarray) -> np.ndarray:
    wrapped = points - np.ceil(points - 0.5 - 1e-6)
    return np.round(wrapped * 1e7).astype(np.int64)


def _merged(points: np.ndarray, distances: np.ndarray, ticks: np.ndarray, labels: list[str]) -> KPath:
    """Special points at one place of the axis (a jump of the path) share a label."""
    places: list[float] = []
    names: list[str] = []
    for place, name in zip(ticks, labels):
        if places and abs(place - places[-1]) < SAME:
            names[-1] += "," + name
        else:
            places.append(float(place))
            names.append(name)
    return KPath(np.asarray(points), distances, tuple(places), tuple(names))
