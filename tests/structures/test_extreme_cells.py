"""Extreme but legal structures: little memory, little time, the right pairs; what cannot be is refused."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.structures import graph
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.random_cases import structures

NONE = np.zeros(3, dtype=bool)
ALL = np.ones(3, dtype=bool)


def pair(distance: float, cell: np.ndarray, pbc: np.ndarray) -> Structure:
    return Structure(np.array([8, 72]), np.array([[0.0, 0, 0], [distance, 0, 0]]), cell, pbc)


@pytest.mark.parametrize(
    ("structure", "edges"),
    [
        (pair(300.0, np.zeros((3, 3)), NONE), 0),
        (pair(1e6, np.zeros((3, 3)), NONE), 0),
        (pair(2.0, 500 * np.eye(3), ALL), 2),
        (pair(2.0, 1e5 * np.eye(3), ALL), 2),
        (pair(9e4 + 9999.0, 1e5 * np.eye(3), ALL), 2),
        (pair(2.0, np.array([[5.0, 0, 0], [0, 5, 0], [3, 3, 1e-5]]), np.array([True, True, False])), 2),
        (pair(2.0, np.diag([500.0, 1e5, 0]), np.array([True, True, False])), 2),
    ],
)
@pytest.mark.parametrize("cutoff", [0.3, 3.0])
def test_little_memory_and_time(structure: Structure, edges: int, cutoff: float) -> None:
    build_graph(pair(2.0, 9 * np.eye(3), ALL), 3.0)
    tracemalloc.start()
    started = time.process_time()
    found = build_graph(structure, cutoff)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.n_edges == (edges if cutoff > 2 else 0)
    assert time.process_time() - started < 2
    assert peak < 1e8


@given(structures(max_atoms=6), st.floats(1.0, 6.0))
def test_the_search_for_nearly_empty_cells_equals_the_other(structure: Structure, cutoff: float) -> None:
    before = build_graph(structure, cutoff)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_BINS", -1)
        patch.setattr(graph, "_BINS_PER_ATOM", 0)
        after = build_graph(structure, cutoff)
    for name in ("source", "target", "shift", "vector", "reverse"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


@pytest.mark.parametrize("size", [1e-5, 1e-3, 1e-300])
def test_cells_smaller_than_atoms(size: float) -> None:
    with pytest.raises(InputError, match="expected a cell with volume"):
        Structure(np.array([8]), np.zeros((1, 3)), size * np.eye(3), ALL)


def test_more_images_than_can_be(hfo2: Structure) -> None:
    small = Structure(np.array([8]), np.zeros((1, 3)), 0.5 * np.eye(3), ALL)
    with pytest.raises(InputError, match="expected a cell that is not much smaller than the cutoff"):
        build_graph(small, 100.0)
    with pytest.raises(InputError, match="is an atom there twice"):
        build_graph(Structure(np.array([8]), np.zeros((1, 3)), 0.2 * np.eye(3), ALL), 0.3)
    assert build_graph(small, 0.3).n_edges == 0


def test_a_million_atoms_have_no_more_images_than_lie_near_the_cell() -> None:
    side, step = 98, 2.5
    grid = step * np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    grid[0] -= 0.1  # nearer to its neighbours across three faces
    many = Structure(np.full(len(grid), 8), grid + 0.05, side * step * np.eye(3), ALL)
    found = build_graph(many, 2.42)
    lengths = np.linalg.norm(found.vector, axis=1)
    np.testing.assert_allclose(lengths, np.hypot(2.4, 0.1 * np.sqrt(2)), atol=1e-9)
    assert sorted(found.target[found.source == 0]) == [side - 1, side * (side - 1), side**2 * (side - 1)]
    assert found.n_edges == 6
    assert (found.shift[found.source == 0].sum(axis=1) == -1).all()


@pytest.mark.parametrize("far", [1.1e6, 1e9, 1e12, 1e300])
def test_coordinates_that_do_not_tell_distances(far: float) -> None:
    with pytest.raises(InputError, match="beyond which numbers do not tell distances"):
        Structure(np.array([8]), np.full((1, 3), far), 5 * np.eye(3), ALL)
    with pytest.raises(InputError, match="beyond which numbers do not tell distances"):
        Structure(np.array([8]), np.zeros((1, 3)), far * np.eye(3), ALL)


@pytest.mark.parametrize("numbers", [[2**63], [10**40], ["Hf"], [1.5], [None], [[1]]])
def test_numbers_that_are_of_no_element(numbers: list[object]) -> None:
    with pytest.raises(InputError):
        Structure(np.array(numbers, dtype=object), np.zeros((1, 3)), 5 * np.eye(3), ALL)
