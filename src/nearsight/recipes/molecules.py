"""Geometries of small molecules at a temperature, as in MD17: drawn from normal modes, or by molecular dynamics."""

from __future__ import annotations

import json
import warnings
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
from nearsight.progress import Event, Progress, silent
from nearsight.recipes.pyscf_forces import PyscfForces
from nearsight.recipes.pyscf_system import PyscfSettings
from nearsight.recipes.sample import Sample
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

SOFTEST = 10.0
"""cm⁻¹. A mode that is softer, or imaginary, is no vibration about a minimum."""

_WAVENUMBER = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
"""cm⁻¹ of ω² = 1 eV/(Å² u)."""


@dataclass(frozen=True, eq=False)
class NormalModes:
    """The harmonic vibrations of a molecule about its minimum, and structures drawn from them.

    Translations and rotations are projected out: a molecule has M = 3N − 6 modes, a linear one 3N − 5.

    Attributes
    ----------
    minimum : Structure
        The molecule where all forces are zero.
    hessian : ndarray, shape (3N, 3N)
        The second derivatives of the energy, eV/Å².
    stiffness : ndarray, shape (M,)
        The squared frequencies ω², eV/(Å² u), ascending.
    vectors : ndarray, shape (M, N, 3)
        The displacements for a mass-weighted coordinate of 1, Å/(Å √u).
    """

    minimum: Structure
    hessian: np.ndarray
    stiffness: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, minimum: Structure, hessian: np.ndarray) -> NormalModes:
        """Return the modes that belong to second derivatives of the energy.

        Parameters
        ----------
        minimum : Structure
            A molecule at its minimum.
        hessian : ndarray, shape (3N, 3N)
            The second derivatives, eV/Å²; the mean with the transpose is taken.

        Raises
        ------
        InputError
            Where the Hessian has another shape, the structure is periodic or has ghosts, or it is not at a minimum.
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
        """The (M,) wavenumbers of the modes, cm⁻¹; negative where ω is imaginary."""
        return np.sign(self.stiffness) * np.sqrt(np.abs(self.stiffness)) * _WAVENUMBER

    def sample(self, temperature: float, rng: np.random.Generator) -> Structure:
        """Draw a structure from the classical harmonic ensemble: each mode has kT/2 of potential energy on average.

        Parameters
        ----------
        temperature : float
            The temperature, K.
        rng : numpy.random.Generator
            Where the random numbers come from.
        """
        amplitude = rng.standard_normal(len(self.stiffness)) * np.sqrt(units.kB * temperature / self.stiffness)
        return self.minimum.translated(np.tensordot(amplitude, self.vectors, axes=1))

    def energy(self, structure: Structure) -> float:
        """Return the energy above the minimum in the harmonic approximation.

        Parameters
        ----------
        structure : Structure
            The molecule with displaced atoms, not turned as a whole.

        Returns
        -------
        float
            The energy, eV.
        """
        moved = (structure.positions - self.minimum.positions).ravel()
        return float(moved @ self.hessian @ moved) / 2


def _vibrations(structure: Structure, root: np.ndarray) -> np.ndarray:
    """Return (3N, M) orthonormal mass-weighted displacements that neither move nor turn the molecule as a whole."""
    mass = root[::3] ** 2
    place = structure.positions - mass @ structure.positions / mass.sum()
    axes = np.eye(3)
    rigid = [np.tile(axis, (len(structure), 1)) for axis in axes] + [np.cross(axis, place) for axis in axes]
    weighted = np.stack([r.ravel() * root for r in rigid], axis=1)
    left, size, _ = np.linalg.svd(weighted, full_matrices=True)
    return np.asarray(left[:, int((size > 1e-6 * size[0]).sum()) :])


_FRICTION = 0.02
"""1/fs, of the Langevin thermostat."""


class MoleculeSet(Section):
    """Geometries of one molecule; each is drawn by itself, so that they are independent and any can be made alone.

    The fields are the keys of `molecules` in a campaign.
    """

    molecule: Literal["water", "malondialdehyde", "uracil", "ethanol"]
    count: int = Field(1, ge=1, le=1_000_000)
    temperature: float = Field(300.0, ge=0, description="temperature, K")
    method: Literal["normal_modes", "langevin"] = Field(
        "normal_modes", description="harmonic, at once; or dynamics that begin there, with forces of PySCF"
    )
    seed: int = Field(0, ge=0)
    steps: int = Field(400, ge=1, description="number of steps of dynamics before the geometry is taken")
    timestep: float = Field(0.5, gt=0, description="time step of dynamics, fs")
    functional: str = Field("pbe", description="functional of the forces")
    basis: str = Field("def2-svp", description="basis of the forces")

    @model_validator(mode="after")
    def _keys_have_effect(self) -> MoleculeSet:
        idle = {"steps", "timestep", "functional", "basis"} & self.model_fields_set
        if idle and self.method == "normal_modes":
            raise ValueError(f"expected {min(idle)} only with method=langevin")
        return self

    def sample(self, number: int, progress: Progress = silent) -> Sample:
        """Make one geometry of the set; it is the same whenever it is made.

        Parameters
        ----------
        number : int
            Which geometry, from 0.
        progress : callable, optional
            Told the steps of the dynamics.

        Raises
        ------
        RecipeError
            Where the self-consistent field does not converge during dynamics.
        InputError
            Where PySCF is needed and not installed.
        """
        rng = np.random.default_rng((self.seed, number))
        structure = equilibrium(self.molecule).sample(self.temperature, rng)
        said = f"{self.molecule} at {self.temperature:g} K, classical normal modes of PBE/def2-SVP"
        if self.method == "langevin":
            structure = self._dynamics(structure, rng, progress)
            said += (
                f", then {self.steps} steps of {self.timestep:g} fs of Langevin dynamics with "
                f"{self.functional}/{self.basis}, friction {_FRICTION:g}/fs"
            )
        return Sample(structure, {"structure": said, "seed": f"{self.seed}, geometry {number}"})

    def samples(self, progress: Progress = silent) -> list[Sample]:
        """Make all geometries of the set; see `sample`."""
        return [self.sample(k, progress) for k in range(self.count)]

    def _dynamics(self, structure: Structure, rng: np.random.Generator, progress: Progress) -> Structure:
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
                progress(Event(f"dynamics, step {step + 1} of {self.steps}"))
            return Structure.from_ase(atoms)


@cache
def _table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(files("nearsight.recipes").joinpath("molecules.json").read_text())
    return table


def molecule_names() -> tuple[str, ...]:
    """Return the names of the shipped molecules."""
    return tuple(name for name in _table() if not name.startswith("#"))


@cache
def equilibrium(name: str) -> NormalModes:
    """Return a shipped molecule at its minimum in PBE/def2-SVP, with its vibrations.

    Parameters
    ----------
    name : str
        One of `molecule_names()`; `molecules.json` says how it was computed.
    """
    entry = _table()[name]
    numbers, positions = np.array(entry["numbers"]), np.array(entry["positions"])
    half = np.zeros((3 * len(numbers),) * 2)
    half[np.tril_indices(len(half))] = entry["hessian"]
    whole = half + np.tril(half, -1).T
    structure = Structure(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    return NormalModes.of(structure, whole * HARTREE_IN_EV / BOHR_IN_ANGSTROM**2)
