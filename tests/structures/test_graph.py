"""Graph: equal to a search over all images, in any cell; the reverse of every edge; known crystals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.structures.graph import build_graph, pair_order, reverse_index
from nearsight.structures.structure import Structure
from tests.random_cases import random_structure, structures

Edge = tuple[int, int, tuple[int, int, int]]


def edges_of(graph) -> list[Edge]:
    return [(int(i), int(j), tuple(map(int, r))) for i, j, r in zip(graph.source, graph.target, graph.shift)]


def slow_edges(structure: Structure, cutoff: float) -> set[Edge]:
    """Every pair and every image that could be near enough, one after another."""
    heights, offsets = np.ones(3), np.zeros((len(structure), 3))
    periodic = np.flatnonzero(structure.pbc)
    if len(periodic):
        dual = np.linalg.pinv(structure.cell[periodic])
        heights[periodic] = 1 / np.linalg.norm(dual, axis=0)
        offsets[:, periodic] = structure.positions @ dual
    found = set()
    for i, j in itertools.product(range(len(structure)), repeat=2):
        reach = np.ceil(cutoff / heights + np.abs(offsets[j] - offsets[i])).astype(int) * structure.pbc
        for shift in itertools.product(*(range(-n, n + 1) for n in reach)):
            vector = structure.positions[j] + np.array(shift) @ structure.cell - structure.positions[i]
            if np.linalg.norm(vector) < cutoff and not (i == j and shift == (0, 0, 0)):
                found.add((i, j, shift))
    return found


@given(structures(max_atoms=4), st.floats(1.0, 4.5))
def test_equals_the_search_over_all_images(structure, cutoff):
    graph = build_graph(structure, cutoff)
    edges = edges_of(graph)
    assert len(set(edges)) == len(edges)
    assert set(edges) == slow_edges(structure, cutoff)


@given(structures(), st.floats(1.0, 7.0))
def test_vectors_order_and_reverse(structure, cutoff):
    graph = build_graph(structure, cutoff)
    i, j, shift = graph.source, graph.target, graph.shift
    np.testing.assert_array_equal(
        graph.vector, structure.positions[j] + shift @ structure.cell - structure.positions[i]
    )
    assert (graph.distance <= cutoff).all()
    np.testing.assert_array_equal(pair_order(i, j, shift), np.arange(graph.n_edges))
    assert not shift[:, ~structure.pbc].any()
    np.testing.assert_array_equal(i[graph.reverse], j)
    np.testing.assert_array_equal(shift[graph.reverse], -shift)
    np.testing.assert_array_equal(graph.reverse[graph.reverse], np.arange(graph.n_edges))
    np.testing.assert_allclose(graph.vector[graph.reverse], -graph.vector, atol=1e-12)


@given(structures(), st.floats(1.0, 5.0), st.integers(0, 2**32 - 1))
def test_moving_atoms_by_lattice_vectors_leaves_the_vectors(structure, cutoff, seed):
    moves = np.random.default_rng(seed).integers(-3, 4, (len(structure), 3)) * structure.pbc
    moved = structure.translated(moves @ structure.cell)
    before, after = build_graph(structure, cutoff), build_graph(moved, cutoff)
    shift = after.shift + moves[after.target] - moves[after.source]
    order = pair_order(after.source, after.target, shift)
    np.testing.assert_array_equal(after.source[order], before.source)
    np.testing.assert_array_equal(after.target[order], before.target)
    np.testing.assert_array_equal(shift[order], before.shift)
    np.testing.assert_allclose(after.vector[order], before.vector, atol=1e-10)


def test_the_input_is_not_changed(rng):
    structure = random_structure(6, rng)
    copies = [np.array(a) for a in (structure.numbers, structure.positions, structure.cell, structure.pbc)]
    build_graph(structure, 5.0)
    for array, copy in zip((structure.numbers, structure.positions, structure.cell, structure.pbc), copies):
        np.testing.assert_array_equal(array, copy)


LATTICES = {
    "simple cubic": (np.eye(3), [6, 12, 8, 6]),
    "fcc": ((1 - np.eye(3)) / np.sqrt(2), [12, 6, 24, 12]),
    "bcc": ((1 - 2 * np.eye(3)) / np.sqrt(3), [8, 6, 12, 24]),
}
"""Cells with the nearest neighbour at distance 1, and how many atoms the first four shells hold."""


@pytest.mark.parametrize("lattice", LATTICES)
def test_coordination_shells_of_a_one_atom_cell(lattice):
    cell, shells = LATTICES[lattice]
    graph = build_graph(Structure([29], [[0.3, 0.1, -5.0]], 2.5 * cell, True), 2.5 * 2.01)
    distances, counts = np.unique(np.round(graph.distance, 9), return_counts=True)
    assert distances[0] == pytest.approx(2.5)
    assert list(counts[:4]) == shells
    assert (graph.source == 0).all()
    assert (graph.target == 0).all()
    assert graph.shift.any(axis=1).all()


def test_diamond_has_four_neighbours_at_the_tetrahedral_angle():
    cell = (1 - np.eye(3)) * 3.567 / 2
    graph = build_graph(Structure([6, 6], np.array([[0, 0, 0], [0.25] * 3]) @ cell, cell, True), 1.6)
    assert list(np.bincount(graph.source)) == [4, 4]
    directions = graph.vector[:4] / graph.distance[:4, None]
    np.testing.assert_allclose((directions @ directions.T)[~np.eye(4, dtype=bool)], -1 / 3, atol=1e-12)


@pytest.mark.parametrize(("pbc", "neighbours"), [((0, 0, 0), 0), ((1, 0, 0), 2), ((1, 0, 1), 4), ((1, 1, 1), 6)])
@pytest.mark.parametrize("zero_rows", [True, False])
def test_neighbours_follow_the_periodic_directions(pbc, neighbours, zero_rows):
    cell = np.diag(np.where(pbc, 2.0, 0.0) if zero_rows else [2.0] * 3)
    graph = build_graph(Structure([8], [[7.0, -3.0, 0.5]], cell, np.array(pbc, dtype=bool)), 2.5)
    assert graph.n_edges == neighbours


def test_atoms_far_outside_an_open_cell_are_neighbours():
    structure = Structure([1, 1, 1], [[0, 0, 50.0], [0, 0, 50.8], [0, 0, -70.0]], np.eye(3) * 4, False)
    assert edges_of(build_graph(structure, 2.0)) == [(0, 1, (0, 0, 0)), (1, 0, (0, 0, 0))]


def test_a_ghost_is_an_atom_like_the_others():
    graph = build_graph(Structure([0, 8], [[0, 0, 0], [0, 0, 1.5]], np.zeros((3, 3)), False), 2.0)
    assert graph.n_edges == 2


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_a_cutoff_that_is_not_positive(rng, cutoff):
    with pytest.raises(InputError, match="expected a positive cutoff in Å, got"):
        build_graph(random_structure(2, rng), cutoff)


@pytest.mark.parametrize("second", [[1.0, 1.0, 1.0], [1.0, 1.0, 1.2], [11.0, -9.0, 1.05]])
def test_overlapping_atoms_are_named(second):
    structure = Structure([8, 72, 8], [[4.0, 4, 4], [1.0, 1.0, 1.0], second], np.eye(3) * 10, True)
    with pytest.raises(InputError, match=r"at least 0.3 Å apart, got 0.* between atom 1 \(Hf\) and atom 2 \(O\)"):
        build_graph(structure, 3.0)


def test_an_atom_on_its_own_image():
    with pytest.raises(InputError, match=r"between atom 0 \(O\) and atom 0 \(O\)"):
        build_graph(Structure([8], [[0, 0, 0]], np.diag([0.2, 5, 5]), True), 3.0)


def test_a_pair_without_its_reverse_is_named():
    with pytest.raises(InputError, match=r"but \(0, 1, \[0 0 0\]\) has none"):
        reverse_index(np.array([0]), np.array([1]), np.zeros((1, 3), dtype=int))
