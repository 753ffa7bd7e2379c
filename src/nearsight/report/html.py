"""Pieces of an HTML page: text, tables, figures, sections. Everything that is shown goes through `prose`.

The page's look.
"""

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
    return (
        f'<figure><img src="{data_uri(drawing)}" alt="{escape(title)}" style="max-width:{width}px">'
        f"<figcaption>{prose(caption)}</figcaption></figure>"
    )


def cards(entries: Sequence[tuple[str, str, str]]) -> str:
    """The numbers that matter most: name, value, remark."""
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><span class="name">{prose(name)}</span><b>{prose(value)}</b>'
            f"<span>{prose(remark)}</span></div>"
            for name, value, remark in entries
        )
        + "</div>"
    )


def details(summary: str, content: str) -> str:
    """Content that opens with a click."""
    return f"<details><summary>{prose(summary)}</summary>{content}</details>"


def section(title: str, *content: str) -> str:
    """A titled part of the page."""
    return f"<section><h2>{prose(title)}</h2>\n" + "\n".join(content) + "</section>"


CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: #1f2733; background: #f5f6f8; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 36px 20px 40px; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .15em; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .7em; }
h3 { font-size: 1rem; margin: 1.6em 0 .5em; }
section { background: #fff; border: 1px solid #e3e7ec; border-radius: 10px; padding: 22px 26px; margin: 18px 0; }
p { margin: 0 0 .8em; max-width: 52em; } p.lead { color: #5a6472; margin-bottom: 1.4em; }
figure { margin: 0 0 1.2em; } .scroll + figure, .note + figure { margin-top: 1.4em; }
img { width: 100%; height: auto; display: block; margin: 0 auto; }
figcaption { margin-top: .8em; max-width: 60em; }
figcaption, .note { color: #5a6472; font-size: .92rem; } .note { margin-top: .8em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { text-align: right; padding: 6px 12px; border-bottom: 1px solid #edf0f3; vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th:last-child, td:last-child { padding-right: 0; }
thead th { color: #5a6472; font-weight: 600; border-bottom-color: #cfd6de; }
table:not(.facts) td:not(:first-child) { white-space: nowrap; }
table.facts td { text-align: left; overflow-wrap: anywhere; }
table.facts td:first-child { color: #5a6472; width: 12em; overflow-wrap: normal; }
sub { line-height: 0; font-size: .72em; vertical-align: -.28em; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; }
.card { flex: 1 1 160px; background: #fff; border: 1px solid #e3e7ec; border-radius: 10px; padding: 13px 16px; }
.card span { display: block; color: #5a6472; font-size: .86rem; }
.card b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; white-space: nowrap; margin: .1em 0; }
details { margin-top: 1em; } summary { cursor: pointer; color: #2a6f97; margin-bottom: .6em; }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: .5em 1.4em; font-size: .95rem; }
dt { font-weight: 600; } dd { margin: 0; max-width: 52em; }
pre { background: #f5f6f8; padding: 14px; margin: 0; overflow-x: auto; border-radius: 8px; font-size: .85rem; }
.view { position: relative; width: 100%; height: 520px; border: 1px solid #e3e7ec; border-radius: 8px;
  overflow: hidden; }
.view-controls { display: flex; flex-wrap: wrap; gap: .4em 1.6em; align-items: center; margin-bottom: .8em;
  font-size: .93rem; }
.view-controls select, .view-controls input { font: inherit; vertical-align: middle; }
.view-legend span { margin-right: 1em; }
.view-legend i { display: inline-block; width: .9em; height: .9em; border-radius: 50%; border: 1px solid #8a94a3;
  margin-right: .35em; vertical-align: -.1em; }
.view-legend .scale b { display: inline-block; width: 140px; height: .8em; margin: 0 .5em; vertical-align: -.05em; }
footer { color: #5a6472; font-size: .86rem; margin-top: 26px; }
@media (max-width: 640px) { section { padding: 16px; } dl { grid-template-columns: 1fr; gap: .1em; }
  dd { margin-bottom: .7em; } }
@media print { body { background: #fff; } section, .card { break-inside: avoid; } }
"""
