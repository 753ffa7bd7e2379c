"""The registry of architectures: their names, sections of the configuration, presets and classes of models.

A new architecture is one folder beside this file with `ARCHITECTURE` in its `__init__`, and one line in `BUILT_IN`. One
from outside calls `register`, or its package announces an entry point of the group `nearsight.architectures`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

from nearsight.errors import ConfigError
from nearsight.nn.config import LossSection, ModelSection, OptimizerSection, PartitionSection

BUILT_IN = {"nearsight": "nearsight.nn.architectures.nearsight", "xia2025": "nearsight.nn.architectures.xia2025"}
"""Packages that hold `ARCHITECTURE`, by name; the first one is the default."""

DEFAULT = next(iter(BUILT_IN))


@dataclass(frozen=True)
class Architecture:
    """What the rest of the project knows of an architecture before a model exists.

    Attributes
    ----------
    name : str
        Name as in `model.architecture` of a configuration and in model files.
    model : str or type
        The subclass of `HamiltonianModel`, or `"module:Class"`, imported when it is needed (torch takes a second).
    model_section, loss_section, partition_section, optimizer_section : type
        Sections of the configuration; their defaults are those of the architecture.
    max_epochs : int
        Default number of epochs of a run.
    least_steps : int
        Steps for which a run goes on beyond these epochs by default, where they are short.
    presets : str
        Package whose folder `presets` holds YAML files by name; empty where there are none.
    """

    name: str
    model: str | type[Any]
    model_section: type[ModelSection]
    loss_section: type[LossSection] = LossSection
    partition_section: type[PartitionSection] = PartitionSection
    optimizer_section: type[OptimizerSection] = OptimizerSection
    max_epochs: int = 100
    least_steps: int = 0
    presets: str = ""


_registered: dict[str, Architecture] = {}


def register(architecture: Architecture) -> Architecture:
    """Make an architecture known in this process; one of the same name is replaced.

    Parameters
    ----------
    architecture : Architecture
        The architecture.

    Returns
    -------
    Architecture
        The same object.
    """
    _registered[architecture.name] = architecture
    return architecture


def architecture_named(name: str) -> Architecture:
    """Return the architecture of a name.

    Parameters
    ----------
    name : str
        A registered or built-in name, or that of an entry point.

    Returns
    -------
    Architecture
        The architecture.

    Raises
    ------
    ConfigError
        There is none; the message names the nearest.
    """
    if name in _registered:
        return _registered[name]
    if name in BUILT_IN:
        return register(import_module(BUILT_IN[name]).ARCHITECTURE)
    for entry in entry_points(group="nearsight.architectures", name=name):
        return register(entry.load())
    near = difflib.get_close_matches(name, architecture_names(), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"expected an architecture ({', '.join(architecture_names())}), got {name!r}{hint}")


def architecture_names() -> list[str]:
    """Return the names of all architectures, the default one first."""
    outside = [entry.name for entry in entry_points(group="nearsight.architectures")]
    return list(dict.fromkeys([*BUILT_IN, *_registered, *outside]))


def preset_texts() -> Mapping[str, str]:
    """Return the shipped configurations of all architectures as YAML, by the preset's name, sorted."""
    texts = {}
    for name in architecture_names():
        package = architecture_named(name).presets
        if package:
            for entry in files(package).joinpath("presets").iterdir():
                if entry.name.endswith(".yaml"):
                    texts[entry.name.removesuffix(".yaml")] = entry.read_text(encoding="utf-8")
    return dict(sorted(texts.items()))
