"""Structures: atoms in a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from nearsight.elements import HEAVIEST, symbol_of
from nearsight.errors import InputError

MINIMUM_DISTANCE = 0.3
"""Å. Two atoms nearer than this are the same atom twice, for no chemical bond is shorter than 0.7 Å."""

FARTHEST = 1e6
"""Å. Coordinates up to here tell distances to 1e-10 Å; at 1e9 Å, a Hamiltonian is wrong by 1e-5 eV."""

_FLATTEST = 1e-2
"""Å. Lattice planes nearer than this are those of no crystal."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in a cell.

    Attributes
    ----------
    numbers : (N,) array of int64
        Atomic numbers; 0 is a ghost (basis functions without a nucleus).
    positions : (N, 3) array of float64
        Cartesian coordinates, Å. They need not be wrapped into the cell.
    cell : (3, 3) array of float64
        Lattice vectors as rows, Å. Rows of directions that are not periodic may be zero.
    pbc : (3,) array of bool
        Which lattice directions are periodic.

    Raises
    ------
    InputError
        If shapes do not match, a number is not finite or larger than `FARTHEST`, there are no atoms, or a periodic cell
        has no volume.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray

    def __post_init__(self) -> None:
        fields: dict[str, Any] = {
            "numbers": _whole_numbers(self.numbers),
            "positions": np.array(self.positions, dtype=np.float64),
            "cell": np.array(self.cell, dtype=np.float64),
            "pbc": _three_flags(self.pbc),
        }
        for name, value in fields.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        n = len(self.numbers)
        if n == 0:
            raise InputError("expected at least one atom, got an empty structure")
        if self.positions.shape != (n, 3):
            raise InputError(f"expected positions of shape ({n}, 3), got {self.positions.shape}")
        if self.cell.shape != (3, 3):
            raise InputError(f"expected a cell of shape (3, 3) in Å, rows = vectors, got {self.cell.shape}")
        if not np.all(np.isfinite(self.positions)):
            atom = int(np.argwhere(~np.isfinite(self.positions).all(axis=1))[0, 0])
            raise InputError(f"expected finite positions, got {self.positions[atom]} for atom {atom}")
        if not np.all(np.isfinite(self.cell)):
            raise InputError(f"expected a finite cell, got {self.cell.tolist()}")
        largest = max(float(np.abs(self.positions).max()), float(np.abs(self.cell).max()))
        if largest > FARTHEST:
            raise InputError(
                f"expected coordinates and cell vectors below {FARTHEST:g} Å, beyond which numbers do not tell "
                f"distances exactly, got {largest:.3g}; wrap the atoms into the cell, or is the unit of length wrong?"
            )
        if np.any((self.numbers < 0) | (self.numbers > HEAVIEST)):
            raise InputError(
                f"expected atomic numbers 0 to {HEAVIEST}, got {self.numbers.min()} to {self.numbers.max()}"
            )
        if self.pbc.any() and np.linalg.matrix_rank(self.cell[self.pbc], tol=_FLATTEST) < int(self.pbc.sum()):
            raise InputError(
                f"expected a cell with volume along the periodic directions {self.pbc.tolist()}, "
                f"got {self.cell.tolist()}; give the cell (Å) or mark the structure as not periodic"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³; zero where the cell has none."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def elements(self) -> tuple[int, ...]:
        """The distinct atomic numbers in ascending order."""
        return tuple(int(z) for z in np.unique(self.numbers))

    @property
    def formula(self) -> str:
        """Chemical formula such as `Hf124O248`; ghosts are written X."""
        counts = [(symbol_of(z), int(np.sum(self.numbers == z))) for z in self.elements]
        return "".join(f"{s}{c if c > 1 else ''}" for s, c in sorted(counts))

    @classmethod
    def from_ase(cls, atoms: Atoms) -> Structure:
        """Make a structure of ASE's atoms.

        Parameters
        ----------
        atoms : ase.Atoms
            Atoms, cell and pbc; ghosts are X (number 0).

        Returns
        -------
        Structure
            Copies of its arrays.
        """
        return cls(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)

    def to_ase(self) -> Atoms:
        """Return the structure as ASE's atoms.

        Returns
        -------
        ase.Atoms
            Atoms, cell and pbc; ghosts are X (number 0).
        """
        return Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)

    def translated(self, shift: np.ndarray) -> Structure:
        """Move the atoms.

        Parameters
        ----------
        shift : (3,) or (N, 3) array of float
            Å, for all atoms or for each.

        Returns
        -------
        Structure
            The moved atoms in the same cell.
        """
        return Structure(self.numbers, self.positions + np.asarray(shift), self.cell, self.pbc)

    def rotated(self, rotation: np.ndarray) -> Structure:
        """Rotate positions and cell.

        Parameters
        ----------
        rotation : (3, 3) array of float
            An orthogonal matrix; r' = rotation @ r.

        Returns
        -------
        Structure
            The rotated structure.
        """
        return Structure(self.numbers, self.positions @ rotation.T, self.cell @ rotation.T, self.pbc)

    def permuted(self, order: np.ndarray) -> Structure:
        """Bring the atoms into another order.

        Parameters
        ----------
        order : (N,) array of int
            Atom k of the result is atom `order[k]` of this structure.

        Returns
        -------
        Structure
            The same atoms in the new order.
        """
        return Structure(self.numbers[order], self.positions[order], self.cell, self.pbc)


def _whole_numbers(numbers: Any) -> np.ndarray:
    """(N,) int64, a copy."""
    given = np.asarray(numbers)
    if given.ndim != 1:
        raise InputError(f"expected one row of atomic numbers, got an array of shape {given.shape}")
    try:
        with np.errstate(invalid="ignore"):
            whole = np.array(given, dtype=np.int64)
    except (OverflowError, TypeError, ValueError) as error:
        raise InputError(f"expected whole atomic numbers, got others ({error})") from error
    if not np.array_equal(whole, given):
        raise InputError(
            f"expected whole atomic numbers, got {given[whole != given][0]} for atom {int(np.argmax(whole != given))}"
        )
    return whole


def _three_flags(pbc: Any) -> np.ndarray:
    """(3,) bool, a copy."""
    if np.shape(pbc) not in ((), (1,), (3,)):
        raise InputError(f"expected pbc as one or three booleans, got an array of shape {np.shape(pbc)}")
    return np.array(np.broadcast_to(pbc, (3,)), dtype=bool)
