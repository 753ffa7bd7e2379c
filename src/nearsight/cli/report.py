"""`nearsight report`: one HTML page with figures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.reports import compare_predictions, write_report
from nearsight.cli.printing import Terminal, say
from nearsight.errors import InputError

EXAMPLE = """One HTML page with figures and numbers; it needs no network.

Example: nearsight report runs/hfo2

Example: nearsight report prediction.h5 --reference data/aHfO2_372_D.h5 --run runs/hfo2 -o page.html

Example: nearsight report self_consistent.h5 --beside plain.h5 --reference data/aHfO2_372_D.h5
"""


def report_command(
    source: Annotated[Path, typer.Argument(help="a run's folder, or a file with a predicted H")],
    reference: Annotated[Path | None, typer.Option("--reference", help="file with the reference H")] = None,
    beside: Annotated[
        list[Path] | None, typer.Option("--beside", help="another prediction, in a column of its own; repeatable")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the run that made the prediction")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the page; report.html beside the source by default")
    ] = None,
) -> None:
    """Write the page."""
    if not beside:
        say(Terminal(), write_report(source, reference, run, output))
        return
    if reference is None:
        raise InputError("expected --reference with several predictions, got none")
    page = output or source.with_suffix(".html")
    files = {file.stem: file for file in (*beside, source)}
    if len(files) <= len(beside):
        raise InputError("expected predictions in files of different names, which head the columns, got two alike")
    compare_predictions(files, reference, page, runs={} if run is None else dict.fromkeys(files, run))
    say(Terminal(), page)
