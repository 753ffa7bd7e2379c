"""`nearsight view`: the structure in 3D, coloured by charge, local density of states or error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nearsight.atomic_files import write_text_atomically
from nearsight.cli.atom_colours import ALL_STATES, colourings
from nearsight.cli.energy_window import energy_window
from nearsight.formats.registry import read_any
from nearsight.report.page import document
from nearsight.report.structure_view import structure_section

EXAMPLE = """The structure in 3D in one HTML page that needs no network: turn it, and colour its atoms.

Example: nearsight view data/aHfO1.8_96_test.h5

Example: nearsight view prediction.h5 --reference data/aHfO2_372_D.h5 -o view.html

Colours: element; with S in the file charge and the local density of states at an energy; with a reference the errors of
each atom; for a prediction the errors that the model expects. Charges and densities need all states, which are left out
above 6,000 orbitals unless --states is given.
"""


def view_command(
    file: Annotated[Path, typer.Argument(help="file with a structure, and H and S for colours")],
    reference: Annotated[Path | None, typer.Option("--reference", help="file with the reference H")] = None,
    overlap: Annotated[Path | None, typer.Option("--overlap", help="file to take S from")] = None,
    energies: Annotated[str, typer.Option("--energies", help="eV from the Fermi level, of the local density")] = "-4:4",
    states: Annotated[bool | None, typer.Option("--states/--no-states", help="charges and densities")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the page")] = None,
) -> None:
    """View."""
    limits = energy_window(energies) or (-4.0, 4.0)
    calculation = read_any(file)
    exact = None if reference is None else read_any(reference)
    if overlap is not None:
        calculation = replace(calculation, overlap=read_any(overlap).require_overlap())
    elif calculation.overlap is None and exact is not None:
        calculation = replace(calculation, overlap=exact.overlap)
    h = calculation.hamiltonian
    with_states = h is not None and (h.n_orbitals <= ALL_STATES if states is None else states)
    console = Console()
    if h is not None and not with_states and states is None:
        console.print(
            f"{h.n_orbitals:,} orbitals: no charges and local densities (--states computes them)", highlight=False
        )
    target = output or file.with_name(f"{file.stem}_view.html")
    structure = calculation.structure
    section = structure_section(structure, colourings(calculation, exact, limits, with_states))
    write_text_atomically(
        target, document(f"{structure.formula}", f"{len(structure):,} atoms of {file.name}.", [section])
    )
    console.print(str(target), highlight=False, soft_wrap=True)
