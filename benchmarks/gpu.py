"""Both networks on a GPU: correctness, time and memory per edge, kernel launches, a whole prediction, an eigenproblem.

    .venv/bin/python benchmarks/gpu.py --seconds 420 > gpu.json

Needs the repository, torch with CUDA and what the package needs. Sections run in order until the time is over; a
section that fails says so, and the others go on. Progress goes to the standard error stream, JSON to the standard
output.

Frozen protocol: 372 · n³ atoms (n = 1, 2, 4) are boxes of aHfO2_372_C side by side, each atom displaced at random
(normal, σ = 0.03 Å, seed 0); cutoff 8 Å; presets `nearsight` and `xia2025` with random weights (seed 0), float32, TF32
off, random targets. A pass is forward and backward over all bonds (or edges) of the structure, from features of atoms
and geometry that are there, as in `bond_engine.py` and `engine.py`; times are medians of CUDA events after a warm-up,
per directed edge. The plain path is the reference implementation, all at once, where it fits. Memory is the highest of
torch's allocator above what was there before, per directed edge; "resident" is what the structure itself takes.
Operations count every multiplication of the function once, three times for forward and backward.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

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
from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors, graph_tensors
from nearsight.nn.architectures.xia2025.network import Xia2025
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from nearsight.operators.store import read_calculation
from nearsight.orbitals.basis import basis_named
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure

DATA = Path(__file__).parents[1] / "data" / "aHfO2_372_C.h5"
LAYOUT = CoupledLayout(basis_named("SZV-MOLOPT-SR-GTH").restricted([8, 72]))
CUTOFF = 8.0
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
STARTED = time.monotonic()
BATCH = 1024
"""Bonds in a batch of the preset."""


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", file=sys.stderr, flush=True)


def boxes(n: int, sigma: float = 0.03) -> Structure:
    """n³ boxes side by side, each atom displaced at random."""
    one, rng = read_calculation(DATA, hamiltonian=False, overlap=False).structure, np.random.default_rng(0)
    shifts = np.array(np.meshgrid(*[np.arange(n)] * 3)).reshape(3, -1).T @ one.cell
    positions = (shifts[:, None] + one.positions).reshape(-1, 3)
    return Structure(
        np.tile(one.numbers, n**3), positions + sigma * rng.standard_normal(positions.shape), one.cell * n, True
    )


def seconds_of(work: Callable[[], object], repeats: int) -> float:
    """Median time of some work on the GPU."""
    work()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return median(times)


def ceilings() -> dict[str, float]:
    """What the card reaches with large products and copies."""
    found = {}
    a = torch.randn(2**28, device=GPU)
    b = torch.empty_like(a)
    found["copy_GB_per_s"] = 2 * a.nbytes / seconds_of(lambda: b.copy_(a), 5) / 1e9
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, False),
        ("float64", torch.float64, False),
    ):
        x, y = (torch.randn(8192, 8192, device=GPU).to(dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = tf32
        found[f"gemm_{name}_TFLOPS"] = 2 * 8192**3 / seconds_of(lambda x=x, y=y: x @ y, 3) / 1e12
    torch.backends.cuda.matmul.allow_tf32 = False
    return found


# --- the two networks -------------------------------------------------------------------------------------------------


class Bonds:
    """The network nearsight on all bonds of a structure."""

    name = "nearsight"

    def __init__(self, structure: Structure, graph: Graph, device: torch.device, dtype: torch.dtype) -> None:
        config = load_config("nearsight").model
        assert isinstance(config, NearsightConfig)
        torch.manual_seed(0)
        chosen = canonical_edges(structure, graph)
        self.network = NearsightNetwork(config, LAYOUT, list(chosen), len(scalar_columns(LAYOUT))).to(device, dtype)
        bonds = {pair: make_bonds(graph, own, config.l_max, dtype, device) for pair, own in chosen.items()}
        on_site = np.random.default_rng(0).standard_normal((len(structure), LAYOUT.size))
        few = atom_inputs(config, LAYOUT, structure, graph, [on_site]) if len(structure) < 5000 else None
        if few is None:
            # Densities of so many atoms take a minute on the CPU; the time of a pass does not depend on them.
            n, width = len(structure), 2 * config.density_functions
            element = torch.as_tensor(np.searchsorted(LAYOUT.elements, structure.numbers), device=device)
            densities = torch.randn(n, (config.l_max + 1) ** 2, width, device=device, dtype=dtype)
            scalars = torch.randn(n, len(scalar_columns(LAYOUT)), device=device, dtype=dtype)
            self.graph = BondGraph(element, densities, scalars, bonds)
        else:
            self.graph = few.graph({}, dtype).to(device).with_bonds(bonds)
        generator = torch.Generator().manual_seed(1)
        self.targets = {}
        for pair, own in bonds.items():
            shape, layout = (len(own), self.network.layouts[pair].width), self.network.layouts[pair]
            weights = torch.rand(len(own), layout.n_channels, generator=generator)[:, layout.channel_of_column]
            values = torch.randn(shape, generator=generator)
            self.targets[pair] = BondTargets(values.to(device, dtype), weights.to(device, dtype), 0.3)

    def run(self) -> torch.Tensor:
        """Forward and backward."""
        self.network.zero_grad()
        value = self.network.error(self.graph, self.targets)
        value.backward()
        return value

    def forward(self) -> None:
        """Forward alone."""
        with torch.no_grad():
            self.network(self.graph)

    def flops(self) -> float:
        """Multiplications and additions of a forward and backward pass."""
        total = 0.0
        for pair, own in self.graph.bonds.items():
            blocks = self.network.pair(pair).blocks
            maps = sum(b.components * (b.inputs * b.width + b.width**2 + b.width * b.outputs) for b in blocks)
            channels = sum(b.width for b in blocks)
            maps += 2 * blocks[0].width * channels + 2 * 4 * channels
            turns = 2 * own.frames.shape[1] * self.network.config.channels
            total += len(own) * 2 * (3 * maps + 2 * turns)
        return total

    def least_bytes(self) -> float:
        """What must move in any case: geometry, ends and targets of bonds, and the features of their atoms."""
        total = sum(b.nbytes for b in self.graph.bonds.values())
        total += sum(t.values.nbytes + t.weights.nbytes for t in self.targets.values())
        features = len(self.graph.element) * (self.network.config.l_max + 1) ** 2 * self.network.config.channels
        return total + 2 * features * self.graph.densities.element_size()


class Edges:
    """The network xia2025 on all directed edges of a structure."""

    name = "xia2025"

    def __init__(self, structure: Structure, graph: Graph, device: torch.device, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.network = Xia2025(Widths(), 1, LAYOUT.degrees).to(device, dtype)
        self.graph: GraphTensors = graph_tensors(
            structure.numbers, graph.source, graph.target, graph.vector, 4, dtype, device=device
        )
        generator = torch.Generator().manual_seed(1)
        values = torch.randn(min(graph.n_edges, 100_000), LAYOUT.size, generator=generator)
        repeats = -(-graph.n_edges // len(values))
        self.targets = values.to(device, dtype).repeat(repeats, 1)[: graph.n_edges]

    def run(self) -> torch.Tensor:
        """Forward and backward."""
        self.network.zero_grad()
        nodes, error = self.network(self.graph, EdgeTargets(self.targets))
        value = nodes.square().sum() + error
        value.backward()
        return value

    def forward(self) -> None:
        """Forward alone."""
        with torch.no_grad():
            self.network(self.graph)

    def flops(self) -> float:
        """Multiplications and additions of a forward and backward pass."""
        sys.path.insert(0, str(Path(__file__).parent))
        from engine import macs_per_edge

        return 3.0 * 2 * macs_per_edge(Widths()) * self.graph.n_edges

    def least_bytes(self) -> float:
        """What must move in any case: geometry, ends and targets of edges, and the features of their atoms."""
        known = [x for x in vars(self.graph).values() if isinstance(x, torch.Tensor)]
        features = self.graph.n_nodes * 25 * self.network.widths.channels
        return sum(x.nbytes for x in known) + self.targets.nbytes + 2 * features * self.targets.element_size()


Case = Bonds | Edges


def gradients(case: Case) -> dict[str, np.ndarray]:
    """Value and gradients in float64 on the CPU."""
    value = case.run()
    found = {k: p.grad for k, p in case.network.named_parameters() if p.grad is not None}
    return {k: x.detach().double().cpu().numpy() for k, x in {"value": value, **found}.items()}


def difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Of the value, and the largest of a gradient, relative to the largest number of that gradient."""
    value = float(abs(found["value"] / expected["value"] - 1))
    rest = [
        float(np.abs(found[k] - g).max() / np.abs(g).max())
        for k, g in expected.items()
        if k != "value" and np.abs(g).max() > 1e-9 * abs(float(expected["value"]))
    ]
    return {"value": value, "gradients": max(rest)}


def correctness() -> dict[str, Any]:
    """GPU against the reference on the CPU in float64, and with matrix products in TF32."""
    structure = boxes(1)
    few = Structure(structure.numbers[:60], structure.positions[:60], structure.cell, True)
    graph, found = build_graph(few, CUTOFF), {}
    for kind in (Bonds, Edges):
        reference = kind(few, graph, CPU, torch.float64)
        reference.network.reference = True
        expected = gradients(reference)
        rows = {}
        for name, dtype, tf32 in (
            ("float64", torch.float64, False),
            ("float32", torch.float32, False),
            ("tf32", torch.float32, True),
        ):
            case = kind(few, graph, GPU, dtype)
            case.network.load_state_dict(reference.network.state_dict())
            torch.backends.cuda.matmul.allow_tf32 = tf32
            rows[name] = difference(gradients(case), expected)
        torch.backends.cuda.matmul.allow_tf32 = False
        found[kind.name] = {"edges": graph.n_edges, **rows}
    return found


def launches(work: Callable[[], object]) -> int:
    """Kernels and copies that some work starts on the GPU."""
    from torch.profiler import ProfilerActivity, profile

    work()
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        work()
        torch.cuda.synchronize()
    return sum(e.device_type.name == "CUDA" for e in recorded.events())


def timed(case: Case, edges: int, peak: Mapping[str, float], repeats: int) -> dict[str, Any]:
    """Time and memory of a pass."""
    torch.cuda.synchronize()
    resident = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(case.run, repeats)
    high = torch.cuda.max_memory_allocated()
    flops = case.flops()
    row: dict[str, Any] = {
        "us_per_edge": 1e6 * seconds / edges,
        "us_per_edge_forward": 1e6 * seconds_of(case.forward, repeats) / edges,
        "ms": 1e3 * seconds,
        "resident_bytes_per_edge": resident / edges,
        "peak_bytes_per_edge": (high - resident) / edges,
        "kflop_per_edge": flops / edges / 1e3,
        "TFLOPS": flops / seconds / 1e12,
        "fraction_of_gemm": flops / seconds / 1e12 / peak["gemm_float32_TFLOPS"],
        "least_bytes_per_edge": case.least_bytes() / edges,
        "fraction_of_copy": case.least_bytes() / seconds / 1e9 / peak["copy_GB_per_s"],
    }
    torch.backends.cuda.matmul.allow_tf32 = True
    row["us_per_edge_tf32"] = 1e6 * seconds_of(case.run, repeats) / edges
    torch.backends.cuda.matmul.allow_tf32 = False
    return row


def plain(case: Case, edges: int) -> dict[str, float] | str:
    """The reference implementation."""
    case.network.reference = True
    try:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        seconds = seconds_of(case.run, 2)
        high = torch.cuda.max_memory_allocated() - before
        return {"us_per_edge": 1e6 * seconds / edges, "peak_bytes_per_edge": high / edges}
    except torch.cuda.OutOfMemoryError:
        return "out of memory"
    finally:
        case.network.reference = False
        case.network.zero_grad()
        torch.cuda.empty_cache()


def passes(n: int, kind: type[Case], peak: Mapping[str, float]) -> dict[str, Any]:
    """All of one size and network."""
    started = time.monotonic()
    structure = boxes(n)
    graph = build_graph(structure, CUTOFF)
    case = kind(structure, graph, GPU, torch.float32)
    row: dict[str, Any] = {"atoms": len(structure), "edges": graph.n_edges}
    row |= {"preparation_s": time.monotonic() - started, "path": case.network.describe_path()}
    row |= timed(case, graph.n_edges, peak, 10 if n < 3 else 3)
    if n < 3:
        row["launches"] = launches(case.run)
        row["plain"] = plain(case, graph.n_edges)
    del case
    torch.cuda.empty_cache()
    return row


def small_batches() -> dict[str, Any]:
    """Batches of the size that the preset trains on: a pass, and a step of the optimiser with it."""
    structure = boxes(1)
    graph = build_graph(structure, CUTOFF)
    case = Bonds(structure, graph, GPU, torch.float32)
    share = BATCH / case.graph.n_bonds
    chosen = {pair: slice(0, round(share * len(own))) for pair, own in case.graph.bonds.items()}
    case.graph = case.graph.with_bonds({pair: own.rows(chosen[pair]) for pair, own in case.graph.bonds.items()})
    case.targets = {pair: own.rows(chosen[pair]) for pair, own in case.targets.items()}
    optimizer = torch.optim.AdamW(case.network.parameters(), lr=1e-6)

    def step() -> None:
        case.run()
        torch.nn.utils.clip_grad_norm_(case.network.parameters(), 10.0)
        optimizer.step()

    return {
        "bonds": case.graph.n_bonds,
        "pass_ms": 1e3 * seconds_of(case.run, 20),
        "step_ms": 1e3 * seconds_of(step, 20),
        "launches_of_a_pass": launches(case.run),
        "launches_of_a_step": launches(step),
    }


# --- the product ------------------------------------------------------------------------------------------------------


def product(folder: Path) -> dict[str, Any]:
    """Two epochs of training on one box, and the whole H of eight of them."""
    import nearsight as ns

    records: list[Mapping[str, Any]] = []
    messages: list[tuple[float, str]] = []
    started = time.monotonic()

    def listen(event: Any) -> None:
        if event.message:
            messages.append((round(time.monotonic() - started, 2), event.message))
        if "epoch" in event.values:
            records.append(dict(event.values))

    ns.train(
        [DATA], preset="nearsight", run_dir=folder / "run", overrides=["max_epochs=3", "device=cuda"], progress=listen
    )
    trained = time.monotonic() - started
    row: dict[str, Any] = {
        "training_s": trained,
        "messages": messages,
        "seconds_after_epochs": [r["seconds"] for r in records],
        "losses": [r["loss"] for r in records],
        "validation_eps_e_mEh": [r.get("validation_eps_e_mEh") for r in records][-1],
    }
    model = ns.load_model(folder / "run", device="cuda")
    structure = boxes(2)
    for name in ("prediction_s", "prediction_again_s"):
        started = time.monotonic()
        written = model.predict_to(folder / "prediction.h5", structure)
        row[name] = time.monotonic() - started
    row["blocks"], row["atoms"] = written.n_pairs, len(structure)
    row["prediction_us_per_edge"] = 1e6 * row["prediction_again_s"] / (written.n_pairs - len(structure))
    small = boxes(1)
    on_gpu = model.predict(small).operator.values
    on_cpu = ns.load_model(folder / "run").predict(small).operator.values
    row["largest_difference_to_cpu_eV"] = float(np.abs(on_gpu - on_cpu).max())
    return row


def eigenproblem(folder: Path) -> dict[str, Any]:
    """All levels of the predicted H of 2,976 atoms with the overlap of the undisplaced boxes, dense, in float64."""
    sys.path.insert(0, str(Path(__file__).parent))
    from window import matrices, tiled

    from nearsight.operators.bloch import bloch
    from nearsight.operators.store import read_calculation as read

    started = time.monotonic()
    h = bloch(read(folder / "prediction.h5").require_hamiltonian(), np.zeros(3)).toarray().real
    s = tiled(matrices()[1], (2, 2, 2)).toarray()
    row: dict[str, Any] = {"orbitals": len(h), "matrices_s": time.monotonic() - started}
    torch.cuda.empty_cache()
    started = time.monotonic()
    a, b = (torch.as_tensor(x, dtype=torch.float64, device=GPU) for x in (h, s))
    factor = torch.linalg.cholesky(b)
    a = torch.linalg.solve_triangular(factor, a, upper=False)
    a = torch.linalg.solve_triangular(factor, a.mT, upper=False)
    torch.cuda.synchronize()
    row["reduction_s"] = time.monotonic() - started
    started = time.monotonic()
    levels = torch.linalg.eigvalsh((a + a.mT) / 2)
    torch.cuda.synchronize()
    row["eigenvalues_s"] = time.monotonic() - started
    row["lowest_eV"], row["highest_eV"] = float(levels[0]), float(levels[-1])
    row["peak_GB"] = torch.cuda.max_memory_allocated() / 1e9
    return row


def largest(row: Mapping[str, Any]) -> dict[str, float]:
    """Atoms whose bonds or edges fit into 75 of the card's GB with the memory of a pass, by what 23,808 atoms took."""
    total = 0.94 * torch.cuda.get_device_properties(GPU).total_memory
    per_atom = row["resident_bytes_per_edge"] * row["edges"] / row["atoms"]
    passes_ = row["peak_bytes_per_edge"] * row["edges"]
    return {"bytes_per_atom": per_atom, "pass_GB": passes_ / 1e9, "atoms_that_fit": (total - passes_) / per_atom}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=420.0, help="sections that would begin later are left out")
    parser.add_argument("--sections", default="", help="names, separated by commas; all by default")
    a = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("expected an NVIDIA GPU that torch can use, got none")
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "card": torch.cuda.get_device_name(GPU),
        "torch": torch.__version__,
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        sections: dict[str, Callable[[], Any]] = {
            "ceilings": ceilings,
            "correctness": correctness,
            **{
                f"{kind.name}_{372 * n**3}": lambda n=n, kind=kind: passes(n, kind, result["ceilings"])
                for n in (1, 2)
                for kind in (Bonds, Edges)
            },
            "small_batches": small_batches,
            **{f"{kind.name}_23808": lambda kind=kind: passes(4, kind, result["ceilings"]) for kind in (Bonds, Edges)},
            "product": lambda: product(folder),
            "eigenproblem": lambda: eigenproblem(folder),
        }
        chosen = a.sections.split(",") if a.sections else list(sections)
        for section in chosen:
            if time.monotonic() - STARTED > a.seconds:
                result[section] = "left out: the time was over"
                continue
            say(section)
            try:
                result[section] = sections[section]()
            except Exception as error:
                traceback.print_exc()
                result[section] = f"failed: {type(error).__name__}: {error}"
            torch.cuda.empty_cache()
    for kind in (Bonds, Edges):
        row = result.get(f"{kind.name}_23808")
        if isinstance(row, dict):
            row["largest"] = largest(row)
    result["seconds"] = time.monotonic() - STARTED
    print(json.dumps(result, indent=1, default=str))


if __name__ == "__main__":
    main()
