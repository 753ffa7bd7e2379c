"""The demo: train networks on one shipped structure, predict the other, evaluate, write the page."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

import nearsight
from nearsight.api.reports import compare_predictions, write_report
from nearsight.cli.comparison_run import comparison_table
from nearsight.cli.evaluate import print_evaluation
from nearsight.cli.prediction_run import run_prediction
from nearsight.cli.training_run import run_training
from nearsight.electronic.evaluation import evaluate
from nearsight.errors import InputError
from nearsight.formats.registry import read_any
from nearsight.learning.config import TrainingConfig, load_config

TRAIN, TEST = "aHfO2_372_C.h5", "aHfO2_372_D.h5"
PRESETS = {"nearsight": "nearsight", "xia2025": "demo"}
"""Network → preset. The paper's own schedule is for days."""


def run_demo(
    minutes: float, folder: Path, seed: int, threads: int | None, console: Console, only: str | None = None
) -> None:
    """Everything, with what is done and found printed.

    Raises:
        KeyboardInterrupt: a training was stopped by a signal; the next call continues it.
    """
    started = time.monotonic()
    data = data_folder()
    names = list(PRESETS) if only is None else [only]
    runs = {name: folder / f"{name}_{minutes:g}_minutes" for name in names}
    predictions = {name: folder / f"{name}.h5" for name in names}
    for step, name in enumerate(names, 1):
        console.rule(f"{step}. Train {name} on one structure")
        if run_training(demo_config(name, data / TRAIN, minutes, runs[name], seed, threads), console).interrupted:
            raise KeyboardInterrupt
    console.rule(f"{len(names) + 1}. Predict the unseen structure")
    for name in names:
        run_prediction(runs[name], data / TEST, predictions[name], parts=1, cell=None, threads=threads, console=console)
    console.rule(f"{len(names) + 2}. Compare with CP2K")
    page = folder / "report.html"
    if len(names) > 1:
        console.print(comparison_table(compare_predictions(predictions, data / TEST, page, runs=runs)))
    else:
        show_one(predictions[names[0]], runs[names[0]], data / TEST, page, console)
    console.print(f"Figures and numbers: {page.resolve()}", highlight=False, soft_wrap=True)
    console.print(f"{(time.monotonic() - started) / 60:.1f} minutes in all.", highlight=False)


def show_one(prediction: Path, run: Path, reference: Path, page: Path, console: Console) -> None:
    """Tables and page of a network alone."""
    evaluation = evaluate(read_any(prediction), read_any(reference))
    print_evaluation(evaluation, console)
    write_report(prediction, reference, run, page, evaluation=evaluation)


def demo_config(
    network: str, train: Path, minutes: float, run_dir: Path, seed: int, threads: int | None
) -> TrainingConfig:
    """The network's preset with a schedule for the time given, which alone ends the run."""
    changes = [
        f"data.train=['{train}']",
        f"budget_minutes={minutes}",
        f"run_dir='{run_dir}'",
        f"seed={seed}",
        f"threads={threads if threads else 'null'}",
        "max_epochs=20000",
        "metrics_every=5",
        "data.check=false",
    ]  # the tests check the shipped structures
    if network == "xia2025":
        changes.append(f"optimizer.decay_patience={max(3, round(0.7 * minutes))}")
    return load_config(PRESETS[network], changes)


def data_folder() -> Path:
    """Where the shipped structures are.

    Raises:
        InputError: not in a checkout.
    """
    for folder in (Path(nearsight.__file__).parents[2] / "data", Path("data")):
        if (folder / TRAIN).exists() and (folder / TEST).exists():
            return folder
    raise InputError(
        f"expected the shipped structures {TRAIN} and {TEST} in the folder data of a checkout of "
        "nearsight, got none; run the demo from a clone of the repository"
    )
