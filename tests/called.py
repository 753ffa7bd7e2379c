"""Commands as tests call them."""

from __future__ import annotations

import contextlib
import io

from nearsight.cli.main import load_command


def call(*words: object) -> str:
    """What a command prints."""
    name, *rest = [str(w) for w in words]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        load_command(name).main(args=rest, prog_name=name, standalone_mode=False)
    return printed.getvalue()
