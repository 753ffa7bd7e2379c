"""Figures of a material: densities of states, bands, structures, and how near-sighted H is (paper, Figs. 7 to 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nearsight.electronic.bands import Bands
from nearsight.electronic.density_of_states import DensityOfStates
from nearsight.electronic.locality import Decay, Response
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import level_changes, mean
from nearsight.report.style import EDGES, NODES, PREDICTION, REFERENCE, log_where_positive, styled
from nearsight.structures.radial_distribution import PairDistribution
from nearsight.units import ev_to_millihartree

COLOURS = ("#2a6f97", "#d1495b", "#edae49", "#66a182", "#8d5b9f", "#7a7a7a", "#b5651d", "#3f88c5")
"""Colours of the parts of a density or of structures, one after another."""
MOST = 8
"""Number of parts of a density that are drawn; smaller ones are not."""


def density_figure(density: DensityOfStates, window: tuple[float, float] | None = None, title: str = "") -> Figure:
    """Draw the density of states and its parts against E − E_F, with occupied states shaded.

    Parameters
    ----------
    density : DensityOfStates
        The density of states and its parts.
    window : (float, float), optional
        The energies that are shown, eV relative to the Fermi level; all if there is none.
    title : str, optional
        The title of the figure.
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
    """Draw predicted and reference densities of states with their difference below.

    Parameters
    ----------
    prediction : DensityOfStates
        The predicted density of states.
    reference : DensityOfStates
        That of the reference; its Fermi level is the zero of energy of both.
    window : (float, float), optional
        The energies that are shown, eV relative to the Fermi level; all if there is none.
    """
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
    """Draw bands along a path relative to the top of the filled bands, with a reference as dots, and the band edges.

    Parameters
    ----------
    bands : Bands
        The bands, drawn as lines.
    reference : ndarray, shape (K, m), optional
        Levels at the same points, eV, drawn as dots.
    window : (float, float), optional
        The energies that are shown, eV from the top of the filled bands; all if there is none.
    title : str, optional
        The title of the figure.
    names : (str, str), optional
        What lines and dots are called in the legend.
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
    """What `structure_figure` draws of one structure.

    Attributes
    ----------
    coordination : ndarray, shape (n,)
        The number of neighbours of each central atom.
    places : ndarray, shape (n, 3)
        The positions of the central atoms, wrapped into the cell, Å.
    distributions : mapping of str to PairDistribution
        The pair distribution g(r) by pair, such as `Hf–O`.
    """

    coordination: np.ndarray
    places: np.ndarray
    distributions: Mapping[str, PairDistribution]


def structure_figure(summaries: Mapping[str, StructureSummary], centre: str, neighbour: str) -> Figure:
    """Draw histograms of the coordination, g(r), the coordination along x, and where the outliers are (paper, Fig. 7).

    An outlier is two or more away from the most frequent coordination.

    Parameters
    ----------
    summaries : mapping of str to StructureSummary
        What is drawn, by the name of the structure.
    centre, neighbour : str
        The symbols of the elements whose coordination it is.
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


BIN = 0.5
"""Å, the width of a bin of distances."""


def decay_figure(decays: Mapping[str, Decay]) -> Figure:
    """Draw the decay of H with distance (paper, Fig. 8).

    Parameters
    ----------
    decays : mapping of str to Decay
        For each structure, by its name: the elements above a threshold per distance are drawn, and the largest element
        of every block.
    """
    with styled():
        figure = Figure(figsize=(3.3 * len(decays) + 0.4, 5.2), layout="constrained")
        axes = figure.subplots(2, len(decays), squeeze=False, sharex="col", sharey="row")
        for column, (name, found) in enumerate(decays.items()):
            _draw_frequency(axes[0, column], found)
            _draw_largest(axes[1, column], found)
            axes[0, column].set_title(name)
            axes[1, column].set_xlabel("distance / Å")
        threshold = ev_to_millihartree(next(iter(decays.values())).threshold)
        axes[0, 0].set_ylabel(f"elements above {threshold:.2g} mE$_h$\nper atom and {BIN:g} Å")
        axes[1, 0].set_ylabel("largest |H| of a block / mE$_h$")
        axes[1, -1].legend(loc="upper right", fontsize=8)
    return figure


def cutoff_figure(spectra: Mapping[str, Mapping[float, Spectrum]]) -> Figure:
    """Draw how levels depend on the cutoff of H (paper, Fig. 9).

    Parameters
    ----------
    spectra : mapping of str to mapping of float to Spectrum
        For each structure, by its name, the levels at every cutoff (Å): all are drawn, those around the gap, and the
        mean change against the largest cutoff.
    """
    with styled():
        figure = Figure(figsize=(3.6 * len(spectra) + 0.6, 7.6), layout="constrained")
        axes = figure.subplots(3, len(spectra), squeeze=False, sharey="row")
        for column, (name, found) in enumerate(spectra.items()):
            _draw_columns(axes[0, column], found)
            _draw_columns(axes[1, column], found)
            exact = found[max(found)]
            if np.isfinite(exact.fermi):  # neither all levels are full nor all empty
                axes[1, column].set_ylim(exact.homo - 1.5, exact.lumo + 1.5)
                axes[1, column].axhspan(exact.homo, exact.lumo, color="#f3e9c9", zorder=0, lw=0)
            _draw_changes(axes[2, column], found)
            axes[0, column].set_title(name)
        for row, label in enumerate(("all levels / eV", "around the gap / eV", "mean change / meV")):
            axes[row, 0].set_ylabel(label)
        for ax in axes[2]:
            ax.set_xlabel("cutoff / Å")
        axes[2, -1].legend(loc="upper right")
    return figure


def response_figure(responses: Mapping[str, Response], numbers: np.ndarray, labels: Mapping[int, str]) -> Figure:
    """Draw the mean change of on-site blocks against the distance from an atom that was changed (paper, Fig. 10).

    Parameters
    ----------
    responses : mapping of str to Response
        The response to each change, by its name.
    numbers : ndarray, shape (N,)
        The atomic numbers before the change.
    labels : mapping of int to str
        The symbols of the elements by atomic number.
    """
    colours = dict(zip(labels, cycle((NODES, EDGES, REFERENCE, PREDICTION, *COLOURS))))
    with styled():
        figure = Figure(figsize=(3.4 * len(responses) + 0.4, 3.6), layout="constrained")
        axes = figure.subplots(1, len(responses), squeeze=False, sharey=True)[0]
        for ax, (name, found) in zip(axes, responses.items()):
            ax.plot(
                found.distance,
                ev_to_millihartree_all(found.error),
                ".",
                color="#b9c2cd",
                ms=4,
                mew=0,
                label="as computed",
            )
            for number, symbol in labels.items():
                own = numbers[found.atoms] == number
                ax.plot(
                    found.distance[own],
                    ev_to_millihartree_all(found.aligned[own]),
                    "o",
                    ms=3.6,
                    mew=0,
                    color=colours[number],
                    label=f"{symbol}, zeros aligned",
                )
            ax.set(title=name, xlabel="distance from the site / Å", xlim=(0, None))
            log_where_positive(ax)
            ax.text(0.03, 0.03, f"shift {1e3 * found.shift:+.1f} meV", transform=ax.transAxes, fontsize=8)
        axes[0].set_ylabel("mean |ΔH| on site / mE$_h$")
        axes[-1].legend(loc="upper right", fontsize=8)
    return figure


def ev_to_millihartree_all(energies: np.ndarray) -> np.ndarray:
    """Return energies, given in eV, in mE_h."""
    return energies * ev_to_millihartree(1.0)


def _draw_frequency(ax: Axes, found: Decay) -> None:
    edges, counts = found.frequency(BIN)
    ax.stairs(counts / len(found.on_site), edges, fill=True, color="#9fb0c6")


def _draw_largest(ax: Axes, found: Decay) -> None:
    seen = found.largest > 0
    ax.plot(
        found.distance[seen],
        ev_to_millihartree_all(found.largest[seen]),
        ".",
        color=EDGES,
        ms=1.6,
        mew=0,
        alpha=0.3,
        rasterized=True,
    )
    middle, median, _ = found.envelope(BIN)
    ax.plot(middle, ev_to_millihartree_all(median), "-", color=PREDICTION, lw=1.3, label="median")
    ax.plot(
        np.zeros(1),
        [ev_to_millihartree(float(np.median(found.on_site)))],
        "s",
        color=NODES,
        ms=5,
        clip_on=False,
        label="on site (median)",
    )
    log_where_positive(ax)
    ax.set_xlim(0, None)


def _draw_columns(ax: Axes, found: Mapping[float, Spectrum]) -> None:
    for place, cutoff in enumerate(sorted(found)):
        levels = found[cutoff].eigenvalues
        ax.plot(np.full(len(levels), place), levels, "_", color=REFERENCE, ms=16, mew=0.7, alpha=0.6, rasterized=True)
    _name_cutoffs(ax, sorted(found))


def _draw_changes(ax: Axes, found: Mapping[float, Spectrum]) -> None:
    cutoffs = sorted(found)
    exact = found[cutoffs[-1]]
    change = [level_changes(found[c], exact) for c in cutoffs[:-1]]
    places = np.arange(len(change))
    ax.plot(places, [1e3 * mean(c) for c in change], "o-", color=EDGES, ms=4, lw=1.2, label="all levels")
    ax.plot(
        places,
        [1e3 * mean(c[: exact.n_filled]) for c in change],
        "s-",
        color=PREDICTION,
        ms=4,
        lw=1.2,
        label="occupied",
    )
    log_where_positive(ax)
    _name_cutoffs(ax, cutoffs)


def _name_cutoffs(ax: Axes, cutoffs: Sequence[float]) -> None:
    ax.set_xticks(range(len(cutoffs)), ["∞" if np.isinf(c) else f"{c:g}" for c in cutoffs])
    ax.set_xlim(-0.6, len(cutoffs) - 0.4)
    ax.grid(False, axis="x")
