"""The report: one HTML page that holds its figures and numbers and loads nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from nearsight.electronic.compare import MatrixErrors, SpectrumErrors, Tally
from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.spectrum import Spectrum
from nearsight.elements import symbol_of
from nearsight.errors import FormatError
from nearsight.report.figures import (
    data_uri,
    distance_figure,
    parity_figure,
    spectrum_figure,
    training_figure,
)
from nearsight.report.training_log import TrainingLog
from nearsight.units import ev_to_millihartree

CSS = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1f2733; background: #f5f6f8;
  margin: 0; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 1.7rem; margin: 0 0 .2em; } h2 { font-size: 1.15rem; margin: 0 0 .6em; }
section { background: #fff; border: 1px solid #e3e7ec; border-radius: 10px; padding: 20px 24px; margin: 18px 0; }
p.lead { color: #5a6472; margin: 0 0 1em; } figure { margin: 0; } img { width: 100%; height: auto; display: block; }
figcaption, .note { color: #5a6472; font-size: .92rem; margin-top: .7em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .94rem; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid #edf0f3; }
th:first-child, td:first-child { text-align: left; } thead th { color: #5a6472; font-weight: 600; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; } .card { flex: 1 1 150px; background: #fff;
  border: 1px solid #e3e7ec; border-radius: 10px; padding: 12px 16px; }
.card b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.card span { color: #5a6472; font-size: .88rem; }
pre { background: #f5f6f8; padding: 12px; overflow-x: auto; border-radius: 8px; font-size: .85rem; }
"""


@dataclass(frozen=True)
class Page:
    """What a report shows; parts that are None are left out.

    Attributes:
        title, subtitle: at the top.
        evaluation: prediction against reference.
        spectrum: of a prediction without reference.
        log: the training.
        facts: name and text, such as where model and data come from.
        config: the run's configuration, YAML.
    """

    title: str
    subtitle: str = ""
    evaluation: Evaluation | None = None
    spectrum: Spectrum | None = None
    log: TrainingLog | None = None
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    config: str | None = None


def write_page(path: Path, page: Page) -> None:
    """Write the page under a temporary name, then rename it.

    Raises:
        FormatError: it cannot be written; an older page of the name is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(render(page), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FormatError(path, f"expected a place for the report, got {error.strerror}") from error


def render(page: Page) -> str:
    """The HTML text."""
    parts = [f"<h1>{escape(page.title)}</h1>", f'<p class="lead">{escape(page.subtitle)}</p>']
    if page.evaluation is not None:
        parts += _evaluation(page.evaluation)
    elif page.spectrum is not None:
        parts += _spectrum_alone(page.spectrum)
    if page.log is not None:
        parts.append(_training(page.log))
    if page.facts:
        rows = [(escape(name), escape(text)) for name, text in page.facts]
        parts.append(_section("Where it comes from", _table(("", ""), rows)))
    if page.config:
        parts.append(_section("Configuration of the training", f"<pre>{escape(page.config)}</pre>"))
    body = "\n".join(parts)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(page.title)}</title>'
            f"<style>{CSS}</style></head>\n<body><main>\n{body}\n</main></body></html>\n")


def _evaluation(evaluation: Evaluation) -> list[str]:
    matrix, spectrum = evaluation.matrix, evaluation.spectrum
    cards = [("ε_n, on site", f"{ev_to_millihartree(matrix.eps_n):.3f} mE_h"),
             ("ε_e, between atoms", f"{ev_to_millihartree(matrix.eps_e):.4f} mE_h"),
             ("ε_tot", f"{1e3 * matrix.eps_tot:.2f} meV")]
    if spectrum is not None:
        cards += [("eigenvalues, relative L1", f"{100 * spectrum.relative_l1:.3f} %"),
                  ("gap, predicted / DFT", f"{spectrum.gap_prediction:.2f} / {spectrum.gap_reference:.2f} eV")]
    parts = ['<div class="cards">' + "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(k)}</span></div>'
                                             for k, v in cards) + "</div>"]
    if spectrum is not None:
        parts.append(_section("Eigenvalue spectrum", _figure(
            data_uri(spectrum_figure(evaluation.prediction, evaluation.reference)),
            "Eigenvalues of H ψ = ε S ψ in ascending order, with the overlap S of the reference for both. Left: all "
            "levels; the dashed box is the gap of the reference. Middle: the levels around it. Right: predicted minus "
            "reference for every level; a band that lies off zero is a common shift, its width is the scatter.")
            + _spectrum_table(spectrum)))
    elif evaluation.missing_overlap:
        parts.append(_section("Eigenvalue spectrum", "<p>Neither file holds an overlap matrix, so there are no "
                                                     "eigenvalues.</p>"))
    parts.append(_section("Matrix elements", _figure(
        data_uri(parity_figure(evaluation.parity)),
        "Predicted against reference matrix elements, on site and between atoms (a random sample where there are "
        "many). A perfect prediction lies on the line.") + _matrix_table(matrix)))
    parts.append(_section("Error against distance", _figure(
        data_uri(distance_figure(matrix)),
        "Mean absolute error of the blocks between two atoms against their distance, beside the mean size of the "
        "matrix elements themselves; the values at zero are the on-site blocks. Where the two curves meet, the "
        "prediction is no better than zero.") + _pair_table(matrix)))
    return parts


def _spectrum_alone(spectrum: Spectrum) -> list[str]:
    rows = [("levels", str(spectrum.n_levels)), ("electrons", str(spectrum.n_electrons)),
            ("HOMO", f"{spectrum.homo:.4f} eV"), ("LUMO", f"{spectrum.lumo:.4f} eV"),
            ("gap", f"{spectrum.gap:.4f} eV"), ("condition number of S", f"{spectrum.overlap_condition:.3g}")]
    return [_section("Eigenvalue spectrum", _figure(
        data_uri(spectrum_figure(spectrum)),
        "Eigenvalues of H ψ = ε S ψ in ascending order: all levels, and those around the gap (dashed box).")
        + _table(("", ""), rows))]


def _training(log: TrainingLog) -> str:
    n = len(log.epoch)
    text = f"{int(log.epoch[-1])} epochs in {log.seconds[-1] / 60:.1f} minutes. " if n else ""
    return _section("Training", _figure(
        data_uri(training_figure(log)),
        text + "Loss of the parts that were trained on and of the part held out, and the errors of the held-out part. "
        "Neither the loss nor the schedule sees the test structure."))


def _spectrum_table(errors: SpectrumErrors) -> str:
    l2, l2_occupied = 100 * errors.relative_l2, 100 * errors.relative_l2_occupied
    mean, mean_occupied = 1e3 * errors.mean_absolute, 1e3 * errors.mean_absolute_occupied
    rows = [
        ("relative L1, all levels", f"{100 * errors.relative_l1:.3f} %"),
        ("relative L1, occupied levels", f"{100 * errors.relative_l1_occupied:.3f} %"),
        ("relative L2, all / occupied", f"{l2:.3f} % / {l2_occupied:.3f} %"),
        ("mean error, all / occupied", f"{mean:.1f} / {mean_occupied:.1f} meV"),
        ("mean error within 3 eV of the gap", f"{1e3 * errors.mean_absolute_near_gap:.1f} meV"),
        ("common shift of the occupied levels", f"{1e3 * errors.mean_occupied:+.1f} meV"),
        ("gap, predicted / reference", f"{errors.gap_prediction:.4f} / {errors.gap_reference:.4f} eV"),
    ]
    return _table(("", ""), rows)


def _matrix_table(matrix: MatrixErrors) -> str:
    rows = [("on site (ε_n)", *_tally(matrix.nodes)), ("between atoms (ε_e)", *_tally(matrix.edges)),
            ("all (ε_tot)", *_tally(matrix.total))]
    note = ""
    if matrix.outside.n_elements:
        note = (f'<p class="note">The reference also holds {matrix.outside.n_blocks} blocks that are not predicted '
                f"(beyond the cutoff): mean |H| {ev_to_millihartree(matrix.outside.magnitude):.4f} mE_h, largest error "
                f"{ev_to_millihartree(matrix.outside.largest):.3f} mE_h.</p>")
    return _table(_TALLY_HEAD, rows) + note


def _pair_table(matrix: MatrixErrors) -> str:
    rows = []
    for pair in matrix.element_pairs:
        a, b = (symbol_of(z) for z in pair.elements)
        rows.append((f"{a}, on site" if pair.on_site else f"{a} – {b}", *_tally(pair.tally)))
    return _table(_TALLY_HEAD, rows)


_TALLY_HEAD = ("", "blocks", "matrix elements", "MAE, mE_h", "MAE, meV", "largest, meV", "mean |H|, mE_h")


def _tally(tally: Tally) -> tuple[str, ...]:
    return (f"{tally.n_blocks:,}", f"{tally.n_elements:,}", f"{ev_to_millihartree(tally.error):.4f}",
            f"{1e3 * tally.error:.2f}", f"{1e3 * tally.largest:.0f}", f"{ev_to_millihartree(tally.magnitude):.3f}")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def _figure(uri: str, caption: str) -> str:
    return f'<figure><img src="{uri}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>" if any(head) else (
        f"<table><tbody>{body}</tbody></table>")
