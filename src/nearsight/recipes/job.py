"""One job of a campaign: make the structure, compute it, check it, store it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace

from nearsight.checks.linter import check_calculation
from nearsight.errors import RecipeError
from nearsight.formats.structure_files import parse_cell, read_structure
from nearsight.operators.calculation import Calculation
from nearsight.operators.reduction import reduced
from nearsight.operators.store import write_calculation
from nearsight.recipes.campaign import Campaign, Task
from nearsight.recipes.cp2k_job import Cp2kJob
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.job_folder import JobFolder
from nearsight.recipes.melt_quench import describe, melt_quench
from nearsight.recipes.sample import Sample, read_extxyz, write_extxyz
from nearsight.recipes.vacancies import with_vacancies
from nearsight.structures.structure import Structure

_EVERY = 0.5
"""Seconds between two writings of the status."""

Report = Callable[[str], None]


def carry_out(task: Task, campaign: Campaign, folder: JobFolder) -> None:
    """Everything that is not done yet; the store is written last, whole.

    Raises:
        NearsightError: what went wrong, in words.
    """
    report = _reporter(folder)
    sample = make_structure(task, folder, report)
    calculation = compute(sample.structure, campaign, folder, report)
    finish(calculation, sample, task, campaign, folder, report)


def make_structure(task: Task, folder: JobFolder, report: Report) -> Sample:
    """The structure of a task, from its file where it is done."""
    sample = _origin(task, folder, report)
    vacancies = task.source.vacancies
    if vacancies is not None:
        own = vacancies.model_copy(update={"seed": vacancies.seed + task.seed})
        sample = sample.became(with_vacancies(sample.structure, own), vacancies=own.model_dump_json())
    path = folder.path / "structure.extxyz"
    write_extxyz(path, sample.structure)
    return replace(sample, structure=read_extxyz(path))


def _origin(task: Task, folder: JobFolder, report: Report) -> Sample:
    if task.protocol is not None:
        return melt_quench(
            task.protocol,
            task.seed,
            folder.path / "structure",
            lambda what, done: report(f"structure: {what}, {100 * done:.0f} %"),
        )
    if task.file is not None:
        given = None if task.source.cell is None else str(task.source.cell)
        cell = parse_cell(given) if given else None
        structure = read_structure(task.file, cell, isolated=given is not None and cell is None)
        return Sample(structure, {"structure": task.file.name})
    assert task.source.molecules is not None
    return task.source.molecules.sample(task.seed, report)


def compute(structure: Structure, campaign: Campaign, folder: JobFolder, report: Report) -> Calculation:
    """H and S of a structure."""
    if isinstance(campaign.dft, Cp2kSettings):
        job = Cp2kJob(structure, campaign.dft)
        return job.run(folder.path / "dft", lambda text: report(f"CP2K: {text}"))
    from nearsight.recipes.pyscf_job import run_job

    return run_job(structure, campaign.dft, folder.path / "dft", lambda text: report(f"PySCF: {text}"))


def finish(
    calculation: Calculation, sample: Sample, task: Task, campaign: Campaign, folder: JobFolder, report: Report
) -> None:
    """Check and store a result; big files go.

    Raises:
        RecipeError: the checks found an error.
    """
    report("checking")
    findings = check_calculation(calculation, name=folder.name)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise RecipeError("; ".join(f"{finding.check}: {finding.message}" for finding in errors))
    calculation = replace(calculation, provenance={**calculation.provenance, **sample.provenance})
    calculation = reduced(calculation, campaign.drop_below, campaign.resolution)
    lines = _summary(calculation, task) + [f"{f.level}: {f.message}" for f in findings if f.level == "warning"]
    folder.write("summary.txt", "\n".join(lines) + "\n")
    report("writing")
    write_calculation(folder.result, calculation, precision=campaign.precision)  # type: ignore[arg-type]
    if not campaign.keep_files:
        for path in (folder.path / "dft").glob("*.csr"):
            path.unlink()
        for path in [*(folder.path / "dft").glob("*RESTART*"), folder.path / "dft" / "initial.txt"]:
            path.unlink(missing_ok=True)
        for stage in (folder.path / "structure").glob("try-*/stage-*"):
            if stage.is_dir():
                shutil.rmtree(stage)
    report("done")


def _summary(calculation: Calculation, task: Task) -> list[str]:
    whole = task.protocol is not None and task.source.vacancies is None
    expected = task.protocol.expected if task.protocol and whole else ()
    structure = calculation.structure
    lines = describe(structure, expected) if structure.pbc.all() else [f"{structure.formula}, isolated"]
    h = calculation.require_hamiltonian()
    lines.append(f"H: {h.n_orbitals} orbitals, {h.n_pairs:,} blocks, {'summed at Γ' if h.folded else 'resolved in R'}")
    if calculation.energy is not None and calculation.fermi is not None:
        lines.append(f"energy {calculation.energy:.4f} eV, Fermi level {calculation.fermi:.3f} eV")
    return lines


def _reporter(folder: JobFolder) -> Report:
    at, head = -_EVERY, ""

    def report(text: str) -> None:
        nonlocal at, head
        now, first = time.monotonic(), text.split()[0]
        if now - at > _EVERY or first != head:
            folder.write("status.txt", text)
            at, head = now, first

    return report
