"""Tiles of a bulk: its operator on many cells of it, such as a lead's layer or a whole wire."""

from __future__ import annotations

import numpy as np

from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.structures.structure import Structure

Place = tuple[int, int, int, int]
"""An atom of the bulk, and the cell it is in, modulo the tile's lattice."""


def repeated(bulk: Calculation, repeats: tuple[int, int, int]) -> Calculation:
    """Return a calculation of many cells of a bulk.

    Parameters
    ----------
    bulk : Calculation
        With H and S in real space.
    repeats : (int, int, int)
        How many cells along each lattice vector.

    Returns
    -------
    Calculation
        Atoms cell after cell, along the last direction slowest; with the Fermi level of the bulk.
    """
    x, y, z = (np.arange(n) for n in repeats)
    cells = np.array([(i, j, k) for k in z for j in y for i in x])
    structure, n = bulk.structure, len(bulk.structure)
    members, places = np.tile(np.arange(n), len(cells)), np.repeat(cells, n, axis=0)
    positions = structure.positions[members] + places @ structure.cell
    multiples = np.diag(repeats)
    whole = Structure(structure.numbers[members], positions, multiples @ structure.cell, structure.pbc)
    h, s = (tiled(o, members, places, multiples) for o in (bulk.require_hamiltonian(), bulk.require_overlap()))
    return Calculation(whole, bulk.basis, h, s, fermi=bulk.fermi)


def places_in_tile(members: np.ndarray, cells: np.ndarray, multiples: np.ndarray) -> tuple[list[Place], np.ndarray]:
    """Return the place of each atom modulo the tile's lattice, and by how many of its vectors it is away, (n, 3)."""
    turns = np.floor(cells @ np.linalg.inv(multiples) + 1e-9).astype(np.int64)
    rest = cells - turns @ multiples
    return [(int(m), int(x), int(y), int(z)) for m, (x, y, z) in zip(members, rest)], turns


def tiled(operator: BlockOperator, members: np.ndarray, cells: np.ndarray, multiples: np.ndarray) -> BlockOperator:
    """Return an operator of a bulk on the atoms of a tile.

    Parameters
    ----------
    operator : BlockOperator
        Of the bulk, in real space.
    members : (n,) array of int
        Which atom of the bulk each atom of the tile is.
    cells : (n, 3) array of int
        In which cell of the bulk it is.
    multiples : (3, 3) array of int
        The tile's lattice vectors in those of the bulk, rows. Each place of the bulk is in the tile once.

    Returns
    -------
    BlockOperator
        In real space, with shifts in the tile's lattice.
    """
    places, turns = places_in_tile(members, cells, multiples)
    at = {place: n for n, place in enumerate(places)}
    source, target, shift, which = [], [], [], []
    starts = np.searchsorted(operator.source, np.arange(operator.n_atoms + 1))
    for a, (member, cell) in enumerate(zip(members, cells)):
        pairs = np.arange(starts[member], starts[member + 1])
        others, over = places_in_tile(operator.target[pairs], cell + operator.shift[pairs], multiples)
        found = np.array([at[place] for place in others], dtype=np.int64)
        source.append(np.full(len(pairs), a))
        target.append(found)
        shift.append(over - turns[found])
        which.append(pairs)
    i, j, r, pairs = (np.concatenate(x) for x in (source, target, shift, which))
    order = np.lexsort((r[:, 2], r[:, 1], r[:, 0], j, i))
    result = zeros(operator.numbers[members], operator.basis, i[order], j[order], r[order], False)
    lengths = result.lengths
    ends = np.cumsum(lengths)
    flat = np.repeat(operator.offsets[pairs[order]] - (ends - lengths), lengths) + np.arange(result.n_values)
    return result.with_values(operator.values[flat].astype(np.float64))
