"""Figures of several predictions draw each one's numbers, in one colour throughout."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.matrix_errors import DistanceErrors, Parity
from nearsight.report.compared_prediction import ComparedPrediction
from nearsight.report.comparison_figures import COLORS, errors_figure, levels_figure, states_figure, trainings_figure
from nearsight.report.style import svg_bytes
from nearsight.report.training_log import TrainingLog
from tests.report.test_figures import (
    ERROR,
    EXACT,
    NAN,
    block_errors,
    drawn,
    labels,
    legend,
    matrix_errors,
    spectrum,
    training_log,
)

NOTHING = np.array([])
REFERENCE = spectrum(EXACT)


def candidate(name: str, scale: float, log: TrainingLog | None = None) -> ComparedPrediction:
    """Errors of this scale, in mE_h and in units of ERROR."""
    errors = matrix_errors(block_errors(2 * scale, 90.0), (DistanceErrors(1.5, 2.0, block_errors(scale, 40.0)),))
    parity = Parity(NOTHING, NOTHING, NOTHING, NOTHING, 0, 0)
    return ComparedPrediction(
        name, Evaluation(errors, parity, 0.0, None, spectrum(EXACT + scale * ERROR), REFERENCE), log
    )


def colors(ax: Axes, *names: str) -> list[str]:
    return [next(str(line.get_color()) for line in ax.lines if line.get_label() == name) for name in names]


def test_levels():
    near, errors = levels_figure([candidate("a", 1.0), candidate("b", 0.1)], REFERENCE).axes
    assert drawn(near, "reference")[1] == EXACT.tolist()
    assert drawn(near, "b")[1] == (EXACT + 0.1 * ERROR).tolist()
    energy, error = drawn(errors, "a")
    assert energy == EXACT.tolist()
    assert error == pytest.approx(1e3 * ERROR)
    assert near.get_ylim() == (-8.0, 4.0)
    assert colors(near, "a", "b") == colors(errors, "a", "b") == list(COLORS[:2])


def test_states():
    energies, ours, theirs = np.linspace(-10, 10, 5), np.array([0.0, 1, 2, 9, 0]), np.array([0.0, 2, 1, 8, 0])
    whole, near = states_figure(energies, theirs, [("a", ours)], REFERENCE).axes
    assert drawn(whole, "a") == drawn(near, "a") == (energies.tolist(), ours.tolist())
    assert legend(whole) == {"reference", "a"}
    assert near.get_xlim() == (-8.0, 4.0)
    assert near.get_ylim() == (0.0, pytest.approx(1.05 * 2))  # 9 lies outside


def test_errors():
    (ax,) = errors_figure([candidate("a", 1.0), candidate("b", 0.1)]).axes
    assert drawn(ax, "a") == ([1.75], pytest.approx([1.0]))
    assert drawn(ax, "b") == ([1.75], pytest.approx([0.1]))
    assert drawn(ax, "mean |H| of the reference") == ([1.75], pytest.approx([40.0]))
    on_site = [float(np.asarray(line.get_ydata())[0]) for line in ax.lines if line.get_marker() == "s"]
    assert sorted(on_site) == pytest.approx([0.2, 2.0, 90.0])
    assert ax.get_yscale() == "log"


def test_trainings():
    """Losses as multiples of the first; a run without validation has no such curve, one without a log no curve."""
    time = [60.0, 120, 180, 240]
    full = training_log(seconds=time, loss=[8, 4, 2, 1], validation_loss=[NAN, 10, 5, 20], eps_e=[3, NAN, 2, NAN])
    bare = training_log(seconds=time, loss=[0.5, 0.25, 0.125, 0.1])
    runs = [candidate("none", 1.0), candidate("full", 1.0, full), candidate("bare", 1.0, bare)]
    loss, errors = trainings_figure(runs).axes
    assert drawn(loss, "full, training") == ([1, 2, 3, 4], [1, 0.5, 0.25, 0.125])
    assert drawn(loss, "full, validation") == ([2, 3, 4], [1, 0.5, 2])
    assert drawn(loss, "bare, training")[1] == pytest.approx([1, 0.5, 0.25, 0.2])
    assert labels(loss) == {"full, training", "full, validation", "bare, training"}
    assert drawn(errors, "full") == ([1, 3], [3, 2])
    assert labels(errors) == {"full"}
    assert colors(loss, "full, training", "bare, training") == list(COLORS[1:3])
    assert len(trainings_figure(runs[2:]).axes) == 1  # nothing measured


def test_same_numbers_same_bytes():
    def draw() -> list[Figure]:
        runs = [candidate("a", 1.0, training_log(seconds=[1, 2, 3, 4], loss=[8, 4, 2, 1]))]
        return [levels_figure(runs, REFERENCE), errors_figure(runs), trainings_figure(runs)]

    assert [svg_bytes(f) for f in draw()] == [svg_bytes(f) for f in draw()]
