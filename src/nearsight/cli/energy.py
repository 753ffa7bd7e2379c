"""`nearsight energy`: the total energy of the density that belongs to a Hamiltonian."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from nearsight.api.files import read
from nearsight.api.starts import total_energy
from nearsight.cli.output import print_json
from nearsight.cli.printing import Terminal, show

EXAMPLE = """The total energy of the density of H's occupied orbitals, by PySCF, without a self-consistent cycle.

Example: nearsight energy prediction.h5 --functional pbe --basis def2-svp

It lies above the self-consistent energy, by the square of the error. Functional and basis must be those of the training
data; the file of a DFT run says them in its provenance.
"""


def energy_command(
    file: Annotated[Path, typer.Argument(help="file with H of a molecule, or of a crystal at Gamma")],
    functional: Annotated[str, typer.Option("--functional", help="any that PySCF knows")] = "pbe",
    basis: Annotated[str, typer.Option("--basis", help="PySCF's name")] = "def2-svp",
    pseudo: Annotated[str | None, typer.Option("--pseudo", help="such as gth-pbe")] = None,
    charge: Annotated[float | None, typer.Option("--charge", help="e; the file's own by default")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Energy."""
    calculation = read(file)
    energy = total_energy(calculation, functional=functional, basis=basis, pseudo=pseudo, charge=charge)
    keys = {"total_eV": energy.total, "band_eV": energy.band, "rest_eV": energy.rest}
    if calculation.energy is not None:
        keys["above_self_consistent_eV"] = energy.total - calculation.energy
    if json:
        print_json(keys)
        return
    table = Table(show_header=False)
    names = ("total energy", "band energy", "rest (double counting, xc, nuclei)", "above the file's energy")
    for name, value in zip(names, keys.values()):
        table.add_row(name, f"{value:.6f} eV")
    show(Terminal(), table)
