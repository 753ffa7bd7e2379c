"""Levels of predictions beside those of the reference (Fig. 5 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from nearsight.api.models import load_model
from nearsight.api.spectra import evaluate
from nearsight.progress import Progress, StopToken
from nearsight.report.compared_prediction import ComparedPrediction
from nearsight.report.comparison_figures import levels_figure
from nearsight.reproduction.data_sets import data_sets
from nearsight.reproduction.networks import PAPER, PRESETS, ways
from nearsight.reproduction.protocol import LevelsProtocol
from nearsight.reproduction.result import Line, Result
from nearsight.reproduction.trainings import Training, errors_of, prediction
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace, read_numbers, write_numbers
from nearsight.reproduction.writing import write_figure


def units(name: str, protocol: LevelsProtocol, workspace: Workspace) -> list[Unit]:
    """Return the trainings, and the comparison of their levels; nothing where data are missing."""
    if missing(protocol, workspace):
        return []
    trainings = list(_trainings(protocol, workspace))
    folder = workspace.folder / name
    record = folder / f"levels-{workspace.place('', name, {'of': [t.claim for t in trainings]}).name[-10:]}.json"

    def compare(progress: Progress, stop: StopToken) -> None:
        _compare(protocol, workspace, trainings, record, progress, stop)

    return [*(t.unit() for t in trainings), Unit("levels of all predictions", record, 60.0, compare)]


def result(name: str, protocol: LevelsProtocol, workspace: Workspace) -> Result:
    """Return the errors of the levels."""
    record = units(name, protocol, workspace)[-1].result
    lines = [Line((), PAPER, protocol.paper)]
    lines += [Line((), who, values) for who, values in (read_numbers(record) or {}).items()]
    return Result(
        name,
        protocol.title,
        protocol.question,
        (),
        protocol.measures,
        tuple(lines),
        tuple(_seen(line, protocol) for line in lines[1:]),
        (
            *protocol.differs,
            f"Trained on {', '.join(data_sets()[n].says for n in protocol.train)}, tested on "
            f"{data_sets()[protocol.test].says}.",
        ),
        (),
        {
            "minutes of each training": workspace.budget(protocol.minutes, protocol.quick_minutes),
            "seed": workspace.seed,
        },
        "Levels around the gap, and the error of every level against its energy; the gap is shaded.",
    )


def figure(result: Result, protocol: LevelsProtocol) -> Figure | None:
    """Return nothing: the figure was drawn with the comparison."""
    return None


def missing(protocol: LevelsProtocol, workspace: Workspace) -> list[str]:
    """Return what is missing, and the way to get it."""
    return [data_set.way_to_get_it() for data_set in workspace.missing([*protocol.train, protocol.test])]


def _trainings(protocol: LevelsProtocol, workspace: Workspace) -> Iterator[Training]:
    minutes = workspace.budget(protocol.minutes, protocol.quick_minutes)
    for network in PRESETS:
        yield Training(workspace, network, protocol.train, {}, minutes)


def _compare(
    protocol: LevelsProtocol,
    workspace: Workspace,
    trainings: list[Training],
    record: Path,
    progress: Progress,
    stop: StopToken,
) -> None:
    file, compared, numbers = workspace.needed(protocol.test), [], {}
    for training in trainings:
        model = load_model(training.folder / "run")
        for who, solved in ways(training.network, model.inner.density_functional is not None).items():
            if stop.stopped:
                return
            predicted = prediction(model, file, solved, progress)
            if predicted is None:
                continue
            found = evaluate(predicted, file, states=False)
            compared.append(ComparedPrediction(who, found))
            numbers[who] = errors_of(found)
    reference = compared[0].evaluation.reference
    if reference is not None:
        write_figure(record.parent, levels_figure(compared, reference))
    write_numbers(record, numbers)


def _seen(line: Line, protocol: LevelsProtocol) -> str:
    ours, theirs = line.values.get("levels_percent"), protocol.paper.get("levels_percent")
    if ours is None or theirs is None:
        return f"{line.who}: no levels."
    return f"{line.who}: {ours:.3f} % of all levels (the paper's structure: {theirs:.3f} %)."
