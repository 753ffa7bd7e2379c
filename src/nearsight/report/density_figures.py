"""Figures of densities of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from nearsight.electronic.densities import Densities
from nearsight.report.drawing import PREDICTION, REFERENCE, styled

COLOURS = ("#2a6f97", "#d1495b", "#edae49", "#66a182", "#8d5b9f", "#7a7a7a", "#b5651d", "#3f88c5")
"""Of the parts, one after another."""
MOST = 8
"""Parts that are drawn; the smaller ones are left out."""


def density_figure(density: Densities, window: tuple[float, float] | None = None, title: str = "") -> Figure:
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
        for colour, (label, values) in zip(COLOURS, _largest(density.parts)):
            ax.plot(energies, values, color=colour, lw=1.1, label=label)
        ax.axvline(0, color="black", lw=0.9, ls=":")
        ax.set(xlabel="E − E_F (eV)", ylabel="electrons per eV", title=title)
        ax.set_xlim(window or (float(energies[0]), float(energies[-1])))
        inside = (energies >= ax.get_xlim()[0]) & (energies <= ax.get_xlim()[1])
        ax.set_ylim(0, 1.08 * float(density.total[inside].max(initial=1e-12)))
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def densities_figure(prediction: Densities, reference: Densities, window: tuple[float, float] | None = None) -> Figure:
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


def _zero(density: Densities) -> float:
    return density.filling.fermi if np.isfinite(density.filling.fermi) else 0.0
