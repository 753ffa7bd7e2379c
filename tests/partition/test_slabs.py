"""Slabs: every atom in exactly one, equal in thickness, in any cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.partition.partitioner import PARTITIONERS, Partitioner
from nearsight.partition.slabs import Slabs
from nearsight.structures.structure import Structure
from tests.random_cases import random_structure, rotations, structures

axes = st.sampled_from([0, 1, 2, "longest"])


def line(fractions: list[float], axis: int = 0, length: float = 10.0, pbc: bool = True) -> Structure:
    """Atoms on a lattice vector of a cubic cell, at the given fractions of it."""
    positions = np.zeros((len(fractions), 3))
    positions[:, axis] = np.array(fractions) * length
    return Structure(np.full(len(fractions), 8), positions, np.eye(3) * length, pbc)


@given(structures(), axes, st.integers(1, 7), st.floats(-2, 2))
def test_every_atom_has_one_label(structure, axis, count, origin):
    positions = structure.positions.copy()
    labels = Slabs(axis=axis, count=count, origin=origin).assign(structure)
    assert labels.shape == (len(structure),)
    assert labels.dtype == np.int64
    assert labels.min() >= 0
    assert labels.max() < count
    np.testing.assert_array_equal(structure.positions, positions)


@given(structures(periodic=True, longest=9.0), st.sampled_from([0, 1, 2]), st.integers(1, 6), st.floats(0, 1))
def test_labels_are_the_wrapped_fraction_along_the_axis(structure, axis, count, origin):
    labels = Slabs(axis=axis, count=count, origin=origin).assign(structure)
    fraction = np.linalg.solve(structure.cell.T, structure.positions.T)[axis] - origin
    for atom in range(len(structure)):
        wrapped = fraction[atom] - np.floor(fraction[atom])
        assert labels[atom] / count - 1e-9 <= wrapped <= (labels[atom] + 1) / count + 1e-9


@given(structures(periodic=True), axes, st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_lattice_vectors_do_not_move_an_atom_to_another_slab(structure, axis, count, seed):
    moves = np.random.default_rng(seed).integers(-3, 4, (len(structure), 3))
    slabs = Slabs(axis=axis, count=count)
    moved = structure.translated(moves @ structure.cell)
    np.testing.assert_array_equal(slabs.assign(moved), slabs.assign(structure))


@given(structures(periodic=True), st.sampled_from([0, 1, 2]), st.integers(1, 6), rotations)
def test_rotations_do_not_either(structure, axis, count, rotation):
    slabs = Slabs(axis=axis, count=count)
    np.testing.assert_array_equal(slabs.assign(structure.rotated(rotation)), slabs.assign(structure))


def test_boundaries_belong_to_the_upper_slab_and_the_end_to_the_first():
    fractions = [0.0, 0.25, 0.5, 0.75, 1.0, -0.25, 0.2499, 0.9999]
    assert list(Slabs(count=4, axis=0).assign(line(fractions))) == [0, 1, 2, 3, 0, 3, 0, 3]


@pytest.mark.parametrize("fraction", [-1e-18, -1e-300, np.nextafter(1, 0), np.nextafter(0, -1), 1 - 1e-16])
@pytest.mark.parametrize("count", [1, 3, 7, 10])
def test_an_atom_just_below_the_cell_is_in_the_last_slab(fraction, count):
    assert Slabs(count=count, axis=0).assign(line([fraction, 0.0], length=1.0))[0] == count - 1


def test_the_origin_is_where_slab_zero_begins():
    assert list(Slabs(count=4, axis=0, origin=0.1).assign(line([0.05, 0.15, 0.3, 0.4]))) == [3, 0, 0, 1]


@pytest.mark.parametrize(("thickness", "count"), [(3.0, 3), (2.9, 3), (2.0, 5), (100.0, 1), (10.0, 1), (6.0, 2)])
def test_thickness_is_rounded_to_whole_slabs(thickness, count):
    labels = Slabs(thickness=thickness, axis=1).assign(line(list(np.linspace(0.01, 0.99, 50)), axis=1))
    assert len(np.unique(labels)) == count


def test_thickness_is_perpendicular_in_a_skewed_cell():
    cell = np.array([[6.0, 0, 0], [0, 6, 0], [20.0, 0, 9.0]])
    fractions = np.linspace(0.01, 0.99, 60)
    structure = Structure(np.full(60, 8), fractions[:, None] * cell[2], cell, True)
    assert len(np.unique(Slabs(axis=2, thickness=3.0).assign(structure))) == 3


def test_the_longest_direction_is_the_highest_not_the_longest_vector():
    structure = Structure([8, 8], [[0, 0, 0], [5.0, 5, 3]], [[7.0, 0, 0], [0, 8, 0], [20, 0, 6]], True)
    np.testing.assert_array_equal(Slabs(count=5).assign(structure), Slabs(count=5, axis=1).assign(structure))
    assert not np.array_equal(Slabs(count=5).assign(structure), Slabs(count=5, axis=0).assign(structure))


def test_a_molecule_is_cut_along_its_extent():
    chain = Structure(np.full(6, 6), np.outer(np.arange(6) * 1.4, [0, 1.0, 0]) + 100, np.zeros((3, 3)), False)
    assert list(Slabs(count=3).assign(chain)) == [0, 0, 1, 1, 2, 2]
    assert list(Slabs(count=3, axis=0).assign(chain)) == [0] * 6
    assert len(np.unique(Slabs(thickness=2.4).assign(chain))) == 3


def test_an_open_direction_is_cut_by_the_atoms_not_by_the_vacuum():
    positions = np.column_stack([np.zeros(4), np.zeros(4), [10.0, 11.0, 12.0, 13.0]])
    film = Structure(np.full(4, 8), positions, np.diag([2.5, 2.5, 100.0]), (True, True, False))
    assert list(Slabs(axis=2, count=2).assign(film)) == [0, 0, 1, 1]
    assert list(Slabs(axis="longest", thickness=1.5).assign(film)) == [0, 0, 1, 1]


@pytest.mark.parametrize("periodic", [0, 1, 2])
def test_open_directions_without_vectors_follow_x_y_z(periodic):
    pbc = np.arange(3) == periodic
    cell = np.diag(np.where(pbc, 4.0, 0.0))
    for axis in range(3):
        structure = Structure([8, 8], [np.zeros(3), 2.0 * (np.arange(3) == axis)], cell, pbc)
        assert list(Slabs(axis=axis, count=2).assign(structure)) == [0, 1]


def test_open_directions_without_vectors_beside_a_tilted_one():
    wire = np.array([[0.0, 0, 5.0], [0, 0, 0], [0, 0, 0]])
    structure = Structure([8, 8, 8], [[0, 0, 0], [3, 0, 4], [0, 6, 1]], wire, (True, False, False))
    assert set(Slabs(axis=1, count=2).assign(structure)) == {0, 1}
    assert set(Slabs(axis=2, count=2).assign(structure)) == {0, 1}
    assert list(Slabs(axis=0, count=2).assign(structure)) == [0, 1, 0]


def test_one_atom():
    assert list(Slabs(count=4).assign(line([0.6]))) == [2]
    assert list(Slabs(count=4).assign(line([0.6], pbc=False))) == [0]


BAD = {
    "neither": ({}, "either the number of slabs or their thickness"),
    "both": ({"count": 3, "thickness": 2.0}, "either the number of slabs or their thickness"),
    "no slabs": ({"count": 0}, "at least one slab, got count=0"),
    "thickness zero": ({"thickness": 0.0}, "positive thickness"),
    "thickness NaN": ({"thickness": float("nan")}, "positive thickness"),
    "axis": ({"axis": 3, "count": 2}, "axis 0, 1, 2 or 'longest', got 3"),
    "origin": ({"count": 2, "origin": float("inf")}, "finite origin"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(case):
    options, message = BAD[case]
    with pytest.raises(InputError, match=message):
        Slabs(**options)


def test_the_registry_makes_partitioners(rng):
    partitioner: Partitioner = PARTITIONERS["slabs"](count=2)
    assert set(partitioner.assign(random_structure(30, rng, shortest=9.0, longest=12.0))) == {0, 1}
