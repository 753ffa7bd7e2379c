"""States: levels with their wavefunctions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError


@dataclass(frozen=True, eq=False)
class States:
    """Solutions of H c = ε S c, all of them or those of a window.

    Attributes:
        spectrum: the levels, and how many there are in all.
        coefficients: (n, m) of the n orbitals in the m levels of the spectrum, C† S C = 1; real at Γ.

    Raises:
        InputError: as many columns as levels were expected.
    """

    spectrum: Spectrum
    coefficients: np.ndarray

    def __post_init__(self) -> None:
        if self.coefficients.ndim != 2 or self.coefficients.shape[1] != len(self.spectrum.eigenvalues):
            raise InputError(f"expected coefficients of {len(self.spectrum.eigenvalues)} states, got shape "
                             f"{self.coefficients.shape}")

    @property
    def levels(self) -> np.ndarray:
        """(m,) eV, ascending."""
        return self.spectrum.eigenvalues
