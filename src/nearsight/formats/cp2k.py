"""CP2K runs: their matrices, the input or an xyz, and the output.

At Γ the matrices are `*-KS_SPIN_1-1_0.csr` and `*-S_SPIN_1-1_0.csr`, and the output may be missing; with KPOINTS and
REAL_SPACE there is one of each per cell vector, `*_R_<n>-1_0.csr`, and the output says which is which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nearsight.elements import symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.formats.basis_choice import joined, named_basis
from nearsight.formats.cp2k_csr import check_is_matrix, read_gamma_matrices
from nearsight.formats.cp2k_images import NAMES, has_images, read_images
from nearsight.formats.cp2k_input import Cp2kInput, read_input
from nearsight.formats.cp2k_output import Cp2kOutput, is_output, read_output
from nearsight.formats.options import ReadOptions
from nearsight.formats.structure_files import read_structure
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

_CHARGE = re.compile(r"-q(\d+)$")


@dataclass(frozen=True)
class Cp2kFiles:
    """The files of one run; None where there is none. Without `hamiltonian` there is a matrix for each cell vector."""

    hamiltonian: Path | None
    overlap: Path | None
    input: Path | None
    structure: Path
    output: Path | None


def recognises(path: Path) -> bool:
    """Tell whether a path is the folder of a run, or one of its files."""
    if path.is_dir():
        return any(path.glob("*-KS_SPIN_1*.csr"))
    return path.is_file() and (path.suffix == ".csr" or (path.suffix in (".inp", ".out") and recognises(path.parent)))


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one run.

    Parameters
    ----------
    path : pathlib.Path
        The folder of the run, or one of its files.
    options : ReadOptions
        Additions of the user.

    Returns
    -------
    Calculation
        H, S, energies and eigenvalues, as far as the files hold them.

    Raises
    ------
    FormatError
        If files are missing, there are several, they are damaged, or do not fit each other.
    """
    files = find_files(path, options)
    given = read_input(files.input) if files.input else None
    structure = read_structure(files.structure, options.cell, isolated=options.isolated)
    basis = _basis(files, given, structure, options)
    output = read_output(files.output) if files.output else None
    if files.hamiltonian is None:
        return _in_real_space(path if path.is_dir() else path.parent, files, given, structure, basis, output, options)
    matrices = read_gamma_matrices(files.hamiltonian, files.overlap, structure, options, basis)
    if output is not None:
        _check_output(files, output, structure, matrices.hamiltonian)
    return Calculation(
        structure,
        matrices.basis,
        matrices.hamiltonian,
        matrices.overlap,
        energy=output.energy if output else None,
        fermi=output.fermi if output else None,
        eigenvalues=output.eigenvalues if output else None,
        provenance=_provenance(files, files.hamiltonian, given, output, matrices.basis, matrices.provenance),
    )


def _in_real_space(
    folder: Path,
    files: Cp2kFiles,
    given: Cp2kInput | None,
    structure: Structure,
    basis: BasisSet | None,
    output: Cp2kOutput | None,
    options: ReadOptions,
) -> Calculation:
    """A run with one matrix per cell vector."""
    if basis is None:
        raise FormatError(folder, "expected the basis in the CP2K input, got none; say which it is (--basis)")
    found = read_images(folder, files.output, structure, basis, options.progress)
    if output is not None:
        _check_output(files, output, structure, found.hamiltonian)
    h, s = found.hamiltonian, found.overlap
    n_k = 0 if output is None or output.k_points is None else len(output.k_points)
    said = {
        "k-points": (output.k_scheme if output else None) or str(n_k),
        "images": str(found.n_images),
        "asymmetry": f"|H − H†| ≤ {found.asymmetry:.1e} E_h in the files",
    }
    first = sorted(folder.glob(NAMES["KS"]))[0]
    return Calculation(
        structure,
        basis,
        h.with_values(h.values * HARTREE_IN_EV),
        s,
        energy=output.energy if output else None,
        fermi=output.fermi if output else None,
        eigenvalues=output.eigenvalues if output else None,
        provenance=_provenance(files, first, given, output, basis, said),
        k_points=output.k_points if output and n_k > 1 else None,
        k_eigenvalues=output.k_eigenvalues if output and n_k > 1 else None,
    )


def find_files(path: Path, options: ReadOptions) -> Cp2kFiles:
    """Find the files of a run.

    Parameters
    ----------
    path : pathlib.Path
        Its folder, or one of its files.
    options : ReadOptions
        `structure` and `output` decide where they are given.

    Returns
    -------
    Cp2kFiles
        The files.

    Raises
    ------
    FormatError
        If a file that is needed is missing, or there are several.
    """
    folder = path if path.is_dir() else path.parent
    hamiltonian = path if path.suffix == ".csr" else _single(folder, "*-KS_SPIN_1-1_0.csr", "a Kohn-Sham matrix")
    if hamiltonian is not None and "_R_" in hamiltonian.name:
        hamiltonian = None
    if hamiltonian is None and not has_images(folder):
        raise FormatError(
            folder, "expected a matrix *-KS_SPIN_1-1_0.csr at Γ, or *-KS_SPIN_1_R_<n>-1_0.csr per cell vector, got none"
        )
    if hamiltonian is not None and path.suffix != ".csr" and has_images(folder):
        raise FormatError(
            folder,
            "expected the matrices of one run, got a matrix at Γ and matrices per cell vector; "
            f"give {hamiltonian.name} itself, or move the others away",
        )
    if hamiltonian is not None:
        check_is_matrix(hamiltonian)
    if hamiltonian is not None and "-S_SPIN" in hamiltonian.name:
        raise FormatError(
            hamiltonian,
            "expected the Kohn-Sham matrix (*-KS_SPIN_1-1_0.csr), got the overlap; give the folder or the other file",
        )
    if any(folder.glob("*-KS_SPIN_2*.csr")):
        raise FormatError(folder, "expected a closed shell, got matrices of two spins (KS_SPIN_2); run without UKS")
    given = path if path.suffix == ".inp" else _input(folder)
    structure = (
        options.structure
        or given
        or _single(folder, "*.xyz", "a structure")
        or _single(folder, "*.extxyz", "a structure")
    )
    if structure is None:
        raise FormatError(
            folder,
            "expected a CP2K input (.inp) or an xyz beside the matrix, got neither; give the structure (--structure)",
        )
    output = options.output or (path if path.suffix == ".out" else _output(folder))
    return Cp2kFiles(hamiltonian, _overlap(folder, hamiltonian) if hamiltonian else None, given, structure, output)


def _single(folder: Path, pattern: str, what: str) -> Path | None:
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        raise FormatError(
            folder,
            f"expected {what} ({pattern}), got several: {', '.join(p.name for p in found)}; "
            "give the one you mean (a file as source, or --structure)",
        )
    return found[0] if found else None


def _input(folder: Path) -> Path | None:
    found = sorted(folder.glob("*.inp"))
    return found[0] if len(found) == 1 else None


def _output(folder: Path) -> Path | None:
    found = [p for p in sorted(folder.glob("*.out")) if is_output(p)]
    if len(found) > 1:
        raise FormatError(
            folder,
            f"expected one output of CP2K, got several: {', '.join(p.name for p in found)}; "
            "give the one you mean (--output-file)",
        )
    return found[0] if found else None


def _overlap(folder: Path, hamiltonian: Path) -> Path | None:
    """The overlap of the same run: the only one, or the one whose name is H's with S for KS."""
    found = sorted(folder.glob("*-S_SPIN_1-1_0.csr"))
    if len(found) <= 1:
        return found[0] if found else None
    same_run = folder / hamiltonian.name.replace("-KS_SPIN", "-S_SPIN")
    return same_run if same_run in found else _single(folder, "*-S_SPIN_1-1_0.csr", "an overlap matrix")


def _basis(files: Cp2kFiles, given: Cp2kInput | None, structure: Structure, options: ReadOptions) -> BasisSet | None:
    """The user's, else the input's; None where neither says."""
    if options.basis is not None:
        return named_basis(options.basis, options.basis_file, structure.elements)
    if given is None or files.input is None or not all(kind.basis for kind in given.kinds.values()):
        return None
    parts: dict[int, tuple[str, tuple[int, ...], int | None]] = {}
    for label, kind in given.kinds.items():
        basis = _kind_basis(files.input, given, str(kind.basis), kind.number, options)
        charge = _CHARGE.search(kind.potential or "")
        valence = int(charge[1]) if charge and kind.number else basis.valence.get(kind.number)
        part = (_CHARGE.sub("", str(kind.basis)), basis.shells[kind.number], valence)
        if parts.setdefault(kind.number, part)[1:] != part[1:]:
            raise FormatError(
                files.input,
                f"expected one basis and potential for {symbol_of(kind.number)}, got another "
                f"for the kind {label}: not supported",
            )
    return joined(parts)


def _kind_basis(path: Path, given: Cp2kInput, name: str, number: int, options: ReadOptions) -> BasisSet:
    """From the file that the user gives, else shipped, else the input's own file where it lies beside it."""
    beside = [path.parent / name.strip("'\"") for name in given.basis_files]
    tries = (
        [(name, options.basis_file)]
        if options.basis_file
        else [(_CHARGE.sub("", name), None), *((name, file) for file in beside if file.is_file())]
    )
    for candidate, file in tries:
        try:
            return named_basis(candidate, file, (number,))
        except FormatError:
            raise
        except InputError as error:
            cause = error
    raise FormatError(
        path,
        f"expected to find the basis {name} of {symbol_of(number)}, got: {cause}; "
        f"give CP2K's basis file (--basis-file), here {', '.join(given.basis_files) or 'unknown'}",
    )


def _check_output(files: Cp2kFiles, output: Cp2kOutput, structure: Structure, hamiltonian: BlockOperator) -> None:
    path, n = files.output, hamiltonian.n_orbitals
    if output.n_spins == 2:
        raise FormatError(path, "expected a closed shell, got an output with two spins")
    if output.n_atoms not in (None, len(structure)):
        raise FormatError(
            path,
            f"expected an output of {len(structure)} atoms, got one of {output.n_atoms}; "
            f"is {files.structure.name} of another run?",
        )
    if output.n_orbitals not in (None, n):
        raise FormatError(
            path,
            f"expected an output with {n} orbitals ({hamiltonian.basis.describe()}), got one with "
            f"{output.n_orbitals}; is it another basis or another run?",
        )


def _provenance(
    files: Cp2kFiles,
    hamiltonian: Path,
    given: Cp2kInput | None,
    output: Cp2kOutput | None,
    basis: BasisSet,
    said: Mapping[str, str],
) -> dict[str, str]:
    result = {
        "format": "CP2K run at Γ" if files.hamiltonian else "CP2K run, matrices per cell vector",
        "source": hamiltonian.resolve().parent.name,
        "files": ", ".join(p.name for p in (hamiltonian, files.overlap, files.structure, files.output) if p),
        "code": "CP2K" + (f" {output.version}" if output and output.version else ""),
        "basis": basis.name,
        **said,
    }
    if given is not None:
        result["potentials"] = ", ".join(
            f"{kind.potential} ({label})" for label, kind in given.kinds.items() if kind.potential
        )
        result["settings"] = ", ".join(f"{key} {value}" for key, value in given.settings.items())
    if output is not None and output.converged is not None:
        result["scf"] = "converged" if output.converged else "NOT converged"
    return {key: value for key, value in result.items() if value}
