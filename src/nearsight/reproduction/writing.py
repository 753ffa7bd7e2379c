"""What a reproduction leaves for people: JSON, a markdown table beside the paper's, a figure, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from nearsight.atomic_files import explained, write_text_atomically, written_atomically
from nearsight.report.html import Block, Paragraph, Picture, Section, Table, document
from nearsight.reproduction.measures import title_of, written
from nearsight.reproduction.networks import PAPER
from nearsight.reproduction.result import Result
from nearsight.reproduction.workspace import write_numbers

FIGURE = "figure.png"


def write_result(folder: Path, result: Result, figure: Figure | None) -> None:
    """Write a result into its folder: `result.json`, `table.md`, `figure.png`, `page.html`."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if figure is not None:
        write_figure(folder, figure)
    write_text_atomically(folder / "table.md", markdown(result, (folder / FIGURE).is_file()))
    write_text_atomically(folder / "page.html", document(result.title, result.question, _blocks(folder, result)))
    write_numbers(folder / "result.json", result.tree())


def write_figure(folder: Path, figure: Figure) -> None:
    """Write the figure of a result into its folder, which is made."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with written_atomically(folder / FIGURE) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def markdown(result: Result, figure: bool = False, level: int = 1) -> str:
    """Return a result as a page of markdown."""
    lines = [f"{'#' * level} {result.title}", "", result.question, "", *table_lines(result)]
    if figure:
        lines += ["", f"![{result.title}]({FIGURE})", "", f"*{result.caption}*"]
    for title, texts in sections(result):
        lines += ["", f"**{title}**", "", *(f"- {text}" for text in texts)]
    return "\n".join(lines) + "\n"


def table_lines(result: Result) -> list[str]:
    """Return a result's table in markdown, with columns as wide as their longest cell."""
    head, rows = table(result)
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    cells = [head, ["-" * max(3, width) for width in widths], *rows]
    return ["| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)) + " |" for row in cells]


def table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a result's table: the paper's rows first, without measures that nobody has."""
    measures = [key for key in result.measures if any(line.values.get(key) is not None for line in result.lines)]
    head = [*result.columns, "", *(title_of(key) for key in measures)]
    order = sorted(result.lines, key=lambda line: (line.row, line.who != PAPER))
    rows, before = [], None
    for line in order:
        labels = line.labels if line.labels != before else ("",) * len(line.labels)
        rows.append([*labels, line.who, *(written(key, line.values.get(key)) for key in measures)])
        before = line.labels
    return head, rows


def sections(result: Result) -> list[tuple[str, Sequence[str]]]:
    """Return the texts below a table: findings, differences, what is missing, conditions."""
    conditions = [f"{key}: {value}" for key, value in result.conditions.items()]
    found: list[tuple[str, Sequence[str]]] = [
        ("What is seen", result.findings),
        ("What differs from the paper", result.differs),
        ("Left out", result.missing),
        ("Conditions", conditions),
    ]
    return [(title, texts) for title, texts in found if texts]


def _blocks(folder: Path, result: Result) -> list[Block]:
    head, rows = table(result)
    blocks: list[Block] = [Section("Table", (Table(head, rows),))] if rows else []
    if (folder / FIGURE).is_file():
        blocks.append(Section("Figure", (Picture((folder / FIGURE).read_bytes(), result.title, result.caption),)))
    blocks += [Section(title, tuple(Paragraph(text) for text in texts)) for title, texts in sections(result)]
    return blocks


def write_overview(folder: Path, results: Sequence[Result]) -> Path:
    """Write one markdown page and one HTML page of several results; return the latter."""
    text = "\n".join(
        markdown(result, (folder / result.name / FIGURE).is_file(), 2).replace(
            f"]({FIGURE})", f"]({result.name}/{FIGURE})"
        )
        for result in results
    )
    write_text_atomically(folder / "reproduction.md", f"# Reproduction\n\n{text}")
    blocks: list[Block] = [Section(result.title, tuple(_blocks(folder / result.name, result))) for result in results]
    page = folder / "reproduction.html"
    write_text_atomically(page, document("Reproduction", "The paper's tables and figures, and what was found", blocks))
    return page
