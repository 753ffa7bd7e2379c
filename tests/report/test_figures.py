"""Figures draw the numbers they are given."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from nearsight.electronic.matrix_errors import BlockErrors, DistanceErrors, MatrixErrors, Parity
from nearsight.electronic.spectrum import Spectrum
from nearsight.report.figures import distance_figure, parity_figure, spectrum_figure, training_figure
from nearsight.report.style import STYLE, data_uri, svg_bytes
from nearsight.report.training_log import TrainingLog
from nearsight.units import HARTREE_IN_EV

NAN = float("nan")
EXACT = np.array([-9.0, -6.0, -5.0, 1.0, 2.0, 9.0])
ERROR = np.array([0.01, -0.02, 0.03, 0.0, -0.05, 0.5])
NOTHING = BlockErrors(0, 0, NAN, NAN, NAN)
MILLIHARTREE = HARTREE_IN_EV / 1e3


def spectrum(levels: np.ndarray, n_occupied: int = 3, singly: bool = False) -> Spectrum:
    return Spectrum(levels, n_occupied, 1.0, 0.0, singly)


def block_errors(error: float, magnitude: float) -> BlockErrors:
    """Given in mE_h."""
    return BlockErrors(2, 8, error * MILLIHARTREE, 3 * error * MILLIHARTREE, magnitude * MILLIHARTREE)


def matrix_errors(nodes: BlockErrors, distances: tuple[DistanceErrors, ...]) -> MatrixErrors:
    return MatrixErrors(nodes, NOTHING, NOTHING, (), distances, NOTHING, True)


def training_log(**columns: list[float]) -> TrainingLog:
    """Four epochs; what is not given was not measured."""
    names = ("seconds", "loss", "validation_loss", "learning_rate", "eps_n", "eps_e", "eps_tot")
    return TrainingLog(np.arange(1, 5), *(np.array(columns.get(name, [NAN] * 4)) for name in names))


def every_figure() -> dict[str, Figure]:
    """One of each kind, from fixed numbers."""
    parity = Parity(EXACT, EXACT + ERROR, EXACT / 2, EXACT / 2 - ERROR, 6, 6)
    errors = matrix_errors(block_errors(2.0, 90.0), (DistanceErrors(1.5, 2.0, block_errors(1.0, 40.0)),))
    log = training_log(
        loss=[8, 4, 2, 1],
        validation_loss=[9, 5, 6, 7],
        learning_rate=[1e-2, 1e-2, 1e-3, 1e-3],
        eps_n=[3, NAN, 2, NAN],
        eps_e=[1, NAN, 0.5, NAN],
        eps_tot=[1.5, NAN, 0.75, NAN],
    )
    return {
        "spectrum": spectrum_figure(spectrum(EXACT + ERROR), spectrum(EXACT)),
        "parity": parity_figure(parity),
        "distance": distance_figure(errors),
        "training": training_figure(log),
    }


FIGURES = list(every_figure())


def drawn(ax: Axes, label: str) -> tuple[list[float], list[float]]:
    """x and y of the one line with this label."""
    (line,) = (line for line in ax.lines if line.get_label() == label)
    return data(line)


def data(line: Line2D) -> tuple[list[float], list[float]]:
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def labels(ax: Axes) -> set[str]:
    return {str(line.get_label()) for line in ax.lines if not str(line.get_label()).startswith("_")}


def legend(ax: Axes) -> set[str]:
    return {text.get_text() for text in ax.get_legend().get_texts()}


def box(ax: Axes) -> Rectangle:
    """The one frame without filling."""
    (patch,) = (p for p in ax.patches if isinstance(p, Rectangle) and not p.get_fill())
    return patch


def test_spectrum_levels():
    levels, gap, _ = spectrum_figure(spectrum(EXACT + ERROR), spectrum(EXACT)).axes
    for ax in (levels, gap):
        assert drawn(ax, "reference") == ([1, 2, 3, 4, 5, 6], EXACT.tolist())
        assert drawn(ax, "prediction") == ([1, 2, 3, 4, 5, 6], (EXACT + ERROR).tolist())


def test_spectrum_gap_window():
    """Box and band from the reference's HOMO −5 to its LUMO 1; the enlarged panel has 3 eV around them."""
    levels, gap, _ = spectrum_figure(spectrum(EXACT + ERROR), spectrum(EXACT)).axes
    assert (box(levels).get_y(), box(levels).get_height()) == (-5.0, 6.0)
    assert legend(levels) == {"reference", "prediction", "gap 6.00 eV"}
    assert gap.get_ylim() == (-8.0, 4.0)
    first, last = gap.get_xlim()
    assert 1 < first < 2 < 5 < last < 6  # levels 2 to 5 lie in it
    (band,) = gap.patches
    assert (band.get_y(), band.get_height()) == (-5.0, 6.0)
    assert [-2.0, -2.0] in [data(line)[1] for line in gap.lines]  # mid-gap
    assert [text.get_text() for text in gap.texts] == ["mid-gap"]


def test_spectrum_level_errors():
    """E_pred − E_ref in meV over E_ref."""
    ax = spectrum_figure(spectrum(EXACT + ERROR), spectrum(EXACT)).axes[2]
    energy, error = data(ax.lines[-1])
    assert energy == EXACT.tolist()
    assert error == pytest.approx(1e3 * ERROR)


@pytest.mark.parametrize("which", ["prediction", "reference"])
def test_one_spectrum(which):
    figure = spectrum_figure(**{which: spectrum(EXACT)})
    assert len(figure.axes) == 2
    assert drawn(figure.axes[0], which)[1] == EXACT.tolist()
    assert labels(figure.axes[0]) == {which}
    assert box(figure.axes[0]).get_height() == 6.0


def test_no_spectrum():
    with pytest.raises(ValueError, match="expected at least one spectrum"):
        spectrum_figure()


@pytest.mark.parametrize(("n_occupied", "singly", "text"), [(2, True, ["Fermi level"]), (0, False, []), (6, False, [])])
def test_spectrum_without_a_gap(n_occupied, singly, text):
    """Half-filled, empty and full levels have no box; they can be drawn and written all the same."""
    figure = spectrum_figure(spectrum(EXACT + ERROR, n_occupied, singly), spectrum(EXACT, n_occupied, singly))
    assert drawn(figure.axes[0], "reference")[1] == EXACT.tolist()
    assert len(figure.axes[0].patches) == 0
    assert [t.get_text() for t in figure.axes[1].texts] == text
    assert svg_bytes(figure).endswith(b"</svg>\n")


def test_one_level():
    figure = spectrum_figure(spectrum(np.array([1.0]), 0, True))
    assert drawn(figure.axes[0], "prediction") == ([1], [1.0])
    assert svg_bytes(figure).endswith(b"</svg>\n")


def test_parity():
    parity = Parity(np.array([1.0, -2.0]), np.array([1.5, -2.5]), np.array([0.25]), np.array([0.75]), 2, 4000)
    node, edge = parity_figure(parity).axes
    assert data(node.lines[0]) == ([1.0, -2.0], [1.5, -2.5])
    assert data(edge.lines[0]) == ([0.25], [0.75])
    assert data(node.lines[1]) == ([-2.5, 1.5], [-2.5, 1.5])  # where both are equal
    assert node.get_xlim() == node.get_ylim()
    assert node.get_xlim()[0] < -2.5 < 1.5 < node.get_xlim()[1]
    assert node.get_title(loc="left") == "On site (2 elements)"
    assert edge.get_title(loc="left") == "Between atoms (1 of 4,000 elements)"


def test_parity_of_an_atom_alone():
    """No elements between atoms; one value only on site."""
    parity = Parity(np.array([2.0]), np.array([2.0]), np.array([]), np.array([]), 1, 0)
    figure = parity_figure(parity)
    assert data(figure.axes[0].lines[0]) == ([2.0], [2.0])
    assert len(figure.axes[1].lines) == 0
    assert svg_bytes(figure).endswith(b"</svg>\n")


def test_distance():
    rows = (DistanceErrors(1.5, 2.0, block_errors(1.0, 40.0)), DistanceErrors(7.5, 8.0, block_errors(0.01, 0.02)))
    (ax,) = distance_figure(matrix_errors(block_errors(2.0, 90.0), rows)).axes
    distance, error = drawn(ax, "mean absolute error")
    assert distance == [1.75, 7.75]
    assert error == pytest.approx([1.0, 0.01])
    assert drawn(ax, "mean |H| of the reference")[1] == pytest.approx([40.0, 0.02])
    on_site = [data(line) for line in ax.lines if line.get_marker() == "s"]
    assert [x for x, _ in on_site] == [[0], [0]]
    assert sorted(y[0] for _, y in on_site) == pytest.approx([2.0, 90.0])
    assert ax.get_yscale() == "log"
    assert ax.get_xlim()[0] < 0 < 7.75 < ax.get_xlim()[1]


def test_distance_with_a_perfect_bin():
    """Zero has no logarithm."""
    rows = (DistanceErrors(1.5, 2.0, block_errors(0.0, 40.0)),)
    (ax,) = distance_figure(matrix_errors(NOTHING, rows)).axes
    assert ax.get_yscale() == "linear"
    assert drawn(ax, "mean absolute error") == ([1.75], [0.0])
    assert not [line for line in ax.lines if line.get_marker() == "s"]


def test_distance_without_edges():
    figure = distance_figure(matrix_errors(block_errors(2.0, 90.0), ()))
    assert drawn(figure.axes[0], "mean absolute error") == ([], [])
    assert svg_bytes(figure).endswith(b"</svg>\n")


def test_training_losses():
    log = training_log(loss=[8, 4, 2, 1], validation_loss=[9, 5, NAN, 7], learning_rate=[1e-2, 1e-2, 1e-3, 1e-3])
    (ax,) = training_figure(log).axes
    assert drawn(ax, "training") == ([1, 2, 3, 4], [8, 4, 2, 1])
    assert drawn(ax, "validation") == ([1, 2, 4], [9, 5, 7])
    assert drawn(ax, "best (kept)") == ([2], [5])
    assert drawn(ax, "learning rate lowered")[0] == [3, 3]
    assert ax.get_yscale() == "log"


def test_training_without_validation():
    (ax,) = training_figure(training_log(loss=[8, 4, 2, 0], learning_rate=[1e-2] * 4)).axes
    assert labels(ax) == {"training"}
    assert drawn(ax, "training") == ([1, 2, 3, 4], [8, 4, 2, 0])
    assert ax.get_yscale() == "linear"  # a loss of zero


def test_a_rate_that_falls_all_the_time_has_no_steps():
    log = training_log(loss=[8, 4, 2, 1], learning_rate=[4e-3, 3e-3, 2e-3, 1e-3])
    assert labels(training_figure(log).axes[0]) == {"training"}


def test_training_that_holds_out_bonds_alone():
    """No on-site errors: no line and no entry of the legend for them."""
    _, ax = training_figure(training_log(loss=[8, 4, 2, 1], eps_e=[1, NAN, 0.5, NAN], eps_tot=[1, NAN, 0.5, NAN])).axes
    assert legend(ax) == {"ε$_e$ (between atoms)", "ε$_{tot}$ (all)"}
    assert ax.get_yscale() == "log"


def test_training_errors():
    """Only the epochs that measured them."""
    log = training_log(
        loss=[8, 4, 2, 1], eps_n=[3, NAN, 2, NAN], eps_e=[1, NAN, 0.5, NAN], eps_tot=[1.5, NAN, 0.75, NAN]
    )
    _, ax = training_figure(log).axes
    assert drawn(ax, "ε$_n$ (on site)") == ([1, 3], [3, 2])
    assert drawn(ax, "ε$_e$ (between atoms)") == ([1, 3], [1, 0.5])
    assert drawn(ax, "ε$_{tot}$ (all)") == ([1, 3], [1.5, 0.75])
    assert legend(ax) == {"ε$_n$ (on site)", "ε$_e$ (between atoms)", "ε$_{tot}$ (all)"}


def test_training_that_diverged():
    """NaN and infinity are left out of the drawing, and the rest is written."""
    log = training_log(loss=[8, 4, NAN, np.inf], validation_loss=[9, 5, NAN, np.inf])
    figure = training_figure(log)
    assert drawn(figure.axes[0], "best (kept)") == ([2], [5])
    assert svg_bytes(figure).endswith(b"</svg>\n")


@pytest.mark.parametrize("name", FIGURES)
def test_same_numbers_same_bytes(name):
    assert svg_bytes(every_figure()[name]) == svg_bytes(every_figure()[name])


def test_other_numbers_other_bytes():
    assert svg_bytes(spectrum_figure(spectrum(EXACT))) != svg_bytes(spectrum_figure(spectrum(EXACT + ERROR)))


@pytest.mark.parametrize("name", FIGURES)
def test_self_contained(name):
    """A data address of an SVG whose references stay inside it; text as outlines, so no font is needed."""
    head, _, body = data_uri(every_figure()[name]).partition(",")
    assert head == "data:image/svg+xml;base64"
    svg = base64.b64decode(body, validate=True)
    elements = list(ElementTree.fromstring(svg).iter())
    references = [value for e in elements for key, value in e.attrib.items() if key.rpartition("}")[2] == "href"]
    assert references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in references)
    assert all(inside.startswith(b"#") for inside in re.findall(rb"url\(([^)]*)\)", svg))
    names = {e.tag.rpartition("}")[2] for e in elements}
    assert not names & {"script", "text", "foreignObject"}
    assert "path" in names


def test_style_stays_inside():
    """Settings of the program that calls are left as they were."""
    before = {key: matplotlib.rcParams[key] for key in STYLE}
    assert before != STYLE
    svg_bytes(every_figure()["parity"])
    assert {key: matplotlib.rcParams[key] for key in STYLE} == before
