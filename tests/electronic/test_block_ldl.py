"""The sparse factors are those of the matrix, whatever its pattern and order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from nearsight.electronic import block_ldl, elimination
from nearsight.electronic.block_ldl import BlockLdl


def box(kind: str, side: int, reach: float, orbitals: int, seed: int = 0) -> sparse.csr_matrix:
    """Atoms on a periodic grid, with elements to those within reach, like H − σS of a solid: some levels each side."""
    rng = np.random.default_rng(seed)
    axes = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    apart = np.abs(axes[:, None] - axes[None])
    near = np.linalg.norm(np.minimum(apart, side - apart), axis=-1) <= reach
    full = np.kron(near, np.ones((orbitals, orbitals), dtype=bool))
    values = rng.standard_normal(full.shape).astype(complex if kind == "complex" else float)
    if kind == "complex":
        values += 1j * rng.standard_normal(full.shape)
    values = np.where(full, 0.2 * (values + values.conj().T), 0) + np.diag(rng.uniform(-3, 3, len(full)))
    shuffle = rng.permutation(side**3)
    order = (orbitals * shuffle[:, None] + np.arange(orbitals)).ravel()
    return sparse.csr_matrix(values[order][:, order])


def assert_is_factorised(a: sparse.csr_matrix) -> None:
    made, full = BlockLdl(a), a.toarray()
    assert made.negative == np.count_nonzero(np.linalg.eigvalsh(full) < 0)
    b = np.random.default_rng(1).standard_normal((len(full), 3)).astype(a.dtype)
    exact = np.linalg.solve(full, b)
    np.testing.assert_allclose(made.solve(b), exact, atol=1e-8 * np.abs(exact).max())
    np.testing.assert_allclose(made.solve(b[:, 1]), exact[:, 1], atol=1e-8 * np.abs(exact).max())


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize(("side", "reach", "orbitals"), [(4, 0.0, 3), (5, 1.0, 4), (6, 1.8, 3), (3, 9.0, 5)])
def test_boxes(kind: str, side: int, reach: float, orbitals: int) -> None:
    """Atoms apart, sparse ones, and all of them neighbours."""
    assert_is_factorised(box(kind, side, reach, orbitals))


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_many_blocks_and_tiles(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fronts of several blocks that are taken from later ones in several tiles."""
    monkeypatch.setattr(block_ldl, "BLOCK", 7)
    monkeypatch.setattr(block_ldl, "TILE", 5)
    monkeypatch.setattr(elimination, "MOVED", 3.0)
    assert_is_factorised(box(kind, 6, 1.0, 3))


def test_order_without_metis(monkeypatch: pytest.MonkeyPatch) -> None:
    a = box("real", 6, 1.0, 3)
    with_metis = elimination.elimination(a)
    monkeypatch.setattr(elimination, "pymetis", None)
    assert_is_factorised(a)
    assert elimination.pymetis is None
    np.testing.assert_array_equal(np.sort(elimination.elimination(a).orbitals), np.sort(with_metis.orbitals))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(0, 0.4), st.integers(0, 2**31))
def test_random_patterns(n: int, share: float, seed: int) -> None:
    """No atoms, no order: any symmetric pattern."""
    rng = np.random.default_rng(seed)
    lower = np.tril(np.where(rng.random((n, n)) < share, rng.standard_normal((n, n)), 0), -1)
    diagonal = np.diag(rng.choice([-1.0, 1.0], n) * rng.uniform(4, 6, n))
    assert_is_factorised(sparse.csr_matrix(diagonal + 0.3 * (lower + lower.T)))


def test_nothing_fills_in_outside_the_fronts() -> None:
    """The Cholesky factor of a matrix with this pattern has no element where no front has room for it."""
    a = box("real", 5, 1.0, 2)
    plan = elimination.elimination(a)
    full = np.abs(a.toarray())[np.ix_(plan.orbitals, plan.orbitals)] + 500 * np.eye(a.shape[0])
    inside = np.zeros(full.shape, dtype=bool)
    for front in plan.fronts:
        inside[front.start : front.stop, front.start : front.stop] = True
        inside[front.coupled, front.start : front.stop] = True
    factor = np.linalg.cholesky(full)
    assert not np.any(factor[~inside])
    assert plan.elements == inside.sum()
    assert plan.elements < 0.7 * full.size


def test_atoms_with_missing_zeros_are_one_node() -> None:
    """An orbital without some elements of its atom does not make the graph larger."""
    a = box("real", 6, 1.0, 6).tolil()
    for row in range(0, a.shape[0], 7):
        for column in a.rows[row][:2]:
            if column != row:
                a[row, column] = a[column, row] = 0
    a = sparse.csr_matrix(a)
    assert elimination._nodes(a).max() + 1 == 6**3
    assert_is_factorised(a)


def test_singular_blocks() -> None:
    with pytest.raises(ZeroDivisionError):
        BlockLdl(sparse.csr_matrix(np.zeros((3, 3))))
