"""One HTML page of several predictions of the same structure, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from nearsight.atomic_files import write_text_atomically
from nearsight.electronic.broadening import energy_grid, level_density
from nearsight.electronic.matrix_errors import ElementPairErrors
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import GAP_WINDOW
from nearsight.elements import symbol_of
from nearsight.report.candidate import Candidate, key_rows
from nearsight.report.comparison_figures import errors_figure, levels_figure, states_figure, trainings_figure
from nearsight.report.figures import parity_figure
from nearsight.report.html import details, figure, number, paragraph, prose, section, table
from nearsight.report.page import document, settings
from nearsight.report.sections import glossary, training_rows
from nearsight.units import ev_to_millihartree

WIDTH = 0.15
"""eV, of the Gaussians in a density of states."""


@dataclass(frozen=True)
class Comparison:
    """What the page shows.

    Attributes:
        title, subtitle: at the top.
        candidates: at least one, all compared with one reference.
        facts: name and text: the structure.
        reference_facts: name and text: where the reference comes from.
    """

    title: str
    subtitle: str
    candidates: Sequence[Candidate]
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    reference_facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the page under a temporary name, then rename it.

    Raises:
        FormatError: it cannot be written; an older page of the name is left as it was.
    """
    write_text_atomically(path, render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """The HTML text."""
    candidates = comparison.candidates
    parts = [_numbers(candidates), *_levels(candidates), _matrix(candidates), *_trainings(candidates)]
    for title, facts in (("Structure", comparison.facts), ("Reference", comparison.reference_facts)):
        if facts:
            parts.append(section(title, table((), facts, "facts")))
    parts += [
        section(
            f"Prediction: {c.name}",
            table((), c.facts, "facts"),
            settings(c.config, "Show all settings of the training") if c.config else "",
        )
        for c in candidates
        if c.facts or c.config
    ]
    return document(comparison.title, comparison.subtitle, [*parts, glossary()])


def _numbers(candidates: Sequence[Candidate]) -> str:
    return section(
        "In numbers",
        table(("", *(c.name for c in candidates), "reference"), key_rows(candidates)),
        paragraph("Every number is an error, except the gap: smaller is better.", "note"),
    )


def _levels(candidates: Sequence[Candidate]) -> list[str]:
    reference = next((c.evaluation.reference for c in candidates if c.evaluation.reference is not None), None)
    solved = [(c, c.evaluation.prediction) for c in candidates if c.evaluation.prediction is not None]
    if reference is None or len(solved) < len(candidates):
        return []
    return [
        section(
            "Eigenvalues",
            figure(
                levels_figure(candidates, reference),
                "Eigenvalues of the predictions and of the reference",
                f"Left: the levels up to {GAP_WINDOW:g} eV from the gap (shaded), the reference in pale blue beneath. "
                "Right: prediction minus reference of every level; points off the zero line together are a common "
                "shift, their spread is the scatter.",
            ),
            figure(
                _states([(c.name, s) for c, s in solved], reference),
                "Densities of states",
                f"Every level counts as a Gaussian of {WIDTH:g} eV that holds two electrons. Left: all "
                "energies of the reference. Right: around its gap (shaded); a peak in there is a state that the "
                "reference does not have.",
            ),
            _level_table(solved, reference),
        )
    ]


def _states(solved: Sequence[tuple[str, Spectrum]], reference: Spectrum) -> Figure:
    energies = energy_grid(reference, WIDTH)
    densities = [(name, level_density(s, energies, WIDTH)) for name, s in solved]
    return states_figure(energies, level_density(reference, energies, WIDTH), densities, reference)


def _level_table(solved: Sequence[tuple[Candidate, Spectrum]], reference: Spectrum) -> str:
    spectra = [*(s for _, s in solved), reference]
    rows = [
        (name, *(number(getattr(s, key), ".4f", "eV") for s in spectra))
        for name, key in (("gap", "gap"), ("HOMO", "homo"), ("LUMO", "lumo"), ("Fermi level (mid-gap)", "fermi"))
    ]
    return table(("", *(c.name for c, _ in solved), "reference"), rows)


def _matrix(candidates: Sequence[Candidate]) -> str:
    drawings = [
        f"<h3>{prose(c.name)}</h3>"
        + figure(
            parity_figure(c.evaluation.parity),
            f"Predicted against reference matrix elements of {c.name}",
            "Every point is one matrix element: the reference's value to the right, the predicted one upwards. A "
            "perfect prediction lies on the dashed line; the distance from it is the error.",
        )
        for c in candidates
    ]
    return section(
        "Matrix elements",
        figure(
            errors_figure(candidates),
            "Errors against distance",
            "Mean absolute errors of the blocks between two atoms against their distance, beside the mean size of "
            "the reference's elements (dark), in bins of 0.5 Å; squares at zero are the on-site blocks. Where a "
            "line reaches the dark one, the prediction is no better than zero.",
        ),
        _pair_table(candidates),
        details("Show every matrix element", "".join(drawings)),
    )


def _pair_table(candidates: Sequence[Candidate]) -> str:
    """Mean errors by elements; all candidates have the blocks of one structure."""
    rows = [
        (
            _pair_name(pairs[0]),
            *(number(ev_to_millihartree(p.errors.mean_absolute), ".4f") for p in pairs),
            number(ev_to_millihartree(pairs[0].errors.magnitude), ".3f"),
        )
        for pairs in zip(*(c.evaluation.matrix.element_pairs for c in candidates))
    ]
    return table(("mean errors, mE_h", *(c.name for c in candidates), "mean |H|"), rows)


def _pair_name(pair: ElementPairErrors) -> str:
    a, b = (symbol_of(z) for z in pair.elements)
    return f"{a}, on site" if pair.on_site else f"{a} → {b}"


def _trainings(candidates: Sequence[Candidate]) -> list[str]:
    trained = [(c, c.log) for c in candidates if c.log is not None]
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
        section(
            "Training",
            figure(trainings_figure(candidates), "Training curves", caption),
            table(("", *(c.name for c, _ in trained)), rows),
        )
    ]
