"""MoleculeSet: geometries of small molecules at a temperature, as in MD17, by normal modes or molecular dynamics."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from ase import units
from pydantic import BaseModel, ConfigDict, Field, model_validator

from nearsight.recipes.normal_modes import NormalModes
from nearsight.recipes.pyscf_forces import PyscfForces
from nearsight.recipes.pyscf_settings import PyscfSettings
from nearsight.recipes.sample import Sample
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

Report = Callable[[str], None]
"""Called with what is under way."""

_FRICTION = 0.02
"""1/fs, of the Langevin thermostat."""


class MoleculeSet(BaseModel):
    """Geometries of one molecule; each is drawn by itself, so that they are independent and any can be made alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    molecule: Literal["water", "malondialdehyde", "uracil", "ethanol"]
    count: int = Field(1, ge=1)
    temperature: float = Field(300.0, ge=0, description="K")
    method: Literal["normal_modes", "langevin"] = Field(
        "normal_modes", description="harmonic, at once; or dynamics that begin there, with forces of PySCF")
    seed: int = Field(0, ge=0)
    steps: int = Field(400, ge=1, description="of dynamics, before the geometry is taken")
    timestep: float = Field(0.5, gt=0, description="fs")
    functional: str = Field("pbe", description="of the forces")
    basis: str = Field("def2-svp", description="of the forces")

    @model_validator(mode="after")
    def _keys_have_effect(self) -> MoleculeSet:
        idle = {"steps", "timestep", "functional", "basis"} & self.model_fields_set
        if idle and self.method == "normal_modes":
            raise ValueError(f"expected {min(idle)} only with method=langevin")
        return self

    def sample(self, number: int, report: Report = lambda text: None) -> Sample:
        """Geometry `number` (from 0) of the set; the same whenever it is made.

        Args:
            number: which.
            report: called with what is under way.

        Raises:
            RecipeError: a field that does not converge during dynamics.
            InputError: PySCF is needed and not installed.
        """
        rng = np.random.default_rng((self.seed, number))
        structure = equilibrium(self.molecule).sample(self.temperature, rng)
        said = f"{self.molecule} at {self.temperature:g} K, classical normal modes of PBE/def2-SVP"
        if self.method == "langevin":
            structure = self._dynamics(structure, rng, report)
            said += (f", then {self.steps} steps of {self.timestep:g} fs of Langevin dynamics with "
                     f"{self.functional}/{self.basis}, friction {_FRICTION:g}/fs")
        return Sample(structure, {"structure": said, "seed": f"{self.seed}, geometry {number}"})

    def samples(self, report: Report = lambda text: None) -> list[Sample]:
        """All geometries."""
        return [self.sample(k, report=report) for k in range(self.count)]

    def _dynamics(self, structure: Structure, rng: np.random.Generator, report: Report) -> Structure:
        from ase.md.langevin import Langevin
        from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms = structure.to_ase()
            atoms.calc = PyscfForces(PyscfSettings(functional=self.functional, basis=self.basis, conv_tol=1e-8,
                                                   conv_tol_grad=1e-5))
            MaxwellBoltzmannDistribution(atoms, temperature_K=self.temperature, rng=rng)
            motion = Langevin(atoms, self.timestep * units.fs, temperature_K=self.temperature,
                              friction=_FRICTION / units.fs, rng=rng)
            for step in range(self.steps):
                motion.run(1)
                report(f"dynamics, step {step + 1} of {self.steps}")
            return Structure.from_ase(atoms)


@cache
def _table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(files("nearsight.recipes").joinpath("molecules.json").read_text())
    return table


def molecule_names() -> tuple[str, ...]:
    """The shipped molecules."""
    return tuple(name for name in _table() if not name.startswith("#"))


@cache
def equilibrium(name: str) -> NormalModes:
    """A shipped molecule at its minimum in PBE/def2-SVP, with its vibrations."""
    entry = _table()[name]
    numbers, positions = np.array(entry["numbers"]), np.array(entry["positions"])
    half = np.zeros((3 * len(numbers),) * 2)
    half[np.tril_indices(len(half))] = entry["hessian"]
    whole = half + np.tril(half, -1).T
    structure = Structure(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    return NormalModes.of(structure, whole * HARTREE_IN_EV / BOHR_IN_ANGSTROM**2)
