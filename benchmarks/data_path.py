"""Time of everything between a DFT code's files and the first training step, stage by stage.

    .venv/bin/python benchmarks/data_path.py --atoms 3000
    .venv/bin/python benchmarks/data_path.py --atoms 375 --entries 3400000 --json

Frozen protocol: the random structures of `engine.py`; H and S as CP2K's binary .csr (the numbers of `reading.py`: made
up, symmetric, 14 digits; the nearest pairs of atoms, as many as make `--entries` entries, of each matrix), from a warm
page cache, in a fresh process: import (both matrices read and assembled into blocks), written as a store, read again,
neighbour list (8 Å), slabs of 3 Å with their halo, targets of all slabs, SciPy matrices of H and S. All on one thread,
but that a store's chunks are packed in several. The time of one training epoch (forward and backward pass of the engine
over the same structure, one thread) is measured after them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from engine import CUTOFF, LAYOUT, random_structure
from reading import BASIS, _as_records, _numbers, _pairs, _rows

from nearsight.cli.process import tune_process

Result = TypeVar("Result")


def write_run(folder: Path, atoms: int, entries: int) -> int:
    """A CP2K run's folder; entries of each of its two matrices."""
    structure = random_structure(atoms)
    structure.to_ase().write(folder / "run.xyz", format="extxyz")
    count = 0
    with open(folder / "run-KS_SPIN_1-1_0.csr", "wb") as file:
        for rows, columns in _rows(structure, LAYOUT.basis, _pairs(structure, LAYOUT.basis, entries)):
            file.write(_as_records(rows, columns, *_numbers(rows, columns)).tobytes())
            count += len(rows)
    os.link(folder / "run-KS_SPIN_1-1_0.csr", folder / "run-S_SPIN_1-1_0.csr")
    return count


class Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, work: Callable[[], Result]) -> Result:
        """Do the work, note its time."""
        started = time.perf_counter()
        result = work()
        self.seconds[stage] = time.perf_counter() - started
        return result


def import_run(clock: Clock, folder: Path, store: Path) -> None:
    """Files of the code to a store."""
    from nearsight.formats.registry import read_any
    from nearsight.operators.store import write_calculation

    calculation = clock("import", lambda: read_any(folder, basis=BASIS))
    clock("write store", lambda: write_calculation(store, calculation))


def measure(folder: Path) -> dict[str, object]:
    """All stages in this process."""
    tune_process()
    import torch

    from nearsight.nn.architectures.xia2025.batches import partitions_of
    from nearsight.nn.architectures.xia2025.config import Xia2025Partition
    from nearsight.nn.architectures.xia2025.targets import make_targets
    from nearsight.operators.bloch import to_csr
    from nearsight.operators.store import read_calculation
    from nearsight.structures.graph import build_graph

    torch.set_num_threads(1)
    clock, store = Clock(), folder / "run.h5"
    import_run(clock, folder, store)
    calculation = clock("read store", lambda: read_calculation(store))
    graph = clock("neighbour list", lambda: build_graph(calculation.structure, CUTOFF))
    parts = clock("slabs", lambda: partitions_of(calculation.structure, graph, Xia2025Partition(), 1))
    hamiltonian, overlap = calculation.require_hamiltonian(), calculation.require_overlap()
    targets = clock("targets", lambda: [make_targets(hamiltonian, graph, p, LAYOUT, torch.float32) for p in parts])
    matrices = clock("assembly", lambda: [to_csr(hamiltonian), to_csr(overlap)])
    return {
        "edges": graph.n_edges,
        "blocks": hamiltonian.n_pairs,
        "labelled_rows": sum(len(t.values) for t in targets),
        "stored_elements": int(matrices[0].nnz),
        "store_mb": store.stat().st_size / 1e6,
        "seconds": clock.seconds,
        "total_seconds": sum(clock.seconds.values()),
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def run(atoms: int, entries: int, folder: str | None, epoch: bool) -> dict[str, object]:
    """Files, stages in a fresh process, and the epoch to compare with."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="nearsight-data-path-") as name:
        count = write_run(Path(name), atoms, entries)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, __file__, "--one", name], capture_output=True, text=True, env=environment
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    result = {"atoms": atoms, "entries_per_matrix": count, **json.loads(done.stdout)}
    if epoch:
        result["epoch_seconds"] = epoch_seconds(atoms)
    return result


def epoch_seconds(atoms: int) -> float:
    """Of a forward and backward pass of the engine on one thread."""
    command = [
        sys.executable,
        str(Path(__file__).parent / "engine.py"),
        "--one",
        "engine",
        "--atoms",
        str(atoms),
        "--threads",
        "1",
        "--repeats",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["seconds_fwd_bwd"])


def table(result: dict[str, object]) -> str:
    """For people."""
    lines = [
        f"{result['atoms']} atoms, {result['edges']} directed edges, {result['blocks']} blocks, "
        f"{result['entries_per_matrix']} entries per matrix, store {result['store_mb']:.0f} MB"
    ]
    seconds = result["seconds"]
    assert isinstance(seconds, dict)
    lines += [f"{name:16s}{value:8.2f} s" for name, value in seconds.items()]
    lines.append(f"{'together':16s}{result['total_seconds']:8.2f} s, peak {result['peak_mb']:.0f} MB")
    if "epoch_seconds" in result:
        lines.append(f"{'one epoch':16s}{result['epoch_seconds']:8.2f} s (one thread)")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=3000)
    parser.add_argument("--entries", type=int, default=28_000_000, help="about how many entries a matrix has")
    parser.add_argument("--skip-epoch", action="store_true", help="measure no training epoch")
    parser.add_argument("--folder", help="where the temporary folder is made (needs 1.2 GB)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measure(Path(a.one))))
        return
    result = run(a.atoms, a.entries, a.folder, not a.skip_epoch)
    print(json.dumps(result, indent=1) if a.json else table(result))


if __name__ == "__main__":
    main()
