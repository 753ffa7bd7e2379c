"""The report: one HTML page that holds its figures and numbers and loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from nearsight import __version__
from nearsight.atomic_files import write_text_atomically
from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.spectrum import Spectrum
from nearsight.report.html import CSS, details, paragraph, prose, section, table
from nearsight.report.sections import (
    glossary,
    key_numbers,
    matrix_section,
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
    """What a report shows; parts that are None or empty are left out.

    Attributes:
        title, subtitle: at the top.
        evaluation: prediction against reference.
        spectrum: of a prediction without reference.
        log: the training.
        facts: name and text: the structure, and where the prediction comes from.
        reference_facts: name and text: where the reference comes from.
        config: the run's configuration, YAML.
        structure: shown in 3D.
        colourings: of its atoms.
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

    Raises:
        InputError: it cannot be written; an older page of the name is left as it was.
    """
    write_text_atomically(path, render(page))


def render(page: Page) -> str:
    """The HTML text."""
    return document(page.title, page.subtitle, _sections(page))


def document(title: str, subtitle: str, sections: Sequence[str]) -> str:
    """A whole page around its sections."""
    body = "\n".join([f"<h1>{prose(title)}</h1>", paragraph(subtitle, "lead"), *sections])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{CSS}</style></head>\n<body><main>\n{body}\n"
        f"<footer>nearsight {__version__}. This page is one file: figures and numbers are inside it.</footer>\n"
        "</main></body></html>\n"
    )


def _sections(page: Page) -> list[str]:
    parts = []
    if page.evaluation is not None:
        parts = [key_numbers(page.evaluation), spectrum_section(page.evaluation), *matrix_section(page.evaluation)]
    elif page.spectrum is not None:
        parts = [single_spectrum_section(page.spectrum)]
    if page.log is not None:
        parts.append(training_section(page.log))
    if page.structure is not None:
        parts.append(structure_section(page.structure, page.colourings))
    for title, facts in (("Structure and prediction", page.facts), ("Reference", page.reference_facts)):
        if facts:
            parts.append(section(title, table((), facts, "facts")))
    if page.config:
        parts.append(section("Configuration of the training", settings(page.config)))
    if page.evaluation is not None or page.spectrum is not None or page.log is not None:
        parts.append(glossary())
    return parts


def settings(config: str, summary: str = "Show all settings") -> str:
    """A configuration that opens with a click."""
    return details(summary, f"<pre>{escape(config)}</pre>")
