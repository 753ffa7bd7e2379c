"""Protocol: the steps from a formula to an amorphous structure, as a YAML file or a preset has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from nearsight.configuration import Section, Shipped, read_tree, validated

PRESETS = Shipped("nearsight.recipes", "presets", "melt-quench protocols")


class Minimise(Section):
    """A stage that relaxes the atoms in a fixed cell."""

    do: Literal["minimise"]
    steps: int = Field(200, ge=1)
    force: float = Field(0.05, gt=0, description="eV/Å, largest force at which to stop")
    engine: str | None = Field(None, description="other than the protocol's")


class Dynamics(Section):
    """A stage of molecular dynamics from one temperature to another; it begins with random velocities."""

    do: Literal["dynamics"]
    start: float = Field(gt=0, description="K")
    end: float = Field(gt=0, description="K; equal to start: the temperature is held")
    ps: float = Field(gt=0)
    pressure: float | None = Field(None, description="bar; the cell's volume follows (lammps). None: fixed cell")
    engine: str | None = Field(None, description="other than the protocol's")


class Substitute(Section):
    """A stage that replaces random atoms of one element by another."""

    do: Literal["substitute"]
    element: str
    by: str
    fraction: float = Field(gt=0, le=1, description="of the element's atoms")


class Scale(Section):
    """A stage that stretches the cell and the atoms in it to another density."""

    do: Literal["scale"]
    volume_per_atom: float = Field(gt=0, description="Å³")


Stage = Annotated[Minimise | Dynamics | Substitute | Scale, Field(discriminator="do")]


class Expected(Section):
    """What is published of a bond in the amorphous material; the result is compared with it."""

    pair: tuple[str, str]
    cutoff: float = Field(gt=0, description="Å; neighbours within it are counted")
    peak: tuple[float, float] = Field(description="Å, between which the first peak of g(r) lies")
    coordination: tuple[float, float] | None = Field(None, description="mean number of neighbours, from … to")
    source: str = Field(description="where this is published")


class Protocol(Section):
    """The way from a formula to an amorphous structure: a random packing, then one stage after another."""

    description: str
    formula: dict[str, int] = Field(min_length=1, description="element → number in a formula unit")
    atoms: int = Field(96, ge=1, description="about so many; whole formula units are made")
    volume_per_atom: float = Field(gt=0, description="Å³, of the random packing")
    least_distance: float = Field(1.7, gt=0, description="Å, between packed atoms")
    engine: str = Field(description="lammps:POTENTIAL, chgnet, or ase:MODULE.CLASS")
    timestep: float = Field(1.0, gt=0, description="fs")
    stages: tuple[Stage, ...] = Field(min_length=1)
    expected: tuple[Expected, ...] = ()
    attempts: int = Field(5, ge=1, description="how often to begin anew where a cell crystallises")


def preset_names() -> tuple[str, ...]:
    """Return the names of the shipped protocols."""
    return PRESETS.names()


def load_protocol(source: str | Path | Mapping[str, Any], **changes: Any) -> Protocol:
    """Read a protocol.

    Parameters
    ----------
    source : str, Path or mapping
        The name of a preset, a YAML file, or the keys themselves.
    **changes : object
        Keys that replace those of the source, such as atoms=192; None changes nothing.

    Raises
    ------
    ConfigError
        Where there is no such preset or file, a key is unknown, or a value is out of range.
    """
    name = source if isinstance(source, (str, Path)) else "protocol"
    tree = dict(source) if isinstance(source, Mapping) else read_tree(source, PRESETS)
    return validated(Protocol, tree | {k: v for k, v in changes.items() if v is not None}, name)
