"""Prediction with the network `xia2025`: its layers over a whole structure, then its blocks in the order of the store.

The layers run in step over the whole structure, a chunk of edges at a time. In each layer the nodes are updated from
all their incoming edges, a group of nodes at a time; then, with all nodes updated, the edges. Every node is in one
group and every directed edge in one chunk, so results do not depend on how the structure is divided. Memory holds the
nodes and a chunk for each thread; networks of more than one layer keep the features of all edges, too.

A block of a Hermitian prediction is ½(H_ij(R) + H_ji(−R)ᵀ) of the outputs for an edge and its reverse, which are
computed in the same chunk. So H is exactly Hermitian and is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.coupled import CoupledNetwork
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors
from nearsight.nn.architectures.xia2025.network import parameter_dtype
from nearsight.nn.architectures.xia2025.so3 import only_scalars
from nearsight.nn.kernels.threads import in_order
from nearsight.nn.prediction import Group, Pairs
from nearsight.operators.blocks import group_by_elements
from nearsight.progress import Event, Progress
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

GROUP = 8192
"""Approximate number of edges that arrive at the nodes that are updated at once."""


@dataclass
class LayerwisePass:
    """A network's pass over a structure, layer by layer.

    Attributes
    ----------
    model : CoupledNetwork
        The model.
    structure : Structure
        The atoms.
    graph : Graph
        Their neighbours within the model's cutoff.
    labels : ndarray
        (N,) partition label of each atom; nodes of different partitions are not updated at once.
    chunk : int
        Edges computed at once.
    progress : Progress
        Told edges done and edges in all, both counted once per layer.
    wanted : (n,) array of int or None
        Atoms whose nodes are wanted after the last update, ascending; None for all. Others are updated where these
        depend on them.
    """

    model: CoupledNetwork
    structure: Structure
    graph: Graph
    labels: np.ndarray
    chunk: int
    progress: Progress
    wanted: np.ndarray | None = None

    def __post_init__(self) -> None:
        network = self.model.network
        network.eval()
        self.device = next(network.parameters()).device
        self.threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.done = 0
        self.needed = self._needed()
        numbers = torch.as_tensor(self.structure.numbers.copy(), device=self.device)
        with torch.no_grad():
            self.nodes = only_scalars(network.embedding(numbers), self.model.config.l_max)
        self.edges: Tensor | None = None

    def run(self) -> None:
        """Do all updates but the last one of the edges, of what is wanted."""
        last = self.model.config.layers - 1
        for layer in range(last):
            self._update_nodes(layer)
            self._update_edges(layer)
        self._update_nodes(last)

    @torch.no_grad()
    def edge_outputs(self, edges: np.ndarray) -> Tensor:
        """Return (len(edges), size) coupled blocks of some edges, E_h."""
        return self.model.network.edge_outputs(self.nodes, self._features(edges), self._tensors(edges))

    @torch.no_grad()
    def node_outputs(self, atoms: np.ndarray) -> Tensor:
        """Return (len(atoms), size) coupled on-site blocks of some atoms, E_h."""
        return self.model.network.node_head(self.nodes[self._positions(atoms)])

    def count(self, edges: int) -> None:
        """Count edges as done."""
        self.done += edges
        self.progress(Event(done=self.done, total=self.graph.n_edges * self.model.config.layers))

    def _needed(self) -> list[np.ndarray]:
        """(N,) bool for each layer: whose nodes are needed after its update."""
        last = np.ones(self.graph.n_nodes, dtype=bool)
        if self.wanted is not None:
            last[:] = False
            last[self.wanted] = True
        needed = [last]
        for _ in range(self.model.config.layers - 1):
            senders = np.zeros(self.graph.n_nodes, dtype=bool)
            senders[self.graph.source[needed[0][self.graph.target]]] = True
            needed.insert(0, needed[0] | senders)
        return needed

    def _update_nodes(self, layer: int) -> None:
        updated = self.nodes.clone()

        @torch.no_grad()
        def work(group: np.ndarray) -> None:
            updated[self._positions(group)] = self._updated_nodes(layer, group)

        for _ in in_order(work, self._groups(self.needed[layer]), self.threads):
            pass
        self.nodes = updated

    def _updated_nodes(self, layer: int, group: np.ndarray) -> Tensor:
        """Return the nodes of a group after the node update of a layer."""
        network, edges = self.model.network, self._incoming(group)
        senders, source = self._senders(layer, self.graph.source[edges])
        nodes = np.concatenate([group, senders])
        rotated = network.reference or self.edges is not None
        tensors = graph_tensors(
            self.structure.numbers[nodes],
            len(group) + source,
            np.searchsorted(group, self.graph.target[edges]),
            self.graph.vector[edges],
            self.model.config.l_max,
            parameter_dtype(network),
            len(group),
            len(edges),
            None if rotated else 0,
            self.device,
        )
        mine = self.nodes[self._positions(nodes)]
        return network.update_nodes(layer, mine, self._features(edges), tensors)[: len(group)]

    def _senders(self, layer: int, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the atoms that send messages, and for each edge which of them does.

        Before the first update an atom's features say its element and nothing else: one atom of each element stands
        for all of it.
        """
        if layer:
            senders, which = np.unique(source, return_inverse=True)
            return senders, which
        _, first, element = np.unique(self.structure.numbers, return_index=True, return_inverse=True)
        return first, element[source]

    def _groups(self, needed: np.ndarray) -> Iterator[np.ndarray]:
        """Yield needed atoms of one partition at a time, as many as `GROUP` edges arrive at, at least one."""
        arriving = np.bincount(self.graph.target, minlength=self.graph.n_nodes)
        for label in np.unique(self.labels[needed]):
            atoms = np.flatnonzero(needed & (self.labels == label))
            number = (np.cumsum(arriving[atoms]) - arriving[atoms]) // GROUP
            yield from np.split(atoms, np.flatnonzero(np.diff(number)) + 1)

    def _incoming(self, atoms: np.ndarray) -> np.ndarray:
        """Return the edges that arrive at some atoms: the reverses of those that leave them."""
        return self.graph.reverse[self.graph.leaving(atoms)[0]]

    def _update_edges(self, layer: int) -> None:
        network, needed = self.model.network, self.needed[layer]
        kept = self.nodes.new_zeros(self.graph.n_edges, *self.nodes.shape[1:])
        between = np.flatnonzero(needed[self.graph.source] & needed[self.graph.target])

        @torch.no_grad()
        def work(first: int) -> int:
            edges = between[first : first + self.chunk]
            kept[self._positions(edges)] = network.update_edges(
                layer, self.nodes, self._features(edges), self._tensors(edges)
            )
            return len(edges)

        for count in in_order(work, range(0, len(between), self.chunk), self.threads):
            self.count(count)
        self.edges = kept

    def _features(self, edges: np.ndarray) -> Tensor | None:
        return None if self.edges is None else self.edges[self._positions(edges)]

    def _tensors(self, edges: np.ndarray) -> GraphTensors:
        """Return all nodes with some edges."""
        return graph_tensors(
            self.structure.numbers,
            self.graph.source[edges],
            self.graph.target[edges],
            self.graph.vector[edges],
            self.model.config.l_max,
            parameter_dtype(self.model.network),
            device=self.device,
        )

    def _positions(self, rows: np.ndarray) -> Tensor:
        return torch.as_tensor(rows, device=self.device)


def groups(layerwise: LayerwisePass, pairs: Pairs, half: bool, nodes: np.ndarray | None = None) -> Iterator[Group]:
    """Compute all blocks of a structure.

    Parameters
    ----------
    layerwise : LayerwisePass
        The pass over the structure, not run yet.
    pairs : Pairs
        The blocks wanted.
    half : bool
        Whether each block is the mean of the outputs for the edge and for its reverse.
    nodes : ndarray, optional
        Nodes of a network of one layer after its update, where they are at hand; nothing is updated then.

    Yields
    ------
    batch : slice
        Which pairs come next.
    values : ndarray
        (m,) float64, their blocks one after another, eV.
    """
    if nodes is None:
        layerwise.run()
    else:
        layerwise.nodes = torch.as_tensor(nodes, device=layerwise.device)
    blocks = _Blocks(layerwise, pairs, half)
    step = max(1, layerwise.chunk // (2 if half else 1))
    batches = [slice(first, min(first + step, len(pairs))) for first in range(0, len(pairs), step)]
    for batch, (n_edges, values) in zip(batches, in_order(blocks, batches, layerwise.threads)):
        layerwise.count(n_edges)
        yield batch, values


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Computes the blocks (eV) of consecutive pairs when called; returns the number of their edges and the blocks."""

    layerwise: LayerwisePass
    pairs: Pairs
    half: bool

    def __call__(self, batch: slice) -> tuple[int, np.ndarray]:
        edge = self.pairs.edge[batch]
        off_site, on_site = np.flatnonzero(edge >= 0), np.flatnonzero(edge < 0)
        edges = edge[off_site]
        there = np.empty(len(edge), dtype=np.int64)
        there[off_site], there[on_site] = np.arange(len(edges)), np.arange(len(on_site)) - len(on_site)
        back = there.copy()
        if self.half:
            edges = np.concatenate([edges, self.layerwise.graph.reverse[edges]])
            back[off_site] += len(off_site)
        coupled = self._coupled(edges, self.pairs.source[batch][on_site])
        return len(edges), self._uncoupled(batch, coupled, there, back)

    def _coupled(self, edges: np.ndarray, atoms: np.ndarray) -> Tensor:
        """Return the outputs of edges, then those of atoms, E_h."""
        node_output = self.layerwise.node_outputs(atoms)
        return torch.cat([self.layerwise.edge_outputs(edges), node_output]) if len(edges) else node_output

    def _uncoupled(self, batch: slice, coupled: Tensor, there: np.ndarray, back: np.ndarray) -> np.ndarray:
        """Return the blocks of row `there` of the outputs; for a half their mean with the transposes of row `back`."""
        rows = coupled.double().cpu().numpy() * HARTREE_IN_EV
        numbers, layout = self.layerwise.structure.numbers, self.layerwise.model.layout
        source, target = self.pairs.source[batch], self.pairs.target[batch]
        sizes = self.layerwise.model.basis.sizes(numbers)
        ends = np.cumsum(sizes[source] * sizes[target])
        values = np.empty(int(ends[-1]))
        for (zi, zj), own in group_by_elements(numbers, source, target).items():
            blocks = layout.uncouple(rows[there[own]], zi, zj)
            if self.half:
                blocks = (blocks + layout.uncouple(rows[back[own]], zj, zi).transpose(0, 2, 1)) / 2
            flat = blocks.reshape(len(own), -1)
            values[(ends[own] - flat.shape[1])[:, None] + np.arange(flat.shape[1])] = flat
        return values
