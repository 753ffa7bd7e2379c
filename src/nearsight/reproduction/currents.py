"""Currents from predicted matrices beside those from DFT's (Table 6 and Fig. 6 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nearsight.api.files import read
from nearsight.api.matrices import Hamiltonian
from nearsight.api.models import load_model
from nearsight.api.transport import junction, transport
from nearsight.electronic.eigen import solve
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, StopToken
from nearsight.quantum_transport.landauer import current
from nearsight.report.reproduction_figures import Curve, curves_figure
from nearsight.reproduction.data_sets import data_sets
from nearsight.reproduction.networks import PAPER, PRESETS, ways
from nearsight.reproduction.protocol import CurrentsProtocol, FermiLevel
from nearsight.reproduction.result import Line, Result
from nearsight.reproduction.trainings import Training, prediction
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace, read_numbers, write_numbers
from nearsight.reproduction.writing import write_figure

DFT = "DFT"
SECONDS_OF_ENERGY = 0.8
LEAST_TRANSMISSION = 1e-30
_FINE = np.linspace(-0.35, 0.35, 701)
"""eV about the Fermi level: where a current is integrated, ln T interpolated."""


def units(name: str, protocol: CurrentsProtocol, workspace: Workspace) -> list[Unit]:
    """Return the trainings, and the currents of all matrices; nothing where data are missing."""
    if missing(protocol, workspace):
        return []
    trainings = list(_trainings(protocol, workspace))
    axes, levels = _extent(protocol, workspace)
    claim = {"of": [t.claim for t in trainings], "axes": axes, "levels": list(levels), "test": protocol.test}
    record = workspace.folder / name / f"currents-{workspace.place('', name, claim).name[-10:]}.json"

    def work(progress: Progress, stop: StopToken) -> None:
        _compute(protocol, workspace, trainings, record, progress, stop)

    points = len(axes) * sum(level.points for level in levels.values())
    return [
        *(t.unit() for t in trainings),
        Unit("currents of all matrices", record, 45.0 + 4 * points * SECONDS_OF_ENERGY, work),
    ]


def result(name: str, protocol: CurrentsProtocol, workspace: Workspace) -> Result:
    """Return currents, and how many powers of ten a prediction's are off."""
    found = read_numbers(units(name, protocol, workspace)[-1].result) or {}
    lines = list(_paper_lines(protocol))
    rows = list(dict.fromkeys((point["axis"], point["level"]) for point in found.get("currents", [])))
    for point in found.get("currents", []):
        labels = (f"a-HfO2 along {point['axis']}", point["level"])
        row = len(protocol.paper) + rows.index((point["axis"], point["level"]))
        lines += [Line(labels, who, values, row) for who, values in point["of"].items()]
    return Result(
        name,
        protocol.title,
        protocol.question,
        protocol.columns,
        protocol.measures,
        tuple(lines),
        tuple(_seen(lines)),
        (
            *protocol.differs,
            f"Trained on {', '.join(data_sets()[n].says for n in protocol.train)}, tested on "
            f"{data_sets()[protocol.test].says}.",
        ),
        tuple(f"{who}: {why}" for who, why in found.get("without", {}).items()),
        {
            "minutes of each training": workspace.budget(protocol.minutes, protocol.quick_minutes),
            "seed": workspace.seed,
        },
        "Transmission from DFT's and from predicted matrices; energies are relative to the middle of each matrix's own "
        "gap.",
    )


def figure(result: Result, protocol: CurrentsProtocol) -> Figure | None:
    """Return nothing: the figure was drawn with the transmissions."""
    return None


def missing(protocol: CurrentsProtocol, workspace: Workspace) -> list[str]:
    """Return what is missing, and the way to get it."""
    return [data_set.way_to_get_it() for data_set in workspace.missing([*protocol.train, protocol.test])]


def _trainings(protocol: CurrentsProtocol, workspace: Workspace) -> Iterator[Training]:
    minutes = workspace.budget(protocol.minutes, protocol.quick_minutes)
    for network in PRESETS:
        yield Training(workspace, network, protocol.train, {}, minutes)


def _extent(protocol: CurrentsProtocol, workspace: Workspace) -> tuple[str, dict[str, FermiLevel]]:
    """The lattice vectors along which currents are computed, and the Fermi levels."""
    if not workspace.quick:
        return protocol.axes, dict(protocol.levels)
    return protocol.quick_axes, {name: protocol.levels[name] for name in protocol.quick_levels}


def _compute(
    protocol: CurrentsProtocol,
    workspace: Workspace,
    trainings: Sequence[Training],
    record: Path,
    progress: Progress,
    stop: StopToken,
) -> None:
    file = workspace.needed(protocol.test)
    predicted = _predictions(trainings, file, progress, stop)
    if stop.stopped:
        return
    matrices = dict(_on_same_pairs(read(file), predicted))
    axes, levels = _extent(protocol, workspace)
    currents: list[dict[str, Any]] = []
    curves: dict[str, list[Curve]] = {}
    without: dict[str, str] = {}
    for axis in axes:
        of: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
        for who, matrix in matrices.items():
            if stop.stopped:
                return
            progress(Event(f"  transmission along {axis}: {who}"))
            try:
                of[who] = dict(_transmissions(protocol, matrix, "abc".index(axis), levels))
            except InputError as error:  # a rough prediction may reach farther than half of the cell
                if who == DFT:
                    raise
                without[who] = str(error)
                progress(Event(f"  no currents along {axis} of {who}: {error}"))
        for level in levels:
            flowing = {who: _current(protocol, *of[who][level], levels[level].energy) for who in of}
            currents.append({"axis": axis, "level": level, "of": _values(flowing)})
        curves[f"along {axis}"] = [Curve(who, list(windows.values())) for who, windows in of.items()]
    write_figure(record.parent, curves_figure(curves, "energy from the middle of the gap / eV", "transmission"))
    write_numbers(record, {"currents": currents, "without": without})


def _predictions(
    trainings: Sequence[Training], file: Path, progress: Progress, stop: StopToken
) -> dict[str, Hamiltonian]:
    found: dict[str, Hamiltonian] = {}
    for training in trainings:
        model = load_model(training.folder / "run")
        for who, solved in ways(training.network, model.inner.density_functional is not None).items():
            if stop.stopped:
                return found
            predicted = prediction(model, file, solved, progress)
            if predicted is not None:
                found[who] = predicted
    return found


def _on_same_pairs(reference: Calculation, predicted: Mapping[str, Hamiltonian]) -> Iterator[tuple[str, Calculation]]:
    """DFT's matrix and the predicted ones on the same pairs, with DFT's S, each with the middle of its own gap."""
    folded = {who: fold(one.calculation.require_hamiltonian()) for who, one in predicted.items()}
    pairs = next(iter(folded.values()))

    def on_pairs(operator: BlockOperator) -> BlockOperator:
        return operator.on_pairs(pairs.source, pairs.target, pairs.shift)

    s = on_pairs(reference.require_overlap())
    for who, h in {DFT: reference.require_hamiltonian(), **folded}.items():
        filling = solve(on_pairs(h), s, reference.n_electrons).filling()
        middle = (filling.homo + filling.lumo) / 2
        yield who, replace(reference, hamiltonian=on_pairs(h), overlap=s, fermi=middle)


def _transmissions(
    protocol: CurrentsProtocol, matrix: Calculation, axis: int, levels: Mapping[str, FermiLevel]
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Energies about each Fermi level, eV from the middle of the gap, and T there."""
    built = junction(matrix, wide_band=protocol.ends, axis=axis, tolerance=protocol.tolerance)
    for name, level in levels.items():
        energies = level.energy + np.linspace(-level.half_width, level.half_width, level.points)
        yield name, (energies, transport(built, energies).transmission)


def _current(protocol: CurrentsProtocol, energies: np.ndarray, transmission: np.ndarray, level: float) -> float:
    """Current, A, with the Fermi level at an energy (eV) from the middle of the gap."""
    logarithm = np.interp(_FINE + level, energies, np.log(np.maximum(transmission, LEAST_TRANSMISSION)))
    return current(_FINE, np.exp(logarithm), protocol.bias, protocol.temperature)


def _values(flowing: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {
        who: {"current_A": one, **({} if who == DFT else {"log_ratio": float(np.log10(one / flowing[DFT]))})}
        for who, one in flowing.items()
    }


def _paper_lines(protocol: CurrentsProtocol) -> Iterator[Line]:
    for row, (device, (exact, predicted)) in enumerate(protocol.paper.items()):
        yield Line((device, "–"), f"{PAPER}, {DFT}", {"current_A": exact}, row)
        values = {"current_A": predicted, "log_ratio": float(np.log10(predicted / exact))}
        yield Line((device, "–"), PAPER, values, row)


def _seen(lines: Sequence[Line]) -> Iterator[str]:
    off: dict[str, list[float]] = {}
    for line in lines:
        ratio = line.values.get("log_ratio")
        if ratio is not None:
            off.setdefault(line.who, []).append(abs(ratio))
    for who, ratios in off.items():
        yield (
            f"{who}: |log10 I/I_DFT| is {np.median(ratios):.3f} in the median and {max(ratios):.3f} at most, of "
            f"{len(ratios)}."
        )
