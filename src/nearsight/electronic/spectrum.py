"""Spectrum: the energy levels of a structure and how electrons fill them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of H ψ = ε S ψ and their filling, two electrons to a level.

    With an odd number of electrons the highest level with an electron holds one: it is both HOMO and LUMO,
    the gap is zero and the Fermi level is that level (spin is not resolved).

    Attributes:
        eigenvalues: (n,) float64, eV, ascending.
        n_occupied: doubly occupied levels.
        overlap_condition: condition number of S (largest over smallest eigenvalue).
        residual: eV; HOMO and LUMO are no further than this from an exact eigenvalue (see `eigen.solve`).
        singly_occupied: one more level holds a single electron.
        hermiticity_error: eV, max |H − H†| of what was given; ½(H + H†) was solved.

    Raises:
        InputError: eigenvalues that are not ascending, or more electrons than the levels can hold.
    """

    eigenvalues: np.ndarray
    n_occupied: int
    overlap_condition: float
    residual: float
    singly_occupied: bool = False
    hermiticity_error: float = 0.0

    def __post_init__(self) -> None:
        if self.eigenvalues.ndim != 1 or len(self.eigenvalues) == 0 or np.any(np.diff(self.eigenvalues) < 0):
            raise InputError("expected ascending eigenvalues, at least one, got another list")
        if not 0 <= self.n_filled <= self.n_levels:
            raise InputError(f"expected 0 to {2 * self.n_levels} electrons in {self.n_levels} levels, "
                             f"got {self.n_electrons}")

    @property
    def n_levels(self) -> int:
        """Number of eigenvalues."""
        return len(self.eigenvalues)

    @property
    def n_filled(self) -> int:
        """Levels with at least one electron."""
        return self.n_occupied + int(self.singly_occupied)

    @property
    def n_electrons(self) -> int:
        """Electrons in the levels."""
        return 2 * self.n_occupied + int(self.singly_occupied)

    @property
    def homo(self) -> float:
        """Highest level with an electron, eV; NaN without electrons."""
        return float(self.eigenvalues[self.n_filled - 1]) if self.n_filled else float("nan")

    @property
    def lumo(self) -> float:
        """Lowest level with room for an electron, eV; NaN when all are full."""
        return float(self.eigenvalues[self.n_occupied]) if self.n_occupied < self.n_levels else float("nan")

    @property
    def gap(self) -> float:
        """LUMO − HOMO, eV."""
        return self.lumo - self.homo

    @property
    def fermi(self) -> float:
        """Middle of the gap, eV."""
        return (self.homo + self.lumo) / 2

    @property
    def occupied(self) -> np.ndarray:
        """(n_filled,) levels with at least one electron, eV."""
        return self.eigenvalues[: self.n_filled]
