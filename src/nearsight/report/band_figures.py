"""Figures of band structures."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from nearsight.electronic.bands import Bands
from nearsight.report.drawing import PREDICTION, REFERENCE, styled

GREEK = {"G": "Γ"}


def band_figure(bands: Bands, reference: np.ndarray | None = None, window: tuple[float, float] | None = None,
                title: str = "", names: tuple[str, str] = ("H(k)", "reference")) -> Figure:
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
                ax.plot(x, reference[:, n] - zero, "o", color=PREDICTION, ms=2.6, mew=0,
                        label=names[1] if n == 0 else None)
        for tick in bands.path.ticks:
            ax.axvline(tick, color="#8a94a3", lw=0.8)
        ax.axhline(0, color="black", lw=0.8, ls=":")
        if bands.gap > 0:
            bottom, other = bands.lowest_empty
            ax.plot([x[place], x[other]], [0, bottom - zero], "v", color="#edae49", ms=7, mec="black", mew=0.6,
                    label=f"band edges, gap {bands.gap:.2f} eV")
        ax.set_xticks(bands.path.ticks, [_greek(label) for label in bands.path.labels])
        ax.set(xlim=(x[0], x[-1]), ylabel="E − E_VBM (eV)", title=title)
        ax.grid(False, axis="x")
        if window is not None:
            ax.set_ylim(*window)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _greek(label: str) -> str:
    return "|".join(GREEK.get(name, name) for name in label.split(","))
