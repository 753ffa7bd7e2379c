"""Partition: Algorithm 1, its halo, and what is lost without it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.partition.partition import partition_graph, undivided, with_halo, without_halo
from nearsight.partition.slabs import Slabs
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure
from tests.random_cases import random_hfo2, structures

cutoffs = st.floats(1.5, 6.0)


@st.composite
def cut_graphs(draw: st.DrawFn) -> tuple[Graph, np.ndarray]:
    """The graph of a random structure and the slab of each atom."""
    structure = draw(structures(max_atoms=12))
    graph = build_graph(structure, draw(cutoffs, label="cutoff"))
    axis = draw(st.sampled_from([0, 1, 2, "longest"]), label="axis")
    return graph, Slabs(axis=axis, count=draw(st.integers(1, 4), label="slabs")).assign(structure, graph)


def algorithm_1(graph: Graph, inside: list[int]) -> tuple[list[int], int, list[int], int]:
    """The paper's loops, line by line, over edges with images: nodes, n labelled, edges, n labelled."""
    edges_between: dict[tuple[int, int], list[int]] = {}
    for e in range(graph.n_edges):
        edges_between.setdefault((int(graph.source[e]), int(graph.target[e])), []).append(e)
    nodes, edges = list(inside), []
    for v1 in inside:
        for v2 in inside:
            edges += edges_between.get((v1, v2), [])
    n_labelled_edges = len(edges)
    for v1 in inside:
        for v2 in range(graph.n_nodes):
            if v2 not in inside and (v2, v1) in edges_between:
                if v2 not in nodes:
                    nodes.append(v2)
                edges += edges_between[(v2, v1)]
    return nodes, len(inside), edges, n_labelled_edges


def hop_distance(graph: Graph, inside: np.ndarray) -> np.ndarray:
    """Steps against the messages from each atom to the labelled ones, by breadth-first search."""
    senders = [set(graph.source[graph.target == v].tolist()) for v in range(graph.n_nodes)]
    distance = np.full(graph.n_nodes, 1000)
    front = set(np.flatnonzero(inside).tolist())
    for step in range(graph.n_nodes + 1):
        distance[list(front)] = step
        reached = {u for v in front for u in senders[v]}
        front = {u for u in reached if distance[u] > step}
    return distance


def check_consistent(graph: Graph, part) -> None:
    """What holds for every partition, with or without halo."""
    n, e = part.n_labelled, part.n_labelled_edges
    assert len(np.unique(part.nodes)) == part.n_nodes
    assert len(np.unique(part.edges)) == part.n_edges
    for ascending in (part.nodes[:n], part.nodes[n:], part.edges[:e], part.edges[e:]):
        assert (np.diff(ascending) > 0).all()
    np.testing.assert_array_equal(part.nodes[part.source], graph.source[part.edges])
    np.testing.assert_array_equal(part.nodes[part.target], graph.target[part.edges])
    assert (part.source[:e] < n).all()
    assert (part.target[:e] < n).all()
    assert ((part.source[e:] >= n) | (part.target[e:] >= n)).all()
    for array in (part.nodes, part.edges, part.source, part.target):
        assert array.dtype == np.int64


@given(cut_graphs())
def test_equals_algorithm_1(cut):
    graph, labels = cut
    for label, part in zip(np.unique(labels), partition_graph(graph, labels), strict=True):
        nodes, n, edges, e = algorithm_1(graph, np.flatnonzero(labels == label).tolist())
        check_consistent(graph, part)
        assert (part.n_labelled, part.n_labelled_edges) == (n, e)
        assert len(nodes) == part.n_nodes
        assert len(edges) == part.n_edges
        np.testing.assert_array_equal(part.nodes[:n], sorted(nodes[:n]))
        np.testing.assert_array_equal(part.nodes[n:], sorted(nodes[n:]))
        np.testing.assert_array_equal(part.edges[:e], sorted(edges[:e]))
        np.testing.assert_array_equal(part.edges[e:], sorted(edges[e:]))


@given(cut_graphs(), st.booleans())
def test_every_atom_is_labelled_once_and_every_inner_edge(cut, halo):
    graph, labels = cut
    parts = partition_graph(graph, labels, halo=halo)
    nodes = np.concatenate([p.nodes[: p.n_labelled] for p in parts])
    edges = np.concatenate([p.edges[: p.n_labelled_edges] for p in parts])
    np.testing.assert_array_equal(np.sort(nodes), np.arange(graph.n_nodes))
    inner = np.flatnonzero(labels[graph.source] == labels[graph.target])
    np.testing.assert_array_equal(np.sort(edges), inner)


@given(cut_graphs())
def test_every_edge_arrives_in_exactly_one_augmented_part(cut):
    graph, labels = cut
    edges = np.concatenate([p.edges for p in partition_graph(graph, labels)])
    np.testing.assert_array_equal(np.sort(edges), np.arange(graph.n_edges))


@given(cut_graphs(), st.integers(1, 4))
def test_the_halo_is_closed(cut, hops):
    """Every node nearer than `hops` has all its incoming edges; nothing else is in the part."""
    graph, labels = cut
    for label, part in zip(np.unique(labels), partition_graph(graph, labels, hops=hops), strict=True):
        check_consistent(graph, part)
        distance = hop_distance(graph, labels == label)
        assert set(part.nodes) == set(np.flatnonzero(distance <= hops))
        incoming = np.bincount(part.target, minlength=part.n_nodes)
        every = np.bincount(graph.target, minlength=graph.n_nodes)[part.nodes]
        np.testing.assert_array_equal(incoming, np.where(distance[part.nodes] < hops, every, 0))


@given(cut_graphs())
def test_raw_parts_have_no_halo(cut):
    graph, labels = cut
    for label, part in zip(np.unique(labels), partition_graph(graph, labels, halo=False), strict=True):
        check_consistent(graph, part)
        assert part.n_nodes == part.n_labelled == np.sum(labels == label)
        assert part.n_edges == part.n_labelled_edges
        halo = with_halo(graph, labels == label)
        np.testing.assert_array_equal(part.nodes, halo.nodes[: halo.n_labelled])
        np.testing.assert_array_equal(part.edges, halo.edges[: halo.n_labelled_edges])


@given(structures(), cutoffs, st.integers(1, 3))
def test_the_whole_graph_is_one_part_of_itself(structure, cutoff, hops):
    graph = build_graph(structure, cutoff)
    (one,) = partition_graph(graph, np.full(len(structure), 7), hops=hops)
    for part in (one, undivided(graph)):
        np.testing.assert_array_equal(part.nodes, np.arange(graph.n_nodes))
        np.testing.assert_array_equal(part.edges, np.arange(graph.n_edges))
        np.testing.assert_array_equal(part.source, graph.source)
        np.testing.assert_array_equal(part.target, graph.target)
        assert (part.n_labelled, part.n_labelled_edges) == (graph.n_nodes, graph.n_edges)


@given(cut_graphs(), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_as_many_layers_as_hops_are_exact_on_what_is_labelled(cut, hops, seed):
    """Non-linear message passing with node and edge states, on the part and on the whole graph."""
    graph, labels = cut
    rng = np.random.default_rng(seed)
    nodes, edges = rng.normal(size=graph.n_nodes), rng.normal(size=graph.n_edges)
    exact = message_passing(nodes, edges, graph.source, graph.target, hops)
    for part in partition_graph(graph, labels, hops=hops):
        n, e = part.n_labelled, part.n_labelled_edges
        out = message_passing(nodes[part.nodes], edges[part.edges], part.source, part.target, hops)
        np.testing.assert_allclose(out[0][:n], exact[0][part.nodes[:n]], atol=1e-12)
        np.testing.assert_allclose(out[1][:e], exact[1][part.edges[:e]], atol=1e-12)


def message_passing(nodes, edges, source, target, layers):
    for _ in range(layers):
        received = np.bincount(target, np.sin(2 * nodes[source] + edges + nodes[target]), len(nodes))
        nodes = np.cos(nodes + received / 10)
        edges = np.sin(edges + nodes[source] - 2 * nodes[target])
    return nodes, edges


@pytest.mark.parametrize(("layers", "hops"), [(1, None), (2, 1), (3, 2)])
def test_too_small_a_halo_is_not_exact(rng, layers, hops):
    structure = random_hfo2(24, rng, 11.0)
    graph = build_graph(structure, 2.5)
    labels = Slabs(count=3, axis=0).assign(structure)
    nodes, edges = rng.normal(size=graph.n_nodes), rng.normal(size=graph.n_edges)
    exact = message_passing(nodes, edges, graph.source, graph.target, layers)[0]
    parts = partition_graph(graph, labels, halo=hops is not None, hops=hops or 1)
    outs = [message_passing(nodes[p.nodes], edges[p.edges], p.source, p.target, layers)[0] for p in parts]
    assert max(np.abs(o[: p.n_labelled] - exact[p.nodes[: p.n_labelled]]).max() for o, p in zip(outs, parts)) > 1e-3


def test_by_hand_on_a_ring():
    """Six atoms in a ring, nearest neighbours only; edges sorted: (0,1) (0,5) (1,0) (1,2) (2,1) …"""
    ring = Structure(np.full(6, 6), np.outer(np.arange(6), [1.5, 0, 0]), np.diag([9.0, 8, 8]), True)
    graph = build_graph(ring, 2.0)
    part = with_halo(graph, np.array([0, 1]))
    assert part.nodes.tolist() == [0, 1, 2, 5]
    pairs = list(zip(graph.source[part.edges].tolist(), graph.target[part.edges].tolist()))
    assert pairs == [(0, 1), (1, 0), (2, 1), (5, 0)]
    assert (part.n_labelled, part.n_labelled_edges) == (2, 2)
    assert part.source.tolist() == [0, 1, 2, 3]
    assert part.target.tolist() == [1, 0, 1, 0]
    assert with_halo(graph, np.array([0, 1]), hops=2).nodes.tolist() == [0, 1, 2, 3, 4, 5]
    assert with_halo(graph, np.array([0]), hops=2).nodes.tolist() == [0, 1, 2, 4, 5]


def test_thin_slabs_in_a_cell_smaller_than_the_cutoff():
    """An atom's own images are labelled neighbours; a virtual atom appears once, each of its images as an edge."""
    structure = Structure([72, 8], [[0, 0, 0], [1.5, 0.2, 0.1]], np.diag([3.0, 3.2, 3.4]), True)
    graph = build_graph(structure, 5.0)
    first, second = partition_graph(graph, Slabs(axis=0, count=2).assign(structure))
    assert first.nodes.tolist() == [0, 1]
    assert second.nodes.tolist() == [1, 0]
    own = np.flatnonzero((graph.source == 0) & (graph.target == 0))
    assert len(own) > 6
    np.testing.assert_array_equal(first.edges[: first.n_labelled_edges], own)
    assert (graph.source[first.edges[first.n_labelled_edges :]] == 1).all()
    assert first.n_edges == np.sum(graph.target == 0)


def test_one_atom_cell_and_one_atom_alone():
    chain = build_graph(Structure([1], [[0, 0, 0]], np.diag([2.0, 9, 9]), True), 4.5)
    (part,) = partition_graph(chain, Slabs(count=5).assign(Structure([1], np.zeros((1, 3)), np.eye(3), True)))
    assert (part.nodes.tolist(), part.n_labelled_edges, part.source.tolist()) == ([0], 4, [0] * 4)
    alone = build_graph(Structure([1], [[0, 0, 0]], np.zeros((3, 3)), False), 4.5)
    (part,) = partition_graph(alone, np.array([0]))
    assert (part.nodes.tolist(), part.n_edges) == ([0], 0)


def test_a_molecule_in_three_slabs():
    chain = Structure(np.full(6, 6), np.outer(np.arange(6), [1.4, 0, 0]), np.zeros((3, 3)), False)
    graph = build_graph(chain, 1.5)
    parts = partition_graph(graph, Slabs(count=3).assign(chain))
    assert [p.nodes.tolist() for p in parts] == [[0, 1, 2], [2, 3, 1, 4], [4, 5, 3]]


def test_empty_slabs_make_no_part():
    structure = Structure([8, 8], [[0.5, 0, 0], [9.5, 0, 0]], np.eye(3) * 10, True)
    graph = build_graph(structure, 3.0)
    labels = Slabs(count=10, axis=0).assign(structure)
    assert labels.tolist() == [0, 9]
    assert [p.nodes.tolist() for p in partition_graph(graph, labels)] == [[0, 1], [1, 0]]


def test_masks_and_positions_mean_the_same(hfo2_graph):
    mask = np.arange(hfo2_graph.n_nodes) % 3 == 0
    positions = np.flatnonzero(mask)[::-1]
    for make in (with_halo, without_halo):
        a, b = make(hfo2_graph, mask), make(hfo2_graph, positions)
        np.testing.assert_array_equal(a.nodes, b.nodes)
        np.testing.assert_array_equal(a.edges, b.edges)
    assert with_halo(hfo2_graph, np.array([], dtype=int)).n_nodes == 0


def test_the_input_is_not_changed(hfo2_graph):
    labels = np.arange(hfo2_graph.n_nodes) % 2
    fields = {k: v.copy() for k, v in vars(hfo2_graph).items() if isinstance(v, np.ndarray)}
    given_labels = labels.copy()
    partition_graph(hfo2_graph, labels, hops=2)
    np.testing.assert_array_equal(labels, given_labels)
    for name, copy in fields.items():
        np.testing.assert_array_equal(getattr(hfo2_graph, name), copy)


def test_bad_input(hfo2_graph):
    n = hfo2_graph.n_nodes
    with pytest.raises(InputError, match=f"one integer part for each of {n} atoms, got .* shape \\(2,\\)"):
        partition_graph(hfo2_graph, np.zeros(2, dtype=int))
    with pytest.raises(InputError, match="type float64"):
        partition_graph(hfo2_graph, np.zeros(n))
    with pytest.raises(InputError, match=r"a mask for 24 atoms, got one of shape \(3,\)"):
        with_halo(hfo2_graph, np.array([True, False, True]))
    with pytest.raises(InputError, match=r"among 0..23, got 3 to 24"):
        without_halo(hfo2_graph, np.array([3, 24]))
    with pytest.raises(InputError, match="as a mask or as integer positions"):
        without_halo(hfo2_graph, np.array([3.5]))
    with pytest.raises(InputError, match="at least one hop, got hops=0"):
        with_halo(hfo2_graph, np.array([0]), hops=0)


def test_a_large_structure_takes_less_than_a_second_per_cut(rng):
    """1,536 atoms, about 250,000 edges, 18 slabs; a loop over atoms or edges in Python would take far longer."""
    structure = random_hfo2(512, rng)
    graph = build_graph(structure, 8.0)
    start = time.process_time()
    parts = partition_graph(graph, Slabs(count=18).assign(structure))
    assert time.process_time() - start < 1.0
    assert sum(p.n_labelled for p in parts) == 1536
    assert graph.n_edges > 200_000
