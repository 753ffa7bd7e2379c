"""A lead without features: a metal so wide-banded that it broadens the states it touches alike at all energies.

Where a device's own electrodes are not known, or are not what is asked for, every function of its first and last atoms
is coupled to a continuum, Σ = −iΓ/2, one channel each. What T(E) then shows is the device alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.quantum_transport.arguments import real_number
from nearsight.quantum_transport.axial import Axial
from nearsight.quantum_transport.lead import Side


@dataclass(frozen=True, eq=False)
class WideBandLead:
    """A lead whose self-energy is the same at all energies, on orthogonal functions of each atom.

    Attributes
    ----------
    broadening : float
        Γ in eV, above 0.
    n_orbitals : int
        Number of functions of the device that it touches.
    """

    broadening: float
    n_orbitals: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.broadening) and self.broadening > 0):
            raise InputError(f"expected a broadening above 0 eV of a wide-band lead, got {self.broadening}")


@dataclass(frozen=True, eq=False)
class WideBandEnd:
    """Which atoms of a device a wide-band lead touches.

    Attributes
    ----------
    side : {"left", "right"}
        At which end of the device it is.
    atoms : (n,) array of int
        The atoms.
    n_orbitals : int
        Their functions.
    broadening : float
        Γ in eV.
    thickness : float
        Å along the axis in which the atoms lie.
    fermi : float or None
        Fermi level in eV.
    energy_shift : float
        eV, as of other leads; a lead without features has none to shift but its Fermi level.
    """

    side: Side
    atoms: np.ndarray
    n_orbitals: int
    broadening: float
    thickness: float
    fermi: float | None = None
    energy_shift: float = 0.0
    neglected: float = 0.0

    def at(self, k: np.ndarray) -> WideBandLead:
        """Return the lead at k⊥, the same for all."""
        return WideBandLead(self.broadening, self.n_orbitals)


def wide_band_end(device: Axial, side: Side, thickness: float, broadening: float, fermi: float | None) -> WideBandEnd:
    """Couple the atoms within a thickness (Å) of a device's end to a wide-band lead of Γ (eV).

    Raises
    ------
    InputError
        If there are none, or a number is not positive.
    """
    thickness = real_number("a thickness of a wide-band lead's contact in Å", thickness, above=0)
    broadening = real_number("a broadening of a wide-band lead in eV", broadening, above=0)
    cell = device.structure.cell
    others = [cell[k] for k in range(3) if k != device.axis]
    normal = np.cross(*others)
    along = device.along * abs(cell[device.axis] @ normal) / np.linalg.norm(normal)
    depth = along - along.min() if side == "left" else along.max() - along
    atoms = np.flatnonzero(depth <= thickness)
    sizes = np.diff(device.hamiltonian.orbital_offsets)
    return WideBandEnd(side, atoms, int(sizes[atoms].sum()), broadening, thickness, fermi)
