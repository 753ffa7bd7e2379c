"""The Hamiltonian of a structure from a trained model, block after block in the order of the store.

A block is ½(H_ij(R) + H_ji(−R)ᵀ) of the network's outputs for an edge and its reverse, which are computed in the same
chunk. So H is exactly Hermitian and never has to be held as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.nn.architectures.nearsight.model import BondModel
from nearsight.nn.architectures.nearsight.prediction import BondBlocks
from nearsight.nn.architectures.xia2025.layerwise import Report, Sweep
from nearsight.nn.kernels.threads import in_order
from nearsight.nn.model import Model
from nearsight.nn.prediction import Pairs, pairs_of
from nearsight.operators.blocks import BlockOperator, group_by_elements
from nearsight.operators.symmetry import symmetric, whole_of_half
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

CHUNK = 4096
"""Edges computed at once: their tensors fit into a few ten MB."""

Group = tuple[slice, np.ndarray]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A Hamiltonian under way.

    Attributes:
        numbers: (N,) atomic numbers.
        basis: of the structure's elements.
        pairs: the blocks to come, resolved in R.
        half: only those of `in_half` come, and the others are their transposes.
        groups: yields which pairs come next and their blocks, (m,) float64, eV; to be read once.
        bonds: what else a model `nearsight` knows: expected errors, strange atoms.
    """

    numbers: np.ndarray
    basis: BasisSet
    pairs: Pairs
    half: bool
    groups: Iterator[Group]
    bonds: BondBlocks | None = None


def predict_hamiltonian(
    model: Model | BondModel,
    structure: Structure,
    parts: np.ndarray | None = None,
    *,
    symmetrise: bool = True,
    chunk: int = CHUNK,
    report: Report = lambda done, total: None,
    h0: H0Matrices | None = None,
) -> BlockOperator:
    """H of a structure in memory; arguments, result and errors as of `predict`."""
    prediction = predict(model, structure, parts, symmetrise=symmetrise, chunk=chunk, report=report, h0=h0)
    pairs = prediction.pairs
    operator = BlockOperator(
        prediction.numbers,
        prediction.basis,
        pairs.source,
        pairs.target,
        pairs.shift,
        np.concatenate([values for _, values in prediction.groups]),
        False,
    )
    return whole_of_half(operator) if prediction.half else operator


def predict(
    model: Model | BondModel,
    structure: Structure,
    parts: np.ndarray | None = None,
    *,
    symmetrise: bool = True,
    chunk: int = CHUNK,
    report: Report = lambda done, total: None,
    h0: H0Matrices | None = None,
) -> Prediction:
    """H of a structure, to be read block after block; no reference is needed.

    Args:
        model: trained network.
        structure: of elements that the model knows.
        parts: (N,) part of each atom; one part by default. The result does not depend on it.
        symmetrise: return ½(H + H†) (paper, Fig. 5), exactly Hermitian, as its half; else H, whole.
        chunk: edges computed at once.
        report: called with edges done and edges in all, both counted once per layer.
        initial: H₀ and S of the structure, for a model that starts from them.

    Returns:
        Blocks resolved in R, eV, on site and within the model's cutoff.

    Raises:
        InputError: an element that the model was not trained on, `parts` of another length, or H₀ or S missing where
            it is needed.
    """
    check_elements(model, structure)
    graph = build_graph(structure, model.config.cutoff)
    labels = np.zeros(len(structure), dtype=np.int64) if parts is None else np.asarray(parts)
    if labels.shape != (len(structure),):
        raise InputError(f"expected a part for each of {len(structure)} atoms, got an array of shape {labels.shape}")
    pairs = pairs_of(graph, half=symmetrise)
    basis = model.basis.restricted(structure.numbers)
    if isinstance(model, BondModel):
        bonds = BondBlocks(model, structure, graph, pairs, chunk, report, h0)
        return Prediction(structure.numbers, basis, pairs, symmetrise, bonds.groups(), bonds)
    groups = _groups(Sweep(model, structure, graph, labels, chunk, report), pairs, symmetrise)
    return Prediction(structure.numbers, basis, pairs, symmetrise, groups)


def check_elements(model: Model | BondModel, structure: Structure) -> None:
    """Raises InputError for an element that the model does not know."""
    unknown = [symbol_of(z) for z in structure.elements if z not in model.basis.shells]
    if unknown:
        known = ", ".join(symbol_of(z) for z in model.basis.shells)
        raise InputError(
            f"expected a structure of the model's elements ({known}), got {', '.join(unknown)} in "
            f"{structure.formula}; train on data that holds them"
        )


def _groups(sweep: Sweep, pairs: Pairs, half: bool) -> Iterator[Group]:
    sweep.run()
    blocks = _Blocks(sweep, pairs, half)
    step = max(1, sweep.chunk // (2 if half else 1))
    pieces = [slice(first, min(first + step, len(pairs))) for first in range(0, len(pairs), step)]
    for piece, (n_edges, values) in zip(pieces, in_order(blocks, pieces, sweep.threads)):
        sweep.progress(n_edges)
        yield piece, values


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Called with some consecutive pairs: computes their edges; returns how many these were, and the blocks in eV."""

    sweep: Sweep
    pairs: Pairs
    half: bool

    def __call__(self, piece: slice) -> tuple[int, np.ndarray]:
        edge = self.pairs.edge[piece]
        off_site, on_site = np.flatnonzero(edge >= 0), np.flatnonzero(edge < 0)
        edges = edge[off_site]
        there = np.empty(len(edge), dtype=np.int64)
        there[off_site], there[on_site] = np.arange(len(edges)), np.arange(len(on_site)) - len(on_site)
        back = there.copy()
        if self.half:
            edges = np.concatenate([edges, self.sweep.graph.reverse[edges]])
            back[off_site] += len(off_site)
        coupled = self._coupled(edges, self.pairs.source[piece][on_site])
        return len(edges), self._uncoupled(piece, coupled, there, back)

    def _coupled(self, edges: np.ndarray, atoms: np.ndarray) -> Tensor:
        """The outputs of edges, then those of atoms, E_h."""
        node_output = self.sweep.node_outputs(atoms)
        return torch.cat([self.sweep.edge_outputs(edges), node_output]) if len(edges) else node_output

    def _uncoupled(self, piece: slice, coupled: Tensor, there: np.ndarray, back: np.ndarray) -> np.ndarray:
        """The blocks of row `there` of the outputs; for a half their mean with the transposes of row `back`."""
        rows = coupled.double().cpu().numpy() * HARTREE_IN_EV
        numbers, layout = self.sweep.structure.numbers, self.sweep.model.layout
        source, target = self.pairs.source[piece], self.pairs.target[piece]
        sizes = self.sweep.model.basis.sizes(numbers)
        ends = np.cumsum(sizes[source] * sizes[target])
        values = np.empty(int(ends[-1]))
        for (zi, zj), own in group_by_elements(numbers, source, target).items():
            blocks = layout.uncouple(rows[there[own]], zi, zj)
            if self.half:
                blocks = (blocks + layout.uncouple(rows[back[own]], zj, zi).transpose(0, 2, 1)) / 2
                on_site = self.pairs.edge[piece][own] < 0
                if on_site.any():
                    blocks[on_site] = symmetric(blocks[on_site])
            flat = blocks.reshape(len(own), -1)
            values[(ends[own] - flat.shape[1])[:, None] + np.arange(flat.shape[1])] = flat
        return values
