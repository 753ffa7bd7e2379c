"""`nearsight report`: one HTML page with figures and numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from nearsight.electronic.evaluation import Evaluation, evaluate, spectrum_of
from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import FormatError
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation
from nearsight.report.atom_colours import ALL_STATES, colourings
from nearsight.report.page import Page, write_page
from nearsight.report.structure_view import Colouring
from nearsight.report.training_log import CONFIG_FILE, LOG_FILE, TrainingLog, read_training_log
from nearsight.structures.structure import Structure

EXAMPLE = """One HTML page with figures and numbers; it needs no network.

Example: nearsight report runs/hfo2

Example: nearsight report prediction.h5 --reference data/aHfO2_372_D.h5 --run runs/hfo2 -o page.html
"""


def report_command(
    source: Annotated[Path, typer.Argument(help="a run's folder, or a file with a predicted H")],
    reference: Annotated[Path | None, typer.Option("--reference", help="file with the reference H")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the run that made the prediction")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the page; report.html beside the source by default")
    ] = None,
) -> None:
    """Write the page."""
    path = write_report(source, reference, run, output)
    Console().print(str(path), highlight=False, soft_wrap=True)


def write_report(
    source: Path, reference: Path | None, run: Path | None, output: Path | None, evaluation: Evaluation | None = None
) -> Path:
    """The page of a run, of a prediction, or of both; returns where it is.

    Raises:
        FormatError: neither a run's folder nor a file, or a folder with a reference.
    """
    if source.is_dir():
        if reference is not None:
            raise FormatError(
                source,
                "expected a file with a predicted H to compare with the reference, got a folder; "
                "make one with `nearsight predict`, and name the run with --run",
            )
        run, prediction = source, None
        target = output or source / "report.html"
    elif source.exists():
        prediction = read_any(source)
        target = output or source.with_suffix(".html")
    else:
        raise FormatError(source, "expected a run's folder or a file with a predicted H, got nothing of that name")
    log, config = run_record(run, required=prediction is None)
    exact = None if prediction is None or reference is None else read_any(reference)
    spectrum = None
    if prediction is not None and exact is not None and evaluation is None:
        evaluation = evaluate(prediction, exact)
    elif prediction is not None and evaluation is None:
        spectrum = _spectrum(prediction)
    structure = None if prediction is None else prediction.structure
    page = Page(
        _title(prediction, run),
        _subtitle(prediction, evaluation, reference),
        evaluation,
        spectrum,
        log,
        prediction_facts(prediction),
        reference_facts(exact, reference),
        config,
        structure,
        _colourings(prediction, exact),
    )
    write_page(target, page)
    return target


def run_record(run: Path | None, required: bool) -> tuple[TrainingLog | None, str | None]:
    """Log and configuration; a run that was stopped in its first epoch has no log yet."""
    if run is None:
        return None, None
    log, config = run / LOG_FILE, run / CONFIG_FILE
    return (
        read_training_log(log) if required or log.exists() else None,
        config.read_text() if config.exists() else None,
    )


def _colourings(prediction: Calculation | None, exact: Calculation | None) -> list[Colouring]:
    if prediction is None:
        return []
    if prediction.overlap is None and exact is not None:
        prediction = replace(prediction, overlap=exact.overlap)
    h = prediction.hamiltonian
    return colourings(prediction, exact, (-4.0, 4.0), h is not None and h.n_orbitals <= ALL_STATES)


def _spectrum(prediction: Calculation) -> Spectrum | None:
    return spectrum_of(prediction) if prediction.overlap is not None else None


def _title(prediction: Calculation | None, run: Path | None) -> str:
    if prediction is not None:
        return f"Predicted Hamiltonian of {prediction.structure.formula}"
    return f"Training run: {run.resolve().name if run else ''}"


def _subtitle(prediction: Calculation | None, evaluation: Evaluation | None, reference: Path | None) -> str:
    if prediction is None:
        return "How the training of a network went."
    if evaluation is not None:
        return (
            f"A network's Hamiltonian, compared element by element and level by level with the reference "
            f"{reference.name if reference else ''}."
        )
    without = "" if prediction.overlap is not None else ", nor an overlap matrix, so there are no eigenvalues either"
    return f"A network's Hamiltonian. No reference was given, so no errors are known{without}."


def prediction_facts(prediction: Calculation | None) -> list[tuple[str, str]]:
    """Name and text: the structure, and where its prediction comes from."""
    if prediction is None:
        return []
    facts = [
        ("structure", f"{prediction.structure.formula}, {len(prediction.structure):,} atoms"),
        ("cell", _cell(prediction.structure)),
        ("basis", f"{prediction.basis.name}: {prediction.basis.describe()}"),
    ]
    if prediction.cutoff is not None:
        facts.append(("cutoff", f"{prediction.cutoff:g} Å"))
    return facts + _provenance(prediction)


def reference_facts(exact: Calculation | None, path: Path | None) -> list[tuple[str, str]]:
    """Name and text: where the reference comes from."""
    return [] if exact is None or path is None else [("file", path.name), *_provenance(exact)]


def _provenance(calculation: Calculation) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), text) for key, text in calculation.provenance.items()]


def _cell(structure: Structure) -> str:
    if not structure.pbc.any():
        return "none: an isolated structure"
    lengths = np.linalg.norm(structure.cell[structure.pbc], axis=1)
    return " × ".join(f"{length:.3f}" for length in lengths) + " Å, periodic"
