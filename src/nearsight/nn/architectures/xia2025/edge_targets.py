"""EdgeTargets: what the outputs of edges are compared with, and how."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class EdgeTargets:
    """Targets of the labelled edges and the measure of the error.

    With the weighted error w·(output − target), the measure is Σ error² where `huber_delta` is 0, else the sum over
    edges and irreps of √(|error|² + softness²) − softness: quadratic for small errors, linear for large ones, and
    like the squares unchanged by rotations, since weights are alike for all components of an irrep.

    Attributes:
        values: (e, size).
        weights: (e, size), bool or real, alike for all components of an irrep; None is one everywhere.
        irrep: (size,) int64, which irrep each number belongs to; needed with softness only.
        softness: in units of the weighted error.
    """

    values: Tensor
    weights: Tensor | None = None
    irrep: Tensor | None = None
    huber_delta: float = 0.0

    def rows(self, chosen: slice | Tensor) -> EdgeTargets:
        """Those of some edges."""
        weights = None if self.weights is None else self.weights[chosen]
        return EdgeTargets(self.values[chosen], weights, self.irrep, self.huber_delta)

    def error(self, output: Tensor) -> Tensor:
        """The measure of outputs (e, size), differentiable."""
        error = self._weighted(output - self.values)
        if not self.huber_delta:
            return error.square().sum()
        return (self._norms(error) - self.huber_delta).sum()

    def error_and_gradient(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """The measure in float64 and its gradient with respect to the outputs (e, size)."""
        error = self._weighted(output - self.values)
        if not self.huber_delta:
            return error.square().sum(dtype=torch.float64), self._weighted(error).mul_(2)
        norms = self._norms(error)
        gradient = self._weighted(error / norms[:, self._irrep])
        return (norms - self.huber_delta).sum(dtype=torch.float64), gradient

    @property
    def _irrep(self) -> Tensor:
        if self.irrep is None:
            raise ValueError("expected EdgeTargets.irrep with softness > 0, got None")
        return self.irrep

    def _weighted(self, error: Tensor) -> Tensor:
        return error.clone() if self.weights is None else error * self.weights

    def _norms(self, error: Tensor) -> Tensor:
        count = int(self._irrep[-1]) + 1
        squares = error.new_full((len(error), count), self.huber_delta**2)
        return squares.index_add(1, self._irrep, error.square()).sqrt()
