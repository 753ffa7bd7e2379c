"""NormalModes: the harmonic vibrations of a molecule about its minimum, and structures drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from ase.data import atomic_masses

from nearsight.errors import InputError
from nearsight.structures.structure import Structure

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
            raise InputError(f"expected a minimum of {minimum.formula}, all modes above {SOFTEST:g} cm⁻¹, got one of "
                             f"{modes.wavenumbers[0]:.0f} cm⁻¹ (negative: imaginary); relax the structure further")
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
    return np.asarray(left[:, int((size > 1e-6 * size[0]).sum()):])
