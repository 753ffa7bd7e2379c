"""`nearsight start`: files from which CP2K or PySCF starts with a predicted Hamiltonian."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from nearsight.atomic_files import written_atomically
from nearsight.errors import InputError
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.recipes.warm_start import ADDED_MOS, cp2k_start, known_overlap, pyscf_density

EXAMPLE = """Start a self-consistent run from a predicted Hamiltonian instead of from atoms.

Example: nearsight start prediction.h5 --cp2k job-RESTART.wfn

The orbitals at Gamma of the file's H are filled and written; what to put into the input is printed. S is the
file's, that of --overlap FILE, or else computed.
"""


def start_command(
    prediction: Annotated[Path, typer.Argument(help="file with H (.h5)")],
    cp2k: Annotated[Path | None, typer.Option("--cp2k", help="wavefunction file to write (.wfn)")] = None,
    pyscf: Annotated[Path | None, typer.Option("--pyscf", help="density matrix to write (.npy)")] = None,
    overlap: Annotated[Path | None, typer.Option("--overlap", help="file to take S from")] = None,
    empty: Annotated[int, typer.Option("--added-mos", min=0, help="empty levels for CP2K")] = ADDED_MOS,
    charge: Annotated[int, typer.Option("--charge", help="of the structure, e")] = 0,
    smearing: Annotated[float | None, typer.Option("--smearing", help="K, Fermi-Dirac (CP2K)")] = None,
    smallest: Annotated[
        float | None,
        typer.Option("--smallest", min=0.0, help="leave out directions in which eigenvalues of S are smaller"),
    ] = None,
) -> None:
    """Write what a code starts from."""
    if (cp2k is None) == (pyscf is None):
        raise InputError("expected one of --cp2k FILE and --pyscf FILE, got " + ("none" if cp2k is None else "both"))
    started, console = time.monotonic(), Console()
    calculation = _with_overlap(read_calculation(prediction, h0=False), overlap)
    if cp2k is not None:
        cp2k_start(calculation, cp2k, added_mos=empty, charge=charge, smearing=smearing, smallest=smallest)
    elif pyscf is not None:
        if smearing is not None:
            raise InputError("expected no --smearing with --pyscf, whose density is that of full levels")
        with written_atomically(pyscf) as temporary, temporary.open("wb") as file:
            np.save(file, pyscf_density(calculation, charge, smallest))
    console.print(
        f"{cp2k or pyscf}: start of {calculation.structure.formula}, {time.monotonic() - started:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        cp2k_lines(cp2k, empty) if cp2k else pyscf_lines(pyscf), highlight=False, soft_wrap=True, markup=False
    )


def cp2k_lines(path: Path, added_mos: int) -> str:
    """What belongs into CP2K's input."""
    return f"""In CP2K's input, same atoms in the same order, same basis, without &KPOINTS:
  &DFT
    WFN_RESTART_FILE_NAME {path}
    &SCF
      SCF_GUESS RESTART
      ADDED_MOS {added_mos}
    &END SCF
  &END DFT"""


def pyscf_lines(path: Path | None) -> str:
    """What belongs into a script for PySCF."""
    return f"""In PySCF, same atoms in the same order, same basis:
  mf.kernel(dm0=numpy.load("{path}"))"""


def _with_overlap(calculation: Calculation, path: Path | None) -> Calculation:
    """The calculation with its S, another file's, or the computed one."""
    if path is None:
        return replace(calculation, overlap=known_overlap(calculation))
    return replace(calculation, overlap=read_any(path).require_overlap())
