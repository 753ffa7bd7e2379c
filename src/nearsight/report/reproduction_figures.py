"""Figures of reproduced tables: measures of several networks, row by row, beside the paper's numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from nearsight.report.style import HALO, styled

MARK_INCHES, LETTER_INCHES = 0.6, 0.075
"""Widths in the legend: of a mark with the room about it, and of a letter."""
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
    "paper, DFT": HALO,
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
            logarithmic = _scale(ax, np.array([v for s in drawn for v in s.values if v is not None], dtype=float))
            _lines(ax, drawn, places) if places is not None else _bars(ax, drawn, rows, logarithmic)
            ax.set(title=_mathematical(panel.title), xlabel=_mathematical(x))
        _legend(figure, axes, width * len(panels))
    return figure


@dataclass(frozen=True)
class Curve:
    """What one matrix gives over an axis, in pieces.

    Attributes
    ----------
    name : str
        Whose.
    pieces : sequence of (x, y)
        Arrays of equal length; nothing is drawn between the pieces.
    """

    name: str
    pieces: Sequence[tuple[np.ndarray, np.ndarray]]


def curves_figure(panels: Mapping[str, Sequence[Curve]], x: str, y: str) -> Figure:
    """Draw curves over a logarithmic axis, a panel for each title.

    Parameters
    ----------
    panels : mapping of str to sequence of Curve
        Title → curves; the first one is the reference.
    x, y : str
        What the axes are.
    """
    with styled():
        width = max(4.6, min(6.0, 10.4 / len(panels)))
        figure = Figure(figsize=(width * len(panels), 3.8), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (title, curves) in zip(axes, panels.items()):
            for k, curve in enumerate(curves):
                for number, (places, values) in enumerate(curve.pieces):
                    style = {"lw": 2.4 if k == 0 else 1.3, "marker": ".", "ms": 4, "color": _colour(curve.name, k)}
                    ax.semilogy(places, values, label=curve.name if number == 0 else None, **style)
            ax.set(title=title, xlabel=x)
        axes[0].set_ylabel(y)
        _legend(figure, axes, width * len(panels))
    return figure


def _legend(figure: Figure, axes: Sequence[Axes], inches: float) -> None:
    """Put one legend below all panels, with as many entries side by side as there is room for."""
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
    if handles:
        columns = int(inches / (MARK_INCHES + LETTER_INCHES * max(map(len, handles))))
        if sum(MARK_INCHES + LETTER_INCHES * len(label) for label in handles) <= inches:
            columns = len(handles)
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=max(1, min(columns, len(handles))))


def _mathematical(text: str) -> str:
    """Return text whose subscripts, as in ε_tot, matplotlib draws as such."""
    return re.sub(r"\b(ε|[mµ]?E|t|r|N)_([A-Za-z]+)", r"\1$_{\\mathrm{\2}}$", text)


def _scale(ax: Axes, values: np.ndarray) -> bool:
    """Make the axis logarithmic where values are positive and far apart, which is returned; numbers are written out."""
    logarithmic = bool(len(values) and values.min() > 0 and values.max() > FAR_APART * values.min())
    if logarithmic:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        if values.max() < 100 * values.min():
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    elif len(values) and values.min() >= 0:
        ax.set_ylim(0, 1.05 * float(values.max()) or 1.0)
    return logarithmic


def _colour(name: str, number: int) -> str:
    return COLOURS.get(name, OTHERS[number % len(OTHERS)])


def _bars(ax: Axes, series: Sequence[Series], rows: Sequence[str], logarithmic: bool) -> None:
    """Draw the numbers of a row side by side about its place: bars, or points on an axis that does not begin at 0."""
    whose = [[k for k, one in enumerate(series) if one.values[row] is not None] for row in range(len(rows))]
    width = min(0.4, (0.5 if logarithmic else 0.8) / max(1, *map(len, whose)))
    for k, one in enumerate(series):
        known = [(row, value) for row, value in enumerate(one.values) if value is not None]
        places = [row + (whose[row].index(k) - (len(whose[row]) - 1) / 2) * width for row, _ in known]
        values, colour = [value for _, value in known], _colour(one.name, k)
        if logarithmic:
            ax.plot(places, values, "o", ms=8, color=colour, label=one.name)
        else:
            ax.bar(places, values, width * 0.92, color=colour, label=one.name)
    tilted = sum(map(len, rows)) > 36
    ax.set_xticks(range(len(rows)), rows, rotation=30 if tilted else 0, ha="right" if tilted else "center")
    ax.set_xlim(-0.6, len(rows) - 0.4)
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
