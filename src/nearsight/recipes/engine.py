"""Engines move atoms: LAMMPS with a classical potential, or any calculator of ASE, among them CHGNet."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
from ase import Atoms, units

from nearsight.errors import ConfigError, RecipeError
from nearsight.progress import Event, Progress, silent
from nearsight.recipes.lammps_engine import LammpsEngine
from nearsight.recipes.protocol import Dynamics, Minimise
from nearsight.structures.structure import Structure

INSTALL_CHGNET = "install it with `pip install chgnet`"

CALCULATORS = (
    "ase.calculators",
    "chgnet",
    "deepmd",
    "fairchem",
    "mace",
    "matgl",
    "nequip",
    "orb_models",
    "sevenn",
    "tblite",
)
"""Packages of calculators that `ase:MODULE.CLASS` may name."""
ALLOW_IMPORT = "NEARSIGHT_ALLOW_IMPORT"
"""Environment variable with further packages, between commas; jobs in other processes inherit it."""

_FRICTION = 0.01
"""1/fs, of the Langevin thermostat."""


class Engine(Interface):
    """Moves atoms; what a stage gives is a function of the structure and the seed alone."""

    def describe(self) -> str:
        """Return program, version and potential, for the provenance."""

    def minimise(self, structure: Structure, stage: Minimise, folder: Path, progress: Progress = silent) -> Structure:
        """Relax the atoms in their cell.

        Parameters
        ----------
        structure : Structure
            Where the atoms begin.
        stage : Minimise
            The largest number of steps, and the force at which to stop.
        folder : Path
            For files of the program; made if it is not there.
        progress : callable, optional
            Told the steps that are done.

        Returns
        -------
        Structure
            The same atoms at new places.
        """

    def dynamics(
        self,
        structure: Structure,
        stage: Dynamics,
        timestep: float,
        seed: int,
        folder: Path,
        progress: Progress = silent,
    ) -> Structure:
        """Run molecular dynamics from one temperature to another.

        Parameters
        ----------
        structure : Structure
            Where the atoms begin; their velocities are drawn at random.
        stage : Dynamics
            The temperatures, the time and, if the volume is to follow it, the pressure.
        timestep : float
            The time step, fs.
        seed : int
            Of the random velocities, and of the thermostat's noise where it has any.
        folder : Path
            For files of the program; made if it is not there.
        progress : callable, optional
            Told the steps that are done.

        Returns
        -------
        Structure
            The same atoms at the end, in a cell of another volume where the stage has a pressure.
        """


def make_engine(name: str) -> Engine:
    """Return the engine of a name.

    Parameters
    ----------
    name : str
        `lammps:POTENTIAL`, `chgnet`, or `ase:MODULE.CLASS` for a calculator of ASE that needs no arguments, from one
        of the packages `CALCULATORS`, or of those that the environment variable NEARSIGHT_ALLOW_IMPORT names.

    Raises
    ------
    ConfigError
        For any other name, and for a package that is not allowed, whose code is not run.
    RecipeError
        Where the program or package is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "lammps":
        return LammpsEngine.with_potential(rest)
    if kind in ("chgnet", "ase"):
        return AseEngine.named(name)
    raise ConfigError(f"expected an engine lammps:POTENTIAL, chgnet or ase:MODULE.CLASS, got {name!r}")


@dataclass(frozen=True)
class AseEngine:
    """Moves atoms with ASE's FIRE and Langevin dynamics.

    Attributes
    ----------
    name : str
        The calculator's name, for the provenance.
    make : callable
        Returns a fresh calculator.
    """

    name: str
    make: Callable[[], Any]

    @classmethod
    def named(cls, name: str) -> AseEngine:
        """Return the engine `chgnet`, or `ase:MODULE.CLASS` for a calculator that needs no arguments.

        Raises
        ------
        ConfigError
            Where there is no such module or class.
        RecipeError
            Where chgnet is not installed (found when the engine is used).
        """
        return cls("CHGNet", _chgnet) if name == "chgnet" else cls(name, _imported(name))

    def describe(self) -> str:
        """Return name and version of the calculator."""
        return f"{self.name} {_version(self.name)}".strip()

    def minimise(self, structure: Structure, stage: Minimise, folder: Path, progress: Progress = silent) -> Structure:
        """Relax the atoms by FIRE in a fixed cell; see `Engine.minimise`."""
        from ase.optimize import FIRE

        with self._atoms(structure) as atoms:
            relaxation = FIRE(atoms, logfile=None)
            for done, _ in enumerate(relaxation.irun(fmax=stage.force, steps=stage.steps)):
                progress(Event("relaxing", min(done, stage.steps), stage.steps))
            return Structure.from_ase(atoms)

    def dynamics(
        self,
        structure: Structure,
        stage: Dynamics,
        timestep: float,
        seed: int,
        folder: Path,
        progress: Progress = silent,
    ) -> Structure:
        """Run Langevin dynamics at constant volume; see `Engine.dynamics`.

        Raises
        ------
        ConfigError
            Where the stage has a pressure.
        """
        from ase.md.langevin import Langevin
        from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

        if stage.pressure is not None:
            raise ConfigError(
                "expected no pressure with an engine of ASE (constant volume), got "
                f"{stage.pressure:g} bar; use lammps, or leave `pressure` out"
            )
        steps = max(1, round(1000 * stage.ps / timestep))
        rng = np.random.RandomState(seed % 2**32)
        with self._atoms(structure) as atoms:
            MaxwellBoltzmannDistribution(atoms, temperature_K=stage.start, rng=rng)
            Stationary(atoms)
            motion = Langevin(
                atoms, timestep * units.fs, temperature_K=stage.start, friction=_FRICTION / units.fs, rng=rng
            )
            for step in range(steps):
                motion.set_temperature(temperature_K=stage.start + (stage.end - stage.start) * step / steps)
                motion.run(1)
                progress(Event(f"{stage.start:g} K → {stage.end:g} K", step + 1, steps))
            return Structure.from_ase(atoms)

    @contextlib.contextmanager
    def _atoms(self, structure: Structure) -> Iterator[Atoms]:
        """Yield ASE's atoms with the calculator; what it prints and warns of is not shown."""
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            atoms = structure.to_ase()
            atoms.calc = self.make()
            yield atoms


def _chgnet() -> Any:
    try:
        from chgnet.model import CHGNetCalculator
    except ImportError as error:
        raise RecipeError(f"expected the package chgnet to be installed, got: {error}; {INSTALL_CHGNET}") from error
    return CHGNetCalculator(use_device="cpu")


def _imported(name: str) -> Callable[[], Any]:
    """Import the class that `ase:MODULE.CLASS` names; only calculators of packages that are known or allowed."""
    module, _, attribute = name.partition(":")[2].rpartition(".")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise ConfigError(f"expected ase:MODULE.CLASS of a calculator, got {name!r}")
    if not _may_be_imported(module):
        raise ConfigError(
            f"expected ase:MODULE.CLASS of a calculator in {', '.join(CALCULATORS)}, got {name!r}; importing runs a "
            f"module's code: if you trust it, allow it with --allow-import {module.partition('.')[0]}"
        )
    try:
        found: Callable[[], Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"expected ase:MODULE.CLASS of a calculator, got {name!r}: {error}") from error
    if not (isinstance(found, type) and hasattr(found, "get_potential_energy") and _may_be_imported(found.__module__)):
        raise ConfigError(f"expected ase:MODULE.CLASS of a calculator, got {name!r}, which is none")
    return found


def _may_be_imported(module: str) -> bool:
    allowed = os.environ.get(ALLOW_IMPORT, "").replace(",", " ").split()
    return any(module == package or module.startswith(f"{package}.") for package in (*CALCULATORS, *allowed))


def _version(name: str) -> str:
    """Return the version of the package that a calculator is from, empty where it is not installed as one."""
    try:
        return version(name.lower() if name == "CHGNet" else name.partition(":")[2].partition(".")[0])
    except PackageNotFoundError:
        return ""
