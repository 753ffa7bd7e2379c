"""Blocks of the network `xia2025`, group after group in the order of the store.

A block of a Hermitian prediction is ½(H_ij(R) + H_ji(−R)ᵀ) of the outputs for an edge and its reverse, which are
computed in the same chunk. So H is exactly Hermitian and never has to be held as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.layerwise import LayerwisePass
from nearsight.nn.kernels.threads import in_order
from nearsight.nn.prediction import Group, Pairs
from nearsight.operators.blocks import group_by_elements
from nearsight.units import HARTREE_IN_EV


def groups(layerwise: LayerwisePass, pairs: Pairs, half: bool) -> Iterator[Group]:
    layerwise.run()
    blocks = _Blocks(layerwise, pairs, half)
    step = max(1, layerwise.chunk // (2 if half else 1))
    batches = [slice(first, min(first + step, len(pairs))) for first in range(0, len(pairs), step)]
    for batch, (n_edges, values) in zip(batches, in_order(blocks, batches, layerwise.threads)):
        layerwise.count(n_edges)
        yield batch, values


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Called with some consecutive pairs: computes their edges; returns how many these were, and the blocks in eV."""

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
        """The outputs of edges, then those of atoms, E_h."""
        node_output = self.layerwise.node_outputs(atoms)
        return torch.cat([self.layerwise.edge_outputs(edges), node_output]) if len(edges) else node_output

    def _uncoupled(self, batch: slice, coupled: Tensor, there: np.ndarray, back: np.ndarray) -> np.ndarray:
        """The blocks of row `there` of the outputs; for a half their mean with the transposes of row `back`."""
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
