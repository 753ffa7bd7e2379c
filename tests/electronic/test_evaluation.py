"""A whole evaluation, and two calculations that are not of one structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearsight.electronic.evaluation import check_same_structure, evaluate, spectrum_of
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure
from tests.electronic.small_models import S_AND_P, S_ONLY, chain, chain_calculation, chain_levels, operator

N = 10
STRUCTURE = Structure([1, 8], [[0.5, 0, 0], [1.7, 0, 0]], np.diag([4.0, 9.0, 9.0]), True)


def o_moved_by(vector: list[float], pbc: tuple[bool, bool, bool] = (True, True, True)) -> Structure:
    positions = STRUCTURE.positions.copy()
    positions[1] += vector
    return Structure([1, 8], positions, STRUCTURE.cell, pbc)


def calculation(structure: Structure = STRUCTURE, folded: bool = False) -> Calculation:
    """H and O with unit on-site blocks."""
    numbers = structure.numbers.tolist()
    blocks = {(i, i, 0): np.eye(1 if z == 1 else 3) for i, z in enumerate(numbers)}
    return Calculation(structure, S_AND_P, operator(numbers, blocks, folded=folded))


def test_matrix_and_spectrum_together():
    """A chain with ε and t off by 0.25 and 0.125 eV."""
    prediction = chain_calculation(N, -1.75, -0.625, None)
    reference = chain_calculation(N, -2.0, -0.75, 0.2)
    evaluation = evaluate(prediction, reference)
    assert (evaluation.matrix.eps_n, evaluation.matrix.eps_e) == (0.25, 0.125)
    assert evaluation.matrix.eps_tot == pytest.approx((0.25 + 2 * 0.125) / 3)
    assert set(evaluation.parity.edge_prediction) == {-0.625}
    ours, theirs = chain_levels(N, -1.75, -0.625, 0.2), chain_levels(N, -2.0, -0.75, 0.2)
    assert evaluation.prediction.eigenvalues == pytest.approx(ours, abs=1e-12)
    assert evaluation.reference.eigenvalues == pytest.approx(theirs, abs=1e-12)
    assert evaluation.spectrum.mean_absolute == pytest.approx(np.abs(ours - theirs).mean())
    assert evaluation.reference.n_electrons == N
    assert not evaluation.missing_overlap


def test_perfect_prediction():
    reference = chain_calculation(N, -2.0, -0.75, 0.2)
    evaluation = evaluate(reference, reference)
    assert evaluation.matrix.eps_tot == 0
    assert evaluation.spectrum.relative_l2 == 0
    assert evaluation.spectrum.largest == 0
    assert evaluation.hermiticity_error == 0


def test_overlap_of_the_reference_comes_first():
    evaluation = evaluate(chain_calculation(N, -2.0, -0.75, 0.1), chain_calculation(N, -2.0, -0.75, 0.2))
    expected = chain_levels(N, -2.0, -0.75, 0.2)
    assert evaluation.prediction.eigenvalues == pytest.approx(expected, abs=1e-12)


def test_overlap_of_the_prediction_where_the_reference_has_none():
    evaluation = evaluate(chain_calculation(N, -2.0, -0.75, 0.1), chain_calculation(N, -2.0, -0.75, None))
    expected = chain_levels(N, -2.0, -0.75, 0.1)
    assert evaluation.reference.eigenvalues == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("asked", "overlap", "missing"), [(True, None, True), (False, None, False), (False, 0.2, False)]
)
def test_without_eigenvalues(asked, overlap, missing):
    chains = (chain_calculation(N, energy, -0.75, overlap) for energy in (-1.5, -2.0))
    evaluation = evaluate(*chains, eigenvalues=asked)
    assert evaluation.matrix.eps_n == 0.5
    assert (evaluation.spectrum, evaluation.prediction, evaluation.reference) == (None, None, None)
    assert evaluation.missing_overlap is missing


def test_prediction_that_is_not_hermitian():
    """The Hermitian part gives the levels; the deviation is told and the matrix errors are those of the file."""
    reference = chain_calculation(N, -2.0, -0.75, 0.2)
    h = reference.hamiltonian
    tilted = h.with_values(h.values + 0.1 * np.sign(h.target - h.source))
    evaluation = evaluate(replace(reference, hamiltonian=tilted), reference)
    assert evaluation.hermiticity_error == pytest.approx(0.2)
    assert evaluation.matrix.eps_e == pytest.approx(0.1)
    assert evaluation.spectrum.largest == pytest.approx(0, abs=1e-12)


def test_valence_of_the_prediction_where_the_reference_does_not_know_it():
    reference = chain_calculation(N, -2.0, -0.75, 0.2)
    unknown = replace(reference, basis=BasisSet("one s", {1: (0,)}, {}))
    assert evaluate(reference, unknown).reference.n_electrons == N
    with pytest.raises(InputError, match="expected the valence of H in basis one s, got none"):
        evaluate(unknown, unknown)


def test_spectrum_of_one_calculation():
    spectrum = spectrum_of(chain_calculation(N, -2.0, -0.75, 0.2))
    assert spectrum.eigenvalues == pytest.approx(chain_levels(N, -2.0, -0.75, 0.2), abs=1e-12)
    assert (spectrum.n_electrons, spectrum.n_occupied) == (N, N // 2)


def test_spectrum_with_another_overlap_and_charge():
    spectrum = spectrum_of(chain_calculation(N, -2.0, -0.75, 0.2), chain(N, 1.0, 0.1), 0)
    assert spectrum.eigenvalues == pytest.approx(chain_levels(N, -2.0, -0.75, 0.1), abs=1e-12)
    assert spectrum.n_electrons == 0
    spectrum = spectrum_of(chain_calculation(N, -2.0, -0.75, 0.2), n_electrons=N - 1)
    assert (spectrum.n_occupied, spectrum.gap) == (N // 2 - 1, 0)


def test_spectrum_without_overlap():
    with pytest.raises(InputError, match=r"expected an overlap matrix S, got a file without one.*--overlap"):
        spectrum_of(chain_calculation(N, -2.0, -0.75, None))


def test_missing_hamiltonian():
    reference = chain_calculation(N, -2.0, -0.75, 0.2)
    empty = Calculation(reference.structure, S_ONLY)
    for pair in ((empty, reference), (reference, empty)):
        with pytest.raises(InputError, match="expected a Hamiltonian, got a file without one"):
            evaluate(*pair)
    with pytest.raises(InputError, match="expected a Hamiltonian, got a file without one"):
        spectrum_of(empty)


def test_other_formula():
    with pytest.raises(InputError, match="of the same structure, got H10 and H11"):
        evaluate(chain_calculation(10, 0, 1, None), chain_calculation(11, 0, 1, None))
    other = Structure([8, 8], STRUCTURE.positions, STRUCTURE.cell, True)
    with pytest.raises(InputError, match="of the same structure, got O2 and HO"):
        evaluate(calculation(other), calculation())


def test_other_order_of_atoms():
    swapped = Structure(STRUCTURE.numbers[::-1], STRUCTURE.positions[::-1], STRUCTURE.cell, True)
    with pytest.raises(InputError, match="expected the atoms in the same order, got another element at atom 0"):
        evaluate(calculation(swapped), calculation())


def test_atom_at_another_place():
    moved = o_moved_by([0, 0.03, 0.04])
    with pytest.raises(InputError, match=r"same places \(within 0.001 Å\), got atom 1 .* 0.0500 Å away"):
        evaluate(calculation(moved), calculation())


def test_places_rounded_to_four_decimals():
    rounded = Structure([1, 8], STRUCTURE.positions + 4e-5, STRUCTURE.cell, True)
    assert evaluate(calculation(rounded), calculation(), eigenvalues=False).matrix.eps_tot == 0


def test_other_cell():
    longer = Structure([1, 8], STRUCTURE.positions, np.diag([4.0, 9.0, 9.1]), True)
    with pytest.raises(InputError, match=r"expected the same cell, got .*9\.1\]\] Å in the prediction"):
        evaluate(calculation(longer), calculation())


def test_cell_along_a_direction_that_is_not_periodic():
    """It says nothing about the structure."""
    pbc = (True, True, False)
    one, other = (Structure([1, 8], STRUCTURE.positions, np.diag([4.0, 9.0, c]), pbc) for c in (9.0, 20.0))
    assert evaluate(calculation(one), calculation(other), eigenvalues=False).matrix.eps_tot == 0


def test_other_periodic_directions():
    slab = Structure([1, 8], STRUCTURE.positions, STRUCTURE.cell, (True, True, False))
    with pytest.raises(InputError, match=r"same periodic directions, got \[True, True, False\] in the prediction"):
        evaluate(calculation(slab), calculation())


def test_atom_moved_by_a_lattice_vector():
    """Folded to Γ it is the same structure; resolved in R the blocks have other names."""
    moved = o_moved_by([8.0, -9.0, 0])
    with pytest.raises(InputError, match=r"same cells, got atom 1 .* moved by a lattice vector"):
        check_same_structure(calculation(moved), calculation())
    assert evaluate(calculation(moved), calculation(folded=True), eigenvalues=False).matrix.folded
    check_same_structure(calculation(moved, folded=True), calculation())


def test_lattice_vector_along_a_direction_that_is_not_periodic():
    """There it is another place, folded or not."""
    pbc = (True, True, False)
    here, there = o_moved_by([0, 0, 0], pbc), o_moved_by([0, 0, 9.0], pbc)
    with pytest.raises(InputError, match=r"got atom 1 .* 9.0000 Å away"):
        check_same_structure(calculation(there, folded=True), calculation(here, folded=True))


def test_folded_and_resolved_files_give_one_spectrum():
    reference = chain_calculation(N, -2.0, -0.75, 0.2)
    folded = replace(reference, hamiltonian=fold(reference.hamiltonian))
    evaluation = evaluate(folded, reference)
    assert evaluation.matrix.folded
    assert evaluation.matrix.eps_tot == 0
    assert evaluation.spectrum.largest == pytest.approx(0, abs=1e-12)
