"""Trains as torchrun's processes do: `torchrun … -m tests.learning.trained_together FOLDER NAMES`.

Each name of `RUNS` trains in the folder FOLDER/NAME. `--kill EPOCH` lets process 1 kill itself after that epoch,
`--poor` gives it hardly any memory.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from nearsight import memory
from nearsight.cli.running import stopped_by_signals
from nearsight.errors import NearsightError
from nearsight.launch import launched
from nearsight.learning import loop
from nearsight.learning.config import training_config
from nearsight.learning.training import train
from tests.learning.random_calculation import CUTOFF, random_calculation
from tests.learning.test_loop import SMALL

STEPS = {"learning_rate": 0.01, "batches_per_step": 3}
COMMON = {"precision": "float64", "max_epochs": 20, "data": {"train": ["random.h5"]}}
RUNS: dict[str, dict[str, Any]] = {
    "squares": {**SMALL, "optimizer": STEPS, "loss": {"kind": "mse"}},
    "rmse_mae": {**SMALL, "optimizer": STEPS, "loss": {"kind": "rmse_mae"}},
    "bonds": {
        "model": {"architecture": "nearsight", "cutoff": CUTOFF, "channels": 4, "hidden": [8, 4]},
        "partition": {"bonds_per_batch": 61},
    },
    "auto": {**SMALL, "optimizer": STEPS, "partition": {"kind": "auto", "axis": 0, "count": 3}, "max_epochs": 1},
}


def main() -> int:
    """Train, and return what the process ends with."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--kill", type=int)
    parser.add_argument("--poor", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.poor and launched().rank == 1:
        memory.free_bytes = lambda: 1000
    if given.kill and launched().rank == 1:
        _die_after(given.kill)
    for name in given.names:
        try:
            train_one(given.folder, name)
        except NearsightError as error:
            print(f"process {launched().rank}: {error}", file=sys.stderr)
            return 2
    left = [name for name in threads() if "gloo" in name]
    if left:
        print(f"process {launched().rank}: expected no threads of its group at the end, got {left}", file=sys.stderr)
        return 3
    return 0


def threads() -> list[str]:
    """Return the names of the threads of this process, where the system tells them."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def train_one(folder: Path, name: str) -> None:
    """Train one of `RUNS` in a folder of its name."""
    config = training_config({**COMMON, **RUNS[name], "run_dir": str(folder / name)})
    with stopped_by_signals() as stop:  # torchrun ends the others by SIGTERM where one is lost
        train(config, [random_calculation()], [random_calculation(seed=5)], stop=stop)


def _die_after(epoch: int) -> None:
    """End this process at once in the middle of the step after some epoch."""
    step = loop.Trainer._step

    def last(self: loop.Trainer, chosen: Any) -> Any:
        if self.state.epoch == epoch:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, chosen)

    loop.Trainer._step = last  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
