"""`nearsight report`: one HTML page with figures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.reports import write_report
from nearsight.cli.printing import Terminal, say

EXAMPLE = """One HTML page with figures and numbers; it needs no network.

Example: nearsight report runs/hfo2

Example: nearsight report prediction.h5 --reference data/aHfO2_372_D.h5 --run runs/hfo2 -o page.html
"""


def report_command(
    source: Annotated[Path, typer.Argument(help="a run's folder, or a file with a predicted H")],
    reference: Annotated[Path | None, typer.Option("--reference", help="file with the reference H")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the run that made the prediction")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the page; report.html beside the source by default")
    ] = None,
) -> None:
    """Write the page."""
    say(Terminal(), write_report(source, reference, run, output))
