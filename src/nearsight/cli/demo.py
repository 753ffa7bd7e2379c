"""`nearsight demo`: the main job on two shipped structures."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

EXAMPLE = """Train two networks on one structure of amorphous HfO2, predict another, and write a page of figures.

Example: nearsight demo --minutes 1

Example: nearsight demo --only nearsight

The networks are the default one (nearsight) and the paper's (xia2025), one after the other, each for --minutes. The
data are real CP2K calculations of 372 atoms each, shipped with nearsight: one to train on (some of it held out for
validation) and one, unseen, to test.
"""


class Network(str, Enum):
    """What the demo can train."""

    NEARSIGHT = "nearsight"
    XIA2025 = "xia2025"


def demo_command(
    minutes: Annotated[float, typer.Option("--minutes", min=0.05, help="training time of each network")] = 3.5,
    only: Annotated[Network | None, typer.Option("--only", help="one network instead of both")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="where the results go; continues runs found there")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="of the random start")] = 42,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores by default")] = None,
) -> None:
    """Train, predict, evaluate, report."""
    from nearsight.cli.process import tune_process

    tune_process()
    from nearsight.cli.demo_run import run_demo

    run_demo(minutes, folder, seed, threads, Console(), None if only is None else only.value)
