"""Contracted Gaussian shells, the radial functions of a basis, and primitives as basis files give them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gamma

from nearsight.errors import InputError
from nearsight.units import BOHR_IN_ANGSTROM

MOST_PRIMITIVES = 100
"""Of a shell; those of real basis sets have up to 30."""


@dataclass(frozen=True, eq=False)
class GaussianShell:
    """A contracted shell, Σ_k c_k r^l exp(−α_k r²) Y_lm.

    Attributes
    ----------
    l : int
        Angular momentum.
    exponents : (K,) array of float64
        α, 1/bohr².
    coefficients : (K,) array of float64
        c, of primitives that are not normalised; a common factor has no meaning.
    """

    l: int
    exponents: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def of_primitives(cls, l: int, exponents: ArrayLike, coefficients: ArrayLike) -> GaussianShell:
        """Make a shell of numbers from a file, which are checked.

        Raises
        ------
        InputError
            If numbers are not finite, an exponent is not positive, all coefficients are 0, there are more primitives
            than any basis has, or they cannot be normalised.
        """
        alpha, c = np.asarray(exponents, dtype=np.float64), np.asarray(coefficients, dtype=np.float64)
        sound = alpha.ndim == 1 and alpha.shape == c.shape and np.isfinite(alpha).all() and np.isfinite(c).all()
        if not (sound and (alpha > 0).all() and c.any()):
            raise InputError("expected positive exponents and finite coefficients, not all 0, of a Gaussian shell")
        if len(alpha) > MOST_PRIMITIVES:
            raise InputError(f"expected at most {MOST_PRIMITIVES} primitives of a Gaussian shell, got {len(alpha)}")
        shell = cls(l, alpha, c)
        with np.errstate(all="ignore"):
            norm = shell.norm
        if not 0 < norm < np.inf:
            raise InputError(f"expected a Gaussian shell that can be normalised, got a norm of {norm}")
        return shell

    @classmethod
    def of_normalised(cls, l: int, exponents: ArrayLike, coefficients: ArrayLike) -> GaussianShell:
        """Make a shell of the coefficients of normalised primitives, as basis files of CP2K and PySCF give them.

        Parameters
        ----------
        l : int
            Angular momentum.
        exponents : (K,) array of float
            α, 1/bohr²; all positive.
        coefficients : (K,) array of float
            Coefficients of normalised primitives; primitives with 0 are left out.

        Raises
        ------
        InputError
            If numbers are not finite, an exponent is not positive, or all coefficients are 0.
        """
        shell = cls.of_primitives(l, exponents, coefficients)
        kept = shell.coefficients != 0
        alpha, c = shell.exponents[kept], shell.coefficients[kept]
        return cls(l, alpha, c * alpha ** ((2 * l + 3) / 4))

    @property
    def norm(self) -> float:
        """Square root of the overlap with itself."""
        p = self.exponents[:, None] + self.exponents
        radial = gamma(self.l + 1.5) / (2 * p ** (self.l + 1.5))
        return float(np.sqrt(self.coefficients @ radial @ self.coefficients * 4 * np.pi / (2 * self.l + 1)))

    def reach(self, smallest: float = 1e-6) -> float:
        """Return the distance in Å from which the overlap of two such shells is about `smallest`."""
        return float(np.sqrt(-2 * np.log(smallest) / self.exponents.min())) * BOHR_IN_ANGSTROM
