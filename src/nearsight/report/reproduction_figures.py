"""Figures of reproduced tables: measures of several networks, row by row, beside the paper's numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from nearsight.report.style import HALO, styled

LEGEND_INCHES = 1.9
"""Width of an entry of the legend, at most."""
FAR_APART = 12
"""Ratio of the largest to the smallest number from which on an axis is logarithmic."""

COLOURS = {
    "paper": HALO,
    "xia2025": "#2a6f97",
    "nearsight": "#d1495b",
    "nearsight, self-consistent": "#edae49",
    "DFT": "#333f50",
    "xia2025, one core": "#2a6f97",
    "ideal": "#66a182",
    "QHNet": "#c9b79c",
}
OTHERS = ("#66a182", "#8d5b9f", "#b5651d")


@dataclass(frozen=True)
class Series:
    """The numbers of one network, or of the paper.

    Attributes
    ----------
    name : str
        Whose.
    values : sequence of float or None
        One for each row.
    pale : bool
        Whether they are for comparison only.
    """

    name: str
    values: Sequence[float | None]
    pale: bool = False


@dataclass(frozen=True)
class Panel:
    """One measure.

    Attributes
    ----------
    title : str
        The measure, with its unit.
    series : sequence of Series
        Whose numbers are drawn.
    """

    title: str
    series: Sequence[Series]


def rows_figure(rows: Sequence[str], panels: Sequence[Panel], x: str, kind: str = "bars") -> Figure:
    """Draw a panel for each measure: bars side by side for each row, or lines over rows that are numbers.

    Parameters
    ----------
    rows : sequence of str
        What the rows are called.
    panels : sequence of Panel
        The measures.
    x : str
        What the rows are.
    kind : {"bars", "lines"}
        How they are drawn; lines where the rows are numbers.
    """
    places = _numbers(rows) if kind == "lines" else None
    with styled():
        width = max(3.6, min(6.0, 1.2 + 0.55 * len(rows)))
        figure = Figure(figsize=(width * len(panels), 3.8), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, panel in zip(axes, panels):
            drawn = [s for s in panel.series if any(v is not None for v in s.values)]
            _lines(ax, drawn, places) if places is not None else _bars(ax, drawn, rows)
            ax.set(title=_mathematical(panel.title), xlabel=_mathematical(x))
            _scale(ax, np.array([v for s in drawn for v in s.values if v is not None], dtype=float))
        handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
        if handles:
            columns = max(1, int(width * len(panels) / LEGEND_INCHES))
            figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(columns, len(handles)))
    return figure


def _mathematical(text: str) -> str:
    """Return text whose subscripts, as in ε_tot, matplotlib draws as such."""
    return re.sub(r"\b(ε|[mµ]?E|t|r|N)_([A-Za-z]+)", r"\1$_{\\mathrm{\2}}$", text)


def _scale(ax: Axes, values: np.ndarray) -> None:
    """Make the axis logarithmic where values are positive and far apart; numbers are written out."""
    if len(values) and values.min() > 0 and values.max() > FAR_APART * values.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        if values.max() < 100 * values.min():
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    elif len(values) and values.min() >= 0:
        ax.set_ylim(bottom=0)


def _colour(name: str, number: int) -> str:
    return COLOURS.get(name, OTHERS[number % len(OTHERS)])


def _bars(ax: Axes, series: Sequence[Series], rows: Sequence[str]) -> None:
    width = 0.8 / max(1, len(series))
    for k, one in enumerate(series):
        known = [(row + (k - (len(series) - 1) / 2) * width, v) for row, v in enumerate(one.values) if v is not None]
        ax.bar([p for p, _ in known], [v for _, v in known], width * 0.92, color=_colour(one.name, k), label=one.name)
    tilted = sum(map(len, rows)) > 36
    ax.set_xticks(range(len(rows)), rows, rotation=30 if tilted else 0, ha="right" if tilted else "center")
    ax.grid(axis="x", visible=False)


def _lines(ax: Axes, series: Sequence[Series], places: Sequence[float]) -> None:
    for k, one in enumerate(series):
        known = sorted((place, v) for place, v in zip(places, one.values) if v is not None)
        style = "--" if one.pale else "-"
        ax.plot(*zip(*known), style, marker="o", ms=4, color=_colour(one.name, k), label=one.name)


def _numbers(rows: Sequence[str]) -> list[float] | None:
    """The first number of each row; None where one has none."""
    try:
        return [float(row.split(",")[0].split()[0].strip("~≈").replace(",", "")) for row in rows]
    except (ValueError, IndexError):
        return None
