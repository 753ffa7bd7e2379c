"""Engine: what moves atoms; LAMMPS with a classical potential, or any calculator of ASE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol as Interface

from nearsight.errors import ConfigError
from nearsight.recipes.protocol import Dynamics, Minimise
from nearsight.structures.structure import Structure

Report = Callable[[str, float], None]
"""Called with what is under way and the fraction of it that is done."""


class Engine(Interface):
    """Moves atoms; a stage is a function of the structure and the seed alone."""

    def describe(self) -> str:
        """Program, version and potential, for the provenance."""

    def minimise(self, structure: Structure, stage: Minimise, folder: Path, report: Report) -> Structure:
        """The structure after relaxation in its cell."""

    def dynamics(
        self, structure: Structure, stage: Dynamics, timestep: float, seed: int, folder: Path, report: Report
    ) -> Structure:
        """The structure after molecular dynamics with a time step in fs."""


def make_engine(name: str) -> Engine:
    """The engine called `lammps:POTENTIAL`, `chgnet` or `ase:MODULE.CLASS`.

    Raises:
        ConfigError: any other name.
        RecipeError: the program or package is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "lammps":
        from nearsight.recipes.lammps_engine import LammpsEngine

        return LammpsEngine.with_potential(rest)
    if kind in ("chgnet", "ase"):
        from nearsight.recipes.ase_engine import AseEngine

        return AseEngine.named(name)
    raise ConfigError(f"expected an engine lammps:POTENTIAL, chgnet or ase:MODULE.CLASS, got {name!r}")
