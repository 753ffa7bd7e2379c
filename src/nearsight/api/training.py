"""Training from files: read, check, train, with what is done said as progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearsight.checks.linter import check_calculation, check_set
from nearsight.checks.subject import Finding
from nearsight.errors import ConfigError, InputError
from nearsight.folder_lock import check_free
from nearsight.formats.data_names import data_names, read_named
from nearsight.kept_results import kept
from nearsight.launch import launched
from nearsight.learning.config import TrainingConfig
from nearsight.learning.run_folder import check_run_folder
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, StopToken, silent

if TYPE_CHECKING:
    from nearsight.learning.training import TrainingResult


def run_training(
    config: TrainingConfig,
    training: Sequence[Calculation] | None = None,
    validation: Sequence[Calculation] | None = None,
    *,
    progress: Progress = silent,
    stop: StopToken | None = None,
    threads: int | None = None,
) -> TrainingResult:
    """Train as configured, or continue the run in `config.run_dir`.

    Parameters
    ----------
    config : TrainingConfig
        As `nearsight.learning.config.load_config` returns it.
    training, validation : sequence of Calculation, optional
        In place of the files that the configuration names.
    progress : Progress
        Told what is done; log records come as the values of events.
    stop : StopToken, optional
        Ends the run at the next step; the same call continues it.
    threads : int, optional
        CPU threads of torch; as they are set by default.

    Raises
    ------
    ConfigError
        Nothing to train on, or a folder with another run.
    InputError
        Faults in the data, where `config.data.check` is set.

    Notes
    -----
    Data are read and checked before torch is imported, which takes longer than that.
    """
    if not config.data.train and training is None:
        raise ConfigError("expected data.train=[file, …] with at least one file, got none")
    launch = launched()
    if config.device not in ("cpu", "auto"):
        from nearsight.nn.devices import device_named

        device_named(config.device, launch.local_rank)  # refused before anything is read
    if training is None:
        config = _with_data(config, data_names(config.data.train), data_names(config.data.validation))
    if launch.rank == 0:  # which has the folder's lock while the others come here
        check_free(config.run_dir, "give another run_dir")
        check_run_folder(config)
    training = read_all(config.data.train, progress) if training is None else training
    validation = read_all(config.data.validation, progress) if validation is None else validation
    if config.data.check:
        check_data(config, training, validation, progress)
    from nearsight.api.overlaps import with_known_functions, with_overlaps
    from nearsight.inference.level_check import LevelCheck
    from nearsight.learning.training import train
    from nearsight.nn.devices import limit_threads

    if threads:
        limit_threads(threads)
    training = with_overlaps(with_known_functions(training, progress), progress)
    levels = None if config.levels_every is None else LevelCheck(validation)
    return train(config, training, validation, progress=progress, stop=stop, levels=levels)


def _with_data(config: TrainingConfig, train: Sequence[str], validation: Sequence[str]) -> TrainingConfig:
    data = config.data.model_copy(update={"train": tuple(train), "validation": tuple(validation)})
    return config.model_copy(update={"data": data})


def read_all(paths: Sequence[str], progress: Progress = silent) -> list[Calculation]:
    """Return the calculations of files, each of which is named as it is read."""
    found = []
    for path in paths:
        calculation = read_named(path)
        calculation.require_hamiltonian()
        progress(Event(f"{path}: {calculation.structure.formula}, {calculation.basis.describe()}"))
        found.append(calculation)
    return found


def check_data(
    config: TrainingConfig,
    training: Sequence[Calculation],
    validation: Sequence[Calculation],
    progress: Progress = silent,
) -> None:
    """Look for the faults that `nearsight check --quick` finds, and say warnings.

    Raises
    ------
    InputError
        Errors in the data.
    """
    items, others = list(zip(config.data.train, training)), list(zip(config.data.validation, validation))
    cutoff, count = config.model.cutoff, len(items) + len(others)
    progress(Event(f"looking for faults in {count} structure{'s' if count > 1 else ''} (not with data.check=false)"))
    _refuse(check_set(items, others), progress)  # takes no time
    for name, calculation in items + others:
        _refuse(_serious(calculation, name, cutoff), progress)


def _serious(calculation: Calculation, name: str, cutoff: float) -> list[Finding]:
    """Warnings and errors of a structure; those of one that was looked at before are at hand (`kept_results`)."""

    def look() -> dict[str, np.ndarray]:
        found = check_calculation(calculation, name, cutoff=cutoff, quick=True)
        rows = [[f.level, f.check, f.message, f.meaning, f.advice] for f in found if f.level != "note"]
        return {"findings": np.array(rows, dtype=str).reshape(-1, 5)}

    rows = kept(look, "faults", calculation, cutoff)["findings"].tolist()
    return [Finding(level, check, name, *words) for level, check, *words in rows]


def _refuse(findings: Sequence[Finding], progress: Progress) -> None:
    """Say warnings and errors, and raise the first error."""
    serious = [finding for finding in findings if finding.level != "note"]
    for finding in serious:
        progress(Event(f"{finding.level}: {finding.file}, {finding.check}: {finding.message}"))
    errors = [f for f in serious if f.level == "error"]
    if errors:
        raise InputError(
            f"expected sound training data, got {errors[0].file}: {errors[0].message}. {errors[0].meaning} "
            "`nearsight check` says more; data.check=false trains all the same"
        )


def describe_result(result: TrainingResult, validated: bool) -> str:
    """Say why a run ended and which epoch was the best; one that ended within its first epoch has none."""
    s = result.state
    best = "no epoch was validated"
    if math.isfinite(s.best_loss):
        best = f"best {'validation ' if validated else ''}loss {s.best_loss:.4e} at epoch {s.best_epoch}"
    return f"{result.reason}. {s.epoch} epochs, {s.step} steps, {s.seconds / 60:.1f} minutes; {best}"
