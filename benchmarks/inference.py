"""Time and memory of a prediction, file included, as `nearsight predict` makes it.

    .venv/bin/python benchmarks/inference.py --atoms 3000 --threads 2
    .venv/bin/python benchmarks/inference.py --scaling --json

Frozen protocol: the random structures of `engine.py`, preset xia2025 with random weights (seed 0), float32. Each size
runs in a fresh process: imports, one prediction of 24 atoms (which compiles the loops), then the measured one: model
and structure are read, H is predicted, made Hermitian and written. Resident memory is sampled every 10 ms; "above
start" is what was added to that before the measured prediction. "process s" is the whole process, imports and
compilation included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from nearsight.cli.process import tune_process

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does
tune_process()

import numpy as np
import psutil
import torch
from engine import CUTOFF, LAYOUT, random_structure

from nearsight.api.models import load_model
from nearsight.learning.checkpoint import write_tensors
from nearsight.learning.config import load_config
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.structures.graph import build_graph

SIZES = (375, 1000, 3000)
TARGET = {"seconds": 30.0, "peak_mb": 3000.0}
"""For 3,000 atoms on two cores."""


class Peak:
    """Largest resident memory while it is on, MB."""

    def __enter__(self) -> Peak:
        self.process, self.running = psutil.Process(), True
        self.start = self.highest = self.process.memory_info().rss / 1e6
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while self.running:
            self.highest = max(self.highest, self.process.memory_info().rss / 1e6)
            time.sleep(0.01)

    def __exit__(self, *exception: object) -> None:
        self.running = False
        self.thread.join()


def write_inputs(folder: Path, atoms: int) -> int:
    """Model and structure files; how many directed edges the structure has."""
    model = Xia2025Model.new(load_config("xia2025").model, LAYOUT.basis, torch.float32, 0)
    assert model.config.cutoff == CUTOFF
    write_tensors(folder / "model.safetensors", model.tensors(), model.metadata())
    for n in (24, atoms):
        structure = random_structure(n)
        write_calculation(folder / f"{n}.h5", Calculation(structure, LAYOUT.basis))
    return build_graph(structure, CUTOFF).n_edges


def predict(folder: Path, atoms: int) -> None:
    """One prediction, file to file."""
    load_model(folder / "model.safetensors").predict_to(folder / "prediction.h5", folder / f"{atoms}.h5")


def measure(folder: Path, atoms: int, threads: int) -> dict[str, float]:
    """Seconds and memory of one prediction in this process."""
    torch.set_num_threads(threads)
    predict(folder, 24)
    with Peak() as peak:
        wall, cpu = time.perf_counter(), time.process_time()
        predict(folder, atoms)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "seconds": wall,
        "cpu_seconds": cpu,
        "peak_mb": peak.highest,
        "above_start_mb": peak.highest - peak.start,
        "file_mb": (folder / "prediction.h5").stat().st_size / 1e6,
    }


def in_new_process(atoms: int, threads: int, folder: str | None) -> dict[str, float]:
    """`measure` in a process of its own, and what its file holds."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="nearsight-inference-") as name:
        edges = write_inputs(Path(name), atoms)
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, "--atoms", str(atoms), "--threads", str(threads)],
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(done.stderr)
        blocks = read_calculation(Path(name) / "prediction.h5").require_hamiltonian()
    checksum = float(np.abs(blocks.values).mean())
    return {
        "atoms": atoms,
        "threads": threads,
        "edges": edges,
        "blocks": blocks.n_pairs,
        **json.loads(done.stdout),
        "process_seconds": seconds,
        "mean_abs_eV": checksum,
    }


def table(rows: list[dict[str, float]]) -> str:
    """For people."""
    lines = [
        f"{'atoms':>6}{'edges':>9}{'threads':>8}{'s':>7}{'CPU s':>7}{'µs/edge':>9}{'process s':>10}{'peak MB':>9}"
        f"{'above start':>12}{'file MB':>9}"
    ]
    for r in rows:
        lines.append(
            f"{r['atoms']:6d}{r['edges']:9d}{r['threads']:8d}{r['seconds']:7.1f}{r['cpu_seconds']:7.1f}"
            f"{1e6 * r['seconds'] / r['edges']:9.1f}{r['process_seconds']:10.1f}{r['peak_mb']:9.0f}"
            f"{r['above_start_mb']:12.0f}{r['file_mb']:9.1f}"
        )
    if len(rows) > 1:
        slope, _ = np.polyfit([r["edges"] for r in rows], [r["peak_mb"] * 1e6 for r in rows], 1)
        lines.append(f"peak memory grows by {slope:.0f} bytes per directed edge")
    lines.append(f"target for 3,000 atoms on two cores: {TARGET['seconds']:.0f} s, {TARGET['peak_mb']:.0f} MB")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scaling", action="store_true", help=f"structures of {SIZES} atoms")
    parser.add_argument("--folder", help="where the temporary folder is made (needs 200 MB)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measure(Path(a.one), a.atoms, a.threads)))
        return
    rows = [in_new_process(n, a.threads, a.folder) for n in (SIZES if a.scaling else (a.atoms,))]
    print(json.dumps(rows, indent=1) if a.json else table(rows))


if __name__ == "__main__":
    main()
