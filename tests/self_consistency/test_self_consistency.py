"""A learnt functional of the density: fixed points, symmetries, and the real thing on amorphous HfO₂."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nearsight.electronic.populations import atomic_charges
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import hermiticity_error, rotate
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency import solver
from nearsight.self_consistency.atomic_density import AtomicDensity, LoewdinBasis
from nearsight.self_consistency.functional import (
    OnSiteFunctional,
    fit_functional,
    fit_local,
    functional_arrays,
    functional_of_arrays,
)
from nearsight.self_consistency.mixing import AndersonMixing
from nearsight.self_consistency.solver import NotConvergedError, solve_self_consistent
from nearsight.structures.graph import build_graph
from nearsight.units import HARTREE_IN_EV

DATA = Path(__file__).parents[2] / "data"
CUTOFF = 6.0


@cache
def calculation() -> Calculation:
    """96 atoms of a-HfO₂, CP2K at Γ."""
    return read_calculation(DATA / "aHfO2_96_A.h5")


@cache
def functional() -> OnSiteFunctional:
    known = calculation()
    return fit_functional([known], CoupledLayout(known.basis.restricted(known.structure.numbers)), CUTOFF)


@cache
def poor() -> BlockOperator:
    """CP2K's H with on-site blocks of every element replaced by their mean: what nothing nonlocal knows."""
    h = calculation().require_hamiltonian()
    result = h.with_values(h.values.copy())
    for (zi, zj), pairs in h.element_pairs.items():
        own = pairs[h.on_site[pairs]]
        if zi == zj and len(own):
            result.put(own, np.broadcast_to(h.stack(own).mean(axis=0), h.stack(own).shape))
    return result


def on_site_error(h: BlockOperator) -> float:
    """mE_h."""
    exact = calculation().require_hamiltonian()
    own = np.flatnonzero(exact.on_site)
    errors = [np.abs(h.stack(own[k : k + 1]) - exact.stack(own[k : k + 1])).mean() for k in range(len(own))]
    return 1e3 * float(np.mean(errors)) / HARTREE_IN_EV


def test_the_loop_stays_at_the_hamiltonian_and_charges_of_the_dft_code() -> None:
    """CP2K's H of the structure that was fitted is nearly a fixed point; its charges are those of the result."""
    known = calculation()
    solved = solve_self_consistent(known.require_hamiltonian(), known, functional())
    exact = atomic_charges(known, kind="loewdin")
    assert 0 < on_site_error(solved.hamiltonian) < 0.5
    assert np.sqrt(((solved.density.charges - exact) ** 2).mean()) < 5e-3
    assert solved.residual < 2e-5
    assert hermiticity_error(solved.hamiltonian) < 1e-12
    assert abs(solved.density.charges.sum()) < 1e-8


def test_the_density_of_the_result_is_the_density_it_was_made_of() -> None:
    solved = solve_self_consistent(poor(), calculation(), functional())
    again = LoewdinBasis(calculation(), functional().layout).density_of(solved.hamiltonian)[0]
    assert np.abs(again.charges - solved.density.charges).max() < 2e-4


def test_the_fixed_point_does_not_depend_on_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "TOLERANCE", 1e-7)
    rng, known, found = np.random.default_rng(0), calculation(), []
    layout = functional().layout
    true = LoewdinBasis(known, layout).density_of(known.require_hamiltonian())[0]
    noise = AtomicDensity(true.charges + 0.02 * rng.standard_normal(96), true.blocks)
    for start in (None, true, noise):
        found.append(solve_self_consistent(poor(), known, functional(), start=start).density.charges)
    assert np.abs(found[1] - found[0]).max() < 1e-6
    assert np.abs(found[2] - found[0]).max() < 1e-6


def test_charges_and_blocks_turn_with_the_structure() -> None:
    known, rotation = calculation(), Rotation.random(random_state=3).as_matrix()
    turned = replace(
        known,
        structure=known.structure.rotated(rotation),
        hamiltonian=rotate(known.require_hamiltonian(), rotation),
        overlap=rotate(known.require_overlap(), rotation),
    )
    solved = solve_self_consistent(poor(), known, functional())
    other = solve_self_consistent(rotate(poor(), rotation), turned, functional())
    assert np.abs(solved.density.charges - other.density.charges).max() < 1e-8
    expected = rotate(solved.hamiltonian, rotation)
    assert np.abs(expected.values - other.hamiltonian.values).max() < 1e-6


def test_files_keep_it() -> None:
    known = functional()
    again = functional_of_arrays(functional_arrays(known), known.layout, CUTOFF, False)
    assert again is not None
    structure = calculation().structure
    density = LoewdinBasis(calculation(), known.layout).density_of(calculation().require_hamiltonian())[0]
    environment = known.environment(structure, build_graph(structure, CUTOFF))
    np.testing.assert_array_equal(known(structure, environment, density), again(structure, environment, density))
    damaged = {**functional_arrays(known), "8.0.weights": np.zeros((2, 2))}
    with pytest.raises(InputError, match="expected weights of shape"):
        functional_of_arrays(damaged, known.layout, CUTOFF, False)


def test_no_convergence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "MOST", 3)
    with pytest.raises(NotConvergedError, match=r"expected charges that agree to .* within 3 diagonalisations"):
        solve_self_consistent(poor(), calculation(), functional())


def test_anderson_mixing_solves_a_linear_fixed_point() -> None:
    rng = np.random.default_rng(1)
    matrix = -3 * np.diag(rng.uniform(0.1, 1, 5))
    point, mixing = np.zeros(5), AndersonMixing(0.3)
    for _ in range(12):
        point = mixing.next(point, matrix @ point + 1 - point)
    np.testing.assert_allclose(point, np.linalg.solve(np.eye(5) - matrix, np.ones(5)), rtol=1e-8)


def test_unseen_atoms_are_better_than_by_a_local_fit() -> None:
    """Half of the atoms are fitted; on the other half the functional of CP2K's density beats a local regression."""
    known = calculation()
    layout, half = functional().layout, np.arange(96) % 2 == 0
    trial = fit_functional([known], layout, CUTOFF, used=[half])
    graph = build_graph(known.structure, CUTOFF)
    density = LoewdinBasis(known, layout).density_of(known.require_hamiltonian())[0]
    blocks = trial(known.structure, trial.environment(known.structure, graph), density)
    local = fit_local([known], layout, CUTOFF, used=[half])(known.structure, graph)
    errors = []
    for coupled in (blocks, local):
        own = []
        for z in known.structure.elements:
            atoms = np.flatnonzero((known.structure.numbers == z) & ~half)
            exact = known.require_hamiltonian().blocks((z, z), atoms, atoms) / HARTREE_IN_EV
            own.append(np.abs(layout.uncouple(coupled[atoms], z, z) - exact).ravel())
        errors.append(np.concatenate(own).mean())
    assert errors[0] < 0.7 * errors[1]
