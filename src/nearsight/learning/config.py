"""TrainingConfig: a YAML file or a preset, with dotted overrides, checked before anything is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from nearsight.errors import ConfigError
from nearsight.nn.architectures.nearsight.config import BondConfig
from nearsight.nn.architectures.xia2025.config import ModelConfig
from nearsight.partition.partitioner import PARTITIONERS

NETWORKS = ("nearsight", "xia2025")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Files with structures and Hamiltonians (anything that `nearsight import` reads, best its .h5)."""

    train: tuple[str, ...] = Field((), description="training files")
    validation: tuple[str, ...] = Field((), description="validation files; none: parts of the training structures")
    holdout_parts: int = Field(
        1, ge=0, description="parts of every training structure kept for validation, where no validation file is given"
    )
    check: bool = Field(True, description="look for faults of the data first (nearsight check --quick); errors end it")


class PartitionConfig(_Section):
    """How structures are cut (paper, section 3.3)."""

    kind: str = Field(
        "slabs",
        description="slabs; whole: the whole structure in one step; auto: whole where it fits "
        "into memory and nothing is held out for validation, else slabs",
    )
    axis: Literal[0, 1, 2, "longest"] = Field("longest", description="lattice direction that is cut")
    thickness: float | None = Field(3.0, gt=0, description="of a slab, Å")
    count: int | None = Field(None, ge=1, description="number of slabs, instead of the thickness")
    halo: bool = Field(True, description="virtual nodes and edges; false only for the ablation of Table 2")
    bonds: int = Field(
        1024,
        ge=1,
        description="network nearsight: bonds in a part, drawn at random; the other keys only say what is held out",
    )

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        known = [*PARTITIONERS, "whole", "auto"]
        if kind not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return kind


class LossConfig(_Section):
    """Loss in the coupled space (paper, appendix A)."""

    kind: Literal["mse", "rmse_mae"] = Field(
        "mse", description="network xia2025: mse (materials) or rmse + mae (molecules)"
    )
    masked: bool = Field(False, description="network xia2025: leave the padding out")
    huber_delta: float = Field(
        0.3,
        ge=0,
        description="network nearsight: errors below it count as squares, larger ones "
        "linearly; in units of the weighted error",
    )
    weight_power: float = Field(
        0.5,
        ge=0,
        le=1,
        description="network nearsight: errors in units of their r.m.s. weigh "
        "as this power of it (meV): 0 all alike, 1 as energies",
    )


class OptimizerConfig(_Section):
    """Adam and ReduceLROnPlateau (paper, Table 7), or AdamW and a cosine."""

    kind: Literal["adam", "adamw"] = Field("adam", description="adamw: with decoupled weight decay")
    weight_decay: float = Field(0.0, ge=0, description="of adamw")
    schedule: Literal["plateau", "cosine"] = Field(
        "plateau", description="cosine: over budget_minutes or max_epochs, whichever ends first"
    )
    warmup_steps: int = Field(0, ge=0, description="steps over which the rate rises")
    clip_norm: float | None = Field(None, gt=0, description="longest gradient")
    average: float | None = Field(
        None, gt=0, lt=1, description="decay of the moving average of the weights, which is what is validated and kept"
    )
    learning_rate: float = Field(1e-4, gt=0)
    minimum_learning_rate: float = Field(
        1e-5, ge=0, description="plateau: training stops when it is reached; cosine: the last rate"
    )
    decay_factor: float = Field(0.5, gt=0, lt=1)
    decay_patience: int = Field(500, ge=0, description="epochs")
    decay_threshold: float = Field(1e-3, ge=0, description="relative")
    partitions_per_step: int = Field(1, ge=1, description="parts in one optimiser step, with one common denominator")
    shuffle: bool = Field(True, description="order of the parts anew in every epoch")

    @model_validator(mode="after")
    def _keys_have_effect(self) -> OptimizerConfig:
        if self.kind == "adam" and self.weight_decay:
            raise ValueError("weight_decay is only for kind=adamw: give optimizer.kind=adamw or no weight_decay")
        if self.schedule == "plateau" and self.warmup_steps:
            raise ValueError("warmup_steps are only for schedule=cosine: give optimizer.schedule=cosine or none")
        return self


def _network(section: Any) -> str | None:
    """Which network a model section is for: nearsight unless it says otherwise."""
    if isinstance(section, dict):
        return str(section.get("network", "nearsight"))
    return getattr(section, "network", None)


class TrainingConfig(_Section):
    """One training run."""

    model: Annotated[
        Annotated[ModelConfig, Tag("xia2025")] | Annotated[BondConfig, Tag("nearsight")], Discriminator(_network)
    ] = BondConfig()
    data: DataConfig = DataConfig()
    partition: PartitionConfig = PartitionConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    start_from: str | None = Field(
        None, description="a run's folder or a model file: training begins with that model instead of random weights"
    )
    max_epochs: int = Field(20_000, ge=1)
    budget_minutes: float | None = Field(
        None, gt=0, description="stop after this time, resumed runs counted in, but not before the first epoch is done"
    )
    metrics_every: int = Field(10, ge=1, description="epochs between ε_n, ε_e, ε_tot of the validation parts")
    validation_every: int = Field(1, ge=1, description="epochs between two validations")
    levels_every: int | None = Field(
        None,
        ge=1,
        description="epochs between errors of the levels around the gap of "
        "data.validation (which needs S); none: never",
    )
    judge: Literal["loss", "levels"] = Field(
        "loss", description="which error of the validation makes the best model: the loss, or that of levels_every"
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="epochs without a better model, as `judge` judges, after which training ends; none: it does not",
    )
    checkpoint_seconds: float = Field(60.0, gt=0, description="at most so long between checkpoints")
    seed: int = 42
    precision: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, ge=1, description="CPU threads; all cores by default")
    memory_gb: float | None = Field(
        None, gt=0, description="memory the process may use in all, 10⁹ bytes; what is available by default"
    )
    run_dir: str = Field("runs/run", description="folder of the run")

    @model_validator(mode="after")
    def _keys_have_effect(self) -> TrainingConfig:
        if not isinstance(self.model, BondConfig):
            return self
        if self.loss.kind != "mse" or self.loss.masked:
            raise ValueError(
                "loss.kind and loss.masked are for the network xia2025: nearsight pads nothing, and its "
                "loss is set by loss.softness and loss.weight_power"
            )
        if not self.partition.halo:
            raise ValueError(
                "partition.halo=false is for the network xia2025: atoms of nearsight are described once "
                "for the whole structure"
            )
        return self

    @model_validator(mode="after")
    def _levels_possible(self) -> TrainingConfig:
        if self.levels_every is not None and not self.data.validation:
            raise ValueError(
                "levels_every needs whole structures for validation: give data.validation=[...]; parts "
                "that are held out of a structure have no levels"
            )
        if self.judge == "levels" and self.levels_every is None:
            raise ValueError("judge=levels needs levels_every")
        return self

    @model_validator(mode="after")
    def _patience_possible(self) -> TrainingConfig:
        if self.patience is not None and not self.data.validation and not self.data.holdout_parts:
            raise ValueError("patience needs something to validate on: data.validation=[...] or data.holdout_parts=1")
        return self

    @model_validator(mode="after")
    def _validation_possible(self) -> TrainingConfig:
        if self.partition.kind == "whole" and not self.data.validation and self.data.holdout_parts:
            raise ValueError(
                "partition.kind=whole leaves no part for validation: give data.validation=[...] or data.holdout_parts=0"
            )
        return self


def presets() -> tuple[str, ...]:
    """Names of the shipped configurations."""
    folder = files("nearsight.learning").joinpath("presets")
    return tuple(sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")))


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> TrainingConfig:
    """A configuration from a preset's name or a YAML file, changed by `key=value` texts (dotted keys, YAML values).

    Raises:
        ConfigError: unknown key (with the nearest known one), wrong value, unreadable file.
    """
    tree = _read_tree(str(source))
    for text in overrides:
        _override(tree, text)
    try:
        return TrainingConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def dump_config(config: TrainingConfig) -> str:
    """As YAML that `load_config` reads."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_tree(source: str) -> dict[str, Any]:
    if source in presets():
        text = files("nearsight.learning").joinpath("presets", f"{source}.yaml").read_text()
    else:
        path = Path(source)
        if not path.is_file():
            near = difflib.get_close_matches(source, presets(), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"expected a YAML file or a preset ({', '.join(presets())}), got {source!r}{hint}")
        text = path.read_text(errors="replace")
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: expected YAML, got {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected YAML with keys such as model and data, got {type(tree).__name__}")
    return tree


def _override(tree: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"expected key=value, such as budget_minutes=10, got {text!r}")
    *parents, last = key.strip().split(".")
    node = tree
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"expected a section before the dot in {key!r}, but {parent!r} is a single value")
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"expected a YAML value in {text!r}: {error}") from error


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        path = [str(p) for p in problem["loc"] if p not in NETWORKS]
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            known = all_keys()
            near = difflib.get_close_matches(key, known, 1, 0.5) or [
                k
                for k in known
                if k.split(".")[-1] in difflib.get_close_matches(path[-1], [n.split(".")[-1] for n in known], 1)
            ]
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            lines.append(f"unknown key {key!r}{hint}")
        else:
            lines.append(f"{key or 'configuration'}: {problem['msg']}, got {problem['input']!r}")
    return "configuration: " + "; ".join(lines)


def all_keys(section: type[BaseModel] = TrainingConfig, prefix: str = "") -> list[str]:
    """Every dotted key of a configuration."""
    keys: list[str] = []
    for name, info in section.model_fields.items():
        inner = [kind for kind in _types(info.annotation) if issubclass(kind, BaseModel)]
        for kind in inner:
            keys += [key for key in all_keys(kind, f"{prefix}{name}.") if key not in keys]
        if not inner:
            keys.append(prefix + name)
    return keys


def _types(annotation: Any) -> list[type]:
    """The classes that a field's annotation names."""
    if isinstance(annotation, type):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _types(part)]
