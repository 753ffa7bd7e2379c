"""The page of several predictions of the same structure, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from nearsight.atomic_files import write_text_atomically
from nearsight.electronic.density_of_states import energy_grid, level_density
from nearsight.electronic.matrix_errors import ElementPairErrors
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import GAP_WINDOW
from nearsight.elements import symbol_of
from nearsight.report.compared_prediction import ComparedPrediction, key_rows
from nearsight.report.comparison_figures import errors_figure, levels_figure, states_figure, trainings_figure
from nearsight.report.figures import parity_figure
from nearsight.report.html import Block, Details, Drawing, Heading, Paragraph, Section, Table, document, number
from nearsight.report.page import settings
from nearsight.report.sections import glossary, training_rows
from nearsight.units import ev_to_millihartree

WIDTH = 0.15
"""eV, of the Gaussians in a density of states."""


@dataclass(frozen=True)
class Comparison:
    """What the page of several predictions shows.

    Attributes
    ----------
    title, subtitle : str
        The lines at the top.
    predictions : sequence of ComparedPrediction
        At least one prediction; all are compared with one reference.
    facts : sequence of (str, str)
        Names and texts: the structure.
    reference_facts : sequence of (str, str)
        Names and texts: where the reference comes from.
    """

    title: str
    subtitle: str
    predictions: Sequence[ComparedPrediction]
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    reference_facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the page as one HTML file.

    Parameters
    ----------
    path : Path
        The file; it is replaced whole or stays as it was.
    comparison : Comparison
        What it shows.

    Raises
    ------
    InputError
        Where the file cannot be written.
    """
    write_text_atomically(path, render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """Return the page as HTML text."""
    predictions = comparison.predictions
    parts: list[Block] = [_numbers(predictions), *_levels(predictions), _matrix(predictions), *_trainings(predictions)]
    for title, facts in (("Structure", comparison.facts), ("Reference", comparison.reference_facts)):
        if facts:
            parts.append(Section(title, (Table((), facts, "facts"),)))
    parts += [
        Section(
            f"Prediction: {c.name}",
            (
                Table((), c.facts, "facts"),
                *([settings(c.config, "Show all settings of the training")] if c.config else []),
            ),
        )
        for c in predictions
        if c.facts or c.config
    ]
    return document(comparison.title, comparison.subtitle, [*parts, glossary()])


def _numbers(predictions: Sequence[ComparedPrediction]) -> Section:
    return Section(
        "In numbers",
        (
            Table(("", *(c.name for c in predictions), "reference"), key_rows(predictions)),
            Paragraph("Every number is an error, except the gap: smaller is better.", "note"),
        ),
    )


def _levels(predictions: Sequence[ComparedPrediction]) -> list[Section]:
    reference = next((c.evaluation.reference for c in predictions if c.evaluation.reference is not None), None)
    solved = [(c, c.evaluation.prediction) for c in predictions if c.evaluation.prediction is not None]
    if reference is None or len(solved) < len(predictions):
        return []
    return [
        Section(
            "Eigenvalues",
            (
                Drawing(
                    levels_figure(predictions, reference),
                    "Eigenvalues of the predictions and of the reference",
                    f"Left: the levels up to {GAP_WINDOW:g} eV from the gap (shaded), the reference in pale blue "
                    "beneath. Right: prediction minus reference of every level; points off the zero line together are "
                    "a common shift, their spread is the scatter.",
                ),
                Drawing(
                    _states([(c.name, s) for c, s in solved], reference),
                    "Densities of states",
                    f"Every level counts as a Gaussian of {WIDTH:g} eV that holds two electrons. Left: all "
                    "energies of the reference. Right: around its gap (shaded); a peak in there is a state that the "
                    "reference does not have.",
                ),
                _level_table(solved, reference),
            ),
        )
    ]


def _states(solved: Sequence[tuple[str, Spectrum]], reference: Spectrum) -> Figure:
    energies = energy_grid(reference, WIDTH)
    densities = [(name, level_density(s, energies, WIDTH)) for name, s in solved]
    return states_figure(energies, level_density(reference, energies, WIDTH), densities, reference)


def _level_table(solved: Sequence[tuple[ComparedPrediction, Spectrum]], reference: Spectrum) -> Table:
    spectra = [*(s for _, s in solved), reference]
    rows = [
        (name, *(number(getattr(s, key), ".4f", "eV") for s in spectra))
        for name, key in (("gap", "gap"), ("HOMO", "homo"), ("LUMO", "lumo"), ("Fermi level (mid-gap)", "fermi"))
    ]
    return Table(("", *(c.name for c, _ in solved), "reference"), rows)


def _matrix(predictions: Sequence[ComparedPrediction]) -> Section:
    drawings: list[Block] = []
    for c in predictions:
        drawings += [
            Heading(c.name),
            Drawing(
                parity_figure(c.evaluation.parity),
                f"Predicted against reference matrix elements of {c.name}",
                "Every point is one matrix element: the reference's value to the right, the predicted one upwards. A "
                "perfect prediction lies on the dashed line; the distance from it is the error.",
            ),
        ]
    return Section(
        "Matrix elements",
        (
            Drawing(
                errors_figure(predictions),
                "Errors against distance",
                "Mean absolute errors of the blocks between two atoms against their distance, beside the mean size of "
                "the reference's elements (dark), in bins of 0.5 Å; squares at zero are the on-site blocks. Where a "
                "line reaches the dark one, the prediction is no better than zero.",
            ),
            _pair_table(predictions),
            Details("Show every matrix element", drawings),
        ),
    )


def _one_of_each_run(predictions: Sequence[ComparedPrediction]) -> list[ComparedPrediction]:
    """The first of several predictions of one run, such as a plain and a self-consistent one."""
    found: list[ComparedPrediction] = []
    for c in predictions:
        same = (
            other.log is not None
            and c.log is not None
            and other.config == c.config
            and list(other.log.seconds) == list(c.log.seconds)
            for other in found
        )
        if not any(same):
            found.append(c)
    return found


def _pair_table(predictions: Sequence[ComparedPrediction]) -> Table:
    """Mean errors by elements; all predictions have the blocks of one structure."""
    rows = [
        (
            _pair_name(pairs[0]),
            *(number(ev_to_millihartree(p.errors.mean_absolute), ".4f") for p in pairs),
            number(ev_to_millihartree(pairs[0].errors.magnitude), ".3f"),
        )
        for pairs in zip(*(c.evaluation.matrix.element_pairs for c in predictions))
    ]
    return Table(("mean errors, mE_h", *(c.name for c in predictions), "mean |H|"), rows)


def _pair_name(pair: ElementPairErrors) -> str:
    a, b = (symbol_of(z) for z in pair.elements)
    return f"{a}, on site" if pair.on_site else f"{a} → {b}"


def _trainings(predictions: Sequence[ComparedPrediction]) -> list[Section]:
    predictions = _one_of_each_run(predictions)
    trained = [(c, c.log) for c in predictions if c.log is not None]
    if not trained:
        return []
    caption = (
        "The loss is what training minimises. Each network has its own, in its own units; so it is shown as a "
        "multiple of its value in the first epoch, and only the courses can be compared. Solid: parts that were "
        "trained on; dashed, where there are such: parts held out for validation."
    )
    if any(log.measured for _, log in trained):
        caption += " Right: mean absolute error of the matrix elements between atoms in the parts held out."
    names = list(dict.fromkeys(name for _, log in trained for name, _ in training_rows(log)))
    texts = [dict(training_rows(log)) for _, log in trained]
    rows = [(name, *(text.get(name, "–") for text in texts)) for name in names]
    return [
        Section(
            "Training",
            (
                Drawing(trainings_figure(predictions), "Training curves", caption),
                Table(("", *(c.name for c, _ in trained)), rows),
            ),
        )
    ]
