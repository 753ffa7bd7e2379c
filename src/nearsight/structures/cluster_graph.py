"""The edges at some atoms of a cluster without periodic directions: the rest of its graph is never made."""

from __future__ import annotations

import numpy as np

from nearsight.compiled_code import compiled_with
from nearsight.errors import InputError
from nearsight.structures.graph import Graph, check_distances
from nearsight.structures.structure import Structure

_BINS_PER_ATOM, _BINS = 8, 4096
"""Bins at most; in a cluster that is nearly empty they are larger than the cutoff."""


def graph_at(structure: Structure, cutoff: float, atoms: np.ndarray) -> Graph:
    """List the pairs within a cutoff of which at least one atom is one of the given ones.

    Parameters
    ----------
    structure : Structure
        A cluster without periodic directions.
    cutoff : float
        Å.
    atoms : (n,) array of int
        The atoms whose edges are wanted, whole.

    Returns
    -------
    Graph
        Of all atoms of the cluster, with both directions of each pair. The edges that leave other atoms are not
        complete.

    Raises
    ------
    InputError
        If the structure is periodic, the cutoff is not positive, or atoms lie on top of each other.
    """
    if structure.pbc.any():
        raise InputError(f"expected a cluster without periodic directions, got {structure.pbc.tolist()}")
    if not cutoff > 0:
        raise InputError(f"expected a positive cutoff in Å, got {cutoff}")
    positions = np.ascontiguousarray(structure.positions, dtype=np.float64)
    wanted = np.zeros(len(structure), dtype=np.bool_)
    wanted[atoms] = True
    bins, shape = _bins(positions, cutoff)
    order = np.argsort(bins, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(bins, minlength=int(np.prod(shape))))])
    # In the order of the bins, what is near lies near in memory.
    sorted_positions, sorted_wanted = positions[order], wanted[order]
    counts = np.empty(len(structure), dtype=np.int64)
    _count(positions, wanted, bins, shape, sorted_positions, sorted_wanted, starts, cutoff**2, counts)
    first = np.concatenate([[0], np.cumsum(counts)])
    target, reverse = np.empty(first[-1], dtype=np.int64), np.empty(first[-1], dtype=np.int64)
    vector = np.empty((first[-1], 3))
    _fill(positions, wanted, bins, shape, order, sorted_positions, sorted_wanted, starts, cutoff**2, first, target)
    _complete(positions, first, target, vector, reverse)
    source = np.repeat(np.arange(len(structure)), counts)
    check_distances(structure, source, target, vector)
    shift = np.broadcast_to(np.zeros(3, dtype=np.int64), (len(source), 3))
    return Graph(len(structure), float(cutoff), source, target, shift, vector, reverse)


def _bins(positions: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each atom, and the number of bins along each axis."""
    lowest = positions.min(axis=0) if len(positions) else np.zeros(3)
    extent = np.ptp(positions, axis=0) if len(positions) else np.zeros(3)
    width, most = cutoff * (1 + 1e-9), _BINS + _BINS_PER_ATOM * len(positions)
    while np.prod(np.floor(extent / width) + 1) > most:
        width *= 1.25
    shape = (np.floor(extent / width) + 1).astype(np.int64)
    place = np.minimum(((positions - lowest) / width).astype(np.int64), shape - 1)
    return (place[:, 0] * shape[1] + place[:, 1]) * shape[2] + place[:, 2], shape


def _count_near(positions, wanted, bins, shape, near, near_wanted, starts, square, counts):  # type: ignore[no-untyped-def]
    for i in range(len(positions)):
        counts[i], here = 0, bins[i]
        x, y, z = here // (shape[1] * shape[2]), here // shape[2] % shape[1], here % shape[2]
        for u in range(max(x - 1, 0), min(x + 2, shape[0])):
            for v in range(max(y - 1, 0), min(y + 2, shape[1])):
                row = (u * shape[1] + v) * shape[2]
                for k in range(starts[row + max(z - 1, 0)], starts[row + min(z + 2, shape[2])]):
                    if wanted[i] or near_wanted[k]:
                        a, b, c = (
                            near[k, 0] - positions[i, 0],
                            near[k, 1] - positions[i, 1],
                            near[k, 2] - positions[i, 2],
                        )
                        counts[i] += a * a + b * b + c * c < square
        counts[i] -= wanted[i]  # the atom itself


def _fill_near(positions, wanted, bins, shape, order, near, near_wanted, starts, square, first, target):  # type: ignore[no-untyped-def]
    for i in range(len(positions)):
        at, here = first[i], bins[i]
        if first[i + 1] == at:
            continue
        x, y, z = here // (shape[1] * shape[2]), here // shape[2] % shape[1], here % shape[2]
        for u in range(max(x - 1, 0), min(x + 2, shape[0])):
            for v in range(max(y - 1, 0), min(y + 2, shape[1])):
                row = (u * shape[1] + v) * shape[2]
                for k in range(starts[row + max(z - 1, 0)], starts[row + min(z + 2, shape[2])]):
                    if (wanted[i] or near_wanted[k]) and order[k] != i:
                        a, b, c = (
                            near[k, 0] - positions[i, 0],
                            near[k, 1] - positions[i, 1],
                            near[k, 2] - positions[i, 2],
                        )
                        if a * a + b * b + c * c < square:
                            target[at] = order[k]
                            at += 1
        target[first[i] : first[i + 1]].sort()


def _complete_edges(positions, first, target, vector, reverse):  # type: ignore[no-untyped-def]
    # Those who come to an atom in ascending order are its own neighbours in ascending order.
    met = first.copy()
    for i in range(len(positions)):
        for e in range(first[i], first[i + 1]):
            j = target[e]
            reverse[e] = met[j]
            met[j] += 1
            for axis in range(3):
                vector[e, axis] = positions[j, axis] - positions[i, axis]


_count = compiled_with(_count_near, (), nogil=True)
_fill = compiled_with(_fill_near, (), nogil=True)
_complete = compiled_with(_complete_edges, (), nogil=True)
