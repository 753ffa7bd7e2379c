"""Figures of calculations alone: structures, decay of H, cutoffs, response to one atom (Figs. 7 to 10 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nearsight.api.figures import (
    Analysis,
    decay_with_distance,
    levels_by_cutoff,
    response_to_one_atom,
    structure_comparison,
)
from nearsight.progress import Progress, StopToken
from nearsight.reproduction.data_sets import data_sets
from nearsight.reproduction.protocol import AnalysisProtocol
from nearsight.reproduction.result import Line, Result
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace, read_numbers, write_numbers
from nearsight.reproduction.writing import write_figure
from nearsight.units import ev_to_millihartree

DFT = "DFT"
HERE = "here"
SECONDS = {"structure": 2.0, "decay": 3.0, "cutoff": 60.0, "response": 1.0}
"""Of an analysis, for each calculation, roughly."""
LEAST_MEV = 1.0
"""meV: an element below it does not count."""


def units(name: str, protocol: AnalysisProtocol, workspace: Workspace) -> list[Unit]:
    """Return the analysis as one piece of work; nothing where no data are there."""
    sources = _sources(protocol, workspace)
    if not sources:
        return []
    claim = {"of": {title: workspace.content(path) for title, path in sources.items()}}
    record = workspace.folder / name / f"numbers-{workspace.place('', name, claim).name[-10:]}.json"

    def analyse(progress: Progress, stop: StopToken) -> None:
        found = _ANALYSES[protocol.analysis](sources)
        write_figure(record.parent, found.draw())
        write_numbers(record, found.numbers)

    return [Unit(protocol.title, record, SECONDS[protocol.analysis] * len(sources), analyse)]


def result(name: str, protocol: AnalysisProtocol, workspace: Workspace) -> Result:
    """Return the numbers behind the figure."""
    sources = _sources(protocol, workspace)
    numbers = read_numbers(units(name, protocol, workspace)[0].result) or {}
    on_site = _mean_on_site(sources) if protocol.analysis == "response" else 0.0
    lines = _LINES[protocol.analysis](numbers, on_site)
    said = [f"{title}: {data_sets()[protocol.sources[title]].says}" for title in sources]
    return Result(
        name,
        protocol.title,
        protocol.question,
        protocol.columns,
        protocol.measures,
        tuple(lines),
        tuple(f"In the paper: {text}" for text in protocol.paper),
        (*protocol.differs, f"Data: {'; '.join(said)}."),
        tuple(missing(protocol, workspace)),
        {},
        protocol.question,
    )


def figure(result: Result, protocol: AnalysisProtocol) -> Figure | None:
    """Return nothing: the figure was drawn with the analysis."""
    return None


def missing(protocol: AnalysisProtocol, workspace: Workspace) -> list[str]:
    """Return what is missing, and the way to get it."""
    return [data_set.way_to_get_it() for data_set in workspace.missing(list(protocol.sources.values()))]


def _sources(protocol: AnalysisProtocol, workspace: Workspace) -> dict[str, Path]:
    found = {title: workspace.file(name) for title, name in protocol.sources.items()}
    wanted = protocol.quick_sources if workspace.quick and protocol.quick_sources else tuple(found)
    return {title: path for title, path in found.items() if path is not None and title in wanted}


def _response(sources: Mapping[str, Path]) -> Analysis:
    first, *others = sources.items()
    return response_to_one_atom(first[1], dict(others))


_ANALYSES: dict[str, Callable[[Mapping[str, Path]], Analysis]] = {
    "structure": structure_comparison,
    "decay": decay_with_distance,
    "cutoff": levels_by_cutoff,
    "response": _response,
}


def _structure_lines(numbers: Mapping[str, Any], on_site: float) -> list[Line]:
    return [
        Line(
            (title,),
            HERE,
            {
                "coordination": found["mean_coordination"],
                "outliers": sum(count in (4, 8) for count in found["coordination"]),
                "first_peak_A": found["first_peak_A"]["Hf–O"],
            },
            row,
        )
        for row, (title, found) in enumerate(numbers.items())
    ]


def _decay_lines(numbers: Mapping[str, Any], on_site: float) -> list[Line]:
    lines = []
    for row, (title, found) in enumerate(numbers.items()):
        distance, largest = np.array(found["distance_A"]), np.array(found["largest_eV"])
        felt = distance[1e3 * largest > LEAST_MEV]
        near = np.abs(distance - 8) <= 0.5
        values = {
            "reach_A": float(felt.max()) if len(felt) else None,
            "largest_at_8A_mEh": ev_to_millihartree(float(largest[near].max())) if near.any() else None,
        }
        lines.append(Line((title,), DFT, values, row))
    return lines


def _cutoff_lines(numbers: Mapping[str, Any], on_site: float) -> list[Line]:
    rows = [(title, found) for title, every in numbers.items() for found in every]
    return [
        Line(
            (title, "∞" if found["cutoff_A"] is None else f"{found['cutoff_A']:g}"),
            DFT,
            {
                "gap_eV": found["gap_eV"],
                "change_meV": found["mean_change_meV"],
                "change_occupied_meV": found["mean_change_occupied_meV"],
            },
            row,
        )
        for row, (title, found) in enumerate(rows)
    ]


def _response_lines(numbers: Mapping[str, Any], on_site: float) -> list[Line]:
    lines = []
    for row, (title, found) in enumerate(numbers.items()):
        distance, change = np.array(found["distance_A"]), np.array(found["aligned_eV"])
        near, far = (ev_to_millihartree(float(change[w].mean())) for w in (distance < 3, distance > 7))
        values = {"near_mEh": near, "far_mEh": far, "far_percent": 100 * far / on_site if on_site else None}
        lines.append(Line((title,), DFT, values, row))
    return lines


def _mean_on_site(sources: Mapping[str, Path]) -> float:
    """Mean |H| of the on-site blocks of the unchanged structure, mE_h."""
    from nearsight.api.files import read

    h = read(next(iter(sources.values()))).require_hamiltonian()
    own = np.repeat(h.source == h.target, h.lengths)
    return ev_to_millihartree(float(np.abs(h.values[own]).mean()))


_LINES: dict[str, Callable[[Mapping[str, Any], float], list[Line]]] = {
    "structure": _structure_lines,
    "decay": _decay_lines,
    "cutoff": _cutoff_lines,
    "response": _response_lines,
}
