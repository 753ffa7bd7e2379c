"""Load the data of a configuration and train with a display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console

from nearsight.cli.train import TrainingDisplay
from nearsight.errors import ConfigError
from nearsight.formats.registry import read_any
from nearsight.learning.config import TrainingConfig
from nearsight.learning.training import TrainingResult, check_run_folder, train
from nearsight.operators.calculation import Calculation


def run_training(config: TrainingConfig, console: Console) -> TrainingResult:
    """Train as configured; prints what is done and where the result is."""
    if not config.data.train:
        raise ConfigError("expected data.train=[file, …] with at least one file, got none")
    check_run_folder(config)
    training = load_all(config.data.train, console)
    validation = load_all(config.data.validation, console)
    budget = config.budget_minutes * 60 if config.budget_minutes else None
    display = TrainingDisplay(console, budget, config.max_epochs)

    def note(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    with display.progress if console.is_terminal else nullcontext():
        result = train(config, training, validation, display.update, note)
    p = result.progress
    console.print(f"{result.reason}. {p.epoch} epochs, {p.step} steps, {p.seconds / 60:.1f} minutes; "
                  f"{_best(result, bool(validation or config.data.holdout_parts))}", highlight=False, soft_wrap=True)
    console.print(f"model: {result.folder / 'best.safetensors'}", highlight=False, soft_wrap=True)
    return result


def _best(result: TrainingResult, validated: bool) -> str:
    """Which epoch was the best; a run that ended within its first epoch has judged none."""
    p = result.progress
    if not math.isfinite(p.best_loss):
        return "no epoch was judged"
    return f"best {'validation ' if validated else ''}loss {p.best_loss:.4e} at epoch {p.best_epoch}"


def load_all(paths: Sequence[str], console: Console) -> list[Calculation]:
    """Calculations from files, each with one line about it."""
    loaded = []
    for path in paths:
        calculation = read_any(path)
        calculation.require_hamiltonian()
        console.print(f"{path}: {calculation.structure.formula}, {calculation.basis.describe()}", highlight=False,
                      soft_wrap=True)
        loaded.append(calculation)
    return loaded
