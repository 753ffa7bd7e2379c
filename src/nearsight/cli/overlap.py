"""`nearsight overlap`: S of a structure, without a DFT run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.files import write
from nearsight.api.structures import overlap as compute_overlap
from nearsight.cli.output import check_outputs
from nearsight.cli.printing import Terminal, say
from nearsight.output_path import STORE
from nearsight.recipes.overlap import SMALLEST

EXAMPLE = """The overlap matrix of a structure from PySCF's integrals, in real space; no DFT run is needed.

Example: nearsight overlap prediction.h5 -o with_s.h5

An .h5 file keeps its matrices, and its basis is taken; other structures need --basis. CP2K's MOLOPT basis sets are in
PySCF; its S and CP2K's agree to 1e-6.
"""


def overlap_command(
    structure: Annotated[Path, typer.Argument(help="xyz, CP2K input, .h5, or anything ASE reads")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the file to write (.h5)")],
    basis: Annotated[str | None, typer.Option("--basis", help="such as SZV-MOLOPT-SR-GTH")] = None,
    cell: Annotated[str | None, typer.Option("--cell", help="cell, Å: 3 or 9 numbers, or none")] = None,
    ghost: Annotated[str, typer.Option("--ghost", help="element whose functions a ghost carries")] = "O",
    smallest: Annotated[
        float, typer.Option("--smallest", min=0.0, help="leave out what is smaller beyond a distance")
    ] = SMALLEST,
) -> None:
    """Compute S."""
    check_outputs([(output, STORE)], [structure])
    started = time.monotonic()
    found = compute_overlap(structure, basis, cell=cell, ghost_element=ghost, smallest=smallest).calculation
    write(output, found, compression="none")
    s = found.require_overlap()
    say(
        Terminal(),
        f"{output}: S of {found.structure.formula}, {s.n_orbitals} orbitals, {s.n_pairs} blocks, "
        f"{time.monotonic() - started:.1f} s",
    )
