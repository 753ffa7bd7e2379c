"""BlockOperator: finding, selecting and moving blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, group_by_elements, zeros
from tests.random_cases import HFO2_SZV, operators

seeds = st.integers(0, 2**32 - 1)


def dictionary(operator: BlockOperator) -> dict[tuple[int, int, tuple[int, ...]], np.ndarray]:
    """Every block under its (i, j, R), cut out one after another."""
    sizes = HFO2_SZV.sizes(operator.numbers)
    blocks, at = {}, 0
    for i, j, shift in zip(operator.source, operator.target, operator.shift):
        length = sizes[i] * sizes[j]
        blocks[int(i), int(j), tuple(int(r) for r in shift)] = operator.values[at : at + length].reshape(
            sizes[i], sizes[j]
        )
        at += length
    assert at == len(operator.values)
    return blocks


def same(operator: BlockOperator, blocks: dict) -> None:
    assert list(dictionary(operator)) == list(blocks)
    for key, block in dictionary(operator).items():
        np.testing.assert_array_equal(block, blocks[key])


@given(operators(hermitian=False), seeds)
def test_find_and_block(operator, seed):
    rng = np.random.default_rng(seed)
    blocks = dictionary(operator)
    pick = rng.permutation(operator.n_pairs)
    found = operator.find(operator.source[pick], operator.target[pick], operator.shift[pick])
    np.testing.assert_array_equal(found, pick)
    n, size = operator.n_atoms, HFO2_SZV.sizes(operator.numbers)
    source, target, shift = rng.integers(0, n, 50), rng.integers(0, n, 50), rng.integers(-9, 10, (50, 3))
    found = operator.find(source, target, shift)
    for i, j, r, place in zip(source, target, shift, found):
        key = (int(i), int(j), tuple(int(x) for x in r))
        assert (place >= 0) == (key in blocks)
        expected = blocks.get(key, np.zeros((size[i], size[j])))
        np.testing.assert_array_equal(operator.block(i, j, key[2]), expected)


@given(operators(hermitian=False), seeds)
def test_blocks_of_any_pairs(operator, seed):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, operator.n_atoms, 60), rng.integers(0, operator.n_atoms, 60)
    shift = rng.integers(-2, 3, (60, 3))
    for elements, rows in group_by_elements(operator.numbers, source, target).items():
        found = operator.blocks(elements, source[rows], target[rows], shift[rows])
        assert found.dtype == operator.values.dtype
        for row, block in zip(rows, found):
            expected = operator.block(int(source[row]), int(target[row]), tuple(shift[row].tolist()))
            np.testing.assert_array_equal(block, expected)
    sizes = tuple(operator.basis.n_orbitals(z) for z in (8, 72))
    assert operator.blocks((8, 72), source[:0], target[:0]).shape == (0, *sizes)


@given(operators(hermitian=False), seeds)
def test_select(operator, seed):
    keep = np.random.default_rng(seed).random(operator.n_pairs) < 0.4
    expected = {key: block for (key, block), k in zip(dictionary(operator).items(), keep) if k}
    same(operator.select(keep), expected)
    same(operator.select(np.flatnonzero(keep)), expected)


@given(operators(hermitian=False), seeds)
def test_on_pairs_copies_what_is_there_and_fills_with_zeros(operator, seed):
    rng = np.random.default_rng(seed)
    blocks, n = dictionary(operator), operator.n_atoms
    keys = {key for key in blocks if rng.random() < 0.5}
    keys |= {(*map(int, rng.integers(0, n, 2)), tuple(map(int, rng.integers(-6, 7, 3)))) for _ in range(10)}
    ordered = sorted(keys)
    source, target, shift = (np.array([key[k] for key in ordered]) for k in range(3))
    size = HFO2_SZV.sizes(operator.numbers)
    same(
        operator.on_pairs(source, target, shift),
        {key: blocks.get(key, np.zeros((size[key[0]], size[key[1]]))) for key in ordered},
    )


@given(operators(hermitian=False))
def test_stacks_of_every_element_pair_hold_all_blocks(operator):
    blocks, seen = list(dictionary(operator).values()), []
    for (zi, zj), pairs in operator.element_pairs.items():
        stack = operator.stack(pairs)
        assert stack.shape == (len(pairs), HFO2_SZV.n_orbitals(zi), HFO2_SZV.n_orbitals(zj))
        for place, p in enumerate(pairs):
            np.testing.assert_array_equal(stack[place], blocks[p])
        assert (operator.numbers[operator.source[pairs]] == zi).all()
        assert (operator.numbers[operator.target[pairs]] == zj).all()
        seen += pairs.tolist()
    assert sorted(seen) == list(range(operator.n_pairs))


@given(operators(hermitian=False), seeds)
def test_flat_index_reads_blocks_in_any_order(operator, seed):
    pick = np.random.default_rng(seed).integers(0, operator.n_pairs, 5)
    blocks = list(dictionary(operator).values())
    expected = np.concatenate([blocks[p].reshape(-1) for p in pick])
    np.testing.assert_array_equal(operator.values[operator.flat_index(pick)], expected)
    assert len(operator.flat_index(np.zeros(0, dtype=int))) == 0


@given(operators(hermitian=False))
def test_counts_and_marks(operator):
    size = HFO2_SZV.sizes(operator.numbers)
    assert operator.n_orbitals == size.sum()
    assert operator.n_values == sum(size[i] * size[j] for i, j in zip(operator.source, operator.target))
    marked = [key for key, mark in zip(dictionary(operator), operator.on_site) if mark]
    assert marked == [(i, i, (0, 0, 0)) for i in range(operator.n_atoms)]
    np.testing.assert_array_equal(operator.source[operator.reverse], operator.target)
    np.testing.assert_array_equal(operator.shift[operator.reverse], -operator.shift)


def test_methods_leave_the_operator_alone(hamiltonian):
    before = hamiltonian.values.copy()
    selected = hamiltonian.select(np.arange(10))
    selected.values[:] = 7
    hamiltonian.stack(np.array([0, 0]))[:] = 7
    hamiltonian.block(0, 0)[:] = 7
    hamiltonian.on_pairs(hamiltonian.source, hamiltonian.target, hamiltonian.shift).values[:] = 7
    np.testing.assert_array_equal(hamiltonian.values, before)


def test_ghosts_and_heavy_elements_have_their_own_groups():
    groups = group_by_elements(np.array([0, 8, 118]), np.array([0, 0, 1, 2]), np.array([0, 2, 0, 2]))
    assert {k: v.tolist() for k, v in groups.items()} == {(0, 0): [0], (0, 118): [1], (8, 0): [2], (118, 118): [3]}


def make(source, target, shift, numbers=(8, 72)):
    return zeros(np.array(numbers), HFO2_SZV, np.array(source), np.array(target), np.array(shift), False)


def test_pairs_must_be_sorted_and_unique():
    origin, next_cell = [0, 0, 0], [0, 0, 1]
    assert make([0, 0, 1], [0, 1, 0], [origin, origin, next_cell]).n_values == 16 + 40 + 40
    with pytest.raises(InputError, match=r"sorted by \(i, j, R\)"):
        make([1, 0], [0, 0], [origin, origin])
    with pytest.raises(InputError, match=r"sorted by \(i, j, R\)"):
        make([0, 0], [1, 1], [next_cell, origin])
    with pytest.raises(InputError, match=r"every pair \(i, j, R\) once"):
        make([0, 0], [1, 1], [origin, origin])


def test_wrong_number_of_values(hamiltonian):
    with pytest.raises(InputError, match=r"numbers in \d+ blocks, got 3"):
        hamiltonian.with_values(np.zeros(3))


def test_stacking_nothing(hamiltonian):
    with pytest.raises(InputError, match="at least one pair to stack"):
        hamiltonian.stack(np.zeros(0, dtype=int))


def test_putting_nothing(hamiltonian):
    changed = hamiltonian.with_values(hamiltonian.values.copy())
    changed.put(np.zeros(0, dtype=int), np.zeros((0, 4, 4)))
    np.testing.assert_array_equal(changed.values, hamiltonian.values)


def test_an_element_without_basis():
    with pytest.raises(InputError, match="got none for Au"):
        make([0], [0], [[0, 0, 0]], numbers=(79, 8))


@pytest.mark.timeout(30)
def test_many_blocks_at_once():
    """160,000 blocks take a second; with a loop over them in Python this would not end in time."""
    n = 400
    source, target = np.divmod(np.arange(n * n), n)
    operator = zeros(np.full(n, 8), HFO2_SZV, source, target, np.zeros((n * n, 3), dtype=int), True)
    half = operator.select(operator.source <= operator.target)
    assert half.on_pairs(source, target, operator.shift).n_pairs == n * n
    assert (operator.find(half.target, half.source, half.shift) >= 0).all()
