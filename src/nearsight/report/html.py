"""Pieces of an HTML page: text, tables, figures, sections. Everything that is shown goes through `prose`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure

from nearsight.report.figures import data_uri

PIXELS_PER_INCH = 96
_SUBSCRIPT = re.compile(r"(ε|E)_(n|e|tot|h|pred|ref)\b")


def prose(text: str) -> str:
    """Escaped text; ε_n, ε_tot, mE_h and the like get their subscripts."""
    return _SUBSCRIPT.sub(r"\1<sub>\2</sub>", escape(text))


def number(value: float, form: str, unit: str = "") -> str:
    """A formatted number with its unit; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:{form}}"
    return f"{'−' + text[1:] if text[0] == '-' else text} {unit}".rstrip()


def paragraph(text: str, kind: str = "") -> str:
    """One paragraph; `kind` is its class."""
    return f'<p class="{kind}">{prose(text)}</p>' if kind else f"<p>{prose(text)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table; without `head` where that is empty. The first column is on the left, the others on the right."""
    top = "".join(f"<th>{prose(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{prose(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    start = f"<thead><tr>{top}</tr></thead>\n" if head else ""
    return f'<div class="scroll"><table class="{kind}">{start}<tbody>{body}</tbody></table></div>'


def figure(drawing: Figure, title: str, caption: str) -> str:
    """A drawing inside the page, at most as wide as it was made, with what it shows and how to read it."""
    width = round(drawing.get_figwidth() * PIXELS_PER_INCH)
    return (f'<figure><img src="{data_uri(drawing)}" alt="{escape(title)}" style="max-width:{width}px">'
            f"<figcaption>{prose(caption)}</figcaption></figure>")


def cards(entries: Sequence[tuple[str, str, str]]) -> str:
    """The numbers that matter most: name, value, remark."""
    return '<div class="cards">' + "".join(
        f'<div class="card"><span class="name">{prose(name)}</span><b>{prose(value)}</b>'
        f"<span>{prose(remark)}</span></div>" for name, value, remark in entries) + "</div>"


def details(summary: str, content: str) -> str:
    """Content that opens with a click."""
    return f"<details><summary>{prose(summary)}</summary>{content}</details>"


def section(title: str, *content: str) -> str:
    """A titled part of the page."""
    return f"<section><h2>{prose(title)}</h2>\n" + "\n".join(content) + "</section>"
