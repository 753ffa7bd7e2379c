"""TrainingConfig: a YAML file or a preset, with dotted overrides, checked before anything is loaded.

The sections `model`, `loss`, `partition` and `optimizer` belong to the architecture that `model.architecture` names; so
a key that would have no effect for it is unknown, and every default is that of the architecture.

Configurations of runs that began with version 0.1.0 are translated to the keys of today. Their `config.yaml` names the
architecture `model.network` and holds every key of both architectures, with and without effect; what had none is
dropped.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, create_model, field_validator, model_validator

from nearsight.configuration import Section, Shipped, apply_overrides, read_tree, rename_keys, validated
from nearsight.errors import ConfigError
from nearsight.nn.architectures.registry import DEFAULT, Architecture, architecture_named, preset_texts
from nearsight.nn.config import LossSection, ModelSection, OptimizerSection, PartitionSection

RENAMED = {
    "model.network": "model.architecture",
    "model.initial": "model.h0",
    "data.holdout_parts": "data.validation_slabs",
    "partition.bonds": "partition.bonds_per_batch",
    "loss.softness": "loss.huber_delta",
    "optimizer.average": "optimizer.ema_decay",
    "optimizer.partitions_per_step": "optimizer.batches_per_step",
    "judge": "monitor",
    "patience": "early_stopping",
}
"""Keys of version 0.1.0 and their names of today."""

HINTS = {**RENAMED, "threads": "the option --threads of the command (torch.set_num_threads in Python)"}
"""Former keys, and what a message says about each."""


def upgrade(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of keys and values with the names of today, where it is one of version 0.1.0.

    Parameters
    ----------
    tree : mapping
        Keys and values as in the YAML file.

    Returns
    -------
    dict
        A copy, with former keys renamed and keys without effect dropped.
    """
    copied: dict[str, Any] = copy.deepcopy(dict(tree))
    model = copied.get("model")
    if not isinstance(model, dict) or "network" not in model:
        return copied
    rename_keys(copied, RENAMED)
    copied.pop("threads", None)
    architecture = architecture_named(str(copied["model"]["architecture"]))
    sections = {"loss": architecture.loss_section, "partition": architecture.partition_section}
    for key, section in sections.items():
        own = copied.get(key)
        if isinstance(own, dict):
            copied[key] = {name: value for name, value in own.items() if name in section.model_fields}
    return copied


def renamed_hint(message: str) -> str:
    """Return what a message about an unknown key should add, where the key had that name in version 0.1.0; else ""."""
    found = [new for old, new in HINTS.items() if f"unknown key '{old}'" in message]
    return "".join(f"; it is {new} now" for new in found)


class DataConfig(Section):
    """Structures and Hamiltonians: anything that `nearsight import` reads, best its .h5, folders of them, patterns."""

    train: tuple[str, ...] = Field(
        (),
        description="training files, folders of .h5 files, patterns such as runs/*.h5, databases or rows of them (@N)",
    )
    validation: tuple[str, ...] = Field(
        (), description="the same for validation; none: some of ten or more training structures, else slabs of each"
    )
    validation_slabs: int = Field(
        1, ge=0, description="slabs of every training structure kept for validation, where none else is; 0: nothing is"
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="of ten or more structures, or of molecules, kept for validation where none is given",
    )
    check: bool = Field(True, description="look for faults of the data first (nearsight check --quick); errors end it")

    @field_validator("train", "validation", mode="before")
    @classmethod
    def _one_name(cls, names: object) -> object:
        return (names,) if isinstance(names, str) else names


class TrainingConfig(Section):
    """One training run; `load_config` and `training_config` make it with the sections of its architecture."""

    model: ModelSection
    data: DataConfig = DataConfig()
    partition: PartitionSection
    loss: LossSection
    optimizer: OptimizerSection
    start_from: str | None = Field(
        None, description="a run's folder or a model file: training begins with that model instead of random weights"
    )
    max_epochs: int | None = Field(None, ge=1, description="none: as the architecture has it")
    budget_minutes: float | None = Field(
        None, gt=0, description="stop after this time, resumed runs counted in, but not before the first epoch is done"
    )
    metrics_every: int = Field(10, ge=1, description="epochs between ε_n, ε_e, ε_tot of the validation set")
    validation_every: int = Field(1, ge=1, description="epochs between two validations")
    levels_every: int | None = Field(
        None,
        ge=1,
        description="epochs between errors of the levels around the gap of data.validation (which needs S); "
        "none: never",
    )
    monitor: Literal["loss", "levels"] = Field(
        "loss", description="what chooses the best model: the validation loss, or the errors of levels_every"
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="patience: epochs without a better model, by `monitor`, after which training ends; "
        "none: it does not",
    )
    checkpoint_seconds: float = Field(60.0, gt=0, description="at most so long between checkpoints")
    seed: int = Field(42, ge=-(10**12), le=10**12)
    precision: Literal["float32", "float64"] = "float32"
    device: str = Field("auto", description="cpu, cuda (an NVIDIA GPU), cuda:N; auto: a GPU where there is one")
    memory_gb: float | None = Field(
        None, gt=0, description="memory the process may use in all, 10⁹ bytes; what is available by default"
    )
    run_dir: str = Field("runs/run", description="folder of the run")

    @property
    def validation_slabs(self) -> int:
        """Number of slabs of every training structure that are kept for validation."""
        return self.data.validation_slabs

    def epochs(self, batches: int) -> int:
        """Return the number of epochs, given that of the batches of one.

        Where nobody said, it is the architecture's; more for few data, of which an epoch has few steps.
        """
        known = architecture_named(self.model.architecture)
        steps = -(-batches // self.optimizer.batches_per_step)
        return self.max_epochs or max(known.max_epochs, -(-known.least_steps // max(1, steps)))

    @field_validator("device")
    @classmethod
    def _known_device(cls, name: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
            raise ValueError("expected auto, cpu, cuda or cuda:N")
        return name

    @model_validator(mode="after")
    def _paths_possible(self) -> TrainingConfig:
        for path in (self.run_dir, self.start_from or "", *self.data.train, *self.data.validation):
            if "\0" in path:
                raise ValueError(f"expected paths without the character NUL, got {path!r:.80}")
        return self

    @model_validator(mode="after")
    def _levels_possible(self) -> TrainingConfig:
        if self.levels_every is not None and not self.data.validation:
            raise ValueError(
                "levels_every needs whole structures for validation: give data.validation=[...]; slabs of a structure "
                "have no levels"
            )
        if self.monitor == "levels" and self.levels_every is None:
            raise ValueError("monitor=levels needs levels_every")
        return self

    @model_validator(mode="after")
    def _early_stopping_possible(self) -> TrainingConfig:
        if self.early_stopping is not None and not self.data.validation and not self.data.validation_slabs:
            raise ValueError(
                "early_stopping needs something to validate on: data.validation=[...] or data.validation_slabs=1"
            )
        return self

    @model_validator(mode="after")
    def _validation_possible(self) -> TrainingConfig:
        whole = getattr(self.partition, "kind", None) == "whole"
        if whole and not self.data.validation and self.data.validation_slabs:
            raise ValueError(
                "partition.kind=whole leaves no slab for validation: give data.validation=[...] "
                "or data.validation_slabs=0"
            )
        return self


@dataclass(frozen=True)
class Presets(Shipped):
    """The YAML files that come with the architectures."""

    package: str = "nearsight"
    folder: str = "presets"
    what: str = "presets"

    def names(self) -> tuple[str, ...]:
        """Return the names of all presets, sorted."""
        return tuple(preset_texts())

    def text(self, name: str) -> str:
        """Return the YAML of a preset."""
        return preset_texts()[name]


def presets() -> tuple[str, ...]:
    """Return the names of the shipped configurations."""
    return Presets().names()


def load_config(source: str | Path, *overrides: Iterable[str] | Mapping[str, Any]) -> TrainingConfig:
    """Return a configuration from a preset's name or a YAML file, with changes.

    Parameters
    ----------
    source : str or Path
        A preset, or a file; the configuration of a run of an earlier version is understood.
    *overrides : iterable of str, or mapping
        Texts `key=value` with dotted keys and YAML values, or keys with values; later ones win.

    Returns
    -------
    TrainingConfig
        The checked configuration, of the class of its architecture.

    Raises
    ------
    ConfigError
        There is an unknown key (the message names the nearest known one) or a wrong value, or the file is unreadable.
    """
    tree = read_tree(source, Presets())
    for changes in overrides:
        apply_overrides(tree, changes)
    return training_config(tree, str(source))


def training_config(tree: Mapping[str, Any], source: str = "configuration") -> TrainingConfig:
    """Return the configuration that a tree of keys and values holds.

    Parameters
    ----------
    tree : mapping
        Keys and values; the names of version 0.1.0 are understood.
    source : str
        Where they come from, for messages.

    Returns
    -------
    TrainingConfig
        The checked configuration, of the class of its architecture.

    Raises
    ------
    ConfigError
        There is an unknown architecture, an unknown key (the message names the nearest known one), or a wrong value.
    """
    try:
        tree = upgrade(tree)
        section = tree.get("model", {})
        if isinstance(section, Mapping):
            name = section.get("architecture", DEFAULT)
        else:
            name = getattr(section, "architecture", DEFAULT)  # what is no section is said below
        return validated(config_class(architecture_named(str(name))), tree, source)
    except ConfigError as error:
        named = str(error) if source in str(error) else f"{source}: {error}"
        raise ConfigError(f"{named}{renamed_hint(str(error))}") from error


@cache
def config_class(architecture: Architecture) -> type[TrainingConfig]:
    """Return the class of the configurations of an architecture's runs, with its sections and defaults."""
    sections: dict[str, Any] = {
        "model": architecture.model_section,
        "partition": architecture.partition_section,
        "loss": architecture.loss_section,
        "optimizer": architecture.optimizer_section,
    }
    own: dict[str, Any] = {
        key: (kind, Field(default_factory=kind, validate_default=True)) for key, kind in sections.items()
    }
    steps = f", or what {architecture.least_steps:,} steps need" if architecture.least_steps else ""
    own["max_epochs"] = (int | None, Field(None, ge=1, description=f"none: {architecture.max_epochs:,}{steps}"))
    own["run_dir"] = (str, Field(f"runs/{architecture.name}", description="folder of the run"))
    return create_model("TrainingConfig", __base__=TrainingConfig, __doc__=TrainingConfig.__doc__, **own)


def dump_config(config: TrainingConfig) -> str:
    """Return the configuration as YAML that `load_config` reads."""
    return yaml.safe_dump(config.model_dump(mode="json", serialize_as_any=True), sort_keys=False)
