"""InitialReference: what self-consistency changes in the blocks of a calculation, from which terms can be learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nearsight.baselines.h0.edge_terms import H0EdgeTerms, H0EdgeTermsFit, edge_vectors
from nearsight.baselines.h0.matrices import H0Matrices, scalar_shift
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.reference import Reference, energy_references
from nearsight.baselines.settings import BaselineSettings
from nearsight.operators.blocks import ElementPair
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout


@dataclass(frozen=True, eq=False)
class H0Reference(Reference):
    """A reference whose blocks are H − H₀ − μS, for edges minus what the terms say of it.

    Attributes:
        initial: H₀ and S.
        gauge: μ, E_h.
        change: (N, size) coupled H_ii − H₀_ii as a prediction would have it, E_h; None before the on-site fit.
        terms: of the edges; None before they are fitted.
    """

    h0: H0Matrices
    energy_reference: float = 0.0
    change: np.ndarray | None = None
    terms: H0EdgeTerms | None = None

    @classmethod
    def of(cls, calculation: Calculation, layout: CoupledLayout, cutoff: float) -> H0Reference:
        """Of a calculation with H, H₀ and S.

        Raises:
            InputError: one is missing, or elements or shells that the layout does not have.
        """
        plain = Reference.of(calculation, layout, cutoff)
        h0 = H0Matrices.of(calculation)
        h0.check(plain.structure, layout)
        return cls(plain.structure, plain.graph, plain.hamiltonian, layout, h0)

    @cached_property
    def own(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, size) coupled on-site blocks of H₀ in E_h and S."""
        return self.h0.on_site(self.structure, self.layout)

    def on_site(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Usable atoms of an element, (n,), and their coupled blocks H − H₀ − μS (n, size) in E_h.

        Once there is a change only those whose neighbours can be looked at one by one.
        """
        atoms, blocks = super().on_site(z)
        see = self.h0.single_image_atoms if self.change is None else self.h0.single_image_environments
        known = see(self.graph, self.graph.cutoff)[atoms]
        atoms, blocks = atoms[known], blocks[known]
        return atoms, blocks - self.own[0][atoms] - self.energy_reference * self.own[1][atoms]

    def edges(self) -> Iterator[tuple[ElementPair, np.ndarray, np.ndarray]]:
        """(Z_i ≤ Z_j), usable edges (n,) and what the terms leave of their coupled blocks (n, size) in E_h."""
        for pair, edges, vectors, change in self.vectors():
            if self.terms is not None:
                distance = self.graph.distance[edges]
                change = change + vectors[0] - self.terms(pair, vectors, distance)
            yield pair, edges, change

    def vectors(self) -> Iterator[tuple[ElementPair, np.ndarray, np.ndarray, np.ndarray]]:
        """(Z_i ≤ Z_j), usable edges, their (4, n, size) `edge_vectors`, and H − H₀ − μS (n, size) in E_h."""
        table, graph = IrrepTable(self.layout), self.graph
        change = np.zeros((len(self.structure), self.layout.size)) if self.change is None else self.change
        usable = self.h0.single_image_edges(graph, graph.cutoff)
        for pair, edges, blocks in super().edges():
            known = usable[edges]
            edges = edges[known]
            h, s = self.h0.edges(graph, self.layout, pair, edges)
            vectors = edge_vectors(table, pair, h, s, change[graph.source[edges]], change[graph.target[edges]])
            yield pair, edges, vectors, blocks[known] - h - self.energy_reference * s


def with_energy_references(references: Sequence[H0Reference]) -> list[H0Reference]:
    """The references with the gauge of each."""
    shifts, numbers = [], []
    for reference in references:
        blocks = np.zeros((len(reference.structure), reference.layout.size))
        usable = []
        for z in reference.structure.elements:
            atoms, own = reference.on_site(z)
            blocks[atoms] = own
            usable.append(atoms)
        atoms = np.concatenate(usable)
        shifts.append(scalar_shift(reference.layout, reference.structure, blocks)[atoms])
        numbers.append(reference.structure.numbers[atoms])
    found = energy_references(shifts, numbers)
    return [replace(reference, energy_reference=float(mu)) for reference, mu in zip(references, found)]


def fit_edge_terms(
    references: Sequence[H0Reference], table: IrrepTable, cutoff: float, settings: BaselineSettings
) -> tuple[H0EdgeTerms, list[H0Reference]]:
    """The terms of the edges, and the references without what these say. The references know their change on site."""
    fit = H0EdgeTermsFit(table, cutoff, settings)
    for reference in references:
        for pair, edges, vectors, change in reference.vectors():
            fit.add(pair, vectors, reference.graph.distance[edges], change)
    terms = fit.solve(np.array([reference.energy_reference for reference in references]))
    return terms, [replace(reference, terms=terms) for reference in references]
