"""Graph: the directed pairs of atoms, images included, that are nearer than a cutoff."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matscipy.neighbours import neighbour_list

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.structures.structure import MINIMUM_DISTANCE, Structure


@dataclass(frozen=True, eq=False)
class Graph:
    """Neighbours of every atom, one directed edge for each periodic image.

    Edge (i, j, R) has the vector r_j + R·cell − r_i. Edges are sorted by (i, j, R). An atom's own images
    (i, i, R≠0) are edges, an atom itself is not.

    Attributes:
        n_nodes: number of atoms.
        cutoff: Å.
        source: (E,) int64, i.
        target: (E,) int64, j.
        shift: (E, 3) int64, R in units of the lattice vectors.
        vector: (E, 3) float64, Å.
        reverse: (E,) int64, position of the edge (j, i, −R).
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
        """Number of directed edges."""
        return len(self.source)

    @property
    def distance(self) -> np.ndarray:
        """(E,) Å."""
        return np.linalg.norm(self.vector, axis=1)


def pair_order(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The permutation that sorts pairs by (source, target, shift)."""
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
    """Whether pairs are sorted by (source, target, shift); strictly: and none occurs twice."""
    keys = _keys(source, target, shift)
    if keys is not None:
        return bool((keys[1:] > keys[:-1] if strictly else keys[1:] >= keys[:-1]).all())
    order = pair_order(source, target, shift)
    rows = np.column_stack([source, target, shift])
    ascending = np.array_equal(order, np.arange(len(order)))
    return ascending and not (strictly and bool((rows[1:] == rows[:-1]).all(axis=1).any()))


def reverse_index(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Position of (j, i, −R) for every (i, j, R) of a list sorted by `pair_order`.

    Raises:
        InputError: a pair whose reverse is not in the list.
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
    """All pairs of `structure` within `cutoff` (Å); any cell, also one smaller than the cutoff.

    Raises:
        InputError: a cutoff that is not positive, or atoms on top of each other.
    """
    if not cutoff > 0:
        raise InputError(f"expected a positive cutoff in Å, got {cutoff}")
    source, target, shift, vector = _neighbours(structure, cutoff)
    order = pair_order(source, target, shift)
    source, target, shift, vector = source[order], target[order], shift[order], vector[order]
    _check_distances(structure, source, target, vector)
    return Graph(len(structure), float(cutoff), source, target, shift, vector, reverse_index(source, target, shift))


def _neighbours(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    cell = _complete_cell(structure, cutoff)
    i, j, shift = neighbour_list(
        "ijS",
        positions=structure.positions,
        cell=cell,
        pbc=structure.pbc,
        cutoff=cutoff,
        numbers=structure.numbers.astype(np.int32),
    )
    source, target, shift = i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64)
    vector = structure.positions[target] + shift @ structure.cell - structure.positions[source]
    return source, target, shift, vector


def _complete_cell(structure: Structure, cutoff: float) -> np.ndarray:
    """A cell with volume: rows without one (isolated directions) become orthogonal to the others."""
    cell = np.array(structure.cell)
    extent = float(np.ptp(structure.positions, axis=0).max()) + 2 * cutoff + 1.0
    if np.linalg.matrix_rank(cell, tol=1e-6) == 3:
        return cell
    kept = [k for k in range(3) if structure.pbc[k]]
    basis = np.linalg.svd(cell[kept])[2][len(kept) :] if kept else np.eye(3)
    free = [k for k in range(3) if k not in kept]
    cell[free] = basis * extent
    return cell


def _check_distances(structure: Structure, source: np.ndarray, target: np.ndarray, vector: np.ndarray) -> None:
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
