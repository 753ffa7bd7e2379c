"""Figures of a prediction and of a training run. They draw what they are given and compute nothing.

Every function returns a matplotlib `Figure` of its own; pyplot and its global state are not used.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from nearsight.electronic.matrix_errors import MatrixErrors, Parity
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import common_levels
from nearsight.report.style import EDGES, HALO, NODES, PREDICTION, REFERENCE, enlarge_gap, log_if_positive, styled
from nearsight.report.training_log import TrainingLog
from nearsight.units import ev_to_millihartree


def spectrum_figure(prediction: Spectrum | None = None, reference: Spectrum | None = None) -> Figure:
    """Draw sorted eigenvalues with the gap window (paper, Fig. 5), those around the gap, and their errors.

    The panels show all levels, those near the gap, and E_pred − E_ref in meV where both are given.

    Parameters
    ----------
    prediction : Spectrum, optional
        The predicted levels.
    reference : Spectrum, optional
        The levels of the reference.

    Raises
    ------
    ValueError
        Where neither is given.
    """
    main = reference or prediction
    if main is None:
        raise ValueError("expected at least one spectrum")
    both = prediction is not None and reference is not None
    with styled():
        figure = Figure(figsize=(10.5 if both else 7.6, 3.6), layout="constrained")
        axes = figure.subplots(1, 3 if both else 2)
        for ax in axes[:2]:
            _draw_levels(ax, prediction, reference)
        _draw_gap_window(axes[0], main)
        axes[0].set_title("All levels")
        axes[0].legend(loc="lower right", markerscale=1.6)
        enlarge_gap(axes[1], main)
        if prediction is not None and reference is not None:
            _draw_level_errors(axes[2], prediction, reference)
    return figure


def parity_figure(parity: Parity) -> Figure:
    """Draw predicted against reference matrix elements, on site and between atoms."""
    with styled():
        figure = Figure(figsize=(10.5, 4.9), layout="constrained")
        axes = figure.subplots(1, 2)
        _draw_parity(axes[0], parity.node_reference, parity.node_prediction, NODES)
        _draw_parity(axes[1], parity.edge_reference, parity.edge_prediction, EDGES)
        axes[0].set_title(f"On site ({_share(len(parity.node_reference), parity.n_nodes)})")
        axes[1].set_title(f"Between atoms ({_share(len(parity.edge_reference), parity.n_edges)})")
    return figure


def distance_figure(errors: MatrixErrors) -> Figure:
    """Draw mean absolute error and mean |H| of the edges against distance, mE_h, with on-site values at zero."""
    rows = errors.distances
    middle = np.array([(row.lower + row.upper) / 2 for row in rows])
    error = np.array([ev_to_millihartree(row.errors.mean_absolute) for row in rows])
    magnitude = np.array([ev_to_millihartree(row.errors.magnitude) for row in rows])
    with styled():
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        ax = figure.subplots()
        ax.plot(middle, magnitude, "o-", color=REFERENCE, ms=4, lw=1.3, label="mean |H| of the reference")
        ax.plot(middle, error, "o-", color=PREDICTION, ms=4, lw=1.3, label="mean absolute error")
        if errors.nodes.n_elements:
            ax.plot([0], [ev_to_millihartree(errors.nodes.magnitude)], "s", color=REFERENCE, ms=6)
            ax.plot([0], [ev_to_millihartree(errors.nodes.mean_absolute)], "s", color=PREDICTION, ms=6)
        log_if_positive(ax, np.concatenate([error, magnitude]))
        ax.set_xlim(-0.4, (rows[-1].upper if rows else 1.0) + 0.2)
        ax.set_xlabel("distance between the atoms / Å  (squares: on site)")
        ax.set_ylabel("mE$_h$")
        ax.legend(loc="upper right")
    return figure


def training_figure(log: TrainingLog) -> Figure:
    """Draw the loss of training and validation, and ε_n, ε_e, ε_tot of the validation, against the epoch."""
    with styled():
        figure = Figure(figsize=(9.6 if log.measured else 6.0, 3.6), layout="constrained")
        axes = figure.subplots(1, 2 if log.measured else 1, squeeze=False)[0]
        _draw_losses(axes[0], log)
        if log.measured:
            lines = (
                (log.eps_n, "ε$_n$ (on site)", NODES),
                (log.eps_e, "ε$_e$ (between atoms)", EDGES),
                (log.eps_tot, "ε$_{tot}$ (all)", REFERENCE),
            )
            for values, label, color in lines:
                known = np.isfinite(values)
                if known.any():
                    axes[1].plot(log.epoch[known], values[known], "o-", ms=2.5, color=color, label=label)
            log_if_positive(axes[1], np.concatenate([values for values, _, _ in lines]))
            axes[1].set(title="Error of the validation parts", xlabel="epoch", ylabel="mE$_h$")
            axes[1].legend(loc="best")
        for ax in axes:
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return figure


def _draw_levels(ax: Axes, prediction: Spectrum | None, reference: Spectrum | None) -> None:
    if reference is not None:
        index = np.arange(1, reference.n_levels + 1)
        ax.plot(index, reference.eigenvalues, ".", color=HALO, ms=9, mew=0, label="reference", rasterized=True)
    if prediction is not None:
        index = np.arange(1, prediction.n_levels + 1)
        ax.plot(
            index,
            prediction.eigenvalues,
            ".",
            color=PREDICTION,
            ms=3.2,
            mew=0,
            alpha=0.7,
            label="prediction",
            rasterized=True,
        )
    ax.set_xlabel("level")
    ax.set_ylabel("energy / eV")


def _draw_gap_window(ax: Axes, spectrum: Spectrum) -> None:
    """Draw a dashed box between HOMO and LUMO."""
    if not spectrum.gap > 0:
        return
    n = spectrum.n_levels
    margin = 0.02 * n
    ax.add_patch(
        Rectangle(
            (1 - margin, spectrum.homo),
            n - 1 + 2 * margin,
            spectrum.gap,
            fill=False,
            ls="--",
            lw=1.1,
            ec="black",
            label=f"gap {spectrum.gap:.2f} eV",
            zorder=3,
        )
    )


def _draw_level_errors(ax: Axes, prediction: Spectrum, reference: Spectrum) -> None:
    ours, theirs = common_levels(prediction, reference)
    error = 1e3 * (ours - theirs)
    ax.axhline(0, color=REFERENCE, lw=0.9)
    ax.plot(theirs, error, ".", color=PREDICTION, ms=3.2, mew=0, alpha=0.7, rasterized=True)
    if reference.gap > 0:
        ax.axvspan(reference.homo, reference.lumo, color="#f3e9c9", zorder=0, lw=0)
    ax.set(title="Error of each level", xlabel="reference energy / eV", ylabel="prediction − reference / meV")


def _draw_parity(ax: Axes, reference: np.ndarray, prediction: np.ndarray, color: str) -> None:
    ax.set_xlabel("reference / eV")
    ax.set_ylabel("prediction / eV")
    if len(reference) == 0:
        return
    ends = [float(min(reference.min(), prediction.min())), float(max(reference.max(), prediction.max()))]
    pad = 0.04 * (ends[1] - ends[0]) or 1.0
    ax.plot(reference, prediction, ".", color=color, ms=4, mew=0, alpha=0.35, rasterized=True)
    ax.plot(ends, ends, color="#8a94a3", lw=0.8, ls="--", zorder=1)
    ax.set_xlim(ends[0] - pad, ends[1] + pad)
    ax.set_ylim(ends[0] - pad, ends[1] + pad)
    ax.set_aspect("equal")


def _draw_losses(ax: Axes, log: TrainingLog) -> None:
    ax.plot(log.epoch, log.loss, color=EDGES, lw=1.3, label="training")
    validated = np.isfinite(log.validation_loss)
    epoch, loss = log.epoch[validated], log.validation_loss[validated]
    if validated.any():
        ax.plot(epoch, loss, color=PREDICTION, lw=1.3, label="validation")
        ax.plot([log.epoch[log.best]], [loss.min()], "o", color=PREDICTION, ms=5, label="best (kept)")
    for k, epoch in enumerate(_steps_down(log)):
        ax.axvline(epoch, color="#8a94a3", lw=0.8, ls=":", label="learning rate lowered" if k == 0 else None)
    log_if_positive(ax, np.concatenate([log.loss, loss]))
    ax.set(title="Loss", xlabel="epoch", ylabel="loss")
    ax.legend(loc="upper right")


def _steps_down(log: TrainingLog) -> np.ndarray:
    """Return the epochs from which a lower rate held; none of a rate that falls all the time, which has no steps."""
    lowered = np.diff(log.learning_rate) < 0
    return log.epoch[1:][lowered] if 2 * lowered.sum() <= len(lowered) else log.epoch[:0]


def _share(drawn: int, total: int) -> str:
    return f"{total:,} elements" if drawn == total else f"{drawn:,} of {total:,} elements"
