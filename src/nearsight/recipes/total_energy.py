"""The total energy of the density that a Hamiltonian's orbitals have: PySCF supplies all terms but the density.

    E[P] = Tr P T + Tr P V_ext + E_Hartree[P] + E_xc[P] + E_nuclei

The functional is smallest at the self-consistent density, so E[P] lies above its energy and is off only by the square
of the error of P: a small error of H costs very little energy, and what it costs measures the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electronic.density import band_energy, fill
from nearsight.electronic.eigen import solve
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.recipes.pyscf_job import build_system, make_field, quiet
from nearsight.recipes.pyscf_settings import PyscfSettings
from nearsight.recipes.warm_start import known_overlap, pyscf_start
from nearsight.units import HARTREE_IN_EV


@dataclass(frozen=True)
class TotalEnergy:
    """Of one structure, eV.

    Attributes:
        total: E[P].
        band: Σ f ε of the Hamiltonian's own levels.
        rest: what the bands do not have: double counting, exchange and correlation, nuclei.
    """

    total: float
    band: float

    @property
    def rest(self) -> float:
        """`total` − `band`."""
        return self.total - self.band


def total_energy(calculation: Calculation, settings: PyscfSettings) -> TotalEnergy:
    """E[P] of the density of a Hamiltonian's occupied orbitals; no self-consistent cycle is run.

    Args:
        calculation: H, and S where it has one, at Γ.
        settings: functional, basis, pseudopotentials and grids of the energy; those that H was learned from.

    Raises:
        InputError: another basis or structure, k-points, smearing, or an unknown functional.
    """
    if settings.mesh is not None or settings.smearing is not None:
        raise InputError("expected settings at Γ without smearing for a total energy, got kpoints or smearing")
    structure = calculation.structure
    system = build_system(structure, settings)
    density = pyscf_start(calculation, system)
    with quiet():
        total = float(np.real(make_field(system, structure, settings).energy_tot(density))) * HARTREE_IN_EV
    spectrum = solve(calculation.require_hamiltonian(), known_overlap(calculation), int(system.nelectron))
    return TotalEnergy(total, band_energy(spectrum, fill(spectrum)))
