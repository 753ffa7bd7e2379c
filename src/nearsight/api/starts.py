"""What a Hamiltonian's occupied orbitals give without a self-consistent cycle: starts for DFT codes, total energies."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nearsight.api.sources import CalculationLike, OverlapLike, calculation_of, overlap_of
from nearsight.atomic_files import written_atomically
from nearsight.configuration import validated
from nearsight.electronic.density_of_states import GAMMA
from nearsight.electronic.density_on_grid import SPACING, DensityOnGrid, density_on_grid
from nearsight.electronic.k_points import monkhorst_pack
from nearsight.electronic.real_space_density import real_space_density
from nearsight.errors import InputError
from nearsight.formats.density_cube import write_cube
from nearsight.formats.siesta import write_density
from nearsight.output_path import ARRAY, CUBE, DENSITY, WAVEFUNCTION, check_output
from nearsight.progress import Progress, silent
from nearsight.recipes import warm_start
from nearsight.recipes.overlap import with_pyscf_functions
from nearsight.recipes.pyscf_system import PyscfSettings
from nearsight.recipes.warm_start import ADDED_MOS, TotalEnergy, cp2k_start, gamma_density, known_overlap, pyscf_density

COARSE = 0.01
"""Share of the electrons by which the sum over a cube may be off before it is remarked."""


def start_files(
    prediction: CalculationLike,
    *,
    cp2k: str | Path | None = None,
    pyscf: str | Path | None = None,
    siesta: str | Path | None = None,
    cube: str | Path | None = None,
    spacing: float = SPACING,
    mesh: Sequence[int] | None = None,
    overlap: OverlapLike | None = None,
    added_mos: int = ADDED_MOS,
    charge: float | None = None,
    smearing: float | None = None,
    threshold: float | None = None,
    progress: Progress = silent,
) -> str:
    """Write files from which a self-consistent run of CP2K, PySCF or SIESTA starts at a predicted Hamiltonian.

    Or the density on a grid, for codes that start from it, and to be looked at.

    The orbitals of H, at Γ or for SIESTA at a mesh of k-points, are filled with the structure's electrons, two in each.
    What the code converges to is its own result; the start decides how many steps that takes.

    Parameters
    ----------
    prediction : str, pathlib.Path, Calculation or object with an attribute `calculation`
        The calculation with H, or its file.
    cp2k : str or pathlib.Path, optional
        The wavefunction file to write for CP2K, such as `job-RESTART.wfn`.
    pyscf : str or pathlib.Path, optional
        The file to write for PySCF, a density matrix (`.npy`).
    siesta : str or pathlib.Path, optional
        The file to write for SIESTA, a density matrix (`SYSTEMLABEL.DM`).
    cube : str or pathlib.Path, optional
        The file to write with the electron density on a grid (Gaussian's cube, electrons/bohr³), that of the basis'
        functions: valence electrons where there are pseudopotentials.
    spacing : float, optional
        Å, at most, between points of the cube.
    mesh : sequence of 3 int, optional
        Numbers of k-points for SIESTA, as in its `kgrid_Monkhorst_Pack`, through Γ; Γ alone by default.
    overlap : as `prediction`, or BlockOperator, optional
        Where S is taken from; the prediction's own if it is not given, which is computed where it has none.
    added_mos : int, optional
        The number of empty levels in CP2K's file: ADDED_MOS of the input.
    charge : float, optional
        The charge of the structure, e; the calculation's own by default.
    smearing : float, optional
        The electronic temperature, K, as in CP2K's or SIESTA's input.
    threshold : float, optional
        Directions in which S has smaller eigenvalues are projected out; chosen by the accuracy of H if it is not given.
    progress : Progress, optional
        Told how much of a cube is done.

    Returns
    -------
    str
        What belongs into the input of CP2K or SIESTA, or the script for PySCF; how many electrons a cube holds.

    Raises
    ------
    FormatError
        If a file cannot be read.
    InputError
        If no file to write is given, there is no H, the number of electrons is odd, S cannot be computed, or a density
        for PySCF shall have smeared levels.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from nearsight.api.starts import start_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     said = start_files("data/silicon_2.h5", pyscf=Path(folder) / "density.npy")
    >>> print(said.splitlines()[0])
    In PySCF, same atoms in the same order, same basis:
    """
    if cp2k is None and pyscf is None and siesta is None and cube is None:
        raise InputError("expected a file to write for CP2K, PySCF or SIESTA, or a cube, got none")
    if mesh is not None and siesta is None:
        raise InputError("expected a mesh of k-points for SIESTA alone, got one for a code that starts from Γ")
    if pyscf is not None and smearing is not None:
        raise InputError("expected no smearing with a density for PySCF, which is that of full levels")
    for path, kind in ((cp2k, WAVEFUNCTION), (pyscf, ARRAY), (siesta, DENSITY), (cube, CUBE)):
        if path is not None:
            check_output(path, [prediction, overlap], kind)
    calculation = calculation_of(prediction)
    s = known_overlap(calculation) if overlap is None else overlap_of(overlap)
    calculation = replace(calculation, overlap=s)
    said = []
    if cp2k is not None:
        cp2k_start(calculation, cp2k, added_mos=added_mos, charge=charge, smearing=smearing, threshold=threshold)
        said.append(_cp2k_lines(cp2k, added_mos))
    if pyscf is not None:
        with written_atomically(Path(pyscf)) as temporary, temporary.open("wb") as file:
            np.save(array := io.BytesIO(), pyscf_density(calculation, charge, threshold))
            file.write(array.getbuffer())
        said.append(_pyscf_lines(pyscf))
    if siesta is not None:
        points, weights = (GAMMA, np.ones(1)) if mesh is None else monkhorst_pack(_three(mesh), through_gamma=True)
        electrons = calculation.electrons(charge)
        density = real_space_density(calculation, points, weights, electrons, smearing)
        write_density(Path(siesta), density)
        said.append(_siesta_lines(siesta))
    if cube is not None:
        filled = gamma_density(calculation, charge, threshold, smearing)
        basis = with_pyscf_functions(calculation.basis.restricted(calculation.structure.numbers))
        found = density_on_grid(calculation.structure, basis, filled, spacing, progress)
        write_cube(cube, calculation.structure, found.origin, found.steps, found.values)
        said.append(_cube_lines(found, calculation.electrons(charge)))
    return "\n".join(said)


def _three(mesh: Sequence[int]) -> tuple[int, int, int]:
    if len(mesh) != 3 or min(mesh) < 1:
        raise InputError(f"expected a mesh of three counts, such as (4, 4, 4), got {tuple(mesh)}")
    return (int(mesh[0]), int(mesh[1]), int(mesh[2]))


def total_energy(
    calculation: CalculationLike,
    *,
    functional: str = "pbe",
    basis: str | dict[str, str] = "def2-svp",
    pseudo: str | None = None,
    charge: float | None = None,
) -> TotalEnergy:
    """Return the total energy of the density of H's occupied orbitals, by PySCF, without a self-consistent cycle.

    It lies above the self-consistent energy by the square of the error of H. Functional and basis must be those that H
    was computed with or learned from.

    Parameters
    ----------
    calculation : str, pathlib.Path, Calculation or object with an attribute `calculation`
        The calculation with H of a molecule, or of a crystal at Γ, or its file; S is computed where it has none.
    functional : str, optional
        Any functional that PySCF knows.
    basis : str or dict, optional
        PySCF's name of the basis, or one for each element.
    pseudo : str, optional
        The pseudopotential, such as `gth-pbe`, or an effective core potential.
    charge : float, optional
        The charge of the structure, e; the calculation's own by default.

    Returns
    -------
    TotalEnergy
        The total and the band energy, eV.

    Raises
    ------
    ConfigError
        If basis and pseudopotential do not fit together.
    FormatError
        If the file cannot be read.
    InputError
        If the basis is another one than that of H, the functional is unknown, or PySCF is not installed.

    Examples
    --------
    The energy of a molecule's own Hamiltonian is that of the DFT run:

    >>> from ase.build import molecule
    >>> from nearsight.api.starts import total_energy
    >>> from nearsight.recipes.pyscf_job import run_pyscf
    >>> from nearsight.recipes.pyscf_system import PyscfSettings
    >>> from nearsight.structures.structure import Structure
    >>> exact = run_pyscf(Structure.from_ase(molecule("H2")), PyscfSettings(basis="sto-3g"))
    >>> energy = total_energy(exact, basis="sto-3g")
    >>> abs(energy.total - exact.energy) < 1e-6
    True
    """
    known = calculation_of(calculation)
    total = round(known.charge if charge is None else charge)
    keys = {"functional": functional, "basis": basis, "pseudo": pseudo, "charge": total}
    return warm_start.total_energy(known, validated(PyscfSettings, keys, "total energy"))


def _cp2k_lines(path: str | Path, added_mos: int) -> str:
    """Return what belongs into CP2K's input."""
    return f"""In CP2K's input, same atoms in the same order, same basis, without &KPOINTS:
  &DFT
    WFN_RESTART_FILE_NAME {path}
    &SCF
      SCF_GUESS RESTART
      ADDED_MOS {added_mos}
    &END SCF
  &END DFT"""


def _cube_lines(found: DensityOnGrid, electrons: float) -> str:
    """Say what is in a cube, and whether its points resolve the functions."""
    points = " x ".join(map(str, found.values.shape))
    said = f"{points} points, electrons/bohr^3; their sum is {found.electrons:.3f} electrons of {electrons:g}"
    if abs(found.electrons - electrons) > COARSE * electrons:
        said += ": too few points for the narrowest functions; give a smaller --spacing (cores need 0.02 Å)"
    return said


def _siesta_lines(path: str | Path) -> str:
    """Return what belongs into SIESTA's input."""
    return f"""In SIESTA's input, same atoms in the same order, same basis, {Path(path).name} named after SystemLabel:
  SystemLabel {Path(path).stem}
  DM.UseSaveDM true"""


def _pyscf_lines(path: str | Path) -> str:
    """Return what belongs into a script for PySCF."""
    return f"""In PySCF, same atoms in the same order, same basis:
  mf.kernel(dm0=numpy.load("{path}"))"""
