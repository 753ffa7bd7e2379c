"""Neighbour densities: how the neighbours of each atom are distributed, as irreps.

    A_i[z, b, lm] = Σ_j δ(Z_j = z) R_b(r_ij) Y_lm(r̂_ij)

A second hop carries the scalars of the neighbours on: A²_i[z, b, f] = Σ_j δ(Z_j = z) R_b(r_ij) A_j[f].
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
    row = graph.source * len(elements) + np.searchsorted(elements, structure.numbers[graph.target])
    for start in range(0, graph.n_edges, CHUNK):
        part = slice(start, start + CHUNK)
        harmonics = np.concatenate(spherical_harmonics(graph.vector[part], l_max), axis=1)
        products = radial(distance[part])[:, :, None] * harmonics[:, None, :]
        rows, which = np.unique(row[part], return_inverse=True)
        gather = csr_array((np.ones(len(which)), (which, np.arange(len(which)))))
        total[rows] += gather @ products.reshape(len(which), width)
    shaped = total.reshape(len(structure), len(elements) * radial.count, (l_max + 1) ** 2)
    return tuple(shaped[:, :, l * l:(l + 1) ** 2] for l in range(l_max + 1))


def second_hop(
    structure: Structure, graph: Graph, radial: RadialFunctions, elements: Sequence[int], scalars: np.ndarray
) -> np.ndarray:
    """(N, len(elements) · radial.count · F) sums over the neighbours' scalars (N, F)."""
    n = len(structure)
    values = radial(graph.distance)
    parts = []
    for z in elements:
        edges = np.flatnonzero(structure.numbers[graph.target] == z)
        for b in range(radial.count):
            weights = csr_array((values[edges, b], (graph.source[edges], graph.target[edges])), shape=(n, n))
            parts.append(weights @ scalars)
    return np.concatenate(parts, axis=1)
