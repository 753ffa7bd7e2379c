"""Pair distribution functions and coordination numbers, which make amorphous structures comparable with experiment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class PairDistribution:
    """The pair distribution function g(r) of two elements.

    Attributes
    ----------
    r : (n,) array of float64
        Centres of the bins, Å.
    g : (n,) array of float64
        Density of the second element at distance r from the first, relative to its mean; 1 at large r.
    """

    r: np.ndarray
    g: np.ndarray

    @property
    def peak(self) -> float:
        """Distance of the first maximum, Å: the highest of the first bins above half of the highest value."""
        if not self.g.any():
            return float("nan")
        first = int(np.argmax(self.g >= 0.5 * self.g.max()))
        end = first + int(np.argmax(np.append(self.g[first:], -1.0) < 0.5 * self.g.max()))
        return float(self.r[first + int(np.argmax(self.g[first:end]))])


def pair_distribution(
    structure: Structure, pair: tuple[int, int], reach: float = 6.0, width: float = 0.05, graph: Graph | None = None
) -> PairDistribution:
    """Compute g(r) of the atoms of one element about those of another (Xia et al. 2025, Fig. 7).

    Parameters
    ----------
    structure : Structure
        Periodic in three directions.
    pair : (int, int)
        Atomic numbers of the central and of the surrounding atoms; they may be equal.
    reach : float, default 6.0
        The largest r, Å.
    width : float, default 0.05
        Width of a bin, Å.
    graph : Graph, optional
        Neighbours within at least `reach`, where they are at hand.

    Returns
    -------
    PairDistribution
        The function on the centres of the bins.

    Raises
    ------
    InputError
        If the structure is not periodic in three directions, or lacks one of the elements.
    """
    if not structure.pbc.all():
        raise InputError(f"expected three periodic directions for g(r), got pbc {structure.pbc.tolist()}")
    graph = graph or build_graph(structure, reach)
    numbers = structure.numbers
    n_first, n_second = (int((numbers == z).sum()) for z in pair)
    if not n_first or not n_second:
        raise InputError(f"expected atoms {pair[0]} and {pair[1]} in {structure.formula}, got none of one")
    chosen = (numbers[graph.source] == pair[0]) & (numbers[graph.target] == pair[1])
    count, edges = np.histogram(graph.distance[chosen], np.arange(0.0, reach + width / 2, width))
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    others = n_second - (1 if pair[0] == pair[1] else 0)
    density = max(others, 1) / structure.volume
    return PairDistribution(0.5 * (edges[1:] + edges[:-1]), count / (n_first * density * shells))


def coordination(structure: Structure, pair: tuple[int, int], cutoff: float) -> np.ndarray:
    """Count the neighbours of every atom of an element.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.
    pair : (int, int)
        Atomic numbers of the central atoms and of the neighbours that count.
    cutoff : float
        Å, to the farthest neighbour.

    Returns
    -------
    (n,) array of int
        Neighbours of each central atom, periodic images counted one by one.
    """
    graph = build_graph(structure, cutoff)
    centres = np.flatnonzero(structure.numbers == pair[0])
    chosen = structure.numbers[graph.target] == pair[1]
    return np.bincount(graph.source[chosen], minlength=len(structure))[centres]


def nearest_distance(structure: Structure, reach: float = 4.0) -> float:
    """Find the shortest distance between any two atoms, images included.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.
    reach : float, default 4.0
        Å, up to where it is looked for.

    Returns
    -------
    float
        Å; infinite where all atoms are farther apart than `reach`.
    """
    distance = build_graph(structure, reach).distance
    return float(distance.min()) if len(distance) else float("inf")
