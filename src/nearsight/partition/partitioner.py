"""The interface of all ways to divide a structure, and the list of those there are.

A partitioner only says which partition each atom belongs to; `partition_graph` makes the partitions and their halos
from that. A new one is a class with `assign` in a file of its own, and a line here.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nearsight.partition.bisection import Bisection
from nearsight.partition.metis import Metis
from nearsight.partition.slabs import Slabs
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


class Partitioner(Protocol):
    """Assigns every atom to exactly one partition."""

    def assign(self, structure: Structure, graph: Graph | None = None) -> np.ndarray:
        """Number the partitions of all atoms.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        graph : Graph, optional
            For partitioners that cut along few edges.

        Returns
        -------
        (N,) array of int64
            The partition of every atom, counted from 0.
        """
        ...


PARTITIONERS: dict[str, type[Partitioner]] = {"slabs": Slabs, "bisection": Bisection, "metis": Metis}
"""Name → class, whose fields are the options."""
