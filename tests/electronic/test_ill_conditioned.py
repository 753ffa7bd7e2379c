"""What a sparse overlap does not resolve is found and left out of a window, as by the dense solution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, sparse

from nearsight.electronic import conditioning, eigen
from nearsight.electronic.conditioning import (
    OVERLAP_THRESHOLD,
    WELL_CONDITIONED,
    ill_conditioned_directions,
    overlap_threshold,
)
from nearsight.electronic.factorisation import SingularMatrixError, constrained, factorise
from nearsight.electronic.window import solve_window
from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.store import read_calculation

GST = Path(__file__).parents[2] / "data" / "aGST_70_test.h5"


def problem(kind: str, n: int = 600, weak: int = 12) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """H and S, banded; `weak` orbitals are nearly their neighbours, so that S has as many small eigenvalues."""
    rng = np.random.default_rng(3)
    shape = complex if kind == "complex" else float

    def band(width: int, scale: float) -> np.ndarray:
        full = scale * rng.standard_normal((n, n)).astype(shape)
        if kind == "complex":
            full += 1j * scale * rng.standard_normal((n, n))
        return np.triu(np.tril(full + full.conj().T, width), -width)

    h, s = band(8, 0.5) + np.diag(rng.uniform(-4, 4, n)), band(5, 0.02) + np.eye(n)
    for k in np.linspace(0, n - 2, weak).astype(int):  # orbital k + 1 becomes orbital k and a little of itself
        turn = np.eye(n)
        turn[k + 1, k + 1], turn[k, k + 1] = 1e-2 * rng.uniform(0.5, 1), 1.0
        h, s = turn.T @ h @ turn, turn.T @ s @ turn
    return sparse.csr_matrix(h), sparse.csr_matrix(s)


def projected(h: sparse.csr_matrix, s: sparse.csr_matrix, smallest: float) -> np.ndarray:
    values, vectors = linalg.eigh(s.toarray())
    x = vectors[:, values >= smallest] / np.sqrt(values[values >= smallest])
    return np.asarray(linalg.eigvalsh(x.conj().T @ h.toarray() @ x))


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_window_is_the_projected_dense_solution(kind: str) -> None:
    h, s = problem(kind)
    limit, said = 1e-3, []
    directions = ill_conditioned_directions(s, limit, lambda event: said.append(event.message))
    values, vectors = linalg.eigh(s.toarray())
    assert directions.shape[1] == np.count_nonzero(values < limit) == 12
    assert "eigenvectors of S" in said[0]
    np.testing.assert_allclose(linalg.svdvals(directions.conj().T @ vectors[:, :12]), 1, atol=1e-10)
    exact = projected(h, s, limit)
    for filled in (5, 300, 585):
        found = solve_window(h, s, filled=filled, number=30, projected_out=directions)
        np.testing.assert_allclose(
            found.eigenvalues, exact[found.first : found.first + len(found.eigenvalues)], atol=1e-9
        )
        assert (found.first, len(found.eigenvalues)) == (max(0, filled - 15), min(30, filled + 15, 588 - filled + 15))
        np.testing.assert_allclose(directions.conj().T @ found.coefficients, 0, atol=1e-10)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_counts_without_directions(kind: str) -> None:
    h, s = problem(kind)
    directions, exact = ill_conditioned_directions(s, 1e-3), projected(h, s, 1e-3)
    b = np.random.default_rng(1).standard_normal((600, 2)).astype(h.dtype)
    for energy in np.linspace(exact[0] - 1, exact[-1] + 1, 9):
        a = sparse.csr_matrix(h - energy * s)
        made = constrained(a, factorise(a, "sparse"), directions)
        assert made.below == np.searchsorted(exact, energy)
        x = made.solve(b)
        np.testing.assert_allclose(directions.conj().T @ x, 0, atol=1e-9 * np.abs(x).max())
        rest = a @ x - b
        np.testing.assert_allclose(rest - directions @ (directions.conj().T @ rest), 0, atol=1e-9 * np.abs(x).max())


def test_the_one_door_projects() -> None:
    """Dense and window agree where directions of S are left out, on a real structure with a nearly singular S."""
    calculation = read_calculation(GST)
    h, s = to_csr(calculation.require_hamiltonian()), to_csr(calculation.require_overlap())
    electrons = calculation.n_electrons
    dense = eigen.solve(h, s, electrons, method="dense", threshold=0.02)
    window = eigen.solve(h, s, electrons, method="window", number=20, threshold=0.02)
    assert window.projected_out == dense.projected_out > 20
    assert window.n_levels == dense.n_levels
    np.testing.assert_allclose(window.eigenvalues, dense.eigenvalues[window.first : window.first + 20], atol=1e-7)
    assert window.gap == pytest.approx(dense.gap, abs=1e-7)
    assert abs(window.gap - eigen.solve(h, s, electrons, method="window", number=20).gap) > 1e-4


def test_rounding_below_zero_is_left_out_and_more_is_refused() -> None:
    """An eigenvalue of S of −4·10⁻⁶ is noise for the window as it is for the dense solution."""
    h, s = problem("real", weak=2)
    values, vectors = linalg.eigh(s.toarray())

    def with_lowest(value: float) -> sparse.csr_matrix:
        return sparse.csr_matrix(s + (value - values[0]) * np.outer(vectors[:, 0], vectors[:, 0]))

    noisy = with_lowest(-4e-6)
    dense, window = (eigen.solve(h, noisy, 500, method=method, number=20) for method in ("dense", "window"))
    assert dense.projected_out == window.projected_out == 1
    np.testing.assert_allclose(window.eigenvalues, dense.eigenvalues, atol=1e-7)
    for method in ("dense", "window"):
        with pytest.raises(InputError, match="positive definite"):
            eigen.solve(h, with_lowest(-1e-3), 500, method=method, number=20)


def test_clear_overlaps_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _, s = problem("real", weak=2)
    sound = sparse.csr_matrix(s + sparse.identity(600))
    monkeypatch.setattr(conditioning, "solve_window", lambda *a, **b: pytest.fail("not needed"))
    assert ill_conditioned_directions(sound, 1e-3).shape == (600, 0)


def test_errors() -> None:
    _, s = problem("real")
    with pytest.raises(InputError, match="positive definite"):
        ill_conditioned_directions(sparse.csr_matrix(s - 0.5 * sparse.identity(600)), 1e-3)
    with pytest.raises(InputError, match="use --method dense"):
        ill_conditioned_directions(s, 1.0)
    with pytest.raises(InputError, match="positive definite"):
        ill_conditioned_directions(sparse.csr_matrix(-np.eye(5)), 1e-3)


def test_no_inverse_on_the_complement() -> None:
    a = sparse.csr_matrix(np.array([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(SingularMatrixError):
        constrained(a, factorise(a), np.array([[1.0], [0.0]]))


def test_expected_errors_raise_the_threshold_as_far_as_directions_are_ill_conditioned() -> None:
    """A model that expects errors as large as H itself still has levels: what S resolves well is kept."""
    known = read_calculation(Path(__file__).parents[2] / "data" / "aHfO2_96_A.h5")
    pairs = known.require_hamiltonian().n_pairs
    thresholds = [overlap_threshold(replace(known, error_estimate=np.full(pairs, e))) for e in (1e-9, 1e-3, 1e-2, 10.0)]
    assert thresholds[0] == OVERLAP_THRESHOLD
    assert thresholds[2] == pytest.approx(10 * thresholds[1])
    assert thresholds[1] > OVERLAP_THRESHOLD
    assert thresholds[3] == WELL_CONDITIONED
