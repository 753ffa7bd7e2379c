"""The cells into which CP2K put the atoms when it counted cell vectors: fractional coordinates from −½ to ½.

CP2K moves atom i by −n_i·cell, n_i the fractional coordinates rounded, and its R refer to that. A coordinate that is a
half but for the last bits goes either way, and does so in ordinary crystals. There S decides: the norm of a block
depends on the distance d alone and decreases with it, so that Σ_R |S_ij(R)|² d² is smallest for the right n_i − n_j
(rearrangement inequality).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.operators.blocks import BlockOperator
from nearsight.structures.structure import Structure

_ROUNDING = 1e-8
_HALF = 1e-4
"""How near to a half a fractional coordinate may have been rounded either way."""
_OVERLAPS = 1e-3
"""Pairs with smaller overlaps say nothing about where their atoms are."""


def wrapping(structure: Structure) -> np.ndarray:
    """Return the cell vectors that CP2K takes off each atom, where its rounding is exact.

    Parameters
    ----------
    structure : Structure
        Positions as given.

    Returns
    -------
    (N, 3) array of int64
        n_i.
    """
    away = np.abs(_fractional(structure))
    rounded = np.where(np.abs(away % 1 - 0.5) < _ROUNDING, np.floor(away + 0.5 + _ROUNDING), np.floor(away + 0.5))
    wraps = (np.sign(_fractional(structure)) * rounded).astype(np.int64)
    wraps[:, ~structure.pbc] = 0
    return wraps


def settled(folder: Path, operator: BlockOperator, structure: Structure) -> np.ndarray:
    """Return the cell vectors that CP2K took off each atom, by its overlaps where rounding may go either way.

    Parameters
    ----------
    folder : pathlib.Path
        For messages.
    operator : BlockOperator
        S, or H where there is no S, with CP2K's own R.
    structure : Structure
        Positions as given.

    Returns
    -------
    (N, 3) array of int64
        n_i.

    Raises
    ------
    FormatError
        If an atom far from a half belongs to another cell than CP2K's rule says, as for another structure.
    """
    rule, halves = wrapping(structure), _halves(structure)
    found, fragment = _from_decay(operator, structure, rule, halves)
    away = found - rule
    for name in np.unique(fragment):  # a constant of a fragment is lost in n_i − n_j
        for axis in range(3):
            atoms = np.flatnonzero(fragment == name)
            sure = atoms[~halves[atoms, axis]]
            away[atoms, axis] -= away[sure[0] if len(sure) else atoms[0], axis]
    wrong = np.flatnonzero((away != 0).any(axis=1) & ~((away == 0) | halves).all(axis=1))
    if len(wrong):
        raise FormatError(folder, _other_structure(int(wrong[0])))
    return rule + away


def placed(operator: BlockOperator, wraps: np.ndarray) -> BlockOperator:
    """Return the operator with R that refer to the positions as given.

    Parameters
    ----------
    operator : BlockOperator
        With CP2K's own R.
    wraps : (N, 3) array of int
        The cell vectors that CP2K took off each atom.

    Returns
    -------
    BlockOperator
        Its pairs stay sorted, for those of (i, j) move together.
    """
    shift = operator.shift + wraps[operator.source] - wraps[operator.target]
    return BlockOperator(
        operator.numbers, operator.basis, operator.source, operator.target, shift, operator.values, operator.folded
    )


def check_nearest(folder: Path, overlap: BlockOperator, structure: Structure) -> None:
    """Check that overlaps, with R as given, are those of the structure's positions.

    Parameters
    ----------
    folder : pathlib.Path
        For messages.
    overlap : BlockOperator
        S.
    structure : Structure
        Positions as given.

    Raises
    ------
    FormatError
        If the largest overlaps of an atom are not those with the nearest images.
    """
    atom = _misplaced(overlap, structure)
    if atom is not None:
        raise FormatError(folder, _other_structure(atom))


def _misplaced(overlap: BlockOperator, structure: Structure) -> int | None:
    """An atom for most of whose neighbours the largest overlap is not that of (about) the nearest image."""
    distance = np.linalg.norm(_vectors(overlap, structure), axis=1)
    largest = np.maximum.reduceat(np.abs(overlap.values), overlap.offsets[:-1])
    seen = overlap.source * overlap.n_atoms + overlap.target
    order = np.lexsort((-largest, seen))
    _, first = np.unique(seen[order], return_index=True)
    strongest = order[first]
    nearest = _nearest_image(structure, overlap.source[strongest], overlap.target[strongest])
    counted = (largest[strongest] > _OVERLAPS) & (overlap.source[strongest] != overlap.target[strongest])
    wrong = counted & (distance[strongest] > 1.2 * nearest + 0.3)
    of_atom = overlap.source[strongest]
    bad, all_ = (np.bincount(of_atom[some], minlength=overlap.n_atoms) for some in (wrong, counted))
    atoms = np.flatnonzero(2 * bad > np.maximum(all_, 1))
    return int(atoms[0]) if len(atoms) else None


def _other_structure(atom: int) -> str:
    return (
        f"expected overlaps to be largest with the nearest image, got others for atom {atom}; is the structure "
        "that of the run, as CP2K was given it?"
    )


def _fractional(structure: Structure) -> np.ndarray:
    fractional: np.ndarray = structure.positions @ np.linalg.inv(structure.cell)
    return fractional


def _halves(structure: Structure) -> np.ndarray:
    """(N, 3) bool: coordinates that may be rounded either way."""
    near: np.ndarray = np.abs(np.abs(_fractional(structure)) % 1 - 0.5) < _HALF
    return near & structure.pbc


def _from_decay(
    operator: BlockOperator, structure: Structure, rule: np.ndarray, halves: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """n of each atom from its blocks with the atoms that have theirs, those with the largest blocks first.

    Returns:
        n, but for a constant of each fragment (atoms joined by blocks); and the fragment of each atom.
    """
    weight, moment = _moments(operator, structure)
    result, fragment = rule.copy(), np.full(len(structure), -1)
    link = np.zeros(len(structure))
    for _ in range(len(structure)):
        atom = int(np.lexsort((halves.any(axis=1), -np.where(fragment >= 0, -1.0, link)))[0])
        others = np.flatnonzero((fragment >= 0) & (weight[atom] > 0))
        if len(others):
            mean = (moment[atom, others] - weight[atom, others, None] * (result[others] @ structure.cell)).sum(axis=0)
            result[atom] = _nearest_cell(-mean / weight[atom, others].sum(), structure)
        fragment[atom] = fragment[others[0]] if len(others) else fragment.max() + 1
        link += weight[:, atom]
    return result, fragment


def _nearest_cell(vector: np.ndarray, structure: Structure) -> np.ndarray:
    """The cell vector, as three integers, next to `vector` (Å)."""
    around = np.array(list(np.ndindex(3, 3, 3))) - 1
    cells = np.round(vector @ np.linalg.inv(structure.cell)).astype(np.int64) + around
    cells = cells[(cells[:, ~structure.pbc] == 0).all(axis=1)]
    nearest: np.ndarray = cells[np.argmin(((cells @ structure.cell - vector) ** 2).sum(axis=1))]
    return nearest


def _moments(operator: BlockOperator, structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """(N, N) Σ_R |block|² and (N, N, 3) Σ_R |block|² (r_j + R·cell − r_i) of each two different atoms."""
    n, pair = len(structure), operator.source * len(structure) + operator.target
    weight = np.add.reduceat(operator.values**2, operator.offsets[:-1])
    weight[operator.source == operator.target] = 0
    vector = _vectors(operator, structure)
    moment = [np.bincount(pair, weight * vector[:, axis], n * n).reshape(n, n) for axis in range(3)]
    return np.bincount(pair, weight, n * n).reshape(n, n), np.stack(moment, axis=-1)


def _vectors(operator: BlockOperator, structure: Structure) -> np.ndarray:
    places = structure.positions
    vectors: np.ndarray = places[operator.target] + operator.shift @ structure.cell - places[operator.source]
    return vectors


def _nearest_image(structure: Structure, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(p,) Å, from atom i to the nearest image of atom j."""
    away = (structure.positions[target] - structure.positions[source]) @ np.linalg.inv(structure.cell)
    away -= np.round(away)
    nearest = np.full(len(source), np.inf)
    for shift in np.ndindex(3, 3, 3):
        vector = (away + np.array(shift) - 1) @ structure.cell
        nearest = np.minimum(nearest, np.linalg.norm(vector, axis=1))
    return nearest
