"""Scaling: steps of training in several processes, with a model calibrated on them, and predictions of growing size.

    .venv/bin/python benchmarks/scaling.py training            # 1 and 2 processes of one thread, in turns; minutes
    .venv/bin/python benchmarks/scaling.py training --network xia2025 --sizes 2 4    # slabs of 3 Å in a step
    .venv/bin/python benchmarks/scaling.py inference MODEL     # 2,976, 23,808 and 109,368 atoms; --sizes for others

Training prints, for steps over B bonds (slabs, with the paper's network) and R processes, CPU and wall time of a step
and the parallel efficiency of two processes in wall time; the machine must be idle for it. Then follows the model

    t(B, R) = a + b B / R + c ⌈log₂ R⌉,

a and b fitted to the wall time of one process, c to what two take beyond it. What it says of more processes than were
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

import numpy as np
from partitioners import repeated

import nearsight as ns
from nearsight.structures.structure import Structure

DATA = Path(__file__).parents[1] / "data" / "aHfO2_372_C.h5"
SIZES_OF_STEPS = {"nearsight": (1024, 4096, 8192, 16_384), "xia2025": (2, 4)}
ROUNDS, TURNS = 5, 3
SIZES = {2976: (2, 2, 2), 23_808: (4, 4, 4), 109_368: (7, 7, 6), 1_004_400: (15, 15, 12)}
MODELLED = (4, 8, 16, 32, 64)


def settings(network: str, size: int) -> list[str]:
    """Return the settings of a training with steps of so many bonds or slabs."""
    if network == "nearsight":
        return [f"partition.bonds_per_batch={size}", "model.self_consistent=false"]
    return [f"optimizer.batches_per_step={size}", "data.validation_slabs=0"]


def worker(network: str, size: int) -> None:
    """Time steps of a training, in each process of a launch; the first one prints its numbers."""
    import torch

    from nearsight.learning.config import load_config
    from nearsight.learning.loop import Trainer
    from nearsight.learning.training import model_class
    from nearsight.nn.model import TrainingTask
    from nearsight.nn.processes import joined

    torch.set_num_threads(1)
    calculation, cpu = ns.read(DATA), torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder, joined(cpu) as processes:
        given = {"data.train": [str(DATA)], "run_dir": folder}
        config = load_config(network, given, settings(network, size))
        task = TrainingTask(config, [calculation], [], cpu, torch.float32)
        model = model_class(network).begin(task)
        trainer = Trainer(model, config, model.prepare(task), processes)
        steps = trainer._steps()
        rows = []
        for round_ in range(ROUNDS + 2):
            cpu_time, wall = time.process_time(), time.perf_counter()
            for chosen in steps[: max(4, len(steps) // 2)]:
                trainer._step(chosen)
            count = min(len(steps), max(4, len(steps) // 2))
            if round_ >= 2:
                rows.append(((time.process_time() - cpu_time) / count, (time.perf_counter() - wall) / count))
        if processes.first:
            print(json.dumps({"rows": rows}))


def measured(network: str, size: int, processes: int) -> np.ndarray:
    """(rounds, 2) CPU and wall seconds of a step."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, __file__, "worker", network, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"rows"')]
    if not lines:
        raise SystemExit(done.stderr)
    return np.array(json.loads(lines[-1])["rows"])


def training(network: str, sizes: list[int]) -> None:
    """Print the table of steps and the model."""
    what = "bonds" if network == "nearsight" else "slabs"
    print(f"| {what} in a step | processes | CPU ms a step | wall ms a step | efficiency |")
    print("|---|---|---|---|---|")
    wall: dict[tuple[int, int], float] = {}
    for size in sizes:
        rows: dict[int, list[np.ndarray]] = {1: [], 2: []}
        for processes in (1, 2) * TURNS:
            rows[processes].append(measured(network, size, processes))
        for processes, found in rows.items():
            cpu, wall[size, processes] = np.median(np.concatenate(found), axis=0)
            ratio = f"{wall[size, 1] / (2 * wall[size, 2]):.2f}" if processes == 2 else ""
            print(
                f"| {size:,} | {processes} | {1e3 * cpu:.1f} | {1e3 * wall[size, processes]:.1f} | {ratio} |",
                flush=True,
            )
    b, a = np.polyfit(sizes, [wall[size, 1] for size in sizes], 1)
    c = float(np.mean([wall[size, 2] - (a + b * size / 2) for size in sizes]))
    print(f"model: a = {1e3 * a:.1f} ms, b = {1e6 * b:.2f} µs, c = {1e3 * c:.1f} ms; load {os.getloadavg()[0]:.1f}")
    for size in (*sizes, 8 * sizes[-1]):
        alone = a + b * size
        speed = [
            f"{count}: {alone / (a + b * size / count + c * math.ceil(math.log2(count))):.1f}" for count in MODELLED
        ]
        print(f"model, {size:,} {what}, speed-up of processes: {', '.join(speed)}")


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
