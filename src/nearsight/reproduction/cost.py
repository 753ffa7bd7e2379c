"""Cost: minutes from a structure to its gap, by DFT, by a prediction, by a self-consistent prediction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from nearsight.api.files import read
from nearsight.api.models import load_model
from nearsight.api.spectra import spectrum
from nearsight.progress import Progress, StopToken
from nearsight.report.reproduction_figures import Panel, Series, rows_figure
from nearsight.reproduction.data_sets import data_sets
from nearsight.reproduction.measures import title_of
from nearsight.reproduction.networks import ways
from nearsight.reproduction.protocol import CostProtocol
from nearsight.reproduction.result import Line, Result
from nearsight.reproduction.trainings import Training, prediction
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace, read_numbers, write_numbers

DFT = "DFT"
NETWORK = "nearsight"


def units(name: str, protocol: CostProtocol, workspace: Workspace) -> list[Unit]:
    """Return the training, and the timed prediction of every structure that is there."""
    tests = [name for name in protocol.tests if not workspace.missing([name])]
    if not tests or workspace.missing(protocol.train):
        return []
    training = _training(protocol, workspace)
    return [training.unit(), *(_timing(training, test) for test in tests)]


def result(name: str, protocol: CostProtocol, workspace: Workspace) -> Result:
    """Return minutes and gaps by size of the structure; sizes that are not there are modelled, and called so."""
    lines = []
    for row, (test, found) in enumerate(_found(protocol, workspace)):
        labels = (f"{found['atoms']:,.0f}", "measured")
        minutes = protocol.dft_minutes.get(test)
        lines.append(Line(labels, DFT, {"minutes": minutes, "gap_eV": found["gap_ref_eV"], "gap_error_meV": 0.0}, row))
        lines += [Line(labels, who, values, row) for who, values in found["ways"].items()]
    lines += _modelled(protocol, lines)
    return Result(
        name,
        protocol.title,
        protocol.question,
        protocol.columns,
        protocol.measures,
        tuple(lines),
        tuple(_seen(lines)),
        protocol.differs,
        tuple(missing(protocol, workspace)),
        {"minutes of the training": workspace.budget(protocol.minutes, protocol.quick_minutes), "seed": workspace.seed},
        "Minutes from a structure to its gap: prediction and eigenvalues, against the CPU time of the SCF.",
    )


def figure(result: Result, protocol: CostProtocol) -> Figure | None:
    """Return minutes against the number of atoms."""
    labels = list(dict.fromkeys(line.labels for line in result.lines))
    series = []
    for who in dict.fromkeys(line.who for line in result.lines):
        values = {line.labels: line.values.get("minutes") for line in result.lines if line.who == who}
        series.append(Series(who, [values.get(label) for label in labels]))
    words = [f"{atoms} ({how})" for atoms, how in labels]
    return rows_figure(words, [Panel(title_of("minutes"), series)], "atoms")


def missing(protocol: CostProtocol, workspace: Workspace) -> list[str]:
    """Return what is missing, and the way to get it."""
    return [data_set.way_to_get_it() for data_set in workspace.missing([*protocol.train, *protocol.tests])]


def _training(protocol: CostProtocol, workspace: Workspace) -> Training:
    return Training(workspace, NETWORK, protocol.train, {}, workspace.budget(protocol.minutes, protocol.quick_minutes))


def _found(protocol: CostProtocol, workspace: Workspace) -> Iterator[tuple[str, dict[str, Any]]]:
    training = _training(protocol, workspace)
    for test in protocol.tests:
        if not workspace.missing([test]):
            yield test, read_numbers(_timing(training, test).result) or {}


def _timing(training: Training, test: str) -> Unit:
    file = training.workspace.needed(test)
    record = training.folder / f"time-{test}-{training.workspace.content(file)[:8]}.json"

    def measure(progress: Progress, stop: StopToken) -> None:
        model, reference, found = load_model(training.folder / "run"), read(file), {}
        exact = spectrum(reference)
        for who, solved in ways(NETWORK, model.inner.density_functional is not None).items():
            if stop.stopped:
                return
            began, cpu = time.monotonic(), time.process_time()
            predicted = prediction(model, file, solved, progress)
            if predicted is None:
                continue
            gap = spectrum(predicted, reference).gap
            found[who] = {
                "minutes": (time.process_time() - cpu) / 60,
                "wall_minutes": (time.monotonic() - began) / 60,
                "gap_eV": gap,
                "gap_error_meV": 1e3 * (gap - exact.gap),
            }
        write_numbers(record, {"atoms": len(reference.structure), "gap_ref_eV": exact.gap, "ways": found})

    return Unit(f"time to the gap of {data_sets()[test].says}", record, 60.0, measure)


def _modelled(protocol: CostProtocol, lines: Sequence[Line]) -> list[Line]:
    """Times of larger structures: diagonalisation grows with the cube of the atoms, all from the largest measured."""
    measured = {line.who: line for line in lines if line.values.get("minutes") is not None}
    found = []
    for row, atoms in enumerate(protocol.modelled_atoms, start=1 + max((line.row for line in lines), default=0)):
        for who, line in measured.items():
            factor = (atoms / _atoms(line)) ** 3
            minutes = line.values["minutes"]
            if minutes is not None:
                found.append(Line((f"{atoms:,}", "modelled, N³"), who, {"minutes": factor * minutes}, row))
    return found


def _atoms(line: Line) -> float:
    return float(line.labels[0].replace(",", ""))


def _seen(lines: Sequence[Line]) -> list[str]:
    times: dict[str, Mapping[str, float | None]] = {}
    for line in lines:
        if line.labels[1] == "measured":
            times.setdefault(line.labels[0], {})
            times[line.labels[0]] = {**times[line.labels[0]], line.who: line.values.get("minutes")}
    said = []
    for atoms, of in times.items():
        dft = of.get(DFT)
        others = [f"{dft / own:.0f} times faster: {who}" for who, own in of.items() if who != DFT and dft and own]
        said += [f"{atoms} atoms, {'; '.join(others)}."] if others else []
    return said
