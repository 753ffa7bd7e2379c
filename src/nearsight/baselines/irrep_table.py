"""The irreps of a coupled layout, with their parity and their counterparts in the transposed block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.coupling import irreps_of


@dataclass(frozen=True)
class IrrepTable:
    """The K irreps of a padded coupled vector of `size` numbers.

    An irrep L of l1 ⊗ l2 is natural if (−1)^(l1+l2+L) = +1: only such ones follow from the direction of one bond.
    Transposing a block takes the irrep of slot (a, b) to that of (b, a), times the same sign.

    Attributes
    ----------
    layout : CoupledLayout
        The coupled layout.
    """

    layout: CoupledLayout

    @cached_property
    def degree(self) -> np.ndarray:
        """(K,) degree L of each irrep."""
        return np.array(self.layout.degrees)

    @cached_property
    def start(self) -> np.ndarray:
        """(K,) position of each irrep's first number."""
        return np.cumsum(2 * self.degree + 1) - (2 * self.degree + 1)

    @cached_property
    def natural(self) -> np.ndarray:
        """(K,) bool: whether an irrep is of natural parity."""
        return np.array([(a[0] + b[0] + l) % 2 == 0 for a, b, l in self._labels])

    @cached_property
    def exchanged(self) -> np.ndarray:
        """(K,) position of the irrep of the same degree in slot (b, a)."""
        place = {label: k for k, label in enumerate(self._labels)}
        return np.array([place[b, a, l] for a, b, l in self._labels])

    @cached_property
    def irrep_of_column(self) -> np.ndarray:
        """(size,) the irrep that each number belongs to."""
        return np.repeat(np.arange(len(self.degree)), 2 * self.degree + 1)

    @cached_property
    def harmonic_of_column(self) -> np.ndarray:
        """(size,) L² + L + M, the place of each number among Y_0 … Y_l_max side by side."""
        l = self.degree[self.irrep_of_column]
        return l * l + np.arange(self.layout.size) - self.start[self.irrep_of_column]

    @cached_property
    def exchanged_columns(self) -> np.ndarray:
        """(size,) position of each number's counterpart in the transposed block (the same value in natural irreps)."""
        k = self.irrep_of_column
        return self.start[self.exchanged[k]] + np.arange(self.layout.size) - self.start[k]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names such as `s1 p0 L1`: shells (l and its index among equal l) of both atoms, and degree."""
        letters = "spdfghi"
        return tuple(f"{letters[a[0]]}{a[1]} {letters[b[0]]}{b[1]} L{l}" for a, b, l in self._labels)

    def filled(self, zi: int, zj: int) -> np.ndarray:
        """Tell which natural irreps the block of a pair of elements has.

        Parameters
        ----------
        zi, zj : int
            Atomic numbers of the pair.

        Returns
        -------
        (K,) array of bool
            False also for irreps of unnatural parity.
        """
        return self.natural & self.layout.mask(zi, zj)[self.start]

    def independent(self, z: int, degree: int) -> np.ndarray:
        """List the natural irreps of a degree of an element's own block, once for two that a symmetric one has twice.

        Parameters
        ----------
        z : int
            Atomic number.
        degree : int
            L.

        Returns
        -------
        array of int64
            Positions of the irreps; computed once, and cannot be written to.
        """
        found = self._independent.get((z, degree))
        if found is None:
            once = np.arange(len(self.degree)) <= self.exchanged
            found = np.flatnonzero(self.filled(z, z) & (self.degree == degree) & once)
            found.setflags(write=False)
            self._independent[z, degree] = found
        return found

    @cached_property
    def _independent(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    def transposed(self, blocks: np.ndarray) -> np.ndarray:
        """Return the coupled vectors of the transposed blocks.

        Parameters
        ----------
        blocks : (n, size) array of float
            Coupled vectors.

        Returns
        -------
        (n, size) array of float
            Coupled vectors of the transposes.
        """
        result = blocks[:, self.exchanged_columns]
        odd = ~self.natural[self.irrep_of_column]
        result[:, odd] = 0.0 - result[:, odd]  # no −0, so that zeros stay the same bits
        return result

    def columns(self, irreps: np.ndarray) -> np.ndarray:
        """Return the positions of the numbers of irreps of one degree.

        Parameters
        ----------
        irreps : (n,) array of int
            Irreps, at least one, all of degree L.

        Returns
        -------
        (n, 2L+1) array of int64
            Positions in the coupled vector.
        """
        return self.start[irreps][:, None] + np.arange(2 * self.degree[irreps[0]] + 1)

    @cached_property
    def _labels(self) -> tuple[tuple[tuple[int, int], tuple[int, int], int], ...]:
        return tuple((a, b, l) for a, b in self.layout.slots for l in irreps_of(a[0], b[0]))
