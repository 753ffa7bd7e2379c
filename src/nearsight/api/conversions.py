"""Calculations as objects of other libraries: sisl, PySCF, ASE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nearsight.api import spectra
from nearsight.api.sources import CalculationLike, OverlapLike, calculation_of
from nearsight.configuration import validated
from nearsight.operators.calculation import Calculation
from nearsight.quantum_transport import sisl_objects
from nearsight.recipes.pyscf_field import pyscf_field
from nearsight.recipes.pyscf_system import PyscfSettings

if TYPE_CHECKING:
    from ase.spectrum.band_structure import BandStructure


def to_sisl(calculation: CalculationLike, overlap: OverlapLike | None = None) -> Any:
    """Return a Hamiltonian of sisl, which it writes for TBtrans and others.

    Parameters
    ----------
    calculation : str, pathlib.Path, Calculation or object with an attribute `calculation`
        H and S in real space.
    overlap : as `calculation`, or BlockOperator, optional
        Where S is taken from, if not from the calculation.

    Returns
    -------
    sisl.Hamiltonian
        In eV; orbitals keep the order and signs that they have here.

    Raises
    ------
    InputError
        If sisl is not installed (``pip install 'nearsight[sisl]'``), a matrix is missing or summed at Γ.
    """
    return sisl_objects.to_sisl(calculation_of(calculation, overlap))


def from_sisl(hamiltonian: Any, fermi: float | None = 0.0) -> Calculation:
    """Make a calculation of a Hamiltonian of sisl.

    Parameters
    ----------
    hamiltonian : sisl.Hamiltonian
        Without spin, in eV.
    fermi : float, optional
        Fermi level, eV; sisl moves what it reads from SIESTA so that it is 0.

    Returns
    -------
    Calculation
        H and S; orbitals keep the order and signs that they have in sisl. Files of SIESTA are better read by
        `nearsight.read`, which brings them into the internal order.

    Raises
    ------
    InputError
        If it has spin, or atoms of one element have different orbitals.
    """
    return sisl_objects.from_sisl(hamiltonian, fermi)


def to_pyscf(
    calculation: CalculationLike,
    *,
    basis: str | dict[str, str] = "def2-svp",
    pseudo: str | None = None,
    overlap: OverlapLike | None = None,
) -> Any:
    """Return a mean-field object of PySCF with H as `get_hcore` and S as `get_ovlp`, solved once.

    Parameters
    ----------
    calculation : str, pathlib.Path, Calculation or object with an attribute `calculation`
        H of a molecule, or of a crystal at Γ, closed shells; S is computed where it has none.
    basis : str or dict, optional
        PySCF's name of H's basis, or one for each element.
    pseudo : str, optional
        The pseudopotential, such as `gth-pbe`.
    overlap : as `calculation`, or BlockOperator, optional
        Where S is taken from, if not from the calculation.

    Returns
    -------
    pyscf.scf.hf.RHF
        In Hartree and PySCF's order; `mo_energy`, `mo_coeff`, `mo_occ` and `make_rdm1()` are those of H. `e_tot` is the
        band energy, for there is no other potential.

    Raises
    ------
    InputError
        If H is in another basis, or PySCF is not installed.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from nearsight.api.conversions import to_pyscf
    >>> from nearsight.recipes.pyscf_job import run_pyscf
    >>> from nearsight.recipes.pyscf_system import PyscfSettings
    >>> from nearsight.structures.structure import Structure
    >>> h2 = run_pyscf(Structure.from_ase(molecule("H2")), PyscfSettings(basis="sto-3g"))
    >>> field = to_pyscf(h2, basis="sto-3g")
    >>> bool(abs(field.mo_energy * 27.211386245988 - h2.eigenvalues).max() < 1e-8)
    True
    """
    known = calculation_of(calculation, overlap)
    keys = {"basis": basis, "pseudo": pseudo, "charge": round(known.charge)}
    return pyscf_field(known, validated(PyscfSettings, keys, "to_pyscf"))


def to_ase_bands(
    calculation: CalculationLike, path: str | None = None, points: int = 100, *, overlap: OverlapLike | None = None
) -> BandStructure:
    """Compute bands, and return them as ASE's band structure, which plots and writes them.

    Parameters
    ----------
    calculation : str, pathlib.Path, Calculation or object with an attribute `calculation`
        H and S in real space.
    path : str, optional
        Special points by ASE's names, such as ``"GXWLG"``; ASE's path for the lattice by default.
    points : int, optional
        Number of k-points.
    overlap : as `calculation`, or BlockOperator, optional
        Where S is taken from, if not from the calculation.

    Returns
    -------
    ase.spectrum.band_structure.BandStructure
        Energies in eV, with the Fermi level as reference where it is known.

    Raises
    ------
    InputError
        If a matrix is missing or summed at Γ.

    Examples
    --------
    >>> from nearsight.api.conversions import to_ase_bands
    >>> to_ase_bands("data/silicon_2.h5", "GX", 5).energies.shape
    (1, 5, 26)
    """
    from ase.spectrum.band_structure import BandStructure

    known = calculation_of(calculation, overlap)
    line = known.structure.to_ase().cell.bandpath(path, npoints=points, pbc=known.structure.pbc)
    found = spectra.bands(known, path=np.asarray(line.kpts))
    reference = 0.0 if known.fermi is None else known.fermi
    return BandStructure(line, found.levels[np.newaxis], reference=reference)
