"""`nearsight dos`: the density of states, whole and by element, shell or atom."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.numbers import density_of_states_numbers
from nearsight.api.sources import calculation_of
from nearsight.api.spectra import density_of_states
from nearsight.cli.arguments import energy_window, mesh_counts
from nearsight.cli.output import FIGURE, check_outputs, print_json, write_figure, write_table
from nearsight.cli.printing import Terminal, say
from nearsight.cli.running import shown
from nearsight.errors import InputError
from nearsight.output_path import TABLE

EXAMPLE = """The density of states: a figure, a table, or JSON; whole or by element, shell or atom.

Example: nearsight dos data/aHfO2_372_D.h5 --by shell -o dos.png

Example: nearsight dos data/aPtGe2_96_test.h5 --mesh 2,2,2 --temperature 300 --csv dos.csv

Energies of figures are relative to the Fermi level, those of tables are absolute (eV). For structures too large to be
diagonalised: nearsight spectrum --method kpm --json.
"""


class By(str, Enum):
    """Groups of orbitals that states are projected on."""

    ELEMENT = "element"
    SHELL = "shell"
    ATOM = "atom"


def dos_command(
    file: Annotated[Path, typer.Argument(help="file with H (and S)")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="figure: .png, .svg or .pdf")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="table of energies and densities")] = None,
    overlap: Annotated[Path | None, typer.Option("--overlap", help="file to take S from")] = None,
    by: Annotated[By | None, typer.Option("--by", help="element, shell or atom")] = None,
    width: Annotated[float, typer.Option("--width", min=1e-4, help="eV, standard deviation of the Gaussians")] = 0.1,
    mesh: Annotated[str, typer.Option("--mesh", help="k-points, such as 2,2,2, with a real-space H")] = "",
    temperature: Annotated[float | None, typer.Option("--temperature", help="K, of the electrons")] = None,
    electrons: Annotated[
        float | None, typer.Option("--electrons", min=0, help="in the cell; by default the valence less the charge")
    ] = None,
    window: Annotated[str, typer.Option("--window", help="eV from the Fermi level that are drawn, such as -8:8")] = "",
    json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Compute the density of states and write it where it was asked for."""
    if output is None and csv is None and not json:
        raise InputError("expected a figure (-o dos.png), a table (--csv dos.csv) or --json, got none")
    limits, counts = energy_window(window), mesh_counts(mesh)
    check_outputs([(output, FIGURE), (csv, TABLE)], [file, overlap])
    calculation = calculation_of(file, overlap)
    with shown(Terminal(stderr=True), "diagonalising") as progress:
        found = density_of_states(
            calculation,
            width=width,
            by=None if by is None else by.value,
            mesh=counts,
            temperature=temperature,
            n_electrons=electrons,
            progress=progress,
        )
    if json:
        print_json(density_of_states_numbers(found))
    if csv is not None:
        columns = {"energy_eV": found.energies, "total_per_eV": found.total}
        write_table(csv, columns | {f"{label}_per_eV": values for label, values in found.projections.items()})
    if output is not None:
        from nearsight.report.material_figures import density_figure  # matplotlib only where it draws

        write_figure(output, density_figure(found, limits, calculation.structure.formula))
    if not json:
        filling = found.filling
        say(
            Terminal(),
            f"Fermi level {filling.fermi:.4f} eV, gap {filling.gap:.4f} eV".replace("nan eV", "none")
            + "".join(f"; {path}" for path in (output, csv) if path),
        )
