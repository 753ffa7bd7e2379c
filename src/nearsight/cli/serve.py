"""`nearsight serve`: a structure goes in, its spectrum and 3D view come out, in the browser of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.server import MOST_ATOMS, Server
from nearsight.cli.printing import Terminal, say

EXAMPLE = """A page in the browser of this machine: choose a structure, and see the report of its prediction.

Example: nearsight serve runs/hfo2

Without a model, files (.h5) with H and S are shown. Only this machine is answered, and only under the address that is
printed, which holds a word that nobody else knows. Ctrl-C ends it.
"""


def serve_command(
    model: Annotated[Path | None, typer.Argument(help="a model, or the folder of its run")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any that is free")] = 0,
    most_atoms: Annotated[int, typer.Option("--most-atoms", min=1, help="larger structures are refused")] = MOST_ATOMS,
) -> None:
    """Serve."""
    with Server(model, port=port, most_atoms=most_atoms) as server:
        say(Terminal(), f"open {server.url} (Ctrl-C ends it)")
        server.serve()
