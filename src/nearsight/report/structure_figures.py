"""Figures of structures: coordination and pair distribution (paper, Fig. 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nearsight.report.density_figures import COLOURS
from nearsight.report.drawing import styled
from nearsight.structures.radial_distribution import PairDistribution


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
                radial.plot(distribution.r, distribution.g, style, color=colour, lw=1.1,
                            label=pair if n == 0 else None)
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
