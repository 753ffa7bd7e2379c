"""Ridge regression of irreps on features of the same degree, by normal equations summed over batches of data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

SMALLEST_SPREAD = 0.02
"""Added in squares: a feature that hardly varied in the data is not trusted with a large coefficient."""


@dataclass(frozen=True, eq=False)
class Regression:
    """y = constant + Xᵀ weights, the same for every component m of an irrep.

    Attributes
    ----------
    weights : (F, K) array of float64
        Coefficients.
    constant : (K,) array of float64
        Zero but for scalars.
    """

    weights: np.ndarray
    constant: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Predict the targets (n, K, 2l+1) from features (n, F, 2l+1)."""
        return np.asarray(self.weights.T @ features) + self.constant[:, None]


@dataclass(frozen=True, eq=False)
class Leverage:
    """How strongly a sample pulled its own prediction.

    Attributes
    ----------
    centre, spread : (F,) array of float64
        Mean and spread of the features, for standardising.
    factor : (array, bool)
        Cholesky factor of the normal equations.
    offset : float
        Contribution of the constant: 1 where there is but one sample.
    """

    centre: np.ndarray
    spread: np.ndarray
    factor: tuple[np.ndarray, bool]
    offset: float

    def leave_one_out(self, features: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Return the residuals as they would be without each sample in turn: (1 − h)⁻¹ residual.

        Parameters
        ----------
        features : (n, F, 2l+1) array of float
            Features of the samples that were fitted.
        residual : (n, K, 2l+1) array of float
            Residuals of the fit.

        Returns
        -------
        (n, K, 2l+1) array of float64
            Leave-one-out residuals.
        """
        standard = (features - self.centre[:, None]) / self.spread[:, None]
        n, f, m = standard.shape
        solved = cho_solve(self.factor, standard.transpose(1, 0, 2).reshape(f, n * m)).reshape(f, n, m)
        own: np.ndarray = np.einsum("nfa,fnb->nab", standard, solved, optimize=True) + self.offset
        return np.linalg.solve(np.eye(m) - own, residual.transpose(0, 2, 1)).transpose(0, 2, 1)


class NormalEquations:
    """Sums over samples of F features and K targets of one degree l, with a constant only for scalars (l = 0).

    Parameters
    ----------
    n_features : int
        F.
    n_targets : int
        K.
    degree : int
        l.
    """

    def __init__(self, n_features: int, n_targets: int, degree: int) -> None:
        self.degree, self.count = degree, 0
        self.gram = np.zeros((n_features, n_features))
        self.moment = np.zeros((n_features, n_targets))
        self.feature_sum, self.target_sum = np.zeros(n_features), np.zeros(n_targets)

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Count samples.

        Parameters
        ----------
        features : (n, F, 2l+1) array of float
            Features.
        targets : (n, K, 2l+1) array of float
            Targets.
        """
        x, y = (part.transpose(1, 0, 2).reshape(part.shape[1], -1) for part in (features, targets))
        self.count += x.shape[1]
        self.gram += x @ x.T
        self.moment += x @ y.T
        if self.degree == 0:
            self.feature_sum += x.sum(axis=1)
            self.target_sum += y.sum(axis=1)

    def solve(self, ridge: float | np.ndarray) -> tuple[Regression, Leverage]:
        """Solve for the coefficients, with a penalty on each relative to its feature's variance.

        Parameters
        ----------
        ridge : float or (F,) array of float
            A coefficient of a feature with variance 1 adds ridge · coefficient² to the sum of squares over samples.

        Returns
        -------
        regression : Regression
            The coefficients.
        leverage : Leverage
            For leave-one-out residuals.
        """
        centre, mean = self.feature_sum / self.count, self.target_sum / self.count
        covariance = self.gram / self.count - np.outer(centre, centre)
        spread = np.sqrt(np.maximum(covariance.diagonal(), 0) + SMALLEST_SPREAD**2)
        system = self.count * covariance / np.outer(spread, spread) + np.diag(np.broadcast_to(ridge, len(spread)))
        factor = cho_factor(system)
        weights = cho_solve(factor, (self.moment - self.count * np.outer(centre, mean)) / spread[:, None])
        weights = np.ascontiguousarray(weights / spread[:, None])
        offset = 1 / self.count if self.degree == 0 else 0.0
        return Regression(weights, mean - centre @ weights), Leverage(centre, spread, factor, offset)
