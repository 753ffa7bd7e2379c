"""Scaling: steps of training in several processes, with a model calibrated on them, and predictions of growing size.

    .venv/bin/python benchmarks/scaling.py training            # 1 and 2 processes of one thread, by turns; minutes
    .venv/bin/python benchmarks/scaling.py training --network xia2025 --sizes 2 4    # slabs of 3 Å in a step
    .venv/bin/python benchmarks/scaling.py inference MODEL     # 2,976, 23,808 and 109,368 atoms; --sizes for others

Training times steps over B bonds (slabs, with the paper's network) in two processes that take turns: each takes a
whole step alone, while the other does the same beside it, and then both take it together. So both times know the same
machine: cores that work at once and share caches and clock rates. The machine must be idle otherwise. The model

    t(B, R) = a + b B / R + c ⌈log₂ R⌉

has a and b of the steps alone, c of what the steps together take beyond it. What it says of more processes than were
measured is a model, and is called so. Inference prints CPU seconds, peak memory and µs for each directed edge, of
a-HfO2 repeated and displaced at random by 0.03 Å; it writes H alone, in parts where the memory that is given asks for
it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from partitioners import repeated

import nearsight as ns
from nearsight.structures.structure import Structure

if TYPE_CHECKING:
    from nearsight.learning.loop import Trainer
    from nearsight.nn.processes import Processes

DATA = Path(__file__).parents[1] / "data" / "aHfO2_372_C.h5"
SIZES_OF_STEPS = {"nearsight": (1024, 4096, 8192, 16_384), "xia2025": (2, 4)}
WARM, ROUNDS, TURNS = 4, 16, 3
SIZES = {2976: (2, 2, 2), 23_808: (4, 4, 4), 109_368: (7, 7, 6), 1_004_400: (15, 15, 12)}
MODELLED = (4, 8, 16, 32, 64)


def settings(network: str, size: int) -> list[str]:
    """Return the settings of a training with steps of so many bonds or slabs."""
    if network == "nearsight":
        return [f"partition.bonds_per_batch={size}", "model.self_consistent=false"]
    return [f"optimizer.batches_per_step={size}", "data.validation_slabs=0"]


def worker(network: str, size: int) -> None:
    """Time steps in each process of a launch, alone and together by turns; the first one prints its numbers."""
    import torch

    from nearsight.nn.processes import Processes, joined

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder, joined(cpu) as processes:
        alone, together = (trainer(network, size, folder, own) for own in (Processes(cpu), processes))
        steps, rows = alone._steps(), []
        for round_ in range(WARM + ROUNDS):
            chosen, times = steps[round_ % len(steps)], []
            for own in (alone, together):
                processes.sum(torch.zeros(1))  # all begin at once
                began = time.perf_counter()
                own._step(chosen)
                times.append(time.perf_counter() - began)
            rows.append(times)
        if processes.first:
            print(json.dumps({"rows": rows[WARM:]}))


def trainer(network: str, size: int, folder: str, processes: Processes) -> Trainer:
    """Return a training on the shipped structure that is ready for its first step."""
    import torch

    from nearsight.learning.config import load_config
    from nearsight.learning.loop import Trainer
    from nearsight.learning.training import model_class
    from nearsight.nn.model import TrainingTask

    config = load_config(network, {"data.train": [str(DATA)], "run_dir": folder}, settings(network, size))
    task = TrainingTask(config, [ns.read(DATA)], [], processes.device, torch.float32)
    model = model_class(network).begin(task)
    return Trainer(model, config, model.prepare(task), processes)


def measured(network: str, size: int) -> np.ndarray:
    """(rounds, 2) seconds of a step of each of two processes: alone, beside the other, and together."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [__file__, "worker", network, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"rows"')]
    if not lines:
        raise SystemExit(done.stderr)
    return np.array(json.loads(lines[-1])["rows"])


def training(network: str, sizes: list[int]) -> None:
    """Print the table of steps and, for bonds, the model."""
    what = "bonds" if network == "nearsight" else "slabs"
    print(f"| {what} in a step | alone, ms | together, ms | efficiency, median (quartiles) |")
    print("|---|---|---|---|")
    found = {}
    for size in sizes:
        rows = np.concatenate([measured(network, size) for _ in range(TURNS)])
        found[size] = np.median(rows, axis=0)
        low, middle, high = np.quantile(rows[:, 0] / (2 * rows[:, 1]), [0.25, 0.5, 0.75])
        alone, together = 1e3 * found[size]
        print(f"| {size:,} | {alone:.1f} | {together:.1f} | {middle:.2f} ({low:.2f}, {high:.2f}) |", flush=True)
    if network == "nearsight" and len(sizes) > 1:
        model(sizes, np.array([found[size] for size in sizes]))


def model(sizes: list[int], times: np.ndarray) -> None:
    """Print the model fitted to (sizes, 2) seconds of steps alone and together."""
    b, a = np.polyfit(sizes, times[:, 0], 1)
    c = float(np.mean(times[:, 1] - (a + b * np.array(sizes) / 2)))
    print(f"model: a = {1e3 * a:.1f} ms, b = {1e6 * b:.2f} µs, c = {1e3 * c:.1f} ms; load {os.getloadavg()[0]:.1f}")
    for size in (*sizes, 8 * sizes[-1]):
        alone = a + b * size
        speed = [
            f"{count}: {alone / (a + b * size / count + c * math.ceil(math.log2(count))):.1f}" for count in MODELLED
        ]
        print(f"model, {size:,} bonds, speed-up of processes: {', '.join(speed)}")


def inference(model: Path, sizes: list[int], memory: float, folder: str | None) -> None:
    """Print the table of predictions."""
    print("| atoms | directed edges | CPU s | µs/edge | wall s | peak GB | parts | load |")
    print("|---|---|---|---|---|---|---|---|")
    cell = ns.read(DATA).structure
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder, prefix="nearsight-scaling-") as name:
            whole = repeated(cell, SIZES[size])
            noise = np.random.default_rng(0).normal(0.0, 0.03, whole.positions.shape)
            displaced = Structure(whole.numbers, whole.positions + noise, whole.cell, whole.pbc)
            path, output = Path(name) / "structure.extxyz", Path(name) / "h.h5"
            displaced.to_ase().write(path, format="extxyz")
            command = [sys.executable, "-m", "nearsight", "predict", str(model), str(path), "-o", str(output)]
            command += ["--threads", "1", "--no-overlap", "--no-self-consistent", "--memory", str(memory)]
            began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            edges = _edges(output, size)
            seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            parts = len(list(Path(name).glob("h.h5.parts-*/*.h5")))
            print(
                f"| {size:,} | {edges:,} | {seconds:.1f} | {1e6 * seconds / edges:.1f} | {wall:.0f} | "
                f"{after.ru_maxrss * 1024 / 1e9:.2f} | {parts or 1} | {os.getloadavg()[0]:.1f} |",
                flush=True,
            )


def _edges(path: Path, atoms: int) -> int:
    from nearsight.operators.store import describe

    return int(describe(path)["hamiltonian"]["n_pairs"]) - atoms


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    steps = commands.add_parser("training")
    steps.add_argument("--network", choices=list(SIZES_OF_STEPS), default="nearsight")
    steps.add_argument("--sizes", type=int, nargs="+", help="bonds or slabs in a step")
    one = commands.add_parser("worker")
    one.add_argument("network")
    one.add_argument("size", type=int)
    predict = commands.add_parser("inference")
    predict.add_argument("model", type=Path)
    predict.add_argument("--sizes", type=int, nargs="+", default=[2976, 23_808, 109_368], choices=list(SIZES))
    predict.add_argument("--memory", type=float, default=2.6, help="GB that a prediction may plan")
    predict.add_argument("--folder", help="where temporary files are made")
    a = parser.parse_args()
    if a.command == "worker":
        worker(a.network, a.size)
    elif a.command == "training":
        training(a.network, a.sizes or list(SIZES_OF_STEPS[a.network]))
    else:
        inference(a.model, a.sizes, a.memory, a.folder)


if __name__ == "__main__":
    main()
