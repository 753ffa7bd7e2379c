"""Slices: time of an epoch and size of the largest part against their number (Fig. 11 of the paper)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nearsight.api.files import read
from nearsight.api.models import train
from nearsight.partition.partition import with_halo
from nearsight.partition.slabs import Slabs
from nearsight.progress import Progress, StopToken, labelled
from nearsight.report.reproduction_figures import Panel, Series, rows_figure
from nearsight.reproduction.data_sets import data_sets
from nearsight.reproduction.measures import title_of
from nearsight.reproduction.networks import PAPER
from nearsight.reproduction.protocol import SlicesProtocol
from nearsight.reproduction.result import Line, Result
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace, read_numbers, write_numbers
from nearsight.structures.graph import build_graph

NETWORK = "xia2025"
CUTOFF = 8.0
HERE = "xia2025, one core"


def units(name: str, protocol: SlicesProtocol, workspace: Workspace) -> list[Unit]:
    """Return a short training for each number of slices; nothing where the data are missing."""
    if missing(protocol, workspace):
        return []
    epochs = protocol.quick_epochs if workspace.quick else protocol.epochs
    return [_unit(protocol, workspace, count, epochs) for count in protocol.counts]


def result(name: str, protocol: SlicesProtocol, workspace: Workspace) -> Result:
    """Return seconds, speed-up and sizes by number of slices."""
    lines = [Line((str(n),), PAPER, {"speed_up": value}, row) for row, (n, value) in _paper(protocol)]
    records = [read_numbers(unit.result) or {} for unit in units(name, protocol, workspace)]
    whole = records[0]
    for row, (count, found) in enumerate(zip(protocol.counts, records)):
        rank = found["seconds"] * found["largest_share_of_work"]
        values = {
            "seconds": found["seconds"],
            "speed_up": whole["seconds"] / rank,
            "virtual_edges": found["virtual_edges"],
            "memory_factor": whole["largest_edges"] / found["largest_edges"],
        }
        lines.append(Line((str(count),), HERE, values, row))
    lines.sort(key=lambda line: line.row)
    return Result(
        name,
        protocol.title,
        protocol.question,
        protocol.columns,
        protocol.measures,
        tuple(lines),
        (_seen(lines, protocol),),
        (*protocol.differs, f"Structure: {data_sets()[protocol.data].says}."),
        (),
        {"seed": workspace.seed},
        "Speed-up of an epoch where every slice has a processor of its own, and how much smaller the largest part is "
        "than the whole. Grey: the paper, on A100s.",
    )


def figure(result: Result, protocol: SlicesProtocol) -> Figure | None:
    """Return speed-up, and edges of the whole over those of the largest part, against the number of slices."""
    labels = [str(count) for count in protocol.counts]
    panels = []
    for measure in ("speed_up", "memory_factor"):
        series = [
            Series(who, [_value(result.lines, label, who, measure) for label in labels], who == PAPER)
            for who in (PAPER, HERE)
        ]
        ideal = Series("ideal", [float(label) for label in labels], True)
        panels.append(Panel(title_of(measure), [ideal, *series]))
    return rows_figure(labels, panels, "number of slices", "lines")


def missing(protocol: SlicesProtocol, workspace: Workspace) -> list[str]:
    """Return what is missing, and the way to get it."""
    return [data_set.way_to_get_it() for data_set in workspace.missing([protocol.data])]


def _value(lines: Sequence[Line], label: str, who: str, measure: str) -> float | None:
    return next((line.values.get(measure) for line in lines if line.who == who and line.labels == (label,)), None)


def _paper(protocol: SlicesProtocol) -> list[tuple[int, tuple[int, float]]]:
    return [(protocol.counts.index(n), (n, value)) for n, value in protocol.paper.items() if n in protocol.counts]


def _unit(protocol: SlicesProtocol, workspace: Workspace, count: int, epochs: int) -> Unit:
    file = workspace.needed(protocol.data)
    claim = {"data": workspace.content(file), "count": count, "epochs": epochs, "seed": workspace.seed}
    folder = workspace.place("trainings", f"slices-{count}", claim)

    def measure(progress: Progress, stop: StopToken) -> None:
        seconds = _seconds_of_epoch(file, folder / "run", count, epochs, workspace.seed, labelled(progress, "  "), stop)
        if seconds is not None:
            write_numbers(folder / "done.json", {"seconds": seconds, **_sizes(file, count)})

    return Unit(f"{epochs} epochs in {count} slices", folder / "done.json", 10.0 + 2 * epochs, measure)


def _seconds_of_epoch(
    file: Path, run: Path, count: int, epochs: int, seed: int, progress: Progress, stop: StopToken
) -> float | None:
    """Least seconds of an epoch of all slices one after another, the first one left out; None where stopped."""
    cut: dict[str, Any] = (
        {"partition.kind": "whole"} if count == 1 else {"partition.count": count, "partition.thickness": None}
    )
    changes = cut | {
        "data.validation_slabs": 0,
        "optimizer.batches_per_step": count,
        "max_epochs": epochs,
        "seed": seed,
        "data.check": False,
    }
    run.parent.mkdir(parents=True, exist_ok=True)
    model = train([file], preset=NETWORK, run_dir=run, overrides=changes, progress=progress, stop=stop)
    if model.training is None or model.training.interrupted:
        return None
    records = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    ends = np.array([0.0, *(record["seconds"] for record in records)])
    return float(np.diff(ends)[1:].min())


def _sizes(file: Path, count: int) -> dict[str, float]:
    """Edges of the largest part, its share of all the work, and virtual edges for each labelled one."""
    structure = read(file).structure
    graph = build_graph(structure, CUTOFF)
    labels = Slabs(count=count).assign(structure)
    parts = [with_halo(graph, labels == k) for k in range(count)]
    edges = [part.n_edges for part in parts]
    own = sum(part.n_labelled_edges for part in parts)
    return {
        "largest_edges": max(edges),
        "largest_share_of_work": max(edges) / sum(edges),
        "virtual_edges": (sum(edges) - own) / own,
    }


def _seen(lines: Sequence[Line], protocol: SlicesProtocol) -> str:
    last = max(protocol.counts)
    ours, theirs = (_value(lines, str(last), who, "speed_up") for who in (HERE, PAPER))
    paper = "" if theirs is None else f"; the paper's is {theirs:.1f} on 8 A100s, of slices three times as thick"
    return f"{last} slices: speed-up {ours:.1f} where each has a processor of its own{paper}."
