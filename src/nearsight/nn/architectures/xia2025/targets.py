"""Targets of a partition, and how the network's per-image outputs are compared with them.

The network predicts one block per edge, that is per image. A reference folded to Γ knows only the sum over images,
H_ij(Γ) = Σ_R H_ij(R), and its on-site blocks contain the images H_ii(R). So outputs are summed into the reference's
rows before they are compared; where the reference is in real space (operators in R), every edge has its own row, and
`EdgeTargets` compares edges without keeping their outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.operators.blocks import BlockOperator, group_by_elements
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.partition.partition import Partition
from nearsight.structures.graph import Graph
from nearsight.units import HARTREE_IN_EV


@dataclass(frozen=True, eq=False)
class Targets:
    """Rows of coupled targets of one partition: first its labelled nodes, then its labelled pairs.

    Attributes
    ----------
    values : Tensor
        (rows, size) E_h, zero in the padding.
    row_of_edge : Tensor or None
        (labelled edges,) int64, the row that each edge's output is added to; None where edge k has row n_nodes + k.
    element_pair : Tensor
        (rows,) int64, position of the row's (Z_i, Z_j) in `element_pairs`.
    element_pairs : tuple of (int, int)
        The pairs of atomic numbers that occur.
    filled : Tensor
        (len(element_pairs), size) bool, what is not padding.
    n_nodes : int
        Labelled nodes.
    """

    values: Tensor
    row_of_edge: Tensor | None
    element_pair: Tensor
    element_pairs: tuple[tuple[int, int], ...]
    filled: Tensor
    n_nodes: int

    def gather(self, node_output: Tensor, edge_output: Tensor) -> Tensor:
        """Return the network's outputs summed into rows.

        Parameters
        ----------
        node_output : Tensor
            (n_nodes, size).
        edge_output : Tensor
            (labelled edges, size).

        Returns
        -------
        Tensor
            (rows, size).
        """
        if self.row_of_edge is None:
            return torch.cat([node_output, edge_output])
        padding = node_output.new_zeros(len(self.values) - self.n_nodes, node_output.shape[1])
        return torch.cat([node_output, padding]).index_add(0, self.row_of_edge, edge_output)

    @property
    def mask(self) -> Tensor:
        """(rows, size) bool, what is not padding."""
        return self.filled[self.element_pair]

    def to(self, device: torch.device | str) -> Targets:
        """Return a copy on another device."""
        rows = None if self.row_of_edge is None else self.row_of_edge.to(device)
        return Targets(
            self.values.to(device),
            rows,
            self.element_pair.to(device),
            self.element_pairs,
            self.filled.to(device),
            self.n_nodes,
        )


def couple_pairs(
    operator: BlockOperator,
    layout: CoupledLayout,
    source: np.ndarray,
    target: np.ndarray,
    shift: np.ndarray,
    dtype: np.typing.DTypeLike = np.float64,
) -> np.ndarray:
    """Return the coupled blocks of given pairs.

    Parameters
    ----------
    operator : BlockOperator
        The operator, eV.
    layout : CoupledLayout
        Layout of the result.
    source, target : ndarray
        (P,) int64, i and j.
    shift : ndarray
        (P, 3) int64, R.
    dtype : dtype
        Number type of the result.

    Returns
    -------
    ndarray
        (P, size) E_h; zero where a pair is not stored.
    """
    result = np.zeros((len(source), layout.size), dtype=dtype)
    for pair, rows in group_by_elements(operator.numbers, source, target).items():
        blocks = operator.blocks(pair, source[rows], target[rows], shift[rows])
        result[rows] = layout.couple(blocks, *pair) / HARTREE_IN_EV
    return result


@dataclass(frozen=True, eq=False)
class TargetRows:
    """The pair of atoms that each row of a partition's targets belongs to.

    Attributes
    ----------
    source, target : ndarray
        (rows,) int64, i and j.
    shift : ndarray
        (rows, 3) int64, R.
    row_of_edge : ndarray or None
        (labelled edges,) int64, as in `Targets`.
    n_nodes : int
        Labelled nodes, the first rows.
    """

    source: np.ndarray
    target: np.ndarray
    shift: np.ndarray
    row_of_edge: np.ndarray | None
    n_nodes: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.source)

    def n_filled(self, numbers: np.ndarray, layout: CoupledLayout) -> int:
        """Return how many numbers are not padding.

        Parameters
        ----------
        numbers : ndarray
            (N,) atomic numbers.
        layout : CoupledLayout
            Layout of a row.

        Returns
        -------
        int
            Numbers in all rows.
        """
        groups = group_by_elements(numbers, self.source, self.target)
        return sum(len(rows) * int(layout.mask(zi, zj).sum()) for (zi, zj), rows in groups.items())


def target_rows(folded: bool, graph: Graph, partition: Partition) -> TargetRows:
    """Return the rows of one partition.

    Parameters
    ----------
    folded : bool
        Whether the reference is folded to Γ; else it is in real space.
    graph : Graph
        Graph of the whole structure.
    partition : Partition
        The partition.

    Returns
    -------
    TargetRows
        The rows.
    """
    nodes = partition.nodes[: partition.n_labelled]
    edges = partition.edges[: partition.n_labelled_edges]
    source, target, shift = graph.source[edges], graph.target[edges], graph.shift[edges]
    rows = None
    if folded:
        source, target, shift, rows = _fold_rows(source, target, nodes, graph.n_nodes)
    return TargetRows(
        np.concatenate([nodes, source]),
        np.concatenate([nodes, target]),
        np.concatenate([np.zeros((len(nodes), 3), dtype=np.int64), shift]),
        rows,
        len(nodes),
    )


def make_targets(
    hamiltonian: BlockOperator, graph: Graph, partition: Partition, layout: CoupledLayout, dtype: torch.dtype
) -> Targets:
    """Return the targets of one partition of a structure.

    Parameters
    ----------
    hamiltonian : BlockOperator
        The reference, eV.
    graph : Graph
        Graph of the whole structure.
    partition : Partition
        The partition.
    layout : CoupledLayout
        Layout of a row.
    dtype : torch.dtype
        Number type of the values.

    Returns
    -------
    Targets
        The targets on the CPU, E_h.
    """
    rows = target_rows(hamiltonian.folded, graph, partition)
    real = torch.empty(0, dtype=dtype).numpy().dtype
    values = couple_pairs(hamiltonian, layout, rows.source, rows.target, rows.shift, real)
    pairs, which = _element_pairs(hamiltonian.numbers, rows.source, rows.target)
    filled = np.array([layout.mask(zi, zj) for zi, zj in pairs]).reshape(-1, layout.size)
    return Targets(
        torch.as_tensor(values),
        None if rows.row_of_edge is None else torch.as_tensor(rows.row_of_edge),
        torch.as_tensor(which),
        pairs,
        torch.as_tensor(filled),
        rows.n_nodes,
    )


def _fold_rows(
    source: np.ndarray, target: np.ndarray, nodes: np.ndarray, n_atoms: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return distinct off-site pairs (i, j) and the row of every edge; an atom's own images go to its on-site row."""
    own = source == target
    pairs, which = np.unique(source[~own] * n_atoms + target[~own], return_inverse=True)
    rows = np.empty(len(source), dtype=np.int64)
    rows[~own] = len(nodes) + which
    rows[own] = np.searchsorted(nodes, source[own])
    folded_source, folded_target = np.divmod(pairs, n_atoms)
    in_order = np.array_equal(rows, len(nodes) + np.arange(len(source)))
    shift = np.zeros((len(pairs), 3), dtype=np.int64)
    return folded_source, folded_target, shift, None if in_order else rows


def _element_pairs(
    numbers: np.ndarray, source: np.ndarray, target: np.ndarray
) -> tuple[tuple[tuple[int, int], ...], np.ndarray]:
    groups = group_by_elements(numbers, source, target)
    which = np.empty(len(source), dtype=np.int64)
    for k, rows in enumerate(groups.values()):
        which[rows] = k
    return tuple(groups), which


@dataclass(frozen=True, eq=False)
class EdgeTargets:
    """Targets of the labelled edges; the error is Σ (mask · (output − target))².

    Attributes
    ----------
    values : Tensor
        (e, size) E_h.
    mask : Tensor or None
        (e, size) bool, what is compared; None is everything.
    """

    values: Tensor
    mask: Tensor | None = None

    def rows(self, chosen: slice | Tensor) -> EdgeTargets:
        """Return the targets of some edges."""
        return EdgeTargets(self.values[chosen], None if self.mask is None else self.mask[chosen])

    def error(self, output: Tensor) -> Tensor:
        """Return the error of outputs (e, size), differentiable."""
        return self._masked(output - self.values).square().sum()

    def error_and_gradient(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the error in float64, and its gradient with respect to the outputs (e, size)."""
        error = self._masked(output - self.values)
        return error.square().sum(dtype=torch.float64), self._masked(error).mul_(2)

    def _masked(self, error: Tensor) -> Tensor:
        """Set to zero what is not compared."""
        return error.clone() if self.mask is None else error * self.mask
