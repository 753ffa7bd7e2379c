"""Bisection and METIS: every atom in one part, even parts, fewer virtual edges than slabs, in any cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.partition.bisection import Bisection
from nearsight.partition.metis import Metis, pymetis
from nearsight.partition.partition import partition_graph
from nearsight.partition.partitioner import PARTITIONERS
from nearsight.partition.quality import PartitionQuality, quality_of
from nearsight.partition.slabs import Slabs
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.random_cases import rotations, structures

BOTH = [Bisection, pytest.param(Metis, marks=pytest.mark.skipif(pymetis is None, reason="no pymetis here"))]


def lattice(repeats: tuple[int, int, int], spacing: float = 2.0, skew: float = 0.0, seed: int = 0) -> Structure:
    """Points of a lattice, a little displaced, in a periodic cell."""
    points = np.indices(repeats).reshape(3, -1).T.astype(float)
    points += np.random.default_rng(seed).uniform(-0.1, 0.1, points.shape)
    edges = spacing * np.array([[1, 0, 0], [skew, 1, 0], [0, skew, 1]])
    return Structure(np.full(len(points), 8), points @ edges, np.array(repeats)[:, None] * edges, True)


def quality(structure: Structure, partitioner: object, cutoff: float = 4.5) -> PartitionQuality:
    graph = build_graph(structure, cutoff)
    labels = partitioner.assign(structure, graph)
    partitions = partition_graph(graph, labels)
    # The halo has every edge into a labelled atom, and each atom is labelled once.
    assert sum(p.n_labelled for p in partitions) == len(structure)
    assert sum(int((p.target < p.n_labelled).sum()) for p in partitions) == graph.n_edges
    return quality_of(graph, partitions)


@given(structures(), st.integers(1, 9))
def test_every_atom_has_one_box(structure: Structure, count: int) -> None:
    labels = Bisection(count).assign(structure)
    assert labels.shape == (len(structure),)
    assert labels.dtype == np.int64
    assert 0 <= labels.min() <= labels.max() < count
    if len(structure) >= count:
        assert len(np.unique(labels)) == count


@given(structures(periodic=True), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_boxes_do_not_depend_on_the_order_of_atoms(structure: Structure, count: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(structure))
    shuffled = Structure(structure.numbers[order], structure.positions[order], structure.cell, structure.pbc)
    np.testing.assert_array_equal(Bisection(count).assign(structure)[order], Bisection(count).assign(shuffled))


@given(rotations, st.integers(2, 7))
def test_a_rotation_of_the_structure_keeps_the_boxes(rotation: np.ndarray, count: int) -> None:
    structure = lattice((5, 4, 3), skew=0.3)
    own = Bisection(count).assign(structure)
    np.testing.assert_array_equal(own, Bisection(count).assign(structure.rotated(rotation)))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("skew", [0.0, 0.4])
def test_parts_are_even(kind: type, count: int, skew: float) -> None:
    found = quality(lattice((8, 8, 8), skew=skew), kind(count))
    assert found.parts == count
    assert found.imbalance < 1.1


@pytest.mark.parametrize("kind", BOTH)
def test_a_cube_has_less_surface_in_boxes_than_in_slabs(kind: type) -> None:
    cube = lattice((10, 10, 10))
    slabs, boxes = quality(cube, Slabs(count=8)), quality(cube, kind(8))
    assert boxes.lost_edges < slabs.lost_edges
    assert boxes.virtual_edges < slabs.virtual_edges


def test_eight_boxes_of_a_cube_are_its_octants() -> None:
    cube = lattice((6, 6, 6)).translated([1.0, 1.0, 1.0])
    octant = np.floor(cube.positions / 6.0).astype(int) @ [4, 2, 1]
    labels = Bisection(8).assign(cube)
    assert sorted(set(zip(octant, labels))) == [(k, labels[octant == k][0]) for k in range(8)]


def test_a_long_cell_is_cut_across() -> None:
    """Slabs are the best boxes where a cell is much longer than it is wide."""
    wire = lattice((24, 3, 3))
    labels = Bisection(4).assign(wire)
    # Each box is an interval of the length: its atoms have no other box's between them.
    along = wire.positions[:, 0] % 48.0
    for k in range(4):
        low, high = along[labels == k].min(), along[labels == k].max()
        assert (labels[(along > low) & (along < high)] == k).all()


def test_numbers_of_a_division_by_hand() -> None:
    """Four atoms in a ring, neighbours 1 Å apart, in two halves: two of the four pairs are cut."""
    ring = Structure(np.full(4, 1), np.arange(4)[:, None] * [[1.0, 0, 0]], np.diag([4.0, 50.0, 50.0]), True)
    graph = build_graph(ring, 1.5)
    found = quality_of(graph, partition_graph(graph, np.array([0, 0, 1, 1])))
    # A half has two labelled atoms and edges, and as halo both other atoms with one edge each.
    assert found == PartitionQuality(2, 1.0, 1.0, 0.5, 1.0)


def test_metis_counts_images_across_the_border() -> None:
    """A ring of two dense groups that are joined at two places, one of them the border of the cell."""
    if pymetis is None:
        pytest.skip("no pymetis here")
    x = np.concatenate([np.linspace(-2, 2, 9), np.linspace(8, 12, 9)])
    groups = Structure(np.full(18, 1), x[:, None] * [[1.0, 0, 0]], np.diag([20.0, 50.0, 50.0]), True)
    labels = Metis(2).assign(groups, build_graph(groups, 1.2))
    assert len(set(labels[:9])) == len(set(labels[9:])) == 1
    assert labels[0] != labels[9]


def test_bad_numbers_of_parts_are_refused() -> None:
    for kind in (Bisection, Metis):
        with pytest.raises(InputError, match="expected at least one part, got count=0"):
            kind(0)
    with pytest.raises(InputError, match="expected the graph"):
        Metis(2).assign(lattice((2, 2, 2)))
    assert set(PARTITIONERS) == {"slabs", "bisection", "metis"}
