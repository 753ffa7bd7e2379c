"""How much memory a network takes for an edge of a chunk and for a node, measured on a few of each.

Measured and not written down, so that the numbers follow every change of the layers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.edge_targets import EdgeTargets
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors
from nearsight.nn.architectures.xia2025.network import Xia2025, parameter_dtype

FEW, MORE = 4, 12
"""Two sizes; their difference leaves out what does not grow, such as the parameters."""

TRANSIENT = 1.75
"""Memory of a backward pass, in units of what waited for it."""


def bytes_per_chunked_edge(network: Xia2025) -> int:
    """Of an edge whose chunk is under way, by tensor operations."""
    return _growth(lambda n: _edge_pass(network, n))


def bytes_per_node(network: Xia2025) -> int:
    """Of a node while all layers go forward and backward."""
    return _growth(lambda n: _node_pass(network, n))


class SavedBytes:
    """The highest number of bytes that waited for a backward pass at one time; every storage counts once.

    Use `with counter.watch():` around forward and backward passes.

    Args:
        known: tensors that do not count.
    """

    def __init__(self, *known: Tensor) -> None:
        self._known = {t.untyped_storage().data_ptr() for t in known}
        self._holders: dict[int, int] = {}
        self.now = self.peak = 0

    def watch(self) -> torch.autograd.graph.saved_tensors_hooks:
        """A context in which tensors are counted from when they are saved until they are let go."""
        return torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Saved(self, tensor), lambda saved: saved.tensor)

    def count(self, tensor: Tensor, change: int) -> None:
        """One more or one less holder of a tensor's storage."""
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place in self._known:
            return
        before = self._holders.get(place, 0)
        self._holders[place] = before + change
        if 0 in (before, before + change):
            self.now += change * storage.nbytes()
            self.peak = max(self.peak, self.now)


class _Saved:
    """A tensor that waits, counted as long as it lives."""

    def __init__(self, counter: SavedBytes, tensor: Tensor) -> None:
        self.counter, self.tensor = counter, tensor
        counter.count(tensor, 1)

    def __del__(self) -> None:
        self.counter.count(self.tensor, -1)


def _growth(peak: Callable[[int], int]) -> int:
    """Bytes per edge or node, from two small numbers of them."""
    return int(TRANSIENT * (peak(MORE) - peak(FEW)) / (MORE - FEW))


def _edge_pass(network: Xia2025, n_edges: int) -> int:
    """The larger one of an edge update with head and loss, and of node messages."""
    graph, last = _example(network, 2, n_edges), network.layers - 1
    nodes, edges = _features(network, 2), _features(network, n_edges) if last else None
    targets = EdgeTargets(nodes.new_zeros(n_edges, len(network.edge_head.restore)))
    chunk, group = SavedBytes(), SavedBytes()
    with torch.enable_grad(), chunk.watch():
        network.chunked(last).error(nodes, edges, graph, targets)
    with torch.enable_grad(), group.watch():
        updated = network.update_nodes(last, nodes, edges, graph)
        torch.autograd.grad(updated.sum(), nodes)
    return max(chunk.peak, group.peak)


def _node_pass(network: Xia2025, n_nodes: int) -> int:
    """All node updates and the head, without edges."""
    graph, counter = _example(network, n_nodes, 0), SavedBytes()
    with torch.enable_grad(), counter.watch():
        output = network(graph)[0]
        torch.autograd.grad(output.sum(), list(network.parameters()), allow_unused=True)
    return counter.peak


def _features(network: Xia2025, count: int) -> Tensor:
    w, weight = network.widths, network.embedding.weight
    return weight.new_ones(count, (w.l_max + 1) ** 2, w.channels).requires_grad_()


def _example(network: Xia2025, n_nodes: int, n_edges: int) -> GraphTensors:
    """Edges from the first node to the last."""
    source = np.zeros(n_edges, dtype=np.int64)
    vectors = np.arange(1.0, 3 * n_edges + 1).reshape(-1, 3) / (3 * n_edges + 1)
    graph = graph_tensors(
        np.ones(n_nodes, dtype=np.int64),
        source,
        source + n_nodes - 1,
        vectors,
        network.widths.l_max,
        parameter_dtype(network),
    )
    return graph.to(network.embedding.weight.device)
