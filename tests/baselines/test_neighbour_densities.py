"""Neighbour densities against sums written as in their definition."""

from __future__ import annotations

import numpy as np

from nearsight.baselines.neighbour_densities import neighbour_densities, second_hop
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.orbitals.rotations import spherical_harmonics
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

RADIAL = RadialFunctions(4.0, 3)


def test_densities_are_sums_over_neighbours(hfo2: Structure, hfo2_graph: Graph) -> None:
    expected = [np.zeros((len(hfo2), 2, 3, 2 * l + 1)) for l in range(4)]
    for i, j, vector in zip(hfo2_graph.source, hfo2_graph.target, hfo2_graph.vector):
        z = (8, 72).index(hfo2.numbers[j])
        for l, harmonics in enumerate(spherical_harmonics(vector, 3)):
            expected[l][i, z] += np.outer(RADIAL(np.array([np.linalg.norm(vector)]))[0], harmonics)
    for found, slow in zip(neighbour_densities(hfo2, hfo2_graph, RADIAL, (8, 72), 3), expected):
        np.testing.assert_allclose(found, slow.reshape(found.shape), atol=1e-13)


def test_second_hop_is_a_sum_over_neighbours(hfo2: Structure, hfo2_graph: Graph, rng: np.random.Generator) -> None:
    scalars = rng.standard_normal((len(hfo2), 5))
    expected = [np.zeros((len(hfo2), 2, 3, 5, 2 * l + 1)) for l in range(3)]
    for i, j, vector in zip(hfo2_graph.source, hfo2_graph.target, hfo2_graph.vector):
        radial = RADIAL(np.array([np.linalg.norm(vector)]))[0]
        for l, harmonics in enumerate(spherical_harmonics(vector, 2)):
            carried = np.einsum("b,f,m->bfm", radial, scalars[j], harmonics)
            expected[l][i, (8, 72).index(hfo2.numbers[j])] += carried
    for found, slow in zip(second_hop(hfo2, hfo2_graph, RADIAL, (8, 72), scalars, 2), expected):
        np.testing.assert_allclose(found, slow.reshape(found.shape), atol=1e-13)


def test_an_atom_without_neighbours_has_no_density() -> None:
    structure = Structure([8, 72], [[0.0, 0, 0], [9.0, 0, 0]], np.zeros((3, 3)), False)
    empty = np.zeros((0, 3))
    none = np.zeros(0, dtype=np.int64)
    graph = Graph(2, 4.0, none, none, empty.astype(np.int64), empty, none)
    parts = neighbour_densities(structure, graph, RADIAL, (8, 72), 2)
    assert [part.shape for part in parts] == [(2, 6, 1), (2, 6, 3), (2, 6, 5)]
    assert not any(part.any() for part in parts)
    assert not any(part.any() for part in second_hop(structure, graph, RADIAL, (8, 72), np.ones((2, 1)), 1))
