"""Networks of several layers in chunks equal the reference in value, gradient and with halos, in far less memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import nearsight.nn.architectures.xia2025.network as xia2025
from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors, leading_edges, updates_needed
from nearsight.nn.architectures.xia2025.kernels import messages as scalar_messages
from nearsight.nn.architectures.xia2025.memory_plan import SavedBytes, bytes_per_chunked_edge, bytes_per_node
from nearsight.nn.architectures.xia2025.network import Xia2025
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.partition.partition import with_halo
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure
from tests.nn.architectures.xia2025.test_equivariance import CUTOFF, LAYOUT, make_network, make_structure

WIDTHS = Widths(channels=6, hidden=5, alpha=3, value=4, feed_forward=7, n_gaussians=6)


def small_network(layers: int, reference: bool = False, chunk: int = 50) -> Xia2025:
    torch.manual_seed(0)
    network = Xia2025(WIDTHS, layers, LAYOUT.degrees, reference=reference).double()
    network.chunk = chunk
    return network


def whole_tensors(dtype: torch.dtype = torch.float64) -> GraphTensors:
    structure = make_structure()
    graph = build_graph(structure, CUTOFF)
    return graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 4, dtype)


def chain() -> tuple[Structure, Graph]:
    """Atoms along a line, each with few neighbours: several hops do not reach everything."""
    rng = np.random.default_rng(4)
    positions = np.stack([np.arange(14) * 1.7, *rng.uniform(0, 1.2, (2, 14))], axis=1)
    structure = Structure(rng.choice([8, 72], 14), positions, np.diag([14 * 1.7, 30.0, 30.0]), True)
    return structure, build_graph(structure, 3.6)


def part_tensors(layers: int) -> GraphTensors:
    """Three atoms of the chain with their halo, its edges shuffled."""
    structure, graph = chain()
    part = with_halo(graph, np.array([4, 5, 6]), layers)
    n = part.n_labelled_edges
    order = np.concatenate([np.arange(n), n + np.random.default_rng(0).permutation(part.n_edges - n)])
    return graph_tensors(
        structure.numbers[part.nodes],
        part.source[order],
        part.target[order],
        graph.vector[part.edges[order]],
        4,
        torch.float64,
        part.n_labelled,
        n,
    )


def run(network: Xia2025, graph: GraphTensors, how: str, masked: bool = False):
    """Loss and gradients; `how` says whether the network sums the error itself."""
    generator = torch.Generator().manual_seed(7)
    shape = (graph.n_labelled_edges, LAYOUT.size)
    targets = torch.randn(*shape, generator=generator, dtype=torch.float64).to(graph.distance.dtype)
    mask = torch.rand(*shape, generator=generator) < 0.5 if masked else None
    if how == "square error":
        nodes, error = network(graph, EdgeTargets(targets, mask))
    else:
        nodes, edges = network(graph)
        difference = edges - targets
        error = (difference if mask is None else difference * mask).square().sum()
    total = 0.3 * error + nodes.square().sum()
    total.backward()
    return total.item(), {k: torch.zeros_like(p) if p.grad is None else p.grad for k, p in network.named_parameters()}


def assert_equal(expected, got, tolerance: float = 1e-10) -> None:
    assert got[0] == pytest.approx(expected[0], rel=tolerance)
    for name, gradient in expected[1].items():
        worst = float((got[1][name] - gradient).abs().max())
        assert worst <= tolerance * max(float(gradient.abs().max()), 1e-6), name


@pytest.mark.parametrize("how", ["square error", "outputs"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("layers", "chunk", "threads"), [(2, 50, 1), (3, 50, 1), (2, 17, 2), (3, 10**6, 1)])
def test_equal_to_the_reference(how, masked, layers, chunk, threads):
    graph = whole_tensors()
    assert graph.n_edges > 3 * 50
    expected = run(small_network(layers, reference=True), graph, "outputs", masked)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_equal(expected, run(small_network(layers, chunk=chunk), graph, how, masked))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("how", ["square error", "outputs"])
@pytest.mark.parametrize("layers", [2, 3])
def test_with_a_halo_equal_to_the_reference(how, layers):
    graph = part_tensors(layers)
    assert graph.n_labelled < graph.n_nodes
    assert 0 < graph.n_labelled_edges < graph.n_edges
    assert_equal(
        run(small_network(layers, reference=True), graph, "outputs", True),
        run(small_network(layers, chunk=7), graph, how, True),
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_without_compiled_loops_equal_to_the_reference(monkeypatch, layers):
    """By tensor operations alone, as on a GPU."""
    monkeypatch.setattr(xia2025, "scalar_messages", scalar_messages.by_tensors)
    monkeypatch.setattr(xia2025.Xia2025, "engine", lambda self: None)
    graph = whole_tensors()
    assert_equal(
        run(small_network(layers, reference=True), graph, "outputs"), run(small_network(layers), graph, "square error")
    )


def test_sizes_of_the_paper_in_single_precision():
    network, slow = make_network(2).float(), make_network(2, reference=True)
    network.chunk = 60
    got = run(network, whole_tensors(torch.float32), "square error")
    assert_equal(run(slow, whole_tensors(), "outputs"), got, 1e-3)


def test_frozen_parameters_and_no_gradient():
    graph, network = whole_tensors(), small_network(2)
    targets = torch.ones(graph.n_edges, LAYOUT.size, dtype=torch.float64)
    with torch.no_grad():
        expected = float((small_network(2, reference=True)(graph)[1] - targets).square().sum())
    for update in network.edge_updates:
        update.requires_grad_(False)
    error = network(graph, EdgeTargets(targets))[1]
    error.backward()
    assert network.edge_updates[0].project.weight.grad is None
    assert float(network.node_updates[1].first.order_zero.weight.grad.abs().max()) > 0
    with torch.no_grad():
        assert float(network(graph, EdgeTargets(targets))[1]) == pytest.approx(expected, rel=1e-12)
    network.requires_grad_(False)
    assert not network(graph, EdgeTargets(targets))[1].requires_grad
    assert error.item() == pytest.approx(expected, rel=1e-12)


def test_gradients_of_the_sum_are_taken_once():
    """They were computed with the value and are scaled in place."""
    graph = whole_tensors()
    error = small_network(2)(graph, EdgeTargets(torch.zeros(graph.n_edges, LAYOUT.size, dtype=torch.float64)))[1]
    error.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        error.backward()


def test_needed_edges_end_where_the_hops_do():
    """In a chain: labelled edges in every layer, edges into labelled atoms in all but the last, and so on."""
    layers, graph = 3, part_tensors(3)
    updates = updates_needed(graph.source, graph.target, graph.n_nodes, graph.n_labelled, graph.n_labelled_edges, 3)
    hops = torch.full((graph.n_nodes,), 99)
    hops[: graph.n_labelled] = 0
    for hop in (1, 2, 3):
        reached = graph.source[hops[graph.target] < hop]
        hops[reached] = hops[reached].clamp(max=hop)
    expected = layers - 1 - hops[graph.target]
    expected[: graph.n_labelled_edges] = layers
    assert torch.equal(updates, expected)
    assert set(updates.tolist()) == {0, 1, 2, 3}
    counts = leading_edges(updates.sort(descending=True).values, layers)
    assert counts == [int((updates > k).sum()) for k in range(layers)]
    assert counts[-1] == graph.n_labelled_edges


def test_edges_that_are_not_needed_change_nothing():
    """Features of edges beyond the reach of a layer are never read: their frames may be missing."""
    graph = part_tensors(3)
    updates = updates_needed(graph.source, graph.target, graph.n_nodes, graph.n_labelled, graph.n_labelled_edges, 3)
    order = torch.argsort(updates, descending=True, stable=True)
    n = int((updates > 0).sum())
    assert n < graph.n_edges
    fewer = GraphTensors(
        graph.numbers,
        graph.source[order],
        graph.target[order],
        graph.distance[order],
        graph.harmonics[order],
        graph.frames[order][:n],
        graph.n_labelled,
        graph.n_labelled_edges,
    )
    assert_equal(run(small_network(3), graph, "square error"), run(small_network(3), fewer, "square error"), 1e-12)


def peak_saved_bytes(network: Xia2025, graph: GraphTensors, how: str) -> int:
    """Of a forward and backward pass; the graph's and the network's own tensors left out."""
    counter = SavedBytes(
        *network.parameters(),
        *network.buffers(),
        graph.numbers,
        graph.source,
        graph.target,
        graph.distance,
        graph.harmonics,
        graph.frames,
    )
    with counter.watch():
        run(network, graph, how)
    assert counter.now == 0
    return counter.peak


@pytest.mark.parametrize("how", ["square error", "outputs"])
@pytest.mark.parametrize("layers", [2, 3])
def test_memory_grows_with_the_stored_features_alone(layers, how):
    """Of twice the edges: the features of every layer before the last, one gradient of them, and what is asked for."""
    structure = make_structure()
    graph = build_graph(structure, CUTOFF)
    grown = {}
    for reference in (True, False):
        peaks = []
        for times in (1, 2):
            source, target, vector = (np.concatenate([x] * times) for x in (graph.source, graph.target, graph.vector))
            tensors = graph_tensors(structure.numbers, source, target, vector, 4, torch.float64)
            peaks.append(peak_saved_bytes(small_network(layers, reference), tensors, how))
        grown[reference] = (peaks[1] - peaks[0]) / graph.n_edges
    features = 8 * 25 * WIDTHS.channels * layers
    asked_for = 2 * 8 * LAYOUT.size
    assert grown[False] <= features + asked_for
    assert grown[True] > 15 * grown[False]


@pytest.mark.parametrize("layers", [2, 3])
def test_an_atom_without_neighbours(layers):
    structure = Structure([72], [[0.3, 0.1, 0.2]], np.diag([3.0, 3.1, 3.2]), False)
    graph = build_graph(structure, CUTOFF)
    tensors = graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 4, torch.float64)
    assert tensors.n_edges == 0
    nodes, error = small_network(layers)(tensors, EdgeTargets(torch.zeros(0, LAYOUT.size, dtype=torch.float64)))
    assert error.item() == 0.0
    (nodes.square().sum() + error).backward()
    assert torch.allclose(nodes, small_network(layers, reference=True)(tensors)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
def test_measured_memory_is_that_of_larger_graphs(layers):
    """What a few edges and nodes tell agrees with the whole structure in a single chunk, and with atoms alone."""
    graph, network = whole_tensors(), small_network(layers, chunk=10**6)
    counter = SavedBytes(*network.parameters())
    nodes = torch.zeros(graph.n_nodes, 25, WIDTHS.channels, dtype=torch.float64, requires_grad=True)
    edges = torch.zeros(graph.n_edges, 25, WIDTHS.channels, dtype=torch.float64, requires_grad=True)
    targets = torch.zeros(graph.n_edges, LAYOUT.size, dtype=torch.float64)
    with counter.watch():
        network.chunked(layers - 1).error(nodes, edges if layers > 1 else None, graph, EdgeTargets(targets))
    assert 1.2 < bytes_per_chunked_edge(network) / (counter.peak / graph.n_edges) < 2.5
    assert 0 < bytes_per_node(network) < bytes_per_node(small_network(layers + 1))


def test_the_path_is_told():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert make_network(2, reference=True).describe_path() == "reference implementation, all edges at once"
        assert make_network().describe_path() == "compiled engine (numba), 2 threads"
        assert small_network(2, chunk=77).describe_path() == (
            "torch in chunks of 77 edges, 2 threads; first node messages compiled (numba)"
        )
    finally:
        torch.set_num_threads(before)
