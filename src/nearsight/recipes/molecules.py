"""MoleculeSet: geometries of small molecules at a temperature, as in MD17, by normal modes or molecular dynamics.

NormalModes: the harmonic vibrations of a molecule about its minimum, and structures drawn from them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from ase import units
from ase.data import atomic_masses
from pydantic import Field, model_validator

from nearsight.configuration import Section
from nearsight.errors import InputError
from nearsight.recipes.pyscf_forces import PyscfForces
from nearsight.recipes.pyscf_settings import PyscfSettings
from nearsight.recipes.sample import Sample
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

SOFTEST = 10.0
"""cm⁻¹. A mode that is softer, or imaginary, is no vibration about a minimum."""

_WAVENUMBER = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
"""cm⁻¹ of ω² = 1 eV/(Å² u)."""


@dataclass(frozen=True, eq=False)
class NormalModes:
    """Translations and rotations left out: 3N − 6 modes, 3N − 5 of a linear molecule.

    Attributes:
        minimum: the molecule, all forces zero.
        hessian: (3N, 3N) eV/Å².
        stiffness: (M,) ω², eV/(Å² u), ascending.
        vectors: (M, N, 3) displacement for a mass-weighted coordinate of 1: Å/(Å √u).
    """

    minimum: Structure
    hessian: np.ndarray
    stiffness: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, minimum: Structure, hessian: np.ndarray) -> NormalModes:
        """From second derivatives of the energy.

        Args:
            minimum: a molecule at its minimum.
            hessian: (3N, 3N) eV/Å², its mean with its transpose is taken.

        Raises:
            InputError: another shape, a crystal or ghosts, or not a minimum.
        """
        n = len(minimum)
        if np.shape(hessian) != (3 * n, 3 * n):
            raise InputError(f"expected a Hessian of shape ({3 * n}, {3 * n}), got {np.shape(hessian)}")
        if minimum.pbc.any() or not minimum.numbers.all():
            raise InputError(f"expected a molecule without ghosts, got {minimum.formula}, pbc {minimum.pbc.tolist()}")
        root = np.sqrt(np.repeat(atomic_masses[minimum.numbers], 3))
        inner = _vibrations(minimum, root)
        symmetric = (hessian + np.transpose(hessian)) / 2
        stiffness, vectors = np.linalg.eigh(inner.T @ (symmetric / np.outer(root, root)) @ inner)
        modes = cls(minimum, symmetric, stiffness, ((inner @ vectors).T / root).reshape(-1, n, 3))
        if len(stiffness) and modes.wavenumbers[0] < SOFTEST:
            raise InputError(
                f"expected a minimum of {minimum.formula}, all modes above {SOFTEST:g} cm⁻¹, got one of "
                f"{modes.wavenumbers[0]:.0f} cm⁻¹ (negative: imaginary); relax the structure further"
            )
        return modes

    @property
    def wavenumbers(self) -> np.ndarray:
        """(M,) cm⁻¹; negative where ω is imaginary."""
        return np.sign(self.stiffness) * np.sqrt(np.abs(self.stiffness)) * _WAVENUMBER

    def sample(self, temperature: float, rng: np.random.Generator) -> Structure:
        """A structure from the classical harmonic ensemble: each mode has kT/2 of potential energy on average.

        Args:
            temperature: K.
            rng: where the random numbers come from.
        """
        amplitude = rng.standard_normal(len(self.stiffness)) * np.sqrt(units.kB * temperature / self.stiffness)
        return self.minimum.translated(np.tensordot(amplitude, self.vectors, axes=1))

    def energy(self, structure: Structure) -> float:
        """eV above the minimum, in the harmonic approximation; the structure must not be turned."""
        moved = (structure.positions - self.minimum.positions).ravel()
        return float(moved @ self.hessian @ moved) / 2


def _vibrations(structure: Structure, root: np.ndarray) -> np.ndarray:
    """(3N, M) orthonormal mass-weighted displacements that neither move nor turn the molecule as a whole."""
    mass = root[::3] ** 2
    place = structure.positions - mass @ structure.positions / mass.sum()
    axes = np.eye(3)
    rigid = [np.tile(axis, (len(structure), 1)) for axis in axes] + [np.cross(axis, place) for axis in axes]
    weighted = np.stack([r.ravel() * root for r in rigid], axis=1)
    left, size, _ = np.linalg.svd(weighted, full_matrices=True)
    return np.asarray(left[:, int((size > 1e-6 * size[0]).sum()) :])


Report = Callable[[str], None]
"""Called with what is under way."""

_FRICTION = 0.02
"""1/fs, of the Langevin thermostat."""


class MoleculeSet(Section):
    """Geometries of one molecule; each is drawn by itself, so that they are independent and any can be made alone."""

    molecule: Literal["water", "malondialdehyde", "uracil", "ethanol"]
    count: int = Field(1, ge=1)
    temperature: float = Field(300.0, ge=0, description="K")
    method: Literal["normal_modes", "langevin"] = Field(
        "normal_modes", description="harmonic, at once; or dynamics that begin there, with forces of PySCF"
    )
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
            said += (
                f", then {self.steps} steps of {self.timestep:g} fs of Langevin dynamics with "
                f"{self.functional}/{self.basis}, friction {_FRICTION:g}/fs"
            )
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
            atoms.calc = PyscfForces(
                PyscfSettings(functional=self.functional, basis=self.basis, conv_tol=1e-8, conv_tol_grad=1e-5)
            )
            MaxwellBoltzmannDistribution(atoms, temperature_K=self.temperature, rng=rng)
            motion = Langevin(
                atoms, self.timestep * units.fs, temperature_K=self.temperature, friction=_FRICTION / units.fs, rng=rng
            )
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
