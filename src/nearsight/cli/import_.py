"""`nearsight import`: a foreign calculation into a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.progress import BarColumn, DownloadColumn, TaskID, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from nearsight.api.files import LEVELS, import_calculation, steps, write
from nearsight.cli.output import check_outputs
from nearsight.cli.printing import Terminal, Words, show
from nearsight.cli.process import tune_process
from nearsight.errors import InputError
from nearsight.formats.basis_choice import GUESSED
from nearsight.formats.options import BasisChoice
from nearsight.operators.calculation import Calculation
from nearsight.operators.store_writer import Precision
from nearsight.operators.symmetry import hermiticity_error
from nearsight.output_path import STORE
from nearsight.progress import Event, Progress

_LONG = 20_000_000
"""Bytes. Files above this show a progress bar."""


def import_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder or file of a CP2K, ABACUS, SIESTA, FHI-aims or PySCF run, of DeepH, dftio, .npz, .db …"
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The store to write (.h5).")],
    basis: Annotated[
        str | None,
        typer.Option(help="Basis, such as SZV-MOLOPT-SR-GTH, or one per element: Hf=DZVP-…,O=…; or shells: Si=2s2p1d"),
    ] = None,
    basis_file: Annotated[
        list[Path] | None,
        typer.Option(help="CP2K basis file (BASIS_MOLOPT) that holds the basis; again for each further file."),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(help="Cell in Å instead of the file's: '16.5', '10 10 20', nine numbers (rows), or 'none'."),
    ] = None,
    structure: Annotated[
        Path | None, typer.Option(help="Structure file, where the source has none or several.")
    ] = None,
    output_file: Annotated[
        Path | None, typer.Option(help="CP2K's output, where the source has several, or it is elsewhere.")
    ] = None,
    input_file: Annotated[
        Path | None, typer.Option("--input", help="CP2K's input, where the source has several, or it is elsewhere.")
    ] = None,
    overlap: Annotated[
        Path | None, typer.Option(help="The file of S, where CP2K was told another name for it.")
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(help="Step of a CP2K run whose atoms move: a number, 'last', or 'all' (NAME_<step>.h5 for each)."),
    ] = None,
    row: Annotated[int | None, typer.Option(help="Which calculation of a database of several, from 0.")] = None,
    h0: Annotated[
        Path | None,
        typer.Option(
            help="Kohn-Sham matrix of superposed atomic densities (H₀) of the same structure: .csr, .npy, "
            ".npz with H0_triu, or a run."
        ),
    ] = None,
    initial: Annotated[Path | None, typer.Option("--initial", hidden=True)] = None,
    precision: Annotated[str, typer.Option(help="Of the stored matrices: float64 or float32.")] = "float64",
    drop_below: Annotated[
        float, typer.Option(help="Leave out elements smaller than this (E_h in H, 1 in S); smaller files.")
    ] = 0.0,
) -> None:
    """Read H, S and structure from a DFT code's files and write them into one store (.h5).

    Example: nearsight import runs/hfo2 -o hfo2.h5
    """
    tune_process()
    _check_target(output, precision)
    files = {"structure": structure, "output_file": output_file, "input_file": input_file}
    read = [source, *(basis_file or []), overlap, h0, initial, *files.values()]
    targets = _targets(source, output, step, files)
    for _, target in targets:
        check_outputs([(target, STORE)], read)
    for one, target in targets:
        with _reporting() as progress:
            calculation = import_calculation(
                source,
                h0=h0 or initial,
                basis=_basis(basis),
                basis_file=basis_file,
                cell=cell or None,
                overlap=overlap,
                step=one,
                row=row,
                drop_below=drop_below,
                progress=progress,
                **files,
            )
        write(target, calculation, precision=cast(Precision, precision))
        show(Terminal(), _summary(calculation, target))


def _targets(
    source: Path, output: Path, step: str | None, files: dict[str, Path | None]
) -> list[tuple[str | None, Path]]:
    """The steps to read and the files to write: one, or one for each step."""
    if step != "all":
        return [(step, output)]
    return [(str(one), output.with_name(f"{output.stem}_{one}{output.suffix}")) for one in steps(source, **files)]


def _check_target(output: Path, precision: str) -> None:
    """What would fail only after a long read."""
    if precision not in ("float32", "float64"):
        raise InputError(f"expected --precision float32 or float64, got {precision!r}")
    if output.is_dir():
        raise InputError(f"expected a file name for --output, got the folder {output}; such as {output / 'name.h5'}")
    folder = output.resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"expected a folder that can be written for --output, got {folder}")


def _basis(text: str | None) -> BasisChoice | None:
    """One name, or `Hf=NAME,O=NAME`."""
    if text is None or "=" not in text:
        return text
    pairs = [part.split("=", 1) for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError(f"expected --basis NAME or Hf=NAME,O=NAME, got {text!r}")
    return {symbol.strip(): name.strip() for symbol, name in pairs}


@contextmanager
def _reporting() -> Iterator[Progress]:
    """A callback that draws a bar for every long file."""
    columns = (Words("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Terminal(stderr=True), transient=True) as bars:
        tasks: list[TaskID] = []

        def report(event: Event) -> None:
            if event.message:
                tasks.append(bars.add_task(event.message, total=event.total, visible=(event.total or 0) >= _LONG))
            elif event.done is not None and tasks:
                bars.update(tasks[-1], completed=event.done)

        yield report


def _summary(calculation: Calculation, output: Path) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in _rows(calculation, output):
        table.add_row(name, text)
    return table


def _rows(calculation: Calculation, output: Path) -> Iterator[tuple[str, str | Text]]:
    structure, basis, said = calculation.structure, calculation.basis, calculation.provenance
    found = " ".join(part for part in (said.get("encoding"), said.get("entries")) if part)
    yield "source", said.get("format", "") + (f" ({found})" if found else "")
    yield (
        "structure",
        f"{structure.formula}, {len(structure)} atoms, "
        + (f"{structure.volume:.1f} Å³" if structure.pbc.any() else "isolated"),
    )
    guess = f", {GUESSED}" if GUESSED in said.get("basis", "") else ""
    yield "basis", f"{basis.name} ({basis.restricted(structure.elements).describe()}){guess}"
    if calculation.charge:
        yield "charge", f"{calculation.charge:+g}"
    for key in ("step", "cell", "positions"):
        if key in said:
            yield key, said[key]
    yield "orbitals", f"{int(basis.offsets(structure.numbers)[-1])}"
    matrices = (
        ("H", calculation.hamiltonian, "eV"),
        ("H of spin up", calculation.hamiltonian_up, "eV"),
        ("H of spin down", calculation.hamiltonian_down, "eV"),
        ("S", calculation.overlap, ""),
        ("H₀", calculation.h0, "eV"),
    )
    for name, operator, unit in matrices:
        if operator is None:
            if name == "S" or (name == "H" and not calculation.spin_polarised):
                yield name, "none"
            continue
        nonzero = int((operator.values != 0).sum())
        yield (
            name,
            (
                f"{nonzero:,} nonzeros in {operator.n_pairs:,} blocks, |{name[:2].strip()} − {name[:2].strip()}†| ≤ "
                f"{hermiticity_error(operator):.1e} {unit}".rstrip()
            ),
        )
    if calculation.energy is not None:
        yield "energy", f"{calculation.energy:.6f} eV"
    if calculation.fermi is not None:
        yield "Fermi level", f"{calculation.fermi:.4f} eV"
    if calculation.eigenvalues is not None:
        yield "eigenvalues", f"{len(calculation.eigenvalues)} printed by the code"
    if said.get(LEVELS, "").startswith("NOT"):
        yield "warning", Text(f"the levels of H and S are {said[LEVELS]}", style="yellow")
    if said.get("scf", "").startswith("NOT"):
        yield ("warning", Text("the SCF did not converge: these matrices are not the ground state's", style="yellow"))
    yield "written", f"{output} ({output.stat().st_size / 1e6:.1f} MB)"
