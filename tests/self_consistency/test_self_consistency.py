"""A learnt functional of the density: fixed points, symmetries, and the real thing on amorphous HfO₂."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nearsight.baselines.settings import BaselineSettings
from nearsight.electronic.populations import atomic_charges
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import hermiticity_error, rotate, symmetric
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import atom_rotation
from nearsight.self_consistency import solver
from nearsight.self_consistency.atomic_density import AtomicDensity, LoewdinBasis, populations
from nearsight.self_consistency.functional import FittedFunctional, OnSiteFunctional, fit_functional, fit_local
from nearsight.self_consistency.mixing import AndersonMixing
from nearsight.self_consistency.potential import exact_potential, levels_of, potential_between, without_potential
from nearsight.self_consistency.response import DensityResponse, fit_response
from nearsight.self_consistency.solver import HamiltonianOfDensity, NotConvergedError, solve_self_consistent
from nearsight.self_consistency.start import DensityStart, fit_start
from nearsight.structures.graph import build_graph
from nearsight.units import HARTREE_IN_EV

DATA = Path(__file__).parents[2] / "data"
EXCERPT = Path(__file__).parents[1] / "data" / "BASIS_MOLOPT_excerpt"
CUTOFF = 6.0


@cache
def calculation() -> Calculation:
    """96 atoms of a-HfO₂, CP2K at Γ, with the functions of its basis."""
    known = read_calculation(DATA / "aHfO2_96_A.h5")
    functions = read_basis_file(EXCERPT, "SZV-MOLOPT-SR-GTH").functions
    return replace(known, basis=known.basis.with_functions({z: functions[z] for z in (8, 72)}))


def layout_of(known: Calculation) -> CoupledLayout:
    return CoupledLayout(known.basis.restricted(known.structure.numbers))


@cache
def fitted() -> FittedFunctional:
    return fit_functional([calculation()], layout_of(calculation()), CUTOFF)


@cache
def begin() -> DensityStart:
    layout = layout_of(calculation())
    return fit_start([calculation()], fitted().densities, layout, CUTOFF, BaselineSettings())


class FollowedBetween:
    """A density functional without a network: between atoms CP2K's H of the atoms where they are, and the potential."""

    def __init__(self, functional: OnSiteFunctional, between: BlockOperator) -> None:
        self.functional, self.between, self.layout = functional, between, functional.layout
        self.basis = functional.basis
        self.levels = levels_of([calculation()])
        self.residual: dict[int, float] = {}

    def bound(self, known: Calculation) -> HamiltonianOfDensity:
        return _Bound(self, known)


class _Bound:
    def __init__(self, own: FollowedBetween, known: Calculation) -> None:
        self.own, self.known, graph = own, known, build_graph(known.structure, CUTOFF)
        self.graph = graph
        self.environment = own.functional.environment(known.structure, graph)
        self.features = own.functional.features(known.structure, graph, known.require_overlap())

    def start(self) -> AtomicDensity:
        return begin()(self.known.structure, self.graph, self.known.basis.valence, 0.0)

    def expected_errors(self, density: AtomicDensity, h: BlockOperator) -> None:
        return None

    def __call__(self, density: AtomicDensity) -> BlockOperator:
        own, numbers = self.own, self.known.structure.numbers
        coupled = own.functional(self.environment, self.features, density)
        potential = np.empty(len(numbers))
        h = own.between.with_values(own.between.values.copy())
        for z, level in own.levels.items():
            atoms = np.flatnonzero(numbers == z)
            blocks = symmetric(own.layout.uncouple(coupled[atoms], z, z))
            potential[atoms] = np.trace(blocks, axis1=1, axis2=2) / blocks.shape[1] - level
            h.put(h.find(atoms, atoms, np.zeros((len(atoms), 3), dtype=np.int64)), HARTREE_IN_EV * blocks)
        return h.with_values(h.values + potential_between(h, self.known.require_overlap(), potential))


@cache
def model() -> FollowedBetween:
    known = calculation()
    rest = without_potential(known, exact_potential(known, levels_of([known])))
    return FollowedBetween(fitted().functional, rest.require_hamiltonian())


def on_site_error(h: BlockOperator) -> float:
    """mE_h."""
    exact = calculation().require_hamiltonian()
    own = np.flatnonzero(exact.on_site)
    errors = [np.abs(h.stack(own[k : k + 1]) - exact.stack(own[k : k + 1])).mean() for k in range(len(own))]
    return 1e3 * float(np.mean(errors)) / HARTREE_IN_EV


def test_the_loop_stays_at_the_hamiltonian_and_charges_of_the_dft_code() -> None:
    """CP2K's H of the structure that was fitted is nearly a fixed point; its charges are those of the result."""
    known = calculation()
    solved = solve_self_consistent(model(), known)
    exact = atomic_charges(known, kind="loewdin")
    assert 0 < on_site_error(solved.hamiltonian) < 0.5
    assert np.sqrt(((solved.density.charges - exact) ** 2).mean()) < 5e-3
    assert solved.error < solver.TOLERANCE
    assert solved.steps == solved.diagonalisations <= 9  # a small matrix is diagonalised in each
    assert hermiticity_error(solved.hamiltonian) < 1e-12
    assert abs(solved.density.charges.sum()) < 1e-8


def test_the_density_of_the_result_is_the_density_it_was_made_of() -> None:
    solved = solve_self_consistent(model(), calculation())
    again = LoewdinBasis(calculation(), model().layout, functions=model().basis).density_of(solved.hamiltonian)[0]
    assert np.sqrt(((again.charges - solved.density.charges) ** 2).mean()) < solved.residual


def test_the_fixed_point_does_not_depend_on_the_start() -> None:
    rng, known, found = np.random.default_rng(0), calculation(), []
    true = fitted().densities[0]
    noise = replace(true, charges=true.charges + 0.02 * rng.standard_normal(96))
    for start in (None, true, noise):
        found.append(solve_self_consistent(model(), known, start=start, tolerance=3e-8).density.charges)
    assert np.abs(found[1] - found[0]).max() < 1e-6
    assert np.abs(found[2] - found[0]).max() < 1e-6


def test_levels_that_are_followed_lead_to_the_same_fixed_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a large matrix, of which one Hamiltonian alone is diagonalised."""
    exact = solve_self_consistent(model(), calculation(), tolerance=1e-6)
    monkeypatch.setattr(solver, "LARGE", 1)
    followed = solve_self_consistent(model(), calculation())
    assert followed.diagonalisations == 1 < followed.steps <= 9
    assert np.sqrt(((followed.density.charges - exact.density.charges) ** 2).mean()) < solver.TOLERANCE
    assert np.sqrt(((followed.potential - exact.potential) ** 2).mean()) < 10 * solver.TOLERANCE
    tight = solve_self_consistent(model(), calculation(), tolerance=1e-6)
    assert np.abs(tight.density.charges - exact.density.charges).max() < 1e-5
    assert 1 < tight.diagonalisations < tight.steps


class FollowedResponding(FollowedBetween):
    """The same, with a response learnt on the way to the solution."""

    def __init__(self, known: FollowedBetween, response: DensityResponse) -> None:
        super().__init__(known.functional, known.between)
        self.response = response

    def bound(self, known: Calculation) -> HamiltonianOfDensity:
        return _Responding(self, known)


class _Responding(_Bound):
    def __init__(self, own: FollowedResponding, known: Calculation) -> None:
        super().__init__(own, known)
        self.response = own.response

    def step_towards(self, density: AtomicDensity, residual: np.ndarray) -> np.ndarray:
        return self.response(self.features, density, residual)


def test_a_learnt_response_leads_to_the_same_fixed_point_in_fewer_steps() -> None:
    known = calculation()
    slow = solve_self_consistent(model(), known)
    features = fitted().functional.features(known.structure, build_graph(known.structure, CUTOFF))
    response = fit_response(features, slow.first_steps, slow.density)
    fast = solve_self_consistent(FollowedResponding(model(), response), known)
    assert fast.steps < slow.steps
    ends = [solve_self_consistent(m, known, tolerance=3e-8) for m in (model(), FollowedResponding(model(), response))]
    assert np.abs(ends[1].density.vector() - ends[0].density.vector()).max() < 1e-5
    # what is left is what was said
    missing = fast.density.charges - ends[0].density.charges
    assert fast.error < solver.TOLERANCE
    assert np.sqrt((missing**2).mean()) < solver.TOLERANCE
    assert np.sqrt(((fast.potential - ends[0].potential) ** 2).mean()) < 10 * solver.TOLERANCE


def test_charges_and_blocks_say_the_same_of_the_electrons_of_an_atom() -> None:
    """Of the start, and of what a response proposes."""
    known = calculation()
    solved = solve_self_consistent(model(), known, tolerance=5e-3)
    features = fitted().functional.features(known.structure, build_graph(known.structure, CUTOFF))
    response = fit_response(features, solved.first_steps, solved.density)
    start, found = solved.first_steps[0]
    proposed = start.with_vector(start.vector() + response(features, start, found.vector() - start.vector()))
    valence = np.array([known.basis.valence[int(z)] for z in known.structure.numbers])
    for density in (start, proposed):
        electrons = populations(model().layout, known.structure.numbers, density.blocks)
        assert np.abs(density.charges - (valence - electrons)).max() < 1e-10
        assert abs(density.charges.sum()) < 1e-9


def test_a_density_far_astray_is_forgotten() -> None:
    known = calculation()
    start, exact = model().bound(known).start(), fitted().densities[0]
    course = solver._Course(model().bound(known), model().layout, start, 0.3)
    shares = solver._shares(model().layout, start, 0.3)
    first = course.next(start, exact, 1e-2)
    again = course.next(first, start, 0.1)
    np.testing.assert_allclose(again.vector(), start.vector() + shares * (exact.vector() - start.vector()) / 2)
    third = course.next(again, start, 0.1)
    np.testing.assert_allclose(third.vector(), start.vector() + shares * (exact.vector() - start.vector()) / 4)


def test_a_response_turns_with_the_structure() -> None:
    known, rotation, functional = calculation(), Rotation.random(random_state=4).as_matrix(), fitted().functional
    solved = solve_self_consistent(model(), known, tolerance=5e-3)
    turned = known.structure.rotated(rotation)
    features, other = (functional.features(s, build_graph(s, CUTOFF)) for s in (known.structure, turned))
    response = fit_response(features, solved.first_steps, solved.density)
    density, found = solved.first_steps[0]
    step, again = (
        response(f, a, b.vector() - a.vector())
        for f, a, b in ((features, density, found), (other, _turned(density, rotation), _turned(found, rotation)))
    )
    expected = _turned(density.with_vector(step), rotation)
    assert np.abs(step).max() > 1e-2
    assert np.abs(again - expected.vector()).max() < 1e-8


def _turned(density: AtomicDensity, rotation: np.ndarray) -> AtomicDensity:
    numbers, layout, kinds = calculation().structure.numbers, model().layout, [k.copy() for k in density.own_blocks]
    for z in (8, 72):
        atoms, d = np.flatnonzero(numbers == z), atom_rotation(calculation().basis, z, rotation)
        for blocks in kinds:
            blocks[atoms] = layout.couple(d @ layout.uncouple(blocks[atoms], z, z) @ d.T, z, z)
    loewdin, net, gross = kinds
    return AtomicDensity(density.charges, loewdin, net, gross, density.dipoles @ rotation.T)


def test_the_start_is_near() -> None:
    exact = fitted().densities[0]
    start = model().bound(calculation()).start()
    assert np.abs(start.charges - exact.charges).std() < 0.5 * exact.charges[calculation().structure.numbers == 8].std()
    assert abs(start.charges.sum()) < 1e-10


def test_charges_and_blocks_turn_with_the_structure() -> None:
    known, rotation = calculation(), Rotation.random(random_state=3).as_matrix()
    turned = replace(
        known,
        structure=known.structure.rotated(rotation),
        hamiltonian=rotate(known.require_hamiltonian(), rotation),
        overlap=rotate(known.require_overlap(), rotation),
    )
    between = model().between
    known_model = FollowedBetween(fitted().functional, between)
    turned_model = FollowedBetween(fitted().functional, rotate(between, rotation))
    solved = solve_self_consistent(known_model, known)
    other = solve_self_consistent(turned_model, turned)
    assert np.abs(solved.density.charges - other.density.charges).max() < 1e-8
    assert np.abs(solved.potential - other.potential).max() < 1e-6
    expected = rotate(solved.hamiltonian, rotation)
    assert np.abs(expected.values - other.hamiltonian.values).max() < 1e-6


def test_the_order_of_atoms_and_the_origin_do_not_matter() -> None:
    known, structure = calculation(), calculation().structure
    order = np.random.default_rng(0).permutation(len(structure))
    moved = replace(
        structure, numbers=structure.numbers[order], positions=structure.positions[order] + [0.7, -0.2, 3.1]
    )
    overlap = _reordered(known.require_overlap(), order)
    other = replace(known, structure=moved, hamiltonian=None, overlap=overlap)
    solved = solve_self_consistent(model(), known)
    again = solve_self_consistent(FollowedBetween(fitted().functional, _reordered(model().between, order)), other)
    assert np.abs(solved.density.charges[order] - again.density.charges).max() < 1e-8
    assert np.abs(solved.potential[order] - again.potential).max() < 1e-6


def _reordered(operator: BlockOperator, order: np.ndarray) -> BlockOperator:
    """The same operator, folded to Γ, of atoms in another order."""
    place = np.argsort(order)
    i, j = place[operator.source], place[operator.target]
    sort = np.lexsort((j, i))
    values = np.concatenate([operator.stack(np.array([k])).ravel() for k in sort])
    return BlockOperator(
        operator.numbers[order], operator.basis, i[sort], j[sort], operator.shift[sort], values, operator.folded
    )


def test_no_convergence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "MOST", 3)
    with pytest.raises(NotConvergedError, match=r"expected charges that agree to .* within 3 steps"):
        solve_self_consistent(model(), calculation())


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
    layout, half = model().layout, np.arange(96) % 2 == 0
    trial = fit_functional([known], layout, CUTOFF, used=[half]).functional
    graph = build_graph(known.structure, CUTOFF)
    environment, features = (
        trial.environment(known.structure, graph),
        trial.features(known.structure, graph, known.require_overlap()),
    )
    blocks = trial(environment, features, fitted().densities[0])
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
