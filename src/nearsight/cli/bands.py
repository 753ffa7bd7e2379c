"""`nearsight bands`: the band structure along a path of special points."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nearsight.api.numbers import band_numbers
from nearsight.api.sources import calculation_of
from nearsight.api.spectra import band_path, bands, read_band_table
from nearsight.cli.arguments import energy_window
from nearsight.cli.output import FIGURE, check_outputs, print_json, write_figure, write_table
from nearsight.cli.printing import Terminal, say
from nearsight.cli.running import shown
from nearsight.electronic.bands import Bands
from nearsight.output_path import TABLE

EXAMPLE = """The band structure of a real-space H, along special points of its lattice.

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
    """Compute bands and compare them with a reference."""
    limits = energy_window(window)
    check_outputs([(output, FIGURE), (csv, TABLE)], [file, overlap, reference])
    calculation = calculation_of(file, overlap)
    table = None if reference is None or reference.suffix.lower() != ".csv" else read_band_table(reference)
    line = band_path(calculation.structure, path, points, None if table is None else table[0])
    with shown(Terminal(stderr=True), "diagonalising") as progress:
        found = bands(calculation, path=line, progress=progress)
        other = None if table is None else table[1]
        if reference is not None and table is None:
            other = bands(reference, path=line, progress=progress).levels
    if csv is not None:
        write_table(csv, _columns(found))
    if output is not None:
        from nearsight.report.material_figures import band_figure  # matplotlib only where it draws

        names = (file.stem, reference.stem if reference else "")
        write_figure(output, band_figure(found, other, limits, calculation.structure.formula, names))
    keys = band_numbers(found, other)
    if json:
        print_json(keys | {"k_points": line.points.tolist(), "levels_eV": found.levels.tolist()})
    else:
        _print(found, keys)


def _columns(found: Bands) -> dict[str, np.ndarray]:
    columns = {name: found.path.points[:, n] for n, name in enumerate(("kx", "ky", "kz"))}
    return columns | {f"level_{n}_eV": found.levels[:, n] for n in range(found.levels.shape[1])}


def _print(found: Bands, keys: dict[str, Any]) -> None:
    console = Terminal()
    if found.n_occupied == 0:
        say(
            console,
            f"levels from {found.levels.min():.4f} to {found.levels.max():.4f} eV; no gap: the number of electrons is "
            "not known, or 0",
        )
        return
    kind = "metal" if not found.gap > 0 else "gap"
    top, bottom = (found.path.points[place[1]] for place in (found.highest_occupied, found.lowest_empty))
    text = f"{kind} {found.gap:.4f} eV" if kind == "gap" else "no gap along the path"
    highest, lowest = keys["valence_band_maximum_eV"], keys["conduction_band_minimum_eV"]
    say(
        console,
        f"{text}, direct {found.direct_gap:.4f} eV; highest filled level {highest:.4f} eV at k = "
        f"{np.round(top, 4).tolist()}, lowest empty {lowest:.4f} eV at {np.round(bottom, 4).tolist()}",
    )
    if "largest_difference_meV" in keys:
        say(
            console,
            f"difference to the reference: at most {keys['largest_difference_meV']:.3f} meV, occupied "
            f"{keys['largest_difference_occupied_meV']:.3f}, mean {keys['mean_difference_meV']:.3f}",
        )
