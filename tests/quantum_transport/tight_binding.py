"""Structures with one function per atom and given couplings, as calculations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.quantum_transport.lead import Lead
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

S_ORBITAL = BasisSet("s", {1: (0,), 2: (0,)}, {1: 1, 2: 2})


def tight_binding(
    positions: np.ndarray,
    cell: np.ndarray,
    hopping: float,
    overlap: float = 0.0,
    *,
    reach: float = 1.1,
    on_site: np.ndarray | None = None,
    numbers: np.ndarray | None = None,
    change: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
    fermi: float | None = 0.0,
) -> Calculation:
    """H = on-site + hopping between atoms nearer than `reach`; S = 1 + overlap there; periodic in the cell."""
    n = len(positions)
    structure = Structure(
        np.ones(n, dtype=int) if numbers is None else numbers,
        positions,
        np.asarray(cell, dtype=float),
        np.ones(3, bool),
    )
    graph = build_graph(structure, reach)
    zero = np.zeros((n, 3), dtype=int)
    source = np.concatenate([np.arange(n), graph.source])
    target = np.concatenate([np.arange(n), graph.target])
    shift = np.concatenate([zero, graph.shift])
    order = np.lexsort((*shift.T[::-1], target, source))
    own = np.zeros(n) if on_site is None else on_site
    bond = np.full(graph.n_edges, hopping)
    if change is not None:
        bond = bond * change(graph.source, graph.target, graph.shift)
    h = np.concatenate([own, bond])[order]
    s = np.concatenate([np.ones(n), np.full(graph.n_edges, overlap)])[order]
    operators = [
        BlockOperator(structure.numbers, S_ORBITAL, source[order], target[order], shift[order], values, False)
        for values in (h, s)
    ]
    return Calculation(structure, S_ORBITAL, operators[0], operators[1], fermi=fermi)


def chain(n: int, hopping: float = -1.0, overlap: float = 0.0, **options: object) -> Calculation:
    """A row of n atoms along z, 1 Å apart, periodic."""
    positions = np.column_stack([np.zeros(n), np.zeros(n), np.arange(n)])
    return tight_binding(positions, np.diag([20.0, 20.0, n]), hopping, overlap, **options)  # type: ignore[arg-type]


def strip(width: int, length: int, **options: object) -> Calculation:
    """A piece of the square lattice, `width` atoms across (not periodic) and `length` along z."""
    positions = np.array([[x, 0, z] for z in range(length) for x in range(width)], dtype=float)
    return tight_binding(positions, np.diag([width + 20.0, 20.0, length]), -1.0, **options)  # type: ignore[arg-type]


def chain_lead(hopping: float = -1.0, overlap: float = 0.0) -> Lead:
    """The lead of a chain."""
    return Lead(*(np.array([[x]]) for x in (0.0, hopping, 1.0, overlap)))


def random_lead(n: int, seed: int) -> Lead:
    """A lead with random Hermitian blocks, singular couplings and S ≠ 1."""
    rng = np.random.default_rng(seed)
    h0 = rng.normal(size=(n, n))
    h1 = rng.normal(size=(n, n))
    h1[:, : n // 2] = 0
    s1 = 0.05 * rng.normal(size=(n, n)) / n
    s1[:, : n // 2] = 0
    return Lead(h0 + h0.T, h1, np.eye(n), s1)
