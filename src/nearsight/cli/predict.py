"""`nearsight predict`: the Hamiltonian of a structure that has none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

EXAMPLE = """Predict the Hamiltonian of a structure; no DFT result is needed.

Example: nearsight predict runs/hfo2 data/aHfO2_372_D.h5 -o prediction.h5
"""


def predict_command(
    model: Annotated[Path, typer.Argument(help="a run's folder or a model file (.safetensors)")],
    structure: Annotated[Path, typer.Argument(help="xyz, CP2K input, .h5, or anything ASE reads")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the file to write (.h5)")],
    parts: Annotated[int, typer.Option("--parts", min=1, help="slabs whose atoms are updated one after another")] = 1,
    cell: Annotated[str | None, typer.Option("--cell", help="cell, Å: 3 or 9 numbers, or none")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads")] = None,
) -> None:
    """Predict H."""
    from nearsight.cli.process import tune_process

    # Before NumPy is imported: matrix products here are small, and its threads would spin beside the network's.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    tune_process()
    from nearsight.cli.prediction_run import run_prediction

    run_prediction(model, structure, output, parts=parts, cell=cell, threads=threads, console=Console())
