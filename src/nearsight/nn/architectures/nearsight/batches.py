"""Batches of bonds with their targets, drawn at random, for the network `nearsight`.

A bond needs nothing but its two atoms' features, so any set of bonds is an exact batch of a structure: its labelled
pairs, and as its halo whatever the features have seen. A random batch makes a step an unbiased sample of the whole.

A reference folded to Γ holds sums over periodic images, H_ij(Γ) = Σ_R H_ij(R). Pairs with one image within the cutoff
are compared bond by bond. For pairs with several (`FoldedPairs`) the outputs of all images within the cutoff are turned
back to the common axes and added up before they are compared, so a cell may be smaller than twice the cutoff.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.bond_scale import max_shell
from nearsight.baselines.reference import single_images
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork
from nearsight.nn.architectures.nearsight.config import NearsightLoss
from nearsight.nn.architectures.nearsight.graph import (
    AtomInputs,
    BondGraph,
    Bonds,
    BondTargets,
    ElementPair,
    canonical_edges,
    frames_of,
    make_bonds,
)
from nearsight.nn.architectures.nearsight.informed import InformedTerms
from nearsight.nn.architectures.nearsight.informed_bonds import Blocks, without_bonds
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.rotations import orbital_frames
from nearsight.self_consistency.atomic_density import AtomicDensity
from nearsight.self_consistency.potential import exact_potential, without_potential
from nearsight.structures.graph import Graph, build_graph
from nearsight.units import HARTREE_IN_EV


@dataclass(frozen=True, eq=False)
class FoldedPairs:
    """Pairs of atoms of one pair of elements of which a reference at Γ knows only the sum over their periodic images.

    Attributes
    ----------
    huber_delta : float
        Delta of the pseudo-Huber loss, in units of the weighted error; 0 for squares.
    row : Tensor
        (e,) int64, the pair of atoms that each bond is an image of.
    left, right : Tensor
        (e, n, n), rotations of the orbitals of both atoms into the frame of the bond.
    unit : Tensor
        (e, width) meV that an output of 1 stands for.
    matrix : Tensor
        (width, n_i·n_j), matrix of the `BondLayout`.
    values : Tensor
        (rows, n_i, n_j) meV, targets of the sums of the outputs.
    weights : Tensor
        (rows,) factors of the errors.
    """

    huber_delta: float
    row: Tensor
    left: Tensor
    right: Tensor
    unit: Tensor
    matrix: Tensor
    values: Tensor
    weights: Tensor

    def blocks(self, output: Tensor) -> Tensor:
        """Return the sums over images of outputs (e, width), as blocks (rows, n_i, n_j) in meV on the common axes."""
        turned = ((output * self.unit) @ self.matrix).unflatten(1, self.values.shape[1:])
        return torch.zeros_like(self.values).index_add(0, self.row, self.left.mT @ turned @ self.right)

    def error(self, output: Tensor) -> Tensor:
        """Return the error of outputs (e, width), differentiable.

        With n numbers per block, weights w and Huber delta s, it is Σ over pairs of √(n w²|error|² + n² s²) − n s; with
        s = 0 it is Σ w²|error|².
        """
        squares = (self.blocks(output) - self.values).square().sum(dim=(1, 2)) * self.weights**2
        if not self.huber_delta:
            return squares.sum()
        n = self.values[0].numel() if len(self.values) else 1
        return ((n * squares + (n * self.huber_delta) ** 2).sqrt() - n * self.huber_delta).sum()

    def to(self, device: torch.device | str) -> FoldedPairs:
        """Return a copy on another device."""
        tensors = (self.row, self.left, self.right, self.unit, self.matrix, self.values, self.weights)
        return FoldedPairs(self.huber_delta, *(t.to(device) for t in tensors))


def make_folded(
    layout: BondLayout,
    row: np.ndarray,
    frames: Sequence[np.ndarray],
    unit: np.ndarray,
    values: np.ndarray,
    power: float,
    huber_delta: float,
    dtype: torch.dtype,
) -> FoldedPairs:
    """Return the tensors of some sums over images.

    Parameters
    ----------
    layout : BondLayout
        Layout of the outputs.
    row, unit, values : ndarray
        Arrays of `FoldedPairs`.
    frames : sequence of ndarray
        Wigner matrices D^0, D^1, … of the bonds.
    power : float
        Weights are the r.m.s. scale of a sum (meV) to this power, divided by that scale.
    huber_delta : float
        Delta of the pseudo-Huber loss.
    dtype : torch.dtype
        Number type of the tensors.

    Returns
    -------
    FoldedPairs
        The sums on the CPU.
    """
    squares = np.zeros(len(values))
    np.add.at(squares, row, (unit**2).mean(axis=1))
    scale = np.sqrt(squares)
    sides = [orbital_frames(layout.layout.basis, z, frames) for z in layout.pair]
    real = [torch.as_tensor(x, dtype=dtype) for x in (*sides, unit, layout.matrix, values, scale ** (power - 1))]
    return FoldedPairs(huber_delta, torch.as_tensor(row), *real)


MEV = 1e3 * HARTREE_IN_EV
"""One E_h in meV."""


@dataclass(frozen=True, eq=False)
class BondBatch:
    """Some bonds of one structure with their targets.

    Attributes
    ----------
    graph : BondGraph
        All atoms that have features, and the bonds.
    targets : mapping of ElementPair to BondTargets
        Targets of the bonds; none in a batch of folded pairs.
    unit : mapping of ElementPair to Tensor
        (e, width) meV that an output of 1 stands for.
    folded : mapping of ElementPair to FoldedPairs
        Sums over images; none in a batch of single bonds.
    """

    graph: BondGraph
    targets: Mapping[ElementPair, BondTargets]
    unit: Mapping[ElementPair, Tensor]
    folded: Mapping[ElementPair, FoldedPairs] = field(default_factory=dict)

    @property
    def n_terms(self) -> int:
        """Number of values that are compared."""
        return sum(t.values.numel() for t in self.targets.values()) + sum(
            f.values.numel() for f in self.folded.values()
        )

    @property
    def nbytes(self) -> int:
        """Memory in bytes of what belongs to the bonds; the atoms are shared by all batches."""
        tensors = [t for own in [*self.targets.values(), *self.folded.values()] for t in vars(own).values()]
        tensors += self.unit.values()
        return sum(b.nbytes for b in self.graph.bonds.values()) + sum(
            t.nbytes for t in tensors if isinstance(t, Tensor)
        )

    def to(self, device: torch.device | str) -> BondBatch:
        """Return a copy on another device."""
        return BondBatch(
            self.graph.to(device),
            {k: t.to(device) for k, t in self.targets.items()},
            {k: u.to(device) for k, u in self.unit.items()},
            {k: f.to(device) for k, f in self.folded.items()},
        )


class BondSource:
    """One structure, from which batches are made.

    Parameters
    ----------
    calculation : Calculation
        A calculation with a Hamiltonian.
    model : BaselinePlusNetwork or InformedTerms
        The model whose baseline is subtracted, and whose scale divides the residual.
    loss : NearsightLoss
        Huber delta and weights of the targets.
    """

    informed = False
    """Whether the atoms know the density matrix, and the informed network is trained."""

    def __init__(
        self, calculation: Calculation, model: BaselinePlusNetwork | InformedTerms, loss: NearsightLoss
    ) -> None:
        self.calculation, self.model, self.loss = calculation, model, loss
        self.graph: Graph = build_graph(calculation.structure, model.config.cutoff)
        self.h0 = model.baseline.h0_of(calculation)

    @cached_property
    def on_site(self) -> np.ndarray:
        """(N, size) coupled on-site blocks of the baseline, E_h."""
        return self.model.baseline.nodes(self.calculation.structure, self.graph, self.h0)

    @cached_property
    def atoms(self) -> AtomInputs:
        """Features of all atoms."""
        assert isinstance(self.model, BaselinePlusNetwork)
        return self.model.atoms(self.calculation.structure, self.graph, self.on_site, self.h0)

    @cached_property
    def tensors(self) -> BondGraph:
        """The atoms as tensors, without bonds; all batches share them."""
        return self.atoms.graph({}, self.model.network.mix[0].dtype).to(self.model.network.mix[0].device)

    def single_edges(self) -> dict[ElementPair, np.ndarray]:
        """Return the canonical edges whose blocks the reference knows one by one, by pair of elements."""
        single = self._single
        return {
            pair: edges[single[edges]]
            for pair, edges in canonical_edges(self.calculation.structure, self.graph).items()
        }

    def folded_edges(self) -> dict[ElementPair, np.ndarray]:
        """Return the canonical edges between different atoms of which the reference knows only the sum over images."""
        single, own = self._single, self.graph.source == self.graph.target
        return {
            pair: edges[~single[edges] & ~own[edges]]
            for pair, edges in canonical_edges(self.calculation.structure, self.graph).items()
        }

    def images(self, edges: np.ndarray) -> np.ndarray:
        """Return (e,) int64, which of the different pairs of atoms each edge is an image of."""
        key = self.graph.source[edges] * self.graph.n_nodes + self.graph.target[edges]
        return np.asarray(np.unique(key, return_inverse=True)[1]).reshape(-1)

    def make(self, chosen: Mapping[ElementPair, np.ndarray], folded: bool = False) -> BondBatch:
        """Return the batch of some canonical edges.

        Parameters
        ----------
        chosen : mapping of ElementPair to ndarray
            Positions of the edges in the graph.
        folded : bool
            Whether they are compared as sums over images; all images of a pair are chosen, then.

        Returns
        -------
        BondBatch
            The batch, where the network is.
        """
        if folded:
            return self._make_folded(chosen)
        bonds, targets, units = {}, {}, {}
        for pair, edges in chosen.items():
            if len(edges):
                bonds[pair], targets[pair], units[pair] = self._pair(pair, edges)
        return BondBatch(self.tensors.with_bonds(bonds), targets, units)

    def _make_folded(self, chosen: Mapping[ElementPair, np.ndarray]) -> BondBatch:
        bonds, folded, units = {}, {}, {}
        for pair, edges in chosen.items():
            if len(edges):
                bonds[pair], folded[pair] = self._sums(pair, edges)
                units[pair] = folded[pair].unit
        return BondBatch(self.tensors.with_bonds(bonds), {}, units, folded)

    def _sums(self, pair: ElementPair, edges: np.ndarray) -> tuple[Bonds, FoldedPairs]:
        model, weight = self.model, self.model.network.mix[0]
        layout, row = model.network.layouts[pair], self.images(edges)
        bonds = make_bonds(self.graph, edges, model.config.l_max, weight.dtype, weight.device)
        first = np.unique(row, return_index=True)[1]
        values = self._reference(pair, edges[first])
        np.subtract.at(values, row, self._baseline(pair, edges))
        unit = MEV * model.scale(pair, np.linalg.norm(self.graph.vector[edges], axis=1))
        folded = make_folded(
            layout,
            row,
            frames_of(bonds, max_shell(layout)),
            unit,
            MEV * values,
            self.loss.weight_power,
            self.loss.huber_delta,
            weight.dtype,
        )
        return bonds, folded.to(weight.device)

    def _pair(self, pair: ElementPair, edges: np.ndarray) -> tuple[Bonds, BondTargets, Tensor]:
        model, weight = self.model, self.model.network.mix[0]
        layout = model.network.layouts[pair]
        bonds = make_bonds(self.graph, edges, model.config.l_max, weight.dtype, weight.device)
        residual = self._reference(pair, edges) - self._baseline(pair, edges)
        columns = layout.columns_of(residual, frames_of(bonds, max_shell(layout)))
        scale = model.scale(pair, np.linalg.norm(self.graph.vector[edges], axis=1))
        values, unit = (
            torch.as_tensor(x, dtype=weight.dtype, device=weight.device) for x in (columns / scale, scale * MEV)
        )
        return (bonds, BondTargets(values, unit**self.loss.weight_power, self.loss.huber_delta), unit)

    def _baseline(self, pair: ElementPair, edges: np.ndarray) -> np.ndarray:
        """Return the blocks of the baseline, (e, n_i, n_j) E_h."""
        coupled = self.model.baseline.edges(self.calculation.structure, self.graph, edges, self.h0, self.on_site)
        return self.model.layout.uncouple(coupled, *pair)

    def _reference(self, pair: ElementPair, edges: np.ndarray) -> np.ndarray:
        """Return the blocks of the reference, (e, n_i, n_j) E_h, zero where a pair is not stored."""
        hamiltonian = self.calculation.require_hamiltonian()
        shift = None if hamiltonian.folded else self.graph.shift[edges]
        blocks = hamiltonian.blocks(pair, self.graph.source[edges], self.graph.target[edges], shift)
        return (blocks / HARTREE_IN_EV).astype(np.float64)

    @cached_property
    def _single(self) -> np.ndarray:
        """(E,) bool, whether the reference's block is that of this image alone."""
        folded = self.calculation.require_hamiltonian().folded
        return single_images(self.graph) if folded else np.ones(self.graph.n_edges, dtype=bool)


class InformedSource(BondSource):
    """One structure whose density matrix is known, for the informed network.

    Parameters
    ----------
    calculation : Calculation
        With H and S.
    terms : InformedTerms
        What is subtracted, and whose scale divides the rest.
    loss : NearsightLoss
        Huber delta and weights of the targets.
    density : AtomicDensity
        Of H.
    on_site : (N, size) array
        E_h, on-site blocks with the errors that are to be expected of a prediction.
    bonds : mapping of (int, int) to (e, n_i, n_j) array
        E_h, blocks of the bond functional, with such errors too.
    """

    informed = True

    def __init__(
        self,
        calculation: Calculation,
        terms: InformedTerms,
        loss: NearsightLoss,
        density: AtomicDensity,
        on_site: np.ndarray,
        bonds: Blocks,
    ) -> None:
        rest = without_potential(calculation, exact_potential(calculation, terms.levels))
        super().__init__(without_bonds(rest, bonds, terms.config.cutoff), terms, loss)
        self.terms, self.density, self.predicted = terms, density, on_site

    @cached_property
    def on_site(self) -> np.ndarray:
        """(N, size) coupled on-site blocks of the functional, E_h."""
        return self.predicted

    @cached_property
    def atoms(self) -> AtomInputs:
        """Features of all atoms."""
        structure = self.calculation.structure
        told = self.terms.functional.features(structure, self.graph).told(self.density)
        plain = self.terms.plain_atoms(structure, self.graph)
        return self.terms.atoms(plain, structure.numbers, told, self.predicted)


@dataclass(frozen=True, eq=False)
class BondBatchPlan:
    """Some canonical edges of one structure, before their tensors are made.

    Attributes
    ----------
    source : BondSource
        The structure.
    edges : mapping of ElementPair to ndarray
        Positions of the edges in the graph.
    folded : bool
        Whether they are compared as sums over images; all images of a pair are in the batch, then.
    """

    source: BondSource
    edges: Mapping[ElementPair, np.ndarray]
    folded: bool = False

    @property
    def n_bonds(self) -> int:
        """Number of bonds."""
        return sum(map(len, self.edges.values()))

    @cached_property
    def n_terms(self) -> int:
        """Number of values that are compared."""
        basis, layouts = self.source.model.basis, self.source.model.network.layouts
        if not self.folded:
            return sum(len(edges) * layouts[pair].width for pair, edges in self.edges.items())
        return sum(
            (int(self.source.images(edges).max()) + 1) * basis.n_orbitals(pair[0]) * basis.n_orbitals(pair[1])
            for pair, edges in self.edges.items()
            if len(edges)
        )

    @property
    def cost(self) -> int:
        """Work that the batch takes: its bonds."""
        return self.n_bonds

    def build(self) -> BondBatch:
        """Return the batch with its tensors; every call gives bitwise equal ones."""
        return self.source.make(self.edges, self.folded)

    def part(self, index: int, count: int) -> BondBatchPlan:
        """Return one of so many parts, each with its share of every pair of elements; it may be empty."""
        places = {
            pair: self.source.images(own) if self.folded else np.arange(len(own)) for pair, own in self.edges.items()
        }
        chosen = {pair: own[places[pair] % count == index] for pair, own in self.edges.items()}
        return BondBatchPlan(self.source, {pair: own for pair, own in chosen.items() if len(own)}, self.folded)


def random_split(source: BondSource, size: int, seed: int, atoms: np.ndarray | None = None) -> list[BondBatchPlan]:
    """Divide the bonds of a structure at random into batches, each with its share of every pair of elements.

    Parameters
    ----------
    source : BondSource
        The structure.
    size : int
        Approximate number of bonds in a batch.
    seed : int
        Seed of the random order.
    atoms : ndarray, optional
        (N,) bool; bonds with an end in an atom that is not marked are skipped. All atoms by default.

    Returns
    -------
    list of BondBatchPlan
        The batches: first those of single bonds, then those of sums over images.
    """
    plans = []
    for edges, folded in ((source.single_edges(), False), (source.folded_edges(), True)):
        if atoms is not None:
            edges = {
                pair: own[atoms[source.graph.source[own]] & atoms[source.graph.target[own]]]
                for pair, own in edges.items()
            }
        plans += [BondBatchPlan(source, own, folded) for own in _split(source, edges, folded, size, seed)]
    return plans


def _split(
    source: BondSource, edges: Mapping[ElementPair, np.ndarray], folded: bool, size: int, seed: int
) -> list[dict[ElementPair, np.ndarray]]:
    total = sum(map(len, edges.values()))
    count, generator = max(1, round(total / size)), np.random.default_rng(seed)
    places = {}
    for pair, own in edges.items():
        groups = source.images(own) if folded else np.arange(len(own))
        n_groups = int(groups.max()) + 1 if len(groups) else 0
        places[pair] = generator.permutation(n_groups)[groups] % count if n_groups else groups
    split = [
        {pair: own[places[pair] == k] for pair, own in edges.items() if (places[pair] == k).any()} for k in range(count)
    ]
    return [part for part in split if part]
