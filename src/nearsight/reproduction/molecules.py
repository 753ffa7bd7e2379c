"""Molecules in the paper's splits, from the original databases where a user has them, else computed here (Table 13)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nearsight.api.data import generate
from nearsight.api.models import load_model, train
from nearsight.api.numbers import evaluation_numbers
from nearsight.api.spectra import evaluate
from nearsight.errors import FormatError, InputError
from nearsight.formats.data_names import data_names, read_named
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, StopToken, labelled
from nearsight.report.reproduction_figures import Panel, Series, rows_figure
from nearsight.reproduction.measures import title_of
from nearsight.reproduction.networks import MOST_EPOCHS, PAPER
from nearsight.reproduction.protocol import MoleculeRow, MoleculesProtocol
from nearsight.reproduction.result import Line, Result
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace, read_numbers, write_numbers

PRESETS = {"xia2025": "xia2025-molecules", "nearsight": "nearsight"}
QHNET = "QHNet"


@dataclass(frozen=True)
class _Split:
    """Names of the geometries of a molecule that are trained, validated and tested on."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def units(name: str, protocol: MoleculesProtocol, workspace: Workspace) -> list[Unit]:
    """Return, for every molecule, the making of its geometries, trainings and tests."""
    found = []
    for _, row, counts in _rows(protocol, workspace):
        if _database(row, workspace) is None:
            found.append(_making(protocol, workspace, row, counts))
        found += [_training(protocol, workspace, row, counts, network) for network in PRESETS]
    return found


def result(name: str, protocol: MoleculesProtocol, workspace: Workspace) -> Result:
    """Return the errors beside QHNet's and the paper's."""
    lines: list[Line] = []
    for number, row, counts in _rows(protocol, workspace):
        labels = (row.molecule, "/".join(map(str, counts)))
        paper = (row.molecule, "/".join(map(str, row.paper_counts)))
        lines += [Line(paper, QHNET, {"eps_tot_uEh": row.qhnet}, 2 * number)]
        lines += [Line(paper, PAPER, {"eps_tot_uEh": row.paper}, 2 * number)]
        for network in PRESETS:
            values = read_numbers(_training(protocol, workspace, row, counts, network).result)
            lines += [Line(labels, network, values, 2 * number + 1)] if values is not None else []
    return Result(
        name,
        protocol.title,
        protocol.question,
        protocol.columns,
        protocol.measures,
        tuple(lines),
        (),
        (*protocol.differs, *_sources_said(protocol, workspace)),
        tuple(missing(protocol, workspace)),
        {
            "minutes of each training": workspace.budget(protocol.minutes, protocol.quick_minutes),
            "seed": workspace.seed,
        },
        "Mean error of all elements of H on unseen geometries; QHNet's and the paper's have their own geometries, more "
        "of them, and 200,000 steps.",
    )


def figure(result: Result, protocol: MoleculesProtocol) -> Figure | None:
    """Return ε_tot of each molecule."""
    whose, molecules = (list(dict.fromkeys(names)) for names in zip(*((x.who, x.labels[0]) for x in result.lines)))
    series = []
    for who in whose:
        values = {line.labels[0]: line.values.get("eps_tot_uEh") for line in result.lines if line.who == who}
        series.append(Series(who, [values.get(molecule) for molecule in molecules], who in (PAPER, QHNET)))
    return rows_figure(molecules, [Panel(title_of("eps_tot_uEh"), series)], "molecule")


def missing(protocol: MoleculesProtocol, workspace: Workspace) -> list[str]:
    """Return molecules that are left out."""
    done = {row.molecule for _, row, _ in _rows(protocol, workspace)}
    return [f"{row.molecule}: left out of a quick run" for row in protocol.rows if row.molecule not in done]


def _rows(protocol: MoleculesProtocol, workspace: Workspace) -> Iterator[tuple[int, MoleculeRow, tuple[int, int, int]]]:
    for number, row in enumerate(protocol.rows):
        own = _database(row, workspace) is not None
        counts = row.quick_counts if workspace.quick else row.paper_counts if own else row.counts
        if counts is not None:
            yield number, row, counts


def _database(row: MoleculeRow, workspace: Workspace) -> Path | None:
    return next((folder / row.database for folder in workspace.data if (folder / row.database).is_file()), None)


def _sources_said(protocol: MoleculesProtocol, workspace: Workspace) -> list[str]:
    said = []
    for _, row, _ in _rows(protocol, workspace):
        own = _database(row, workspace)
        said.append(
            f"{row.molecule}: the original database {own.name}, a split of our own of the same sizes."
            if own is not None
            else f"{row.molecule}: geometries from classical normal modes at {protocol.temperature:g} K, computed here "
            "with PySCF (PBE/def2-SVP); the paper's are from dynamics at 500 K: not a comparison of scores."
        )
    return said


def _folder(protocol: MoleculesProtocol, workspace: Workspace, row: MoleculeRow) -> Path:
    claim = {"temperature": protocol.temperature, "molecule": row.molecule, "seed": workspace.seed}
    return workspace.place("data", row.molecule, claim)


def _making(protocol: MoleculesProtocol, workspace: Workspace, row: MoleculeRow, counts: Sequence[int]) -> Unit:
    folder, count = _folder(protocol, workspace, row), sum(counts)
    record = folder.with_name(f"{folder.name}-{count}.json")

    def make(progress: Progress, stop: StopToken) -> None:
        drawn = {"molecule": row.molecule, "count": count, "temperature": protocol.temperature, "seed": workspace.seed}
        changes = {"structures": [{"name": row.molecule, "molecules": drawn}], "processes": 2}
        made = generate("molecules", folder, overrides=changes, progress=progress, stop=stop)
        if stop.stopped:
            return
        if len(made.stores) < count:
            raise InputError(
                f"expected {count} geometries of {row.molecule} from PySCF, got {len(made.stores)}: "
                f"{next(iter(made.failed.values()), 'not finished')}"
            )
        write_numbers(record, {"geometries": count, "folder": folder.name})

    return Unit(f"{count} geometries of {row.molecule}, PySCF", record, row.seconds * count, make)


def _split(protocol: MoleculesProtocol, workspace: Workspace, row: MoleculeRow, counts: Sequence[int]) -> _Split:
    """Geometries in the order of the campaign, or drawn at random from a database; no geometry is in two parts."""
    own = _database(row, workspace)
    if own is None:
        folder = _folder(protocol, workspace, row)
        names = [str(folder / f"{row.molecule}-{k + 1}.h5") for k in range(sum(counts))]
    else:
        every = data_names([str(own)])
        if len(every) < sum(counts):
            raise InputError(f"{own}: expected {sum(counts):,} geometries, got {len(every):,}")
        names = [every[k] for k in np.random.default_rng(workspace.seed).permutation(len(every))[: sum(counts)]]
    a, b = counts[0], counts[0] + counts[1]
    return _Split(tuple(names[:a]), tuple(names[a:b]), tuple(names[b:]))


def _training(
    protocol: MoleculesProtocol, workspace: Workspace, row: MoleculeRow, counts: Sequence[int], network: str
) -> Unit:
    minutes = workspace.budget(protocol.minutes, protocol.quick_minutes)
    own = _database(row, workspace)
    claim = {
        "source": _folder(protocol, workspace, row).name if own is None else workspace.content(own),
        "counts": list(counts),
        "minutes": minutes,
        "seed": workspace.seed,
    }
    folder = workspace.place("trainings", f"{network}-{row.molecule}", claim)

    def work(progress: Progress, stop: StopToken) -> None:
        split = _split(protocol, workspace, row, counts)
        changes: dict[str, Any] = {"seed": workspace.seed, "data.check": own is not None, "max_epochs": MOST_EPOCHS}
        changes |= {"metrics_every": MOST_EPOCHS}
        (folder / "run").parent.mkdir(parents=True, exist_ok=True)
        model = train(
            [_geometry(name, row) for name in split.train],
            [_geometry(name, row) for name in split.validation],
            preset=PRESETS[network],
            minutes=minutes,
            run_dir=folder / "run",
            overrides=changes,
            progress=labelled(progress, "  "),
            stop=stop,
        )
        if model.training is None or model.training.interrupted:
            return
        errors = _errors(folder / "run", row, split.test, progress, stop)
        if errors is not None:
            state = model.training.state
            write_numbers(folder / "done.json", {**errors, "epochs": state.epoch, "minutes": state.seconds / 60})

    says = f"{network} on {counts[0]} geometries of {row.molecule}, tested on {counts[2]} others"
    return Unit(says, folder / "done.json", 60 * minutes + 20 + 0.05 * counts[2], work)


def _geometry(name: str, row: MoleculeRow) -> Calculation:
    """Return a geometry of a molecule; another molecule is refused."""
    found = read_named(name)
    if found.structure.formula != row.formula:
        raise FormatError(name, f"expected {row.formula} ({row.molecule}), got {found.structure.formula}")
    return found


def _errors(
    run: Path, row: MoleculeRow, names: Sequence[str], progress: Progress, stop: StopToken
) -> dict[str, float] | None:
    """Mean errors over unseen geometries, µE_h; None where it was stopped."""
    model, found = load_model(run), []
    for number, name in enumerate(names):
        if stop.stopped:
            return None
        reference = _geometry(name, row)
        numbers = evaluation_numbers(
            evaluate(model.predict(reference.structure, self_consistent=False), reference, eigenvalues=False)
        )
        found.append([1e3 * numbers[key] for key in ("eps_n_mEh", "eps_e_mEh", "eps_tot_mEh")])
        progress(Event(done=number, total=len(names)))
    return dict(zip(("eps_n_uEh", "eps_e_uEh", "eps_tot_uEh"), np.mean(found, axis=0).tolist()))
