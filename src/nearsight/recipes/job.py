"""One job of a campaign: its folder, and how its structure is made, computed, checked and stored."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nearsight.atomic_files import write_text_atomically
from nearsight.checks.linter import check_calculation
from nearsight.configuration import rename_keys
from nearsight.errors import ConfigError, RecipeError
from nearsight.foreign_files import read_text, reading
from nearsight.formats.structure_files import parse_cell, read_structure
from nearsight.formats.xyz import read_xyz
from nearsight.operators.calculation import Calculation
from nearsight.operators.reduction import reduced
from nearsight.operators.store import write_calculation
from nearsight.progress import Event, Progress, labelled, silent
from nearsight.recipes.campaign import RENAMED, Campaign, Task
from nearsight.recipes.cp2k_job import Cp2kJob
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.cp2k_text import H0_FILE
from nearsight.recipes.melt_quench import describe, melt_quench
from nearsight.recipes.sample import Sample, write_extxyz
from nearsight.recipes.vacancies import with_vacancies
from nearsight.structures.structure import Structure

_EVERY = 0.5
"""Seconds between two writings of the status."""


@dataclass(frozen=True)
class JobFolder:
    """The files of one job: the folder `jobs/NAME` of a campaign, and the result NAME.h5 beside `jobs`.

    Attributes
    ----------
    root : Path
        The folder of the campaign.
    name : str
        The name of the job.
    """

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """Where the job works."""
        return self.root / "jobs" / self.name

    @property
    def result(self) -> Path:
        """The store; it is there only when the job is done."""
        return self.root / f"{self.name}.h5"

    @property
    def status(self) -> str:
        """What is under way, in one line."""
        return _text(self.path / "status.txt")

    @property
    def error(self) -> str:
        """Why the job failed; empty where it did not."""
        return _text(self.path / "error.txt")

    @property
    def summary(self) -> list[str]:
        """What was found of the result, a line each."""
        return _text(self.path / "summary.txt").splitlines()

    def claim(self, settings: dict[str, Any]) -> None:
        """Mark the folder as that of a job with these settings.

        Parameters
        ----------
        settings : dict
            Everything that the result depends on, as JSON can hold it.

        Raises
        ------
        ConfigError
            Where the job was begun with other settings, or there is a result that is not this job's.
        """
        text = json.dumps(settings, indent=1, sort_keys=True)
        path = self.path / "job.json"
        if self.result.exists() and not path.exists():
            raise ConfigError(
                f"{self.result}: expected no file of this name, or one that this campaign made, got one without "
                f"{path}; give another --output, or move it away"
            )
        if path.is_file() and _text(path) != text and _earlier(path) != json.loads(text):
            raise ConfigError(
                f"{path}: expected the settings that this job was begun with, got others "
                f"({_difference(path, settings)}); give another --output, or delete {self.path} and "
                f"{self.result}"
            )
        self.write("job.json", text)

    def write(self, name: str, text: str) -> None:
        """Write a small file of the job, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path / name, text)

    def clear_error(self) -> None:
        """Forget an earlier failure."""
        (self.path / "error.txt").unlink(missing_ok=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _earlier(path: Path) -> Any:
    """Return the settings that a job was begun with, under the names that keys have now."""
    expected = "the settings of a job (JSON)"
    with reading(path, expected):
        tree = json.loads(read_text(path, expected))
        if isinstance(tree, dict):
            rename_keys(tree, RENAMED, path)
        return tree


def _difference(path: Path, settings: dict[str, Any]) -> str:
    """Return the first key that changed, as `a.b: old → new`."""
    old, new = _flat(_earlier(path)), _flat(json.loads(json.dumps(settings)))
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            return f"{key}: {old.get(key)} → {new.get(key)}"
    return "same values, written differently"


def _flat(tree: Any, before: str = "") -> dict[str, Any]:
    """Return the values of nested dicts and lists under dotted keys."""
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{before}{key}.").items()}
    if isinstance(tree, list):
        return {k: v for i, value in enumerate(tree) for k, v in _flat(value, f"{before}{i}.").items()}
    return {before.rstrip("."): tree}


def carry_out(task: Task, campaign: Campaign, folder: JobFolder) -> None:
    """Do everything of a job that is not done yet; the store is written last, whole.

    What is under way is written to the job's status.

    Parameters
    ----------
    task : Task
        Which structure.
    campaign : Campaign
        How it is computed and stored.
    folder : JobFolder
        Where the job works.

    Raises
    ------
    NearsightError
        Where a step goes wrong.
    """
    progress = _into_status(folder)
    sample = make_structure(task, folder, progress)
    calculation = compute(sample.structure, campaign, folder, progress)
    finish(calculation, sample, task, campaign, folder, progress)


def make_structure(task: Task, folder: JobFolder, progress: Progress = silent) -> Sample:
    """Make the structure of a task; stages of a melt-quench that are done are read.

    Parameters
    ----------
    task : Task
        Where the structure comes from, and which vacancies it gets.
    folder : JobFolder
        Where the job works; the structure is written to `structure.extxyz` in it.
    progress : callable, optional
        Told the stages.
    """
    sample = _origin(task, folder, progress)
    vacancies = task.source.vacancies
    if vacancies is not None:
        own = vacancies.model_copy(update={"seed": vacancies.seed + task.seed})
        sample = sample.with_structure(with_vacancies(sample.structure, own), vacancies=own.model_dump_json())
    path = folder.path / "structure.extxyz"
    write_extxyz(path, sample.structure)
    return replace(sample, structure=read_xyz(path))


def _origin(task: Task, folder: JobFolder, progress: Progress) -> Sample:
    """Return the structure of a task before vacancies are made."""
    if task.protocol is not None:
        return melt_quench(task.protocol, task.seed, folder.path / "structure", labelled(progress, "structure: "))
    if task.file is not None:
        given = None if task.source.cell is None else str(task.source.cell)
        cell = parse_cell(given) if given else None
        structure = read_structure(task.file, cell, isolated=given is not None and cell is None)
        return Sample(structure, {"structure": task.file.name})
    assert task.source.molecules is not None
    return task.source.molecules.sample(task.seed, progress)


def compute(structure: Structure, campaign: Campaign, folder: JobFolder, progress: Progress = silent) -> Calculation:
    """Compute H and S of a structure with the campaign's code.

    Parameters
    ----------
    structure : Structure
        The atoms.
    campaign : Campaign
        How they are computed.
    folder : JobFolder
        Where the job works; the code runs in `dft` in it.
    progress : callable, optional
        Told the steps of the self-consistent field.
    """
    if isinstance(campaign.dft, Cp2kSettings):
        return Cp2kJob(structure, campaign.dft).run(folder.path / "dft", labelled(progress, "CP2K: "))
    from nearsight.recipes.pyscf_job import run_job

    return run_job(structure, campaign.dft, folder.path / "dft", labelled(progress, "PySCF: "))


def finish(
    calculation: Calculation,
    sample: Sample,
    task: Task,
    campaign: Campaign,
    folder: JobFolder,
    progress: Progress = silent,
) -> None:
    """Check a result, store it, and remove the big files that it was read from.

    Parameters
    ----------
    calculation : Calculation
        What the code computed.
    sample : Sample
        Where the structure comes from, for the provenance.
    task : Task
        Which structure it is.
    campaign : Campaign
        How the result is stored, and whether files are kept.
    folder : JobFolder
        Where the job works.
    progress : callable, optional
        Told what is under way.

    Raises
    ------
    RecipeError
        Where the checks find an error.
    """
    progress(Event("checking"))
    findings = check_calculation(calculation, name=folder.name)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise RecipeError("; ".join(f"{finding.check}: {finding.message}" for finding in errors))
    calculation = replace(calculation, provenance={**calculation.provenance, **sample.provenance})
    calculation = reduced(calculation, campaign.drop_below, campaign.resolution)
    lines = _summary(calculation, task) + [f"{f.level}: {f.message}" for f in findings if f.level == "warning"]
    folder.write("summary.txt", "\n".join(lines) + "\n")
    progress(Event("writing"))
    write_calculation(folder.result, calculation, precision=campaign.precision)  # type: ignore[arg-type]
    if not campaign.keep_files:
        _remove_files(folder)
    progress(Event("done"))


def _remove_files(folder: JobFolder) -> None:
    """Remove matrices, restart files and the engine's files of each stage."""
    dft = folder.path / "dft"
    for path in [*dft.glob("*.csr"), *dft.glob("*RESTART*"), dft / H0_FILE]:
        path.unlink(missing_ok=True)
    for stage in (folder.path / "structure").glob("try-*/stage-*"):
        if stage.is_dir():
            shutil.rmtree(stage)


def _summary(calculation: Calculation, task: Task) -> list[str]:
    """Return what was found of the result, a line each."""
    whole = task.protocol is not None and task.source.vacancies is None
    expected = task.protocol.expected if task.protocol and whole else ()
    structure = calculation.structure
    lines = describe(structure, expected) if structure.pbc.all() else [f"{structure.formula}, isolated"]
    h = calculation.require_hamiltonian()
    lines.append(f"H: {h.n_orbitals} orbitals, {h.n_pairs:,} blocks, {'summed at Γ' if h.folded else 'real-space'}")
    if calculation.energy is not None and calculation.fermi is not None:
        lines.append(f"energy {calculation.energy:.4f} eV, Fermi level {calculation.fermi:.3f} eV")
    return lines


def _into_status(folder: JobFolder) -> Progress:
    """Return a progress that writes events to the job's status, new steps at once and others every half second."""
    at, head = -_EVERY, ""

    def progress(event: Event) -> None:
        nonlocal at, head
        now, first = time.monotonic(), event.message.split(" ", 1)[0]
        if event.message and (now - at > _EVERY or first != head):
            share = "" if event.done is None or not event.total else f", {100 * event.done / event.total:.0f} %"
            folder.write("status.txt", event.message + share)
            at, head = now, first

    return progress
