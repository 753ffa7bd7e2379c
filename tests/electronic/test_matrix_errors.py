"""Errors of matrices and spectra, against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nearsight.electronic.matrix_errors import matrix_errors, pair_distances, parity
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import spectrum_errors
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.structures.structure import Structure
from tests.electronic.small_models import S_AND_P, S_ONLY, operator
from tests.random_cases import random_operator

H, O = 1, 8
NUMBERS = [H, O]
"""One orbital on H, three on O: blocks of 1, 3, 3 and 9 numbers."""
ALONG_X = Structure(NUMBERS, [[0, 0, 0], [1.2, 0, 0]], np.diag([4.0, 9.0, 9.0]), True)
REFERENCE = {
    (0, 0, 0): 5.0,
    (0, 0, 1): 0.5,  # H and its own image, 4 Å away
    (0, 1, -1): [1.0, 0.0, 0.0],  # 2.8 Å
    (0, 1, 0): [2.0, -2.0, 0.0],  # 1.2 Å
    (1, 1, 0): np.diag([9.0, 9.0, 9.0]),
}
PREDICTION = {
    (0, 0, 0): 5.4,  # 0.4
    (0, 1, -1): [1.3, 0.0, 0.0],  # 0.3
    (0, 1, 0): [2.0, -2.6, 0.6],  # 0.6 + 0.6
    (1, 0, 0): [0.0, 0.0, 3.0],  # not in the reference: 3.0
    (1, 1, 0): np.diag([9.0, 9.0, 10.8]),  # 1.8
}


def levels(values: list[float], n_occupied: int) -> Spectrum:
    return Spectrum(np.array(values), n_occupied, 1.0, 0.0)


def test_resolved_in_images():
    errors = matrix_errors(operator(NUMBERS, PREDICTION), operator(NUMBERS, REFERENCE), ALONG_X)
    assert not errors.folded
    assert errors.eps_n == pytest.approx((0.4 + 1.8) / 10)
    assert errors.eps_e == pytest.approx((0.3 + 1.2 + 3.0) / 9)
    assert errors.eps_tot == pytest.approx((0.4 + 1.8 + 0.3 + 1.2 + 3.0) / 19)
    assert (errors.nodes.n_blocks, errors.nodes.n_elements) == (2, 10)
    assert (errors.edges.n_blocks, errors.edges.n_elements) == (3, 9)
    assert (errors.total.n_blocks, errors.total.n_elements) == (5, 19)
    assert (errors.nodes.largest, errors.edges.largest, errors.total.largest) == pytest.approx((1.8, 3.0, 3.0))
    assert errors.nodes.magnitude == pytest.approx((5 + 27) / 10)
    assert errors.edges.magnitude == pytest.approx((1 + 4 + 0) / 9)


def test_what_is_not_predicted():
    """The reference's block of H with its image is the only one outside the prediction's pairs."""
    outside = matrix_errors(operator(NUMBERS, PREDICTION), operator(NUMBERS, REFERENCE), ALONG_X).outside
    assert (outside.n_blocks, outside.n_elements) == (1, 1)
    assert (outside.mean_absolute, outside.largest, outside.magnitude) == (0.5, 0.5, 0.5)


def test_nothing_outside():
    reference = operator(NUMBERS, REFERENCE)
    errors = matrix_errors(reference, reference, ALONG_X)
    assert (errors.outside.n_blocks, errors.outside.n_elements) == (0, 0)
    assert math.isnan(errors.outside.mean_absolute)
    assert (errors.eps_n, errors.eps_e, errors.eps_tot) == (0, 0, 0)
    assert errors.total.magnitude == pytest.approx((5 + 0.5 + 1 + 4 + 27) / 17)


@pytest.mark.parametrize(("fold_prediction", "fold_reference"), [(True, True), (True, False), (False, True)])
def test_folded(fold_prediction, fold_reference):
    """Images are summed before they are compared: errors of opposite sign cancel, H's image joins its site."""
    prediction, reference = operator(NUMBERS, PREDICTION), operator(NUMBERS, REFERENCE)
    prediction = fold(prediction) if fold_prediction else prediction
    errors = matrix_errors(prediction, fold(reference) if fold_reference else reference, ALONG_X)
    assert errors.folded
    assert errors.eps_n == pytest.approx((0.1 + 1.8) / 10)  # 5.4 against 5.0 + 0.5
    assert errors.eps_e == pytest.approx((0.3 + 0.6 + 0.6 + 3.0) / 6)  # 3.3, −2.6, 0.6 against 3, −2, 0
    assert errors.eps_tot == pytest.approx((1.9 + 4.5) / 16)
    assert errors.outside.n_blocks == 0


def test_images_of_opposite_error_cancel_when_folded():
    reference = operator([H], {(0, 0, -1): 1.0, (0, 0, 0): 5.0, (0, 0, 1): 1.0})
    prediction = operator([H], {(0, 0, -1): 1.25, (0, 0, 0): 5.0, (0, 0, 1): 0.75})
    structure = Structure([H], [[0, 0, 0]], 4 * np.eye(3), True)
    assert matrix_errors(prediction, reference, structure).eps_e == 0.25
    assert matrix_errors(fold(prediction), reference, structure).eps_n == 0
    assert math.isnan(matrix_errors(fold(prediction), reference, structure).eps_e)


def test_table_of_element_pairs():
    rows = matrix_errors(operator(NUMBERS, PREDICTION), operator(NUMBERS, REFERENCE), ALONG_X).element_pairs
    found = {(row.elements, row.on_site): (row.errors.n_blocks, row.errors.mean_absolute) for row in rows}
    assert found == {
        ((H, H), True): (1, pytest.approx(0.4)),
        ((O, O), True): (1, pytest.approx(0.2)),
        ((H, O), False): (2, pytest.approx(1.5 / 6)),
        ((O, H), False): (1, pytest.approx(1.0)),
    }
    assert len(rows) == len(found)


def test_an_atom_and_its_image_are_an_edge():
    """It has a row of its own beside the same element's on-site blocks."""
    reference = operator(NUMBERS, REFERENCE)
    rows = matrix_errors(reference.with_values(reference.values + 1), reference, ALONG_X).element_pairs
    blocks = {(row.elements, row.on_site): row.errors.n_blocks for row in rows}
    assert blocks == {((H, H), True): 1, ((O, O), True): 1, ((H, H), False): 1, ((H, O), False): 2}


def test_table_of_distances():
    """1.2 Å: (0, 1) and its reverse; 2.8 Å: the image at −1."""
    rows = matrix_errors(operator(NUMBERS, PREDICTION), operator(NUMBERS, REFERENCE), ALONG_X).distances
    found = [(row.lower, row.upper, row.errors.n_blocks, row.errors.mean_absolute) for row in rows]
    assert found == [(1.0, 1.5, 2, pytest.approx(4.2 / 6)), (2.5, 3.0, 1, pytest.approx(0.1))]


def test_distances_of_a_folded_operator():
    """To the nearest image, whatever cell the atoms are in."""
    far = Structure(NUMBERS, [[0, 0, 0], [3.5 + 8, 0, 0]], np.diag([4.0, 9.0, 9.0]), True)
    both = operator(NUMBERS, {(0, 0, 0): 1.0, (0, 1, 0): 1.0}, folded=True)
    assert pair_distances(both, far) == pytest.approx([0, 0.5])
    rows = matrix_errors(both, both, far).distances
    assert [(row.lower, row.errors.n_blocks) for row in rows] == [(0.5, 1)]


def test_distances_without_a_cell():
    cluster = Structure(NUMBERS, [[0, 0, 0], [3, 4, 0]], np.zeros((3, 3)), False)
    pair = {(0, 0, 0): 1.0, (0, 1, 0): 1.0}
    assert pair_distances(operator(NUMBERS, pair, folded=True), cluster) == pytest.approx([0, 5])
    assert pair_distances(operator(NUMBERS, pair), cluster) == pytest.approx([0, 5])


def test_distances_of_a_chain():
    """Periodic along one direction, with no vectors along the others."""
    wire = Structure(NUMBERS, [[0, 0, 0], [3.5, 1.2, 0]], np.diag([4.0, 0.0, 0.0]), (True, False, False))
    assert pair_distances(operator(NUMBERS, {(0, 1, 0): 1.0}, folded=True), wire) == pytest.approx([1.3])
    resolved = operator(NUMBERS, {(0, 1, -1): 1.0, (0, 1, 0): 1.0})
    assert pair_distances(resolved, wire) == pytest.approx([1.3, math.hypot(3.5, 1.2)])


def test_tables_add_up(hfo2, hfo2_graph, basis, rng, hamiltonian):
    """Blocks weighted by their elements: the tables and the two kinds give ε_tot back."""
    reference = random_operator(hfo2, hfo2_graph, basis, rng)
    errors = matrix_errors(hamiltonian, reference, hfo2)
    direct = np.abs(hamiltonian.values - reference.values)
    assert errors.eps_tot == pytest.approx(direct.mean())
    assert errors.total.largest == direct.max()
    for tallies, total in (
        ([row.errors for row in errors.element_pairs], errors.total),
        ([row.errors for row in errors.distances], errors.edges),
    ):
        assert sum(t.n_elements for t in tallies) == total.n_elements
        assert sum(t.n_blocks for t in tallies) == total.n_blocks
        assert sum(t.mean_absolute * t.n_elements for t in tallies) == pytest.approx(
            total.mean_absolute * total.n_elements
        )
    assert max(row.upper for row in errors.distances) <= 4.0


def test_other_atoms():
    expected = "expected two Hamiltonians of the same atoms, got 1 and 2 atoms or another order"
    with pytest.raises(InputError, match=expected):
        matrix_errors(operator([H], {(0, 0, 0): 1.0}), operator(NUMBERS, REFERENCE), ALONG_X)
    with pytest.raises(InputError, match="or another order of elements"):
        parity(operator([O, H], {(0, 0, 0): 1.0}), operator(NUMBERS, REFERENCE))


def test_other_basis():
    one = operator([H], {(0, 0, 0): 1.0}, basis=S_ONLY)
    other = operator([H], {(0, 0, 0): 1.0}, basis=S_AND_P)
    expected = "same basis, got H 1s in the prediction and H 1s, O 1p in the reference"
    with pytest.raises(InputError, match=expected):
        matrix_errors(one, other, ALONG_X)


def test_parity_of_all_elements():
    sample = parity(operator(NUMBERS, PREDICTION), operator(NUMBERS, REFERENCE))
    assert (sample.n_nodes, sample.n_edges) == (10, 9)
    assert sample.edge_reference.tolist() == [1, 0, 0, 2, -2, 0, 0, 0, 0]
    assert sample.edge_prediction.tolist() == [1.3, 0, 0, 2, -2.6, 0.6, 0, 0, 3]
    assert sample.node_reference[[0, 1, 9]].tolist() == [5, 9, 9]
    assert sample.node_prediction[[0, 1, 9]].tolist() == [5.4, 9, 10.8]


def test_parity_draws_a_sample(hamiltonian):
    """As many as asked for, each once, predictions beside their own references."""
    numbered = hamiltonian.with_values(np.arange(hamiltonian.n_values, dtype=np.float64))
    sample = parity(numbered, numbered.with_values(numbered.values + 0.5), limit=50)
    assert sample.n_nodes + sample.n_edges == hamiltonian.n_values
    for prediction, reference in (
        (sample.node_prediction, sample.node_reference),
        (sample.edge_prediction, sample.edge_reference),
    ):
        assert len(np.unique(prediction)) == 50
        assert np.array_equal(reference, prediction + 0.5)
    again = parity(numbered, numbered, limit=50)
    assert np.array_equal(again.edge_prediction, sample.edge_prediction)


def test_spectrum_errors():
    """Differences 0.5, −0.5, 1, 0 of −4, −2, 4, 8; norms are not squared."""
    errors = spectrum_errors(levels([-3.5, -2.5, 5.0, 8.0], 2), levels([-4.0, -2.0, 4.0, 8.0], 2))
    assert errors.relative_l1 == pytest.approx(2 / 18)
    assert errors.relative_l2 == pytest.approx(np.sqrt(1.5) / 10)
    assert errors.relative_l1_occupied == pytest.approx(1 / 6)
    assert errors.relative_l2_occupied == pytest.approx(np.sqrt(0.5) / np.sqrt(20))
    assert errors.mean_absolute == 0.5
    assert errors.mean_absolute_occupied == 0.5
    assert errors.mean_occupied == 0.0
    assert errors.largest == 1.0
    assert (errors.gap_prediction, errors.gap_reference) == (7.5, 6.0)


def test_levels_near_the_gap():
    """Within 3 eV of HOMO −2 and LUMO 4 of the reference: −4, −2, 4, 7, and neither −5.5 nor 8."""
    exact = [-5.5, -4.0, -2.0, 4.0, 7.0, 8.0]
    errors = spectrum_errors(levels(list(np.add(exact, [8e-1, 1e-1, 2e-1, 3e-1, 4e-1, 0.9])), 3), levels(exact, 3))
    assert errors.mean_absolute_near_gap == pytest.approx(0.25)
    assert errors.mean_occupied == pytest.approx(1.1 / 3)


def test_odd_electrons_count_the_half_filled_level():
    one, other = (Spectrum(np.array(values), 1, 1.0, 0.0, True) for values in ([1.0, 2.0, 5.0], [1.0, 4.0, 5.0]))
    errors = spectrum_errors(one, other)
    assert errors.mean_absolute_occupied == 1.0
    assert errors.relative_l1_occupied == pytest.approx(2 / 5)
    assert errors.gap_prediction == errors.gap_reference == 0


def test_no_occupied_level():
    errors = spectrum_errors(levels([1.0, 2.0], 0), levels([1.0, 4.0], 0))
    assert math.isnan(errors.mean_absolute_occupied)
    assert math.isnan(errors.relative_l1_occupied)
    assert errors.relative_l1 == pytest.approx(2 / 5)


@pytest.mark.parametrize(("values", "n_occupied"), [([1.0, 2.0, 3.0], 1), ([1.0, 2.0], 2)])
def test_spectra_that_do_not_compare(values, n_occupied):
    expected = f"of 2 levels and 2 electrons, got a prediction of {len(values)} levels and {2 * n_occupied} electrons"
    with pytest.raises(InputError, match=expected):
        spectrum_errors(levels(values, n_occupied), levels([1.0, 2.0], 1))
