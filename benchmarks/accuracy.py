"""Accuracy on an unseen structure against minutes of training: networks side by side, same data, same time.

    .venv/bin/python benchmarks/accuracy.py --train data/aHfO2_372_C.h5 --test data/aHfO2_372_D.h5 --minutes 1
    .venv/bin/python benchmarks/accuracy.py --presets nearsight demo --seeds 0 1 2 --minutes 5 --json
    .venv/bin/python benchmarks/accuracy.py --train C.h5 F.h5 G.h5 --test D.h5 model.cutoff=6

Protocol: a preset is trained through the same path as `nearsight train` on the training files for so many minutes of
training (everything counts but reading, fitting the baseline, and compiling, which are reported beside it), on
`--threads` threads; its model then predicts the test structure, of which it has seen nothing, and the prediction is
compared with the reference. Nothing is stopped or chosen on the test structure. `KEY=VALUE` words change the
configuration of all presets.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from nearsight.cli.process import tune_process

tune_process()

import torch

from nearsight.electronic.evaluation import Evaluation, evaluate
from nearsight.formats.registry import read_any
from nearsight.inference.predict import predict_hamiltonian
from nearsight.learning.config import load_config
from nearsight.learning.training import train
from nearsight.nn.loading import load_model
from nearsight.operators.calculation import Calculation
from nearsight.units import HARTREE_IN_EV

DATA = Path(__file__).parents[1] / "data"
SHOWN = (
    "eps_n_mEh",
    "eps_e_mEh",
    "eps_tot_meV",
    "relative_l1_percent",
    "relative_l1_occupied_percent",
    "near_gap_meV",
    "gap_error_meV",
)


def run(
    preset: str,
    minutes: float,
    seed: int,
    overrides: list[str],
    training: list[Calculation],
    test: Calculation,
    names: list[str],
) -> dict[str, Any]:
    """One training, one prediction, one comparison."""
    with tempfile.TemporaryDirectory() as folder:
        given = [f"budget_minutes={minutes}", f"seed={seed}", f"run_dir='{folder}'", f"data.train={json.dumps(names)}"]
        if preset == "demo":
            given.append(f"optimizer.decay_patience={max(3, round(0.7 * minutes))}")
        started = time.monotonic()
        result = train(load_config(preset, given + overrides), training)
        seconds = time.monotonic() - started
        predicted = predict_hamiltonian(load_model(folder), test.structure, known=replace(test, hamiltonian=None))
    found = evaluate(Calculation(test.structure, predicted.basis, predicted, test.overlap), test)
    return {
        "preset": preset,
        "seed": seed,
        "minutes": minutes,
        "epochs": result.state.epoch,
        "trained_seconds": round(result.state.seconds, 1),
        "other_seconds": round(seconds - result.state.seconds, 1),
        **figures(found),
    }


def figures(found: Evaluation) -> dict[str, float]:
    """The figures of a comparison by name."""
    if found.spectrum is None:
        raise SystemExit("expected an overlap matrix in the test file, got none: eigenvalues need one")
    matrix, spectrum = found.matrix, found.spectrum
    return {
        "eps_n_mEh": 1e3 * matrix.nodes.mean_absolute / HARTREE_IN_EV,
        "eps_e_mEh": 1e3 * matrix.edges.mean_absolute / HARTREE_IN_EV,
        "eps_tot_meV": 1e3 * matrix.total.mean_absolute,
        "relative_l1_percent": 100 * spectrum.relative_l1,
        "relative_l1_occupied_percent": 100 * spectrum.relative_l1_occupied,
        "near_gap_meV": 1e3 * spectrum.mean_absolute_near_gap,
        "gap_error_meV": 1e3 * (spectrum.gap_prediction - spectrum.gap_reference),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", default=[str(DATA / "aHfO2_372_C.h5")])
    parser.add_argument("--test", default=str(DATA / "aHfO2_372_D.h5"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0])
    parser.add_argument(
        "--presets",
        "--preset",
        nargs="+",
        default=["nearsight", "demo"],
        help="demo is the paper's network with a schedule for minutes",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    training, test = [read_any(path) for path in a.train], read_any(a.test)
    results = []
    for minutes in a.minutes:
        for seed in a.seeds:
            for preset in a.presets:
                print(f"{preset}, seed {seed}, {minutes:g} minutes …", file=sys.stderr)
                results.append(run(preset, minutes, seed, a.changes, training, test, a.train))
    medians = [
        median([r for r in results if (r["preset"], r["minutes"]) == key])
        for key in dict.fromkeys((r["preset"], r["minutes"]) for r in results)
    ]
    if a.json:
        print(
            json.dumps(
                {"train": a.train, "test": a.test, "threads": a.threads, "runs": results, "medians": medians}, indent=2
            )
        )
    else:
        show(results if len(a.seeds) == 1 else results + medians)


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every figure over the seeds."""
    return {**runs[0], "seed": "median", **{k: statistics.median(r[k] for r in runs) for k in ("epochs", *SHOWN)}}


def show(results: list[dict[str, Any]]) -> None:
    """A table."""
    heads = ("ε_n mE_h", "ε_e mE_h", "ε_tot meV", "rel. L1 %", "occupied %", "near gap meV", "gap error meV")
    print("preset      minutes  seed    epochs" + "".join(f"{name:>15s}" for name in heads))
    for r in results:
        print(
            f"{r['preset']:10s} {r['minutes']:8g}  {r['seed']!s:6s} {r['epochs']:7g} "
            + "".join(f"{r[name]:15.4f}" for name in SHOWN)
        )


if __name__ == "__main__":
    main()
