"""The engine and the reference implementation, trained alike: same data, seed, epochs, errors on the unseen structure.

    .venv/bin/python benchmarks/reference_training.py --epochs 20

Protocol: that of the demo (a-HfO₂ structure C, 372 atoms, slabs of 3 Å, one for validation; tested on D), float32. Both
compute the same function; what differs is rounding, which training amplifies from epoch to epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from nearsight.electronic.matrix_errors import matrix_errors
from nearsight.inference.predict import predict_hamiltonian
from nearsight.learning.config import load_config
from nearsight.learning.training import train
from nearsight.nn.architectures.registry import architecture_named, register
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.loading import load_model
from nearsight.nn.model import TrainingTask
from nearsight.operators.store import read_calculation
from nearsight.units import ev_to_millihartree

DATA = Path(__file__).parents[1] / "data"


class ReferenceModel(Xia2025Model):
    """A model that is trained by the reference implementation, which computes everything as written in the paper."""

    @classmethod
    def begin(cls, task: TrainingTask) -> Xia2025Model:
        """Return the model of `Xia2025Model.begin`, its engine off."""
        model = super().begin(task)
        model.network.reference = True
        return model


def run(reference: bool, epochs: int, seed: int, folder: Path) -> dict[str, float | bool]:
    """One training and its errors on the unseen structure, which the engine predicts in both cases."""
    config = load_config(
        "demo",
        [
            f"data.train=[{DATA / 'aHfO2_372_C.h5'}]",
            f"max_epochs={epochs}",
            f"seed={seed}",
            f"run_dir={folder}",
            "budget_minutes=null",
        ],
    )
    register(replace(architecture_named("xia2025"), model=ReferenceModel if reference else Xia2025Model))
    started = time.monotonic()
    result = train(config, [read_calculation(DATA / "aHfO2_372_C.h5")])
    seconds = time.monotonic() - started
    unseen = read_calculation(DATA / "aHfO2_372_D.h5", overlap=False)
    prediction = predict_hamiltonian(load_model(folder / "last.safetensors"), unseen.structure)
    errors = matrix_errors(prediction, unseen.require_hamiltonian(), unseen.structure)
    loss = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()][-1]
    return {
        "reference": reference,
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
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        for reference in (False, True):
            print(f"training the {'reference implementation' if reference else 'engine'} …", file=sys.stderr)
            row = run(reference, arguments.epochs, arguments.seed, Path(folder) / str(reference))
            print(json.dumps(row))


if __name__ == "__main__":
    main()
