"""AtomImages: some atoms in some cells, and the dense matrix of an operator between two such lists of atoms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nearsight.compiled_code import compiled_with
from nearsight.operators.blocks import BlockOperator


@dataclass(frozen=True, eq=False)
class AtomImages:
    """Atoms in cells, and where the orbitals of each lie in a row.

    Attributes
    ----------
    operator : BlockOperator
        Whose atoms and orbitals they are.
    atoms : (n,) array of int64
        Atoms.
    cells : (n, 3) array of int64
        Their cells.
    place : (orbitals,) array of int64
        Positions of the orbitals of one atom after another.
    """

    operator: BlockOperator
    atoms: np.ndarray
    cells: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, operator: BlockOperator, atoms: np.ndarray, cells: np.ndarray) -> AtomImages:
        """Return the distinct ones of some atoms in cells, with their orbitals one after another."""
        low = cells.min(axis=0)
        width = cells.max(axis=0) - low + 1
        key = np.ravel_multi_index((*(cells - low).T, atoms), (*width, operator.n_atoms))
        *found, chosen = np.unravel_index(np.unique(key), (*width, operator.n_atoms))
        size = int(np.diff(operator.orbital_offsets)[chosen].sum())
        return cls(operator, chosen.astype(np.int64), np.stack(found, axis=1) + low, np.arange(size))

    @property
    def size(self) -> int:
        """Number of orbitals."""
        return len(self.place)

    @cached_property
    def first(self) -> np.ndarray:
        """(n,) number of orbitals of the atoms before each."""
        sizes = np.diff(self.operator.orbital_offsets)[self.atoms]
        return np.asarray(np.cumsum(sizes) - sizes)

    @cached_property
    def low(self) -> np.ndarray:
        """(3,) lowest cell in each direction."""
        return np.asarray(self.cells.min(axis=0))

    @cached_property
    def number(self) -> np.ndarray:
        """(x, y, z, N) number of each atom in each cell from the lowest one on; −1 for others."""
        result = np.full((*(self.cells.max(axis=0) - self.low + 1), self.operator.n_atoms), -1)
        result[(*(self.cells - self.low).T, self.atoms)] = np.arange(len(self.atoms))
        return result

    @cached_property
    def _shell(self) -> np.ndarray:
        """(orbitals, 2) element and position of the shell of each orbital, one atom after another."""
        basis, numbers = self.operator.basis, self.operator.numbers[self.atoms]
        own = {
            z: np.array([(z, k) for k, l in enumerate(basis.shells[z]) for _ in range(2 * l + 1)])
            for z in np.unique(numbers).tolist()
        }
        return np.concatenate([own[z] for z in numbers.tolist()])

    def by_shell(self) -> AtomImages:
        """Return the same with the orbitals of each shell of each element one after another."""
        order = np.lexsort((self._shell[:, 1], self._shell[:, 0]))
        place = np.empty(self.size, dtype=np.int64)
        place[order] = np.arange(self.size)
        return replace(self, place=place)

    def shell(self, shell: tuple[int, int]) -> slice:
        """Return the positions of the orbitals of the shell of an element, where these follow each other."""
        places = self.place[(self._shell == shell).all(axis=1)]
        return slice(int(places.min()), int(places.max()) + 1) if len(places) else slice(0, 0)

    def orbitals(self, atoms: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Return the position of the first orbital of each of some of these atoms in cells, (p,)."""
        return np.asarray(self.place[self.first[self.number[(*(cells - self.low).T, atoms)]]])


def place_blocks(operator: BlockOperator, starts: np.ndarray, rows: AtomImages, columns: AtomImages) -> np.ndarray:
    """Return the dense matrix between atoms in cells.

    Parameters
    ----------
    operator : BlockOperator
        Blocks O_ij(R), for which the distance of two cells counts.
    starts : (N+1,) array of int
        Where the pairs of each atom begin among those of the operator.
    rows, columns : AtomImages
        The atoms.

    Returns
    -------
    (orbitals, orbitals) array
        Zero where no block is stored.
    """
    result = np.zeros((rows.size, columns.size))
    _place(
        result,
        (rows.atoms, rows.cells, rows.first, rows.place),
        (columns.number, columns.low, columns.first, columns.place),
        (starts, operator.target, operator.shift, operator.offsets, np.diff(operator.orbital_offsets)),
        operator.values,
    )
    return result


def _place_blocks(matrix, rows, columns, pairs, values):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy the blocks of all pairs that begin in `rows` and end in `columns`; compiled."""
    atoms, cells, first_row, row_place = rows
    number, low, first_column, column_place = columns
    starts, target, shift, offsets, sizes = pairs
    nx, ny, nz, _ = number.shape
    for k in range(len(atoms)):
        for p in range(starts[atoms[k]], starts[atoms[k] + 1]):
            x, y, z = (
                cells[k, 0] + shift[p, 0] - low[0],
                cells[k, 1] + shift[p, 1] - low[1],
                cells[k, 2] + shift[p, 2] - low[2],
            )
            if x < 0 or y < 0 or z < 0 or x >= nx or y >= ny or z >= nz:
                continue
            other = number[x, y, z, target[p]]
            if other < 0:
                continue
            position = offsets[p]
            for i in range(sizes[atoms[k]]):
                row = row_place[first_row[k] + i]
                for j in range(sizes[target[p]]):
                    matrix[row, column_place[first_column[other] + j]] = values[position]
                    position += 1


_place = compiled_with(_place_blocks, (), nogil=True)
