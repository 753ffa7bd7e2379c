"""Random packing: atoms thrown into a cell at a given density, none nearer than a least distance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nearsight.elements import number_of
from nearsight.errors import InputError, RecipeError
from nearsight.structures.structure import Structure

_TRIES = 2000
_SHRINK = 0.97


def pack(
    formula: Mapping[str, int],
    atoms: int,
    volume_per_atom: float,
    least: float,
    seed: int,
    aspect: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Structure:
    """Put about `atoms` atoms, in whole formula units, at random places of a periodic box.

    Parameters
    ----------
    formula : mapping of str to int
        Element symbols and their numbers in a formula unit, such as {Hf: 1, O: 2}.
    atoms : int
        The number of atoms that is wanted; the nearest number of whole formula units (at least one) is made.
    volume_per_atom : float
        The volume per atom, Å³.
    least : float
        The distance that two atoms keep at least, Å; it shrinks by 3 % whenever no place is found.
    seed : int
        The seed of the random places.
    aspect : tuple of 3 float, default (1, 1, 1)
        The edges of the box relative to each other; a cube if none are given.

    Returns
    -------
    Structure
        The atoms in a right-angled box, ordered by elements as in `formula`.

    Raises
    ------
    InputError
        Where an element is unknown, or a number is not positive.
    RecipeError
        Where there is no room even at 60 % of `least`.
    """
    numbers = _numbers(formula, atoms)
    rng = np.random.default_rng(seed)
    edges = (volume_per_atom * len(numbers) / np.prod(aspect)) ** (1 / 3) * np.asarray(aspect)
    limit = least
    while limit > 0.6 * least:
        placed = _throw(len(numbers), edges, limit, rng)
        if placed is not None:
            return Structure(numbers, placed, np.diag(edges), np.ones(3, dtype=bool))
        limit *= _SHRINK
    raise RecipeError(
        f"expected room for {len(numbers)} atoms at least {least:g} Å apart in a box of "
        f"{' × '.join(f'{edge:.2f}' for edge in edges)} Å, "
        "got none: raise volume_per_atom or lower least_distance"
    )


def _numbers(formula: Mapping[str, int], atoms: int) -> np.ndarray:
    """Return the atomic numbers of whole formula units."""
    per_unit: list[int] = []
    for symbol, count in formula.items():
        number = number_of(symbol)
        if number is None or count < 1:
            raise InputError(f"expected element symbols with whole numbers from 1, got {symbol}: {count}")
        per_unit += [number] * count
    units = max(1, round(atoms / len(per_unit)))
    return np.repeat(per_unit, units)


def _throw(n: int, edges: np.ndarray, least: float, rng: np.random.Generator) -> np.ndarray | None:
    """Place atoms one after another, each at a random free place; None where one has no room."""
    placed = np.empty((n, 3))
    for k in range(n):
        for _ in range(_TRIES):
            place = rng.random(3) * edges
            away = placed[:k] - place
            away -= edges * np.round(away / edges)
            if k == 0 or (away**2).sum(axis=1).min() >= least**2:
                placed[k] = place
                break
        else:
            return None
    return placed
