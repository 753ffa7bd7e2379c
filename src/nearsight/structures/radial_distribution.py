"""Pair distribution and coordination: what makes an amorphous structure comparable with experiment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class PairDistribution:
    """g(r) between two elements.

    Attributes:
        r: (n,) Å, middles of the bins.
        g: (n,) 1 at large r in a homogeneous structure.
    """

    r: np.ndarray
    g: np.ndarray

    @property
    def peak(self) -> float:
        """Å, the first maximum: of the first bins above half of the highest value, the highest."""
        if not self.g.any():
            return float("nan")
        first = int(np.argmax(self.g >= 0.5 * self.g.max()))
        end = first + int(np.argmax(np.append(self.g[first:], -1.0) < 0.5 * self.g.max()))
        return float(self.r[first + int(np.argmax(self.g[first:end]))])


def pair_distribution(
    structure: Structure, pair: tuple[int, int], reach: float = 6.0, width: float = 0.05, graph: Graph | None = None
) -> PairDistribution:
    """g(r) of atoms `pair[1]` about atoms `pair[0]` (paper, Fig. 7).

    Args:
        structure: periodic in three directions.
        pair: two atomic numbers, maybe equal.
        reach: Å, the largest r.
        width: Å, of a bin.
        graph: neighbours within at least `reach`, where they are at hand.

    Raises:
        InputError: a structure that does not fill its space, or has no such atoms.
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
    """(n,) atoms `pair[1]` within `cutoff` (Å) of each atom `pair[0]`, images counted."""
    graph = build_graph(structure, cutoff)
    centres = np.flatnonzero(structure.numbers == pair[0])
    chosen = structure.numbers[graph.target] == pair[1]
    return np.bincount(graph.source[chosen], minlength=len(structure))[centres]


def nearest_distance(structure: Structure, reach: float = 4.0) -> float:
    """Å, between any two atoms, images included; infinite where all are farther than `reach`."""
    distance = build_graph(structure, reach).distance
    return float(distance.min()) if len(distance) else float("inf")
