"""Load a model and a structure, predict, write."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.errors import CheckpointError, FormatError
from nearsight.formats.structure_files import parse_cell, read_structure
from nearsight.inference.predict import check_elements, predict
from nearsight.inference.to_store import Written, write_prediction
from nearsight.nn.architectures.nearsight.model import BondModel
from nearsight.nn.architectures.nearsight.prediction import BondBlocks
from nearsight.nn.model import Model, load_model
from nearsight.nn.model_file import find_model_file
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import is_store, operator_basis, read_calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.partition.slabs import Slabs
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV


def run_prediction(
    model_path: Path,
    structure_path: Path,
    output: Path,
    *,
    parts: int,
    cell: str | None,
    threads: int | None,
    console: Console,
) -> Written:
    """Predict and write one file; prints what it holds."""
    if threads:
        torch.set_num_threads(threads)
    check_output(output)
    model = load_model(model_path)
    structure, overlap = read_input(structure_path, cell)
    check_elements(model, structure)
    check_basis(model, overlap, structure_path)
    console.print(model.network.describe_path(), highlight=False, soft_wrap=True)
    started = time.monotonic()
    head = Calculation(
        structure,
        model.basis.restricted(structure.numbers),
        cutoff=model.config.cutoff,
        provenance={"model": str(find_model_file(model_path)), "predicted": "yes", **model.provenance},
    )
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("predicting", total=None)
        prediction = predict(
            model,
            structure,
            Slabs(count=parts).assign(structure) if parts > 1 else None,
            report=lambda done, total: progress.update(task, completed=done, total=total),
            h0=read_initial(model, structure_path),
        )
        written = write_prediction(output, head, prediction, overlap_from=structure_path if overlap else None)
    console.print(
        f"{output}: H of {structure.formula}, {written.n_pairs} blocks within {model.config.cutoff:g} Å, "
        f"{time.monotonic() - started:.1f} s; mean |H| on site {written.mean_on_site:.3f} eV",
        highlight=False,
        soft_wrap=True,
    )
    if prediction.bonds is not None:
        console.print(expected_errors(prediction.bonds), highlight=False, soft_wrap=True)
    if overlap is None:
        console.print(
            "The input holds no overlap matrix: eigenvalues will need one (spectrum --overlap FILE).",
            highlight=False,
            soft_wrap=True,
        )
    return written


def expected_errors(bonds: BondBlocks) -> str:
    """What the model says of its own errors, as text."""
    known, out_of_distribution = bonds.model.uncertainty, bonds.out_of_distribution
    if known is None or out_of_distribution is None:
        return "expected errors: unknown, the model was not calibrated (train with data.holdout_parts=1)"
    sizes = bonds.model.basis.sizes(bonds.structure.numbers)
    weights = sizes[bonds.pairs.source] * sizes[bonds.pairs.target]
    own = bonds.pairs.edge < 0
    on_site, between = (
        ratio * 1e3 * np.average(bonds.estimates[k], weights=weights[k]) if k.any() else 0.0
        for k, ratio in ((own, known.on_site_ratio), (~own, known.ratio))
    )
    text = (
        f"expected mean errors: on site {on_site / HARTREE_IN_EV:.3f} mE_h, between atoms "
        f"{between / HARTREE_IN_EV:.4f} mE_h"
    )
    if not out_of_distribution.any():
        return text + "; no atom is unlike those of the training data"
    count, n_atoms = int(out_of_distribution.sum()), len(out_of_distribution)
    share = f"{count} of {n_atoms} atoms ({100 * count / n_atoms:.1f} %)"
    return text + (
        f"\nWARNING: {share} are in environments unlike those of the training data; expect larger errors "
        "there (strange_atoms in the file)"
    )


def read_input(path: Path, cell: str | None) -> tuple[Structure, BasisSet | None]:
    """The structure, and the basis of the overlap where the file has one; no matrix is read."""
    if is_store(path):
        bare = read_calculation(path, hamiltonian=False, overlap=False, h0=False)
        return bare.structure, operator_basis(path, "overlap")
    given = None if cell is None else parse_cell(cell)
    return read_structure(path, cell=given, isolated=cell is not None and given is None), None


def read_initial(model: Model | BondModel, path: Path) -> H0Matrices | None:
    """H₀ and S of the structure's file, for a model that starts from them."""
    if not isinstance(model, BondModel) or not model.baseline.needs_h0:
        return None
    if not is_store(path):
        raise FormatError(
            path,
            "expected an .h5 file with H0 and S, from which this model starts; make one with "
            "`nearsight import SOURCE --h0 FILE -o OUTPUT`",
        )
    return model.baseline.h0_of(read_calculation(path, hamiltonian=False))


def check_basis(model: Model | BondModel, overlap: BasisSet | None, path: Path) -> None:
    """Raises CheckpointError where the file's overlap is in another basis than the model predicts in."""
    if overlap is not None and overlap != model.basis.restricted(overlap.shells):
        raise CheckpointError(
            f"{path}: expected the basis of the model "
            f"({model.basis.restricted(overlap.shells).describe()}), got {overlap.describe()}; "
            "train a model on this basis"
        )


def check_output(path: Path) -> None:
    """Raises FormatError, before any work is done, where the file cannot be written."""
    folder = path.parent
    if not folder.is_dir():
        raise FormatError(path, f"expected a folder to write into, got none at {folder}")
