"""CP2K runs: their matrices, and what the output and the input say of them.

At Γ the matrices are `*-KS_SPIN_1-1_<step>.csr` and `*-S_SPIN_1-1_<step>.csr`, and the output may be missing; with
KPOINTS and REAL_SPACE there is one of each per cell vector, `*_R_<n>-1_<step>.csr`, and the output says which is which.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.formats.basis_choice import GUESSED
from nearsight.formats.cp2k_csr import read_gamma_matrices
from nearsight.formats.cp2k_files import Cp2kFiles, find_files, recognises, steps_in
from nearsight.formats.cp2k_images import read_images
from nearsight.formats.cp2k_run import CP2KRun, describe_run
from nearsight.formats.options import ReadOptions
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.position_check import misfit
from nearsight.orbitals.basis import BasisSet
from nearsight.units import HARTREE_IN_EV

OVERLAPS = "overlaps"
"""Key of the provenance that says that S was compared with the positions."""
FITS = "those of the positions and the cell"
"""What is said under it."""

__all__ = ["FITS", "OVERLAPS", "read", "recognises", "steps_in"]


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one step of one run.

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
    run = describe_run(files, options)
    output = run.output
    basis, hamiltonian, overlap, first, said, down = (
        _at_gamma(files, run, options) if files.hamiltonian is not None else _in_real_space(files, run, options)
    )
    _check_size(files, run, hamiltonian)
    if overlap is not None and _fits_positions(files, run, overlap):
        said = {**said, OVERLAPS: FITS}
    levels = output if down is None else None
    k_points, k_levels = _levels_at_k(run) if down is None else _levels_of_spins(run)
    return Calculation(
        run.structure,
        basis,
        hamiltonian if down is None else None,
        overlap,
        energy=output.energy if output else None,
        fermi=levels.fermi if levels else None,
        eigenvalues=levels.eigenvalues if levels else None,
        provenance=_provenance(files, run, first, basis, said),
        k_points=k_points,
        k_eigenvalues=k_levels,
        charge=run.charge,
        multiplicity=run.multiplicity,
        hamiltonian_up=None if down is None else hamiltonian,
        hamiltonian_down=down,
    )


Levels = tuple[np.ndarray | None, np.ndarray | None]
"""k-points and what is printed at them."""


def _levels_at_k(run: CP2KRun) -> Levels:
    output = run.output
    return (output.k_points, output.k_eigenvalues) if output and _has_several_k_points(run) else (None, None)


def _levels_of_spins(run: CP2KRun) -> Levels:
    """(k, 3) and (2, k, n), at Γ alone as at any mesh; as many levels as are printed for either spin."""
    output = run.output
    if output is None:
        return None, None
    if _has_several_k_points(run):
        points, up, down = output.k_points, output.k_eigenvalues, output.k_eigenvalues_down
    else:
        points = np.zeros((1, 3))
        up, down = (None if x is None else x[None] for x in (output.eigenvalues, output.eigenvalues_down))
    if up is None or down is None:
        return (points if _has_several_k_points(run) else None), None
    known = min(up.shape[1], down.shape[1])
    return points, np.stack([up[:, :known], down[:, :known]])


Matrices = tuple[BasisSet, BlockOperator, BlockOperator | None, Path, dict[str, str], BlockOperator | None]
"""Basis, H in eV, S, the first file of H, words for the provenance; H of spin down."""


def _has_several_k_points(run: CP2KRun) -> bool:
    """At Γ alone, k-points say nothing; H and S at Γ of a run with more have no levels at the others."""
    return run.output is not None and run.output.k_points is not None and len(run.output.k_points) > 1


def _at_gamma(files: Cp2kFiles, run: CP2KRun, options: ReadOptions) -> Matrices:
    assert files.hamiltonian is not None
    found = read_gamma_matrices(files.hamiltonian, files.overlap, run.structure, options, run.basis)
    down = None
    if files.second is not None:
        down = read_gamma_matrices(files.second, None, run.structure, options, run.basis or found.basis).hamiltonian
    return found.basis, found.hamiltonian, found.overlap, files.hamiltonian, found.provenance, down


def _in_real_space(files: Cp2kFiles, run: CP2KRun, options: ReadOptions) -> Matrices:
    """A run with one matrix per cell vector."""
    if run.basis is None:
        raise FormatError(files.folder, "expected the basis in the CP2K input, got none; say which it is (--basis)")
    tables = run.output.images if run.output is not None else {}
    found = read_images(files.folder, files.images, files.output, tables, run.structure, run.basis, options.progress)
    n_k = 0 if run.output is None or run.output.k_points is None else len(run.output.k_points)
    said = {
        "k-points": (run.output.k_scheme if run.output else None) or str(n_k),
        "images": str(found.n_images),
        "asymmetry": f"|H − H†| ≤ {found.asymmetry:.1e} E_h in the files",
    }
    up, down = (None if h is None else h.with_values(h.values * HARTREE_IN_EV) for h in (found.hamiltonian, found.down))
    assert up is not None
    first = files.images["KS"][min(files.images["KS"])]
    return run.basis, up, found.overlap, first, said, down


def _check_size(files: Cp2kFiles, run: CP2KRun, hamiltonian: BlockOperator) -> None:
    output, n = run.output, hamiltonian.n_orbitals
    if output is None:
        return
    if output.n_atoms not in (None, len(run.structure)):
        raise FormatError(
            files.output,
            f"expected an output of {len(run.structure)} atoms, got one of {output.n_atoms}; "
            f"is {(files.structure or files.input or files.folder).name} of another run?",
        )
    if output.n_orbitals not in (None, n):
        raise FormatError(
            files.output,
            f"expected an output with {n} orbitals ({hamiltonian.basis.describe()}), got one with "
            f"{output.n_orbitals}; is it another basis or another run?",
        )


def _fits_positions(files: Cp2kFiles, run: CP2KRun, overlap: BlockOperator) -> bool:
    """Compare S with the positions, where the output prints the functions; whether that could be done."""
    kinds = run.output.kinds if run.output is not None else ()
    sites = run.output.sites if run.output is not None else None
    if run.output is None or sites is None or not all(kind.gaussians for kind in kinds):
        return False
    if run.output.cell is not None and run.output.cell.pbc.any() and not run.structure.pbc.any():
        return False  # the user takes a molecule in a box for an isolated one
    shells = {int(z): kinds[k].gaussians for z, k in zip(sites.numbers(kinds), sites.kinds)}
    if any(tuple(s.l for s in shells[z]) != overlap.basis.shells[z] for z in overlap.basis.shells):
        return False
    found = misfit(overlap, run.structure, shells)
    if found is None:
        return True
    raise FormatError(
        files.overlap or files.folder,
        f"{found.describe(run.structure.numbers)}; are S, the output and the structure of one step of one run?",
    )


def _provenance(files: Cp2kFiles, run: CP2KRun, first: Path, basis: BasisSet, said: dict[str, str]) -> dict[str, str]:
    used = (first, files.overlap, files.input, files.structure, files.output)
    result = {
        "format": "CP2K run at Γ" if files.hamiltonian else "CP2K run, matrices per cell vector",
        "source": first.resolve().parent.name,
        "files": ", ".join(p.name for p in used if p),
        "code": "CP2K" + (f" {run.version}" if run.version else ""),
        "basis": f"{basis.name}, {GUESSED}" if run.basis is None else run.basis_said,
        "project": run.project or "",
        "run type": run.run_type or "",
        "method": run.method or "",
        "step": "" if run.step is None else str(run.step),
        **said,
        **run.notes,
        "potentials": ", ".join(f"{name} ({label})" for label, name in run.potentials.items()),
        "settings": ", ".join(f"{key} {value}" for key, value in run.settings.items()),
    }
    if run.output is not None and run.output.converged is not None:
        result["scf"] = "converged" if run.output.converged else "NOT converged"
    return {key: value for key, value in result.items() if value}
