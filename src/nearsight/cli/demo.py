"""`nearsight demo`: train networks on one shipped structure, predict the other, compare, write the page."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from nearsight.cli.printing import Terminal, say, show

if TYPE_CHECKING:
    from nearsight.learning.config import TrainingConfig
    from nearsight.report.compared_prediction import ComparedPrediction

EXAMPLE = """Train two networks on one structure of amorphous HfO2, predict another, and write a page of figures.

Example: nearsight demo --minutes 1

Example: nearsight demo --only nearsight

The networks are the default one (nearsight) and the paper's (xia2025), one after the other, each for --minutes. The
data are real CP2K calculations of 372 atoms each, shipped with nearsight: one to train on (some of it kept for
validation) and one, unseen, to test.
"""
TRAIN, TEST = "aHfO2_372_C.h5", "aHfO2_372_D.h5"
PRESETS = {"nearsight": "nearsight", "xia2025": "demo"}
"""Network → preset. The paper's own schedule is for days."""


class Network(str, Enum):
    """What the demo can train."""

    NEARSIGHT = "nearsight"
    XIA2025 = "xia2025"


def demo_command(
    minutes: Annotated[float, typer.Option("--minutes", min=0.05, help="training time of each network")] = 3.5,
    only: Annotated[Network | None, typer.Option("--only", help="one network instead of both")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="where the results go; continues runs found there")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="of the random start")] = 42,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores by default")] = None,
) -> None:
    """Train, predict, evaluate, report."""
    from nearsight.cli.process import tune_process

    tune_process(threads)
    run_demo(minutes, folder, seed, Terminal(), None if only is None else only.value)


def run_demo(minutes: float, folder: Path, seed: int, console: Console, only: str | None = None) -> None:
    """Run everything, with what is done and found printed.

    Raises
    ------
    KeyboardInterrupt
        A training was stopped by a signal; the next call continues it.
    """
    from nearsight.api.reports import compare_predictions
    from nearsight.cli.predict import predict_shown
    from nearsight.cli.train import train_shown

    started, data, page = time.monotonic(), data_folder(), folder / "report.html"
    names = list(PRESETS) if only is None else [only]
    runs = {name: folder / f"{name}_{minutes:g}_minutes" for name in names}
    for step, (name, run) in enumerate(runs.items(), 1):
        console.rule(f"{step}. Train {name} on one structure")
        if train_shown(demo_config(name, data / TRAIN, minutes, run, seed), console).interrupted:
            raise KeyboardInterrupt
    console.rule(f"{len(names) + 1}. Predict the unseen structure")
    predictions, of_run = {}, {}
    for name, run in runs.items():
        for title, solved in ways_to_predict(name, run):
            predictions[title], of_run[title] = folder / f"{title.replace(', ', '_')}.h5", run
            predict_shown(run, data / TEST, predictions[title], 1, None, console, solved)
    console.rule(f"{len(names) + 2}. Compare with CP2K")
    show(console, comparison_table(compare_predictions(predictions, data / TEST, page, runs=of_run)))
    say(console, f"Figures and numbers: {page.resolve()}")
    say(console, f"{(time.monotonic() - started) / 60:.1f} minutes in all.")


def ways_to_predict(name: str, run: Path) -> list[tuple[str, bool]]:
    """Titles of the predictions of a run, and whether each is self-consistent: both where the model has learnt it."""
    from nearsight.api.models import load_model

    if load_model(run).inner.density_functional is None:
        return [(name, False)]
    return [(f"{name}, plain", False), (f"{name}, self-consistent", True)]


def comparison_table(predictions: list[ComparedPrediction]) -> Table:
    """The numbers that matter most, a column for each prediction."""
    from nearsight.report.compared_prediction import key_rows

    table = Table(title="Errors on the unseen structure", title_justify="left")
    table.add_column("")
    for name in (*(p.name for p in predictions), "reference"):
        table.add_column(name, justify="right")
    for row in key_rows(predictions):
        table.add_row(*row)
    return table


def demo_config(network: str, train: Path, minutes: float, run_dir: Path, seed: int) -> TrainingConfig:
    """The network's preset with a schedule for the time given, which alone ends the run."""
    from nearsight.learning.config import load_config

    changes = {
        "data.train": [str(train)],
        "data.check": False,  # the tests check the shipped structures
        "budget_minutes": minutes,
        "run_dir": str(run_dir),
        "seed": seed,
        "max_epochs": 20_000,
        "metrics_every": 5,
    }
    if network == "xia2025":
        changes["optimizer.decay_patience"] = max(3, round(0.7 * minutes))
    return load_config(PRESETS[network], changes)


def data_folder() -> Path:
    """Where the shipped structures are.

    Raises
    ------
    InputError
        This is not a checkout.
    """
    import nearsight
    from nearsight.errors import InputError

    for folder in (Path(nearsight.__file__).parents[2] / "data", Path("data")):
        if (folder / TRAIN).exists() and (folder / TEST).exists():
            return folder
    raise InputError(
        f"expected the shipped structures {TRAIN} and {TEST} in the folder data of a checkout of nearsight, got none; "
        "run the demo from a clone of the repository"
    )
