"""`nearsight predict`: the Hamiltonian of a structure that has none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from nearsight.cli.printing import Terminal, say
from nearsight.cli.running import shown
from nearsight.launch import launched

if TYPE_CHECKING:
    from nearsight.api.models import WrittenPrediction

EXAMPLE = """Predict the Hamiltonian of a structure; no DFT result is needed.

Example: nearsight predict runs/hfo2 data/aHfO2_372_D.h5 -o prediction.h5
"""


def predict_command(
    model: Annotated[Path, typer.Argument(help="a run's folder or a model file (.safetensors)")],
    structure: Annotated[Path, typer.Argument(help="xyz, CP2K input, .h5, or anything ASE reads")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the file to write (.h5)")],
    parts: Annotated[int, typer.Option("--parts", min=1, help="slabs whose atoms are updated one after another")] = 1,
    cell: Annotated[str | None, typer.Option("--cell", help="cell, Å: 3 or 9 numbers, or none")] = None,
    self_consistent: Annotated[
        bool | None,
        typer.Option(
            "--self-consistent/--no-self-consistent",
            help="H and its density agree; by default where the model has learnt it and S is at hand",
        ),
    ] = None,
    charge: Annotated[
        float | None, typer.Option("--charge", help="of the cell, e; by default that of the file")
    ] = None,
    k_points: Annotated[
        tuple[int, int, int] | None,
        typer.Option("--k-points", help="mesh of the density, 3 numbers; by default as fine as the training data's"),
    ] = None,
    memory: Annotated[
        float | None, typer.Option("--memory", help="GB that may be planned; by default half of what is free")
    ] = None,
    in_parts: Annotated[
        bool | None,
        typer.Option("--in-parts/--at-once", help="shards with an index, and memory for one; by default as it fits"),
    ] = None,
    overlap: Annotated[bool, typer.Option("--overlap/--no-overlap", help="S too, where it is known")] = True,
    density_solver: Annotated[
        str,
        typer.Option(
            "--density-solver", help="dense; purification, for large insulators; auto: dense up to 8,000 orbitals"
        ),
    ] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads")] = None,
    device: Annotated[
        str, typer.Option("--device", help="cpu, cuda (an NVIDIA GPU), cuda:N; auto: a GPU where there is one")
    ] = "cpu",
) -> None:
    """Predict H."""
    from nearsight.cli.process import tune_process

    # Before NumPy is imported. Without dense diagonalisations matrix products are small, and threads that spin while
    # they wait would disturb the network's.
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1" if self_consistent is False else str(threads or os.cpu_count() or 1)
    )
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    tune_process(threads)
    console = Terminal()
    console.quiet = launched().rank > 0  # the first process speaks for all
    size = Size(memory, in_parts, overlap, density_solver)
    predict_shown(model, structure, output, parts, cell, console, self_consistent, charge, k_points, device, size)


@dataclass(frozen=True)
class Size:
    """What the options say of the size of a prediction: memory in GB, in parts or at once, whether S is wanted, and how
    the density is found where it is self-consistent."""

    memory: float | None = None
    in_parts: bool | None = None
    overlap: bool = True
    density_solver: Any = "auto"


def predict_shown(
    model: Path,
    structure: Path,
    output: Path,
    parts: int,
    cell: str | None,
    console: Console,
    self_consistent: bool | None = None,
    charge: float | None = None,
    k_points: tuple[int, int, int] | None = None,
    device: str = "cpu",
    size: Size = Size(),
) -> WrittenPrediction:
    """Predict one file and print what it holds."""
    from nearsight.api.models import load_model
    from nearsight.cli.output import check_outputs
    from nearsight.formats.structure_files import parse_cell, read_structure
    from nearsight.output_path import STORE

    check_outputs([(output, STORE)], [model, structure])
    atoms: Any = structure
    if cell is not None:
        given = parse_cell(cell)
        atoms = read_structure(structure, cell=given, isolated=given is None)
    known = load_model(model, device)
    say(console, known.describe())
    with shown(console, "predicting") as progress:
        written = known.predict_to(
            output,
            atoms,
            parts=parts,
            self_consistent=self_consistent,
            charge=charge,
            k_points=k_points,
            memory_gb=size.memory,
            in_parts=size.in_parts,
            overlap=size.overlap,
            density_solver=size.density_solver,
            progress=progress,
        )
    for line in describe(written, known.cutoff):
        say(console, line)
    return written


def describe(written: WrittenPrediction, cutoff: float) -> list[str]:
    """What a file with a prediction holds, and how large its errors are expected to be, in lines."""
    lines = [
        f"{written.path}: H of {written.structure.formula}, {written.n_pairs} blocks within {cutoff:g} Å, "
        f"{written.seconds:.1f} s; mean |H| on site {written.mean_on_site:.3f} eV"
    ]
    if written.parts:
        lines.append(f"its blocks are in {written.parts} files of the folder beside it, which belong together")
    if written.self_consistent is not None:
        lines.append(f"self-consistent: {written.self_consistent}")
    lines += _expected_errors(written)
    if written.overlap != "given":
        lines.append(f"overlap matrix: {written.overlap}")
    if not written.has_overlap:
        lines.append("Eigenvalues will need S (spectrum --overlap FILE, nearsight overlap).")
    return lines


def _expected_errors(written: WrittenPrediction) -> list[str]:
    from nearsight.units import HARTREE_IN_EV

    lines, strange = [], written.out_of_distribution
    solved = written.self_consistent is not None and not written.self_consistent.startswith("no")
    if written.expected_errors is not None:
        on_site, between = (1e3 * error / HARTREE_IN_EV for error in written.expected_errors)
        lines.append(f"expected mean errors: on site {on_site:.3f} mE_h, between atoms {between:.4f} mE_h")
    elif not solved:
        lines.append("expected errors: unknown, the model was not calibrated")
    if strange is not None and not strange.any():
        lines.append("no atom is unlike those of the training data")
    elif strange is not None:
        share = f"{int(strange.sum())} of {len(strange)} atoms ({100 * strange.mean():.1f} %)"
        lines.append(
            f"WARNING: {share} are in environments unlike those of the training data; expect larger errors there "
            "(out_of_distribution in the file)"
        )
    return lines
