"""Duplicates: one structure twice in a set, or in training and in test.

Two structures are the same if they differ only by a translation, the order of atoms, the choice of lattice vectors, a
rotation or a reflection; a network that turns with its input cannot tell them apart. Sorted distances with their
elements find candidates; they do not depend on any of these, and means over them say which two to compare, so that not
every two are. What matches is compared atom by atom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from nearsight.checks.subject import Finding
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Entry:
    """A member of a set: what is compared between members, without the matrices.

    Attributes
    ----------
    name : str
        The file, as the user named it.
    structure : Structure
        Of the calculation.
    basis : BasisSet
        Of the calculation.
    provenance : mapping of str to str
        Of the calculation.
    cutoff : float or None
        Of the calculation, in Å.
    folded : bool or None
        Whether H is summed over images; None without H.
    test : bool
        Whether it is held back for testing.
    """

    name: str
    structure: Structure
    basis: BasisSet
    provenance: Mapping[str, str]
    cutoff: float | None
    folded: bool | None
    test: bool = False

    @classmethod
    def of(cls, name: str, calculation: Calculation, test: bool = False) -> Entry:
        """Take what is compared from a calculation, whose matrices are not kept."""
        h = calculation.hamiltonian
        return cls(
            name,
            calculation.structure,
            calculation.basis,
            calculation.provenance,
            calculation.cutoff,
            None if h is None else h.folded,
            test,
        )


CHECK = "duplicates"
REACH = 5.0
"""Å, of the distances that are compared; all are in a small molecule."""
SMALL = 300
"""Atoms of a molecule up to which all distances are compared."""
SAME_PLACE = 1e-3
"""Å: what H cannot tell apart. A change of all places by this changes elements of H by less than a network's errors."""
SAME_SHAPE = 2e-4
"""Å, for a turned copy, of which distances alone are compared: among many geometries of a small molecule two come
nearer to each other than `SAME_PLACE` by chance."""
SAMPLED = 50
"""One distance in so many is compared first: most pairs of structures differ there."""

Fingerprint = dict[tuple[int, int], np.ndarray]
"""Elements of a pair → sorted distances, Å."""


def check_duplicates(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Every pair of entries with the same composition whose distances are the same."""
    by_formula: dict[str, list[int]] = {}
    for k, entry in enumerate(entries):
        by_formula.setdefault(entry.structure.formula, []).append(k)
    for members in by_formula.values():
        if len(members) < 2:
            continue
        prints = {k: fingerprint(entries[k].structure) for k in members}
        for a, b in _candidates([k for k in members if prints[k]], prints):
            if not alike(prints[a], prints[b]):
                continue
            moved_only = same_atoms(entries[a].structure, entries[b].structure)
            if moved_only or alike(prints[a], prints[b], SAME_SHAPE):
                yield _finding(entries[a], entries[b], moved_only)


def _candidates(members: list[int], prints: Mapping[int, Fingerprint]) -> list[tuple[int, int]]:
    """Pairs that may be alike, without comparing every two: means over the distances differ by no more than they do."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for k in members:
        groups.setdefault((tuple(prints[k]),), []).append(k)
    pairs: list[tuple[int, int]] = []
    for some in groups.values():
        near = cKDTree(_means([prints[k] for k in some])).query_pairs(1.1 * SAME_PLACE, p=np.inf)
        pairs += [(some[a], some[b]) for a, b in near]
    return sorted((min(pair), max(pair)) for pair in pairs)


def _means(prints: Sequence[Fingerprint]) -> np.ndarray:
    """(structures, means) of functions of the distances with slope at most 1 that end smoothly at the largest one."""
    columns = []
    for key in prints[0]:
        most = max(1, *(len(p[key]) for p in prints))
        end = max(REACH, *(float(p[key].max(initial=0.0)) for p in prints))
        for power in (2, 4, 8):
            columns.append([float(((1 - p[key] / end) ** power).sum()) * end / (power * most) for p in prints])
    return np.array(columns).T.reshape(len(prints), -1)


def _finding(a: Entry, b: Entry, moved_only: bool) -> Finding:
    leak = a.test != b.test
    how = (
        "up to a translation, the order of atoms and the choice of lattice vectors"
        if moved_only
        else "in all distances: a rotated or mirrored copy"
    )
    return Finding(
        "error" if leak else "warning",
        CHECK,
        f"{a.name}, {b.name}",
        f"expected different structures{' in training and in test' if leak else ''}, got the same one twice ({how})",
        "Its test error is that of a structure that was learnt."
        if leak
        else "It counts twice, and a split may put one copy on each side.",
        "Leave one of them out.",
    )


def fingerprint(structure: Structure) -> Fingerprint:
    """Sorted distances of every pair of elements, within `REACH` or all; empty where atoms lie on top of each other."""
    whole = not structure.pbc.any() and len(structure) <= SMALL
    extent = float(np.linalg.norm(np.ptp(structure.positions, axis=0)))
    try:
        graph = build_graph(structure, max(REACH, extent + 1.0) if whole else REACH)
    except InputError:
        return {}
    zi, zj = structure.numbers[graph.source], structure.numbers[graph.target]
    return {
        (int(a), int(b)): np.sort(graph.distance[(zi == a) & (zj == b)])
        for a in structure.elements
        for b in structure.elements
        if a <= b
    }


def alike(a: Fingerprint, b: Fingerprint, within: float = SAME_PLACE) -> bool:
    """Whether all distances agree within some Å; one at the end of the reach may be in one structure only."""
    if a.keys() != b.keys() or not a:
        return False
    for key in a:
        x, y = a[key], b[key]
        n = min(len(x), len(y))
        if np.any(x[n:] < REACH - 2 * SAME_PLACE) or np.any(y[n:] < REACH - 2 * SAME_PLACE):
            return False
        for some in (slice(0, n, SAMPLED), slice(0, n)):
            if np.any(np.abs(x[some] - y[some]) > within):
                return False
    return True


def same_atoms(a: Structure, b: Structure) -> bool:
    """Return whether a translation takes every atom of `a` to one of the same element in `b`, modulo the lattice."""
    if not np.array_equal(a.pbc, b.pbc) or not _same_lattice(a, b):
        return False
    elements, counts = np.unique(a.numbers, return_counts=True)
    rarest = elements[np.argmin(counts)]
    first = int(np.flatnonzero(a.numbers == rarest)[0])
    tree = _Places(b)
    return any(tree.hold(a, b.positions[k] - a.positions[first]) for k in np.flatnonzero(b.numbers == rarest))


def _same_lattice(a: Structure, b: Structure) -> bool:
    """Whether the periodic rows of both cells span one lattice."""
    ours, theirs = a.cell[a.pbc], b.cell[b.pbc]
    if len(ours) == 0:
        return True
    whole = np.round(theirs @ np.linalg.pinv(ours))
    return bool(np.abs(whole @ ours - theirs).max() < SAME_PLACE and abs(abs(np.linalg.det(whole)) - 1) < 0.5)


class _Places:
    """The atoms of a structure, to be found modulo its lattice."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        cell = structure.cell[structure.pbc]
        self._cell, self._inverse = cell, np.linalg.pinv(cell) if len(cell) else np.zeros((3, 0))
        wrapped = self._wrap(structure.positions)
        shifts = (
            np.stack(np.meshgrid(*[(-1, 0, 1)] * len(cell), indexing="ij"), -1).reshape(-1, len(cell))
            if len(cell)
            else np.zeros((1, 0))
        )
        images = (wrapped[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
        self._number = np.tile(structure.numbers, len(shifts))
        self._tree = cKDTree(images)

    def _wrap(self, positions: np.ndarray) -> np.ndarray:
        return np.asarray(positions - np.floor(positions @ self._inverse) @ self._cell)

    def hold(self, other: Structure, move: np.ndarray) -> bool:
        """Whether every atom of `other`, moved, is where one of the same element is."""
        few = slice(None, 8)
        for part in (few, slice(None)):
            moved = self._wrap(other.positions[part] + move)
            distance, at = self._tree.query(moved)
            if np.any(distance > SAME_PLACE) or np.any(self._number[at] != other.numbers[part]):
                return False
        return True
