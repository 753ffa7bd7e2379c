"""The page of one prediction or training run: its figures and numbers, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nearsight.atomic_files import write_text_atomically
from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.spectrum import Spectrum
from nearsight.operators.calculation import Calculation
from nearsight.report.html import Block, Details, Preformatted, Section, Table, document
from nearsight.report.sections import (
    glossary,
    key_numbers,
    matrix_sections,
    single_spectrum_section,
    spectrum_section,
    training_section,
)
from nearsight.report.structure_view import Colouring, structure_section
from nearsight.report.training_log import TrainingLog
from nearsight.structures.structure import Structure

Facts = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """What the page of a prediction or a training run shows; what is None or empty is not shown.

    Attributes
    ----------
    title, subtitle : str
        The lines at the top.
    evaluation : Evaluation or None
        The prediction compared with the reference.
    spectrum : Spectrum or None
        The levels of a prediction without reference.
    log : TrainingLog or None
        The record of the training.
    facts : sequence of (str, str)
        Names and texts: the structure, and where the prediction comes from.
    reference_facts : sequence of (str, str)
        Names and texts: where the reference comes from.
    config : str or None
        The configuration of the run, YAML.
    structure : Structure or None
        The structure that is shown in 3D.
    colourings : sequence of Colouring
        What the atoms can be coloured by.
    """

    title: str
    subtitle: str = ""
    evaluation: Evaluation | None = None
    spectrum: Spectrum | None = None
    log: TrainingLog | None = None
    facts: Facts = field(default_factory=tuple)
    reference_facts: Facts = field(default_factory=tuple)
    config: str | None = None
    structure: Structure | None = None
    colourings: Sequence[Colouring] = ()


def write_page(path: Path, page: Page) -> None:
    """Write the page as one HTML file.

    Parameters
    ----------
    path : Path
        The file; it is replaced whole or stays as it was.
    page : Page
        What it shows.

    Raises
    ------
    InputError
        Where the file cannot be written.
    """
    write_text_atomically(path, render(page))


def render(page: Page) -> str:
    """Return the page as HTML text."""
    return document(page.title, page.subtitle, _sections(page))


def _sections(page: Page) -> list[Block]:
    parts: list[Block] = []
    if page.evaluation is not None:
        parts = [key_numbers(page.evaluation), spectrum_section(page.evaluation), *matrix_sections(page.evaluation)]
    elif page.spectrum is not None:
        parts = [single_spectrum_section(page.spectrum)]
    if page.log is not None:
        parts.append(training_section(page.log))
    if page.structure is not None:
        parts.append(structure_section(page.structure, page.colourings))
    for title, facts in (("Structure and prediction", page.facts), ("Reference", page.reference_facts)):
        if facts:
            parts.append(Section(title, (Table((), facts, "facts"),)))
    if page.config:
        parts.append(Section("Configuration of the training", (settings(page.config),)))
    if page.evaluation is not None or page.spectrum is not None or page.log is not None:
        parts.append(glossary())
    return parts


def settings(config: str, summary: str = "Show all settings") -> Details:
    """Return a configuration (YAML) that opens with a click on the summary."""
    return Details(summary, (Preformatted(config),))


def structure_facts(calculation: Calculation) -> list[tuple[str, str]]:
    """Return formula, number of atoms, cell and basis."""
    structure, basis = calculation.structure, calculation.basis
    return [
        ("structure", f"{structure.formula}, {len(structure):,} atoms"),
        ("cell", _cell(structure)),
        ("basis", f"{basis.name}: {basis.describe()}"),
    ]


def prediction_facts(prediction: Calculation) -> list[tuple[str, str]]:
    """Return the facts of the structure, the cutoff of H, and where the prediction comes from."""
    cutoff = [] if prediction.cutoff is None else [("cutoff", f"{prediction.cutoff:g} Å")]
    return [*structure_facts(prediction), *cutoff, *_provenance(prediction)]


def reference_facts(reference: Calculation, file: str = "") -> list[tuple[str, str]]:
    """Return the name of the reference's file, where there is one, and where it comes from."""
    return [*([("file", file)] if file else []), *_provenance(reference)]


def _provenance(calculation: Calculation) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), text) for key, text in calculation.provenance.items()]


def _cell(structure: Structure) -> str:
    if not structure.pbc.any():
        return "none: an isolated structure"
    lengths = np.linalg.norm(structure.cell[structure.pbc], axis=1)
    return " × ".join(f"{length:.3f}" for length in lengths) + " Å, periodic"
