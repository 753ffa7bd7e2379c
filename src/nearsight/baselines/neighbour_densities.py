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

ATOMS = 1024
"""Atoms whose second hop is summed at once."""


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
    shape = (n, len(elements), radial.count, scalars.shape[1])
    result = [np.empty((*shape, 2 * l + 1)) for l in range(l_max + 1)]
    for kind, z in enumerate(elements):
        edges = np.flatnonzero(structure.numbers[graph.target] == z)
        begins = np.searchsorted(graph.source[edges], np.arange(n + 1))
        for first in range(0, n, ATOMS):
            last = min(first + ATOMS, n)
            part = edges[begins[first]:begins[last]]
            target, rows = graph.target[part], begins[first:last + 1] - begins[first]
            for l, harmonics in enumerate(spherical_harmonics(graph.vector[part], l_max)):
                for b, m in np.ndindex(radial.count, 2 * l + 1):
                    weights = csr_array((values[part, b] * harmonics[:, m], target, rows), shape=(last - first, n))
                    result[l][first:last, kind, b, :, m] = weights @ scalars
    return tuple(part.reshape(n, -1, 2 * l + 1) for l, part in enumerate(result))
