"""States: they solve the equation, fill up to the density, and are where they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from nearsight.electronic.conditioning import OVERLAP_THRESHOLD
from nearsight.electronic.density_matrix import band_energy, contraction, density_matrix, density_operator
from nearsight.electronic.density_of_states import energy_grid, level_density, projected_densities
from nearsight.electronic.eigen import choose_method, solve, solve_states
from nearsight.electronic.populations import (
    atomic_charges,
    charges_of,
    localisation,
    orbital_groups,
    orbital_populations,
)
from nearsight.electronic.spectrum import States
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch, fold, to_csr
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from tests.electronic.small_models import S_ONLY, chain, chain_structure

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def oxide() -> Calculation:
    """Amorphous HfO₂ with vacancies and ghosts, resolved in R."""
    return read_calculation(DATA / "aHfO1.8_96_train.h5")


@pytest.fixture(scope="module")
def states(oxide: Calculation) -> States:
    return solve_states(oxide.hamiltonian, oxide.overlap, electrons(oxide))


def electrons(calculation: Calculation) -> int:
    return calculation.n_electrons


def test_they_solve_the_equation(oxide, states):
    h, s = to_csr(oxide.hamiltonian), to_csr(oxide.overlap)
    c = states.coefficients
    np.testing.assert_allclose(c.T @ s @ c, np.eye(c.shape[1]), atol=1e-10)
    np.testing.assert_allclose(h @ c, (s @ c) * states.levels, atol=1e-8)
    np.testing.assert_allclose(states.levels, solve(h, s, electrons(oxide)).eigenvalues, atol=1e-9)
    assert states.spectrum.residual < 1e-8


@pytest.mark.parametrize("number", [1, 7, 50])
def test_some_around_the_gap_are_those_of_all(oxide, states, number):
    some = solve_states(oxide.hamiltonian, oxide.overlap, electrons(oxide), number=number, method="dense")
    first = some.spectrum.first
    np.testing.assert_allclose(some.levels, states.levels[first : first + number], atol=1e-9)
    assert some.spectrum.n_levels == len(states.levels)
    assert first <= some.spectrum.n_occupied <= first + number
    if number > 1:
        assert some.spectrum.gap == pytest.approx(states.spectrum.gap, abs=1e-9)


def test_states_at_a_k_point(oxide):
    k = np.array([0.1, 0.2, -0.3])
    h, s = bloch(oxide.hamiltonian, k), bloch(oxide.overlap, k)
    found = solve_states(h, s, electrons(oxide))
    c = found.coefficients
    np.testing.assert_allclose(c.conj().T @ (s @ c), np.eye(c.shape[1]), atol=1e-10)
    np.testing.assert_allclose(h @ c, (s @ c) * found.levels, atol=1e-8)


def test_density_and_energies(oxide, states):
    """Tr P S = electrons, Tr P H = Σ f ε, P S P = 2 P, and the blocks at H's pairs are enough for both traces."""
    filling = states.spectrum.filling()
    h, s = fold(oxide.hamiltonian), fold(oxide.overlap)
    p = density_matrix(states, filling)
    np.testing.assert_allclose(p @ to_csr(s) @ p, 2 * p, atol=1e-9)
    operator = density_operator(states, filling, h)
    assert contraction(operator, s) == pytest.approx(electrons(oxide), abs=1e-8)
    assert contraction(operator, h) == pytest.approx(band_energy(states.spectrum, filling), rel=1e-10)
    i, j = int(h.source[77]), int(h.target[77])
    first = h.orbital_offsets
    np.testing.assert_allclose(operator.block(i, j), p[first[i] : first[i + 1], first[j] : first[j + 1]], atol=1e-12)
    with pytest.raises(InputError, match="folded to Γ"):
        density_operator(states, filling, oxide.hamiltonian)


def test_a_window_has_the_density_of_its_own_states(oxide, states):
    number = 20
    some = solve_states(oxide.hamiltonian, oxide.overlap, electrons(oxide), number=number, method="dense")
    filling, whole = some.spectrum.filling(), states.spectrum.filling()
    first = some.spectrum.first
    np.testing.assert_allclose(filling.occupations, whole.occupations[first : first + number])
    assert filling.fermi == pytest.approx(whole.fermi)


def test_electrons_of_a_warm_metal(oxide, states):
    warm = states.spectrum.filling(5000.0)
    assert warm.occupations.sum() == pytest.approx(electrons(oxide))
    charges = charges_of(states, warm, oxide.overlap, oxide, "mulliken")
    assert charges.sum() == pytest.approx(0, abs=1e-8)


def test_charges_need_all_that_is_occupied(oxide):
    some = solve_states(oxide.hamiltonian, oxide.overlap, electrons(oxide), number=20)
    with pytest.raises(InputError, match="all occupied states"):
        charges_of(some, some.spectrum.filling(), oxide.overlap, oxide)


@pytest.mark.parametrize("kind", ["mulliken", "loewdin"])
@pytest.mark.parametrize("by", ["element", "shell", "atom"])
def test_projected_densities_add_up(oxide, states, kind, by):
    populations = orbital_populations(states, oxide.overlap, kind)
    np.testing.assert_allclose(populations.sum(axis=0), 1, atol=1e-9)
    energies = energy_grid(states.spectrum, 0.3)
    groups = orbital_groups(oxide.structure.numbers, oxide.basis, by)
    assert sorted(np.concatenate(list(groups.values()))) == list(range(len(populations)))
    parts = projected_densities(states, populations, groups, energies, 0.3)
    whole = level_density(states.spectrum, energies, 0.3)
    np.testing.assert_allclose(sum(parts.values()), whole, atol=1e-8)


def test_valence_band_is_oxygen_and_conduction_band_hafnium(oxide, states):
    """The chemistry of an ionic oxide: O 2p below the gap, Hf 5d above."""
    populations = orbital_populations(states, oxide.overlap)
    groups = orbital_groups(oxide.structure.numbers, oxide.basis, "shell")
    filled = states.spectrum.n_occupied
    share = {label: populations[rows].sum(axis=0) for label, rows in groups.items()}
    assert share["O p"][filled - 60 : filled - 10].mean() > 0.6
    assert share["Hf d"][filled + 10 : filled + 60].mean() > 0.6


def test_charges_are_those_of_the_whole_spectrum(oxide, states):
    for kind in ("mulliken", "loewdin"):
        np.testing.assert_allclose(
            charges_of(states, states.spectrum.filling(), oxide.overlap, oxide, kind),
            atomic_charges(oxide, kind),
            atol=1e-9,
        )


def test_participation_of_a_ring_and_of_one_atom():
    """The lowest state of a ring of n is on n atoms; an atom far below the others keeps its state."""
    n = 12
    h, s = chain(n, -2.0, -0.7), chain(n, 1.0, 0.0)
    numbers = chain_structure(n).numbers
    states = solve_states(h, s, 2)
    assert localisation(states, s, numbers, S_ONLY).participation[0] == pytest.approx(n)
    values = h.values.copy()
    site = np.flatnonzero(h.on_site & (h.source == 5))
    values[site] = -1e4
    found = localisation(solve_states(h.with_values(values), s, 2), s, numbers, S_ONLY)
    assert found.participation[0] == pytest.approx(1, abs=1e-6)
    assert (found.largest_atom[0], found.largest_population[0]) == (5, pytest.approx(1, abs=1e-6))


def almost_dependent(smallest: float, n: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """H, S with one eigenvalue of S as small as told, and S's eigenvectors; the others are 1 and more."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.standard_normal((n, n)))[0]
    h = rng.standard_normal((n, n))
    s = (vectors * np.array([smallest, *np.linspace(1, 2, n - 1)])) @ vectors.T
    return h + h.T, (s + s.T) / 2, vectors


@pytest.mark.parametrize("smallest", [1e-7, 0.0, -1e-7])
def test_directions_that_s_does_not_resolve_are_left_out(smallest):
    """The levels are those of the subspace of the others, and the spectrum says so."""
    h, s, vectors = almost_dependent(smallest)
    spectrum = solve(h, s, 4)
    rest = vectors[:, 1:]
    exact = solve(rest.T @ h @ rest, rest.T @ s @ rest, 4)
    assert spectrum.projected_out == 1
    assert spectrum.n_levels == 5
    np.testing.assert_allclose(spectrum.eigenvalues, exact.eigenvalues, atol=1e-9)
    assert spectrum.overlap_condition == pytest.approx(exact.overlap_condition, rel=1e-6)
    states = solve_states(h, s, 4)
    np.testing.assert_allclose(states.coefficients.T @ s @ states.coefficients, np.eye(5), atol=1e-9)
    assert states.spectrum.residual < 1e-9


def test_a_small_but_sound_direction_is_kept():
    h, s, _ = almost_dependent(10 * OVERLAP_THRESHOLD)
    assert solve(h, s, 4).projected_out == 0
    assert solve(h, s, 4, threshold=1e-3).projected_out == 1


def test_a_negative_overlap_is_a_mistake():
    h, s, _ = almost_dependent(-1e-2)
    with pytest.raises(InputError, match=r"positive definite overlap S, got one with smallest eigenvalue -0\.01"):
        solve(h, s, 4)


def test_no_room_for_dense_matrices(monkeypatch):
    monkeypatch.setattr("nearsight.electronic.eigen.free_bytes", lambda: 1000)
    with pytest.raises(InputError, match=r"--states 50\) or for the density of states alone \(--method kpm\)"):
        solve(np.eye(10), np.eye(10), 2)


@pytest.mark.parametrize(
    ("method", "number", "said"),
    [
        ("lanczos", None, "expected the method auto, dense, window, got 'lanczos'"),
        ("window", None, "expected a number of levels"),
        ("auto", 0, "expected one level or more, got 0"),
    ],
)
def test_methods_that_are_refused(method, number, said):
    with pytest.raises(InputError, match=said):
        choose_method(np.eye(3), method, number)


def test_large_problems_take_the_window():
    big = sparse.identity(10_000, format="csr")
    assert choose_method(big, "auto", 50) == "window"
    assert choose_method(np.eye(100), "auto", 50) == "dense"


def test_another_number_of_coefficients(states):
    with pytest.raises(InputError, match="expected coefficients of"):
        replace(states, coefficients=states.coefficients[:, :3])
