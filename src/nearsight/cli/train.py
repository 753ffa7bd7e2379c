"""`nearsight train`: a network from structures with Hamiltonians."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

EXAMPLE = """Train a network; run the same command again to continue a run that was stopped.

Example: nearsight train nearsight 'data.train=[data/aHfO2_372_C.h5]' budget_minutes=10 run_dir=runs/hfo2
"""


def train_command(
    config: Annotated[
        str, typer.Argument(help="a YAML file, or a preset's name (nearsight, xia2025, xia2025-molecules, demo)")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, dotted keys, YAML values")] = None,
    show: Annotated[bool, typer.Option("--show", help="print the whole configuration and stop")] = False,
) -> None:
    """Run a training."""
    from nearsight.cli.process import tune_process

    tune_process()
    from nearsight.learning.config import dump_config, load_config

    checked = load_config(config, overrides or [])
    console = Console()
    if show:
        console.print(dump_config(checked), end="", highlight=False)
        return
    from nearsight.cli.training_run import run_training

    run_training(checked, console)


class TrainingDisplay:
    """A progress line with loss, rate and time left, fed with log records."""

    def __init__(self, console: Console, budget_seconds: float | None, max_epochs: int) -> None:
        self.budget, self.max_epochs = budget_seconds, max_epochs
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            TextColumn("{task.fields[text]}"),
            console=console,
            refresh_per_second=2,
        )
        self.task = self.progress.add_task("training", total=1.0, left="?", text="")
        self.console = console
        self.last_line = 0.0
        self.latest: dict[str, float] = {}

    def update(self, record: dict[str, float | int | str]) -> None:
        """Show one record; a line of its own about every minute where the output is no terminal."""
        epoch, seconds = int(record["epoch"]), float(record["seconds"])
        self.latest |= {k: float(v) for k, v in record.items() if k.startswith("validation_eps")}
        fraction = epoch / self.max_epochs
        if self.budget:
            fraction = max(fraction, seconds / self.budget)
        left = seconds / fraction - seconds if fraction > 0 else 0.0
        text = (
            f"epoch {epoch}  {seconds / epoch:.2f} s/epoch  loss {record['loss']:.3e}  lr {record['learning_rate']:.1e}"
        )
        if "validation_loss" in record:
            text += f"  validation {record['validation_loss']:.3e}"
        for name, digits in (("n", 3), ("e", 4)):
            if f"validation_eps_{name}_mEh" in self.latest:
                text += f"  ε_{name} {self.latest[f'validation_eps_{name}_mEh']:.{digits}f} mE_h"
        self.progress.update(self.task, completed=min(fraction, 1.0), left=_clock(left), text=text)
        if not self.console.is_terminal and time.monotonic() - self.last_line > 30:
            self.last_line = time.monotonic()
            self.console.print(f"{text}  left {_clock(left)}", highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
