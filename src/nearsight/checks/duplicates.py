"""Duplicates: one structure twice in a set, or in training and in test.

Two structures are the same if they differ only by a translation, the order of atoms, the choice of lattice vectors, a
rotation or a reflection; a network that turns with its input cannot tell them apart. Sorted distances with their
elements find candidates. They do not depend on any of these. What matches them is compared atom by atom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

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
"""Largest distance (Å) that is compared."""
SAME_PLACE = 0.02
"""Distance (Å) within which places and distances are the same."""
EDGE = 0.02
"""Share of the longest distances that is not compared: a pair there may be within reach in one structure only."""
SAMPLED = 50
"""One distance in so many is compared first: most pairs of structures differ there."""

Fingerprint = dict[tuple[int, int], np.ndarray]
"""Sorted distances (Å) of each pair of elements."""


def check_duplicates(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Compare every pair of entries with the same composition."""
    prints: dict[int, Fingerprint] = {}
    by_formula: dict[str, list[int]] = {}
    for k, entry in enumerate(entries):
        by_formula.setdefault(entry.structure.formula, []).append(k)
    for members in by_formula.values():
        for a, b in combinations(members, 2):
            for k in (a, b):
                if k not in prints:
                    prints[k] = fingerprint(entries[k].structure)
            if not alike(prints[a], prints[b]):
                continue
            yield _finding(entries[a], entries[b], same_atoms(entries[a].structure, entries[b].structure))


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
    """Sort the distances within `REACH` of every pair of elements.

    Parameters
    ----------
    structure : Structure
        The atoms.

    Returns
    -------
    dict of (int, int) to ndarray
        Ascending distances (Å) by atomic numbers; empty where atoms lie on top of each other.
    """
    try:
        graph = build_graph(structure, REACH)
    except InputError:
        return {}
    zi, zj = structure.numbers[graph.source], structure.numbers[graph.target]
    return {
        (int(a), int(b)): np.sort(graph.distance[(zi == a) & (zj == b)])
        for a in structure.elements
        for b in structure.elements
        if a <= b
    }


def alike(a: Fingerprint, b: Fingerprint) -> bool:
    """Return whether all distances agree within `SAME_PLACE` (but for a few at the edge of the reach)."""
    if a.keys() != b.keys() or not a:
        return False
    for key in a:
        x, y = a[key], b[key]
        if abs(len(x) - len(y)) > 2 + EDGE * max(len(x), len(y)):
            return False
        n = int(min(len(x), len(y)) * (1 - EDGE))
        for some in (slice(0, n, SAMPLED), slice(0, n)):
            if np.any(np.abs(x[some] - y[some]) > SAME_PLACE):
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
