"""One of several predictions of the same structure, and the numbers that they are compared by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.spectrum_errors import GAP_WINDOW, SpectrumErrors
from nearsight.report.html import number
from nearsight.report.training_log import TrainingLog
from nearsight.units import ev_to_millihartree


@dataclass(frozen=True, eq=False)
class ComparedPrediction:
    """One of several predictions of the same structure.

    Attributes
    ----------
    name : str
        The name of the network, unique among the predictions.
    evaluation : Evaluation
        The prediction compared with the reference.
    log : TrainingLog or None
        The record of its training.
    facts : sequence of (str, str)
        Names and texts: where the prediction comes from.
    config : str or None
        The configuration of its run, YAML.
    """

    name: str
    evaluation: Evaluation
    log: TrainingLog | None = None
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    config: str | None = None


def key_rows(predictions: Sequence[ComparedPrediction]) -> list[tuple[str, ...]]:
    """Return the numbers that matter most.

    Returns
    -------
    list of tuple of str
        Rows with the name of a number, its text for every prediction, and the reference's own value where it has one.
    """
    rows = [("training", *(_training(c.log) for c in predictions), "")]
    rows += [(name, *(text(c.evaluation) for c in predictions), "") for name, text in _MATRIX]
    if all(c.evaluation.spectrum is None for c in predictions):
        return rows
    rows += [(name, *(_of_levels(c, text) for c in predictions), "") for name, text in _LEVELS]
    rows += [("charges, r.m.s. (Mulliken)", *(_charges(c.evaluation) for c in predictions), "")]
    rows += [("gap, error", *(_of_levels(c, _gap_error) for c in predictions), "")]
    gaps = (s.gap_reference for c in predictions if (s := c.evaluation.spectrum) is not None)
    return [*rows, ("gap", *(_of_levels(c, _gap) for c in predictions), number(next(gaps), ".3f", "eV"))]


_MATRIX: tuple[tuple[str, Callable[[Evaluation], str]], ...] = (
    ("ε_n, on site", lambda e: number(ev_to_millihartree(e.matrix.eps_n), ".3f", "mE_h")),
    ("ε_e, between atoms", lambda e: number(ev_to_millihartree(e.matrix.eps_e), ".4f", "mE_h")),
    ("ε_tot, all elements", lambda e: number(ev_to_millihartree(e.matrix.eps_tot), ".4f", "mE_h")),
    ("ε_tot, in meV", lambda e: number(1e3 * e.matrix.eps_tot, ".2f", "meV")),
)
_LEVELS: tuple[tuple[str, Callable[[SpectrumErrors], str]], ...] = (
    ("levels, relative L1", lambda s: number(100 * s.relative_l1, ".3f", "%")),
    ("relative L1, occupied", lambda s: number(100 * s.relative_l1_occupied, ".3f", "%")),
    ("levels, mean error", lambda s: number(1e3 * s.mean_absolute, ".1f", "meV")),
    ("occupied levels, mean error", lambda s: number(1e3 * s.mean_absolute_occupied, ".1f", "meV")),
    (f"within {GAP_WINDOW:g} eV of the gap", lambda s: number(1e3 * s.mean_absolute_near_gap, ".1f", "meV")),
)


def _gap(errors: SpectrumErrors) -> str:
    return number(errors.gap_prediction, ".3f", "eV")


def _gap_error(errors: SpectrumErrors) -> str:
    return number(1e3 * (errors.gap_prediction - errors.gap_reference), "+.0f", "meV")


def _charges(evaluation: Evaluation) -> str:
    return number(np.nan if evaluation.states is None else evaluation.states.rms_charge, ".4f", "e")


def _of_levels(prediction: ComparedPrediction, text: Callable[[SpectrumErrors], str]) -> str:
    errors = prediction.evaluation.spectrum
    return number(np.nan, "") if errors is None else text(errors)


def _training(log: TrainingLog | None) -> str:
    if log is None:
        return number(np.nan, "")
    epochs = int(log.epoch[-1])
    return f"{number(log.seconds[-1] / 60, '.1f')} min, {epochs:,} {'epoch' if epochs == 1 else 'epochs'}"
