"""Objective: what a step minimises, for each network; the training loop knows nothing else of them."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from nearsight.learning.config import LossConfig
from nearsight.learning.metrics import ErrorSums
from nearsight.nn.architectures.nearsight.model import BondModel
from nearsight.nn.architectures.nearsight.training import bond_error, validate_bonds
from nearsight.nn.architectures.xia2025.loss import error_sums, is_additive, loss_of_sums, part_sums
from nearsight.nn.model import Model


class Objective(Protocol):
    """Sums over parts, and the loss that follows from them."""

    @property
    def additive(self) -> bool:
        """Whether each part's gradient can be taken by itself."""

    def sums(self, network: Any, piece: Any) -> Tensor:
        """(2,) differentiable sums over one part."""

    def loss(self, sums: Tensor, terms: int) -> Tensor:
        """From the sums over all parts of a step, and the number of their terms."""

    def validate(self, network: Any, piece: Any, errors: ErrorSums | None) -> Tensor:
        """`sums` in float64 on the CPU; the part's matrix elements are counted in `errors`."""


class CoupledObjective:
    """Of the paper's network: MSE, or RMSE + MAE, of coupled outputs.

    Args:
        config: which one.
        model: its layout.
    """

    def __init__(self, config: LossConfig, model: Model) -> None:
        self.config, self.model = config, model

    @property
    def additive(self) -> bool:
        """For the MSE."""
        return is_additive(self.config)

    def sums(self, network: Any, piece: Any) -> Tensor:
        """(Σ error², Σ |error|)."""
        return part_sums(network, piece, self.config)

    def loss(self, sums: Tensor, terms: int) -> Tensor:
        """MSE, or RMSE + MAE."""
        return loss_of_sums(sums, terms, self.config)

    def validate(self, network: Any, piece: Any, errors: ErrorSums | None) -> Tensor:
        """The same sums from outputs that are counted."""
        output = piece.targets.gather(*network(piece.graph))
        if errors is not None:
            errors.add(output, piece.targets, self.model.layout)
        return error_sums(output, piece.targets, self.config).double().cpu()


class BondObjective:
    """Of the network `nearsight`: robust errors in units of a power of their r.m.s."""

    additive = True

    def sums(self, network: Any, piece: Any) -> Tensor:
        """(Σ robust error, 0)."""
        error = bond_error(_plain(network), piece)
        return torch.stack([error, error.new_zeros(())])

    def loss(self, sums: Tensor, terms: int) -> Tensor:
        """The mean."""
        return sums[0] / terms

    def validate(self, network: Any, piece: Any, errors: ErrorSums | None) -> Tensor:
        """The same sums."""
        return torch.tensor([validate_bonds(_plain(network), piece, errors), 0.0], dtype=torch.float64)


def objective_for(model: Model | BondModel, config: LossConfig) -> Objective:
    """Of a model's network."""
    return BondObjective() if isinstance(model, BondModel) else CoupledObjective(config, model)


def _plain(network: Any) -> Any:
    """The network itself, whose methods are called, without the wrapper of the device."""
    return getattr(network, "module", network)
