"""`nearsight start`: files from which CP2K or PySCF starts with a predicted Hamiltonian."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.starts import start_files
from nearsight.cli.output import check_outputs
from nearsight.cli.printing import Terminal, say
from nearsight.errors import InputError
from nearsight.operators.store import read_calculation
from nearsight.output_path import ARRAY, WAVEFUNCTION
from nearsight.recipes.warm_start import ADDED_MOS

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
    charge: Annotated[float | None, typer.Option("--charge", help="e; the file's own by default")] = None,
    smearing: Annotated[float | None, typer.Option("--smearing", help="K, Fermi-Dirac (CP2K)")] = None,
    smallest: Annotated[
        float | None,
        typer.Option("--smallest", min=0.0, help="project out directions in which eigenvalues of S are smaller"),
    ] = None,
) -> None:
    """Write what a code starts from."""
    if (cp2k is None) == (pyscf is None):
        raise InputError("expected one of --cp2k FILE and --pyscf FILE, got " + ("none" if cp2k is None else "both"))
    if pyscf is not None and smearing is not None:
        raise InputError("expected no --smearing with --pyscf, whose density is that of full levels")
    check_outputs([(cp2k, WAVEFUNCTION), (pyscf, ARRAY)], [prediction, overlap])
    started, calculation = time.monotonic(), read_calculation(prediction, h0=False)
    said = start_files(
        calculation,
        cp2k=cp2k,
        pyscf=pyscf,
        overlap=overlap,
        added_mos=empty,
        charge=charge,
        smearing=smearing,
        threshold=smallest,
    )
    say(Terminal(), f"{cp2k or pyscf}: start of {calculation.structure.formula}, {time.monotonic() - started:.1f} s")
    say(Terminal(), said)
