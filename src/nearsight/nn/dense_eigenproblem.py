"""Eigenvectors of dense symmetric matrices on the device of a model: by LAPACK on the CPU, by torch on a GPU."""

from __future__ import annotations

import numpy as np
import torch

from nearsight.electronic.eigenvectors import eigenvectors
from nearsight.self_consistency.atomic_density import Diagonalise


def eigensolver_on(device: torch.device) -> Diagonalise:
    """Return how matrices are diagonalised on a device.

    Parameters
    ----------
    device : torch.device
        `cpu` is LAPACK; others hold the matrix and its eigenvectors.
    """
    return eigenvectors if device.type == "cpu" else by_torch(device)


def by_torch(device: torch.device) -> Diagonalise:
    """Return how matrices are diagonalised by torch on any device.

    Parameters
    ----------
    device : torch.device
        Where.
    """

    def diagonalise(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        given = torch.from_numpy(np.ascontiguousarray(matrix)).to(device)
        levels, vectors = torch.linalg.eigh(given)
        return levels.cpu().numpy(), vectors.cpu().numpy()

    return diagonalise
