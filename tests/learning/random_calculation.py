"""Small calculations with random Hermitian Hamiltonians, resolved in R or folded to Γ."""

from __future__ import annotations

import numpy as np

from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.operators.symmetry import hermitian_part
from nearsight.orbitals.basis import basis_named
from nearsight.structures.graph import Graph, build_graph, pair_order
from nearsight.structures.structure import Structure

CUTOFF = 4.0
BASIS = basis_named("SZV-MOLOPT-SR-GTH").restricted([8, 72])


def random_structure(n: int = 24, seed: int = 0, length: float = 9.0) -> Structure:
    """Atoms near the points of a grid that is longest along the first axis; a skewed periodic cell."""
    rng = np.random.default_rng(seed)
    cell = np.array([[length, 0.0, 0.0], [1.5, 5.2, 0.0], [-0.6, 0.9, 5.4]])
    grid = np.array([[i, j, k] for i in range(6) for j in range(2) for k in range(2)])[:n] / np.array([6, 2, 2])
    return Structure(rng.choice([8, 72], n), (grid + rng.uniform(-0.02, 0.02, (n, 3))) @ cell, cell, True)


def random_hamiltonian(structure: Structure, graph: Graph, seed: int = 1) -> BlockOperator:
    """A random Hermitian operator (eV) on the graph's pairs and on site, resolved in R."""
    n = len(structure)
    atoms, none = np.arange(n), np.zeros((n, 3), dtype=np.int64)
    source, target = np.concatenate([atoms, graph.source]), np.concatenate([atoms, graph.target])
    shift = np.concatenate([none, graph.shift])
    order = pair_order(source, target, shift)
    operator = zeros(structure.numbers, BASIS, source[order], target[order], shift[order], False)
    operator.values[:] = np.random.default_rng(seed).normal(size=operator.n_values)
    return hermitian_part(operator)


def random_calculation(folded: bool = True, seed: int = 0, length: float = 9.0) -> Calculation:
    """A structure with a random H."""
    structure = random_structure(seed=seed, length=length)
    operator = random_hamiltonian(structure, build_graph(structure, CUTOFF), seed)
    return Calculation(structure, BASIS, fold(operator) if folded else operator)
