"""Neighbour densities: how the neighbours of each atom are distributed, as irreps.

    A_i[z, b, lm] = Σ_j δ(Z_j = z) R_b(r_ij) Y_lm(r̂_ij)

A second hop carries the scalars of the neighbours on: A²_i[z, b, f, lm] = Σ_j δ(Z_j = z) R_b(r_ij) Y_lm(r̂_ij) A_j[f].

Products of two densities of an atom describe its neighbours in pairs, the angles between bonds included.

    P_i[a b l₁ l₂, LM] = Σ_m₁m₂ C^LM_l₁m₁,l₂m₂ A_i[a, l₁m₁] A_i[b, l₂m₂]

for 1 ≤ l₁ ≤ l₂ with l₁ + l₂ + L even, the parity that an on-site block has. Each pair of densities counts once. These
are the functions of order ν = 1 and 2 of the atomic cluster expansion (Drautz, Phys. Rev. B 99, 014104, 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nearsight.baselines.density_loops import add_densities, add_second_hop
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.orbitals.coupling import coupling
from nearsight.orbitals.harmonic_loops import harmonic_terms
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


def neighbour_densities(
    structure: Structure,
    graph: Graph,
    radial: RadialFunctions,
    elements: Sequence[int],
    l_max: int,
    atoms: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Compute the neighbour densities A of every atom, or of some.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.
    graph : Graph
        Pairs within the radial functions' cutoff, or more.
    radial : RadialFunctions
        R_b.
    elements : sequence of int
        Atomic numbers of the neighbours, ascending.
    l_max : int
        Highest degree.
    atoms : (n,) array of int, optional
        The atoms wanted; all N by default.

    Returns
    -------
    tuple of (n, len(elements) · radial.count, 2l+1) array of float64
        One array for each degree l, dimensionless.
    """
    atoms = np.arange(len(structure)) if atoms is None else atoms
    vectors, starts, kinds, _ = _edges(structure, graph, elements, atoms)
    total = np.zeros((len(atoms), len(elements), radial.count, (l_max + 1) ** 2))
    add_densities(vectors, starts, kinds, radial.cutoff, l_max, harmonic_terms(l_max), total)
    return _by_degree(total, l_max)


def second_hop(
    structure: Structure,
    graph: Graph,
    radial: RadialFunctions,
    elements: Sequence[int],
    scalars: np.ndarray,
    l_max: int = 0,
    atoms: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Compute the sums A² of the neighbours' scalars for every atom, or for some.

    Parameters
    ----------
    structure, graph, radial, elements, atoms
        As in `neighbour_densities`.
    scalars : (N, F) array of float
        Scalars of every atom; those that are no neighbours of `atoms` do not matter.
    l_max : int, default 0
        Highest degree.

    Returns
    -------
    tuple of (n, len(elements) · radial.count · F, 2l+1) array of float64
        One array for each degree l.
    """
    atoms = np.arange(len(structure)) if atoms is None else atoms
    scalars = np.ascontiguousarray(scalars, dtype=np.float64)
    total = np.zeros((len(atoms), len(elements), radial.count, scalars.shape[1], (l_max + 1) ** 2))
    vectors, starts, kinds, target = _edges(structure, graph, elements, atoms)
    terms = harmonic_terms(l_max)
    add_second_hop(vectors, starts, kinds, target, scalars, radial.cutoff, l_max, terms, total)
    return _by_degree(total, l_max)


def _edges(
    structure: Structure, graph: Graph, elements: Sequence[int], atoms: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of the edges of some atoms, where those of each begin, positions of the elements, and the neighbours."""
    edges, starts = graph.leaving(atoms)
    target = graph.target[edges]
    return graph.vector[edges], starts, np.searchsorted(elements, structure.numbers[target]), target


def _by_degree(total: np.ndarray, l_max: int) -> tuple[np.ndarray, ...]:
    shaped = total.reshape(len(total), math.prod(total.shape[1:-1]), (l_max + 1) ** 2)
    return tuple(shaped[:, :, l * l : (l + 1) ** 2] for l in range(l_max + 1))


SCALE = 10.0
"""Products vary by a tenth of what densities do, and the regression takes features to be alike."""


def degree_pairs(degree: int, l_max: int) -> list[tuple[int, int]]:
    """List the degrees (l₁, l₂) whose products have a given degree.

    Parameters
    ----------
    degree : int
        L.
    l_max : int
        Highest degree of the densities.

    Returns
    -------
    list of (int, int)
        Pairs with 1 ≤ l₁ ≤ l₂ and l₁ + l₂ + L even.
    """
    return [
        (a, b)
        for a in range(1, l_max + 1)
        for b in range(a, l_max + 1)
        if b - a <= degree <= a + b and (a + b + degree) % 2 == 0
    ]


def count_products(n_densities: int, degree: int, l_max: int) -> int:
    """Count the products of one degree for each atom.

    Parameters
    ----------
    n_densities : int
        Densities of each degree.
    degree : int
        L.
    l_max : int
        Highest degree of the densities.

    Returns
    -------
    int
        Number of products.
    """
    return sum(
        n_densities * (n_densities + 1) // 2 if a == b else n_densities**2 for a, b in degree_pairs(degree, l_max)
    )


def density_products(densities: Sequence[np.ndarray], degree: int) -> np.ndarray:
    """Compute the products of two densities of every atom.

    Parameters
    ----------
    densities : sequence of (N, n, 2l+1) array
        One array for each l = 0 … l_max.
    degree : int
        L.

    Returns
    -------
    (N, count_products, 2L+1) array of float64
        Products times `SCALE`.
    """
    n_atoms, n = densities[0].shape[:2]
    parts = [np.zeros((n_atoms, 0, 2 * degree + 1))]
    for a, b in degree_pairs(degree, len(densities) - 1):
        halfway = SCALE * np.tensordot(densities[a], coupling(a, b, degree), axes=(2, 0)).transpose(0, 1, 3, 2)
        product = halfway.reshape(n_atoms, -1, 2 * b + 1) @ densities[b].transpose(0, 2, 1)
        product = product.reshape(n_atoms, n, 2 * degree + 1, n).transpose(0, 1, 3, 2)
        first, second = np.triu_indices(n) if a == b else np.indices((n, n)).reshape(2, -1)
        parts.append(product[:, first, second])
    return np.concatenate(parts, axis=1)
