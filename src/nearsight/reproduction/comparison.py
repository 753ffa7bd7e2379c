"""Comparisons: networks trained in equal time on the same data, tested on unseen structures, a row at a time."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from nearsight.report.reproduction_figures import Panel, Series, rows_figure
from nearsight.reproduction.data_sets import data_sets
from nearsight.reproduction.findings import sentence
from nearsight.reproduction.measures import title_of
from nearsight.reproduction.networks import PAPER, merged
from nearsight.reproduction.protocol import ComparisonProtocol, Row
from nearsight.reproduction.result import Line, Result
from nearsight.reproduction.trainings import Test, Training, with_levels
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace


def units(name: str, protocol: ComparisonProtocol, workspace: Workspace) -> list[Unit]:
    """Return the trainings and tests of all rows whose data are there."""
    found = []
    for _, _, test in _tests(protocol, workspace):
        start = test.training.start
        found += [start.unit()] if start is not None else []
        found += [test.training.unit(), test.unit()]
    return found


def result(name: str, protocol: ComparisonProtocol, workspace: Workspace) -> Result:
    """Return the table of what is done."""
    lines = [Line(row.labels, PAPER, row.paper, number) for number, row in _rows(protocol, workspace) if row.paper]
    for number, row, test in _tests(protocol, workspace):
        lines += [Line(row.labels, who, values, number) for who, values in with_levels(test).found().items()]
    lines.sort(key=lambda line: line.row)
    return Result(
        name,
        protocol.title,
        protocol.question,
        protocol.columns,
        protocol.measures,
        tuple(lines),
        tuple(sentence(finding, lines) for finding in protocol.findings),
        (*protocol.differs, *_data_said(protocol, workspace)),
        tuple(missing(protocol, workspace)),
        _conditions(protocol, workspace),
        f"{protocol.question} Grey: the paper's numbers, of its own larger structures.",
    )


def missing(protocol: ComparisonProtocol, workspace: Workspace) -> list[str]:
    """Return what is left out, and the way to get it."""
    rows = [row for row in protocol.rows if row.quick or not workspace.quick]
    sets = [data_set for row in rows for data_set in workspace.missing([*row.starts_from, *row.train, row.test])]
    said = [data_set.way_to_get_it() for data_set in dict.fromkeys(sets)]
    short = [" → ".join(row.labels) for row in protocol.rows if workspace.quick and not row.quick]
    said += [f"rows of the full protocol alone: {'; '.join(short)}"] if short else []
    without = workspace.quick and not protocol.levels
    return said + (["levels, and predictions that are self-consistent: the full protocol has them"] if without else [])


def figure(result: Result, protocol: ComparisonProtocol) -> Figure | None:
    """Return the figure of a result."""
    whose = sorted(dict.fromkeys(line.who for line in result.lines), key=lambda who: who != PAPER)
    labels = list(dict.fromkeys(line.labels for line in result.lines))
    panels = []
    for measure in protocol.drawing.measures:
        series = []
        for who in whose:
            values = {line.labels: line.values.get(measure) for line in result.lines if line.who == who}
            series.append(Series(who, [values.get(label) for label in labels], who == PAPER))
        panels.append(Panel(title_of(measure), series))
    words = [", ".join(label) for label in labels]
    return rows_figure(words, panels, protocol.drawing.x or ", ".join(result.columns), protocol.drawing.kind)


def _rows(protocol: ComparisonProtocol, workspace: Workspace) -> Iterator[tuple[int, Row]]:
    for number, row in enumerate(protocol.rows):
        left_out = workspace.quick and not row.quick
        if not left_out and not workspace.missing([*row.starts_from, *row.train, row.test]):
            yield number, row


def _tests(protocol: ComparisonProtocol, workspace: Workspace) -> Iterator[tuple[int, Row, Test]]:
    minutes = workspace.budget(protocol.minutes, protocol.quick_minutes)
    for number, row in _rows(protocol, workspace):
        for network, common in protocol.settings.items():
            own = row.settings.get(network, common)
            if own is None:
                continue
            settings = merged(common or {}, own)
            start = Training(workspace, network, row.starts_from, common or {}, minutes) if row.starts_from else None
            epochs = _epochs(protocol, workspace) if network == "xia2025" else None
            training = Training(workspace, network, row.train, settings, minutes, start, epochs)
            yield number, row, Test(training, row.test, protocol.levels or not workspace.quick)


def _epochs(protocol: ComparisonProtocol, workspace: Workspace) -> int | None:
    if workspace.minutes is not None:
        return None
    return protocol.quick_epochs if workspace.quick else protocol.epochs


def _conditions(protocol: ComparisonProtocol, workspace: Workspace) -> dict[str, object]:
    minutes, epochs = workspace.budget(protocol.minutes, protocol.quick_minutes), _epochs(protocol, workspace)
    every = [protocol.settings, *(row.settings for row in protocol.rows)]
    by_time = any(
        one is not None for settings in every for network, one in settings.items() if network != "xia2025" or not epochs
    )
    return {
        **({"epochs of each training of xia2025": epochs} if epochs else {}),
        **({"minutes of each training": minutes} if by_time else {}),
        "seed": workspace.seed,
    }


def _data_said(protocol: ComparisonProtocol, workspace: Workspace) -> list[str]:
    rows = [row for _, row in _rows(protocol, workspace)]
    trained = dict.fromkeys(data_sets()[name].says for row in rows for name in (*row.starts_from, *row.train))
    tested = dict.fromkeys(data_sets()[row.test].says for row in rows)
    return [f"Trained on {'; '.join(trained)}. Tested on {'; '.join(tested)}."] if rows else []
