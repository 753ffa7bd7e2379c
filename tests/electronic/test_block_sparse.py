"""Matrices of sparse blocks equal dense ones where nothing is neglected, and neglect what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from nearsight.electronic.block_sparse import (
    BlockSparse,
    Clusters,
    column_sums_of_products,
    identity,
    own_blocks_of_product,
)

SIZES = np.array([3, 5, 1, 4, 2])
N = int(SIZES.sum())


def clusters() -> Clusters:
    return Clusters(np.random.default_rng(0).permutation(N), SIZES)


def random_symmetric(seed: int, decay: float = 0.0) -> np.ndarray:
    """In the order of the clusters; elements fall with the distance of their clusters."""
    x, owner = np.random.default_rng(seed).standard_normal((N, N)), np.repeat(np.arange(len(SIZES)), SIZES)
    return (x + x.T) * np.exp(-decay * np.abs(owner[:, None] - owner))


def blocks_of(dense: np.ndarray, threshold: float = 0.0) -> BlockSparse:
    """Of a matrix in the order of the clusters."""
    own = clusters()
    given = np.empty_like(dense)
    given[np.ix_(own.order, own.order)] = dense
    return BlockSparse.of(sparse.csr_matrix(given), own, threshold)


def test_sums_and_products_are_those_of_dense_matrices() -> None:
    a, b = random_symmetric(1), random_symmetric(2)
    x, y = blocks_of(a), blocks_of(b)
    np.testing.assert_allclose(x.dense(), a, atol=1e-6)
    np.testing.assert_allclose(x.scaled(2.0, -0.5).plus(y, 3.0).dense(), 2 * a - 0.5 * np.eye(N) + 3 * b, atol=1e-5)
    np.testing.assert_allclose(x.times(y, 0.0).dense(), a @ b, atol=1e-4)
    np.testing.assert_allclose(x.times(y, 0.0).times(x, 0.0, symmetric=True).dense(), a @ b @ a, atol=1e-3)
    np.testing.assert_allclose(x @ b, a @ b, atol=1e-4)
    assert x.trace() == pytest.approx(np.trace(a), abs=1e-5)
    assert x.norm() == pytest.approx(np.linalg.norm(a), rel=1e-6)
    np.testing.assert_array_equal(identity(clusters()).dense(), np.eye(N))


def test_norms_are_those_of_the_blocks() -> None:
    x = blocks_of(random_symmetric(1)).scaled(-2.0, 0.7)
    dense, first = x.dense(), x.clusters.first
    of_blocks = [
        np.linalg.norm(dense[first[i] : first[i + 1], first[j] : first[j + 1]]) for i, j in zip(x.rows, x.columns)
    ]
    np.testing.assert_allclose(x.norms, of_blocks, rtol=1e-5)


def test_parts_of_products_are_those_of_the_whole() -> None:
    a, b = random_symmetric(1, 2.0), random_symmetric(2, 2.0)
    x, y = blocks_of(a, 0.5), blocks_of(b, 0.1)
    assert x.fill < y.fill < 1
    whole, first = x.dense() @ y.dense().T, x.clusters.first
    for k, block in enumerate(own_blocks_of_product(x, y)):
        own = slice(first[k], first[k + 1])
        np.testing.assert_allclose(block, whole[own, own], atol=1e-5)
    np.testing.assert_allclose(column_sums_of_products(x, y), (x.dense() * y.dense()).sum(axis=0), atol=1e-5)


def test_blocks_below_the_threshold_are_left_out_and_no_others() -> None:
    a = random_symmetric(1, 2.0)
    x = blocks_of(a)
    product, exact = x.times(x, 0.05, symmetric=True), a @ a
    first = x.clusters.first
    kept = set(zip(product.rows.tolist(), product.columns.tolist()))
    assert len(kept) < len(SIZES) ** 2
    for i in range(len(SIZES)):
        for j in range(len(SIZES)):
            norm = np.linalg.norm(exact[first[i] : first[i + 1], first[j] : first[j + 1]])
            assert ((i, j) in kept) == (norm >= 0.05 or i == j), (i, j, norm)
    assert np.abs(product.dense() - exact).max() < 0.05


def test_pairs_of_blocks_go_where_both_are_small_in_sums_and_in_products_of_any_symmetry() -> None:
    a, b = random_symmetric(1, 2.0), random_symmetric(2, 1.0)
    first = np.concatenate([[0], np.cumsum(SIZES)])
    found = (
        (blocks_of(a).plus(blocks_of(b), 0.1, threshold=0.05), a + 0.1 * b),
        (blocks_of(a).times(blocks_of(b), 0.5), a @ b),
    )
    for (matrix, exact), threshold in zip(found, (0.05, 0.5)):
        kept = set(zip(matrix.rows.tolist(), matrix.columns.tolist()))
        assert len(kept) < len(SIZES) ** 2
        for i in range(len(SIZES)):
            for j in range(len(SIZES)):
                both = (exact[first[p] : first[p + 1], first[q] : first[q + 1]] for p, q in ((i, j), (j, i)))
                largest = max(np.linalg.norm(block) for block in both)
                assert ((i, j) in kept) == (largest >= threshold or i == j), (i, j, largest)
        assert np.abs(matrix.dense() - exact).max() < threshold
