"""TrainingLog: what a run wrote while it trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.foreign_files import read_text, reading

LOG_FILE = "log.jsonl"
CONFIG_FILE = "config.yaml"


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """The record of a training run: one entry per epoch, ascending, NaN where a number was not measured.

    Attributes
    ----------
    epoch : ndarray, shape (n,)
        The numbers of the epochs, int64.
    seconds : ndarray, shape (n,)
        The training time so far.
    loss, validation_loss : ndarray, shape (n,)
        The losses of training and validation.
    learning_rate : ndarray, shape (n,)
        The learning rates.
    eps_n, eps_e, eps_tot : ndarray, shape (n,)
        The errors of the validation, mE_h: on site, between atoms, of all elements.
    """

    epoch: np.ndarray
    seconds: np.ndarray
    loss: np.ndarray
    validation_loss: np.ndarray
    learning_rate: np.ndarray
    eps_n: np.ndarray
    eps_e: np.ndarray
    eps_tot: np.ndarray

    def last_errors(self) -> tuple[float, float, float]:
        """Return the last measured ε_n, ε_e, ε_tot, mE_h; NaN where none was measured."""
        return _last(self.eps_n), _last(self.eps_e), _last(self.eps_tot)

    @property
    def validated(self) -> bool:
        """Whether there is a validation loss at all: a run that holds nothing out has none."""
        return bool(np.isfinite(self.validation_loss).any())

    @property
    def measured(self) -> bool:
        """Whether any of ε_n, ε_e, ε_tot was measured."""
        return bool(np.isfinite([self.eps_n, self.eps_e, self.eps_tot]).any())

    @property
    def best(self) -> int:
        """The position of the lowest validation loss, or of the lowest loss where none was measured."""
        monitored = self.validation_loss if self.validated else self.loss
        return int(np.nanargmin(monitored)) if np.isfinite(monitored).any() else len(monitored) - 1


def read_training_log(path: Path) -> TrainingLog:
    """Read the `log.jsonl` of a run; a last line that was cut off (the run is still writing) is ignored.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FormatError
        Where there is no such file, a line is not JSON or has no epoch, or there is no line at all.
    """
    with reading(path, "a training log"):
        return _read(path)


def _read(path: Path) -> TrainingLog:
    lines = read_text(path, "a training log", any_encoding=True).splitlines()
    records = []
    for k, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            records.append((int(record["epoch"]), record))
        except (ValueError, KeyError, TypeError) as error:
            if k < len(lines) - 1:
                got = f"{line[:60]!r} in line {k + 1}"
                raise FormatError(path, f"expected JSON with an epoch, got {got}") from error
    if not records:
        raise FormatError(path, "expected at least one epoch, got an empty log; is the first epoch over?")
    records.sort(key=lambda pair: pair[0])

    def column(key: str) -> np.ndarray:
        return np.array([_number(record.get(key)) for _, record in records])

    return TrainingLog(
        np.array([epoch for epoch, _ in records]),
        column("seconds"),
        column("loss"),
        column("validation_loss"),
        column("learning_rate"),
        column("validation_eps_n_mEh"),
        column("validation_eps_e_mEh"),
        column("validation_eps_tot_mEh"),
    )


def read_run(folder: Path, log_required: bool = True) -> tuple[TrainingLog | None, str | None]:
    """Read what a page shows of a run: its log and its configuration.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    log_required : bool, optional
        Whether a missing log is an error; a run that was stopped in its first epoch has none.

    Returns
    -------
    log : TrainingLog or None
        The record of the training.
    config : str or None
        The configuration, YAML.

    Raises
    ------
    FormatError
        Where the log is required and missing, or damaged.
    """
    log, config = folder / LOG_FILE, folder / CONFIG_FILE
    return (
        read_training_log(log) if log_required or log.exists() else None,
        read_text(config, "a configuration", any_encoding=True) if config.exists() else None,
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _last(values: np.ndarray) -> float:
    measured = values[np.isfinite(values)]
    return float(measured[-1]) if len(measured) else float("nan")
