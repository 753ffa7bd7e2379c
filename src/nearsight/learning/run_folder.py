"""The folder of a run: whether it holds a run to continue, and what was decided when that began.

Nothing here needs torch unless a run starts from a model: what a folder rules out is said at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nearsight.errors import ConfigError
from nearsight.learning.config import TrainingConfig, load_config, training_config
from nearsight.nn.config import ModelSection

if TYPE_CHECKING:
    from nearsight.nn.model import HamiltonianModel

CONFIG_FILE = "config.yaml"
MAY_CHANGE = {
    "budget_minutes",
    "max_epochs",
    "device",
    "run_dir",
    "checkpoint_seconds",
    "metrics_every",
    "memory_gb",
    "validation_every",
    "levels_every",
}
"""Keys that may change when a run is resumed."""


def check_run_folder(config: TrainingConfig) -> bool:
    """Return whether the run's folder holds a run to continue.

    Parameters
    ----------
    config : TrainingConfig
        The configuration of the run.

    Returns
    -------
    bool
        Whether there is a checkpoint.

    Raises
    ------
    ConfigError
        The folder holds a run of another configuration (what may change: `MAY_CHANGE`), or a new run cannot start from
        the model it is to start from.
    """
    folder = Path(config.run_dir)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"expected a folder for run_dir, got the file {folder}; give another run_dir")
    if not (folder / "last.safetensors").exists():
        if config.start_from is not None:
            _check_start(config, folder)
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


def _check_start(config: TrainingConfig, folder: Path) -> None:
    """Refuse a model that a new run in a folder cannot start from."""
    from nearsight.nn.model_file import find_model_file  # imports torch

    load_start(config)
    if find_model_file(Path(config.start_from or "")).resolve().parent == folder.resolve():
        raise ConfigError(
            f"expected another folder for run_dir than that of the model that the run starts from, got {folder}"
        )


def load_start(config: TrainingConfig) -> tuple[TrainingConfig, HamiltonianModel | None]:
    """Load the model that a run starts from.

    Parameters
    ----------
    config : TrainingConfig
        The configuration of the run.

    Returns
    -------
    config : TrainingConfig
        The configuration with the model section of that model.
    start : HamiltonianModel or None
        The model; None where the run does not start from one.

    Raises
    ------
    ConfigError
        The configuration's model section says otherwise.
    CheckpointError
        There is no model.
    """
    if config.start_from is None:
        return config, None
    from nearsight.nn.loading import load_model  # imports torch

    start = load_model(config.start_from)
    changed = differing_keys(config.model, start.config)
    if changed:
        stored = start.config.model_dump(mode="json")
        values = " ".join(f"model.{key}={stored[key]}" for key in changed)
        raise ConfigError(
            f"expected the model section of {config.start_from}, from which this run starts ({values}), got another "
            f"{', '.join(f'model.{key}' for key in changed)}; give those values, or no model section at all"
        )
    return _with_model(config, start.config), start


def _with_model(config: TrainingConfig, section: ModelSection) -> TrainingConfig:
    """Return the configuration with another model section, whose architecture what was given must fit."""
    if config.model.architecture == section.architecture:
        return config.model_copy(update={"model": section})
    given = config.model_dump(exclude_unset=True, serialize_as_any=True)
    return training_config({**given, "model": section.model_dump()})


def differing_keys(section: ModelSection, stored: ModelSection) -> list[str]:
    """Return the keys given in a model section whose values are not the stored ones; defaults do not count.

    Parameters
    ----------
    section : ModelSection
        The given section.
    stored : ModelSection
        The section of a stored model.

    Returns
    -------
    list of str
        The keys; `architecture` alone where that differs.
    """
    given = section.model_fields_set
    if type(section) is not type(stored):
        return ["architecture"] if given else []
    return [key for key in type(section).model_fields if key in given and getattr(section, key) != getattr(stored, key)]


def as_begun(config: TrainingConfig) -> TrainingConfig:
    """Return a configuration with what was decided when the run in its folder began.

    Decided then are what `partition.kind=auto` stands for, and the model section of a run that started from a model.

    Parameters
    ----------
    config : TrainingConfig
        The configuration of the run.

    Returns
    -------
    TrainingConfig
        The configuration, unchanged where the folder holds none.
    """
    path = Path(config.run_dir) / CONFIG_FILE
    if not path.exists():
        return config
    begun = load_config(path)
    if begun.start_from is not None:
        if not differing_keys(config.model, begun.model):
            config = _with_model(config, begun.model)
        # A run knows where it began; saying so again is optional.
        config = config.model_copy(update={"start_from": config.start_from or begun.start_from})
    if "cutoff" not in config.model.model_fields_set:
        config = with_cutoff(config, begun.model.cutoff)
    if getattr(config.partition, "kind", None) == "auto":
        kind = {"kind": getattr(begun.partition, "kind", "auto")}
        config = config.model_copy(update={"partition": config.partition.model_copy(update=kind)})
    return config


def with_cutoff(config: TrainingConfig, cutoff: float) -> TrainingConfig:
    """Return a configuration with another cutoff of the model, in Å."""
    return config.model_copy(update={"model": config.model.model_copy(update={"cutoff": cutoff})})


def changed_keys(old: TrainingConfig, new: TrainingConfig) -> list[str]:
    """Return the sections that differ and would make a resumed run another run.

    Parameters
    ----------
    old, new : TrainingConfig
        The configurations of the begun and of the resumed run.

    Returns
    -------
    list of str
        Keys outside `MAY_CHANGE` with different values.
    """
    a, b = (config.model_dump(serialize_as_any=True) for config in (old, new))
    return [key for key in a if key not in MAY_CHANGE and a[key] != b[key]]
