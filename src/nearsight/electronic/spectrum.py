"""Spectrum: the energy levels of a structure and how electrons fill them; States: levels with their wavefunctions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electronic.filling import Filling, occupations
from nearsight.errors import InputError


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of H ψ = ε S ψ, all or those of a window, and their filling, two electrons to a level.

    With an odd number of electrons the highest level with an electron holds one: it is both HOMO and LUMO, the gap is
    zero and the Fermi level is that level (both spins share levels).

    Attributes
    ----------
    eigenvalues : ndarray of shape (m,)
        Levels in eV, float64, ascending, without holes: none between the first and the last is missing.
    n_occupied : int
        Number of doubly occupied levels, counted from the lowest of all.
    overlap_condition : float
        Condition number of S (largest over smallest eigenvalue). NaN where it was not computed.
    residual : float
        No eigenvalue that was checked is further than this (eV) from an exact one (see `eigen.solve`).
    singly_occupied : bool
        Whether one more level holds a single electron.
    hermiticity_error : float
        max |H − H†| (eV) of what was given; ½(H + H†) was solved.
    first : int
        Number of levels below `eigenvalues[0]`.
    total : int or None
        Number of levels in all. None where all are in `eigenvalues`.
    projected_out : int
        Number of ill-conditioned directions of the basis that were projected out (`electronic.conditioning`).

    Raises
    ------
    InputError
        If eigenvalues are not ascending, or there are more electrons than the levels can hold.
    """

    eigenvalues: np.ndarray
    n_occupied: int
    overlap_condition: float
    residual: float
    singly_occupied: bool = False
    hermiticity_error: float = 0.0
    first: int = 0
    total: int | None = None
    projected_out: int = 0

    def __post_init__(self) -> None:
        if self.eigenvalues.ndim != 1 or len(self.eigenvalues) == 0 or np.any(np.diff(self.eigenvalues) < 0):
            raise InputError("expected ascending eigenvalues, at least one, got another list")
        if not 0 <= self.first <= self.n_levels - len(self.eigenvalues):
            raise InputError(
                f"expected a window of {len(self.eigenvalues)} within {self.n_levels} levels, got one "
                f"that begins above {self.first} levels"
            )
        if not 0 <= self.n_filled <= self.n_levels:
            raise InputError(
                f"expected 0 to {2 * self.n_levels} electrons in {self.n_levels} levels, got {self.n_electrons}"
            )

    @property
    def n_levels(self) -> int:
        """Number of levels in all, whether they were computed or not."""
        return len(self.eigenvalues) if self.total is None else self.total

    @property
    def complete(self) -> bool:
        """Whether all levels were computed."""
        return self.n_levels == len(self.eigenvalues)

    @property
    def n_filled(self) -> int:
        """Number of levels with at least one electron."""
        return self.n_occupied + int(self.singly_occupied)

    @property
    def n_electrons(self) -> int:
        """Number of electrons in all levels."""
        return 2 * self.n_occupied + int(self.singly_occupied)

    @property
    def homo(self) -> float:
        """Highest level with an electron, in eV. NaN without electrons, or outside the window."""
        return self.level(self.n_filled - 1)

    @property
    def lumo(self) -> float:
        """Lowest level with room for an electron, in eV. NaN when all are full, or outside the window."""
        return self.level(self.n_occupied)

    @property
    def gap(self) -> float:
        """LUMO − HOMO, in eV."""
        return self.lumo - self.homo

    @property
    def fermi(self) -> float:
        """Middle of the gap, in eV."""
        return (self.homo + self.lumo) / 2

    @property
    def occupied(self) -> np.ndarray:
        """Computed levels with at least one electron, in eV, ascending."""
        return self.eigenvalues[: max(0, self.n_filled - self.first)]

    def filling(self, temperature: float | None = None) -> Filling:
        """Fill the levels with the electrons.

        In a window the levels below count as full and those above as empty, which is right at temperatures far below
        the width of the window.

        Parameters
        ----------
        temperature : float, optional
            In K, of the Fermi–Dirac distribution. By default levels are filled from below.

        Returns
        -------
        Filling
            Occupations of the m computed levels, Fermi level, HOMO and LUMO (eV).

        Raises
        ------
        InputError
            For a window that holds neither the highest filled nor the lowest empty level.

        Examples
        --------
        >>> import numpy as np
        >>> from nearsight.electronic.spectrum import Spectrum
        >>> levels = Spectrum(np.array([-3.0, -1.0, 1.0]), n_occupied=2, overlap_condition=1.0, residual=0.0)
        >>> levels.filling().occupations
        array([2., 2., 0.])
        """
        inside = self.n_electrons - 2 * self.first
        if not 0 <= inside <= 2 * len(self.eigenvalues):
            raise InputError(
                f"expected a window around the Fermi level, got levels {self.first} to "
                f"{self.first + len(self.eigenvalues) - 1} with {self.n_filled} filled ones"
            )
        return occupations(self.eigenvalues, inside, temperature=temperature)

    def level(self, number: int) -> float:
        """Return the level of a number (from 0, of all levels) in eV, NaN outside the window."""
        k = number - self.first
        return float(self.eigenvalues[k]) if 0 <= k < len(self.eigenvalues) else float("nan")


@dataclass(frozen=True, eq=False)
class States:
    """Solutions of H c = ε S c, all of them or those of a window.

    Attributes
    ----------
    spectrum : Spectrum
        The m levels, and how many there are in all.
    coefficients : ndarray of shape (n, m)
        Coefficients C of the n orbitals in the m levels, with C† S C = 1. Real at Γ.

    Raises
    ------
    InputError
        If there are not as many columns as levels.
    """

    spectrum: Spectrum
    coefficients: np.ndarray

    def __post_init__(self) -> None:
        if self.coefficients.ndim != 2 or self.coefficients.shape[1] != len(self.spectrum.eigenvalues):
            raise InputError(
                f"expected coefficients of {len(self.spectrum.eigenvalues)} states, got shape {self.coefficients.shape}"
            )

    @property
    def levels(self) -> np.ndarray:
        """The m levels in eV, ascending."""
        return self.spectrum.eigenvalues
