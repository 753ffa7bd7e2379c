"""References of baselines that start from H₀: what self-consistency changes in the blocks of a calculation."""

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
    """A reference whose blocks are H − H₀ − μS, for edges minus the prediction of the edge terms.

    Attributes
    ----------
    h0 : H0Matrices
        H₀ and S.
    energy_reference : float
        μ, E_h.
    change : (N, size) array of float or None
        Coupled H_ii − H₀_ii as a prediction would have it, E_h; None before the on-site fit.
    terms : H0EdgeTerms or None
        The edge terms; None before they are fitted.
    """

    h0: H0Matrices
    energy_reference: float = 0.0
    change: np.ndarray | None = None
    terms: H0EdgeTerms | None = None

    @classmethod
    def of(cls, calculation: Calculation, layout: CoupledLayout, cutoff: float) -> H0Reference:
        """Make the reference of a calculation with H, H₀ and S.

        Parameters
        ----------
        calculation : Calculation
            The calculation.
        layout : CoupledLayout
            Layout of the coupled blocks.
        cutoff : float
            Å, of the graph.

        Returns
        -------
        H0Reference
            Its blocks, with μ = 0.

        Raises
        ------
        InputError
            If a matrix is missing, or the layout does not have its elements or shells.
        """
        plain = Reference.of(calculation, layout, cutoff)
        h0 = H0Matrices.of(calculation)
        h0.check(plain.structure, layout)
        return cls(plain.structure, plain.graph, plain.hamiltonian, layout, h0)

    @cached_property
    def own(self) -> tuple[np.ndarray, np.ndarray]:
        """Coupled on-site blocks of H₀ in E_h and of S, (N, size) each."""
        return self.h0.on_site(self.structure, self.layout)

    def on_site(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the usable on-site blocks of an element.

        Once there is a change, only atoms whose environment consists of single images are usable.

        Parameters
        ----------
        z : int
            Atomic number.

        Returns
        -------
        atoms : (n,) array of int64
            The usable atoms.
        blocks : (n, size) array of float64
            Coupled H − H₀ − μS, E_h.
        """
        atoms, blocks = super().on_site(z)
        see = self.h0.single_image_atoms if self.change is None else self.h0.single_image_environments
        known = see(self.graph, self.graph.cutoff)[atoms]
        atoms, blocks = atoms[known], blocks[known]
        return atoms, blocks - self.own[0][atoms] - self.energy_reference * self.own[1][atoms]

    def edges(self) -> Iterator[tuple[ElementPair, np.ndarray, np.ndarray]]:
        """Yield the residuals of the edge terms, a batch at a time.

        Yields
        ------
        pair : (int, int)
            Z_i ≤ Z_j.
        edges : (n,) array of int64
            Usable edges of this pair of elements.
        blocks : (n, size) array of float64
            Coupled blocks minus the prediction of the edge terms, E_h.
        """
        for pair, edges, vectors, change in self.vectors():
            if self.terms is not None:
                distance = self.graph.distance[edges]
                change = change + vectors[0] - self.terms(pair, vectors, distance)
            yield pair, edges, change

    def vectors(self) -> Iterator[tuple[ElementPair, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield what the edge terms are fitted to, a batch at a time.

        Yields
        ------
        pair : (int, int)
            Z_i ≤ Z_j.
        edges : (n,) array of int64
            Usable edges of this pair of elements.
        vectors : (4, n, size) array of float64
            Their `edge_vectors`, E_h.
        change : (n, size) array of float64
            Coupled H − H₀ − μS, E_h.
        """
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
    """Estimate the energy reference of each structure.

    Parameters
    ----------
    references : sequence of H0Reference
        The structures that are fitted together.

    Returns
    -------
    list of H0Reference
        The references with their μ.
    """
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
    """Fit the edge terms to references that know the change of their on-site blocks.

    Parameters
    ----------
    references : sequence of H0Reference
        The blocks to be learnt.
    table : IrrepTable
        The irreps.
    cutoff : float
        Å.
    settings : BaselineSettings
        Number of functions and penalties.

    Returns
    -------
    terms : H0EdgeTerms
        The fitted terms.
    references : list of H0Reference
        The references whose edges are the residuals of the terms.
    """
    fit = H0EdgeTermsFit(table, cutoff, settings)
    for reference in references:
        for pair, edges, vectors, change in reference.vectors():
            fit.add(pair, vectors, reference.graph.distance[edges], change)
    terms = fit.solve(np.array([reference.energy_reference for reference in references]))
    return terms, [replace(reference, terms=terms) for reference in references]
