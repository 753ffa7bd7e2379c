"""Radial functions: smooth functions of distance that vanish at the cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nearsight.errors import InputError


@dataclass(frozen=True)
class RadialFunctions:
    """Cubic B-splines on (0, cutoff), uniform in s = count · r / cutoff.

    Function k is nonzero on k − 3 < s < k + 1. Everywhere, the cutoff included, value, first and second derivative are
    continuous, since the last function ends at the cutoff; beyond it all are zero.

    Attributes
    ----------
    cutoff : float
        Å.
    count : int
        Number of functions.

    Raises
    ------
    InputError
        If the cutoff or the count is not positive.
    """

    cutoff: float
    count: int

    def __post_init__(self) -> None:
        if not (self.cutoff > 0 and self.count > 0):
            raise InputError(
                f"expected a positive cutoff in Å and number of radial functions, got {self.cutoff} and {self.count}"
            )

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Evaluate all functions.

        Parameters
        ----------
        distance : (n,) array of float
            Å.

        Returns
        -------
        (n, count) array of float64
            Values, zero from the cutoff on.
        """
        distance = np.asarray(distance, dtype=np.float64)
        s = self.count * distance / self.cutoff
        inside = distance < self.cutoff
        interval = np.where(inside, np.clip(np.floor(s), 0, self.count - 1), 0).astype(np.int64)
        t = np.where(inside, s - interval, 0.0)
        values = np.zeros((len(distance), self.count + 3))
        rows = np.arange(len(distance))
        for k, value in enumerate(cubic_b_splines(t)):
            values[rows, interval + k] = value * inside
        return values[:, : self.count]

    def centres(self) -> np.ndarray:
        """Return where the functions are largest, (count,) in Å; 0 for the first two."""
        return np.maximum(np.arange(self.count) - 1, 0) * self.cutoff / self.count

    def bending(self) -> np.ndarray:
        """Return the (count, count) matrix P with cᵀPc = Σ (c_k − 2c_{k+1} + c_{k+2})².

        Coefficients of the functions beyond the cutoff, which do not exist, count as zeros.
        """
        differences = np.diff(np.eye(self.count + 3), n=2, axis=0)[:, : self.count]
        return differences.T @ differences


def cubic_b_splines(t: Any) -> tuple[Any, ...]:
    """Evaluate the four uniform cubic B-splines that are not zero in an interval between two knots.

    Parameters
    ----------
    t : array or Tensor
        Position in the interval in units of its length, 0 ≤ t < 1. Only arithmetic is done with it, so NumPy arrays
        and torch tensors, of any shape and precision, are both welcome.

    Returns
    -------
    tuple of four arrays or Tensors
        Values in ascending order of the functions: of the one that ends with this interval first, of the one that
        begins with it last. They sum to 1.

    Notes
    -----
    De Boor, A Practical Guide to Splines (Springer, 1978), chapter IX.
    """
    return ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
