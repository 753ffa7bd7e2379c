"""What figures share: colours, settings, axes.

Figures of densities of states.

Figures of band structures.

Figures of structures: coordination and pair distribution (paper, Fig. 7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nearsight.electronic.bands import Bands
from nearsight.electronic.density_of_states import DensityOfStates
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import GAP_WINDOW
from nearsight.structures.radial_distribution import PairDistribution

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
    """Settings of the figures while they are drawn and written; those of the program stay as they were."""
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
    """A logarithmic axis for values that have logarithms."""
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0:
        ax.set_yscale("log")


COLOURS = ("#2a6f97", "#d1495b", "#edae49", "#66a182", "#8d5b9f", "#7a7a7a", "#b5651d", "#3f88c5")
"""Of the parts, one after another."""
MOST = 8
"""Parts that are drawn; the smaller ones are left out."""


def density_figure(density: DensityOfStates, window: tuple[float, float] | None = None, title: str = "") -> Figure:
    """The density of states and its parts against E − E_F; occupied states are shaded.

    Args:
        density: what to draw.
        window: eV, relative to the Fermi level; None: all.
        title: of the figure.
    """
    fermi = _zero(density)
    energies = density.energies - fermi
    with styled():
        figure = Figure(figsize=(7.6, 3.8), layout="constrained")
        ax = figure.subplots()
        occupied = energies <= 0
        ax.fill_between(energies[occupied], density.total[occupied], color="#dfe5ec", lw=0, label="occupied")
        ax.plot(energies, density.total, color=REFERENCE, lw=1.3, label="all")
        for colour, (label, values) in zip(COLOURS, _largest(density.projections)):
            ax.plot(energies, values, color=colour, lw=1.1, label=label)
        ax.axvline(0, color="black", lw=0.9, ls=":")
        ax.set(xlabel="E − E_F (eV)", ylabel="electrons per eV", title=title)
        ax.set_xlim(window or (float(energies[0]), float(energies[-1])))
        inside = (energies >= ax.get_xlim()[0]) & (energies <= ax.get_xlim()[1])
        ax.set_ylim(0, 1.08 * float(density.total[inside].max(initial=1e-12)))
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def densities_figure(
    prediction: DensityOfStates, reference: DensityOfStates, window: tuple[float, float] | None = None
) -> Figure:
    """Predicted and reference densities of states on the reference's Fermi level, with their difference below."""
    fermi = _zero(reference)
    with styled():
        figure = Figure(figsize=(7.6, 4.8), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot(reference.energies - fermi, reference.total, color=REFERENCE, lw=1.5, label="reference")
        upper.plot(prediction.energies - fermi, prediction.total, color=PREDICTION, lw=1.0, label="prediction")
        same = np.interp(reference.energies, prediction.energies, prediction.total, left=0.0, right=0.0)
        lower.plot(reference.energies - fermi, same - reference.total, color=PREDICTION, lw=0.9)
        for ax in (upper, lower):
            ax.axvline(0, color="black", lw=0.9, ls=":")
        if window is not None:
            upper.set_xlim(*window)
        upper.set(ylabel="electrons per eV", ylim=(0, None))
        lower.set(ylabel="difference", xlabel="E − E_F of the reference (eV)")
        upper.legend(loc="upper left")
    return figure


def _largest(parts: Mapping[str, np.ndarray]) -> Sequence[tuple[str, np.ndarray]]:
    ranked = sorted(parts, key=lambda label: -float(np.abs(parts[label]).sum()))[:MOST]
    return [(label, parts[label]) for label in parts if label in ranked]


def _zero(density: DensityOfStates) -> float:
    return density.filling.fermi if np.isfinite(density.filling.fermi) else 0.0


GREEK = {"G": "Γ"}


def band_figure(
    bands: Bands,
    reference: np.ndarray | None = None,
    window: tuple[float, float] | None = None,
    title: str = "",
    names: tuple[str, str] = ("H(k)", "reference"),
) -> Figure:
    """Levels along the path against the top of the filled bands, with another's as dots, and where the gap is.

    Args:
        bands: lines.
        reference: (K, m) eV, levels at the same points: dots.
        window: eV from the top of the filled bands; None: all.
        title: of the figure.
        names: of lines and dots.
    """
    top, place = bands.highest_occupied
    zero = top if np.isfinite(top) else 0.0
    x = bands.path.distances
    with styled():
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        ax = figure.subplots()
        for line, n in enumerate(range(bands.levels.shape[1])):
            ax.plot(x, bands.levels[:, n] - zero, color=REFERENCE, lw=1.2, label=names[0] if line == 0 else None)
        if reference is not None:
            for n in range(reference.shape[1]):
                ax.plot(
                    x, reference[:, n] - zero, "o", color=PREDICTION, ms=2.6, mew=0, label=names[1] if n == 0 else None
                )
        for tick in bands.path.ticks:
            ax.axvline(tick, color="#8a94a3", lw=0.8)
        ax.axhline(0, color="black", lw=0.8, ls=":")
        if bands.gap > 0:
            bottom, other = bands.lowest_empty
            ax.plot(
                [x[place], x[other]],
                [0, bottom - zero],
                "v",
                color="#edae49",
                ms=7,
                mec="black",
                mew=0.6,
                label=f"band edges, gap {bands.gap:.2f} eV",
            )
        ax.set_xticks(bands.path.ticks, [_greek(label) for label in bands.path.labels])
        ax.set(xlim=(x[0], x[-1]), ylabel="E − E_VBM (eV)", title=title)
        ax.grid(False, axis="x")
        if window is not None:
            ax.set_ylim(*window)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _greek(label: str) -> str:
    return "|".join(GREEK.get(name, name) for name in label.split(","))


@dataclass(frozen=True, eq=False)
class StructureSummary:
    """What is drawn of one structure.

    Attributes:
        coordination: (n,) of the centres.
        places: (n, 3) Å, of the centres, wrapped into the cell.
        distributions: pair, such as `Hf–O` → g(r).
    """

    coordination: np.ndarray
    places: np.ndarray
    distributions: Mapping[str, PairDistribution]


def structure_figure(summaries: Mapping[str, StructureSummary], centre: str, neighbour: str) -> Figure:
    """Histograms of the coordination, g(r), coordination along x, and where the outliers are.

    An outlier is two or more away from the most frequent coordination.

    Args:
        summaries: by the structure's name.
        centre, neighbour: symbols of the elements whose coordination it is.
    """
    with styled():
        figure = Figure(figsize=(10.2, 7.2), layout="constrained")
        (histogram, radial), (along, outliers) = figure.subplots(2, 2)
        for n, (name, found) in enumerate(summaries.items()):
            colour = COLOURS[n % len(COLOURS)]
            values, counts = np.unique(found.coordination, return_counts=True)
            width = 0.8 / len(summaries)
            histogram.bar(values + (n + 0.5) * width - 0.4, counts / counts.sum(), width, color=colour, label=name)
            for style, (pair, distribution) in zip(("-", "--", ":"), found.distributions.items()):
                radial.plot(distribution.r, distribution.g, style, color=colour, lw=1.1, label=pair if n == 0 else None)
            beside = 0.12 * (n - (len(summaries) - 1) / 2)  # so that structures do not cover each other
            along.plot(found.places[:, 0], found.coordination + beside, "o", color=colour, ms=4, mew=0, alpha=0.7)
            usual = values[counts.argmax()]
            for sign, marker in ((-1, "v"), (1, "^")):
                odd = sign * (found.coordination - usual) >= 2
                outliers.plot(*found.places[odd, 1:].T, marker, color=colour, ms=8, mec="black", mew=0.5)
        histogram.set(xlabel=f"{neighbour} around {centre}", ylabel=f"share of {centre}", title="Coordination")
        histogram.legend()
        radial.set(xlabel="r / Å", ylabel="g(r)", title="Pair distribution", ylim=(0, None))
        radial.legend()
        along.set(xlabel="x / Å", ylabel=f"{neighbour} around {centre}", title="Along x")
        outliers.set(xlabel="y / Å", ylabel="z / Å", title="Outliers (▼ too few, ▲ too many)")
        edge = max(float(found.places.max(initial=1.0)) for found in summaries.values())
        outliers.set(xlim=(0, edge), ylim=(0, edge))
        for axis in (histogram.xaxis, along.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    return figure
