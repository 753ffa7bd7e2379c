"""The edges at some atoms of a cluster against the whole graph of the cluster."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.structures.cluster_graph import graph_at
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure


def cluster(rng: np.random.Generator, shape: tuple[float, float, float], n: int = 60) -> Structure:
    positions = np.empty((0, 3))
    while len(positions) < n:
        point = rng.uniform(0, 1, 3) * shape
        if (np.linalg.norm(positions - point, axis=1) > 0.4).all():
            positions = np.vstack([positions, point])
    return Structure(rng.choice([8, 72], n), positions, np.zeros((3, 3)), False)


@pytest.mark.parametrize("shape", [(9.0, 9.0, 9.0), (2.0, 3.0, 60.0), (4000.0, 1.0, 4000.0), (3.0, 3.0, 3.0)])
@pytest.mark.parametrize("count", [0, 7, 60])
def test_the_edges_at_atoms_are_those_of_the_whole_graph(
    rng: np.random.Generator, shape: tuple[float, float, float], count: int
) -> None:
    structure, atoms = cluster(rng, shape), np.sort(rng.permutation(60)[:count])
    whole, found = build_graph(structure, 3.0), graph_at(structure, 3.0, atoms)
    kept = np.isin(whole.source, atoms) | np.isin(whole.target, atoms)
    for name in ("source", "target", "shift", "vector"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[kept])
    np.testing.assert_array_equal(found.source[found.reverse], found.target)
    np.testing.assert_array_equal(found.target[found.reverse], found.source)
    np.testing.assert_array_equal(found.vector[found.reverse], -found.vector)


def test_one_atom_alone_has_no_edges() -> None:
    graph = graph_at(Structure([8], np.zeros((1, 3)), np.zeros((3, 3)), False), 4.0, np.array([0]))
    assert (graph.n_nodes, graph.n_edges) == (1, 0)


def test_what_cannot_be_a_cluster_is_refused() -> None:
    atom = Structure([8], np.zeros((1, 3)), 5 * np.eye(3), True)
    with pytest.raises(InputError, match="expected a cluster without periodic directions"):
        graph_at(atom, 4.0, np.array([0]))
    twice = Structure([8, 8], np.zeros((2, 3)), np.zeros((3, 3)), False)
    with pytest.raises(InputError, match="is an atom there twice"):
        graph_at(twice, 4.0, np.array([0]))
    with pytest.raises(InputError, match="expected a positive cutoff"):
        graph_at(twice, 0.0, np.array([0]))
