"""Partitioners compared on a cubic and a slab-shaped structure of 3,000 atoms: virtual work, cut edges, imbalance.

    .venv/bin/python benchmarks/partitioners.py

Prints a table in Markdown, in a minute on one core. Both structures are a-HfO2 (`data/aHfO2_372_C.h5`), repeated
2 × 2 × 2 times and 4 × 2 × 1 times; cutoff 8 Å, halo of one hop.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import nearsight as ns
from nearsight.partition.partition import partition_graph
from nearsight.partition.partitioner import PARTITIONERS
from nearsight.partition.quality import quality_of
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

DATA = Path(__file__).parents[1] / "data" / "aHfO2_372_C.h5"
CUTOFF = 8.0
SHAPES = {"cubic": (2, 2, 2), "slab-shaped": (4, 2, 1)}
COUNTS = (8, 27, 64)


def repeated(cell: Structure, times: tuple[int, int, int]) -> Structure:
    """Return a structure repeated along its lattice vectors."""
    shifts = np.indices(times).reshape(3, -1).T @ cell.cell
    positions = (shifts[:, None] + cell.positions).reshape(-1, 3)
    return Structure(np.tile(cell.numbers, len(shifts)), positions, np.array(times)[:, None] * cell.cell, cell.pbc)


def main() -> None:
    """Print the table."""
    cell = ns.read(DATA).structure
    print("| structure | parts | partitioner | virtual / labelled nodes | edges | cut edges | largest / mean | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, repeats in SHAPES.items():
        structure = repeated(cell, repeats)
        graph = build_graph(structure, CUTOFF)
        for count in COUNTS:
            for kind, partitioner in PARTITIONERS.items():
                began = time.perf_counter()
                labels = partitioner(count=count).assign(structure, graph)  # type: ignore[call-arg]
                seconds = time.perf_counter() - began
                q = quality_of(graph, partition_graph(graph, labels))
                print(
                    f"| {name}, {len(structure)} atoms | {q.parts} | {kind} | {q.virtual_nodes:.2f} | "
                    f"{q.virtual_edges:.2f} | {100 * q.lost_edges:.0f} % | {q.imbalance:.3f} | {seconds:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
