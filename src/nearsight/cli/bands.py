"""`nearsight bands`: the band structure along a path of special points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import Progress

from nearsight.cli.energy_window import energy_window
from nearsight.cli.json_output import as_json
from nearsight.cli.output_files import output_written, table_written
from nearsight.electronic.bands import Bands, bands
from nearsight.electronic.k_points import KPath, path_through, special_path
from nearsight.errors import FormatError, InputError
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation

EXAMPLE = """The band structure of an H that is resolved in R, along special points of its lattice.

Example: nearsight bands data/silicon_2.h5 --path GXWLGK -o bands.png

Example: nearsight bands prediction.h5 --overlap dft.h5 --reference dft.h5 -o bands.png --csv bands.csv

--reference takes another file with H and S, or a table (.csv): columns kx, ky, kz in units of the reciprocal lattice
vectors, then the levels in eV. The points of a table are the path; --path, where it is the same one, names them.
"""


def bands_command(
    file: Annotated[Path, typer.Argument(help="file with H (and S)")],
    path: Annotated[str | None, typer.Option("--path", help="such as GXWLG; ASE's for the lattice by default")] = None,
    points: Annotated[int, typer.Option("--points", min=2, help="in all, about")] = 100,
    overlap: Annotated[Path | None, typer.Option("--overlap", help="file to take S from")] = None,
    reference: Annotated[Path | None, typer.Option("--reference", help="file or table (.csv) to compare with")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="figure: .png, .svg or .pdf")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="table of k-points and levels")] = None,
    window: Annotated[str, typer.Option("--window", help="eV from the highest filled level, such as -14:8")] = "",
    json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Bands."""
    limits = energy_window(window)
    calculation = _read(file, overlap)
    table = None if reference is None or reference.suffix.lower() != ".csv" else _table(reference)
    line = special_path(calculation.structure, path, points) if table is None else _given(calculation, table[0], path)
    found = _bands(calculation, line)
    other = None if table is None else table[1]
    if reference is not None and table is None:
        theirs = _read(reference, None)
        other = _bands(theirs, line).levels
    if csv is not None:
        table_written(csv, _columns(found))
    if output is not None:
        from nearsight.report.material_figures import band_figure  # matplotlib only where it draws

        names = (file.stem, reference.stem if reference else "")
        output_written(output, band_figure(found, other, limits, calculation.structure.formula, names))
    keys = as_dict(found, other)
    if json:
        typer.echo(as_json(keys | {"k_points": line.points.tolist(), "levels_eV": found.levels.tolist()}))
    else:
        _print(found, keys)


def as_dict(found: Bands, reference: np.ndarray | None = None) -> dict[str, Any]:
    """Plain numbers by key; differences to a reference where there is one."""
    keys: dict[str, Any] = {
        "gap_eV": found.gap,
        "direct_gap_eV": found.direct_gap,
        "valence_band_maximum_eV": found.highest_occupied[0],
        "conduction_band_minimum_eV": found.lowest_empty[0],
        "n_occupied": found.n_occupied,
        "residual_eV": found.residual,
    }
    if reference is not None:
        common = min(found.levels.shape[1], reference.shape[1])
        difference = np.abs(found.levels[:, :common] - reference[:, :common])
        filled = difference[:, : found.n_occupied]
        keys |= {
            "largest_difference_meV": 1e3 * float(difference.max()),
            "mean_difference_meV": 1e3 * float(difference.mean()),
            "largest_difference_occupied_meV": 1e3 * float(filled.max(initial=0)),
        }
    return keys


def _read(file: Path, overlap: Path | None) -> Calculation:
    calculation = read_any(file)
    if overlap is not None:
        calculation = replace(calculation, overlap=read_any(overlap).require_overlap())
    return calculation


def _bands(calculation: Calculation, line: KPath) -> Bands:
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("diagonalising", total=len(line.points))
        return bands(calculation, line, lambda done, of: bars.update(bar, completed=done))


def _table(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """k-points and levels of a table."""
    try:
        rows = pd.read_csv(file, comment="#")
        numbers = rows.to_numpy(dtype=np.float64)
    except (OSError, ValueError) as error:
        raise FormatError(file, f"expected a table with columns kx, ky, kz and levels, got: {error}") from None
    if list(rows.columns[:3]) != ["kx", "ky", "kz"] or numbers.shape[1] < 4 or not np.isfinite(numbers).all():
        raise FormatError(
            file,
            "expected finite numbers in columns kx, ky, kz and levels (eV), got "
            f"{', '.join(map(str, rows.columns[:4]))}",
        )
    return numbers[:, :3], numbers[:, 3:]


def _given(calculation: Calculation, points: np.ndarray, path: str | None) -> KPath:
    """The points of a table as a path."""
    if not calculation.structure.pbc.any():
        raise InputError("expected a periodic structure for bands, got a molecule")
    named = special_path(calculation.structure, path, len(points)) if path is not None else None
    if named is not None and named.points.shape == points.shape and np.allclose(named.points, points, atol=1e-6):
        return named
    return path_through(calculation.structure, points)


def _columns(found: Bands) -> dict[str, np.ndarray]:
    columns = {name: found.path.points[:, n] for n, name in enumerate(("kx", "ky", "kz"))}
    return columns | {f"level_{n}_eV": found.levels[:, n] for n in range(found.levels.shape[1])}


def _print(found: Bands, keys: dict[str, Any]) -> None:
    kind = "metal" if not found.gap > 0 else "gap"
    console = Console()
    top, bottom = (found.path.points[place[1]] for place in (found.highest_occupied, found.lowest_empty))
    text = f"{kind} {found.gap:.4f} eV" if kind == "gap" else "no gap along the path"
    highest, lowest = keys["valence_band_maximum_eV"], keys["conduction_band_minimum_eV"]
    console.print(
        f"{text}, direct {found.direct_gap:.4f} eV; highest filled level {highest:.4f} eV at k = "
        f"{np.round(top, 4).tolist()}, lowest empty {lowest:.4f} eV at {np.round(bottom, 4).tolist()}",
        highlight=False,
        soft_wrap=True,
    )
    if "largest_difference_meV" in keys:
        console.print(
            f"difference to the reference: at most {keys['largest_difference_meV']:.3f} meV, occupied "
            f"{keys['largest_difference_occupied_meV']:.3f}, mean {keys['mean_difference_meV']:.3f}",
            highlight=False,
            soft_wrap=True,
        )
