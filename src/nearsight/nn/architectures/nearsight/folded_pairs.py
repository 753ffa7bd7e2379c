"""FoldedPairs: pairs of atoms of which a reference at Γ knows only the sum over their periodic images.

H_ij(Γ) = Σ_R H_ij(R): the outputs of all images within the cutoff are turned back to the common axes and added up
before they are compared. So a cell may be smaller than twice the cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.rotations import orbital_frames


@dataclass(frozen=True, eq=False)
class FoldedPairs:
    """Sums of one pair of elements.

    Attributes:
        softness: in units of the weighted error.
        row: (e,) int64, the pair of atoms that each bond is an image of.
        left, right: (e, n, n), rotations of the orbitals of both atoms into the frame of the bond.
        unit: (e, width) meV, what an output of 1 stands for.
        matrix: (width, n_i·n_j), of the `BondLayout`.
        values: (rows, n_i, n_j) meV, what the sum of the outputs should be.
        weights: (rows,) factors of the errors.
    """

    huber_delta: float
    row: Tensor
    left: Tensor
    right: Tensor
    unit: Tensor
    matrix: Tensor
    values: Tensor
    weights: Tensor

    def blocks(self, output: Tensor) -> Tensor:
        """(rows, n_i, n_j) meV, sums over images of outputs (e, width)."""
        turned = ((output * self.unit) @ self.matrix).unflatten(1, self.values.shape[1:])
        return torch.zeros_like(self.values).index_add(0, self.row, self.left.mT @ turned @ self.right)

    def error(self, output: Tensor) -> Tensor:
        """Σ over pairs of √(n w²|error|² + n² s²) − n s, n numbers per block; with softness 0 Σ w²|error|²."""
        squares = (self.blocks(output) - self.values).square().sum(dim=(1, 2)) * self.weights**2
        if not self.huber_delta:
            return squares.sum()
        n = self.values[0].numel() if len(self.values) else 1
        return ((n * squares + (n * self.huber_delta) ** 2).sqrt() - n * self.huber_delta).sum()

    def to(self, device: torch.device | str) -> FoldedPairs:
        """The same on another device."""
        tensors = (self.row, self.left, self.right, self.unit, self.matrix, self.values, self.weights)
        return FoldedPairs(self.huber_delta, *(t.to(device) for t in tensors))


def make_folded(
    layout: BondLayout,
    row: np.ndarray,
    frames: Sequence[np.ndarray],
    unit: np.ndarray,
    values: np.ndarray,
    power: float,
    huber_delta: float,
    dtype: torch.dtype,
) -> FoldedPairs:
    """The tensors of some sums.

    Args:
        layout: of the outputs.
        row, unit, values: as in `FoldedPairs`.
        frames: D^0, D^1, … of the bonds.
        power: weights are the r.m.s. scale of a sum (meV) to this power, divided by that scale.
        softness: of the errors.
        dtype: of the tensors.
    """
    squares = np.zeros(len(values))
    np.add.at(squares, row, (unit**2).mean(axis=1))
    scale = np.sqrt(squares)
    sides = [orbital_frames(layout.layout.basis, z, frames) for z in layout.pair]
    real = [torch.as_tensor(x, dtype=dtype) for x in (*sides, unit, layout.matrix, values, scale ** (power - 1))]
    return FoldedPairs(huber_delta, torch.as_tensor(row), *real)
