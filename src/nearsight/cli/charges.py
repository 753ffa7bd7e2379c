"""`nearsight charges`: charges of the atoms from H and S."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from nearsight.api.sources import calculation_of
from nearsight.api.spectra import charges
from nearsight.cli.output import check_outputs, print_json, write_table
from nearsight.cli.printing import Terminal, show
from nearsight.elements import symbol_of
from nearsight.operators.calculation import Calculation
from nearsight.output_path import TABLE

EXAMPLE = """Charges of the atoms, by Mulliken or Löwdin, from H and S at Gamma.

Example: nearsight charges data/aHfO2_96_A.h5 --csv charges.csv
"""


class Populations(str, Enum):
    """How electrons are shared among atoms."""

    MULLIKEN = "mulliken"
    LOEWDIN = "loewdin"


def charges_command(
    file: Annotated[Path, typer.Argument(help="file with H (and S)")],
    overlap: Annotated[Path | None, typer.Option("--overlap", help="file to take S from")] = None,
    kind: Annotated[Populations, typer.Option("--kind", help="mulliken or loewdin")] = Populations.MULLIKEN,
    charge: Annotated[float | None, typer.Option("--charge", help="e, of the cell; the file's own by default")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="K, of the electrons")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="table of atoms and charges")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Compute the charges of the atoms."""
    check_outputs([(csv, TABLE)], [file, overlap])
    calculation = calculation_of(file, overlap)
    found = charges(calculation, kind=kind.value, charge=charge, temperature=temperature)
    symbols = np.array([symbol_of(int(z)) for z in calculation.structure.numbers])
    if csv is not None:
        write_table(csv, {"atom": np.arange(len(found)), "element": symbols, "charge_e": found})
    if json:
        print_json({"kind": kind.value, "elements": symbols.tolist(), "charges_e": found.tolist()})
    else:
        show(Terminal(), _table(found, calculation, kind))


def _table(charges: np.ndarray, calculation: Calculation, kind: Populations) -> Table:
    names = {Populations.MULLIKEN: "Mulliken", Populations.LOEWDIN: "Löwdin"}
    table = Table(title=f"{names[kind]} charges, e", title_justify="left")
    for column in ("element", "atoms", "mean", "smallest", "largest"):
        table.add_column(column, justify="left" if column == "element" else "right")
    numbers = calculation.structure.numbers
    for z in np.unique(numbers):
        own = charges[numbers == z]
        table.add_row(symbol_of(int(z)), str(len(own)), f"{own.mean():+.3f}", f"{own.min():+.3f}", f"{own.max():+.3f}")
    return table
