"""DeepH's two layouts as a script of somebody else would read them: NumPy and h5py, nothing of nearsight."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
from scipy.linalg import eigh

Blocks = dict[tuple[int, int, int, int, int], np.ndarray]
"""(Rx, Ry, Rz, i, j) with atoms from 0 → the block."""


def deepx_blocks(path: Path) -> Blocks:
    """The blocks of a file of the present layout."""
    with h5py.File(path) as file:
        pairs, bounds, shapes = file["atom_pairs"][()], file["chunk_boundaries"][()], file["chunk_shapes"][()]
        entries = file["entries"][()]
    return {
        tuple(int(x) for x in pair): entries[bounds[k] : bounds[k + 1]].reshape(shapes[k])
        for k, pair in enumerate(pairs)
    }


def legacy_blocks(path: Path) -> Blocks:
    """The blocks of a file of the first layout."""
    with h5py.File(path) as file:
        found = {}
        for key in file:
            x, y, z, i, j = json.loads(key)
            found[x, y, z, i - 1, j - 1] = file[key][()]
        return found


def levels(h: Blocks, s: Blocks, k: np.ndarray) -> np.ndarray:
    """Levels at a k-point: H(k) = Σ exp(2πi k·R) H(R)."""
    matrices = []
    for blocks in (h, s):
        n_atoms = 1 + max(key[3] for key in blocks)
        sizes = [blocks[0, 0, 0, i, i].shape[0] for i in range(n_atoms)]
        first = np.concatenate([[0], np.cumsum(sizes)])
        matrix = np.zeros((first[-1], first[-1]), dtype=complex)
        for (*r, i, j), block in blocks.items():
            phase = np.exp(2j * np.pi * np.dot(k, r))
            matrix[first[i] : first[i + 1], first[j] : first[j + 1]] += phase * block
        matrices.append(matrix)
    return eigh(*matrices, eigvals_only=True)
