"""Protocol: the steps from a formula to an amorphous structure, as a YAML file or a preset has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat

from nearsight.configuration import Section, Shipped, read_tree, validated

PRESETS = Shipped("nearsight.recipes", "presets", "melt-quench protocols")


class Minimise(Section):
    """A stage that relaxes the atoms in a fixed cell."""

    do: Literal["minimise"]
    steps: int = Field(200, ge=1, description="largest number of steps")
    force: float = Field(0.05, gt=0, description="largest force at which to stop, eV/Å")
    engine: str | None = Field(None, description="engine of this stage, instead of the protocol's")


class Dynamics(Section):
    """A stage of molecular dynamics from one temperature to another; it begins with random velocities."""

    do: Literal["dynamics"]
    start: float = Field(gt=0, description="temperature at the beginning, K")
    end: float = Field(gt=0, description="temperature at the end, K; equal to start: it is held")
    ps: float = Field(gt=0, description="duration, ps")
    pressure: float | None = Field(
        None, description="pressure that the volume of the cell follows, bar (lammps); none: fixed cell"
    )
    engine: str | None = Field(None, description="engine of this stage, instead of the protocol's")


class Substitute(Section):
    """A stage that replaces random atoms of one element by another."""

    do: Literal["substitute"]
    element: str
    by: str
    fraction: float = Field(gt=0, le=1, description="fraction of the element's atoms that is replaced")


class Scale(Section):
    """A stage that stretches the cell and the atoms in it to another density."""

    do: Literal["scale"]
    volume_per_atom: float = Field(gt=0, description="volume per atom afterwards, Å³")


Stage = Annotated[Minimise | Dynamics | Substitute | Scale, Field(discriminator="do")]


class Expected(Section):
    """What is published of a bond in the amorphous material; the result is compared with it."""

    pair: tuple[str, str]
    cutoff: float = Field(gt=0, description="distance within which neighbours are counted, Å")
    peak: tuple[float, float] = Field(description="distances between which the first peak of g(r) lies, Å")
    coordination: tuple[float, float] | None = Field(None, description="mean number of neighbours, from … to")
    source: str = Field(description="where this is published")


class Protocol(Section):
    """The way from a formula to an amorphous structure: a random packing, then one stage after another."""

    description: str
    formula: dict[str, int] = Field(min_length=1, description="element → number in a formula unit")
    atoms: int = Field(96, ge=1, le=1_000_000, description="about so many; whole formula units are made")
    aspect: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (1.0, 1.0, 1.0), description="edges of the random packing's box relative to each other, such as [1.65, 1, 1]"
    )
    volume_per_atom: float = Field(gt=0, description="volume per atom of the random packing, Å³")
    least_distance: float = Field(1.7, gt=0, description="distance that packed atoms keep, Å")
    engine: str = Field(description="lammps:POTENTIAL, chgnet, or ase:MODULE.CLASS")
    timestep: float = Field(1.0, gt=0, description="time step of dynamics, fs")
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
