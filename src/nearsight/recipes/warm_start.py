"""The density of a Hamiltonian's occupied orbitals: what codes start from, and its total energy.

The orbitals of H at Γ, filled with the structure's electrons, are a density, and that is all a code needs to begin
with. What it converges to is its own result; the start decides how many steps that takes.

The total energy of that density, without a self-consistent cycle, is the functional

    E[P] = Tr P T + Tr P V_ext + E_Hartree[P] + E_xc[P] + E_nuclei

of which PySCF supplies all terms. It is smallest at the self-consistent density, so E[P] lies above its energy and is
off only by the square of the error of P: a small error of H costs very little energy, and what it costs measures the
error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.density_matrix import band_energy, density_matrix
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
from nearsight.recipes.pyscf_system import PyscfSettings, build_system, make_field, quiet
from nearsight.units import HARTREE_IN_EV

WELL_CONDITIONED = 0.02
"""Smallest eigenvalue of S whose direction is kept with a predicted H; others are projected out: there a small error of
H is a large one of a level, and a level that is wrongly filled costs hartrees. What is lost is a few mE_h in a
molecule."""
ADDED_MOS = 40
"""Empty levels that go into CP2K's file; CP2K fills with zeros what it wants beyond."""


def cp2k_start(
    calculation: Calculation,
    path: str | Path,
    *,
    added_mos: int = ADDED_MOS,
    charge: float | None = None,
    smearing: float | None = None,
    threshold: float | None = None,
) -> None:
    """Write a wavefunction file from which CP2K starts at Γ (SCF_GUESS RESTART), for closed shells.

    Parameters
    ----------
    calculation : Calculation
        The Hamiltonian and, where it has one, S; else S is computed (`overlap.overlap_of`).
    path : str or Path
        The file, such as `job-RESTART.wfn` for PROJECT job.
    added_mos : int, optional
        The number of empty levels in the file (at most as many as there are): ADDED_MOS of the input.
    charge : float, optional
        The charge of the structure, e; the calculation's own by default.
    smearing : float, optional
        The electronic temperature, K, as in the input; no smearing if there is none.
    threshold : float, optional
        Directions in which S has smaller eigenvalues are projected out; `start_threshold` if it is not given.

    Raises
    ------
    InputError
        Where there is no H, the number of electrons is odd, or S cannot be computed.
    """
    states, filling = _filled(calculation, charge, threshold, smearing)
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


def pyscf_start(calculation: Calculation, mol: Any, *, threshold: float | None = None) -> np.ndarray:
    """Return the density matrix with which PySCF starts: `dm0` of `mf.kernel(dm0)`, for closed shells, at Γ.

    Parameters
    ----------
    calculation : Calculation
        The Hamiltonian and, where it has one, S; else S is computed.
    mol : pyscf.gto.Mole or pyscf.pbc.gto.Cell
        PySCF's system of the same atoms in the same order and basis.
    threshold : float, optional
        Directions in which S has smaller eigenvalues are projected out; `start_threshold` if it is not given.

    Returns
    -------
    ndarray, shape (n, n)
        The density matrix in PySCF's order of orbitals; its trace with PySCF's S is the number of electrons.

    Raises
    ------
    InputError
        Where there is no H, the system has another structure or basis, or the number of electrons is odd.
    """
    _check_same(calculation, mol)
    neutral = calculation.basis.n_electrons(calculation.structure.numbers)
    return pyscf_density(calculation, neutral - int(mol.nelectron), threshold)


def pyscf_density(calculation: Calculation, charge: float | None = None, threshold: float | None = None) -> np.ndarray:
    """Return the density matrix of `pyscf_start` where there is no system of PySCF's yet.

    Parameters
    ----------
    calculation : Calculation
        The Hamiltonian and, where it has one, S; else S is computed.
    charge : float, optional
        The charge of the structure, e; the calculation's own by default.
    threshold : float, optional
        As in `pyscf_start`.

    Returns
    -------
    ndarray, shape (n, n)
        The density matrix in PySCF's order of orbitals.
    """
    numbers = calculation.structure.numbers
    density = gamma_density(calculation, charge, threshold)
    return reordered(density, *from_internal_order(PYSCF, calculation.basis.restricted(numbers), numbers))


def gamma_density(
    calculation: Calculation, charge: float | None = None, threshold: float | None = None, smearing: float | None = None
) -> np.ndarray:
    """Return the density matrix of H's levels at Γ, of both spins, in the internal order of orbitals.

    Parameters
    ----------
    calculation : Calculation
        The Hamiltonian and, where it has one, S; else S is computed.
    charge : float, optional
        The charge of the structure, e; the calculation's own by default.
    threshold : float, optional
        As in `pyscf_start`.
    smearing : float, optional
        The electronic temperature, K; full levels if there is none.

    Returns
    -------
    ndarray, shape (n, n)
        P; Tr P S is the number of electrons.
    """
    return density_matrix(*_filled(calculation, charge, threshold, smearing))


def start_threshold(calculation: Calculation) -> float:
    """Return the smallest eigenvalue of S whose direction is kept.

    For a predicted H that is `WELL_CONDITIONED`, or more where its expected errors say so; for any other H it is what
    the accuracy of S itself allows.
    """
    known = overlap_threshold(calculation)
    uncertain = calculation.provenance.get("predicted") == "yes" or calculation.error_estimate is not None
    return max(WELL_CONDITIONED, known) if uncertain else known


def known_overlap(calculation: Calculation) -> BlockOperator:
    """Return the calculation's S; it is computed where the calculation has none.

    Raises
    ------
    InputError
        Where S cannot be computed.
    """
    if calculation.overlap is not None:
        return calculation.overlap
    return overlap_of(calculation.structure, calculation.basis)


def _filled(
    calculation: Calculation, charge: float | None, threshold: float | None, smearing: float | None = None
) -> tuple[States, Filling]:
    """Return all states of H at Γ, and the electrons in them."""
    electrons = calculation.electrons(charge)
    if electrons % 2:
        total = calculation.charge if charge is None else charge
        raise InputError(
            f"expected an even number of electrons (closed shells), got {electrons} in "
            f"{calculation.structure.formula} with charge {total:g}; give another charge"
        )
    if threshold is None:
        threshold = start_threshold(calculation)
    states = solve_states(
        calculation.require_hamiltonian(), known_overlap(calculation), electrons, method="dense", threshold=threshold
    )
    return states, states.spectrum.filling(smearing)


def _check_same(calculation: Calculation, mol: Any) -> None:
    """Raise InputError where PySCF's system has other atoms or shells."""
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
    """The energy of the density of one Hamiltonian, eV.

    Attributes
    ----------
    total : float
        The total energy E[P].
    band : float
        The band energy Σ f ε of the Hamiltonian's own levels.
    rest : float
        What the band energy does not have: double counting, exchange and correlation, nuclei.
    """

    total: float
    band: float

    @property
    def rest(self) -> float:
        """The difference `total` − `band`."""
        return self.total - self.band


def total_energy(calculation: Calculation, settings: PyscfSettings) -> TotalEnergy:
    """Return E[P] of the density of a Hamiltonian's occupied orbitals; no self-consistent cycle is run.

    Parameters
    ----------
    calculation : Calculation
        The Hamiltonian and, where it has one, S, at Γ.
    settings : PyscfSettings
        The functional, basis, pseudopotentials and grids of the energy: those that H was learned from.

    Raises
    ------
    InputError
        Where the basis is another one, the settings have k-points or smearing, or the functional is unknown.
    """
    if settings.mesh is not None or settings.smearing is not None:
        raise InputError("expected settings at Γ without smearing for a total energy, got kpoints or smearing")
    structure = calculation.structure
    system = build_system(structure, settings)
    density = pyscf_start(calculation, system)
    with quiet():
        total = float(np.real(make_field(system, structure, settings).energy_tot(density))) * HARTREE_IN_EV
    spectrum = solve(calculation.require_hamiltonian(), known_overlap(calculation), int(system.nelectron))
    return TotalEnergy(total, band_energy(spectrum, spectrum.filling()))
