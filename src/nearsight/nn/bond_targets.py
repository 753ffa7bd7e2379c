"""BondTargets: what the outputs of bonds are compared with, and how."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nearsight.orbitals.bond_layout import BondLayout


@dataclass(frozen=True, eq=False)
class BondTargets:
    """Targets of the bonds of one pair of elements, in the columns of its `BondLayout`.

    With the weighted error w·(output − target), the measure is the sum over bonds and channels of
    √(|error|² + softness²) − softness, |error|² counting cos and sin; with softness 0 the sum of |error|². Neither
    depends on how the frame is turned about the bond.

    Attributes:
        values: (e, width).
        weights: (e, width), alike for cos and sin of a channel.
        softness: in units of the weighted error.
    """

    values: Tensor
    weights: Tensor
    softness: float = 0.0

    def rows(self, chosen: slice | Tensor) -> BondTargets:
        """Those of some bonds."""
        return BondTargets(self.values[chosen], self.weights[chosen], self.softness)

    def to(self, device: torch.device | str) -> BondTargets:
        """The same on another device."""
        return BondTargets(self.values.to(device), self.weights.to(device), self.softness)

    def error(self, output: Tensor, layout: BondLayout) -> Tensor:
        """The measure of outputs (e, width), differentiable."""
        squares = (self.weights * (output - self.values)).square()
        return torch.stack([self._block(squares[:, b.columns].unflatten(1, (b.components, b.channels)).sum(1))
                            for b in layout.blocks]).sum()

    def _block(self, squares: Tensor) -> Tensor:
        if not self.softness:
            return squares.sum()
        return ((squares + self.softness**2).sqrt() - self.softness).sum()
