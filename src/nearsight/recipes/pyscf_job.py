"""One PySCF calculation: molecules and cells, retried where the field does not converge, matrices as blocks."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.errors import RecipeError
from nearsight.formats.dense_matrices import from_dense
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.born_von_karman import mesh_points, to_real_space
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.conventions import PYSCF, reordered, to_internal_order
from nearsight.progress import Event, Progress, silent
from nearsight.recipes.pyscf_system import (
    KELVIN_IN_HARTREE,
    PyscfSettings,
    basis_of,
    build_system,
    first_line,
    make_field,
    pyscf_module,
    quiet,
)
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

ATTEMPTS: tuple[tuple[str, dict[str, float]], ...] = (
    ("as given", {}),
    ("level shift 0.3 E_h, damping 0.3, twice the steps", {"level_shift": 0.3, "damp": 0.3, "steps": 2}),
    ("second-order solver", {"newton": 1}),
    ("level shift 0.6 E_h, damping 0.7, four times the steps", {"level_shift": 0.6, "damp": 0.7, "steps": 4}),
)
"""What is tried, in this order, where the field does not converge; none changes the ground state. The second-order
solver is not tried where PySCF has none: with smearing, and with its multigrid at Γ."""


def run_job(structure: Structure, settings: PyscfSettings, folder: Path, progress: Progress = silent) -> Calculation:
    """Compute H and S as `run_pyscf` does, with PySCF's scratch files in a folder.

    A stopped job begins anew, so that its result does not depend on where it was stopped.

    Parameters
    ----------
    structure : Structure
        A molecule (no periodic direction) or a crystal (three).
    settings : PyscfSettings
        How it is computed.
    folder : Path
        The folder for scratch files; it is emptied before and removed in the end.
    progress : callable, optional
        Told the steps of the self-consistent field.

    Raises
    ------
    InputError
        Where PySCF cannot compute the structure, or is not installed.
    RecipeError
        Where PySCF failed, or the field did not converge with any of `ATTEMPTS`.
    """
    lib = pyscf_module().lib
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    usual = lib.param.TMPDIR
    lib.param.TMPDIR = str(folder)
    try:
        return run_pyscf(structure, settings, progress)
    finally:
        lib.param.TMPDIR = usual
        shutil.rmtree(folder, ignore_errors=True)


def run_pyscf(structure: Structure, settings: PyscfSettings, progress: Progress = silent) -> Calculation:
    """Compute H, S and, if wanted, H₀ of a closed-shell molecule or crystal, with energy, Fermi level and eigenvalues.

    Molecules and meshes of k-points give real-space operators (`born_von_karman.to_real_space` says which R), Γ alone
    gives one folded to Γ. H is the Kohn-Sham matrix of the converged density, and the eigenvalues are those that PySCF
    finds for it, at Γ. The Fermi level is the middle of the gap, or the chemical potential with smearing, where the
    energy is the free energy. A mesh's k-points and their eigenvalues are kept.

    Parameters
    ----------
    structure : Structure
        A molecule (no periodic direction) or a crystal (three); ghosts (Z = 0) carry functions of
        `settings.ghost_basis`.
    settings : PyscfSettings
        How it is computed.
    progress : callable, optional
        Told the steps of the self-consistent field.

    Raises
    ------
    InputError
        Where PySCF cannot compute the structure (some periodic directions, odd electrons, an element without basis),
        or is not installed.
    RecipeError
        Where PySCF failed, or the field did not converge with any of `ATTEMPTS`.
    """
    pyscf = pyscf_module()
    with quiet(), pyscf.lib.with_omp_threads(settings.threads):
        return _computed(structure, settings, progress)


def _computed(structure: Structure, settings: PyscfSettings, progress: Progress) -> Calculation:
    """Compute in a function of its own, so that PySCF's objects are gone when `quiet` collects what they leave."""
    system = build_system(structure, settings)
    basis = basis_of(system, structure.numbers, settings)
    field, attempt = converged_field(system, structure, settings, progress)
    progress(Event("matrices"))
    return calculation_of(field, structure, settings, basis, attempt)


def converged_field(
    system: Any, structure: Structure, settings: PyscfSettings, progress: Progress = silent
) -> tuple[Any, str]:
    """Run a Kohn-Sham object until it converges, with one of `ATTEMPTS` after another.

    Parameters
    ----------
    system : pyscf.gto.Mole or pyscf.pbc.gto.Cell
        From `build_system`.
    structure : Structure
        That the system was made from.
    settings : PyscfSettings
        How it is computed.
    progress : callable, optional
        Told the steps of the self-consistent field.

    Returns
    -------
    field : object
        PySCF's Kohn-Sham object, converged.
    attempt : str
        Which of `ATTEMPTS` it took.

    Raises
    ------
    InputError
        Where the functional is unknown.
    RecipeError
        Where PySCF failed, or none of the attempts converged.
    """
    tried = []
    for what, changes in ATTEMPTS:
        if changes.get("newton") and not _second_order(structure, settings):
            continue
        tried.append(what)
        field = _run(_changed(make_field(system, structure, settings), changes), what, settings, progress)
        if field.converged:
            return field, what
    raise RecipeError(
        f"expected a self-consistent field of {structure.formula}, got none in {settings.max_scf} steps "
        f"and more with any of: {'; '.join(tried)}. For a metal give smearing (1000 K) and kpoints; else "
        "raise max_scf or look at the structure"
    )


def _second_order(structure: Structure, settings: PyscfSettings) -> bool:
    """Return whether PySCF has a second-order solver for the system."""
    return settings.smearing is None and not (structure.pbc.all() and settings.gth and settings.mesh is None)


def _changed(field: Any, changes: dict[str, float]) -> Any:
    """Return a Kohn-Sham object with the settings of an attempt."""
    field.max_cycle = int(field.max_cycle * changes.get("steps", 1))
    if "level_shift" in changes:
        field.level_shift, field.damp = changes["level_shift"], changes["damp"]
    return field.newton() if changes.get("newton") else field


def _run(field: Any, what: str, settings: PyscfSettings, progress: Progress) -> Any:
    """Run a Kohn-Sham object from superposed atoms, and tell its steps."""
    note = "" if what == ATTEMPTS[0][0] else f" ({what})"

    def watch(local: dict[str, Any]) -> None:
        step = local.get("cycle", local.get("imacro", 0)) + 1
        energy = float(local["e_tot"])
        progress(Event(f"SCF step {step} of at most {field.max_cycle}, energy {energy:.6f} E_h{note}"))

    field.callback = watch
    try:
        field.kernel(field.get_init_guess(key="atom"))
    except np.linalg.LinAlgError as error:
        raise RecipeError(
            f"expected an overlap matrix that is positive definite, got: {first_line(error)}; take a smaller "
            f"basis than {', '.join(settings.basis_names)}, or more k-points in a small cell"
        ) from error
    except (RuntimeError, NotImplementedError, MemoryError) as error:
        raise RecipeError(
            f"expected PySCF to end well, got {type(error).__name__}: {first_line(error)}; try another "
            "functional, or without kpoints or smearing"
        ) from error
    return field


@dataclass(frozen=True)
class _Result:
    """A converged field and what its matrices mean.

    Attributes
    ----------
    field : object
        PySCF's Kohn-Sham object.
    fock : object
        The Kohn-Sham matrix of the converged density, E_h.
    levels : ndarray, shape (k, n)
        The eigenvalues of the Kohn-Sham matrix, E_h.
    filling : ndarray, shape (k, n)
        The occupation of each level, 0 to 2.
    """

    field: Any
    structure: Structure
    settings: PyscfSettings
    basis: BasisSet
    fock: Any
    levels: np.ndarray
    filling: np.ndarray

    def operator(self, matrix: Any, unit: float = 1.0) -> BlockOperator:
        """Return PySCF's matrix, or one for each k-point, as blocks, times `unit`."""
        numbers, values = self.structure.numbers, np.asarray(matrix) * unit
        if self.settings.mesh is None:
            # At Γ and in a molecule orbitals are real.
            return replace(from_dense(values.real, numbers, self.basis, PYSCF), folded=bool(self.structure.pbc.all()))
        index, sign = to_internal_order(PYSCF, self.basis, numbers)
        return to_real_space(reordered(values, index, sign), self.settings.mesh, self.structure, self.basis)

    def h0(self) -> BlockOperator | None:
        """Return H₀, eV, where it is wanted."""
        if not self.settings.h0:
            return None
        return self.operator(self.field.get_fock(dm=self.field.get_init_guess(key="atom")), HARTREE_IN_EV)

    def fermi(self) -> float:
        """Return the Fermi level, E_h: the middle of the gap, or the chemical potential of partly filled levels."""
        energy, part = self.levels.ravel(), self.filling.ravel() / 2
        nearest = int(np.argmin(np.abs(part - 0.5)))
        if self.settings.smearing is not None and 1e-6 < part[nearest] < 1 - 1e-6:
            width = self.settings.smearing * KELVIN_IN_HARTREE
            return float(energy[nearest] - width * np.log((1 - part[nearest]) / part[nearest]))
        highest, empty = float(energy[part > 0.5].max()), energy[part <= 0.5]
        return (highest + float(empty.min())) / 2 if len(empty) else highest

    def energy(self) -> float:
        """Return the energy, E_h; with smearing the free energy."""
        return float(self.field.e_tot if self.settings.smearing is None else self.field.e_free)


def calculation_of(
    field: Any, structure: Structure, settings: PyscfSettings, basis: BasisSet, attempt: str
) -> Calculation:
    """Return the matrices and levels of a converged Kohn-Sham object.

    Parameters
    ----------
    field : object
        PySCF's Kohn-Sham object, from `converged_field`.
    structure : Structure
        The structure that it was made from.
    settings : PyscfSettings
        The settings that it was made from.
    basis : BasisSet
        The basis of the structure's elements, from `basis_of`.
    attempt : str
        What it took to converge, for the provenance.
    """
    return _calculation(_rediagonalised(field, structure, settings, basis), attempt)


def _rediagonalised(field: Any, structure: Structure, settings: PyscfSettings, basis: BasisSet) -> _Result:
    """Diagonalise once more: PySCF's last eigenvalues are those of the step before, not of the last H."""
    fock = field.get_fock(dm=field.make_rdm1())
    levels, orbitals = field.eig(fock, field.get_ovlp())
    filling = field.get_occ(levels, orbitals)
    return _Result(field, structure, settings, basis, fock, np.atleast_2d(levels), np.atleast_2d(filling))


def _calculation(result: _Result, attempt: str) -> Calculation:
    mesh = result.settings.mesh
    return Calculation(
        structure=result.structure,
        basis=result.basis,
        hamiltonian=result.operator(result.fock, HARTREE_IN_EV),
        overlap=result.operator(result.field.get_ovlp()),
        h0=result.h0(),
        energy=result.energy() * HARTREE_IN_EV,
        fermi=result.fermi() * HARTREE_IN_EV,
        eigenvalues=np.sort(result.levels[0]) * HARTREE_IN_EV,
        provenance=_provenance(result, attempt),
        k_points=None if mesh is None else mesh_points(mesh),
        k_eigenvalues=None if mesh is None else np.sort(result.levels, axis=1) * HARTREE_IN_EV,
        charge=float(result.settings.charge),
        multiplicity=1,
    )


def _provenance(result: _Result, attempt: str) -> dict[str, str]:
    import pyscf

    settings = result.settings
    said = {
        "code": f"PySCF {pyscf.__version__}",
        "source": "nearsight generate",
        "functional": settings.functional,
        "recipe": json.dumps(settings.model_dump(mode="json")),
        "converged": "yes",
        "scf": attempt,
    }
    if settings.h0:
        said["initial"] = "spherical Hartree-Fock atoms (PySCF's init_guess atom)"
    if result.structure.pbc.all() and settings.gth:
        said["zero"] = f"PySCF's: H is CP2K's + {shift_from_cp2k(result.field.cell) * HARTREE_IN_EV:.6f} eV · S"
    if settings.mesh is not None:
        said["kpoints"] = f"{' × '.join(map(str, settings.mesh))} through Γ"
    return said


def shift_from_cp2k(cell: Any) -> float:
    """Return how far PySCF's zero of energy is below CP2K's in a crystal with GTH pseudopotentials: 2π/V Σ Z r_loc².

    CP2K's average electrostatic potential is 0 with each ion's charge a Gaussian, PySCF's with point charges.

    Parameters
    ----------
    cell : pyscf.pbc.gto.Cell
        The crystal.

    Returns
    -------
    float
        The shift, E_h.
    """
    of_ions = sum(
        cell.atom_charge(a) * cell._pseudo[cell.atom_symbol(a)][1] ** 2 for a in range(cell.natm) if cell.atom_charge(a)
    )
    return float(2 * np.pi / cell.vol * of_ions)
