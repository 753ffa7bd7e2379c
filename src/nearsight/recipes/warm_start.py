"""Self-consistent runs that start from a Hamiltonian that is known, predicted above all, instead of from atoms.

The orbitals of H at Γ, filled with the structure's electrons, are a density, and that is all a code needs to begin
with. What it converges to is its own result; the start decides how many steps that takes.

The total energy of the density that a Hamiltonian's orbitals have: PySCF supplies all terms but the density.

    E[P] = Tr P T + Tr P V_ext + E_Hartree[P] + E_xc[P] + E_nuclei

The functional is smallest at the self-consistent density, so E[P] lies above its energy and is off only by the square
of the error of P: a small error of H costs very little energy, and what it costs measures the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.density_matrix import band_energy, density_matrix, fill
from nearsight.electronic.eigen import solve, solve_states
from nearsight.electronic.filling import Filling
from nearsight.electronic.spectrum import States
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.formats.cp2k_wavefunction import closed_shell, write_wavefunction
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.conventions import PYSCF, from_internal_order, reordered
from nearsight.recipes.overlap import overlap_of
from nearsight.recipes.pyscf_job import build_system, make_field, quiet
from nearsight.recipes.pyscf_settings import PyscfSettings
from nearsight.units import HARTREE_IN_EV

RESOLVED = 0.02
"""Of a predicted H, directions in which S has smaller eigenvalues are left out: there a small error of H is a large one
of a level, and a level that is wrongly filled costs hartrees. What is lost is a few mE_h in a molecule."""
ADDED_MOS = 40
"""Empty levels that go into CP2K's file; CP2K fills with zeros what it wants beyond."""


def cp2k_start(
    calculation: Calculation,
    path: str | Path,
    *,
    added_mos: int = ADDED_MOS,
    charge: int = 0,
    smearing: float | None = None,
    smallest: float | None = None,
) -> None:
    """Write a wavefunction file from which CP2K starts at Γ (SCF_GUESS RESTART), closed shells.

    Args:
        calculation: H and, where it has one, S; else S is computed (`overlap.overlap_of`).
        path: the file, such as `job-RESTART.wfn` for PROJECT job.
        added_mos: empty levels in it (as many as there are, at most); those of ADDED_MOS in the input.
        charge: of the structure, e.
        smearing: K, as in the input; None: no smearing.
        smallest: directions in which S has smaller eigenvalues are left out; None: as `smallest_kept`.

    Raises:
        InputError: no H, an odd number of electrons, or S that cannot be computed.
    """
    states, filling = _filled(calculation, charge, smallest, smearing)
    kept = slice(0, states.spectrum.n_electrons // 2 + added_mos)
    write_wavefunction(
        path,
        closed_shell(
            calculation.basis,
            calculation.structure.numbers,
            states.levels[kept] / HARTREE_IN_EV,
            filling.occupations[kept],
            states.coefficients[:, kept],
        ),
    )


def pyscf_start(calculation: Calculation, mol: Any, *, smallest: float | None = None) -> np.ndarray:
    """The density matrix with which PySCF starts: `dm0` of `mf.kernel(dm0)`, closed shells, at Γ.

    Args:
        calculation: H and, where it has one, S; else S is computed.
        mol: PySCF's Mole or Cell of the same atoms in the same order and basis.
        smallest: directions in which S has smaller eigenvalues are left out; None: as `smallest_kept`.

    Returns:
        (n, n), in PySCF's order of orbitals; its trace with PySCF's S is the number of electrons.

    Raises:
        InputError: no H, another structure or basis, or an odd number of electrons.
    """
    _check_same(calculation, mol)
    electrons = calculation.n_electrons
    return pyscf_density(calculation, electrons - int(mol.nelectron), smallest)


def pyscf_density(calculation: Calculation, charge: int = 0, smallest: float | None = None) -> np.ndarray:
    """As `pyscf_start`, of a structure with the given charge (e), where there is no system of PySCF's yet."""
    numbers = calculation.structure.numbers
    density = density_matrix(*_filled(calculation, charge, smallest))
    return reordered(density, *from_internal_order(PYSCF, calculation.basis.restricted(numbers), numbers))


def smallest_kept(calculation: Calculation) -> float:
    """Of a predicted H `RESOLVED`, or more where its expected errors say so; of any other what S itself resolves."""
    known = overlap_threshold(calculation)
    uncertain = calculation.provenance.get("predicted") == "yes" or calculation.error_estimate is not None
    return max(RESOLVED, known) if uncertain else known


def known_overlap(calculation: Calculation) -> BlockOperator:
    """The calculation's S; computed where it has none."""
    if calculation.overlap is not None:
        return calculation.overlap
    return overlap_of(calculation.structure, calculation.basis)


def _filled(
    calculation: Calculation, charge: int, smallest: float | None, smearing: float | None = None
) -> tuple[States, Filling]:
    """All states of H at Γ, and the electrons in them."""
    electrons = calculation.n_electrons - charge
    if electrons % 2:
        raise InputError(
            f"expected an even number of electrons (closed shells), got {electrons} in "
            f"{calculation.structure.formula} with charge {charge}; give another charge"
        )
    if smallest is None:
        smallest = smallest_kept(calculation)
    states = solve_states(
        calculation.require_hamiltonian(), known_overlap(calculation), electrons, method="dense", smallest=smallest
    )
    return states, fill(states.spectrum, smearing)


def _check_same(calculation: Calculation, mol: Any) -> None:
    """Raises InputError where PySCF's system has other atoms or shells."""
    numbers, basis = calculation.structure.numbers, calculation.basis
    if mol.natm != len(numbers):
        raise InputError(
            f"expected a system of {len(numbers)} atoms ({calculation.structure.formula}), got one of {mol.natm}"
        )
    for atom, z in enumerate(numbers):
        name = str(mol.atom_pure_symbol(atom))
        if z and name != symbol_of(int(z)):
            raise InputError(
                f"expected {symbol_of(int(z))} as atom {atom} of PySCF's system, got {name}; give the "
                "atoms in the order of the prediction"
            )
        shells = tuple(l for b in mol.atom_shell_ids(atom) for l in [int(mol.bas_angular(b))] * int(mol.bas_nctr(b)))
        if shells != basis.shells[int(z)]:
            raise InputError(
                f"expected shells {basis.shells[int(z)]} on atom {atom} ({basis.describe()}), got "
                f"{shells}; is it the basis of the prediction?"
            )


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
