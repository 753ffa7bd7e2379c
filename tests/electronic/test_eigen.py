"""Eigenvalues: levels known on paper, CP2K's printed levels, and input that is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from nearsight.electronic.eigen import solve
from nearsight.electronic.matrices import hermiticity_error
from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch, fold, to_csr
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.units import HARTREE_IN_EV
from tests.electronic.small_models import chain, chain_levels

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def hfo2_96() -> Calculation:
    """Amorphous HfO₂ with all of CP2K's numbers, float64."""
    return read_calculation(DATA / "aHfO2_96_A.h5")


@pytest.fixture(scope="module")
def hfo2_96_spectrum(hfo2_96: Calculation) -> Spectrum:
    return solve(hfo2_96.hamiltonian, hfo2_96.overlap, hfo2_96.n_electrons)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-0.9, 0.9))
def test_two_equal_levels(e, t, s):
    """(e ± t)/(1 ± s), and cond S = (1 + |s|)/(1 − |s|)."""
    spectrum = solve(np.array([[e, t], [t, e]]), np.array([[1, s], [s, 1]]), 2)
    assert spectrum.eigenvalues == pytest.approx(np.sort([(e + t) / (1 + s), (e - t) / (1 - s)]), abs=1e-12)
    assert spectrum.overlap_condition == pytest.approx((1 + abs(s)) / (1 - abs(s)))
    assert spectrum.gap == pytest.approx(abs((e + t) / (1 + s) - (e - t) / (1 - s)), abs=1e-12)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.floats(-0.9, 0.9))
def test_two_different_levels(a, b, t, s):
    """Roots of (a − ε)(b − ε) = (t − ε s)²."""
    middle = (a + b) / 2 - s * t
    root = np.hypot((a - b) / 2 * np.sqrt(1 - s * s), t - s * (a + b) / 2)
    expected = np.array([middle - root, middle + root]) / (1 - s * s)
    spectrum = solve(np.array([[a, t], [t, b]]), np.array([[1, s], [s, 1]]), 2)
    assert spectrum.eigenvalues == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("t", [1e-3, 1e-7, 1e-9, 1e-104, 0.0])
def test_levels_near_zero(t):
    """Small numbers are no reason to refuse."""
    assert solve(np.array([[0, t], [t, 0]]), np.eye(2), 2).eigenvalues == pytest.approx([-t, t], rel=1e-12, abs=0)


@pytest.mark.parametrize("n", [3, 12, 101])
@pytest.mark.parametrize("folded", [False, True])
def test_chain(n, folded):
    """Levels of a ring; 101 orbitals take the iterative condition number, 3 and 12 the direct one."""
    h, s = chain(n, -2.0, -0.7), chain(n, 1.0, 0.2)
    spectrum = solve(*(fold(x) if folded else x for x in (h, s)), n)
    cosine = np.cos(2 * np.pi * np.arange(n) / n)
    assert spectrum.eigenvalues == pytest.approx(chain_levels(n, -2.0, -0.7, 0.2), abs=1e-12)
    assert spectrum.overlap_condition == pytest.approx(1.4 / (1 + 0.4 * cosine.min()), rel=1e-3)
    assert spectrum.residual < 1e-12


def test_chain_with_a_complex_matrix():
    """At k of the n-atom cell the levels are those of k' = (k + m)/n of the one-atom cell."""
    n, k = 80, 0.3
    h, s = (bloch(chain(n, *numbers), np.array([k, 0, 0])) for numbers in ((-2.0, -0.7), (1.0, 0.2)))
    cosine = np.cos(2 * np.pi * (k + np.arange(n)) / n)
    spectrum = solve(h, s, n)
    assert spectrum.eigenvalues == pytest.approx(np.sort((-2 - 1.4 * cosine) / (1 + 0.4 * cosine)), abs=1e-12)
    assert spectrum.overlap_condition == pytest.approx((1 + 0.4 * cosine.max()) / (1 + 0.4 * cosine.min()), rel=1e-3)


def test_matrices_of_any_kind(hamiltonian):
    """Blocks, sparse and dense matrices are one problem; what is given is not written to."""
    identity = np.eye(hamiltonian.n_orbitals)
    dense = to_csr(hamiltonian).toarray()
    before = dense.copy()
    levels = [
        solve(h, s, 10).eigenvalues
        for h, s in (
            (hamiltonian, sparse.identity(hamiltonian.n_orbitals)),
            (to_csr(hamiltonian), identity),
            (dense, identity),
        )
    ]
    assert np.array_equal(levels[0], levels[1])
    assert np.array_equal(levels[0], levels[2])
    assert np.array_equal(dense, before)
    assert levels[0].sum() == pytest.approx(np.trace(dense))
    assert (levels[0] ** 2).sum() == pytest.approx((dense**2).sum())


def test_levels_that_cp2k_printed(hfo2_96, hfo2_96_spectrum):
    printed = hfo2_96.eigenvalues
    assert len(printed) == 424  # 384 occupied, 40 empty
    error = np.abs(hfo2_96_spectrum.eigenvalues[: len(printed)] - printed).max()
    assert error / HARTREE_IN_EV < 1e-6


def test_gap_that_cp2k_printed(hfo2_96, hfo2_96_spectrum):
    """32 Hf with 12 electrons and 64 O with 6 fill 384 levels."""
    assert hfo2_96_spectrum.n_electrons == 32 * 12 + 64 * 6
    assert hfo2_96_spectrum.n_occupied == 384
    assert hfo2_96_spectrum.homo == pytest.approx(hfo2_96.eigenvalues[383], abs=1e-5)
    assert hfo2_96_spectrum.lumo == pytest.approx(hfo2_96.eigenvalues[384], abs=1e-5)
    assert hfo2_96_spectrum.gap == pytest.approx(2.619, abs=5e-4)


def test_quality_of_a_real_spectrum(hfo2_96, hfo2_96_spectrum):
    exact = np.linalg.cond(to_csr(hfo2_96.overlap).toarray())
    assert hfo2_96_spectrum.overlap_condition == pytest.approx(exact, rel=1e-3)
    assert 0 <= hfo2_96_spectrum.residual < 1e-10
    assert hfo2_96_spectrum.hermiticity_error == 0.0


@pytest.mark.parametrize(
    ("n_electrons", "n_occupied", "homo", "lumo"),
    [(0, 0, None, -3.0), (1, 0, -3.0, -3.0), (2, 1, -3.0, 1.0), (3, 1, 1.0, 1.0), (4, 2, 1.0, 4.0), (6, 3, 4.0, None)],
)
def test_filling(n_electrons, n_occupied, homo, lumo):
    spectrum = solve(np.diag([4.0, -3.0, 1.0]), np.eye(3), n_electrons)
    nan = float("nan")
    expected = (nan if homo is None else homo, nan if lumo is None else lumo)
    assert (spectrum.homo, spectrum.lumo) == pytest.approx(expected, nan_ok=True)
    assert (spectrum.n_electrons, spectrum.n_occupied) == (n_electrons, n_occupied)


def test_rounding_away_from_hermitian_is_averaged():
    """Text with few digits: the Hermitian part is solved and the deviation told."""
    h = np.asfortranarray([[0.0, 1.0 + 4e-7], [1.0 - 4e-7, 0.0]])
    spectrum = solve(h, np.eye(2), 2)
    assert h[0, 1] == 1.0 + 4e-7  # what was given is as it was, whatever its layout
    assert spectrum.eigenvalues == pytest.approx([-1.0, 1.0], abs=1e-13)
    assert spectrum.hermiticity_error == pytest.approx(8e-7)


def test_hermiticity_error_over_strips(rng):
    """2,100 rows are three strips; the deviation may lie in any."""
    for row, column in ((5, 2000), (2090, 3), (1030, 1500), (2099, 2098)):
        matrix = np.zeros((2100, 2100))
        matrix[row, column] = 0.25
        assert hermiticity_error(matrix) == 0.25
    assert hermiticity_error(matrix + matrix.T) == 0.0


def test_hamiltonian_not_hermitian():
    h = np.diag([1.0, 2.0, 3.0])
    h[2, 0] = 0.5
    expected = r"expected a Hermitian H, got 0 at \(0, 2\) and 0.5 at \(2, 0\).* is only one triangle stored\?"
    with pytest.raises(InputError, match=expected):
        solve(h, np.eye(3), 2)


def test_overlap_not_hermitian():
    with pytest.raises(InputError, match=r"expected a Hermitian S, got 0.1 at \(0, 1\) and 0 at \(1, 0\)"):
        solve(np.eye(2), np.array([[1, 0.1], [0, 1]]), 2)


def test_complex_symmetric_is_not_hermitian():
    with pytest.raises(InputError, match="expected a Hermitian H"):
        solve(np.array([[0, 1j], [1j, 0]]), np.eye(2), 2)


@pytest.mark.parametrize(("s", "lowest"), [(1.5, "-0.5"), (-3.0, "-2")])
def test_overlap_not_positive_definite(s, lowest):
    expected = f"expected a positive definite overlap S, got one with smallest eigenvalue {lowest};"
    with pytest.raises(InputError, match=expected):
        solve(np.eye(2), np.array([[1, s], [s, 1]]), 2)


def test_overlap_of_a_lost_neighbour():
    """A chain whose overlaps are not those of its spacing: 1 − 2·0.6 < 0."""
    with pytest.raises(InputError, match=r"smallest eigenvalue -0\.2; is it complete"):
        solve(chain(6, 0.0, 1.0), chain(6, 1.0, 0.6), 6)


@pytest.mark.parametrize(("bad", "text"), [(np.nan, "nan"), (np.inf, "inf")])
@pytest.mark.parametrize("name", ["H", "S"])
def test_numbers_that_are_not_finite(bad, text, name):
    matrices = {"H": np.eye(3), "S": np.eye(3)}
    matrices[name][1, 2] = matrices[name][2, 1] = bad
    expected = rf"expected finite numbers in {name}, got {text} at row 1, column 2 .*, 2 such numbers in all"
    with pytest.raises(InputError, match=expected):
        solve(matrices["H"], matrices["S"], 2)


def test_sizes_that_differ():
    with pytest.raises(InputError, match="expected H and S of the same size, got 3 and 2 orbitals; are they of"):
        solve(np.eye(3), np.eye(2), 2)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (0, 0)])
def test_matrix_that_is_not_square(shape):
    with pytest.raises(InputError, match="expected a square matrix H, got shape"):
        solve(np.zeros(shape), np.eye(2), 2)


@pytest.mark.parametrize("n_electrons", [-1, 7])
def test_electrons_that_do_not_fit(n_electrons):
    with pytest.raises(InputError, match=f"expected 0 to 6 electrons in 3 orbitals, got {n_electrons}; does the"):
        solve(np.eye(3), np.eye(3), n_electrons)
