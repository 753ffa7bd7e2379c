"""How PySCF computes H and S, as a campaign has it under `dft`, and PySCF's own objects that are made from it."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from nearsight.configuration import Section
from nearsight.elements import GHOST, symbol_of
from nearsight.errors import InputError
from nearsight.operators.born_von_karman import mesh_points
from nearsight.orbitals.basis import DEF2_SVP, BasisSet
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.recipes.pyscf_names import checked_name, checked_symbol, forbid_evaluation
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM

INSTALL = "install it with `pip install pyscf`"
KELVIN_IN_HARTREE = 3.1668115634556e-6
"""Boltzmann's constant, E_h/K, CODATA 2018."""
HEAVIEST_ALL_ELECTRON = 36
"""The def2 basis sets of heavier elements belong to effective core potentials."""


class PyscfSettings(Section):
    """How PySCF computes H and S.

    Defaults are right for a small molecule; crystals need `basis: gth-szv-molopt-sr` and `pseudo: gth-pbe`.
    """

    code: Literal["pyscf"] = "pyscf"
    functional: str = Field("pbe", description="any functional that PySCF knows")
    basis: str | dict[str, str] = Field("def2-svp", description="one name of PySCF's, or one per element")
    pseudo: str | None = Field(None, description="gth-…, or an effective core potential such as def2-svp")
    ghost_basis: str = Field("O", description="element whose functions a ghost (X) carries")
    charge: int = 0
    grid_level: int = Field(3, ge=0, le=9, description="level of PySCF's atomic grids")
    ke_cutoff: float | None = Field(
        None,
        gt=0,
        description="cutoff of the plane waves of a cell with a GTH pseudopotential, E_h; none: PySCF's choice, which "
        "is safe and slow",
    )
    kpoints: tuple[int, int, int] | None = Field(None, description="mesh through Γ; none: Γ, images summed")
    smearing: float | None = Field(None, gt=0, description="electronic temperature (Fermi-Dirac), K; for metals")
    conv_tol: float = Field(1e-10, gt=0, description="convergence of the energy, E_h")
    conv_tol_grad: float = Field(1e-7, gt=0, description="convergence of the orbital gradient, E_h")
    max_scf: int = Field(60, ge=1)
    h0: bool = Field(False, description="whether H₀ of superposed atomic densities is stored, too")
    threads: int = Field(1, ge=1)

    @property
    def gth(self) -> bool:
        """Whether the pseudopotential is one of Goedecker, Teter and Hutter."""
        return self.pseudo is not None and self.pseudo.lower().startswith("gth")

    @property
    def mesh(self) -> tuple[int, int, int] | None:
        """The k-points; None for Γ alone, also where it is written as 1, 1, 1."""
        return None if self.kpoints == (1, 1, 1) else self.kpoints

    @property
    def basis_names(self) -> tuple[str, ...]:
        """The different names of basis sets."""
        return (self.basis,) if isinstance(self.basis, str) else tuple(sorted(set(self.basis.values())))

    def check_names(self) -> None:
        """Check that what is given to PySCF as a name is one.

        Raises
        ------
        InputError
            Where a name is none, or a file is called so.
        """
        for name in self.basis_names:
            checked_name(name, "basis")
        for symbol in self.basis if isinstance(self.basis, dict) else ():
            checked_symbol(symbol, "a key of `basis`")
        checked_symbol(self.ghost_basis, "ghost_basis")
        checked_name(self.functional, "functional")
        if self.pseudo is not None:
            checked_name(self.pseudo, "pseudopotential")

    @model_validator(mode="after")
    def _fits_together(self) -> PyscfSettings:
        self.check_names()
        if self.kpoints is not None and min(self.kpoints) < 1:
            raise ValueError(f"expected kpoints of at least 1, got {self.kpoints}")
        of_gth = {"gth" in name.lower() for name in self.basis_names}
        if of_gth == {True} and not self.gth:
            raise ValueError(f"expected pseudo=gth-… with basis {', '.join(self.basis_names)}, got {self.pseudo}")
        if self.gth and False in of_gth:
            raise ValueError(f"expected a basis gth-… with pseudo={self.pseudo}, got {', '.join(self.basis_names)}")
        return self


def pyscf_module() -> Any:
    """Import PySCF and return the package, which no longer evaluates texts that it is given as names.

    Raises
    ------
    InputError
        Where it is not installed.
    """
    try:
        import pyscf
        import pyscf.gto
    except ImportError as error:
        raise InputError(f"expected the package pyscf to be installed, got: {error}; {INSTALL}") from error
    forbid_evaluation()
    return pyscf


def build_system(structure: Structure, settings: PyscfSettings) -> Any:
    """Return PySCF's system of a structure.

    Parameters
    ----------
    structure : Structure
        A molecule (no periodic direction) or a crystal (three); ghosts (Z = 0) carry functions of
        `settings.ghost_basis`.
    settings : PyscfSettings
        The basis, the pseudopotentials and the charge.

    Returns
    -------
    pyscf.gto.Mole or pyscf.pbc.gto.Cell
        The system, built.

    Raises
    ------
    InputError
        Where PySCF cannot compute the structure: some but not all directions are periodic, the number of electrons is
        odd, or an element has no basis.
    """
    settings.check_names()
    pyscf_module()
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
            f"{structure.formula}, got an error of PySCF: {first_line(error)}"
        ) from error
    if system.nelectron <= 0 or system.nelectron % 2:
        raise InputError(
            f"expected an even number of electrons (closed shells), got {system.nelectron} in "
            f"{structure.formula} with charge {settings.charge}; give another charge or a larger cell"
        )
    return system


def _check_structure(structure: Structure, settings: PyscfSettings) -> None:
    """Raise InputError for a structure that cannot be computed with these settings."""
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
    """Return what PySCF calls an atom or a ghost."""
    return f"ghost-{settings.ghost_basis}" if number == GHOST else symbol_of(number)


def _labelled_basis(settings: PyscfSettings) -> dict[str, str]:
    """Return the basis of every element, and that of ghosts under their label."""
    assert not isinstance(settings.basis, str)
    ghost = settings.basis.get(settings.ghost_basis)
    return {**settings.basis, **({} if ghost is None else {_label(GHOST, settings): ghost})}


def basis_of(system: Any, numbers: np.ndarray, settings: PyscfSettings) -> BasisSet:
    """Return the basis of a system, with the shells of each element in PySCF's order.

    Parameters
    ----------
    system : pyscf.gto.Mole or pyscf.pbc.gto.Cell
        From `build_system`.
    numbers : ndarray, shape (N,)
        The atomic numbers of the structure, 0 for ghosts.
    settings : PyscfSettings
        Those that the system was made from; they have the name of the basis.
    """
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    functions: dict[int, tuple[GaussianShell, ...]] = {}
    for atom, z in enumerate(numbers):
        if int(z) not in shells:
            functions[int(z)] = shells_of(system, system.atom_shell_ids(atom))
            shells[int(z)] = tuple(shell.l for shell in functions[int(z)])
            valence[int(z)] = int(system.atom_charge(atom))
    return BasisSet(_basis_name(settings), shells, valence, functions)


def shells_of(system: Any, places: Iterable[int]) -> tuple[GaussianShell, ...]:
    """Return the radial functions of some of PySCF's shells, one for each contraction.

    Parameters
    ----------
    system : pyscf.gto.Mole or pyscf.pbc.gto.Cell
        The system.
    places : iterable of int
        Which of its shells.
    """
    return tuple(
        GaussianShell.of_normalised(int(system.bas_angular(b)), system.bas_exp(b), system.bas_ctr_coeff(b)[:, k])
        for b in places
        for k in range(int(system.bas_nctr(b)))
    )


def _basis_name(settings: PyscfSettings) -> str:
    """Return the name of the basis as CP2K and the literature write it."""
    if len(settings.basis_names) > 1:
        return "mixed"
    name = settings.basis_names[0]
    if name.lower().startswith("gth-"):
        return f"{name[4:].upper()}-GTH"
    return DEF2_SVP if name.lower() == DEF2_SVP.lower() else name


def make_field(system: Any, structure: Structure, settings: PyscfSettings) -> Any:
    """Return PySCF's Kohn-Sham object, with grids and fits as the system needs them, not run.

    Parameters
    ----------
    system : pyscf.gto.Mole or pyscf.pbc.gto.Cell
        From `build_system`.
    structure : Structure
        That the system was made from.
    settings : PyscfSettings
        The functional, k-points, grids, smearing and convergence.

    Raises
    ------
    InputError
        Where the functional is unknown.
    """
    from pyscf.dft import libxc

    try:
        semilocal = not libxc.is_hybrid_xc(settings.functional) and libxc.xc_type(settings.functional) in ("LDA", "GGA")
    except (KeyError, ValueError) as error:
        raise InputError(
            f"expected a functional that PySCF knows, got {settings.functional!r}: {first_line(error)}"
        ) from error
    if structure.pbc.all():
        field = _crystal_field(system, settings, multigrid=semilocal)
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
    """Return the Kohn-Sham object of a crystal: multigrid with GTH pseudopotentials, else density fitting."""
    from pyscf.pbc import dft

    if settings.mesh is None:
        field = dft.RKS(system, xc=settings.functional)
    else:
        points = system.get_abs_kpts(mesh_points(settings.mesh))
        field = dft.KRKS(system, points, xc=settings.functional)
    if not settings.gth:
        return field.density_fit()
    return field.multigrid_numint() if multigrid else field


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence PySCF's warnings of its own deprecated parts, and collect the temporary files that it leaves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            gc.collect()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
