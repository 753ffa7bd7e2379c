"""Anderson mixing (Pulay's DIIS of residuals) for fixed points x = f(x)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

HISTORY = 6
"""Steps that are remembered."""
CONDITION = 1e-6
"""Relative singular values below which differences of residuals count as none."""

Step = Callable[[np.ndarray], np.ndarray]


class AndersonMixing:
    """Propose the next x of a fixed point from the last few x and their residuals f(x) − x.

    Parameters
    ----------
    damping : float or (n,) array
        Share of the residual that is taken beyond what the history predicts, 0 to 1; of each number its own.

    References
    ----------
    D. G. Anderson, J. ACM 12, 547 (1965); P. Pulay, Chem. Phys. Lett. 73, 393 (1980).
    """

    def __init__(self, damping: float | np.ndarray = 0.3) -> None:
        self.damping = damping
        self._points: list[np.ndarray] = []
        self._residuals: list[np.ndarray] = []

    def next(self, point: np.ndarray, residual: np.ndarray, step: Step | None = None) -> np.ndarray:
        """Return the next x.

        Parameters
        ----------
        point : (n,) array
            The last x.
        residual : (n,) array
            Its f(x) − x.
        step : callable, optional
            What is taken of what the history does not predict of a residual, in place of the damping.
        """
        self._points = [*self._points, point][-HISTORY:]
        self._residuals = [*self._residuals, residual][-HISTORY:]
        if len(self._points) == 1:
            return point + (self.damping * residual if step is None else step(residual))
        steps, changes = (np.diff(np.array(rows), axis=0).T for rows in (self._points, self._residuals))
        coefficients = np.linalg.lstsq(changes, residual, rcond=CONDITION)[0]
        rest = residual - changes @ coefficients
        return np.asarray(point - steps @ coefficients + (self.damping * rest if step is None else step(rest)))
