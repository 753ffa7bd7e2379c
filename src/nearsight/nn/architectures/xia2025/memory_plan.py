"""What a run keeps in memory and what it makes when needed, decided from sizes before any tensor is made.

In this order: a step on the largest partition must fit; chunks of edges are as large as is useful; the remaining memory
keeps the tensors of partitions between steps. Whatever the plan, a run computes the same: with batches kept or not
bitwise, with other chunks up to rounding.

The memory that the network takes for an edge of a chunk and for a node is measured on a few of each and not written
down, so that the numbers follow every change of the layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.batches import PartitionPlan
from nearsight.nn.architectures.xia2025.config import Xia2025Loss
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors
from nearsight.nn.architectures.xia2025.network import Xia2025, parameter_dtype
from nearsight.nn.architectures.xia2025.targets import EdgeTargets

FEW, MORE = 4, 12
"""Two sizes; their difference leaves out what does not grow, such as the parameters."""

TRANSIENT = 1.75
"""Memory of a backward pass, in units of what was saved for it."""


def bytes_per_chunked_edge(network: Xia2025) -> int:
    """Return the bytes that tensor operations take for an edge whose chunk is under way."""
    return _growth(lambda n: _edge_pass(network, n))


def bytes_per_node(network: Xia2025) -> int:
    """Return the bytes that a node takes while all layers go forward and backward."""
    return _growth(lambda n: _node_pass(network, n))


class SavedBytes:
    """The highest number of bytes saved for a backward pass at one time; every storage counts once.

    Use `with counter.watch():` around forward and backward passes.

    Parameters
    ----------
    *known : Tensor
        Tensors that do not count.

    Attributes
    ----------
    now, peak : int
        Bytes saved at present, and their highest number.
    """

    def __init__(self, *known: Tensor) -> None:
        self._known = {t.untyped_storage().data_ptr() for t in known}
        self._holders: dict[int, int] = {}
        self.now = self.peak = 0

    def watch(self) -> torch.autograd.graph.saved_tensors_hooks:
        """Return a context in which tensors are counted from when they are saved until they are released."""
        return torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Saved(self, tensor), lambda saved: saved.tensor)

    def count(self, tensor: Tensor, change: int) -> None:
        """Count one more or one less holder of a tensor's storage.

        Parameters
        ----------
        tensor : Tensor
            The tensor.
        change : int
            +1 or −1.
        """
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
    """A saved tensor, counted as long as it lives."""

    def __init__(self, counter: SavedBytes, tensor: Tensor) -> None:
        self.counter, self.tensor = counter, tensor
        counter.count(tensor, 1)

    def __del__(self) -> None:
        self.counter.count(self.tensor, -1)


def _growth(peak: Callable[[int], int]) -> int:
    """Return the bytes per edge or node, from two small numbers of them."""
    return int(TRANSIENT * (peak(MORE) - peak(FEW)) / (MORE - FEW))


def _edge_pass(network: Xia2025, n_edges: int) -> int:
    """Return the peak of an edge update with head and loss, or of node messages, whichever is larger."""
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
    """Return the peak of all node updates and the head, without edges."""
    graph, counter = _example(network, n_nodes, 0), SavedBytes()
    with torch.enable_grad(), counter.watch():
        output = network(graph)[0]
        torch.autograd.grad(output.sum(), list(network.parameters()), allow_unused=True)
    return counter.peak


def _features(network: Xia2025, count: int) -> Tensor:
    w, weight = network.widths, network.embedding.weight
    return weight.new_ones(count, (w.l_max + 1) ** 2, w.channels).requires_grad_()


def _example(network: Xia2025, n_nodes: int, n_edges: int) -> GraphTensors:
    """Return a graph whose edges run from the first node to the last."""
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


USED = 0.8
"""Fraction of the available memory that is planned with; the rest is for what no estimate sees."""

SMALLEST_CHUNK = 64
LARGEST_CHUNK = 1024
LARGEST_CHUNK_ON_GPU = 65_536
"""Beyond these, larger chunks save little time."""


@dataclass(frozen=True)
class MemoryPlan:
    """How a run uses memory, in bytes.

    Attributes
    ----------
    available : int
        What may be used.
    batches : int
        Tensors of all partitions.
    largest : int
        Tensors of the largest partition.
    step : int
        What a step on it takes beside them and beside its chunks.
    chunk : int
        Edges computed at once.
    chunks : int
        Memory of the chunks under way.
    budget : float
        Memory for tensors of partitions between steps; infinite where all are kept.
    per_edge : dict of str to float
        Bytes of the largest partition's tensors per edge, by what they are.
    """

    available: int
    batches: int
    largest: int
    step: int
    chunk: int
    chunks: int
    budget: float
    per_edge: dict[str, float]

    @property
    def fits(self) -> bool:
        """Whether a step on the largest partition is expected to fit."""
        return self.largest + self.step + self.chunks <= USED * self.available

    def describe(self) -> str:
        """Return one or two lines for the user."""
        kinds = ", ".join(f"{name} {size:.0f}" for name, size in self.per_edge.items())
        kept = "all are kept"
        if self.budget < self.batches:
            kept = f"{_gb(self.budget)} of them are kept, the others made when needed"
        text = (
            f"memory: {_gb(self.available)} available; tensors of all partitions {_gb(self.batches)} "
            f"({sum(self.per_edge.values()):.0f} bytes per edge: {kinds}), {kept}; "
            f"largest step {_gb(self.largest + self.step + self.chunks)}"
        )
        if not self.fits:
            text += (
                "\nmemory: the largest step is expected not to fit; make partitions smaller (partition.kind=slabs, a "
                "smaller partition.thickness)"
            )
        return text


def make_plan(plans: Sequence[PartitionPlan], loss: Xia2025Loss, batches_per_step: int, available: int) -> MemoryPlan:
    """Plan the memory of a run.

    Parameters
    ----------
    plans : sequence of PartitionPlan
        Partitions to train on and for validation, of one model.
    loss : Xia2025Loss
        Settings of the loss.
    batches_per_step : int
        Batches in an optimiser step.
    available : int
        Bytes that may be used where the network is.

    Returns
    -------
    MemoryPlan
        The plan.
    """
    model = plans[0].model
    device = model.device
    sizes = [sum(tensor_bytes(o).values()) for o in plans]
    at_once = 1 if loss.kind == "mse" else batches_per_step
    node, edge = bytes_per_node(model.network), bytes_per_chunked_edge(model.network)
    steps = [step_bytes(o, loss, node) for o in plans]
    worst = max(range(len(plans)), key=lambda k: sizes[k] + steps[k])
    largest, step = at_once * sizes[worst], at_once * steps[worst]
    on_cpu = device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    remaining = USED * available - largest - step
    most = LARGEST_CHUNK if on_cpu else LARGEST_CHUNK_ON_GPU
    chunk = int(max(SMALLEST_CHUNK, min(most, remaining / 2 / (threads * edge))))
    # A batch that is not kept is in memory besides those that are.
    budget = remaining - threads * chunk * edge
    everything = sum(sizes)
    budget = math.inf if everything <= budget + largest else max(0.0, budget)
    return MemoryPlan(
        available, everything, largest, step, chunk, threads * chunk * edge, budget, _per_edge(plans[worst])
    )


def tensor_bytes(plan: PartitionPlan) -> dict[str, int]:
    """Return the bytes of a partition's tensors, by what they are."""
    model = plan.model
    real, integer = model.dtype.itemsize, 8
    degrees = range(model.config.l_max + 1)
    partition = plan.partition
    return {
        "frames": real * plan.n_updated[0] * sum((2 * l + 1) ** 2 for l in degrees),
        "harmonics": real * partition.n_edges * len(degrees) ** 2,
        "targets": real * plan.n_rows * plan.size,
        "indices and distances": (2 * integer + real) * partition.n_edges
        + integer * (partition.n_nodes + plan.n_rows + plan.n_summed),
    }


def step_bytes(plan: PartitionPlan, loss: Xia2025Loss, per_node: int) -> int:
    """Return what a step on a partition takes beside its tensors and its chunks.

    Parameters
    ----------
    plan : PartitionPlan
        The partition.
    loss : Xia2025Loss
        Settings of the loss.
    per_node : int
        Bytes of a node, `bytes_per_node`.

    Returns
    -------
    int
        Bytes of making the tensors, of training or of validating, whichever is largest.
    """
    model, partition = plan.model, plan.partition
    real, wide = model.dtype.itemsize, 8
    components = (model.config.l_max + 1) ** 2
    # Vectors, order and rows as they are picked; blocks and their coupled rows in float64.
    making = wide * (8 * partition.n_edges + 3 * plan.n_rows * plan.size)
    # Features of every layer before the last; the gradient, and the gradient of a leading slice of them.
    stored = sum(plan.n_updated[:-1]) + 2 * max(plan.n_updated[:-1], default=0)
    training = per_node * partition.n_nodes + real * components * model.config.channels * stored
    if plan.n_summed or loss.kind != "mse":
        # Outputs, summed into rows, errors, their squares and the gradients of each.
        training += 6 * real * plan.size * (partition.n_labelled_edges + plan.n_rows)
    if loss.masked:
        training += plan.n_rows * plan.size
    # Outputs, errors in float64 and blocks of validation.
    validating = plan.size * (real * partition.n_labelled_edges + (2 * real + 3 * wide) * plan.n_rows)
    return max(making, training, validating)


def _per_edge(plan: PartitionPlan) -> dict[str, float]:
    """Return the bytes of a partition's tensors per edge."""
    return {k: size / max(1, plan.partition.n_edges) for k, size in tensor_bytes(plan).items()}


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
