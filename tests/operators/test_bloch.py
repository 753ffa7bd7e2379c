"""Between blocks and matrices: nothing is lost, and H(k) is what the Bloch sum says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from nearsight.errors import InputError
from nearsight.operators.bloch import bloch, fold, from_csr, to_csr
from nearsight.operators.blocks import zeros
from nearsight.structures.graph import build_graph
from tests.random_cases import HFO2_SZV, operators, random_operator, random_overlap, random_structure

seeds = st.integers(0, 2**32 - 1)
k_points = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array)


def slow_bloch(operator, k) -> np.ndarray:
    """H(k) = Σ_R exp(2πi k·R) H(R), block after block."""
    first = operator.orbital_offsets
    matrix = np.zeros((operator.n_orbitals,) * 2, dtype=complex)
    for p in range(operator.n_pairs):
        i, j, shift = operator.source[p], operator.target[p], operator.shift[p]
        block = operator.block(i, j, tuple(shift))
        matrix[first[i] : first[i + 1], first[j] : first[j + 1]] += np.exp(2j * np.pi * np.dot(k, shift)) * block
    return matrix


def random_sparse(numbers: np.ndarray, rng: np.random.Generator, density: float) -> sparse.csr_matrix:
    n = HFO2_SZV.offsets(numbers)[-1]
    return sparse.random(n, n, density, format="csr", rng=rng, data_rvs=rng.standard_normal)


@given(seeds, st.integers(1, 7), st.sampled_from([0.0, 0.01, 0.1, 1.0]))
def test_matrix_to_blocks_and_back_is_exact(seed, n, density):
    rng = np.random.default_rng(seed)
    numbers = rng.choice([8, 72], n)
    matrix = random_sparse(numbers, rng, density)
    operator = from_csr(matrix, numbers, HFO2_SZV)
    assert operator.folded
    again = to_csr(operator)
    np.testing.assert_array_equal(again.toarray(), matrix.toarray())
    assert (again != matrix).nnz == 0
    twice = from_csr(again, numbers, HFO2_SZV)
    for name in ("source", "target", "shift", "values"):
        np.testing.assert_array_equal(getattr(twice, name), getattr(operator, name))


@given(operators(folded=True, hermitian=False))
def test_folded_blocks_to_matrix_and_back_is_exact(operator):
    again = from_csr(to_csr(operator), operator.numbers, operator.basis)
    for name in ("source", "target", "shift", "values"):
        np.testing.assert_array_equal(getattr(again, name), getattr(operator, name))


def test_only_pairs_with_an_element_become_blocks(rng):
    numbers = np.array([8, 72, 8])
    operator = from_csr(sparse.coo_matrix(([2.5, -1.0], ([5, 17], [16, 3])), shape=(18, 18)), numbers, HFO2_SZV)
    assert list(zip(operator.source, operator.target)) == [(1, 2), (2, 0)]
    assert operator.block(1, 2)[1, 2] == 2.5
    assert operator.block(2, 0)[3, 3] == -1.0
    assert np.count_nonzero(operator.values) == 2


def test_other_sparse_types_unsorted_and_duplicate_entries(rng):
    numbers = np.array([8, 8])
    matrix = random_sparse(numbers, rng, 0.4)
    expected = from_csr(matrix, numbers, HFO2_SZV).values
    coo = matrix.tocoo()
    turned = sparse.coo_matrix((coo.data[::-1], (coo.row[::-1], coo.col[::-1])), shape=coo.shape)
    for other in (matrix.tocsc(), sparse.csr_array(matrix), turned, matrix.tolil()):
        np.testing.assert_array_equal(from_csr(other, numbers, HFO2_SZV).values, expected)
    twice = sparse.coo_matrix((np.tile(coo.data, 2), (np.tile(coo.row, 2), np.tile(coo.col, 2))), coo.shape)
    np.testing.assert_array_equal(from_csr(twice, numbers, HFO2_SZV).values, 2 * expected)


def test_the_matrix_given_is_not_changed():
    data, columns, starts = np.array([1.0, 2.0, 4.0]), np.array([3, 1, 3]), np.array([0, 3, 3, 3, 3])
    matrix = sparse.csr_matrix((data, columns, starts), shape=(4, 4))
    operator = from_csr(matrix, np.array([8]), HFO2_SZV)
    assert operator.block(0, 0)[0].tolist() == [0, 2, 0, 5]
    assert (matrix.nnz, matrix.indices.tolist(), matrix.data.tolist()) == (3, [3, 1, 3], [1, 2, 4])


@pytest.mark.parametrize(("given_type", "kept"), [("f4", "f4"), ("f8", "f8"), ("i8", "f8"), ("?", "f4")])
def test_number_types(given_type, kept):
    operator = from_csr(sparse.identity(4, dtype=given_type, format="csr"), np.array([8]), HFO2_SZV)
    assert operator.values.dtype == np.dtype(kept)
    assert to_csr(operator).dtype == np.dtype(kept)


def test_a_matrix_of_another_size():
    message = "a matrix of size 14 for 2 atoms in O 1s1p, Hf 2s1p1d, got 13 × 13"
    with pytest.raises(InputError, match=message):
        from_csr(sparse.identity(13, format="csr"), np.array([8, 72]), HFO2_SZV)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_element_that_is_not_finite_is_named(bad):
    matrix = sparse.coo_matrix(([1.0, bad], ([0, 2], [0, 3])), shape=(4, 4))
    with pytest.raises(InputError, match=r"got (nan|inf) in row 2, column 3 \(counted from 0\) and 1 such"):
        from_csr(matrix, np.array([8]), HFO2_SZV)


def test_a_complex_matrix():
    with pytest.raises(InputError, match="expected a real matrix"):
        from_csr(1j * sparse.identity(4, format="csr"), np.array([8]), HFO2_SZV)


@given(operators(hermitian=False))
def test_the_matrix_holds_every_block_in_its_place(operator):
    first = operator.orbital_offsets
    expected, stored = np.zeros((2, operator.n_orbitals, operator.n_orbitals))
    for p in range(operator.n_pairs):
        i, j = operator.source[p], operator.target[p]
        place = slice(first[i], first[i + 1]), slice(first[j], first[j + 1])
        expected[place] += operator.stack(np.array([p]))[0]
        stored[place] = 1
    matrix = to_csr(operator.with_values(0 * operator.values))
    np.testing.assert_array_equal(matrix.toarray(), 0)
    matrix.data[:] = 1
    np.testing.assert_array_equal(matrix.toarray(), stored)
    matrix = to_csr(operator)
    np.testing.assert_allclose(matrix.toarray(), expected, atol=1e-12)
    assert matrix.has_canonical_format


@given(operators(hermitian=False))
def test_fold_sums_the_images(operator):
    folded = fold(operator)
    assert folded.folded
    assert not folded.shift.any()
    assert len(set(zip(folded.source, folded.target))) == folded.n_pairs
    for p in range(folded.n_pairs):
        i, j = folded.source[p], folded.target[p]
        images = np.flatnonzero((operator.source == i) & (operator.target == j))
        assert len(images) > 0
        np.testing.assert_allclose(folded.block(i, j), operator.stack(images).sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(to_csr(folded).toarray(), to_csr(operator).toarray(), atol=1e-12)
    assert fold(folded) is folded


@given(operators(hermitian=False), k_points)
def test_bloch_sum_equals_the_slow_one(operator, k):
    np.testing.assert_allclose(bloch(operator, k).toarray(), slow_bloch(operator, k), atol=1e-12)


@given(operators(), k_points, st.tuples(*[st.integers(-3, 3)] * 3))
def test_bloch_is_hermitian_and_periodic(operator, k, reciprocal):
    matrix = bloch(operator, k).toarray()
    np.testing.assert_allclose(matrix, matrix.conj().T, atol=1e-12)
    np.testing.assert_allclose(bloch(operator, k + np.array(reciprocal)).toarray(), matrix, atol=1e-10)
    np.testing.assert_allclose(bloch(operator, -k).toarray(), matrix.conj(), atol=1e-12)


@given(operators())
def test_bloch_at_gamma_is_the_matrix(operator):
    gamma = bloch(operator, np.zeros(3))
    np.testing.assert_array_equal(gamma.toarray().imag, 0)
    np.testing.assert_allclose(gamma.toarray().real, to_csr(operator).toarray(), atol=1e-12)
    np.testing.assert_allclose(bloch(fold(operator), np.zeros(3)).toarray(), gamma.toarray(), atol=1e-12)


def test_a_folded_operator_has_no_other_k(rng, hamiltonian):
    with pytest.raises(InputError, match=r"in real space for k = \[0.5, 0.0, 0.0\], got one folded to Γ"):
        bloch(fold(hamiltonian), np.array([0.5, 0, 0]))


def test_an_operator_without_pairs():
    none = np.zeros(0, dtype=int)
    operator = zeros(np.array([8, 8]), HFO2_SZV, none, none, np.zeros((0, 3), dtype=int), False)
    assert to_csr(operator).shape == (8, 8)
    assert to_csr(operator).nnz == 0
    assert fold(operator).n_pairs == 0
    assert bloch(operator, np.array([0.1, 0, 0])).nnz == 0


def test_the_random_overlap_is_positive_definite_everywhere(rng):
    structure = random_structure(5, rng, shortest=3.0, longest=5.0)
    overlap = random_overlap(structure, build_graph(structure, 4.0), HFO2_SZV, rng)
    for k in rng.uniform(-0.5, 0.5, (4, 3)):
        assert np.linalg.eigvalsh(bloch(overlap, k).toarray()).min() > 0.1
    np.testing.assert_array_equal(fold(overlap).n_orbitals, overlap.n_orbitals)


def test_moving_an_atom_by_a_lattice_vector_is_a_phase(rng):
    """The same crystal with atom 0 named in the next cell: shifts change, the eigenvalues of H(k) do not."""
    structure = random_structure(3, rng, shortest=3.0, longest=4.0)
    graph = build_graph(structure, 5.0)
    operator = random_operator(structure, graph, HFO2_SZV, rng)
    moves = np.array([[1, 0, -2], [0, 0, 0], [0, 1, 0]])
    shift = operator.shift - moves[operator.target] + moves[operator.source]
    order = np.lexsort((*shift.T[::-1], operator.target, operator.source))
    moved = zeros(operator.numbers, HFO2_SZV, operator.source[order], operator.target[order], shift[order], False)
    moved = moved.with_values(operator.values[operator.flat_index(order)])
    k = np.array([0.13, -0.4, 0.27])
    before, after = (np.linalg.eigvalsh(bloch(o, k).toarray()) for o in (operator, moved))
    np.testing.assert_allclose(after, before, atol=1e-10)
