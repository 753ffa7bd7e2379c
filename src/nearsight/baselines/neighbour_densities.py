"""Neighbour densities: how the neighbours of each atom are distributed, as irreps.

    A_i[z, b, lm] = Σ_j δ(Z_j = z) R_b(r_ij) Y_lm(r̂_ij)

A second hop carries the scalars of the neighbours on: A²_i[z, b, f, lm] = Σ_j δ(Z_j = z) R_b(r_ij) Y_lm(r̂_ij) A_j[f].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.orbitals.rotations import spherical_harmonics
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

CHUNK = 2048
"""Edges whose functions are held at once."""


def neighbour_densities(
    structure: Structure, graph: Graph, radial: RadialFunctions, elements: Sequence[int], l_max: int
) -> tuple[np.ndarray, ...]:
    """A of every atom: for each l ≤ l_max an array (N, len(elements) · radial.count, 2l+1), dimensionless."""
    width = radial.count * (l_max + 1) ** 2
    total = np.zeros((len(structure) * len(elements), width))
    distance = graph.distance
    near = np.flatnonzero(distance < radial.cutoff)
    row = graph.source * len(elements) + np.searchsorted(elements, structure.numbers[graph.target])
    for start in range(0, len(near), CHUNK):
        part = near[start:start + CHUNK]
        harmonics = np.concatenate(spherical_harmonics(graph.vector[part], l_max), axis=1)
        products = radial(distance[part])[:, :, None] * harmonics[:, None, :]
        rows, which = np.unique(row[part], return_inverse=True)
        gather = csr_array((np.ones(len(which)), (which, np.arange(len(which)))))
        total[rows] += gather @ products.reshape(len(which), width)
    shaped = total.reshape(len(structure), len(elements) * radial.count, (l_max + 1) ** 2)
    return tuple(shaped[:, :, l * l:(l + 1) ** 2] for l in range(l_max + 1))


def second_hop(
    structure: Structure, graph: Graph, radial: RadialFunctions, elements: Sequence[int], scalars: np.ndarray,
    l_max: int = 0,
) -> tuple[np.ndarray, ...]:
    """A² of every atom: for each l ≤ l_max sums (N, len(elements) · radial.count · F, 2l+1) over scalars (N, F)."""
    n, values = len(structure), radial(graph.distance)
    parts: list[list[np.ndarray]] = [[] for _ in range(l_max + 1)]
    for z in elements:
        edges = np.flatnonzero(structure.numbers[graph.target] == z)
        begins = np.searchsorted(graph.source[edges], np.arange(n + 1))
        harmonics = spherical_harmonics(graph.vector[edges], l_max)
        for b in range(radial.count):
            for l, part in enumerate(parts):
                sums = [csr_array((values[edges, b] * factor, graph.target[edges], begins), shape=(n, n)) @ scalars
                        for factor in harmonics[l].T]
                part.append(np.stack(sums, axis=2))
    return tuple(np.concatenate(part, axis=1) for part in parts)
