"""What figures share: colours, settings, axes, and how they are written into a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import GAP_WINDOW

REFERENCE = "#333f50"
HALO = "#9fb0c6"
PREDICTION = "#d1495b"
NODES = "#b5651d"
EDGES = "#2a6f97"
GRID = "#e3e7ec"
STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a3",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": "#4a5361",
    "ytick.color": "#4a5361",
    "legend.frameon": False,
    "svg.hashsalt": "nearsight",
    "savefig.dpi": 200,
}


@contextmanager
def styled() -> Iterator[None]:
    """Use the settings of the figures while they are drawn and written; those of the program stay as they were."""
    with matplotlib.rc_context(STYLE):
        yield


def enlarge_gap(ax: Axes, spectrum: Spectrum) -> None:
    """Show the levels around the gap, with the gap shaded and its middle marked."""
    ax.set_title("Around the gap")
    if not np.isfinite(spectrum.fermi):
        return
    lower, upper = spectrum.homo - GAP_WINDOW, spectrum.lumo + GAP_WINDOW
    inside = np.flatnonzero((spectrum.eigenvalues >= lower) & (spectrum.eigenvalues <= upper)) + 1
    ax.set_ylim(lower, upper)
    ax.set_xlim(inside[0] - 0.5 - 0.03 * len(inside), inside[-1] + 0.5 + 0.03 * len(inside))
    ax.axhspan(spectrum.homo, spectrum.lumo, color="#f3e9c9", zorder=0, lw=0)
    ax.axhline(spectrum.fermi, color="black", lw=0.9, ls=":")
    ax.annotate(
        "mid-gap" if spectrum.gap > 0 else "Fermi level",
        (0.02, spectrum.fermi),
        va="bottom",
        xycoords=("axes fraction", "data"),
        fontsize=8.5,
    )


def log_if_positive(ax: Axes, values: np.ndarray) -> None:
    """Make the axis of values logarithmic where all of them have logarithms."""
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0:
        ax.set_yscale("log")


def log_where_positive(ax: Axes) -> None:
    """Make the axis of values logarithmic unless nothing that is drawn has a logarithm."""
    drawn = [np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.get_lines()]
    if any((values > 0).any() for values in drawn):
        ax.set_yscale("log")


def svg_bytes(figure: Figure) -> bytes:
    """Return the figure as an SVG file: text as outlines, no date, the same bytes for the same data."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def data_uri(figure: Figure) -> str:
    """Return the figure as a `data:` address, for an `img` that loads nothing."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg_bytes(figure)).decode("ascii")
