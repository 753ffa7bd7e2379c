"""Density matrices without eigenvectors against those of eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, sparse

from nearsight.electronic.block_sparse import BlockSparse, Clusters
from nearsight.electronic.inverse_root import interval_of, inverse_root
from nearsight.electronic.purification import purified
from nearsight.errors import InputError

N, SIZE = 120, 12
CLUSTERS = Clusters(np.arange(N), np.full(N // SIZE, SIZE))


def hamiltonian(levels: np.ndarray, seed: int = 0) -> tuple[BlockSparse, np.ndarray]:
    states = np.linalg.qr(np.random.default_rng(seed).standard_normal((N, N)))[0]
    dense = (states * levels) @ states.T
    return BlockSparse.of(sparse.csr_matrix(dense), CLUSTERS, 0.0), states


def test_the_density_matrix_is_the_projector_on_occupied_levels_and_the_gap_is_bounded() -> None:
    levels = np.concatenate([np.linspace(-50, -45, 20), np.linspace(-5, 9, 40), np.linspace(11, 25, 60)])
    h, states = hamiltonian(levels)
    found = purified(h, interval_of(h), 60, 1e-6)
    np.testing.assert_allclose(found.density.dense(), states[:, :60] @ states[:, :60].T, atol=2e-5)
    assert found.homo == pytest.approx(9.0, abs=0.05)
    assert found.lumo == pytest.approx(11.0, abs=0.05)
    assert abs(found.excess) < 1e-3
    assert found.idempotency < 1e-4
    assert found.products < 30


def test_without_a_gap_there_is_no_density_matrix() -> None:
    levels = np.sort(np.concatenate([np.linspace(-5, 5, N - 4), np.zeros(4)]))
    h, _ = hamiltonian(levels)
    with pytest.raises(InputError, match=r"expected a gap .* density_solver=dense"):
        purified(h, interval_of(h), N / 2, 1e-6)


def test_the_inverse_root_is_that_of_the_eigenvectors() -> None:
    x = np.random.default_rng(1).standard_normal((N, N))
    s = np.eye(N) + 0.028 * (x + x.T)
    values, vectors = linalg.eigh(s)
    assert 0.01 < values[0] < 0.5
    overlap = BlockSparse.of(sparse.csr_matrix(s), CLUSTERS, 0.0)
    interval = interval_of(overlap)
    assert 0.5 * values[0] < interval.lower <= values[0]
    assert values[-1] <= interval.upper < 1.1 * values[-1]
    root = inverse_root(overlap, interval, 1e-6)[0]
    np.testing.assert_allclose(root.dense(), (vectors / np.sqrt(values)) @ vectors.T, atol=1e-4)
