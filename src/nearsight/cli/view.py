"""`nearsight view`: the structure in 3D, coloured by charge, local density of states or error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.files import read
from nearsight.api.view import computes_states
from nearsight.api.view import view as write_view
from nearsight.cli.arguments import energy_window
from nearsight.cli.output import check_outputs
from nearsight.cli.printing import Terminal, say
from nearsight.output_path import PAGE

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
    target = output or file.with_name(f"{file.stem}_view.html")
    check_outputs([(target, PAGE)], [file, reference, overlap])
    calculation = read(file)
    if overlap is not None:
        calculation = replace(calculation, overlap=read(overlap).require_overlap())
    console, h = Terminal(), calculation.hamiltonian
    if h is not None and states is None and not computes_states(calculation):
        say(console, f"{h.n_orbitals:,} orbitals: no charges and local densities (--states computes them)")
    exact = None if reference is None else read(reference)
    title = f"{len(calculation.structure):,} atoms of {file.name}."
    write_view(target, calculation, title=title, reference=exact, energies=limits, states=states)
    say(console, target)
