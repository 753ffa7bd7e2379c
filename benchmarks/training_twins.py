"""The fast engine and the plain network, trained alike: same data, seed and epochs, errors on the unseen structure.

    .venv/bin/python benchmarks/training_twins.py --epochs 20

Protocol: that of the demo (a-HfO₂ structure C, 372 atoms, slabs of 3 Å, one held out; tested on D), float32. Both
compute the same function; what differs is rounding, which training amplifies from epoch to epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nearsight.learning.training as training
from nearsight.electronic.matrix_errors import matrix_errors
from nearsight.inference.predict import predict_hamiltonian
from nearsight.learning.config import load_config
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.loading import load_model
from nearsight.operators.store import read_calculation
from nearsight.units import ev_to_millihartree

DATA = Path(__file__).parents[1] / "data"


def plain_model(*arguments: Any) -> Xia2025Model:
    """`new_xia2025_model` whose network computes everything as written in the paper."""
    model = Xia2025Model.new(*arguments)
    model.network.reference = True
    return model


def run(reference: bool, epochs: int, seed: int, threads: int, folder: Path) -> dict[str, float | bool]:
    """One training and its errors on the unseen structure."""
    config = load_config(
        "demo",
        [
            f"data.train=[{DATA / 'aHfO2_372_C.h5'}]",
            f"max_epochs={epochs}",
            f"seed={seed}",
            f"threads={threads}",
            f"run_dir={folder}",
            "budget_minutes=null",
        ],
    )
    training.new_xia2025_model = plain_model if reference else new_xia2025_model
    started = time.monotonic()
    result = training.train(config, [read_calculation(DATA / "aHfO2_372_C.h5")], [])
    seconds = time.monotonic() - started
    reference = read_calculation(DATA / "aHfO2_372_D.h5", overlap=False)
    prediction = predict_hamiltonian(load_model(folder / "last.safetensors"), reference.structure)
    errors = matrix_errors(prediction, reference.require_hamiltonian(), reference.structure)
    loss = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()][-1]
    return {
        "plain": reference,
        "epochs": result.state.epoch,
        "seconds_per_epoch": seconds / result.state.epoch,
        "eps_n_mEh": ev_to_millihartree(errors.eps_n),
        "eps_e_mEh": ev_to_millihartree(errors.eps_e),
        "eps_tot_mEh": ev_to_millihartree(errors.eps_tot),
        "train_loss": loss["loss"],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for reference in (False, True):
            print(f"training the {'plain network' if plain else 'engine'} …", file=sys.stderr)
            row = run(reference, arguments.epochs, arguments.seed, arguments.threads, Path(folder) / str(reference))
            print(json.dumps(row))


if __name__ == "__main__":
    main()
