"""`nearsight overlap`: S of a structure, without a DFT run."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nearsight.errors import InputError
from nearsight.formats.basis_choice import named_basis
from nearsight.formats.structure_files import parse_cell, read_structure
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import is_store, read_calculation, write_calculation
from nearsight.recipes.overlap import SMALLEST, overlap_of

EXAMPLE = """The overlap matrix of a structure from PySCF's integrals, resolved in R; no DFT run is needed.

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
    started = time.monotonic()
    given = _read(structure, basis, cell)
    s = overlap_of(given.structure, given.basis, ghost_element=ghost, smallest=smallest)
    said = {**given.provenance, "overlap": "PySCF's integrals"}
    write_calculation(output, replace(given, overlap=s, provenance=said), compression="none")
    Console().print(
        f"{output}: S of {given.structure.formula}, {s.n_orbitals} orbitals, {s.n_pairs} blocks, "
        f"{time.monotonic() - started:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def _read(path: Path, basis: str | None, cell: str | None) -> Calculation:
    """The structure with its basis, and what else its file holds."""
    if is_store(path):
        if basis is not None or cell is not None:
            raise InputError(f"{path}: expected neither --basis nor --cell with an .h5 file, which holds both")
        return read_calculation(path)
    if basis is None:
        raise InputError(f"{path}: expected --basis, such as SZV-MOLOPT-SR-GTH, with a file that does not say it")
    given = None if cell is None else parse_cell(cell)
    structure = read_structure(path, cell=given, isolated=cell is not None and given is None)
    return Calculation(structure, named_basis(basis, None, structure.elements))
