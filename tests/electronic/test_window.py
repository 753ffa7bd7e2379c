"""Windows of levels are the dense solution's, and every count is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, sparse

from nearsight.electronic import factorisation, window
from nearsight.electronic.factorisation import factorise
from nearsight.electronic.window import solve_window
from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.store import read_calculation
from nearsight.units import HARTREE_IN_EV

METHODS = ["sparse", "superlu", "dense"]
KINDS = ["real", "complex"]
Problem = tuple[sparse.csr_matrix, sparse.csr_matrix, np.ndarray]


def random_problem(kind: str, n: int = 600, seed: int = 0) -> Problem:
    """A banded H with levels from −9 to 9 eV, a banded positive definite S, and the levels."""
    rng = np.random.default_rng(seed)

    def banded(width: int, scale: float) -> sparse.csr_matrix:
        rows = np.arange(n)[:, None] + np.arange(1, width)
        columns = np.broadcast_to(np.arange(n)[:, None], rows.shape)
        inside = rows < n
        values = scale * rng.standard_normal(inside.sum()).astype(complex if kind == "complex" else float)
        if kind == "complex":
            values += 1j * scale * rng.standard_normal(inside.sum())
        lower = sparse.coo_matrix((values, (rows[inside], columns[inside])), shape=(n, n))
        return sparse.csr_matrix(lower + lower.conj().T)

    h = sparse.csr_matrix(banded(8, 0.7) + sparse.diags(rng.uniform(-4, 4, n)))
    s = sparse.csr_matrix(banded(6, 0.02) + sparse.identity(n))
    return h, s, linalg.eigh(h.toarray(), s.toarray(), eigvals_only=True)


@pytest.fixture(scope="module")
def hafnia(data_c: Path) -> Problem:
    calculation = read_calculation(data_c)
    h, s = to_csr(calculation.require_hamiltonian()), to_csr(calculation.require_overlap())
    h, s = h.astype(np.float64), s.astype(np.float64)
    return h, s, linalg.eigh(h.toarray(), s.toarray(), eigvals_only=True, driver="gv")


@pytest.fixture(scope="module")
def data_c() -> Path:
    return Path(__file__).parents[2] / "data" / "aHfO2_372_C.h5"


def assert_is_part(problem: Problem, result: window.Window, first: int, last: int) -> None:
    """Levels number first … last − 1 with their states."""
    h, s, exact = problem
    levels, states = result.eigenvalues, result.coefficients
    assert (result.first, len(levels)) == (first, last - first)
    np.testing.assert_allclose(levels, exact[first:last], rtol=0, atol=1e-8 * HARTREE_IN_EV)
    np.testing.assert_allclose(states.conj().T @ (s @ states), np.eye(len(levels)), atol=1e-10)
    np.testing.assert_allclose(h @ states, (s @ states) * levels, atol=1e-6)
    assert np.abs(levels - exact[first:last]).max(initial=0) <= result.residual + 1e-11
    assert result.residual < 1e-5


def test_window_around_the_gap_of_372_atoms(hafnia: Problem) -> None:
    said: list[str] = []
    result = solve_window(*hafnia[:2], filled=1488, number=30, progress=lambda event: said.append(event.message))
    assert_is_part(hafnia, result, 1473, 1503)
    assert sum(line.startswith("factorised") for line in said) == 3


def test_counts_are_the_dense_counts(hafnia: Problem) -> None:
    h, s, exact = hafnia
    for energy in np.linspace(exact[0] - 1, exact[-1] + 1, 7):
        made = factorise(h - energy * s)
        assert made.below == np.searchsorted(exact, energy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_factorisations_count_and_solve(method: str, kind: str) -> None:
    h, s, exact = random_problem(kind, 200)
    b = np.random.default_rng(1).standard_normal((200, 3)).astype(h.dtype)
    shifts = np.concatenate([np.linspace(exact[0] - 1, exact[-1] + 1, 40), exact[::20] + 1e-6, exact[::20] - 1e-6])
    for energy in shifts:
        a = sparse.csr_matrix(h - energy * s)
        made = factorise(a, method)  # type: ignore[arg-type]
        assert made.name == method
        assert made.below == np.searchsorted(exact, energy)
        x = made.solve(b)
        assert made.error < 1e-11
        np.testing.assert_allclose(a @ x, b, atol=1e-7)
        np.testing.assert_allclose(a @ made.solve(b[:, 0]), b[:, 0], atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_zero_diagonal_is_counted_right_or_not_at_all(method: str) -> None:
    """[[0, 1], [1, 0]] needs a 2×2 pivot; without, it is not L D L† and signs on the diagonal mean nothing."""
    a = sparse.csr_matrix(sparse.block_diag([np.array([[0.0, 1.0], [1.0, 0.0]])] * 5 + [np.diag([-1.0, -2.0, 3.0])]))
    made = factorise(a, method)  # type: ignore[arg-type]
    assert made.below == (None if method == "superlu" else 7)
    np.testing.assert_allclose(a @ made.solve(np.ones(13)), 1.0)


def test_without_a_count_lapack_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    h, s, exact = random_problem("real", 200)
    real = factorisation._sparse
    monkeypatch.setattr(factorisation, "_sparse", lambda a, plan: replace(real(a, plan), solve=lambda b: b))
    made = factorise(h - 0.1 * s)
    assert (made.name, made.below) == ("dense", np.searchsorted(exact, 0.1))


def test_inexact_factors_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    h, s, _ = random_problem("real", 50)
    exact = factorisation._dense
    monkeypatch.setattr(
        factorisation, "_dense", lambda a: replace(exact(a), solve=lambda b: exact(a).solve(b) * (1 + 1e-3))
    )
    assert factorise(h - 0.1 * s, "dense").below is None


@pytest.mark.parametrize("method", ["dense", "sparse"])
def test_singular_matrices_are_not_counted(method: str) -> None:
    a = sparse.csr_matrix(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, -1.0]]))
    try:
        made = factorise(a, method)  # type: ignore[arg-type]
    except factorisation.SingularMatrixError:
        return
    assert made.below is None


def around(problem: Problem, energy: float, number: int = 20) -> tuple[int, int]:
    middle = int(np.searchsorted(problem[2], energy))
    return middle - number // 2, middle - number // 2 + number


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_around_an_energy(method: str, kind: str) -> None:
    problem = random_problem(kind)
    for energy in (-1.0, 0.3, problem[2][300]):
        result = solve_window(*problem[:2], centre=energy + 1e-9, number=20, method=method)  # type: ignore[arg-type]
        first = result.first
        assert abs(first - around(problem, energy)[0]) <= 1  # which side rounding puts a level at the centre
        assert_is_part(problem, result, first, first + 20)


@pytest.mark.parametrize("filled", [100, 300, 555])
@pytest.mark.parametrize("guess", [None, 0.0, 100.0, -7.0])
def test_the_gap_is_found_from_any_guess(filled: int, guess: float | None) -> None:
    problem = random_problem("real")
    result = solve_window(*problem[:2], filled=filled, number=13, centre=guess)
    assert_is_part(problem, result, filled - 6, filled + 7)


@pytest.mark.parametrize(("filled", "first", "last"), [(0, 0, 10), (3, 0, 13), (600, 590, 600), (597, 587, 600)])
def test_the_spectrum_ends(filled: int, first: int, last: int) -> None:
    problem = random_problem("real")
    assert_is_part(problem, solve_window(*problem[:2], filled=filled, number=20), first, last)


@pytest.mark.parametrize("kind", KINDS)
def test_more_levels_than_there_are(kind: str) -> None:
    problem = random_problem(kind, 450)
    assert_is_part(problem, solve_window(*problem[:2], filled=200, number=1000), 0, 450)
    small = random_problem(kind, 30)
    assert_is_part(small, solve_window(*small[:2], filled=10, number=8), 6, 14)
    assert_is_part(small, solve_window(*small[:2], range=(-2.0, 2.0)), *np.searchsorted(small[2], [-2.0, 2.0]))


def test_ranges() -> None:
    problem = random_problem("real")
    exact = problem[2]
    for limits in ((-0.5, 0.4), (-100.0, exact[20] + 1e-3), (exact[580] - 1e-3, 100.0), (-3.0, 3.0)):
        assert_is_part(problem, solve_window(*problem[:2], range=limits), *np.searchsorted(exact, limits))
    k = 100 + int(np.argmax(np.diff(exact[100:500])))
    empty = solve_window(*problem[:2], range=(exact[k] + 1e-4, exact[k + 1] - 1e-4))
    assert (len(empty.eigenvalues), empty.coefficients.shape, empty.first) == (0, (600, 0), k + 1)


@pytest.mark.parametrize("copies", [3, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_levels_are_all_found(copies: int, kind: str) -> None:
    """Copies of one system that know nothing of each other: every level as many times; the window cuts through one."""
    h, s, exact = random_problem(kind, 60 * 12 // copies)
    problem = (
        sparse.csr_matrix(sparse.block_diag([h] * copies)),
        sparse.csr_matrix(sparse.block_diag([s] * copies)),
        np.repeat(exact, copies),
    )
    assert_is_part(problem, solve_window(*problem[:2], filled=364, number=50), 339, 389)


def test_missed_levels_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that are blind to half of the system find half of the levels; the counts tell."""
    h, s, exact = random_problem("real", 300)
    problem = (
        sparse.csr_matrix(sparse.block_diag([h, h])),
        sparse.csr_matrix(sparse.block_diag([s, s])),
        np.repeat(exact, 2),
    )
    real, said = window.Krylov._append, []

    def blind(self: window.Krylov, block: np.ndarray, scale: float = 1.0) -> None:
        if self.applied == 0:
            block[300:] = 0
        real(self, block, scale)

    monkeypatch.setattr(window.Krylov, "_append", blind)
    result = solve_window(*problem[:2], filled=300, number=20, progress=lambda event: said.append(event.message))
    assert_is_part(problem, result, 290, 310)
    assert any("missing" in line for line in said)


def test_false_counts_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem("real", 450)
    calls = iter(range(1000))
    monkeypatch.setattr(
        window,
        "factorise",
        lambda a, method, plan: (
            made := factorise(a, method, plan),
            replace(made, below=made.below + (next(calls) > 0)),
        )[1],
    )
    with pytest.raises(InputError, match="expected"):
        solve_window(*problem[:2], centre=0.0, number=20)


def test_overlap_that_is_not_positive() -> None:
    h, s, _ = random_problem("real")
    s = sparse.csr_matrix(s - 1.0 * sparse.identity(600))
    for arguments in ({"filled": 300, "number": 20}, {"centre": 0.0, "number": 20}, {"range": (-1.0, 1.0)}):
        with pytest.raises(InputError, match="positive definite"):
            solve_window(h, s, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"number": 5},
        {"filled": 3},
        {"filled": 700, "number": 5},
        {"filled": 3, "number": 0},
        {"range": (2.0, 1.0)},
        {"range": (1.0, 2.0), "number": 3},
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, object]) -> None:
    h, s, _ = random_problem("real")
    with pytest.raises(InputError, match="expected"):
        solve_window(h, s, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="same size"):
        solve_window(h, s[:5, :5], filled=3, number=3)
