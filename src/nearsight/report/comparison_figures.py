"""Figures of several predictions of one structure beside each other; like `figures`, they compute nothing.

A prediction has the same colour in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import GAP_WINDOW, common_levels
from nearsight.report.compared_prediction import ComparedPrediction
from nearsight.report.style import EDGES, HALO, NODES, PREDICTION, REFERENCE, enlarge_gap, log_if_positive, styled
from nearsight.report.training_log import TrainingLog
from nearsight.units import ev_to_millihartree

COLORS = (PREDICTION, EDGES, NODES, "#4c956c", "#7b5ea7")


def levels_figure(predictions: Sequence[ComparedPrediction], reference: Spectrum) -> Figure:
    """Draw levels around the gap over those of the reference, and E_pred − E_ref of every level in meV.

    Parameters
    ----------
    predictions : sequence of ComparedPrediction
        The predictions; those without levels are not drawn.
    reference : Spectrum
        The levels of the reference.
    """
    with styled():
        figure = Figure(figsize=(10.5, 4.2), layout="constrained")
        near, errors = figure.subplots(1, 2)
        index = np.arange(1, reference.n_levels + 1)
        near.plot(index, reference.eigenvalues, ".", color=HALO, ms=9, mew=0, label="reference", rasterized=True)
        errors.axhline(0, color=REFERENCE, lw=0.9)
        for name, color, spectrum in _spectra(predictions):
            style = {"color": color, "ms": 3.2, "mew": 0, "alpha": 0.7, "label": name, "rasterized": True}
            near.plot(np.arange(1, spectrum.n_levels + 1), spectrum.eigenvalues, ".", **style)
            ours, theirs = common_levels(spectrum, reference)
            errors.plot(theirs, 1e3 * (ours - theirs), ".", **style)
        enlarge_gap(near, reference)
        near.set(xlabel="level", ylabel="energy / eV")
        near.legend(loc="lower right", markerscale=1.6)
        _shade_gap(errors, reference)
        errors.set(title="Error of each level", xlabel="reference energy / eV", ylabel="prediction − reference / meV")
        errors.legend(loc="best", markerscale=1.6)
    return figure


def states_figure(
    energies: np.ndarray, reference: np.ndarray, densities: Sequence[tuple[str, np.ndarray]], spectrum: Spectrum
) -> Figure:
    """Draw densities of states over all energies, and around the gap.

    Parameters
    ----------
    energies : ndarray, shape (m,)
        The energies, eV.
    reference : ndarray, shape (m,)
        The density of the reference, 1/eV.
    densities : sequence of (str, ndarray of shape (m,))
        The name and the density, 1/eV, of every prediction, in the predictions' order.
    spectrum : Spectrum
        The levels of the reference, for its gap.
    """
    with styled():
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        axes = figure.subplots(1, 2, gridspec_kw={"width_ratios": (3, 2)})
        for ax in axes:
            ax.fill_between(energies, reference, color=HALO, alpha=0.7, lw=0, label="reference")
            for (name, density), color in zip(densities, cycle(COLORS)):
                ax.plot(energies, density, color=color, lw=1.1, label=name)
            _shade_gap(ax, spectrum)
            ax.set(xlabel="energy / eV", ylabel="states / eV", ylim=(0, None))
            ax.margins(x=0)
        axes[0].set_title("Density of states")
        axes[0].legend(loc="best")
        axes[1].set_title("Around the gap")
        if np.isfinite(spectrum.fermi):
            shown = spectrum.homo - GAP_WINDOW, spectrum.lumo + GAP_WINDOW
            inside = (energies >= shown[0]) & (energies <= shown[1])
            top = max(float(d[inside].max(initial=0.0)) for d in (reference, *(d for _, d in densities)))
            axes[1].set(xlim=shown, ylim=(0, 1.05 * top or 1.0))
    return figure


def errors_figure(predictions: Sequence[ComparedPrediction]) -> Figure:
    """Draw mean absolute errors and mean |H| of the reference against distance, mE_h; squares at zero are on site."""
    with styled():
        figure = Figure(figsize=(7.6, 4.0), layout="constrained")
        ax = figure.subplots()
        matrix = predictions[0].evaluation.matrix
        lines = [("mean |H| of the reference", REFERENCE, matrix, "magnitude")]
        lines += [(c.name, color, c.evaluation.matrix, "mean_absolute") for c, color in zip(predictions, cycle(COLORS))]
        drawn = []
        for name, color, errors, what in lines:
            middle = [(row.lower + row.upper) / 2 for row in errors.distances]
            height = [ev_to_millihartree(getattr(row.errors, what)) for row in errors.distances]
            ax.plot(middle, height, "o-", color=color, ms=4, lw=1.3, label=name)
            if errors.nodes.n_elements:
                ax.plot([0], [ev_to_millihartree(getattr(errors.nodes, what))], "s", color=color, ms=6)
            drawn += height
        log_if_positive(ax, np.array(drawn))
        ax.set_xlim(-0.4, (matrix.distances[-1].upper if matrix.distances else 1.0) + 0.2)
        ax.set(xlabel="distance between the atoms / Å  (squares: on site)", ylabel="mE$_h$")
        ax.legend(loc="upper right")
    return figure


def trainings_figure(predictions: Sequence[ComparedPrediction]) -> Figure:
    """Draw the loss as a multiple of the first epoch's, and ε_e of the validation where measured, against minutes.

    Losses of different networks have different units, so only their course can be compared.
    """
    logs = [(c.name, color, c.log) for c, color in zip(predictions, cycle(COLORS)) if c.log is not None]
    measured = any(np.isfinite(log.eps_e).any() for _, _, log in logs)
    with styled():
        figure = Figure(figsize=(9.6 if measured else 6.0, 3.6), layout="constrained")
        axes = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
        for name, color, log in logs:
            _draw_course(axes[0], name, color, log)
            known = np.isfinite(log.eps_e)
            if known.any():
                axes[1].plot(log.seconds[known] / 60, log.eps_e[known], "o-", ms=3, lw=1.3, color=color, label=name)
        axes[0].set(title="Loss / loss of the first epoch", xlabel="minutes")
        if measured:
            log_if_positive(axes[1], np.concatenate([log.eps_e for _, _, log in logs]))
            axes[1].set(title="ε$_e$ of the validation parts", xlabel="minutes", ylabel="mE$_h$")
        for ax in axes:
            ax.legend(loc="best")
    return figure


def _draw_course(ax: Axes, name: str, color: str, log: TrainingLog) -> None:
    courses = ((log.loss, "-", "training"), (log.validation_loss, "--", "validation"))
    for values, dashes, what in courses:
        known = np.isfinite(values)
        if known.any():
            relative = values[known] / values[known][0]
            ax.plot(log.seconds[known] / 60, relative, dashes, color=color, lw=1.3, label=f"{name}, {what}")
            if relative.min() > 0:
                ax.set_yscale("log")


def _spectra(predictions: Sequence[ComparedPrediction]) -> Iterator[tuple[str, str, Spectrum]]:
    for compared, color in zip(predictions, cycle(COLORS)):
        if compared.evaluation.prediction is not None:
            yield compared.name, color, compared.evaluation.prediction


def _shade_gap(ax: Axes, spectrum: Spectrum) -> None:
    if spectrum.gap > 0:
        ax.axvspan(spectrum.homo, spectrum.lumo, color="#f3e9c9", zorder=0, lw=0)
