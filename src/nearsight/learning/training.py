"""From a configuration to a trained run: load, cut, build, train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from nearsight.atomic_files import write_text_atomically
from nearsight.errors import ConfigError, InputError
from nearsight.learning.checkpoint import Progress
from nearsight.learning.config import TrainingConfig, dump_config, load_config
from nearsight.learning.fine_tuning import as_continued, begin_xia2025, load_start, origin
from nearsight.learning.loop import Levels, Parts, Record, Trainer
from nearsight.learning.memory import available_bytes
from nearsight.nn.architectures.nearsight.model import BondModel
from nearsight.nn.architectures.nearsight.training import begin_bond_model, calibrate, prepare_bonds
from nearsight.nn.architectures.xia2025.batches import Outline, Pieces, Room, common_basis, hold_out, make_outlines
from nearsight.nn.architectures.xia2025.config import ModelConfig
from nearsight.nn.architectures.xia2025.memory_plan import Plan, choose_partition, make_plan
from nearsight.nn.model import Model, new_model
from nearsight.operators.calculation import Calculation

DTYPES = {"float32": torch.float32, "float64": torch.float64}
CONFIG_FILE = "config.yaml"


@dataclass(frozen=True)
class TrainingResult:
    """What a run ended with.

    Attributes:
        model: with the weights of the last step.
        progress: epochs, steps, seconds, best validation loss.
        reason: why it stopped.
        folder: the run's folder.
    """

    model: Model | BondModel
    progress: Progress
    reason: str
    folder: Path

    @property
    def interrupted(self) -> bool:
        """Whether a signal stopped it."""
        return self.reason.startswith("stopped by ")


def train(
    config: TrainingConfig,
    training: Sequence[Calculation],
    validation: Sequence[Calculation],
    report: Callable[[Record], None] = lambda record: None,
    note: Callable[[str], None] = lambda text: None,
    levels: Levels | None = None,
) -> TrainingResult:
    """Train a network, or continue the run in `config.run_dir`.

    Args:
        config: checked configuration.
        training, validation: calculations with Hamiltonians.
        report: called with every log record.
        note: called with what is being done.
        levels: errors of the levels of the validation structures (`inference.level_check`); needed where the
            configuration asks for them.

    Raises:
        ConfigError: the folder holds a run of another configuration, there is nothing to train on, or the data or the
            configuration do not fit the model that the run starts from.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.levels_every is not None and levels is None:
        raise ConfigError("expected something that computes levels with levels_every, got none")
    folder = Path(config.run_dir)
    resuming = check_run_folder(config)
    config, start = (as_begun(config), None) if resuming else load_start(config)
    fabric = Fabric(accelerator=config.device, devices=1)
    model: Model | BondModel
    dtype, provenance = DTYPES[config.precision], _provenance(config, training) | origin(config, start)
    if isinstance(config.model, ModelConfig):
        model = _begin_model(config, config.model, start, [*training, *validation], dtype, provenance)
        note("cutting structures into parts")
        config, train_parts, held_parts = prepare(config, model, training, validation, fabric.device, note)
        parts: tuple[Parts, Parts] = (train_parts, held_parts)
    else:
        known = start if isinstance(start, BondModel) else None
        model = begin_bond_model(config, training, dtype, provenance, note, known)
        parts = bond_parts = prepare_bonds(config, model, training, validation, fabric.device, resuming, note, known)
    trainer = Trainer(model, config, *parts, fabric, report, levels)
    note(model.network.describe_path())
    if resuming:
        trainer.resume()
        note(f"continuing at epoch {trainer.progress.epoch}")
    _write_config(folder, config)
    reason = trainer.run()
    if isinstance(model, BondModel) and (folder / "best.safetensors").exists():
        note("calibrating the uncertainty")
        calibrate(folder / "best.safetensors", *bond_parts)
    return TrainingResult(model, trainer.progress, reason, folder)


def _begin_model(
    config: TrainingConfig,
    section: ModelConfig,
    start: Model | BondModel | None,
    calculations: Sequence[Calculation],
    dtype: torch.dtype,
    provenance: dict[str, str],
) -> Model:
    if config.start_from is None:
        return new_model(section, common_basis(calculations), dtype, config.seed, provenance)
    return begin_xia2025(config, start, calculations, dtype, provenance)


def prepare(
    config: TrainingConfig,
    model: Model,
    training: Sequence[Calculation],
    validation: Sequence[Calculation],
    device: torch.device,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[TrainingConfig, Pieces, Pieces]:
    """The configuration with its partition decided; training and validation pieces that fit into memory."""
    if not training:
        raise ConfigError("expected data.train=[file, …] with at least one file, got none")
    available = available_bytes(device, config.memory_gb)
    if config.partition.kind == "auto":

        def whole() -> Plan:
            parts = outlines_of(_with_partition(config, "whole"), model, training, validation)
            return make_plan([*parts[0], *parts[1]], model, config, available, device)

        config = _with_partition(config, choose_partition(config, whole))
        note(f"partition.kind=auto: {config.partition.kind}")
    train_parts, held_parts = outlines_of(config, model, training, validation)
    note(f"{len(train_parts)} parts to train on, {len(held_parts)} for validation")
    plan = make_plan([*train_parts, *held_parts], model, config, available, device)
    note(plan.describe())
    model.network.chunk = plan.chunk
    room = Room(plan.room)
    return config, Pieces(train_parts, model, device, room), Pieces(held_parts, model, device, room)


def outlines_of(
    config: TrainingConfig, model: Model, training: Sequence[Calculation], validation: Sequence[Calculation]
) -> tuple[list[Outline], list[Outline]]:
    """Parts to train on and parts for validation."""
    chosen: list[Outline] = []
    held: list[Outline] = []
    for calculation in training:
        parts = make_outlines(calculation, model, config.partition)
        if validation or not config.data.holdout_parts:
            chosen += parts
        else:
            kept, out = hold_out(parts, config.data.holdout_parts)
            chosen, held = chosen + kept, held + out
    for calculation in validation:
        held += make_outlines(calculation, model, config.partition)
    return chosen, held


def check_run_folder(config: TrainingConfig) -> bool:
    """Whether the run's folder holds a run to continue.

    Raises:
        ConfigError: it holds a run of another configuration (what may change: budget, epochs, threads, memory, device),
            or a new run cannot start from the model it is to start from.
    """
    folder = Path(config.run_dir)
    if not (folder / "last.safetensors").exists():
        load_start(config)
        return False
    path = folder / CONFIG_FILE
    if path.exists():
        changed = changed_keys(load_config(path), as_begun(config))
        if changed:
            raise ConfigError(
                f"{folder}: expected the configuration of the run in this folder, got another "
                f"{', '.join(changed)}; give another run_dir, or the old values to continue"
            )
    return True


def as_begun(config: TrainingConfig) -> TrainingConfig:
    """A configuration with what was decided when the run in its folder began: what partition.kind=auto is, and the
    model section of a run that started from a model."""
    path = Path(config.run_dir) / CONFIG_FILE
    if not path.exists():
        return config
    begun = load_config(path)
    config = as_continued(config, begun)
    return _with_partition(config, begun.partition.kind) if config.partition.kind == "auto" else config


def _with_partition(config: TrainingConfig, kind: str) -> TrainingConfig:
    return config.model_copy(update={"partition": config.partition.model_copy(update={"kind": kind})})


def changed_keys(old: TrainingConfig, new: TrainingConfig) -> list[str]:
    """Sections that differ and would make a resumed run another run."""
    free = {
        "budget_minutes",
        "max_epochs",
        "threads",
        "device",
        "run_dir",
        "checkpoint_seconds",
        "metrics_every",
        "memory_gb",
        "validation_every",
        "levels_every",
    }
    a, b = old.model_dump(), new.model_dump()
    return [key for key in a if key not in free and a[key] != b[key]]


def _write_config(folder: Path, config: TrainingConfig) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / CONFIG_FILE, dump_config(config))
    except OSError as error:
        raise InputError(f"{folder}: expected a folder for the run that can be written, got {error}") from error


def _provenance(config: TrainingConfig, training: Sequence[Calculation]) -> dict[str, str]:
    return {
        "training_data": ", ".join(
            f"{Path(f).name} ({c.structure.formula})" for f, c in zip(config.data.train, training)
        ),
        "seed": str(config.seed),
        "network": config.model.network,
        "torch": torch.__version__,
    }
