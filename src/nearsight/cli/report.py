"""`nearsight report`: one HTML page with figures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nearsight.electronic.evaluation import Evaluation, evaluate, spectrum_of
from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import FormatError
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation
from nearsight.report.page import Page, write_page
from nearsight.report.training_log import TrainingLog, read_training_log

EXAMPLE = """One HTML page with figures and numbers; it needs no network.

Example: nearsight report runs/hfo2

Example: nearsight report prediction.h5 --reference data/aHfO2_372_D.h5 --run runs/hfo2 -o page.html
"""


def report_command(
    source: Annotated[Path, typer.Argument(help="a run's folder, or a file with a predicted H")],
    reference: Annotated[Path | None, typer.Option("--reference", help="file with the reference H")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the run that made the prediction")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the page; report.html beside the source by "
                                                                       "default")] = None,
) -> None:
    """Write the page."""
    path = write_report(source, reference, run, output)
    Console().print(str(path), highlight=False, soft_wrap=True)


def write_report(
    source: Path, reference: Path | None, run: Path | None, output: Path | None,
    evaluation: Evaluation | None = None,
) -> Path:
    """The page of a run, of a prediction, or of both; returns where it is.

    Raises:
        FormatError: neither a run's folder nor a file.
    """
    if source.is_dir():
        run, prediction = source, None
        target = output or source / "report.html"
    elif source.exists():
        prediction = read_any(source)
        target = output or source.with_suffix(".html")
    else:
        raise FormatError(source, "expected a run's folder or a file with a predicted H, got nothing of that name")
    log, config = _training(run)
    spectrum = None
    if prediction is not None and evaluation is None and reference is not None:
        evaluation = evaluate(prediction, read_any(reference))
    elif prediction is not None and evaluation is None:
        spectrum = _spectrum(prediction)
    page = Page(_title(prediction, run), _subtitle(evaluation, reference), evaluation, spectrum, log,
                _facts(prediction, reference), config)
    write_page(target, page)
    return target


def _training(run: Path | None) -> tuple[TrainingLog | None, str | None]:
    if run is None:
        return None, None
    config = run / "config.yaml"
    return read_training_log(run / "log.jsonl"), config.read_text() if config.exists() else None


def _spectrum(prediction: Calculation) -> Spectrum | None:
    return spectrum_of(prediction) if prediction.overlap is not None else None


def _title(prediction: Calculation | None, run: Path | None) -> str:
    if prediction is not None:
        return f"Predicted Hamiltonian of {prediction.structure.formula}"
    return f"Training run {run.name if run else ''}"


def _subtitle(evaluation: Evaluation | None, reference: Path | None) -> str:
    if evaluation is None:
        return "Written by nearsight."
    return f"Compared with {reference.name if reference else 'the reference'}."


def _facts(prediction: Calculation | None, reference: Path | None) -> list[tuple[str, str]]:
    if prediction is None:
        return []
    facts = [("structure", prediction.structure.formula), ("basis", prediction.basis.describe())]
    if prediction.cutoff is not None:
        facts.append(("cutoff", f"{prediction.cutoff:g} Å"))
    facts += [(key.replace("_", " "), text) for key, text in prediction.provenance.items()]
    return facts + ([("reference", reference.name)] if reference else [])
