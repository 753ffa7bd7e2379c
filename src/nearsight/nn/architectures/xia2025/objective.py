"""Losses in the coupled space (paper, appendix A).

A step may run over several partitions. Its loss is that of all their rows together: sums over partitions, one
denominator. So the gradient of a step over all partitions of a structure is that of the same labelled rows of the
undivided structure.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.nn.architectures.xia2025.batches import PartitionBatch
from nearsight.nn.architectures.xia2025.config import Xia2025Loss
from nearsight.nn.architectures.xia2025.targets import EdgeTargets, Targets
from nearsight.nn.error_sums import ErrorSums
from nearsight.nn.model import Objective
from nearsight.orbitals.coupled_layout import CoupledLayout


class CoupledObjective(Objective):
    """MSE, or RMSE + MAE, of coupled outputs; the two sums are Σ error² and Σ |error|.

    Parameters
    ----------
    config : Xia2025Loss
        Kind of loss, and whether padding counts.
    layout : CoupledLayout
        Layout of the outputs.
    """

    def __init__(self, config: Xia2025Loss, layout: CoupledLayout) -> None:
        self.config, self.layout, self.additive = config, layout, config.kind == "mse"

    def sums(self, network: nn.Module, batch: PartitionBatch) -> Tensor:
        """Return the sums of one batch; where rows are single edges, no edge's output is kept.

        Parameters
        ----------
        network, batch
            Arguments of `Objective.sums`.

        Returns
        -------
        Tensor
            (2,) Σ error² (E_h²) and Σ |error| (E_h); the latter is 0 for MSE.
        """
        targets, config = batch.targets, self.config
        if not self.additive or targets.row_of_edge is not None:
            return error_sums(targets.gather(*network(batch.graph)), targets, config)
        n = targets.n_nodes
        mask = targets.mask if config.masked else None
        nodes, edges = network(batch.graph, EdgeTargets(targets.values[n:], None if mask is None else mask[n:]))
        error = nodes - targets.values[:n]
        error = error if mask is None else error * mask[:n]
        return torch.stack([error.square().sum() + edges, error.new_zeros(())])

    def loss(self, sums: Tensor, terms: int) -> Tensor:
        """Return the loss from the sums over all batches of a step.

        Parameters
        ----------
        sums, terms
            Arguments of `Objective.loss`.

        Returns
        -------
        Tensor
            Mean square, or root mean square plus mean absolute error.
        """
        mean = sums / terms
        return mean[0] if self.additive else torch.sqrt(mean[0] + 1e-16) + mean[1]

    def validate(self, network: nn.Module, batch: PartitionBatch, errors: ErrorSums | None) -> Tensor:
        """Return the sums of a batch from outputs that are counted in `errors`.

        Parameters
        ----------
        network, batch, errors
            Arguments of `Objective.validate`.

        Returns
        -------
        Tensor
            (2,) float64 on the CPU.
        """
        output = batch.targets.gather(*network(batch.graph))
        if errors is not None:
            count_errors(errors, output, batch.targets, self.layout)
        return error_sums(output, batch.targets, self.config).double().cpu()


def error_sums(output: Tensor, targets: Targets, config: Xia2025Loss) -> Tensor:
    """Return (Σ error², Σ |error|) over the rows of one batch.

    Parameters
    ----------
    output : Tensor
        (rows, size) E_h, outputs summed into rows.
    targets : Targets
        Targets of the rows.
    config : Xia2025Loss
        Kind of loss, and whether padding counts.

    Returns
    -------
    Tensor
        (2,); the second is 0 for MSE.
    """
    error = output - targets.values
    if config.masked:
        error = error * targets.mask
    if config.kind == "mse":
        return torch.stack([(error**2).sum(), error.new_zeros(())])
    return torch.stack([(error**2).sum(), error.abs().sum()])


def count_errors(errors: ErrorSums, output: Tensor, targets: Targets, layout: CoupledLayout) -> None:
    """Count the errors of the matrix elements of the rows of one batch.

    Parameters
    ----------
    errors : ErrorSums
        Sums that are added to, E_h.
    output : Tensor
        (rows, size) E_h, in the coupled space.
    targets : Targets
        Targets of the rows.
    layout : CoupledLayout
        Layout of the coupled space.
    """
    error = (output - targets.values).detach().double().cpu().numpy()
    which = targets.element_pair.cpu().numpy()
    on_site = np.arange(len(error)) < targets.n_nodes
    for k, (zi, zj) in enumerate(targets.element_pairs):
        own = which == k
        for rows, add in ((own & on_site, errors.add_on_site), (own & ~on_site, errors.add_off_site)):
            if rows.any():
                add(layout.uncouple(error[rows], zi, zj))
