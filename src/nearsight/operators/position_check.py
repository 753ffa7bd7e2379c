"""S against positions: whether overlaps are those of Gaussian functions at these places in this cell.

A sample of pairs is compared: of every atom those with its nearest neighbours and those with its largest overlaps. So
an atom that is elsewhere is seen from where it is and from where its overlaps say that it is. In a folded operator all
images within reach are summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from nearsight.elements import symbol_of
from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.gaussian_overlap import overlaps_along_z
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.orbitals.rotations import bond_frames, orbital_frames, wigner_d
from nearsight.structures.structure import Structure

PER_ATOM = 3
"""Pairs by distance, and as many by overlap."""
TOLERANCE = 1e-3
"""An overlap may be off by this: shells are known with six decimals. An atom 0.01 Å away changes S by more."""
LEFT_OUT = 0.05
"""Elements below the smallest that is there may be missing in a file, for CP2K's THRESHOLD and the like, up to this."""
MOST_WRONG = 0.9
"""Of the pairs of two elements; where more do not fit, their functions are others."""
GRID = 0.05
"""Å, between distances below 4 Å at which many pairs are interpolated; wider beyond, where overlaps are smooth."""
_PART = 1 << 18
_MOST_NAMED = 100
MOST_DIRECT = 150
"""Distances that are computed one by one."""


@dataclass(frozen=True, eq=False)
class Misfit:
    """Where S and positions disagree.

    Attributes
    ----------
    atoms : tuple of int
        A smallest set of atoms (found greedily) that is in every pair that does not fit, those in most pairs first.
    n_pairs, n_wrong : int
        Pairs that were compared, and those that do not fit.
    worst : tuple of int
        The two atoms of the largest difference.
    distance : float
        Å, of these two as given.
    found, expected : float
        The element of S that differs most, in the file and of these positions.
    partly : bool
        Whether others of the same two elements fit: then the functions are these, and the places are not.
    """

    atoms: tuple[int, ...]
    n_pairs: int
    n_wrong: int
    worst: tuple[int, int]
    distance: float
    found: float
    expected: float
    partly: bool

    def describe(self, numbers: np.ndarray) -> str:
        """Say it in words.

        Parameters
        ----------
        numbers : (N,) array of int
            Atomic numbers.
        """
        names = ", ".join(f"{k} ({symbol_of(int(numbers[k]))})" for k in self.atoms[:5])
        return (
            f"expected the overlaps of these positions and this cell, got others for {self.n_wrong} of {self.n_pairs} "
            f"pairs, all with atom {names}{' …' if len(self.atoms) > 5 else ''}: between atoms {self.worst[0]} and "
            f"{self.worst[1]}, {self.distance:.3f} Å apart, {self.expected:.4f} is expected, {self.found:.4f} is there"
        )


def misfit(
    overlap: BlockOperator, structure: Structure, shells: Mapping[int, Sequence[GaussianShell]]
) -> Misfit | None:
    """Compare S with the overlaps of these positions.

    Parameters
    ----------
    overlap : BlockOperator
        S.
    structure : Structure
        Positions and cell.
    shells : mapping of int to sequence of GaussianShell
        The functions of each element (and of the ghost), in the order of the orbitals.

    Returns
    -------
    Misfit or None
        None where every pair of the sample fits.
    """
    pairs = _sample(overlap, structure)
    left_out = min(LEFT_OUT, _smallest(overlap))
    wrong: list[tuple[int, int]] = []
    worst, answer, partly = 0.0, None, False
    for (a, b), some in _by_elements(overlap, pairs).items():
        expected = _expected(overlap, structure, shells, (a, b), some)
        found = _stack(overlap, some)
        error = np.abs(found - expected)
        error[(found == 0) & (np.abs(expected) <= left_out)] = 0
        largest = error.reshape(len(some), -1).max(axis=1)
        wrong += [(int(i), int(j)) for i, j in some[largest > TOLERANCE][:, :2]]
        partly |= 0 < np.mean(largest > TOLERANCE) <= MOST_WRONG if len(some) else False
        if len(some) and largest.max() > max(worst, TOLERANCE):
            k = int(np.argmax(largest))
            place = np.unravel_index(int(np.argmax(error[k])), error[k].shape)
            worst, answer = float(largest[k]), (some[k], float(found[k][place]), float(expected[k][place]))
    if answer is None:
        return None
    pair, file, own = answer
    vector = structure.positions[pair[1]] + pair[2:] @ structure.cell - structure.positions[pair[0]]
    atoms = (int(pair[0]), int(pair[1]))
    return Misfit(_cover(wrong), len(pairs), len(wrong), atoms, float(np.linalg.norm(vector)), file, own, partly)


def _smallest(overlap: BlockOperator) -> float:
    """The smallest element that is not zero."""
    parts = (np.abs(overlap.values[first : first + _PART]) for first in range(0, overlap.n_values, _PART))
    return min((float(part[part > 0].min(initial=np.inf)) for part in parts), default=np.inf)


def _cover(pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    """Atoms that are in all pairs, the most frequent first; of very many the first ones."""
    left = np.array(pairs).reshape(-1, 2)
    result: list[int] = []
    while len(left) and len(result) < _MOST_NAMED:
        counts = np.bincount(left.reshape(-1))
        atom = int(np.argmax(counts))
        result.append(atom)
        left = left[(left != atom).all(axis=1)]
    return tuple(result)


def _sample(overlap: BlockOperator, structure: Structure) -> np.ndarray:
    """(P, 5) i, j, R of pairs, each once; R is that of the nearest image for a folded operator."""
    near, strong = _near(structure), _strong(overlap)
    if overlap.folded:
        strong[:, 2:] = _nearest_shift(structure, strong[:, 0], strong[:, 1])
    both = np.concatenate([near, strong])
    swap = (both[:, 0] > both[:, 1])[:, None]
    both = np.where(swap, np.column_stack([both[:, 1], both[:, 0], -both[:, 2:]]), both)
    if overlap.folded:
        keys = np.unique(both[:, 0] * len(structure) + both[:, 1], return_index=True)[1]
        return both[keys]
    return np.unique(both, axis=0)


def _near(structure: Structure) -> np.ndarray:
    """Each atom with its nearest ones, images included."""
    cell = structure.cell[structure.pbc]
    inverse = np.linalg.pinv(cell) if len(cell) else np.zeros((3, 0))
    whole = np.zeros((len(structure), 3), dtype=np.int64)
    whole[:, structure.pbc] = np.floor(structure.positions @ inverse)
    wrapped = structure.positions - whole @ structure.cell
    ranges = [(-1, 0, 1) if periodic else (0,) for periodic in structure.pbc]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    if len(structure) > 500:  # only what is near the cell matters
        shifts = shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")]
    n = len(structure)
    images = (wrapped[None] + (shifts @ structure.cell)[:, None]).reshape(-1, 3)
    distance, at = cKDTree(images).query(wrapped, k=min(PER_ATOM + 1, len(images)))
    source = np.repeat(np.arange(n), distance.reshape(n, -1).shape[1])
    at, distance = at.reshape(-1), distance.reshape(-1)
    target, shift = at % n, shifts[at // n] + whole[source] - whole[at % n]
    kept = distance > 1e-6
    return np.column_stack([source, target, shift])[kept]


def _strong(overlap: BlockOperator) -> np.ndarray:
    """Each atom with those of its largest blocks."""
    off = np.flatnonzero(overlap.source != overlap.target if overlap.folded else ~overlap.on_site)
    if not len(off):
        return np.zeros((0, 5), dtype=np.int64)
    blocks = overlap.offsets[:-1]
    size = np.maximum(np.maximum.reduceat(overlap.values, blocks), -np.minimum.reduceat(overlap.values, blocks))[off]
    source = overlap.source[off]
    first = np.flatnonzero(np.diff(source, prepend=-1))  # pairs are sorted by their first atom
    counts = np.diff(np.append(first, len(source)))
    kept = []
    for _ in range(PER_ATOM):
        largest = np.flatnonzero(size == np.repeat(np.maximum.reduceat(size, first), counts))
        largest = largest[np.flatnonzero(np.diff(source[largest], prepend=-1))]
        largest = largest[size[largest] >= 0]
        kept.append(off[largest])
        size[largest] = -1.0
    chosen = np.concatenate(kept)
    return np.column_stack([overlap.source[chosen], overlap.target[chosen], overlap.shift[chosen]])


def _nearest_shift(structure: Structure, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    inverse = np.linalg.pinv(structure.cell)
    away = (structure.positions[target] - structure.positions[source]) @ inverse
    shift = -np.round(away).astype(np.int64)
    shift[:, ~structure.pbc] = 0
    return shift


def _by_elements(overlap: BlockOperator, pairs: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    zi, zj = overlap.numbers[pairs[:, 0]], overlap.numbers[pairs[:, 1]]
    kinds = sorted({(int(a), int(b)) for a, b in zip(zi, zj)})
    return {(a, b): pairs[(zi == a) & (zj == b)] for a, b in kinds}


def _stack(overlap: BlockOperator, pairs: np.ndarray) -> np.ndarray:
    """(P, n_i, n_j) blocks of the file, zero where it has none."""
    shift = np.zeros_like(pairs[:, 2:]) if overlap.folded else pairs[:, 2:]
    places = overlap.find(pairs[:, 0], pairs[:, 1], shift)
    sizes = overlap.basis.sizes(overlap.numbers)
    result = np.zeros((len(pairs), int(sizes[pairs[0, 0]]), int(sizes[pairs[0, 1]])))
    held = places >= 0
    if held.any():
        result[held] = overlap.stack(places[held])
    return result


def _expected(
    overlap: BlockOperator,
    structure: Structure,
    shells: Mapping[int, Sequence[GaussianShell]],
    elements: tuple[int, int],
    pairs: np.ndarray,
) -> np.ndarray:
    reach = max(shell.reach() for z in set(elements) for shell in shells[z])
    vectors, owner = _vectors(structure, pairs, reach if overlap.folded else None)
    distance = np.linalg.norm(vectors, axis=1)
    a, b = elements
    sizes = overlap.basis.n_orbitals(a), overlap.basis.n_orbitals(b)
    result = np.zeros((len(pairs), *sizes))
    own = distance < 1e-6
    if own.any():  # shells of one atom need not be orthogonal
        result[owner[own]] += overlaps_along_z(shells[a], shells[b], np.zeros(1))
    apart = ~own & (distance < reach)
    if apart.any():
        frames = wigner_d(bond_frames(vectors[apart]), max(*overlap.basis.shells[a], *overlap.basis.shells[b]))
        left, right = orbital_frames(overlap.basis, a, frames), orbital_frames(overlap.basis, b, frames)
        blocks = left.transpose(0, 2, 1) @ _along_z(shells[a], shells[b], distance[apart]) @ right
        np.add.at(result, owner[apart], blocks)
    return result


def _vectors(structure: Structure, pairs: np.ndarray, reach: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the pairs, or of all their images within reach, and which pair each is of."""
    base = structure.positions[pairs[:, 1]] + pairs[:, 2:] @ structure.cell - structure.positions[pairs[:, 0]]
    if reach is None or not structure.pbc.any():
        return base, np.arange(len(pairs))
    heights = np.full(3, np.inf)
    heights[structure.pbc] = 1 / np.linalg.norm(np.linalg.pinv(structure.cell[structure.pbc]), axis=0)
    far = float(np.linalg.norm(base, axis=1).max(initial=0.0))
    counts = np.minimum(np.ceil((reach + far) / heights), 12).astype(int)
    counts[~structure.pbc] = 0
    ranges = [np.arange(-count, count + 1) for count in counts]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3) @ structure.cell
    vectors, owner = [], []
    for shift in shifts:
        moved = base + shift
        within = np.flatnonzero(np.einsum("ij,ij->i", moved, moved) < reach**2)
        vectors.append(moved[within])
        owner.append(within)
    return np.concatenate(vectors), np.concatenate(owner)


def _along_z(lower: Sequence[GaussianShell], upper: Sequence[GaussianShell], distance: np.ndarray) -> np.ndarray:
    """Blocks at many distances, by cubic splines on a grid where they are too many."""
    different, which = np.unique(np.round(distance, 9), return_inverse=True)
    if len(different) <= MOST_DIRECT:
        return np.asarray(overlaps_along_z(lower, upper, different)[which])
    from scipy.interpolate import CubicSpline

    ends = different[0] - GRID, different[-1] + 4 * GRID
    grid = np.concatenate(
        [np.arange(ends[0], min(ends[1], 4.0), GRID), np.arange(max(ends[0], 4.0), ends[1], 3 * GRID)]
    )
    grid = grid if len(grid) < len(different) else different
    return np.asarray(CubicSpline(grid, overlaps_along_z(lower, upper, np.abs(grid)))(distance))
