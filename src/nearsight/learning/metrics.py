"""ε_n, ε_e and ε_tot of the paper: mean absolute error of the uncoupled, un-padded matrix elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nearsight.nn.architectures.xia2025.targets import Targets
from nearsight.orbitals.coupled_layout import CoupledLayout


@dataclass
class ErrorSums:
    """Σ |error| (E_h) and number of matrix elements, on site and between atoms."""

    node_sum: float = 0.0
    node_count: int = 0
    edge_sum: float = 0.0
    edge_count: int = 0

    def add(self, output: Tensor, targets: Targets, layout: CoupledLayout) -> None:
        """Count the rows of one part: output and target in the coupled space, E_h."""
        error = (output - targets.values).detach().double().cpu().numpy()
        which = targets.element_pair.cpu().numpy()
        on_site = np.arange(len(error)) < targets.n_nodes
        for k, (zi, zj) in enumerate(targets.element_pairs):
            for nodes in (True, False):
                rows = (which == k) & (on_site == nodes)
                if rows.any():
                    self._count(np.abs(layout.uncouple(error[rows], zi, zj)), nodes)

    def _count(self, absolute: np.ndarray, nodes: bool) -> None:
        if nodes:
            self.node_sum += float(absolute.sum())
            self.node_count += absolute.size
        else:
            self.edge_sum += float(absolute.sum())
            self.edge_count += absolute.size

    def summary(self) -> dict[str, float]:
        """ε in mE_h: keys eps_n_mEh, eps_e_mEh, eps_tot_mEh; a mean over nothing is left out."""
        total, count = self.node_sum + self.edge_sum, self.node_count + self.edge_count
        means = {
            "eps_n_mEh": (self.node_sum, self.node_count),
            "eps_e_mEh": (self.edge_sum, self.edge_count),
            "eps_tot_mEh": (total, count),
        }
        return {key: 1e3 * s / c for key, (s, c) in means.items() if c}
