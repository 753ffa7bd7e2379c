"""The objective that training the network `nearsight` minimises, and what validation reports of it."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.baselines.bond_scale import max_shell
from nearsight.nn.architectures.nearsight.batches import MEV, BondBatch
from nearsight.nn.architectures.nearsight.graph import ElementPair, frames_of
from nearsight.nn.architectures.nearsight.network import NearsightNetwork
from nearsight.nn.error_sums import ErrorSums
from nearsight.nn.model import Objective


class BondObjective(Objective):
    """Pseudo-Huber errors of bonds in units of a power of their r.m.s.; the first of the two sums is the error."""

    def sums(self, network: nn.Module, batch: BondBatch) -> Tensor:
        """Return (Σ error, 0) of a batch, differentiable (see `Objective.sums`).

        Parameters
        ----------
        network, batch
            Arguments of `Objective.sums`.

        Returns
        -------
        Tensor
            (2,) sums.
        """
        error = bond_error(_network_of(network, batch), batch)
        return torch.stack([error, error.new_zeros(())])

    def add_gradient(self, network: nn.Module, batch: BondBatch, terms: int) -> Tensor:
        """Add the gradient of a batch's part of the loss, by the compiled pass where there is one.

        Parameters
        ----------
        network, batch, terms
            Arguments of `Objective.add_gradient`.

        Returns
        -------
        Tensor
            (2,) sums.
        """
        own = _network_of(network, batch)
        error = None if batch.folded else own.add_gradient(batch.graph, batch.targets, 1 / terms)
        if error is None:
            return super().add_gradient(network, batch, terms)
        return own.mix[0].new_tensor([error, 0.0])

    def validate(self, network: nn.Module, batch: BondBatch, errors: ErrorSums | None) -> Tensor:
        """Return the sums of a batch, and count the errors of its matrix elements, those of each bond once.

        Parameters
        ----------
        network, batch, errors
            Arguments of `Objective.validate`.

        Returns
        -------
        Tensor
            (2,) float64 on the CPU.
        """
        return torch.tensor([validate_bonds(_network_of(network, batch), batch, errors), 0.0], dtype=torch.float64)


def _network_of(network: nn.Module, batch: BondBatch) -> NearsightNetwork:
    """Return the network that a batch is for, whose methods are called, without the wrapper of the device."""
    return cast(NearsightNetwork, getattr(network, "module", network)).of(batch.graph)


def bond_error(network: NearsightNetwork, batch: BondBatch) -> Tensor:
    """Return the error of a batch, differentiable.

    Parameters
    ----------
    network : NearsightNetwork
        The network.
    batch : BondBatch
        Bonds with their targets.

    Returns
    -------
    Tensor
        Sum of `BondTargets.error` or of `FoldedPairs.error` over the pairs of elements, a scalar.
    """
    if not batch.folded:
        return network.error(batch.graph, batch.targets)
    outputs = network(batch.graph)
    return torch.stack([folded.error(outputs[pair]) for pair, folded in batch.folded.items()]).sum()


@torch.no_grad()
def validate_bonds(network: NearsightNetwork, batch: BondBatch, errors: ErrorSums | None) -> float:
    """Return the error of a batch without gradient, and count the errors of its matrix elements.

    Parameters
    ----------
    network : NearsightNetwork
        The network.
    batch : BondBatch
        Bonds with their targets.
    errors : ErrorSums or None
        Where errors of matrix elements (E_h) are counted, those of each bond once.

    Returns
    -------
    float
        `bond_error`.
    """
    if errors is not None:
        for pair, output in network(batch.graph).items():
            errors.add_off_site(_block_errors(network, batch, pair, output) / MEV)
    return float(bond_error(network, batch))


def _block_errors(network: NearsightNetwork, batch: BondBatch, pair: ElementPair, output: Tensor) -> np.ndarray:
    """Return the errors of blocks, (e, n_i, n_j) meV."""
    if pair in batch.folded:
        folded = batch.folded[pair]
        return (folded.blocks(output) - folded.values).double().cpu().numpy()
    layout, target = network.layouts[pair], batch.targets[pair]
    columns = ((output - target.values) * batch.unit[pair]).double().cpu().numpy()
    return layout.blocks_of(columns, frames_of(batch.graph.bonds[pair], max_shell(layout)))
