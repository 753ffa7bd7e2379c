"""Reading, importing and writing calculations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError, InputError
from nearsight.formats.cp2k import FITS, OVERLAPS, steps_in
from nearsight.formats.h0 import read_h0
from nearsight.formats.options import BasisChoice, ReadOptions
from nearsight.formats.registry import read_any
from nearsight.formats.structure_files import parse_cell
from nearsight.operators.calculation import Calculation
from nearsight.operators.position_check import Misfit, misfit
from nearsight.operators.reduction import reduced
from nearsight.operators.store import is_store, write_calculation
from nearsight.operators.store_writer import Compression, Precision
from nearsight.progress import Progress, silent

LEVELS = "levels"
"""Key of the provenance that says whether H and S have the levels that the code printed."""
SMALL = 600
"""Orbitals up to which `import_calculation` compares levels: that takes it a tenth of a second."""


def read(path: str | Path) -> Calculation:
    """Read a calculation from a file or folder that says everything itself.

    Parameters
    ----------
    path : str or pathlib.Path
        A store of nearsight (`.h5`), the folder of a run of CP2K, ABACUS, SIESTA or FHI-aims, a checkpoint of PySCF, a
        folder of DeepH or dftio, and others; docs/formats.md describes them. `import_calculation` reads those that need
        additions, such as the name of the basis.

    Returns
    -------
    Calculation
        The structure (Å), its basis and what the source holds of H (eV), S, H₀ (eV), energies and provenance.

    Raises
    ------
    FormatError
        If there is nothing at `path`, its format is not known, or it is damaged or incomplete.

    Examples
    --------
    >>> from nearsight.api.files import read
    >>> calculation = read("data/silicon_2.h5")
    >>> calculation.structure.formula, calculation.basis.describe(), calculation.n_electrons
    ('Si2', 'Si 2s2p1d', 8)
    >>> calculation.hamiltonian.block(0, 1, (0, 0, 0)).shape
    (13, 13)
    """
    return read_any(path)


def import_calculation(
    source: str | Path,
    *,
    h0: str | Path | None = None,
    basis: BasisChoice | None = None,
    basis_file: str | Path | Sequence[str | Path] | None = None,
    cell: str | np.ndarray | None = None,
    structure: str | Path | None = None,
    output_file: str | Path | None = None,
    input_file: str | Path | None = None,
    overlap: str | Path | None = None,
    step: int | str | None = None,
    row: int | None = None,
    drop_below: float = 0.0,
    progress: Progress = silent,
) -> Calculation:
    """Read a calculation of a DFT code, with additions where its files do not say everything.

    Parameters
    ----------
    source : str or pathlib.Path
        The folder of a run of CP2K, ABACUS, SIESTA or FHI-aims or one of its files, a checkpoint of PySCF (`.chk`), a
        folder of DeepH, dftio or Amorphous-Hamiltonians, a NumPy archive (`.npz`), a database of molecules (`.db`), or
        a store (`.h5`).
    h0 : str or pathlib.Path, optional
        The Kohn-Sham matrix of superposed atomic densities (H₀) of the same structure: `.csr`, the text of CP2K's
        `&AO_MATRICES`, `.npy`, `.npz` with `H0_triu` (all in Hartree), or a calculation whose H is H₀.
    basis : str or mapping of str to str, optional
        The basis, such as ``"SZV-MOLOPT-SR-GTH"``, or one for each element symbol; shells such as ``{"Si": "2s2p1d"}``
        for files of ABACUS and TranSIESTA that do not say them. By default the source's own, or the shipped one whose
        size is that of the matrix, which the provenance then calls a guess.
    basis_file : str, pathlib.Path or sequence of them, optional
        CP2K basis files (BASIS_MOLOPT) that hold it, for a basis that is not shipped.
    cell : str or array, optional
        Å, instead of the file's: 1 number (cube), 3 (edges) or 9 (rows are the lattice vectors), as numbers or as text;
        ``"none"`` for an isolated molecule.
    structure : str or pathlib.Path, optional
        The structure file, where the source has none or several.
    output_file : str or pathlib.Path, optional
        CP2K's output, where the source has several, or none beside the matrices.
    input_file : str or pathlib.Path, optional
        CP2K's input, where the source has several, or none beside the matrices.
    overlap : str or pathlib.Path, optional
        The file of S, where CP2K was told a name for it.
    step : int or str, optional
        Which step of a CP2K run whose atoms move, or ``"last"``; needed where the source holds several.
    row : int, optional
        Which calculation of a database with several, counted from 0.
    drop_below : float, default 0.0
        Elements smaller than this (E_h in H and H₀, 1 in S) become zero, and blocks of zeros are dropped; the
        provenance says so.
    progress : Progress, default silent
        Told how many bytes of a file are read.

    Returns
    -------
    Calculation
        H and H₀ in eV, S dimensionless, lengths in Å, whatever the source's units are.

    Notes
    -----
    Up to 600 orbitals the levels of H and S are compared with those that the code printed; the provenance says under
    ``"levels"`` whether they agree. They do not where the code changed H after its last diagonalisation, as CP2K does
    for double hybrids.

    Raises
    ------
    FormatError
        If a file is missing, damaged, of no known format, does not fit the others, or S is not that of the positions.
    InputError
        If an addition cannot be used, such as a basis that is not known.

    See Also
    --------
    read : Reads what needs no additions.
    write : Writes the result to a store.

    Examples
    --------
    >>> from nearsight.api.files import import_calculation
    >>> calculation = import_calculation("tests/data/cp2k_mhfo2/binary_upper")
    >>> calculation.structure.formula, calculation.basis.name, calculation.hamiltonian.n_orbitals
    ('Hf4O8', 'SZV-MOLOPT-SR-GTH', 72)
    >>> round(calculation.energy, 3)
    -8863.62
    """
    isolated = isinstance(cell, str) and parse_cell(cell) is None
    calculation = read_any(
        source,
        basis=basis,
        basis_file=basis_file,
        cell=parse_cell(cell) if isinstance(cell, str) else cell,
        isolated=isolated,
        structure=structure,
        output=output_file,
        input=input_file,
        overlap=overlap,
        step=step,
        row=row,
        progress=progress,
    )
    # What a store says of itself may have been said before it was changed.
    if OVERLAPS not in calculation.provenance or is_store(Path(source)):
        calculation = _with_overlaps_compared(str(source), calculation)
    calculation = _with_levels_compared(str(source), calculation)
    if h0 is not None:
        provenance = {**calculation.provenance, "initial Hamiltonian": Path(h0).name}
        calculation = replace(calculation, h0=read_h0(h0, calculation, progress), provenance=provenance)
    return reduced(calculation, drop_below)


def _with_overlaps_compared(source: str, calculation: Calculation) -> Calculation:
    """The calculation, whose S is that of the positions as far as can be seen where the source tells no functions.

    With PySCF's functions of the basis' name, of which S of predictions is made; and as functions of the vector between
    atoms, for any basis.
    """
    from nearsight.checks.positions import check_positions  # half a second, which most runs of CP2K do without
    from nearsight.checks.subject import Subject

    found = _overlaps_of_functions(calculation)
    if isinstance(found, Misfit):
        described, name = found.describe(calculation.structure.numbers), calculation.basis.name
        way = "are S and the structure of one step of one run?"
        if not found.partly:
            way += f" Or are the functions others than those of {name}? Give their file, or another name (--basis)"
        raise FormatError(source, f"{described}; {way}")
    for finding in check_positions(Subject(source, calculation)):
        raise FormatError(source, f"{finding.message}. {finding.meaning} {finding.advice}")
    provenance = {key: said for key, said in calculation.provenance.items() if key != OVERLAPS}
    return replace(calculation, provenance=provenance | ({OVERLAPS: FITS} if found == FITS else {}))


def _overlaps_of_functions(calculation: Calculation) -> Misfit | str | None:
    """How S fits the functions of the basis; None where these are not known."""
    from nearsight.recipes.overlap import with_pyscf_functions

    overlap, numbers = calculation.overlap, calculation.structure.numbers
    if overlap is None:
        return None
    try:
        functions = with_pyscf_functions(overlap.basis.restricted(numbers)).functions
    except InputError:
        return None
    return misfit(overlap, calculation.structure, functions) or FITS


def _with_levels_compared(source: str, calculation: Calculation) -> Calculation:
    """The calculation, whose provenance says whether its levels are the printed ones, where that is quickly known."""
    printed = calculation.eigenvalues if calculation.eigenvalues is not None else calculation.k_eigenvalues
    overlap = calculation.overlap
    known = calculation.hamiltonian is not None or calculation.spin_polarised
    if printed is None or not known or overlap is None or overlap.n_orbitals > SMALL:
        return calculation
    from nearsight.checks.eigenvalues import check_eigenvalues
    from nearsight.checks.subject import Subject, of_either_spin

    spins = [own for _, own in of_either_spin(calculation)] if calculation.spin_polarised else [calculation]
    findings = [finding for own in spins for finding in check_eigenvalues(Subject(source, own))]
    if any(finding.level != "error" for finding in findings):
        return calculation
    said = f"NOT those that the code printed: {findings[0].message}" if findings else "those that the code printed"
    return replace(calculation, provenance={**calculation.provenance, LEVELS: said})


def steps(
    source: str | Path,
    *,
    output_file: str | Path | None = None,
    input_file: str | Path | None = None,
    structure: str | Path | None = None,
) -> tuple[int, ...]:
    """Return the steps of a CP2K run (molecular dynamics, an optimisation) whose H is at hand.

    Parameters
    ----------
    source : str or pathlib.Path
        The folder of the run, or one of its files.
    output_file, input_file, structure : str or pathlib.Path, optional
        As in `import_calculation`.

    Returns
    -------
    tuple of int
        Ascending: values for the parameter `step` of `import_calculation`.

    Raises
    ------
    FormatError
        If there is no such run.

    Examples
    --------
    >>> from nearsight.api.files import steps
    >>> steps("tests/data/cp2k_mhfo2/binary_upper")
    (0,)
    """
    own, output, given = (None if file is None else Path(file) for file in (structure, output_file, input_file))
    return steps_in(Path(source), ReadOptions(structure=own, output=output, input=given))


def write(
    path: str | Path, calculation: Calculation, *, precision: Precision = "float64", compression: Compression = "gzip"
) -> None:
    """Write a calculation to a store, one self-describing HDF5 file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, by custom `NAME.h5`. An old one is replaced only by a complete new one.
    calculation : Calculation
        What to write: structure, basis, the matrices that it holds, energies and provenance.
    precision : {"float64", "float32"}
        Number type of the matrices; everything else is kept in float64.
    compression : {"gzip", "none"}
        Whether the matrices are packed. Those of a DFT code shrink to less than half, those of a network by a tenth.

    Raises
    ------
    InputError
        If the precision or compression is not known, or the file cannot be written (no such folder, a full disk).

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from nearsight.api.files import read, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "copy.h5", read("data/silicon_2.h5"), precision="float32")
    ...     read(Path(folder) / "copy.h5").structure.formula
    'Si2'
    """
    write_calculation(path, calculation, precision=precision, compression=compression)
