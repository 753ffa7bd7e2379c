"""Any calculator of ASE as an engine, among them CHGNet, which knows nearly all elements."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from nearsight.errors import ConfigError, RecipeError
from nearsight.recipes.engine import Report
from nearsight.recipes.protocol import Dynamics, Minimise
from nearsight.structures.structure import Structure

INSTALL = "install it with `pip install chgnet`"

_FRICTION = 0.01
"""1/fs, of the Langevin thermostat."""


@dataclass(frozen=True)
class AseEngine:
    """Moves atoms with ASE's FIRE and Langevin dynamics.

    Attributes:
        name: for the provenance.
        make: a fresh calculator.
    """

    name: str
    make: Callable[[], Any]

    @classmethod
    def named(cls, name: str) -> AseEngine:
        """`chgnet`, or `ase:MODULE.CLASS` for a calculator that needs no arguments.

        Raises:
            ConfigError: no such module or class.
            RecipeError: chgnet is not installed.
        """
        return cls("CHGNet", _chgnet) if name == "chgnet" else cls(name, _imported(name))

    def describe(self) -> str:
        """Name and version."""
        return f"{self.name} {_version(self.name)}".strip()

    def minimise(self, structure: Structure, stage: Minimise, folder: Path, report: Report) -> Structure:
        """FIRE in a fixed cell."""
        from ase.optimize import FIRE

        with self._atoms(structure) as atoms:
            relaxation = FIRE(atoms, logfile=None)
            for done, _ in enumerate(relaxation.irun(fmax=stage.force, steps=stage.steps)):
                report("relaxing", min(1.0, done / stage.steps))
            return Structure.from_ase(atoms)

    def dynamics(
        self, structure: Structure, stage: Dynamics, timestep: float, seed: int, folder: Path, report: Report
    ) -> Structure:
        """Langevin dynamics at constant volume."""
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
                report(f"{stage.start:g} K → {stage.end:g} K", (step + 1) / steps)
            return Structure.from_ase(atoms)

    @contextlib.contextmanager
    def _atoms(self, structure: Structure) -> Iterator[Atoms]:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            atoms = structure.to_ase()
            atoms.calc = self.make()
            yield atoms


def _chgnet() -> Any:
    try:
        from chgnet.model import CHGNetCalculator
    except ImportError as error:
        raise RecipeError(f"expected the package chgnet to be installed, got: {error}; {INSTALL}") from error
    return CHGNetCalculator(use_device="cpu")


def _imported(name: str) -> Callable[[], Any]:
    module, _, attribute = name.partition(":")[2].rpartition(".")
    try:
        found: Callable[[], Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"expected ase:MODULE.CLASS of a calculator, got {name!r}: {error}") from error
    return found


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name.lower() if name == "CHGNet" else name.partition(":")[2].partition(".")[0])
    except PackageNotFoundError:
        return ""
