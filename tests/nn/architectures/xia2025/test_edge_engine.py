"""The compiled pass over the edges equals the reference implementation: value and gradient, chunks and threads."""

from __future__ import annotations

import pytest
import torch

import nearsight.nn.architectures.xia2025.kernels.edge_engine as module
from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors
from nearsight.nn.architectures.xia2025.network import Xia2025
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.orbitals.basis import basis_named
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import build_graph
from tests.nn.architectures.xia2025.test_equivariance import CUTOFF, LAYOUT, make_network, make_structure


def make_graph(dtype: torch.dtype = torch.float64) -> GraphTensors:
    structure = make_structure()
    graph = build_graph(structure, CUTOFF)
    return graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 4, dtype)


def gradients(network: Xia2025, graph: GraphTensors, how: str, masked: bool = False):
    generator = torch.Generator().manual_seed(7)
    dtype = graph.distance.dtype
    targets = torch.randn(graph.n_edges, LAYOUT.size, generator=generator, dtype=torch.float64).to(dtype)
    degrees = torch.tensor(LAYOUT.degrees)
    factors = torch.rand(graph.n_edges, len(degrees), generator=generator)
    mask = (factors < 0.5).repeat_interleave(2 * degrees + 1, dim=1)
    reference = EdgeTargets(targets, mask if masked else None)
    network.zero_grad()
    if how == "fused":
        nodes, error = network(graph, reference)
    else:
        nodes, edges = network(graph)
        error = reference.error(edges)
    (error + nodes.square().sum()).backward()
    return error.item(), {
        k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in network.named_parameters()
    }


@pytest.mark.parametrize("how", ["fused", "outputs"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("chunk", "threads"), [(384, 1), (17, 2), (50, 3)])
def test_equal_to_the_plain_network(monkeypatch, how, masked, chunk, threads):
    monkeypatch.setattr(module, "CHUNK", chunk)
    graph = make_graph()
    expected, slow = gradients(make_network(reference=True), graph, "outputs", masked)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        network = make_network()
        assert network.engine() is not None
        value, fast = gradients(network, graph, how, masked)
    finally:
        torch.set_num_threads(before)
    assert value == pytest.approx(expected, rel=1e-12)
    for name, gradient in slow.items():
        scale = float(gradient.abs().max())
        assert float((fast[name] - gradient).abs().max()) <= 1e-10 * max(scale, 1e-6), name


@pytest.mark.parametrize("threads", [1, 2])
def test_square_error_without_gradient_counts_every_chunk(monkeypatch, threads):
    monkeypatch.setattr(module, "CHUNK", 17)
    graph, network = make_graph(), make_network()
    targets = torch.ones(graph.n_edges, LAYOUT.size, dtype=torch.float64)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.requires_grad_(False)
            error = network(graph, EdgeTargets(targets))[1]
            expected = (network(graph)[1] - targets).square().sum()
    finally:
        torch.set_num_threads(before)
    assert float(error) == pytest.approx(float(expected), rel=1e-12)


def test_single_precision_stays_near_double():
    expected, slow = gradients(make_network(reference=True), make_graph(), "outputs")
    value, fast = gradients(make_network().float(), make_graph(torch.float32), "fused")
    assert value == pytest.approx(expected, rel=1e-5)
    worst = max(float((fast[k].double() - g).abs().max() / (g.abs().max() + 1e-9)) for k, g in slow.items())
    assert worst < 1e-3


def test_parameters_that_meet_only_zeros_get_no_gradient():
    """76,800 of the 273,580: orders m > 0 and degrees l > 0 of the first node update's convolutions."""
    _, fast = gradients(make_network(), make_graph(), "fused")
    _, slow = gradients(make_network(reference=True), make_graph(), "outputs")
    for gradient in (fast, slow):
        untouched = sum(int((g == 0).sum()) for k, g in gradient.items() if ".orders." in k and "node_updates" in k)
        assert untouched == sum(g.numel() for k, g in gradient.items() if ".orders." in k and "node_updates" in k)


def test_other_sizes():
    """Rows that fill no vectors, and degrees that the target does not have."""
    torch.manual_seed(1)
    widths = Widths(channels=6, hidden=5, alpha=3, value=4, feed_forward=7, n_gaussians=6, l_max=5)
    slow = Xia2025(widths, 1, LAYOUT.degrees, reference=True).double()
    fast = Xia2025(widths, 1, LAYOUT.degrees).double()
    fast.load_state_dict(slow.state_dict())
    structure = make_structure()
    graph = build_graph(structure, CUTOFF)
    tensors = graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 5, torch.float64)
    results = []
    for network in (slow, fast):
        nodes, edges = network(tensors)
        (nodes.square().sum() + edges.square().sum()).backward()
        results.append([nodes.detach(), edges.detach(), *(p.grad for p in network.parameters())])
    for expected, found in zip(*results):
        found = torch.zeros_like(expected) if found is None else found
        assert float((expected - found).abs().max()) <= 1e-10 * max(float(expected.abs().max()), 1e-3)


def test_many_irreps_equal_the_plain_network():
    """With so many irreps per degree the head is a matrix product instead of a loop."""
    graph, layout = make_graph(), CoupledLayout(basis_named("DZVP-MOLOPT-SR-GTH").restricted([8]))
    assert max(layout.degrees.count(l) for l in range(4)) >= 16
    targets = torch.randn(graph.n_edges, layout.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    results = []
    for reference in (True, False):
        torch.manual_seed(0)
        network = Xia2025(Widths(), 1, layout.degrees, reference=reference).double()
        nodes, error = network(graph, EdgeTargets(targets))
        (error + nodes.square().sum()).backward()
        results.append((error.item(), {k: p.grad for k, p in network.named_parameters() if p.grad is not None}))
    (expected, slow), (value, fast) = results
    assert value == pytest.approx(expected, rel=1e-12)
    for name, gradient in slow.items():
        found = fast.get(name, torch.zeros_like(gradient))
        assert float((found - gradient).abs().max()) <= 1e-10 * max(float(gradient.abs().max()), 1e-6), name
