"""Cost of one training pass of the network nearsight beside the engine of the paper's network, in one run.

    .venv/bin/python benchmarks/bond_engine.py --atoms 375 --threads 1
    .venv/bin/python benchmarks/bond_engine.py --atoms 3000 --threads 2 --json

The structures, cutoff, repeats and the engine of the paper's network are those of `engine.py`; the other network is
that of the preset `nearsight` (its reference implementation with `--reference`), float32, with random targets. Each
bond is computed once, so the cost per directed edge is half of that per bond. What is computed once per structure
(densities, frames, targets) is not part of a pass, in both networks.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median

import numpy as np
import torch
from engine import CUTOFF, LAYOUT, gemm_gflops, make_case, one_pass, random_structure

from nearsight.learning.config import load_config
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.graph import (
    BondGraph,
    BondTargets,
    atom_inputs,
    canonical_edges,
    make_bonds,
    scalar_columns,
)
from nearsight.nn.architectures.nearsight.network import NearsightNetwork
from nearsight.structures.graph import build_graph

Case = tuple[NearsightNetwork, BondGraph, dict[tuple[int, int], BondTargets], int]


def bond_case(atoms: int, reference: bool) -> Case:
    """Network, graph, targets, and the number of directed edges."""
    config = load_config("nearsight").model
    if not isinstance(config, NearsightConfig):
        raise SystemExit("expected the preset nearsight to hold the network nearsight")
    structure = random_structure(atoms)
    graph = build_graph(structure, CUTOFF)
    edges = canonical_edges(structure, graph)
    torch.manual_seed(0)
    network = NearsightNetwork(config, LAYOUT, list(edges), len(scalar_columns(LAYOUT)), reference)
    bonds = {pair: make_bonds(graph, own, config.l_max, torch.float32) for pair, own in edges.items()}
    on_site = np.random.default_rng(0).standard_normal((atoms, LAYOUT.size))
    tensors = atom_inputs(config, LAYOUT, structure, graph, [on_site]).graph(bonds, torch.float32)
    targets = {}
    for pair, own in bonds.items():
        shape = len(own), network.layouts[pair].width
        targets[pair] = BondTargets(torch.randn(shape), torch.ones(shape), 0.3)
    return network, tensors, targets, graph.n_edges


def bond_pass(case: Case, backward: bool) -> float:
    """Seconds of a forward (and backward) pass."""
    network, graph, targets, _ = case
    started = time.perf_counter()
    if backward:
        network.error(graph, targets).backward()
    else:
        with torch.no_grad():
            network(graph)
    return time.perf_counter() - started


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=375)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--reference", action="store_true", help="compute everything with torch alone")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    case = bond_case(a.atoms, a.reference)
    network, tensors, _ = make_case(a.atoms, False)
    bond_pass(case, True), one_pass(network, tensors, True)
    times: dict[str, list[float]] = {"nearsight": [], "xia2025": [], "nearsight_forward": []}
    for _ in range(a.repeats):
        times["nearsight"].append(bond_pass(case, True))
        times["xia2025"].append(one_pass(network, tensors, True))
        times["nearsight_forward"].append(bond_pass(case, False))
    edges = case[3]
    result = {
        "atoms": a.atoms,
        "threads": a.threads,
        "directed_edges": edges,
        "gemm_gflops": gemm_gflops(a.threads),
        **{f"{k}_us_per_edge": 1e6 * median(v) / edges for k, v in times.items()},
    }
    if a.json:
        print(json.dumps(result, indent=2))
    else:
        print("\n".join(f"{k:32s} {v:.4g}" for k, v in result.items()))


if __name__ == "__main__":
    main()
