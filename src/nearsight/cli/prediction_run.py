"""Load a model and a structure, predict, write."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from nearsight.errors import CheckpointError, FormatError
from nearsight.formats.structure_files import parse_cell, read_structure
from nearsight.inference.predict import check_elements, predict_hamiltonian
from nearsight.nn.model import Model, find_model_file, load_model
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import is_store, read_calculation, write_calculation
from nearsight.partition.slabs import Slabs
from nearsight.structures.structure import Structure


def run_prediction(
    model_path: Path, structure_path: Path, output: Path, *, parts: int, cell: str | None, threads: int | None,
    console: Console,
) -> Calculation:
    """Predict and write one file; prints what it holds."""
    if threads:
        torch.set_num_threads(threads)
    check_output(output)
    model = load_model(model_path)
    structure, overlap = read_input(structure_path, cell)
    check_elements(model, structure)
    check_basis(model, overlap, structure_path)
    started = time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("predicting", total=None)
        hamiltonian = predict_hamiltonian(
            model, structure, Slabs(count=parts).assign(structure) if parts > 1 else None,
            report=lambda done, total: progress.update(task, completed=done, total=total),
        )
    result = Calculation(
        structure, hamiltonian.basis, hamiltonian, overlap, cutoff=model.config.cutoff,
        provenance={"model": str(find_model_file(model_path)), "predicted": "yes", **model.provenance},
    )
    write_calculation(output, result)
    seconds = time.monotonic() - started
    console.print(f"{output}: H of {structure.formula}, {hamiltonian.n_pairs} blocks within {model.config.cutoff:g} Å, "
                  f"{seconds:.1f} s; mean |H| on site {_mean_on_site(hamiltonian):.3f} eV", highlight=False,
                  soft_wrap=True)
    if overlap is None:
        console.print("The input holds no overlap matrix: eigenvalues will need one (spectrum --overlap FILE).",
                      highlight=False, soft_wrap=True)
    return result


def read_input(path: Path, cell: str | None) -> tuple[Structure, BlockOperator | None]:
    """The structure, and the overlap where the file has one; a Hamiltonian in it is not read."""
    if is_store(path):
        calculation = read_calculation(path, hamiltonian=False)
        return calculation.structure, calculation.overlap
    given = None if cell is None else parse_cell(cell)
    return read_structure(path, cell=given, isolated=cell is not None and given is None), None


def check_basis(model: Model, overlap: BlockOperator | None, path: Path) -> None:
    """Raises CheckpointError where the file's overlap is in another basis than the model predicts in."""
    if overlap is None:
        return
    wanted = model.basis.restricted(overlap.numbers)
    if overlap.basis != wanted:
        raise CheckpointError(f"{path}: expected the basis of the model ({wanted.describe()}), got "
                              f"{overlap.basis.describe()}; train a model on this basis")


def check_output(path: Path) -> None:
    """Raises FormatError, before any work is done, where the file cannot be written."""
    folder = path.parent
    if not folder.is_dir():
        raise FormatError(path, f"expected a folder to write into, got none at {folder}")


def _mean_on_site(operator: BlockOperator) -> float:
    pairs = np.flatnonzero(operator.on_site)
    return float(np.abs(operator.values[operator.flat_index(pairs)]).mean())


