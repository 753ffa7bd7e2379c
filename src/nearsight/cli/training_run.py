"""Load the data of a configuration and train with a display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console
from rich.markup import escape

from nearsight.checks.linter import check_calculation, check_set
from nearsight.cli.train import TrainingDisplay
from nearsight.errors import ConfigError, InputError
from nearsight.formats.registry import read_any
from nearsight.inference.level_check import LevelCheck
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
    if config.data.check:
        check_data(config, training, validation, console)
    levels = None if config.levels_every is None else LevelCheck(validation)
    budget = config.budget_minutes * 60 if config.budget_minutes else None
    display = TrainingDisplay(console, budget, config.max_epochs)

    def note(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    with display.progress if console.is_terminal else nullcontext():
        result = train(config, training, validation, display.update, note, levels)
    p = result.progress
    console.print(
        f"{result.reason}. {p.epoch} epochs, {p.step} steps, {p.seconds / 60:.1f} minutes; "
        f"{_best(result, bool(validation or config.data.holdout_parts))}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"model: {result.folder / 'best.safetensors'}", highlight=False, soft_wrap=True)
    return result


def check_data(
    config: TrainingConfig, training: Sequence[Calculation], validation: Sequence[Calculation], console: Console
) -> None:
    """What `nearsight check --quick` finds in the data; warnings are printed.

    Raises:
        InputError: errors in the data.
    """
    items, held = list(zip(config.data.train, training)), list(zip(config.data.validation, validation))
    cutoff = config.model.cutoff
    findings = [f for name, c in items + held for f in check_calculation(c, name, cutoff=cutoff, quick=True)]
    serious = [f for f in findings + check_set(items, held) if f.level != "note"]
    for finding in serious:
        style = "red" if finding.level == "error" else "yellow"
        console.print(
            f"[{style}]{finding.level}[/] {escape(finding.file)}, {finding.check}: {escape(finding.message)}",
            highlight=False,
            soft_wrap=True,
        )
    errors = [f for f in serious if f.level == "error"]
    if errors:
        raise InputError(
            f"expected sound training data, got {errors[0].file}: {errors[0].message}. "
            f"{errors[0].meaning} `nearsight check` says more; data.check=false trains all the same"
        )


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
        console.print(
            f"{path}: {calculation.structure.formula}, {calculation.basis.describe()}", highlight=False, soft_wrap=True
        )
        loaded.append(calculation)
    return loaded
