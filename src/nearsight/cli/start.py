"""`nearsight start`: files from which CP2K, PySCF or SIESTA starts with a predicted Hamiltonian, or its density."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.starts import start_files
from nearsight.cli.arguments import mesh_counts
from nearsight.cli.output import check_outputs
from nearsight.cli.printing import Terminal, say
from nearsight.cli.running import shown
from nearsight.electronic.density_on_grid import SPACING
from nearsight.errors import InputError
from nearsight.operators.store import read_calculation
from nearsight.output_path import ARRAY, CUBE, DENSITY, WAVEFUNCTION
from nearsight.recipes.warm_start import ADDED_MOS

EXAMPLE = """Start a self-consistent run from a predicted Hamiltonian instead of from atoms.

Example: nearsight start prediction.h5 --cp2k job-RESTART.wfn

Example: nearsight start prediction.h5 --siesta silicon.DM --mesh 4,4,4

Example: nearsight start prediction.h5 --cube density.cube --spacing 0.15

The orbitals of the file's H, at Gamma or for SIESTA on a mesh of k-points, are filled and written; what to put into
the input is printed. S is the file's, that of --overlap FILE, or else computed.
"""


def start_command(
    prediction: Annotated[Path, typer.Argument(help="file with H (.h5)")],
    cp2k: Annotated[Path | None, typer.Option("--cp2k", help="wavefunction file to write (.wfn)")] = None,
    pyscf: Annotated[Path | None, typer.Option("--pyscf", help="density matrix to write (.npy)")] = None,
    siesta: Annotated[Path | None, typer.Option("--siesta", help="density matrix to write (SYSTEMLABEL.DM)")] = None,
    cube: Annotated[Path | None, typer.Option("--cube", help="density on a grid to write (.cube)")] = None,
    spacing: Annotated[
        float | None, typer.Option("--spacing", help=f"Å between points of a cube, at most; {SPACING} by default")
    ] = None,
    mesh: Annotated[
        str | None, typer.Option("--mesh", help="k-points through Gamma for SIESTA, such as 4,4,4; Gamma by default")
    ] = None,
    overlap: Annotated[Path | None, typer.Option("--overlap", help="file to take S from")] = None,
    empty: Annotated[int, typer.Option("--added-mos", min=0, help="empty levels for CP2K")] = ADDED_MOS,
    charge: Annotated[float | None, typer.Option("--charge", help="e; the file's own by default")] = None,
    smearing: Annotated[float | None, typer.Option("--smearing", help="K, Fermi-Dirac (CP2K, SIESTA)")] = None,
    smallest: Annotated[
        float | None,
        typer.Option("--smallest", min=0.0, help="project out directions in which eigenvalues of S are smaller"),
    ] = None,
) -> None:
    """Write what a code starts from."""
    given = [path for path in (cp2k, pyscf, siesta, cube) if path is not None]
    if len(given) != 1:
        raise InputError(
            f"expected one of --cp2k FILE, --pyscf FILE, --siesta FILE and --cube FILE, got {len(given) or 'none'}"
        )
    if spacing is not None and cube is None:
        raise InputError("expected --spacing with --cube, got it with a file that has no points")
    if pyscf is not None and smearing is not None:
        raise InputError("expected no --smearing with --pyscf, whose density is that of full levels")
    check_outputs([(cp2k, WAVEFUNCTION), (pyscf, ARRAY), (siesta, DENSITY), (cube, CUBE)], [prediction, overlap])
    started, calculation = time.monotonic(), read_calculation(prediction, h0=False)
    with shown(Terminal(stderr=True), "filling levels") as progress:
        said = start_files(
            calculation,
            cp2k=cp2k,
            pyscf=pyscf,
            siesta=siesta,
            cube=cube,
            spacing=SPACING if spacing is None else spacing,
            mesh=None if mesh is None else mesh_counts(mesh),
            overlap=overlap,
            added_mos=empty,
            charge=charge,
            smearing=smearing,
            threshold=smallest,
            progress=progress,
        )
    say(Terminal(), f"{given[0]}: start of {calculation.structure.formula}, {time.monotonic() - started:.1f} s")
    say(Terminal(), said)
