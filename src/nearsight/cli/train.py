"""`nearsight train`: a model from structures with Hamiltonians."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TimeElapsedColumn

from nearsight.cli.printing import Terminal, Words, say
from nearsight.cli.running import stopped_by_signals
from nearsight.folder_lock import check_free
from nearsight.launch import launched
from nearsight.progress import Event, Value

if TYPE_CHECKING:
    from nearsight.learning.config import TrainingConfig
    from nearsight.learning.training import TrainingResult

EXAMPLE = """Train a model; run the same command again to continue a run that was stopped.

Example: nearsight train nearsight 'data.train=[data/aHfO2_372_C.h5]' budget_minutes=10 run_dir=runs/hfo2

Several processes or GPUs: torchrun --nproc-per-node=2 -m nearsight train …
"""


def train_command(
    config: Annotated[
        str,
        typer.Argument(
            help="a YAML file, or a preset's name (nearsight, nearsight-h0, xia2025, xia2025-molecules, demo)"
        ),
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, dotted keys, YAML values")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores by default")] = None,
    show: Annotated[bool, typer.Option("--show", help="print the whole configuration and stop")] = False,
) -> None:
    """Run a training."""
    from nearsight.cli.process import own_share, tune_waiting_and_memory

    tune_waiting_and_memory()
    from nearsight.learning.config import dump_config, load_config

    checked, console = load_config(config, overrides or []), Terminal()
    if show:
        say(console, dump_config(checked).rstrip("\n"))
        return
    train_shown(checked, console, threads or own_share())


def train_shown(config: TrainingConfig, console: Console, threads: int | None = None) -> TrainingResult:
    """Train with a display; a signal stops the run so that it can be continued."""
    first = not launched().rank
    if first:  # before what takes seconds to be imported
        check_free(config.run_dir, "give another run_dir")
        say(console, f"{config.model.architecture}, to {config.run_dir}: reading the data")
    from nearsight.api.training import describe_result, run_training

    if not first:
        with stopped_by_signals() as stop:
            return run_training(config, stop=stop, threads=threads)
    display = TrainingDisplay(console, config.budget_minutes)
    with stopped_by_signals() as stop, display.progress if console.is_terminal else nullcontext():
        result = run_training(config, progress=display.update, stop=stop, threads=threads)
    say(console, describe_result(result, bool(config.data.validation or config.data.validation_slabs)))
    say(console, f"model: {result.folder / 'best.safetensors'}")
    return result


class TrainingDisplay:
    """A progress line with loss, rate and time left, fed with the events of a training."""

    def __init__(self, console: Console, budget_minutes: float | None) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            Words("{task.description}"),
            BarColumn(bar_width=24),
            Words("{task.percentage:3.0f}%"),
            TimeElapsedColumn(),
            Words("left {task.fields[left]}"),
            Words("{task.fields[text]}"),
            console=console,
            refresh_per_second=2,
        )
        self.budget, self.max_epochs = 60 * budget_minutes if budget_minutes else None, 1
        self.task = self.progress.add_task("training", total=1.0, left="?", text="")
        self.console = console
        self.last_line = 0.0
        self.latest: dict[str, float] = {}

    def update(self, event: Event) -> None:
        """Show one event; epochs get a line of their own about every minute where the output is no terminal."""
        if event.message:
            say(self.console, event.message)
        self.max_epochs = int(event.values.get("max_epochs", self.max_epochs))
        if "epoch" in event.values:
            self._epoch(event.values)

    def _epoch(self, record: Mapping[str, Value]) -> None:
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
            say(self.console, f"{text}  left {_clock(left)}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
