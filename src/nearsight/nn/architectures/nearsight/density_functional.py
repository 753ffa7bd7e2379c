"""H of one structure as a function of its density: the informed terms of a model `nearsight` at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from nearsight.baselines.bond_scale import max_shell
from nearsight.nn.architectures.nearsight.graph import (
    BondGraph,
    Bonds,
    ElementPair,
    canonical_edges,
    frames_of,
    make_bonds,
)
from nearsight.nn.architectures.nearsight.informed import InformedTerms
from nearsight.nn.architectures.nearsight.informed_bonds import BoundBonds
from nearsight.nn.prediction import pairs_of
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.symmetry import symmetric
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.atomic_density import AtomicDensity
from nearsight.self_consistency.potential import potential_between
from nearsight.self_consistency.solver import BlockErrors, HamiltonianOfDensity
from nearsight.structures.graph import build_graph
from nearsight.units import HARTREE_IN_EV


@dataclass(frozen=True, eq=False)
class InformedFunctional:
    """A `DensityFunctional` of informed terms.

    Attributes
    ----------
    terms : InformedTerms
        The terms, trained.
    """

    terms: InformedTerms

    @property
    def layout(self) -> CoupledLayout:
        """Layout of the own blocks of a density."""
        return self.terms.layout

    @property
    def basis(self) -> BasisSet:
        """Whose radial functions, where they are known, give the dipoles of densities."""
        return self.terms.functional.basis

    @property
    def residual(self) -> Mapping[int, float]:
        """Z → r.m.s. error (eV) of the on-site elements of atoms that were not fitted, at self-consistency."""
        return self.terms.residual

    def bound(self, calculation: Calculation) -> HamiltonianOfDensity:
        """Return H of one structure; what does not depend on the density is computed here."""
        kind = InformedHamiltonian if self.terms.response is None else RespondingHamiltonian
        return kind(self.terms, calculation)


@dataclass(frozen=True, eq=False)
class _PairGroup:
    """The bonds of one pair of elements: where their blocks lie, and what does not depend on the density."""

    bonds: Bonds
    forward: np.ndarray
    backward: np.ndarray
    constant: np.ndarray
    scale: np.ndarray
    frames: list[np.ndarray]


class InformedHamiltonian:
    """H of one structure as a function of its density.

    Parameters
    ----------
    terms : InformedTerms
        The terms, trained.
    calculation : Calculation
        The structure and its overlap, in whose form (folded to Γ, or not) H comes.
    """

    def __init__(self, terms: InformedTerms, calculation: Calculation) -> None:
        self.terms, self.calculation = terms, calculation
        structure, graph = calculation.structure, build_graph(calculation.structure, terms.config.cutoff)
        terms.network.eval()
        terms.network.check(canonical_edges(structure, graph))
        self.structure, self.graph = structure, graph
        self._environment = terms.functional.environment(structure, graph)
        self._features = terms.functional.features(structure, graph, calculation.require_overlap())
        self._plain = terms.plain_atoms(structure, graph)
        self._own_images = calculation.require_overlap().folded and bool((graph.source == graph.target).any())
        pairs = pairs_of(graph, half=False)
        basis = terms.basis.restricted(structure.numbers)
        sizes = basis.sizes(structure.numbers)
        empty = np.zeros(int((sizes[pairs.source] * sizes[pairs.target]).sum()))
        self._empty = BlockOperator(structure.numbers, basis, pairs.source, pairs.target, pairs.shift, empty, False)
        place = np.empty(graph.n_edges, dtype=np.int64)
        place[pairs.edge[pairs.edge >= 0]] = np.flatnonzero(pairs.edge >= 0)
        self._own = np.flatnonzero(pairs.edge < 0)
        edges = canonical_edges(structure, graph)
        self._groups = {pair: self._group(pair, own, place) for pair, own in edges.items()}
        self._bonds = BoundBonds(terms.bonds, calculation, graph, edges, {p: g.frames for p, g in self._groups.items()})

    def start(self) -> AtomicDensity:
        """Return densities of atoms regressed from their surroundings."""
        charge = sum(self.terms.basis.valence[int(z)] for z in self.structure.numbers) - self.calculation.n_electrons
        return self.terms.start(self.structure, self.graph, self.terms.basis.valence, float(charge))

    def __call__(self, density: AtomicDensity) -> BlockOperator:
        """Return H (eV) of a density, folded to Γ where the overlap is."""
        terms, numbers = self.terms, self.structure.numbers
        on_site = terms.functional(self._environment, self._features, density)
        h = self._empty.with_values(np.zeros(len(self._empty.values)))
        for z in self.structure.elements:
            atoms = np.flatnonzero(numbers == z)
            h.put(self._own[atoms], HARTREE_IN_EV * symmetric(terms.layout.uncouple(on_site[atoms], z, z)))
        outputs, bonds = self._outputs(density, on_site), self._bonds(on_site, density.net)
        for pair, group in self._groups.items():
            layout = terms.network.layouts[pair]
            learnt = layout.blocks_of(outputs[pair] * group.scale + bonds[pair], group.frames)
            blocks = HARTREE_IN_EV * (group.constant + learnt)
            h.put(group.forward, blocks)
            h.put(group.backward, np.ascontiguousarray(blocks.transpose(0, 2, 1)))
        overlap, potential = self.calculation.require_overlap(), terms.potential(on_site, numbers)
        h = fold(h) if overlap.folded else h
        return h.with_values(h.values + potential_between(h, overlap, potential, self._own_images))

    @torch.no_grad()
    def expected_errors(self, density: AtomicDensity, h: BlockOperator) -> BlockErrors | None:
        """Return the errors to expect of H at self-consistency.

        On site they are those of the unseen atoms that it was validated on, more where an atom's surroundings are
        unlike those of training; between atoms those of the informed network (`uncertainty`).
        """
        terms, known, numbers = self.terms, self.terms.uncertainty, self.structure.numbers
        if known is None or not set(self.structure.elements) <= set(terms.residual):
            return None
        on_site = terms.functional(self._environment, self._features, density)
        tensors = self._tensors(density, on_site)
        squares = np.zeros(h.n_pairs)
        leverage = known.atom_leverage(terms.network.descriptors(tensors).double().cpu().numpy(), self._plain.element)
        usual = np.array([terms.residual[int(z)] for z in numbers])
        atoms = np.arange(len(numbers))
        own = h.find(atoms, atoms, np.zeros((len(atoms), 3), dtype=np.int64))
        squares[own] = (usual * known.on_site_inflation(leverage, self._plain.element)) ** 2
        features = terms.network.features(tensors)
        for pair, group in self._groups.items():
            _, hidden = terms.network.outputs_and_hidden(features, pair, group.bonds)
            variances = known.bond_variances(terms.network, hidden, pair, group.bonds) * group.scale**2
            means = HARTREE_IN_EV**2 * variances.sum(axis=1) / group.constant[0].size
            for positions in (group.forward, group.backward):
                np.add.at(squares, self._folded_place(h, positions), means)
        return BlockErrors(np.sqrt(squares), (known.on_site_mean_to_rms, known.mean_to_rms))

    def _folded_place(self, h: BlockOperator, positions: np.ndarray) -> np.ndarray:
        empty = self._empty
        shift = np.zeros_like(empty.shift[positions]) if h.folded else empty.shift[positions]
        return h.find(empty.source[positions], empty.target[positions], shift)

    def _tensors(self, density: AtomicDensity, on_site: np.ndarray) -> BondGraph:
        weight = self.terms.network.mix[0]
        told = self._features.told(density)
        atoms = self.terms.atoms(self._plain, self.structure.numbers, told, on_site)
        return atoms.graph({}, weight.dtype).to(weight.device)

    @torch.no_grad()
    def _outputs(self, density: AtomicDensity, on_site: np.ndarray) -> Mapping[ElementPair, np.ndarray]:
        bonds = {pair: group.bonds for pair, group in self._groups.items()}
        features = self.terms.network.features(self._tensors(density, on_site))
        found = self.terms.network.outputs(features, bonds)
        return {pair: output.double().cpu().numpy() for pair, output in found.items()}

    def _group(self, pair: ElementPair, edges: np.ndarray, place: np.ndarray) -> _PairGroup:
        terms, weight = self.terms, self.terms.network.mix[0]
        bonds = make_bonds(self.graph, edges, terms.config.l_max, weight.dtype)
        constant = terms.baseline.two_centre(pair, self.graph.vector[edges])
        return _PairGroup(
            bonds.to(weight.device),
            place[edges],
            place[self.graph.reverse[edges]],
            terms.layout.uncouple(constant, *pair),
            terms.scale(pair, np.linalg.norm(self.graph.vector[edges], axis=1)),
            frames_of(bonds, max_shell(terms.network.layouts[pair])),
        )


class RespondingHamiltonian(InformedHamiltonian):
    """The same, where the response of densities was learnt."""

    def step_towards(self, density: AtomicDensity, residual: np.ndarray) -> np.ndarray:
        """Return the step from a density to the solution, to first order, as `AtomicDensity.vector` orders it."""
        assert self.terms.response is not None
        return self.terms.response(self._features, density, residual)
