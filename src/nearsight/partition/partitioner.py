"""What every way of cutting a structure has in common, and the list of those there are.

A partitioner only says which part each atom belongs to; `partition_graph` makes the parts and their halos
from that. A new one is a class with `assign` in a file of its own, and a line here.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nearsight.partition.slabs import Slabs
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


class Partitioner(Protocol):
    """Assigns every atom to exactly one part."""

    def assign(self, structure: Structure, graph: Graph | None = None) -> np.ndarray:
        """(N,) int64, part of every atom, from 0; the graph is for those who cut along few edges."""
        ...


PARTITIONERS: dict[str, type[Partitioner]] = {"slabs": Slabs}
"""Name → class; its fields are the options."""
