"""A test potential on an insulating chain: the loop's charges against the closed form of linear response.

Atoms with one s orbital, hopping t₁, t₂ in turn (a gap of 2|t₁ − t₂|), and repulsion U on each atom. To first order

    δn = (1 − χU)⁻¹ χ φ,    χ_ij = 4 Σ_ov ψ_oi ψ_vi ψ_oj ψ_vj / (ε_o − ε_v)

(random-phase approximation): the chain screens the potential φ by the factor 1 − χU.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.atomic_density import AtomicDensity
from nearsight.self_consistency.solver import (
    MOST,
    BlockErrors,
    HamiltonianOfDensity,
    NotConvergedError,
    solve_self_consistent,
)
from nearsight.structures.structure import Structure

N, T1, T2 = 10, -3.0, -1.0
"""Atoms; hopping, eV."""
BASIS = BasisSet("one s", {1: (0,)}, {1: 1})


def hopping() -> np.ndarray:
    h = np.zeros((N, N))
    for i in range(N):  # a ring
        h[i, (i + 1) % N] = h[(i + 1) % N, i] = T2 if i % 2 else T1
    return h


def operator(dense: np.ndarray) -> BlockOperator:
    i, j = np.indices((N, N)).reshape(2, -1)
    return BlockOperator(np.ones(N, int), BASIS, i, j, np.zeros((N * N, 3), int), dense.ravel(), False)


class Chain:
    """Levels of atoms rise by U for each electron more than one, and by the potential."""

    layout = CoupledLayout(BASIS)
    basis = BASIS
    residual: Mapping[int, float] = {}

    def __init__(self, repulsion: float, potential: np.ndarray) -> None:
        self.repulsion, self.potential = repulsion, potential

    def bound(self, calculation: Calculation) -> HamiltonianOfDensity:
        return self

    def start(self) -> AtomicDensity:
        return AtomicDensity(np.zeros(N), *np.ones((3, N, 1)), np.zeros((N, 3)))

    def __call__(self, density: AtomicDensity) -> BlockOperator:
        return operator(hopping() + np.diag(self.potential - self.repulsion * density.charges))

    def expected_errors(self, density: AtomicDensity, h: BlockOperator) -> BlockErrors | None:
        return None


def response() -> np.ndarray:
    levels, states = np.linalg.eigh(hopping())
    o, v = np.arange(N // 2), np.arange(N // 2, N)
    pairs = (states[:, o, None] * states[:, None, v]).reshape(N, -1)
    return 4 * (pairs / (levels[o, None] - levels[None, v]).ravel()) @ pairs.T


@pytest.mark.parametrize("repulsion", [0.0, 2.0, 8.0])
def test_a_test_potential_is_screened_as_linear_response_says(repulsion: float) -> None:
    chain = Structure(
        np.ones(N, int), np.arange(N)[:, None] * np.array([1.5, 0, 0]), np.zeros((3, 3)), np.zeros(3, bool)
    )
    known = Calculation(chain, BASIS, overlap=operator(np.eye(N)))
    potential = 1e-4 * np.eye(N)[3]
    solved = solve_self_consistent(Chain(repulsion, potential), known, temperature=50, tolerance=1e-10)
    chi = response()
    expected = -np.linalg.solve(np.eye(N) - repulsion * chi, chi @ potential)
    np.testing.assert_allclose(solved.density.charges, expected, atol=1e-3 * np.abs(expected).max())
    assert solved.density.charges[3] > 0  # electrons leave where the potential is high


class Overshooting(Chain):
    """Levels that answer charges so much that the usual damping does not converge for a while, or never."""

    def __init__(self, hopeless: bool) -> None:
        super().__init__(8.0, 0.5 * np.eye(N)[3])
        self.hopeless, self.calls = hopeless, 0

    def __call__(self, density: AtomicDensity) -> BlockOperator:
        self.calls += 1
        noise = 2.0 * np.random.default_rng(self.calls).standard_normal(N) if self.hopeless or self.calls <= 14 else 0.0
        return operator(hopping() + np.diag(self.potential - self.repulsion * density.charges + noise))


def known_chain() -> Calculation:
    places = np.arange(N)[:, None] * np.array([1.5, 0, 0])
    return Calculation(
        Structure(np.ones(N, int), places, np.zeros((3, 3)), np.zeros(3, bool)), BASIS, overlap=operator(np.eye(N))
    )


def test_an_iteration_that_stalls_begins_anew_once_with_less_damping() -> None:
    model = Overshooting(hopeless=False)
    solved = solve_self_consistent(model, known_chain(), temperature=300, tolerance=1e-8)
    usual = solve_self_consistent(Chain(8.0, model.potential), known_chain(), temperature=300, tolerance=1e-8)
    np.testing.assert_allclose(solved.density.charges, usual.density.charges, atol=1e-7)


def test_no_convergence_is_an_error_with_the_way_out_as_soon_as_it_is_seen() -> None:
    model = Overshooting(hopeless=True)
    with pytest.raises(
        NotConvergedError, match=r"got a change of .* predict without self-consistency, or train longer"
    ):
        solve_self_consistent(model, known_chain(), temperature=300)
    assert model.calls < MOST
