"""EdgeTargets: what the outputs of edges are compared with, and how."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class EdgeTargets:
    """Targets of the labelled edges; the measure of the error is Σ (mask · (output − target))².

    Attributes
    ----------
    values : Tensor
        (e, size).
    mask : Tensor or None
        (e, size) bool, what is compared; None is everything.
    """

    values: Tensor
    mask: Tensor | None = None

    def rows(self, chosen: slice | Tensor) -> EdgeTargets:
        """Return the targets of some edges."""
        return EdgeTargets(self.values[chosen], None if self.mask is None else self.mask[chosen])

    def error(self, output: Tensor) -> Tensor:
        """Return the measure of outputs (e, size), differentiable."""
        return self._masked(output - self.values).square().sum()

    def error_and_gradient(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the measure in float64 and its gradient with respect to the outputs (e, size)."""
        error = self._masked(output - self.values)
        return error.square().sum(dtype=torch.float64), self._masked(error).mul_(2)

    def _masked(self, error: Tensor) -> Tensor:
        return error.clone() if self.mask is None else error * self.mask
