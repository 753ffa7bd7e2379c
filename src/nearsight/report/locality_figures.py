"""Figures of the near-sightedness of H (paper, Figs. 8, 9, 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nearsight.electronic.locality import Decay, Response
from nearsight.electronic.spectrum import Spectrum
from nearsight.report.drawing import EDGES, NODES, PREDICTION, REFERENCE, styled
from nearsight.units import ev_to_millihartree

BIN = 0.5
"""Å."""


def decay_figure(decays: Mapping[str, Decay]) -> Figure:
    """For each structure: elements above the threshold per distance, and the largest element of every block."""
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
    """For each structure: all levels at every cutoff, those around the gap, and the mean change of the levels."""
    with styled():
        figure = Figure(figsize=(3.6 * len(spectra) + 0.6, 7.6), layout="constrained")
        axes = figure.subplots(3, len(spectra), squeeze=False, sharey="row")
        for column, (name, found) in enumerate(spectra.items()):
            _draw_columns(axes[0, column], found)
            _draw_columns(axes[1, column], found)
            exact = found[max(found)]
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
    """For each change of an atom: mean change of every other atom's on-site block against the distance.

    Args:
        responses: name of the change → response.
        numbers: (N,) atomic numbers before the change.
        labels: atomic number → symbol.
    """
    colours = dict(zip(labels, (NODES, EDGES, REFERENCE, PREDICTION)))
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
            ax.set(title=name, xlabel="distance from the site / Å", yscale="log", xlim=(0, None))
            ax.text(0.03, 0.03, f"shift {1e3 * found.shift:+.1f} meV", transform=ax.transAxes, fontsize=8)
        axes[0].set_ylabel("mean |ΔH| on site / mE$_h$")
        axes[-1].legend(loc="upper right", fontsize=8)
    return figure


def ev_to_millihartree_all(energies: np.ndarray) -> np.ndarray:
    """Energies in eV, in mE_h."""
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
    ax.set_yscale("log")
    ax.set_xlim(0, None)


def _draw_columns(ax: Axes, found: Mapping[float, Spectrum]) -> None:
    for place, cutoff in enumerate(sorted(found)):
        levels = found[cutoff].eigenvalues
        ax.plot(np.full(len(levels), place), levels, "_", color=REFERENCE, ms=16, mew=0.7, alpha=0.6, rasterized=True)
    _name_cutoffs(ax, sorted(found))


def _draw_changes(ax: Axes, found: Mapping[float, Spectrum]) -> None:
    cutoffs = sorted(found)
    exact = found[cutoffs[-1]]
    change = [np.abs(found[c].eigenvalues - exact.eigenvalues) for c in cutoffs[:-1]]
    places = np.arange(len(change))
    ax.plot(places, [1e3 * c.mean() for c in change], "o-", color=EDGES, ms=4, lw=1.2, label="all levels")
    ax.plot(
        places,
        [1e3 * c[: exact.n_filled].mean() for c in change],
        "s-",
        color=PREDICTION,
        ms=4,
        lw=1.2,
        label="occupied",
    )
    ax.set_yscale("log")
    _name_cutoffs(ax, cutoffs)


def _name_cutoffs(ax: Axes, cutoffs: Sequence[float]) -> None:
    ax.set_xticks(range(len(cutoffs)), ["∞" if np.isinf(c) else f"{c:g}" for c in cutoffs])
    ax.set_xlim(-0.6, len(cutoffs) - 0.4)
    ax.grid(False, axis="x")
