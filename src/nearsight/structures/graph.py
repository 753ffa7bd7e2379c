"""Neighbour graphs: the directed pairs of atoms, periodic images included, that are nearer than a cutoff."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matscipy.neighbours import neighbour_list
from scipy.spatial import cKDTree

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.structures.structure import MINIMUM_DISTANCE, Structure

_MOST_IMAGES = 20_000_000
"""Atoms within reach of the cell, images included, that are searched at most."""
_BINS_PER_ATOM, _BINS = 8, 2_000_000
"""Bins of the size of the cutoff, up to which space is divided into them; a cell with more is nearly empty."""


@dataclass(frozen=True, eq=False)
class Graph:
    """The neighbours of every atom, with one directed edge for each periodic image.

    Edge (i, j, R) has the vector r_j + R·cell − r_i. Edges are sorted by (i, j, R). The images (i, i, R ≠ 0) of an atom
    are its neighbours too; the atom itself is not.

    Attributes
    ----------
    n_nodes : int
        Number N of atoms.
    cutoff : float
        Å; every pair nearer than this is an edge.
    source, target : (E,) array of int64
        The atoms i and j of each edge.
    shift : (E, 3) array of int64
        R in units of the lattice vectors.
    vector : (E, 3) array of float64
        From i to the image of j, Å.
    reverse : (E,) array of int64
        Position of the edge (j, i, −R).
    """

    n_nodes: int
    cutoff: float
    source: np.ndarray
    target: np.ndarray
    shift: np.ndarray
    vector: np.ndarray
    reverse: np.ndarray

    @property
    def n_edges(self) -> int:
        """Number E of directed edges."""
        return len(self.source)

    @property
    def distance(self) -> np.ndarray:
        """(E,) lengths of the edges, Å."""
        return np.linalg.norm(self.vector, axis=1)

    def leaving(self, atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the edges that leave some atoms.

        Parameters
        ----------
        atoms : (n,) array of int
            The atoms.

        Returns
        -------
        edges : (e,) array of int64
            Positions of the edges, those of the first atom first.
        starts : (n + 1,) array of int64
            Where those of each atom begin in `edges`; the last entry is e.
        """
        first = np.searchsorted(self.source, atoms)
        count = np.searchsorted(self.source, atoms, side="right") - first
        starts = np.concatenate([[0], np.cumsum(count)])
        return np.repeat(first - starts[:-1], count) + np.arange(starts[-1]), starts


def pair_order(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the permutation that sorts pairs by (source, target, shift).

    Parameters
    ----------
    source, target : (P,) array of int
        The atoms of each pair.
    shift : (P, 3) array of int
        The cell of the second atom.

    Returns
    -------
    (P,) array of int64
        Positions of the pairs in ascending order; equal ones keep their order.
    """
    keys = _keys(source, target, shift)
    if keys is None:
        return np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], target, source))
    return np.argsort(keys, kind="stable")


def _keys(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray | None:
    """Integers in the order of the pairs (several times faster to sort); None where 63 bits do not hold them."""
    if len(source) == 0:
        return np.zeros(0, dtype=np.int64)
    columns = (source, target, shift[:, 0], shift[:, 1], shift[:, 2])
    lowest = [int(column.min()) for column in columns]
    width = [int(column.max()) - low + 1 for column, low in zip(columns, lowest)]
    if math.prod(width) >= 2**63:
        return None
    keys = columns[0].astype(np.int64) - lowest[0]
    for column, low, w in zip(columns[1:], lowest[1:], width[1:]):
        keys *= w
        keys += column
        keys -= low
    return keys


def is_ascending(source: np.ndarray, target: np.ndarray, shift: np.ndarray, strictly: bool = False) -> bool:
    """Tell whether pairs are sorted by (source, target, shift).

    Parameters
    ----------
    source, target : (P,) array of int
        The atoms of each pair.
    shift : (P, 3) array of int
        The cell of the second atom.
    strictly : bool, default False
        Whether no pair may occur twice.

    Returns
    -------
    bool
        True for sorted pairs.
    """
    keys = _keys(source, target, shift)
    if keys is not None:
        return bool((keys[1:] > keys[:-1] if strictly else keys[1:] >= keys[:-1]).all())
    order = pair_order(source, target, shift)
    rows = np.column_stack([source, target, shift])
    ascending = np.array_equal(order, np.arange(len(order)))
    return ascending and not (strictly and bool((rows[1:] == rows[:-1]).all(axis=1).any()))


def reverse_index(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Find the reverse (j, i, −R) of every pair (i, j, R).

    Parameters
    ----------
    source, target : (P,) array of int
        The atoms of each pair, in the order of `pair_order`.
    shift : (P, 3) array of int
        The cell of the second atom.

    Returns
    -------
    (P,) array of int64
        Position of the reverse of each pair.

    Raises
    ------
    InputError
        If the reverse of a pair is not in the list.
    """
    back = pair_order(target, source, -shift)
    reverse = np.empty(len(source), dtype=np.int64)
    reverse[back] = np.arange(len(source))
    same = (source[reverse] == target) & (target[reverse] == source) & (shift[reverse] == -shift).all(axis=1)
    if not same.all():
        k = int(np.argmin(same))
        raise InputError(f"expected every pair with its reverse, but ({source[k]}, {target[k]}, {shift[k]}) has none")
    return reverse


def build_graph(structure: Structure, cutoff: float) -> Graph:
    """List all pairs of atoms within a cutoff, in any cell, also one smaller than the cutoff.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.
    cutoff : float
        Å.

    Returns
    -------
    Graph
        The directed edges, both directions of each pair.

    Raises
    ------
    InputError
        If the cutoff is not positive, or atoms lie on top of each other.
    """
    if not cutoff > 0:
        raise InputError(f"expected a positive cutoff in Å, got {cutoff}")
    source, target, shift, vector = _neighbours(structure, cutoff)
    order = pair_order(source, target, shift)
    source, target, shift, vector = source[order], target[order], shift[order], vector[order]
    check_distances(structure, source, target, vector)
    return Graph(len(structure), float(cutoff), source, target, shift, vector, reverse_index(source, target, shift))


def _neighbours(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    cell = _complete_cell(structure, cutoff)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    images = np.where(structure.pbc, 1 + 2 * cutoff / heights, 1.0)
    if np.prod(images) * len(structure) > _MOST_IMAGES:
        raise InputError(
            f"expected a cell that is not much smaller than the cutoff, got {np.prod(images):.3g} images of "
            f"{len(structure)} atoms within {cutoff:g} Å of the cell {structure.cell.tolist()}"
        )
    if np.prod(np.maximum(heights / cutoff, 1.0)) > _BINS_PER_ATOM * len(structure) + _BINS:
        source, target, shift = _sparse_pairs(structure, cell, cutoff)
    else:
        source, target, shift = neighbour_list(
            "ijS",
            positions=structure.positions,
            cell=cell,
            pbc=structure.pbc,
            cutoff=cutoff,
            numbers=structure.numbers.astype(np.int32),
        )
    source, target, shift = source.astype(np.int64), target.astype(np.int64), shift.astype(np.int64)
    vector = structure.positions[target] + shift @ structure.cell - structure.positions[source]
    return source, target, shift, vector


def _sparse_pairs(structure: Structure, cell: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs and shifts by a k-d tree, whose memory does not grow with the volume: for cells that are nearly empty."""
    inverse, pbc = np.linalg.inv(cell), structure.pbc
    cells = np.where(pbc, np.floor(structure.positions @ inverse), 0).astype(np.int64)
    wrapped = structure.positions - cells @ structure.cell
    atom, step = _images_in_reach(wrapped @ inverse, np.where(pbc, cutoff * np.linalg.norm(inverse, axis=0), 0.0))
    images = wrapped[atom] + step @ structure.cell
    near = cKDTree(wrapped).sparse_distance_matrix(cKDTree(images), cutoff, output_type="ndarray")
    near = near[near["v"] < cutoff]
    source, image = near["i"].astype(np.int64), near["j"].astype(np.int64)
    target = atom[image]
    shift = step[image] + cells[source] - cells[target]
    x, y, z = shift.T
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    half = (source < target) | ((source == target) & positive)  # both directions of a pair are rounded alike
    source, target, shift = source[half], target[half], shift[half]
    return np.concatenate([source, target]), np.concatenate([target, source]), np.concatenate([shift, -shift])


def _images_in_reach(fractions: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return atoms (k,) and steps (k, 3) of the images whose fractions are between −reach and 1 + reach on each axis.

    Fractions are (N, 3), those of atoms in the cell; an axis with reach 0 has no images.
    """
    atom, step = np.arange(len(fractions)), np.zeros((len(fractions), 3), dtype=np.int64)
    for axis in np.flatnonzero(reach):
        most, margin = int(np.ceil(reach[axis])), reach[axis] + 1e-9
        steps = np.arange(-most, most + 1)
        moved = fractions[atom, axis] + steps[:, None]
        which, kept = np.nonzero((moved >= -margin) & (moved <= 1 + margin))
        atom, step = atom[kept], step[kept]
        step[:, axis] = steps[which]
    return atom, step


def _complete_cell(structure: Structure, cutoff: float) -> np.ndarray:
    """A cell with volume: vectors that are not periodic do not matter, and become orthogonal to the others."""
    cell = np.array(structure.cell)
    if np.linalg.matrix_rank(cell, tol=1e-6) == 3:
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        if (heights[~structure.pbc] > cutoff).all():
            return cell
    extent = float(np.ptp(structure.positions, axis=0).max()) + 2 * cutoff + 1.0
    kept = [k for k in range(3) if structure.pbc[k]]
    basis = np.linalg.svd(cell[kept])[2][len(kept) :] if kept else np.eye(3)
    free = [k for k in range(3) if k not in kept]
    cell[free] = basis * extent
    return cell


def check_distances(structure: Structure, source: np.ndarray, target: np.ndarray, vector: np.ndarray) -> None:
    """Refuse edges whose atoms lie on top of each other."""
    if len(source) == 0:
        return
    distance = np.linalg.norm(vector, axis=1)
    nearest = int(np.argmin(distance))
    if distance[nearest] < MINIMUM_DISTANCE:
        i, j = int(source[nearest]), int(target[nearest])
        raise InputError(
            f"expected atoms at least {MINIMUM_DISTANCE} Å apart, got {distance[nearest]:.4f} Å between atom {i} "
            f"({symbol_of(int(structure.numbers[i]))}) and atom {j} ({symbol_of(int(structure.numbers[j]))}); "
            "is an atom there twice, or the cell or the unit of length wrong?"
        )
