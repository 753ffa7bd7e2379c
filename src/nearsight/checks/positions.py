"""S against the positions: every overlap of two atoms is a function of the vector between them.

In the frame of the bond only functions of the same m overlap, those of m and −m alike, and every overlap is one smooth
function of the distance for all pairs of two elements. An atom that is elsewhere, or two that are exchanged, break both
for all their bonds, while the bonds of the others are as they should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nearsight.checks.subject import Finding, Subject
from nearsight.checks.two_centre import near_pairs
from nearsight.electronic.matrix_errors import pair_distances
from nearsight.elements import symbol_of
from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.rotations import bond_frames, orbital_frames, wigner_d
from nearsight.structures.structure import Structure

CHECK = "positions"
TURNED = 3e-3
"""Overlaps of different m. In good data they are below 2e-3 where images beyond 7 Å fold into a block, else zero."""
FAR_OFF = 5e-3
"""Difference of an overlap to the smooth function of the distance; below 3e-3 in good data."""
OVER_MEDIAN = 10.0
"""With more diffuse functions both are larger in all bonds; then so many times the median is allowed."""
REMOTE = 6.0
"""Å. Atoms that are farther apart than this do not overlap as those nearer than 3.5 Å do."""
FEWEST = 24
"""Bonds of two elements from which a function of the distance is fitted."""
DEGREE = 5
MOST_NAMED = 6
MOST_BONDS = 20_000
"""Bonds of two elements that are compared."""


@dataclass(frozen=True, eq=False)
class _Compared:
    """Bonds that were compared: both atoms, and whether the overlaps are not those of the vector between them."""

    atoms: np.ndarray
    wrong: np.ndarray
    worst: float


def check_positions(subject: Subject) -> Iterator[Finding]:
    """Find atoms whose overlaps are not those of their positions."""
    s = subject.overlap
    if s is None or subject.coincidence:
        return
    compared = _compared(s, subject.calculation.structure)
    if compared is None or not compared.wrong.any():
        return
    atoms = culprits(compared.atoms, compared.wrong)
    numbers = subject.calculation.structure.numbers
    names = ", ".join(f"{k} ({symbol_of(int(numbers[k]))})" for k in atoms[:MOST_NAMED])
    yield subject.finding(
        "error",
        CHECK,
        f"expected overlaps that are those of the positions, got others for {int(compared.wrong.sum())} of "
        f"{len(compared.wrong)} bonds (by up to {compared.worst:.3g}): of atom {names}"
        f"{' …' if len(atoms) > MOST_NAMED else ''} ({len(atoms)} in all)",
        "H and S are of other positions than the structure's: another step, atoms exchanged, or another cell.",
        "Import matrices, positions and cell of one step of one run.",
    )


def culprits(atoms: np.ndarray, wrong: np.ndarray) -> list[int]:
    """Return atoms that are in all wrong bonds, found by taking the one with most of them again and again.

    Parameters
    ----------
    atoms : ndarray of shape (b, 2)
        Both atoms of each bond.
    wrong : ndarray of bool, shape (b,)
        Which bonds are wrong.
    """
    left = atoms[wrong]
    size = int(atoms.max()) + 1
    every = np.bincount(atoms.reshape(-1), minlength=size)
    result: list[int] = []
    while len(left) and len(result) < 1000:
        counts = np.bincount(left.reshape(-1), minlength=size)
        atom = int(np.lexsort((-counts / np.maximum(every, 1), -counts))[0])
        result.append(atom)
        left = left[(left != atom).all(axis=1)]
    return result


def _compared(s: BlockOperator, structure: Structure) -> _Compared | None:
    pairs, ends, vectors = near_pairs(structure, s)
    once = ends[:, 0] < ends[:, 1]
    ends, pairs, vectors = ends[once], pairs[once], vectors[once]
    zi, zj = s.numbers[ends[:, 0]], s.numbers[ends[:, 1]]
    atoms, wrong, worst = [], [], 0.0
    for a, b in sorted({(int(a), int(b)) for a, b in zip(zi, zj)}):
        some = np.flatnonzero((zi == a) & (zj == b))[:MOST_BONDS]
        turned, radial = _in_frames(s, (a, b), pairs[some], vectors[some])
        off = _off_curve(np.linalg.norm(vectors[some], axis=1), radial)
        atoms.append(ends[some])
        wrong.append(_beyond(turned, TURNED) | _beyond(off, FAR_OFF))
        worst = max(worst, float(np.maximum(turned, off)[wrong[-1]].max(initial=0.0)))
    remote, size = _remote(s, structure, pairs[pairs >= 0])
    if len(remote):
        atoms.append(remote)
        wrong.append(np.ones(len(remote), dtype=bool))
        worst = max(worst, size)
    return _Compared(np.concatenate(atoms), np.concatenate(wrong), worst) if atoms else None


def _beyond(error: np.ndarray, limit: float) -> np.ndarray:
    return np.asarray(error > max(limit, OVER_MEDIAN * float(np.median(error)) if len(error) else 0.0))


def _remote(s: BlockOperator, structure: Structure, near: np.ndarray) -> tuple[np.ndarray, float]:
    """Atoms far apart whose overlaps are as large as those of neighbours, and the largest such overlap."""
    if s.n_pairs == 0:
        return np.zeros((0, 2), dtype=np.int64), 0.0
    largest = np.maximum.reduceat(np.abs(s.values), s.offsets[:-1])
    kinds = s.numbers[s.source] * 256 + s.numbers[s.target]
    limit = np.full(len(largest), np.inf)
    for kind in np.unique(kinds[near]):
        limit[kinds == kind] = max(0.1, float(np.quantile(largest[near[kinds[near] == kind]], 0.1)))
    chosen = np.flatnonzero((s.source < s.target) & (largest > limit))
    distance = pair_distances(s.select(chosen), structure) if len(chosen) else np.zeros(0)
    far = chosen[distance > REMOTE]
    return np.column_stack([s.source[far], s.target[far]]), float(largest[far].max(initial=0.0))


def _in_frames(
    s: BlockOperator, elements: tuple[int, int], pairs: np.ndarray, vectors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Largest overlap that should vanish, and the others, of each bond in its frame."""
    a, b = elements
    basis = s.basis
    frames = wigner_d(bond_frames(vectors), max(*basis.shells[a], *basis.shells[b]))
    left, right = orbital_frames(basis, a, frames), orbital_frames(basis, b, frames)
    stored = np.zeros((len(pairs), basis.n_orbitals(a), basis.n_orbitals(b)))
    if (pairs >= 0).any():
        stored[pairs >= 0] = s.stack(pairs[pairs >= 0])
    blocks = left @ stored @ right.transpose(0, 2, 1)
    ours, theirs = (np.concatenate([np.arange(-l, l + 1) for l in basis.shells[z]]) for z in (a, b))
    same = ours[:, None] == theirs
    turned = np.abs(blocks[:, ~same]).max(axis=1, initial=0.0)
    return turned, blocks[:, same]


def _off_curve(distance: np.ndarray, radial: np.ndarray) -> np.ndarray:
    """Largest distance of each bond's overlaps from smooth functions of the distance, fitted without outliers."""
    if len(distance) < FEWEST:
        return np.zeros(len(distance))
    span = (distance - distance.min()) / max(float(np.ptp(distance)), 1e-6) * 2 - 1
    design = np.polynomial.chebyshev.chebvander(span, DEGREE)
    weight = np.ones(len(distance))
    error = np.zeros(len(distance))
    for _ in range(6):
        weighted = (design * weight[:, None] ** 2).T
        fit = np.linalg.lstsq(weighted @ design, weighted @ radial, rcond=1e-13)[0]
        error = np.abs(radial - design @ fit).max(axis=1)
        scale = max(float(np.median(error)), 1e-4)
        weight = 1 / (1 + (error / (3 * scale)) ** 2)
    return error
