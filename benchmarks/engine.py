"""Cost of one training pass of the paper's network: reference implementation and compiled engine, in one run.

    .venv/bin/python benchmarks/engine.py --atoms 375 --threads 1
    .venv/bin/python benchmarks/engine.py --atoms 3000 --threads 2 --skip-reference --json
    .venv/bin/python benchmarks/engine.py --atoms 3000 --cutoff 12 --threads 2 --skip-reference
    .venv/bin/python benchmarks/engine.py --scaling
    .venv/bin/python benchmarks/engine.py --count

Frozen protocol: random periodic HfO₂-like structures (12.17 Å³ per atom, minimum distance 1.75 Å, one Hf to two O,
seed 0), cutoff 8 Å, the network of Table 7 (1 layer, 16 channels, l ≤ 4), float32, loss: sum of squares against zero
targets over all nodes and edges. One warm-up, then the median of `--repeats`. Peak memory is that of a fresh process
minus what it held before the first pass (structure, neighbour list and geometry loaded), compiled code included. GEMM
peak: the best of a few float32 matrix products with the same number of threads. The fraction of it counts the engine's
multiplications (`engine_macs_per_edge`, shown by `--count`), three times for forward + backward, and none done twice.

`--scaling`: cost against the number of edges, and of one structure's step against the number of slabs it is cut into
(with their halos; cost per labelled edge).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from statistics import median

from nearsight.cli.process import tune_process

tune_process()

import numpy as np
import psutil
import torch

from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors
from nearsight.nn.architectures.xia2025.kernels.degree_ways import CONTRACTED, NARROW, WIDE, ways_of_degrees
from nearsight.nn.architectures.xia2025.network import Xia2025
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.orbitals.basis import basis_named
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.partition.partition import partition_graph
from nearsight.partition.slabs import Slabs
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure

LAYOUT = CoupledLayout(basis_named("SZV-MOLOPT-SR-GTH").restricted([8, 72]))
CUTOFF = 8.0


def random_structure(atoms: int, seed: int = 0) -> Structure:
    """Atoms on the points of a jittered grid: 12.17 Å³ each, at least 1.75 Å apart."""
    rng = np.random.default_rng(seed)
    per_side = int(np.ceil(atoms ** (1 / 3)))
    length = (12.17 * atoms) ** (1 / 3)
    points = np.array(np.meshgrid(*[np.arange(per_side)] * 3)).reshape(3, -1).T[rng.permutation(per_side**3)[:atoms]]
    spacing = length / per_side
    jitter = max(spacing - 1.75, 0) / 2 / np.sqrt(3)
    positions = (points + 0.5) * spacing + rng.uniform(-jitter, jitter, (atoms, 3))
    numbers = np.where(np.arange(atoms) % 3 == 0, 72, 8)
    return Structure(rng.permutation(numbers), positions, np.eye(3) * length, True)


def make_case(atoms: int, reference: bool, cutoff: float = CUTOFF) -> tuple[Xia2025, GraphTensors, Graph]:
    """Network and tensors of one structure."""
    torch.manual_seed(0)
    network = Xia2025(Widths(), 1, LAYOUT.degrees, reference=reference)
    structure = random_structure(atoms)
    graph = build_graph(structure, cutoff)
    return network, graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 4), graph


def macs_per_edge(w: Widths) -> int:
    """Multiplications of one edge in a forward pass as the tensor operations do them: message, update, outputs."""
    components, degrees, c, f = (w.l_max + 1) ** 2, w.l_max + 1, w.channels, w.feed_forward
    rotation = sum((2 * l + 1) ** 2 for l in range(degrees))
    invariants = w.heads * w.alpha + w.l_max * w.hidden
    radial = w.n_gaussians * c + c * c
    message = (
        radial + c * 3 * c + 3 * c * (invariants + degrees * w.hidden) + (w.heads * components * degrees * w.hidden)
    )
    orders = sum(4 * (degrees - m) ** 2 * 2 * c * w.hidden for m in range(1, degrees))
    zero = (degrees * 2 * c + c) * (degrees * w.hidden + w.l_max * w.hidden)
    update = radial + c * (degrees * 2 * c + c) + rotation * 2 * c + orders + zero + components * w.hidden * c
    inner = 2 * components * c * f + c * w.l_max * f
    outputs = sum(c * (2 * l + 1) for l in LAYOUT.degrees) + sum((2 * l + 1) ** 2 for l in LAYOUT.degrees)
    return message + update + inner + outputs


def engine_macs_per_edge(w: Widths) -> dict[str, int]:
    """Multiplications of one edge in a forward pass of the compiled engine, by stage."""
    components, degrees, c, f = (w.l_max + 1) ** 2, w.l_max + 1, w.channels, w.feed_forward
    rotation = sum((2 * l + 1) ** 2 for l in range(degrees))
    invariants = w.heads * w.alpha + w.l_max * w.hidden
    radial = w.n_gaussians * c + c * c
    counts = [LAYOUT.degrees.count(l) for l in range(degrees)]
    outputs = 0
    order = ways_of_degrees(counts, c, f)
    for l, (way, n, width) in enumerate(zip(order.ways, order.counts, order.widths)):
        size, up = 2 * l + 1, c * f if l else 0
        each = {WIDE: up + c * f + c * n, NARROW: up + (c + f) * width, CONTRACTED: 2 * n * c}[way]
        outputs += int(size * each + (n * c * f if way == CONTRACTED else 0))
    return {
        "messages: radial functions": radial + c * 3 * c,
        "messages: first convolution": 3 * c * (invariants + degrees * w.hidden),
        "messages: sums over edges": w.heads * components * degrees * w.hidden,
        "radial functions": radial + c * (degrees * 2 * c + c),
        "turning both nodes": rotation * 2 * c,
        "convolution, m = 0": (degrees * 2 * c + c) * (degrees * w.hidden + w.l_max * w.hidden),
        "convolution, m > 0": sum(3 * (degrees - m) ** 2 * 2 * c * w.hidden for m in range(1, degrees)),
        "projection": components * w.hidden * c,
        "gates of the feed-forward network": c * degrees * f,
        "feed-forward network and head": outputs,
        "turning the outputs": sum((2 * l + 1) ** 2 for l in LAYOUT.degrees),
    }


def one_pass(network: Xia2025, tensors: GraphTensors, backward: bool) -> float:
    """Seconds of a forward (and backward) pass."""
    started = time.perf_counter()
    if backward:
        targets = tensors.distance.new_zeros(1, LAYOUT.size).expand(tensors.n_labelled_edges, LAYOUT.size)
        nodes, error = network(tensors, EdgeTargets(targets))
        (nodes.square().sum() + error).backward()
    else:
        with torch.no_grad():
            network(tensors)
    return time.perf_counter() - started


def measure(atoms: int, threads: int, reference: bool, repeats: int, cutoff: float) -> dict[str, float]:
    """Times and memory of one implementation in this process."""
    torch.set_num_threads(threads)
    network, tensors, graph = make_case(atoms, reference, cutoff)
    with _Peak() as peak:
        one_pass(network, tensors, True)
    network.zero_grad(set_to_none=True)
    both = [one_pass(network, tensors, True) for _ in range(repeats)]
    forward = [one_pass(network, tensors, False) for _ in range(repeats)]
    scale = 1e6 / graph.n_edges
    return {
        "edges": graph.n_edges,
        "us_per_edge_fwd": median(forward) * scale,
        "us_per_edge_fwd_bwd": median(both) * scale,
        "seconds_fwd_bwd": median(both),
        "peak_mb": peak.megabytes,
    }


class _Peak:
    """Largest resident memory above that at the start, MB, sampled every 10 ms."""

    def __enter__(self) -> _Peak:
        self.process, self.highest, self.running = psutil.Process(), 0, True
        self.start = self.process.memory_info().rss
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while self.running:
            self.highest = max(self.highest, self.process.memory_info().rss)
            time.sleep(0.01)

    def __exit__(self, *exception: object) -> None:
        self.running = False
        self.thread.join()
        self.megabytes = (self.highest - self.start) / 2**20


def in_new_process(atoms: int, threads: int, reference: bool, repeats: int, cutoff: float) -> dict[str, float]:
    """`measure` in a process of its own, so that memory is that of one network."""
    command = [
        sys.executable,
        __file__,
        "--atoms",
        str(atoms),
        "--threads",
        str(threads),
        "--repeats",
        str(repeats),
        "--cutoff",
        str(cutoff),
        "--one",
        "reference" if reference else "engine",
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(result.stderr)
    return json.loads(result.stdout)


def gemm_gflops(threads: int) -> float:
    """Best float32 matrix product of a few sizes, 10⁹ operations per second."""
    torch.set_num_threads(threads)
    best = 0.0
    for n in (256, 512, 1024):
        a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
        torch.mm(a, b, out=out)
        for _ in range(20):
            started = time.perf_counter()
            torch.mm(a, b, out=out)
            best = max(best, 2 * n**3 / (time.perf_counter() - started) / 1e9)
    return best


def difference(dtype: torch.dtype, atoms: int = 96) -> float:
    """Largest difference of outputs and gradients of both implementations, relative to the largest of each."""
    results = []
    for reference in (True, False):
        network, tensors, graph = make_case(atoms, reference)
        structure = random_structure(atoms)
        network = network.to(dtype)
        few = slice(0, 4000)
        tensors = graph_tensors(structure.numbers, graph.source[few], graph.target[few], graph.vector[few], 4, dtype)
        nodes, edges = network(tensors)
        (nodes.square().sum() + edges.square().sum()).backward()
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in network.parameters()]
        results.append([nodes.detach(), edges.detach(), *gradients])
    return max(float((a - b).abs().max() / max(float(a.abs().max()), 1e-6)) for a, b in zip(*results))


def compare(atoms: int, threads: int, repeats: int, skip_reference: bool, cutoff: float) -> dict[str, object]:
    """Everything for one size."""
    engine = in_new_process(atoms, threads, False, repeats, cutoff)
    slow = None if skip_reference else in_new_process(atoms, threads, True, repeats, cutoff)
    peak = gemm_gflops(threads)
    reached = 3 * 2 * sum(engine_macs_per_edge(Widths()).values()) / (engine["us_per_edge_fwd_bwd"] * 1e3)
    return {
        "atoms": atoms,
        "threads": threads,
        "cutoff": cutoff,
        "engine": engine,
        "reference": slow,
        "gemm_gflops": peak,
        "gemm_fraction": reached / peak,
        "max_abs_diff": difference(torch.float64),
        "max_abs_diff_float32": difference(torch.float32),
    }


def slabs(atoms: int, threads: int, repeats: int) -> list[dict[str, float]]:
    """One step over a whole structure that is cut into slabs, in this process."""
    torch.set_num_threads(threads)
    structure = random_structure(atoms)
    network, _, graph = make_case(atoms, False)
    rows = []
    for count in (1, 2, 4, 8):
        parts = partition_graph(graph, Slabs(count=count, thickness=None).assign(structure))
        batches = [
            graph_tensors(
                structure.numbers[p.nodes],
                p.source,
                p.target,
                graph.vector[p.edges],
                4,
                n_labelled=p.n_labelled,
                n_labelled_edges=p.n_labelled_edges,
                n_rotated=p.n_labelled_edges,
            )
            for p in parts
        ]
        one_pass(network, batches[0], True)
        seconds = median(sum(one_pass(network, batch, True) for batch in batches) for _ in range(repeats))
        rows.append(
            {
                "slabs": count,
                "labelled_edges": graph.n_edges,
                "edges": sum(p.n_edges for p in batches),
                "seconds_fwd_bwd": seconds,
                "us_per_labelled_edge": 1e6 * seconds / graph.n_edges,
            }
        )
    return rows


def table(result: dict[str, object]) -> str:
    """For people."""
    lines = [
        f"{result['atoms']} atoms, {result['threads']} threads; GEMM peak {result['gemm_gflops']:.0f} GFLOPS, "
        f"reached {100 * float(str(result['gemm_fraction'])):.0f} %; "
        f"largest relative difference {result['max_abs_diff']:.1e} in float64, "
        f"{result['max_abs_diff_float32']:.1e} in float32",
        f"{'':10s}{'edges':>10s}{'fwd µs/edge':>14s}{'fwd+bwd µs/edge':>18s}{'pass s':>9s}{'peak MB':>10s}",
    ]
    for name in ("reference", "engine"):
        row = result[name]
        if isinstance(row, dict):
            lines.append(
                f"{name:10s}{row['edges']:10d}{row['us_per_edge_fwd']:14.1f}{row['us_per_edge_fwd_bwd']:18.1f}"
                f"{row['seconds_fwd_bwd']:9.2f}{row['peak_mb']:10.0f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=375)
    parser.add_argument("--cutoff", type=float, default=CUTOFF, help="Å")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip-reference", action="store_true", help="it needs 115 kB per edge")
    parser.add_argument("--scaling", action="store_true", help="cost against the numbers of edges and slabs")
    parser.add_argument("--count", action="store_true", help="multiplications per edge by stage, and nothing else")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=["reference", "engine"], help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.count:
        stages = engine_macs_per_edge(Widths())
        print("\n".join(f"{k:36s} {n:8,d}" for k, n in {**stages, "forward": sum(stages.values())}.items()))
        return
    if a.one:
        print(json.dumps(measure(a.atoms, a.threads, a.one == "reference", a.repeats, a.cutoff)))
        return
    if not a.scaling:
        result = compare(a.atoms, a.threads, a.repeats, a.skip_reference, a.cutoff)
        print(json.dumps(result, indent=2) if a.json else table(result))
        return
    sizes = [compare(n, a.threads, a.repeats, True, a.cutoff) for n in (96, 375, 1000, 3000)]
    cuts = slabs(1000, a.threads, a.repeats)
    if a.json:
        print(json.dumps({"sizes": sizes, "slabs": cuts}, indent=2))
    else:
        print("\n\n".join(table(r) for r in sizes))
        for row in cuts:
            print(
                f"1000 atoms in {row['slabs']} slabs: {row['edges']} edges with halos, "
                f"{row['seconds_fwd_bwd']:.2f} s, {row['us_per_labelled_edge']:.1f} µs per labelled edge"
            )


if __name__ == "__main__":
    main()
