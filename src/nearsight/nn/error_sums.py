"""Mean absolute errors ε_n, ε_e and ε_tot of the paper: errors of the matrix elements in the original orbitals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class ErrorSums:
    """Running sums of absolute errors of matrix elements, on site and between atoms.

    Attributes
    ----------
    node_sum, edge_sum : float
        Sums of absolute errors (E_h) of the elements of on-site blocks, and of blocks between atoms.
    node_count, edge_count : int
        Numbers of those elements.
    """

    node_sum: float = 0.0
    node_count: int = 0
    edge_sum: float = 0.0
    edge_count: int = 0

    def add_on_site(self, errors: np.ndarray) -> None:
        """Add errors (E_h, any shape) of elements of on-site blocks."""
        self.node_sum += float(np.abs(errors).sum())
        self.node_count += errors.size

    def add_off_site(self, errors: np.ndarray) -> None:
        """Add errors (E_h, any shape) of elements of blocks between atoms."""
        self.edge_sum += float(np.abs(errors).sum())
        self.edge_count += errors.size

    def summary(self) -> dict[str, float]:
        """Return the mean absolute errors.

        Returns
        -------
        dict of str to float
            Errors ε_n, ε_e and ε_tot in mE_h under `eps_n_mEh`, `eps_e_mEh` and `eps_tot_mEh`; the key of a mean over
            no elements is absent.
        """
        total, count = self.node_sum + self.edge_sum, self.node_count + self.edge_count
        means = {
            "eps_n_mEh": (self.node_sum, self.node_count),
            "eps_e_mEh": (self.edge_sum, self.edge_count),
            "eps_tot_mEh": (total, count),
        }
        return {key: 1e3 * s / c for key, (s, c) in means.items() if c}
