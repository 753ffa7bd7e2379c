"""Hermitian part, adjoint, rotation, permutation: as of the matrices they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.operators.bloch import bloch, fold, to_csr
from nearsight.operators.symmetry import adjoint, hermitian_part, hermiticity_error, permute, rotate, with_reverses
from nearsight.structures.graph import build_graph
from tests.random_cases import HFO2_SZV, operators, random_operator, random_structure, rotations

K = np.array([0.21, -0.37, 0.08])
seeds = st.integers(0, 2**32 - 1)


def spectrum(operator, k=K) -> np.ndarray:
    return np.linalg.eigvalsh(bloch(operator, k).toarray())


def identical(a, b) -> None:
    for name in ("numbers", "source", "target", "shift", "values"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.folded == b.folded


@given(operators(hermitian=False))
def test_adjoint_is_the_conjugate_transpose_at_every_k(operator):
    expected = bloch(operator, K).toarray().conj().T
    np.testing.assert_allclose(bloch(adjoint(operator), K).toarray(), expected, atol=1e-13)
    identical(adjoint(adjoint(operator)), operator)


@given(operators(hermitian=False))
def test_hermitian_part(operator):
    part = hermitian_part(operator)
    assert hermiticity_error(part) == 0.0
    identical(adjoint(part), part)
    identical(hermitian_part(part), part)
    matrix = bloch(operator, K).toarray()
    np.testing.assert_allclose(bloch(part, K).toarray(), (matrix + matrix.conj().T) / 2, atol=1e-13)


@given(operators(hermitian=False), seeds)
def test_pairs_without_their_reverse(operator, seed):
    """Reverses are added as zeros, and the Hermitian part has half of what stood alone."""
    some = operator.select(np.random.default_rng(seed).random(operator.n_pairs) < 0.5)
    complete = with_reverses(some)
    np.testing.assert_array_equal(complete.source[complete.reverse], complete.target)
    matrix = bloch(some, K).toarray()
    np.testing.assert_allclose(bloch(complete, K).toarray(), matrix, atol=1e-13)
    part = hermitian_part(some)
    np.testing.assert_allclose(bloch(part, K).toarray(), (matrix + matrix.conj().T) / 2, atol=1e-13)
    keys = set(map(tuple, np.column_stack([some.source, some.target, some.shift]).tolist()))
    back = set(map(tuple, np.column_stack([some.target, some.source, -some.shift]).tolist()))
    assert complete.n_pairs == len(keys | back)


def test_a_complete_operator_stays_what_it_is(hamiltonian):
    assert with_reverses(hamiltonian) is hamiltonian


def test_adjoint_of_half_an_operator(hamiltonian):
    with pytest.raises(InputError, match="every pair with its reverse"):
        adjoint(hamiltonian.select(hamiltonian.source < hamiltonian.target))


def test_hermiticity_error_is_the_largest_difference(hamiltonian):
    values = hamiltonian.values.copy()
    assert hermiticity_error(hamiltonian) == 0
    values[hamiltonian.offsets[3] + 1] += 0.25
    assert hermiticity_error(hamiltonian.with_values(values)) == pytest.approx(0.25)
    assert hermiticity_error(hamiltonian.select(np.zeros(0, dtype=int))) == 0


@given(operators(), rotations)
def test_rotation_keeps_the_spectrum_and_can_be_undone(operator, rotation):
    turned = rotate(operator, rotation)
    np.testing.assert_allclose(spectrum(turned), spectrum(operator), atol=1e-10)
    assert hermiticity_error(turned) < 1e-12
    np.testing.assert_allclose(rotate(turned, rotation.T).values, operator.values, atol=1e-11)
    np.testing.assert_allclose(rotate(fold(operator), rotation).values, fold(turned).values, atol=1e-11)


@given(operators(hermitian=False), rotations, rotations)
def test_two_rotations_are_their_product(operator, a, b):
    np.testing.assert_allclose(rotate(rotate(operator, a), b).values, rotate(operator, b @ a).values, atol=1e-11)


def test_inversion_changes_the_sign_of_odd_elements_only(hamiltonian):
    parity = {8: np.array([1, -1, -1, -1]), 72: np.array([1, 1, -1, -1, -1, 1, 1, 1, 1, 1])}
    inverted = rotate(hamiltonian, -np.eye(3))
    for (zi, zj), pairs in hamiltonian.element_pairs.items():
        expected = hamiltonian.stack(pairs) * np.outer(parity[zi], parity[zj])
        np.testing.assert_allclose(inverted.stack(pairs), expected, atol=1e-12)


@given(operators(hermitian=False), seeds)
def test_permutation(operator, seed):
    order = np.random.default_rng(seed).permutation(operator.n_atoms)
    inverse = np.argsort(order)
    permuted = permute(operator, order)
    identical(permute(permuted, inverse), operator)
    np.testing.assert_array_equal(permuted.numbers, operator.numbers[order])
    first = operator.orbital_offsets
    orbitals = np.concatenate([np.arange(first[a], first[a + 1]) for a in order])
    expected = bloch(operator, K).toarray()[np.ix_(orbitals, orbitals)]
    np.testing.assert_allclose(bloch(permuted, K).toarray(), expected, atol=1e-13)


def test_permuting_twice_by_an_exchange_is_nothing(hamiltonian):
    order = np.arange(hamiltonian.n_atoms)
    order[[2, 9]] = [9, 2]
    identical(permute(permute(hamiltonian, order), order), hamiltonian)
    identical(permute(hamiltonian, np.arange(hamiltonian.n_atoms)), hamiltonian)


def test_a_permuted_structure_has_the_permuted_pairs(rng):
    structure = random_structure(5, rng)
    order = rng.permutation(5)
    operator = permute(random_operator(structure, build_graph(structure, 4.0), HFO2_SZV, rng), order)
    graph = build_graph(structure.permuted(order), 4.0)
    off_site = operator.select(~operator.on_site)
    np.testing.assert_array_equal(off_site.source, graph.source)
    np.testing.assert_array_equal(off_site.target, graph.target)
    np.testing.assert_array_equal(off_site.shift, graph.shift)


def test_the_operator_given_is_not_changed(hamiltonian, rng):
    before = hamiltonian.values.copy()
    for change in (adjoint, hermitian_part, fold, to_csr, with_reverses):
        change(hamiltonian)
    rotate(hamiltonian, -np.eye(3))
    permute(hamiltonian, rng.permutation(hamiltonian.n_atoms))
    np.testing.assert_array_equal(hamiltonian.values, before)
