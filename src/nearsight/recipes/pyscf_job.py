"""One PySCF calculation: molecules and cells, retried where the field does not converge, matrices as blocks."""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.elements import GHOST, symbol_of
from nearsight.errors import InputError, RecipeError
from nearsight.formats.dense_matrices import from_dense
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import DEF2_SVP, BasisSet
from nearsight.orbitals.conventions import PYSCF, reordered, to_internal_order
from nearsight.recipes.born_von_karman import mesh_points, resolved
from nearsight.recipes.pyscf_settings import PyscfSettings
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

INSTALL = "install it with `pip install pyscf`"
KELVIN_IN_HARTREE = 3.1668115634556e-6
"""Boltzmann's constant, E_h/K, CODATA 2018."""
HEAVIEST_ALL_ELECTRON = 36
"""The def2 basis sets of heavier elements belong to effective core potentials."""

ATTEMPTS: tuple[tuple[str, dict[str, float]], ...] = (
    ("as given", {}),
    ("level shift 0.3 E_h, damping 0.3, twice the steps", {"level_shift": 0.3, "damp": 0.3, "steps": 2}),
    ("second-order solver", {"newton": 1}),
    ("level shift 0.6 E_h, damping 0.7, four times the steps", {"level_shift": 0.6, "damp": 0.7, "steps": 4}),
)
"""What is tried, in this order, where the field does not converge; none changes the ground state. The second-order
solver is left out where PySCF has none: with smearing, and with its multigrid at Γ."""

Report = Callable[[str], None]
"""Called with what is under way."""


def run_job(
    structure: Structure, settings: PyscfSettings, folder: Path, report: Report = lambda text: None
) -> Calculation:
    """Compute in `folder`, which is emptied before and holds PySCF's scratch files while it runs.

    A stopped job begins anew, so that its result does not depend on where it was stopped.

    Args:
        structure: a molecule (no periodic direction) or a crystal (three).
        settings: how.
        folder: scratch; made if it is not there, removed in the end.
        report: called with what is under way.

    Raises:
        InputError: what PySCF cannot compute, or PySCF is not installed.
        RecipeError: PySCF failed, or the field did not converge with any of `ATTEMPTS`.
    """
    lib = pyscf_module().lib
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    usual = lib.param.TMPDIR
    lib.param.TMPDIR = str(folder)
    try:
        return run_pyscf(structure, settings, report)
    finally:
        lib.param.TMPDIR = usual
        shutil.rmtree(folder, ignore_errors=True)


def run_pyscf(structure: Structure, settings: PyscfSettings, report: Report | None = None) -> Calculation:
    """H, S and, if wanted, H₀ of a closed-shell molecule or crystal, with energy, Fermi level and eigenvalues.

    Molecules and meshes of k-points give operators resolved in R (`born_von_karman.resolved` says which R), Γ alone
    gives one folded to Γ. H is the Kohn-Sham matrix of the converged density, and the eigenvalues are those that PySCF
    finds for it, at Γ. The Fermi level is the middle of the gap, or the chemical potential with smearing, where the
    energy is the free energy. A mesh's k-points and their eigenvalues are kept.

    Args:
        structure: a molecule (no periodic direction) or a crystal (three); ghosts (Z = 0) carry functions of
            `settings.ghost_basis`.
        settings: how.
        report: called with what is under way.

    Raises:
        InputError: what PySCF cannot compute (some periodic directions, odd electrons, an element without basis), or
            PySCF is not installed.
        RecipeError: PySCF failed, or the field did not converge with any of `ATTEMPTS`.
    """
    pyscf = pyscf_module()
    say = report or (lambda text: None)
    with quiet(), pyscf.lib.with_omp_threads(settings.threads):
        return _computed(structure, settings, say)


def _computed(structure: Structure, settings: PyscfSettings, report: Report) -> Calculation:
    system = build_system(structure, settings)
    basis = basis_of(system, structure.numbers, settings)
    field, attempt = converged_field(system, structure, settings, report)
    report("matrices")
    return calculation_of(field, structure, settings, basis, attempt)


def pyscf_module() -> Any:
    """The package, imported.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pyscf
    except ImportError as error:
        raise InputError(f"expected the package pyscf to be installed, got: {error}; {INSTALL}") from error
    return pyscf


def build_system(structure: Structure, settings: PyscfSettings) -> Any:
    """PySCF's Mole, or its Cell for a crystal.

    Raises:
        InputError: what PySCF cannot compute.
    """
    _check_structure(structure, settings)
    keys = {
        "atom": [
            (_label(int(z), settings), tuple(place))
            for z, place in zip(structure.numbers, structure.positions / BOHR_IN_ANGSTROM)
        ],
        "unit": "Bohr",
        "basis": settings.basis if isinstance(settings.basis, str) else _labelled_basis(settings),
        "charge": settings.charge,
        "spin": None,
        "verbose": 0,
        "cart": False,
        "pseudo" if settings.gth else "ecp": settings.pseudo or {},
    }
    try:
        if structure.pbc.all():
            from pyscf.pbc import gto

            system = gto.Cell(**keys, a=structure.cell / BOHR_IN_ANGSTROM, ke_cutoff=settings.ke_cutoff)
        else:
            from pyscf import gto

            system = gto.Mole(**keys)
        system.build(dump_input=False, parse_arg=False)
    except (KeyError, RuntimeError, ValueError) as error:  # PySCF's error for an unknown basis is a RuntimeError
        raise InputError(
            f"expected basis {', '.join(settings.basis_names)} with pseudo={settings.pseudo} for "
            f"{structure.formula}, got an error of PySCF: {_words(error)}"
        ) from error
    if system.nelectron <= 0 or system.nelectron % 2:
        raise InputError(
            f"expected an even number of electrons (closed shells), got {system.nelectron} in "
            f"{structure.formula} with charge {settings.charge}; give another charge or a larger cell"
        )
    return system


def _check_structure(structure: Structure, settings: PyscfSettings) -> None:
    if structure.pbc.any() and not structure.pbc.all():
        raise InputError(
            f"expected a molecule or three periodic directions, got pbc {structure.pbc.tolist()}; make "
            "the others periodic too, with vacuum"
        )
    if settings.mesh is not None and not structure.pbc.any():
        raise InputError(f"expected no kpoints for a molecule, got {settings.mesh}")
    if not np.any(structure.numbers != GHOST):
        raise InputError("expected an atom that is not a ghost, got none")
    heavy = [symbol_of(z) for z in structure.elements if z > HEAVIEST_ALL_ELECTRON]
    if heavy and settings.pseudo is None and any(name.lower().startswith("def2") for name in settings.basis_names):
        raise InputError(
            f"expected an effective core potential for {', '.join(heavy)} in a def2 basis, got none; "
            "give pseudo: def2-svp"
        )


def _label(number: int, settings: PyscfSettings) -> str:
    return f"ghost-{settings.ghost_basis}" if number == GHOST else symbol_of(number)


def _labelled_basis(settings: PyscfSettings) -> dict[str, str]:
    assert not isinstance(settings.basis, str)
    ghost = settings.basis.get(settings.ghost_basis)
    return {**settings.basis, **({} if ghost is None else {_label(GHOST, settings): ghost})}


def basis_of(system: Any, numbers: np.ndarray, settings: PyscfSettings) -> BasisSet:
    """The shells of PySCF's system, in PySCF's order."""
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    for atom, z in enumerate(numbers):
        if int(z) not in shells:
            own = system.atom_shell_ids(atom)
            shells[int(z)] = tuple(l for b in own for l in [int(system.bas_angular(b))] * int(system.bas_nctr(b)))
            valence[int(z)] = int(system.atom_charge(atom))
    return BasisSet(_basis_name(settings), shells, valence)


def _basis_name(settings: PyscfSettings) -> str:
    """As CP2K and the literature write it."""
    if len(settings.basis_names) > 1:
        return "mixed"
    name = settings.basis_names[0]
    if name.lower().startswith("gth-"):
        return f"{name[4:].upper()}-GTH"
    return DEF2_SVP if name.lower() == DEF2_SVP.lower() else name


def make_field(system: Any, structure: Structure, settings: PyscfSettings) -> Any:
    """PySCF's Kohn-Sham object, with grids and fits as the system needs them, not run.

    Raises:
        InputError: an unknown functional.
    """
    from pyscf.dft import libxc

    try:
        plain = not libxc.is_hybrid_xc(settings.functional) and libxc.xc_type(settings.functional) in ("LDA", "GGA")
    except (KeyError, ValueError) as error:
        raise InputError(
            f"expected a functional that PySCF knows, got {settings.functional!r}: {_words(error)}"
        ) from error
    if structure.pbc.all():
        field = _crystal_field(system, settings, multigrid=plain)
    else:
        from pyscf import dft

        field = dft.RKS(system, xc=settings.functional)
    field.chkfile = None
    if hasattr(field.grids, "level"):
        field.grids.level = settings.grid_level
    field.conv_tol, field.conv_tol_grad, field.max_cycle = settings.conv_tol, settings.conv_tol_grad, settings.max_scf
    if settings.smearing is not None:
        field = field.smearing(sigma=settings.smearing * KELVIN_IN_HARTREE, method="fermi")
    return field


def _crystal_field(system: Any, settings: PyscfSettings, multigrid: bool) -> Any:
    from pyscf.pbc import dft

    if settings.mesh is None:
        field = dft.RKS(system, xc=settings.functional)
    else:
        points = system.get_abs_kpts(mesh_points(settings.mesh))
        field = dft.KRKS(system, points, xc=settings.functional)
    if not settings.gth:
        return field.density_fit()
    return field.multigrid_numint() if multigrid else field


def converged_field(system: Any, structure: Structure, settings: PyscfSettings, report: Report) -> tuple[Any, str]:
    """A converged Kohn-Sham object, and which of `ATTEMPTS` it took.

    Raises:
        InputError: an unknown functional.
        RecipeError: PySCF failed, or none converged.
    """
    tried = []
    for what, changes in ATTEMPTS:
        if changes.get("newton") and not _second_order(structure, settings):
            continue
        tried.append(what)
        field = _run(_changed(make_field(system, structure, settings), changes), what, settings, report)
        if field.converged:
            return field, what
    raise RecipeError(
        f"expected a self-consistent field of {structure.formula}, got none in {settings.max_scf} steps "
        f"and more with any of: {'; '.join(tried)}. For a metal give smearing (1000 K) and kpoints; else "
        "raise max_scf or look at the structure"
    )


def _second_order(structure: Structure, settings: PyscfSettings) -> bool:
    return settings.smearing is None and not (structure.pbc.all() and settings.gth and settings.mesh is None)


def _changed(field: Any, changes: dict[str, float]) -> Any:
    field.max_cycle = int(field.max_cycle * changes.get("steps", 1))
    if "level_shift" in changes:
        field.level_shift, field.damp = changes["level_shift"], changes["damp"]
    return field.newton() if changes.get("newton") else field


def _run(field: Any, what: str, settings: PyscfSettings, report: Report) -> Any:
    note = "" if what == ATTEMPTS[0][0] else f" ({what})"

    def watch(local: dict[str, Any]) -> None:
        step = local.get("cycle", local.get("imacro", 0)) + 1
        report(f"SCF step {step} of at most {field.max_cycle}, energy {float(local['e_tot']):.6f} E_h{note}")

    field.callback = watch
    try:
        field.kernel(field.get_init_guess(key="atom"))
    except np.linalg.LinAlgError as error:
        raise RecipeError(
            f"expected an overlap matrix that is positive definite, got: {_words(error)}; take a smaller "
            f"basis than {', '.join(settings.basis_names)}, or more k-points in a small cell"
        ) from error
    except (RuntimeError, NotImplementedError, MemoryError) as error:
        raise RecipeError(
            f"expected PySCF to end well, got {type(error).__name__}: {_words(error)}; try another "
            "functional, or without kpoints or smearing"
        ) from error
    return field


@dataclass(frozen=True)
class _Result:
    """A converged field and what its matrices mean.

    Attributes:
        field: PySCF's Kohn-Sham object.
        fock: E_h, of the converged density.
        levels: (k, n) its eigenvalues, E_h.
        filling: (k, n) 0 to 2.
    """

    field: Any
    structure: Structure
    settings: PyscfSettings
    basis: BasisSet
    fock: Any
    levels: np.ndarray
    filling: np.ndarray

    def operator(self, matrix: Any, unit: float = 1.0) -> BlockOperator:
        """PySCF's matrix, or one for each k-point, as blocks, times `unit`."""
        numbers, values = self.structure.numbers, np.asarray(matrix) * unit
        if self.settings.mesh is None:
            # At Γ and in a molecule orbitals are real.
            return replace(from_dense(values.real, numbers, self.basis, PYSCF), folded=bool(self.structure.pbc.all()))
        index, sign = to_internal_order(PYSCF, self.basis, numbers)
        return resolved(reordered(values, index, sign), self.settings.mesh, self.structure, self.basis)

    def initial(self) -> BlockOperator | None:
        """H₀, eV, where it is wanted."""
        if not self.settings.h0:
            return None
        return self.operator(self.field.get_fock(dm=self.field.get_init_guess(key="atom")), HARTREE_IN_EV)

    def fermi(self) -> float:
        """E_h: the middle of the gap, or the chemical potential where levels are partly filled."""
        energy, part = self.levels.ravel(), self.filling.ravel() / 2
        nearest = int(np.argmin(np.abs(part - 0.5)))
        if self.settings.smearing is not None and 1e-6 < part[nearest] < 1 - 1e-6:
            width = self.settings.smearing * KELVIN_IN_HARTREE
            return float(energy[nearest] - width * np.log((1 - part[nearest]) / part[nearest]))
        highest, empty = float(energy[part > 0.5].max()), energy[part <= 0.5]
        return (highest + float(empty.min())) / 2 if len(empty) else highest

    def energy(self) -> float:
        """E_h, with smearing the free energy."""
        return float(self.field.e_tot if self.settings.smearing is None else self.field.e_free)


def calculation_of(
    field: Any, structure: Structure, settings: PyscfSettings, basis: BasisSet, attempt: str
) -> Calculation:
    """The matrices and levels of a converged Kohn-Sham object.

    Args:
        field: from `converged_field`.
        structure, settings: that it was made from.
        basis: of the structure's elements (`basis_of`).
        attempt: what it took to converge; for the provenance.
    """
    return _calculation(_rediagonalised(field, structure, settings, basis), attempt)


def _rediagonalised(field: Any, structure: Structure, settings: PyscfSettings, basis: BasisSet) -> _Result:
    """PySCF's last eigenvalues are those of the step before: levels and H belong together after one more."""
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
        h0=result.initial(),
        energy=result.energy() * HARTREE_IN_EV,
        fermi=result.fermi() * HARTREE_IN_EV,
        eigenvalues=np.sort(result.levels[0]) * HARTREE_IN_EV,
        provenance=_provenance(result, attempt),
        k_points=None if mesh is None else mesh_points(mesh),
        k_eigenvalues=None if mesh is None else np.sort(result.levels, axis=1) * HARTREE_IN_EV,
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
    """E_h by which PySCF's zero of energy in a crystal with GTH pseudopotentials is below CP2K's: 2π/V Σ Z r_loc².

    CP2K's average electrostatic potential is 0 with each ion's charge a Gaussian, PySCF's with point charges.
    """
    of_ions = sum(
        cell.atom_charge(a) * cell._pseudo[cell.atom_symbol(a)][1] ** 2 for a in range(cell.natm) if cell.atom_charge(a)
    )
    return float(2 * np.pi / cell.vol * of_ions)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """PySCF warns of its own deprecated parts, and leaves temporary files to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            gc.collect()


def _words(error: BaseException) -> str:
    """The first line of a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
