"""Kernel polynomials against all levels: moments, densities within their announced errors, Fermi levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, sparse

from nearsight.electronic.approximate_inverse import approximate_inverse_factor
from nearsight.electronic.chebyshev import Interval, apply_series, extremes, series
from nearsight.electronic.kernel_polynomial import Pencil, StochasticDensity, density_from, jackson, kernel_polynomial
from nearsight.electronic.matrices import SparseProduct
from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.store import read_calculation
from tests.electronic.small_models import chain

DATA = Path(__file__).parents[2] / "data"


def problem(n: int = 40, seed: int = 0) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Sparse symmetric H, and S near the identity."""
    rng = np.random.default_rng(seed)
    h, s = (sparse.random(n, n, 0.2, random_state=rng, data_rvs=rng.standard_normal) for _ in range(2))
    s = sparse.identity(n) + 0.05 * (s + s.T)
    s = sparse.csr_matrix(s)
    s.sort_indices()
    return sparse.csr_matrix(h + h.T), s


def exact_moments(levels: np.ndarray, density: StochasticDensity) -> np.ndarray:
    """(1, N) Σ cos(n arccos x)."""
    x = (levels - density.interval.centre) / density.interval.half_width
    return np.cos(np.outer(np.arange(density.moments.shape[1]), np.arccos(x))).sum(axis=1)[None]


def test_sums_over_all_unit_vectors_are_exact():
    """Σ_i e_i e_iᵀ = 1 without any randomness, so that moments are those of the levels."""
    h, s = problem()
    pencil = Pencil.of(h, s, 0.2, tolerance=1e-12)
    density = density_from(pencil, np.eye(40), 0.2, lambda text: None)
    levels = linalg.eigh(h.toarray(), s.toarray(), eigvals_only=True)
    np.testing.assert_allclose(density.moments.sum(axis=0), exact_moments(levels, density)[0], atol=1e-8)


@pytest.mark.parametrize("name", ["aHfO2_96_A", "aPtGe2_96_train"])
def test_densities_of_real_structures_within_their_errors(name):
    """At 1 eV: against the same kernel over all levels, deviations are as large as announced."""
    calculation = read_calculation(DATA / f"{name}.h5")
    h, s = to_csr(calculation.hamiltonian), to_csr(calculation.overlap)
    density = kernel_polynomial(h, s, resolution=1.0, vectors=8)
    levels = linalg.eigh(h.toarray(), s.toarray(), eigvals_only=True)
    assert density.bounds[0] < levels[0]
    assert levels[-1] < density.bounds[1]
    assert density.resolution <= 1.0
    exact = replace(density, moments=exact_moments(levels, density))
    energies = np.linspace(*density.bounds, 400)[1:-1]
    error, deviation = density.error(energies), density.density(energies) - exact.density(energies)
    assert 0.4 < np.linalg.norm(deviation) / np.linalg.norm(error) < 2.0
    assert np.abs(deviation).sum() / exact.density(energies).sum() < 0.15
    assert np.isnan(exact.error(energies)).all()
    step = energies[1] - energies[0]
    assert density.density(energies).sum() * step == pytest.approx(2 * len(levels), rel=5e-3)


def test_the_fermi_level_of_a_metal():
    """A-PtGe₂: levels are dense at the Fermi level, so that it is sharp."""
    calculation = read_calculation(DATA / "aPtGe2_96_train.h5")
    h, s = to_csr(calculation.hamiltonian), to_csr(calculation.overlap)
    electrons = calculation.n_electrons
    levels = linalg.eigh(h.toarray(), s.toarray(), eigvals_only=True)
    density = kernel_polynomial(h, s, resolution=0.7, vectors=12)
    assert density.fermi(electrons) == pytest.approx(levels[electrons // 2 - 1 : electrons // 2 + 1].mean(), abs=0.7)
    low, high = density.bounds
    assert density.fermi(0) == low
    assert density.fermi(2 * len(levels)) == pytest.approx(high)
    assert density.count(np.array([low, high])) == pytest.approx([0, 2 * len(levels)], abs=1e-6)
    with pytest.raises(InputError, match="expected 0 to 1152 electrons"):
        density.fermi(1153)


def test_the_fermi_level_in_a_gap_is_bracketed():
    """A chain of dimers, half filled: the count does not change from −1 to 1 eV, and no energy there is better."""
    n, size = 400, 800
    one = np.tile([2.0, 1.0], n)
    h = sparse.diags_array([one[:-1], one[:-1]], offsets=[-1, 1]).tocsr()
    levels = linalg.eigvalsh(h.toarray())
    inner = np.abs(levels[np.abs(levels) > 0.5]).min()
    density = kernel_polynomial(h, sparse.eye_array(size).tocsr(), resolution=0.05, vectors=8)
    low, high = density.fermi_bracket(size)
    assert -inner - 0.3 < low < -inner + 0.3
    assert inner - 0.3 < high < inner + 0.3
    assert low <= density.fermi(size) <= high
    inside = density.fermi_bracket(size // 2)
    assert inside[1] - inside[0] < 0.6
    assert inside[0] < levels[size // 4 - 1 : size // 4 + 1].mean() < inside[1]
    counts = np.array([replace(density, moments=one[None]).count(np.zeros(1))[0] for one in density.moments])
    assert (
        0.2
        < np.abs(counts - size).mean() / replace(density, moments=density.moments[:1]).count_error(np.zeros(1))[0]
        < 2
    )


def test_a_ring_has_its_inverse_square_root_density():
    """ε = 2t cos k: g(E) = 2n/(π √(4t² − E²)), far from the band's ends."""
    n = 600
    density = kernel_polynomial(chain(n, 0.0, -1.0), chain(n, 1.0, 0.0), resolution=0.1, vectors=64)
    energies = np.linspace(-1.5, 1.5, 7)
    expected = 2 * n / (np.pi * np.sqrt(4 - energies**2))
    assert np.all(np.abs(density.density(energies) - expected) < 4 * density.error(energies) + 0.01 * expected)


def test_the_same_seed_gives_the_same_density():
    h, s = problem()
    first, second, other = (kernel_polynomial(h, s, seed=seed).moments for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


def test_jacksons_kernel_is_positive():
    """One level has a positive density of its width, wherever it is."""
    for x in (-0.9, 0.0, 0.3):
        moments = np.cos(np.arange(200) * np.arccos(x))[None]
        density = StochasticDensity(moments, Interval(-10.0, 10.0), 1)
        energies = np.linspace(-9.99, 9.99, 4001)
        values = density.density(energies)
        assert values.min() > -1e-9
        mean = (values * energies).sum() / values.sum()
        spread = np.sqrt((values * (energies - mean) ** 2).sum() / values.sum())
        assert spread == pytest.approx(density.resolution * np.sqrt(1 - x * x), rel=0.1)
    assert jackson(50)[0] == pytest.approx(1)


def test_products_are_scipys():
    rng = np.random.default_rng(0)
    matrix = sparse.random(50, 50, 0.2, format="csr", random_state=rng)
    x = rng.standard_normal((50, 8))
    np.testing.assert_allclose(SparseProduct.of(matrix, np.dtype(np.float64)) @ x, matrix @ x, atol=1e-12)
    single = SparseProduct.of(matrix, np.dtype(np.float32), drop=0.5)
    np.testing.assert_allclose(single @ x.astype(np.float32), matrix.multiply(matrix > 0.5) @ x, atol=1e-5)


@pytest.mark.parametrize("columns", [1, 8, 40])
def test_the_approximate_inverse_factor(columns):
    """diag(G S Gᵀ) = 1; with all columns G S Gᵀ = 1; with some it is better conditioned than S."""
    s = sparse.csr_matrix(0.7 ** np.abs(np.subtract.outer(np.arange(40), np.arange(40))))
    g = approximate_inverse_factor(SparseProduct(s.indptr, s.indices, s.data), columns)
    prepared = (g @ s @ g.T).toarray()
    np.testing.assert_allclose(np.diag(prepared), 1, atol=1e-12)
    assert (g - sparse.tril(g)).nnz == 0
    assert np.diff(g.indptr).max() <= columns
    if columns == 40:
        np.testing.assert_allclose(prepared, np.eye(40), atol=1e-10)
    assert np.linalg.cond(prepared) <= np.linalg.cond(s.toarray()) * (1 + 1e-9)


def test_functions_of_a_matrix():
    _, s = problem()
    values, vectors = np.linalg.eigh(s.toarray())
    interval = Interval(0.95 * values[0], 1.05 * values[-1])
    x = np.random.default_rng(1).standard_normal((40, 4))
    for function in (np.sqrt, lambda v: 1 / v):
        found = apply_series(lambda y: s @ y, interval, series(function, interval, 1e-10), x)
        np.testing.assert_allclose(found, (vectors * function(values)) @ vectors.T @ x, atol=1e-8)


def test_extremes_of_a_pencil():
    """H S⁻¹ in the inner product of S⁻¹ has the levels of H and S."""
    h, s = problem()
    inverse = np.linalg.inv(s.toarray())
    levels = linalg.eigh(h.toarray(), s.toarray(), eigvals_only=True)
    found = extremes(lambda x: h @ x, np.random.default_rng(0).standard_normal((40, 4)), 30, lambda x: inverse @ x)
    assert found.lower == pytest.approx(levels[0], abs=1e-3)
    assert found.upper == pytest.approx(levels[-1], abs=1e-3)


@pytest.mark.parametrize(
    ("h", "s", "options", "said"),
    [
        (np.eye(8), np.eye(8), {"resolution": 0.0}, "resolution above 0 eV"),
        (np.array([[0, 1j], [-1j, 0]]), np.eye(2), {}, "real matrices"),
        (np.eye(8), -np.eye(8), {}, "positive definite"),
        (np.eye(8), np.eye(9), {}, "same size"),
    ],
)
def test_what_is_refused(h, s, options, said):
    with pytest.raises(InputError, match=said):
        kernel_polynomial(h, s, **options)
