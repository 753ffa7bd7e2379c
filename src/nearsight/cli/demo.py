"""`nearsight demo`: the main job on two shipped structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

EXAMPLE = """Train the paper's network on one structure of amorphous HfO2, predict another, and write a page of figures.

Example: nearsight demo --minutes 3

The data are real CP2K calculations of 372 atoms each, shipped with nearsight: one to train on (partitions of it, one of
them held out for validation) and one, unseen, to test.
"""


def demo_command(
    minutes: Annotated[float, typer.Option("--minutes", min=0.05, help="training time")] = 7.0,
    folder: Annotated[Path, typer.Option("--folder", help="where the results go; continues a run found there")] = Path(
        "demo"),
    seed: Annotated[int, typer.Option("--seed", help="of the random start")] = 42,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores by default")] = None,
) -> None:
    """Train, predict, evaluate, report."""
    from nearsight.cli.process import tune_process

    tune_process()
    from nearsight.cli.demo_run import run_demo

    run_demo(minutes, folder, seed, threads, Console())
