"""Neighbour densities: how the neighbours of each atom are distributed, as irreps.

    A_i[z, b, lm] = Σ_j δ(Z_j = z) R_b(r_ij) Y_lm(r̂_ij)

A second hop carries the scalars of the neighbours on: A²_i[z, b, f, lm] = Σ_j δ(Z_j = z) R_b(r_ij) Y_lm(r̂_ij) A_j[f].

Products of two densities of an atom describe its neighbours in pairs, the angles between bonds included.

    P_i[a b l₁ l₂, LM] = Σ_m₁m₂ C^LM_l₁m₁,l₂m₂ A_i[a, l₁m₁] A_i[b, l₂m₂]

for 1 ≤ l₁ ≤ l₂ with l₁ + l₂ + L even, the parity that an on-site block has. Each pair of densities counts once. These
are the functions of order ν = 1 and 2 of the atomic cluster expansion (Drautz, Phys. Rev. B 99, 014104, 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.orbitals.coupling import coupling
from nearsight.orbitals.rotations import spherical_harmonics
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

CHUNK = 2048
"""Edges whose functions are held at once."""

ATOMS = 1024
"""Atoms whose second hop is summed at once."""


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
    width = radial.count * (l_max + 1) ** 2
    total = np.zeros((len(atoms) * len(elements), width))
    edges, starts = graph.leaving(atoms)
    place = np.repeat(np.arange(len(atoms)), np.diff(starts))
    near = np.linalg.norm(graph.vector[edges], axis=1) < radial.cutoff
    edges, place = edges[near], place[near]
    row = place * len(elements) + np.searchsorted(elements, structure.numbers[graph.target[edges]])
    for start in range(0, len(edges), CHUNK):
        vectors = graph.vector[edges[start : start + CHUNK]]
        harmonics = np.concatenate(spherical_harmonics(vectors, l_max), axis=1)
        products = radial(np.linalg.norm(vectors, axis=1))[:, :, None] * harmonics[:, None, :]
        rows, which = np.unique(row[start : start + CHUNK], return_inverse=True)
        gather = csr_array((np.ones(len(which)), (which, np.arange(len(which)))))
        total[rows] += gather @ products.reshape(len(which), width)
    shaped = total.reshape(len(atoms), len(elements) * radial.count, (l_max + 1) ** 2)
    return tuple(shaped[:, :, l * l : (l + 1) ** 2] for l in range(l_max + 1))


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
    shape = (len(atoms), len(elements), radial.count, scalars.shape[1])
    result = [np.empty((*shape, 2 * l + 1)) for l in range(l_max + 1)]
    for first in range(0, len(atoms), ATOMS):
        last = min(first + ATOMS, len(atoms))
        edges, starts = graph.leaving(atoms[first:last])
        place = np.repeat(np.arange(last - first), np.diff(starts))
        values = radial(np.linalg.norm(graph.vector[edges], axis=1))
        harmonics = spherical_harmonics(graph.vector[edges], l_max)
        kinds = structure.numbers[graph.target[edges]]
        for kind, z in enumerate(elements):
            own = np.flatnonzero(kinds == z)
            target, rows = graph.target[edges[own]], np.searchsorted(place[own], np.arange(last - first + 1))
            for l, b in np.ndindex(l_max + 1, radial.count):
                for m in range(2 * l + 1):
                    weights = csr_array(
                        (values[own, b] * harmonics[l][own, m], target, rows), shape=(last - first, len(structure))
                    )
                    result[l][first:last, kind, b, :, m] = weights @ scalars
    return tuple(part.reshape(len(atoms), -1, 2 * l + 1) for l, part in enumerate(result))


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
