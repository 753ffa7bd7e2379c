"""The public data set Amorphous-Hamiltonians: folders with `structure.xyz`, `H.csr`, maybe `S.csr` (CP2K, Γ only).

`V` is a vacancy there (a ghost with oxygen's functions), vanadium is `Va`. The basis is not written down; where it is
not given, it is the shipped one whose size is the matrix's.
"""

from __future__ import annotations

from pathlib import Path

from nearsight.errors import FormatError
from nearsight.foreign_files import file_if_there
from nearsight.formats.basis_choice import named_basis, said_of
from nearsight.formats.cp2k_csr import check_is_matrix, read_gamma_matrices
from nearsight.formats.cp2k_files import has_run
from nearsight.formats.options import ReadOptions
from nearsight.formats.structure_files import read_structure
from nearsight.formats.xyz import GHOST_BY_V
from nearsight.operators.calculation import Calculation


def recognises(path: Path) -> bool:
    """Tell whether a path is such a folder, or its H.csr."""
    return _folder(path) is not None


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder, or its H.csr.
    options : ReadOptions
        Additions of the user.

    Returns
    -------
    Calculation
        H, and S where there is one.

    Raises
    ------
    FormatError
        If a file is missing, a git-lfs pointer, damaged, or does not fit the others.
    """
    folder = _folder(path)
    if folder is None:
        raise FormatError(path, "expected a folder with H.csr, got none")
    check_is_matrix(folder / "H.csr")
    structure_path = options.structure or folder / "structure.xyz"
    if not structure_path.is_file():
        raise FormatError(folder, "expected structure.xyz beside H.csr, got none; give the structure (--structure)")
    structure = read_structure(structure_path, options.cell, isolated=options.isolated, ghosts=GHOST_BY_V)
    basis = named_basis(options.basis, options.basis_file, structure.elements) if options.basis else None
    overlap = file_if_there(folder / "S.csr", "S")
    matrices = read_gamma_matrices(folder / "H.csr", overlap, structure, options, basis)
    provenance = {
        "format": "Amorphous-Hamiltonians folder",
        "source": folder.resolve().name,
        "code": "CP2K",
        "basis": said_of(matrices.basis, options),
        **matrices.provenance,
    }
    return Calculation(structure, matrices.basis, matrices.hamiltonian, matrices.overlap, provenance=provenance)


def _folder(path: Path) -> Path | None:
    """The folder, unless CP2K's input or output in it says more of H.csr (`FILENAME =H.csr`) than a data set does."""
    folder = path if path.is_dir() and (path / "H.csr").is_file() else None
    if path.is_file() and path.name == "H.csr":
        folder = path.parent
    return None if folder is None or has_run(folder) else folder
