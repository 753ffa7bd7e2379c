"""The demo: train on one shipped structure, predict the other, evaluate, write the page."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

import nearsight
from nearsight.cli.evaluate import print_evaluation
from nearsight.cli.prediction_run import run_prediction
from nearsight.cli.report import write_report
from nearsight.cli.training_run import run_training
from nearsight.electronic.evaluation import evaluate
from nearsight.errors import InputError
from nearsight.formats.registry import read_any
from nearsight.learning.config import TrainingConfig, load_config

TRAIN, TEST = "aHfO2_372_C.h5", "aHfO2_372_D.h5"


def run_demo(minutes: float, folder: Path, seed: int, threads: int | None, console: Console) -> None:
    """Everything, with what is done and found printed."""
    started = time.monotonic()
    data = data_folder()
    console.rule("1. Train on partitions of one structure")
    run = folder / f"run_{minutes:g}_minutes"
    config = demo_config(data / TRAIN, minutes, run, seed, threads)
    run_training(config, console)
    console.rule("2. Predict the unseen structure")
    prediction = folder / "prediction.h5"
    run_prediction(run, data / TEST, prediction, parts=1, cell=None, threads=threads, console=console)
    console.rule("3. Compare with CP2K")
    evaluation = evaluate(read_any(prediction), read_any(data / TEST))
    print_evaluation(evaluation, console)
    page = write_report(prediction, data / TEST, run, folder / "report.html", evaluation)
    console.print(f"Figures and numbers: {page.resolve()}", highlight=False, soft_wrap=True)
    console.print(f"{(time.monotonic() - started) / 60:.1f} minutes in all.", highlight=False)


def demo_config(train: Path, minutes: float, run_dir: Path, seed: int, threads: int | None) -> TrainingConfig:
    """The demo preset with a schedule for the time given."""
    return load_config("demo", [
        f"data.train=['{train}']", f"budget_minutes={minutes}", f"run_dir='{run_dir}'", f"seed={seed}",
        f"threads={threads if threads else 'null'}", f"optimizer.decay_patience={max(3, round(0.7 * minutes))}",
    ])


def data_folder() -> Path:
    """Where the shipped structures are.

    Raises:
        InputError: not in a checkout.
    """
    for folder in (Path(nearsight.__file__).parents[2] / "data", Path("data")):
        if (folder / TRAIN).exists() and (folder / TEST).exists():
            return folder
    raise InputError(f"expected the shipped structures {TRAIN} and {TEST} in the folder data of a checkout of "
                     "nearsight, got none; run the demo from a clone of the repository")
