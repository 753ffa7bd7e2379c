"""Compiled messages equal those by tensors, group by group those in one group; value and gradient, any threads."""

from __future__ import annotations

import pytest
import torch

from nearsight.nn.architectures.xia2025 import network as network_module
from nearsight.nn.architectures.xia2025.kernels import messages as module
from nearsight.nn.architectures.xia2025.kernels.tensor_passes import group_by_target
from nearsight.nn.architectures.xia2025.so3 import only_scalars
from tests.nn.architectures.xia2025.test_edge_engine import make_graph
from tests.nn.architectures.xia2025.test_equivariance import make_network


def messages(monkeypatch, use_compiled: bool, edges_per_group: int, threads: int):
    way = module.compiled_messages if use_compiled else module.by_tensors
    monkeypatch.setattr(network_module, "scalar_messages", way)
    monkeypatch.setattr(module, "EDGES", edges_per_group)
    monkeypatch.setattr(module, "COMPILED_EDGES", edges_per_group)
    network, graph = make_network(), make_graph()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        nodes = only_scalars(network.embedding(graph.numbers), 4)
        out = network.update_nodes(0, nodes, None, graph)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=out.dtype)
        (out * weight).sum().backward()
    finally:
        torch.set_num_threads(before)
    return out.detach(), {k: p.grad for k, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("use_compiled", [False, True])
@pytest.mark.parametrize(("edges", "threads"), [(10**9, 1), (1, 1), (40, 1), (40, 2)])
def test_all_ways_agree(use_compiled, edges, threads, monkeypatch):
    expected, slow = messages(monkeypatch, False, 10**9, 1)
    out, fast = messages(monkeypatch, use_compiled, edges, threads)
    assert float((out - expected).abs().max()) < 1e-12
    assert set(slow) == set(fast)
    for name, gradient in slow.items():
        assert torch.allclose(fast[name], gradient, rtol=1e-10, atol=1e-10), name


def test_groups_cover_every_edge_once():
    graph = make_graph()
    groups = group_by_target(graph, 40)
    assert sorted(torch.cat([g.edges for g in groups]).tolist()) == list(range(graph.n_edges))
    for g in groups:
        counts = torch.bincount(graph.target[g.edges] - g.first, minlength=g.last - g.first)
        assert g.ends.tolist() == torch.cumsum(counts, 0).tolist()
        assert len(counts) == g.last - g.first
