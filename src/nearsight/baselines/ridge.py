"""NormalEquations: ridge regression of irreps on features of the same degree, over data that come in pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

SMALLEST_SPREAD = 0.02
"""Added in squares: a feature that hardly varied in the data is not trusted with a large coefficient."""


@dataclass(frozen=True, eq=False)
class Regression:
    """y = constant + Xᵀ weights, the same for every component m of an irrep.

    Attributes:
        weights: (F, K).
        constant: (K,), zero but for scalars.
    """

    weights: np.ndarray
    constant: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, K, 2l+1) from features (n, F, 2l+1)."""
        return np.asarray(self.weights.T @ features) + self.constant[:, None]


@dataclass(frozen=True, eq=False)
class Leverage:
    """How strongly a sample pulled its own prediction.

    Attributes:
        centre, spread: (F,) of the features, for standardising.
        factor: Cholesky factor of the normal equations.
        offset: what the constant adds: 1 where there is but one sample.
    """

    centre: np.ndarray
    spread: np.ndarray
    factor: tuple[np.ndarray, bool]
    offset: float

    def leave_one_out(self, features: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Residuals (n, K, 2l+1) as they would be without each sample in turn: (1 − h)⁻¹ residual.

        Args:
            features: (n, F, 2l+1) of the samples that were fitted.
            residual: (n, K, 2l+1) of the fit.
        """
        standard = (features - self.centre[:, None]) / self.spread[:, None]
        n, f, m = standard.shape
        solved = cho_solve(self.factor, standard.transpose(1, 0, 2).reshape(f, n * m)).reshape(f, n, m)
        own: np.ndarray = np.einsum("nfa,fnb->nab", standard, solved, optimize=True) + self.offset
        return np.linalg.solve(np.eye(m) - own, residual.transpose(0, 2, 1)).transpose(0, 2, 1)


class NormalEquations:
    """Sums over samples of F features and K targets of one degree l; a constant only for scalars (l = 0).

    Args:
        n_features: F.
        n_targets: K.
        degree: l.
    """

    def __init__(self, n_features: int, n_targets: int, degree: int) -> None:
        self.degree, self.count = degree, 0
        self.gram = np.zeros((n_features, n_features))
        self.moment = np.zeros((n_features, n_targets))
        self.feature_sum, self.target_sum = np.zeros(n_features), np.zeros(n_targets)

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Count samples: features (n, F, 2l+1) and targets (n, K, 2l+1)."""
        x, y = (part.transpose(1, 0, 2).reshape(part.shape[1], -1) for part in (features, targets))
        self.count += x.shape[1]
        self.gram += x @ x.T
        self.moment += x @ y.T
        if self.degree == 0:
            self.feature_sum += x.sum(axis=1)
            self.target_sum += y.sum(axis=1)

    def solve(self, ridge: float | np.ndarray) -> tuple[Regression, Leverage]:
        """The regression with a penalty on each coefficient, relative to its feature's variance.

        Args:
            ridge: one number or (F,). A coefficient of a feature with variance 1 adds ridge · coefficient² to the sum
                of squares over samples.
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
