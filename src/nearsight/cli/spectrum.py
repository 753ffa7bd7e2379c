"""`nearsight spectrum`: eigenvalues, gap and Fermi level from H and S."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from nearsight.cli.json_output import as_json
from nearsight.electronic.evaluation import spectrum_of
from nearsight.electronic.spectrum import Spectrum
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation

EXAMPLE = """Eigenvalues of H psi = e S psi at Gamma, with gap and Fermi level.

Example: nearsight spectrum data/aHfO2_96_A.h5
"""


def spectrum_command(
    file: Annotated[Path, typer.Argument(help="file with H (and S)")],
    overlap: Annotated[Path | None, typer.Option("--overlap", help="file to take S from")] = None,
    electrons: Annotated[int | None, typer.Option("--electrons", min=0, help="valence electrons; those of the neutral "
                                                                             "structure by default")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Diagonalise."""
    calculation = read_any(file)
    other = None if overlap is None else read_any(overlap).require_overlap()
    spectrum = spectrum_of(calculation, other, electrons)
    if json:
        typer.echo(as_json(as_dict(spectrum)))
    else:
        _print(spectrum, calculation, Console())


def as_dict(spectrum: Spectrum) -> dict[str, Any]:
    """Plain numbers by key, eV."""
    return {
        "eigenvalues_eV": spectrum.eigenvalues.tolist(), "gap_eV": spectrum.gap, "fermi_eV": spectrum.fermi,
        "homo_eV": spectrum.homo, "lumo_eV": spectrum.lumo, "n_electrons": spectrum.n_electrons,
        "n_occupied": spectrum.n_occupied, "singly_occupied": spectrum.singly_occupied,
        "overlap_condition": spectrum.overlap_condition,
        "residual_eV": spectrum.residual, "hermiticity_error_eV": spectrum.hermiticity_error,
    }


def _print(spectrum: Spectrum, calculation: Calculation, console: Console) -> None:
    table = Table(show_header=False)
    rows = [("structure", calculation.structure.formula), ("orbitals", str(spectrum.n_levels)),
            ("electrons", str(spectrum.n_electrons)), ("HOMO", f"{spectrum.homo:.4f} eV"),
            ("LUMO", f"{spectrum.lumo:.4f} eV"), ("gap", f"{spectrum.gap:.4f} eV"),
            ("Fermi level (mid-gap)", f"{spectrum.fermi:.4f} eV"),
            ("lowest, highest", f"{spectrum.eigenvalues[0]:.3f}, {spectrum.eigenvalues[-1]:.3f} eV"),
            ("condition number of S", f"{spectrum.overlap_condition:.4g}"),
            ("residual at the gap", f"{spectrum.residual:.1e} eV")]
    printed = calculation.eigenvalues
    if printed is not None and len(printed) <= spectrum.n_levels:
        difference = np.abs(spectrum.eigenvalues[: len(printed)] - printed).max()
        rows.append((f"largest difference to the {len(printed)} printed by the code", f"{difference:.1e} eV"))
    for name, text in rows:
        table.add_row(name, text.replace("nan eV", "none"))
    console.print(table)
    if spectrum.singly_occupied:
        console.print("The number of electrons is odd: the highest level holds one electron and is both HOMO and LUMO, "
                      "so the gap is zero and the Fermi level is this level (spin is not resolved).", highlight=False,
                      soft_wrap=True)
