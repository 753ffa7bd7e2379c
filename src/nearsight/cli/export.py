"""`nearsight export`: H and S in the files of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.exports import EVERY, export
from nearsight.cli.printing import Terminal, say

EXAMPLE = f"""Write H, S and structure as another program reads them.

Example: nearsight export prediction.h5 -o for_deeph --layout deepx

Layouts: {"; ".join(f"{name} ({writer.description})" for name, writer in EVERY.items())}.
"""


def export_command(
    source: Annotated[Path, typer.Argument(help="A store (.h5), or anything that `nearsight import` reads.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder or file to write.")],
    layout: Annotated[str, typer.Option("--layout", "-l", help=f"One of {', '.join(EVERY)}.")],
    overlap: Annotated[Path | None, typer.Option(help="Where S is taken from, if not from SOURCE.")] = None,
) -> None:
    """Write files."""
    for file in export(source, output, layout, overlap=overlap):
        say(Terminal(), f"{file} ({file.stat().st_size / 1e6:.3g} MB)")
