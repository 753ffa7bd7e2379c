"""What it saves to start a self-consistent field from a predicted Hamiltonian.

    .venv/bin/python benchmarks/warm_start.py cp2k MODEL STRUCTURE … -o FOLDER     # a-HfO2: model trained on C alone
    .venv/bin/python benchmarks/warm_start.py pyscf MODEL --molecule malondialdehyde -o FOLDER

Frozen protocol, CP2K: the settings of the shipped structures (PBE, SZV-MOLOPT-SR-GTH, 300/40 Ry, Γ, EPS_SCF 1e-6,
Broyden mixing with ALPHA 0.3 and NBUFFER 8, 40 empty levels), one thread, one run at a time. Each structure three
times: from atoms (SCF_GUESS ATOMIC), from the predicted H with S of PySCF's integrals (nothing of a DFT run is used),
and from the H that the first run converged to, the best start there is. Reported: steps, how far the first energy is
off the last, seconds of CPU and of the clock.

PySCF: PBE/def2-SVP, PySCF's own criterion (1e-9 E_h) and DIIS. Geometries of a seed that no training set has, each from
PySCF's default (minao), from superposed atoms (atom), from the predicted H, and from the density converged to.

A run that is done is not run again (`FOLDER/NAME/START*.json`); an interrupted one begins anew.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearsight.api.models import load_model
from nearsight.formats.cp2k_output import read_output
from nearsight.formats.registry import read_any
from nearsight.formats.structure_files import read_structure
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import is_store, read_calculation, write_calculation
from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.recipes.cp2k_job import INPUT, INSTALL, OUTPUT, Cp2kJob, converged, data_folder
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.cp2k_text import PROJECT, input_text
from nearsight.recipes.molecules import MoleculeSet
from nearsight.recipes.program import find_program, run_program
from nearsight.recipes.pyscf_system import PyscfSettings, build_system, make_field
from nearsight.recipes.warm_start import cp2k_start, pyscf_start
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

ATOMS, PREDICTED, CONVERGED = "atoms", "predicted", "converged"
CP2K_STARTS = (ATOMS, PREDICTED, CONVERGED)
PYSCF_STARTS = ("minao", "atom", PREDICTED, CONVERGED)
TEST_SEED = 9_000
EMPTY = 40
OT = Cp2kSettings(images=False, solver="ot", max_scf=200)
"""Orbital transformation in CP2K with DIIS and the preconditioner that its authors advise for gaps (ENERGY_GAP below
them: 0.05 E_h); the steps are counted without outer loops."""
_STEP = re.compile(r"^ +(\d+) (?:\S+/\S+|OT \w+) +\S+ +(\S+) +(\S+) +(-?\d+\.\d+)", re.MULTILINE)
_OUTER = re.compile(r" *&OUTER_SCF.*?&END OUTER_SCF\n", re.DOTALL)

Row = dict[str, Any]


def once(path: Path, make: Callable[[], Row]) -> Row:
    """The result that is there, or a new one."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(make(), indent=1))
        partial.replace(path)
    row: Row = json.loads(path.read_text())
    return row


def predicted(model: Path, structure: Structure, basis: Any, folder: Path) -> tuple[Calculation, float]:
    """The prediction for a structure without any matrix, and the seconds it took."""
    bare, result = folder / "structure.h5", folder / "prediction.h5"
    folder.mkdir(parents=True, exist_ok=True)
    write_calculation(bare, Calculation(structure, basis))
    began = time.monotonic()
    torch.set_num_threads(1)
    load_model(model).predict_to(result, bare)
    return read_calculation(result), time.monotonic() - began


def cp2k_row(given: Calculation, settings: Cp2kSettings, start: str, folder: Path, model: Path) -> Row:
    """One run of CP2K."""
    structure = given.structure
    job, work = Cp2kJob(structure, settings), folder / start_name(start, settings)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    began, prepared = time.monotonic(), {}
    if start == PREDICTED:
        calculation, prepared["prediction_s"] = predicted(model, structure, job.basis, folder)
        began = time.monotonic()
    elif start == CONVERGED:
        cold = folder / start_name(ATOMS, settings)
        calculation = job.collect(cold) if (cold / OUTPUT).is_file() else given
    if start != ATOMS:
        cp2k_start(calculation, work / f"{PROJECT}-RESTART.wfn", added_mos=0 if settings.solver == "ot" else EMPTY)
        prepared["orbitals_s"] = time.monotonic() - began
    text = input_text(structure, settings, job.basis, restart=start != ATOMS)
    text = _OUTER.sub("", text.replace("FULL_SINGLE_INVERSE", "FULL_ALL\n        ENERGY_GAP 0.05"))
    (work / INPUT).write_text(text)
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, time.monotonic()
    program = find_program(("cp2k.psmp", "cp2k.ssmp", "cp2k"), "CP2K", INSTALL)
    run_program([program, "-i", INPUT], work, OUTPUT, "CP2K", environment={"OMP_NUM_THREADS": "1", **data_folder()})
    wall, cpu = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used
    steps = _STEP.findall((work / OUTPUT).read_text())
    if not converged(work):
        raise SystemExit(f"{work}: expected convergence, got none in {len(steps)} steps")
    energy = (read_output(work / OUTPUT).energy or np.nan) / HARTREE_IN_EV
    return {
        "start": start,
        "atoms": len(structure),
        "steps": len(steps),
        "wall_s": wall,
        "cpu_s": cpu,
        "energy_Eh": energy,
        "first_energy_off_Eh": float(steps[0][3]) - energy,
        "first_change": float(steps[0][2]),
        "step_s": float(np.median([float(s[1]) for s in steps])),
        "solver": settings.solver,
        "mixing": settings.mixing,
        "memory": settings.memory,
        "changes": [float(s[2]) for s in steps],
        **prepared,
    }


def start_name(start: str, settings: Cp2kSettings) -> str:
    """Of a run's folder."""
    if settings.solver == "ot":
        return f"{start}-ot"
    usual = Cp2kSettings()
    if settings.eps_scf != usual.eps_scf:
        start += f"-eps{settings.eps_scf:g}"
    same = (settings.mixing, settings.memory) == (usual.mixing, usual.memory)
    return start if same else f"{start}-{settings.mixing:g}-{settings.memory}"


def cp2k_rows(options: argparse.Namespace) -> list[Row]:
    """All structures, all starts."""
    usual = Cp2kSettings(images=False, empty_bands=EMPTY)
    settings = usual.model_copy(update={"mixing": options.mixing, "memory": options.memory, "eps_scf": options.eps_scf})
    settings = OT if options.ot else settings
    rows = []
    for path in options.structures:
        given = read_calculation(path) if is_store(path) else Calculation(*structure_of(path))
        folder = options.output / path.stem
        for start in options.starts.split(","):
            row = once(
                folder / f"{start_name(start, settings)}.json",
                lambda f=folder, s=start, x=given: cp2k_row(x, settings, s, f, options.model),
            )
            print(
                f"{path.stem}: from {start}: {row['steps']} steps, {row['cpu_s']:.0f} s CPU",
                file=sys.stderr,
                flush=True,
            )
            rows.append({"structure": path.stem, **row})
    return rows


def structure_of(path: Path) -> tuple[Structure, BasisSet]:
    """Of a structure file or of an .npz with Hamiltonian; in the basis of the shipped structures."""
    structure = read_any(path).structure if path.suffix == ".npz" else read_structure(path)
    return structure, basis_named("SZV-MOLOPT-SR-GTH").restricted(structure.numbers)


def pyscf_rows(options: argparse.Namespace) -> list[Row]:
    """All geometries, all starts."""
    geometries = MoleculeSet(
        molecule=options.molecule, count=options.count, temperature=options.temperature, seed=TEST_SEED
    )
    rows = []
    for k in range(options.count):
        folder = options.output / f"{options.molecule}-{k}"
        for start in PYSCF_STARTS:
            row = once(
                folder / f"{start}.json",
                lambda n=k, s=start, f=folder: pyscf_row(geometries.sample(n).structure, s, f, options.model),
            )
            rows.append({"structure": folder.name, **row})
    return rows


def pyscf_row(structure: Structure, start: str, folder: Path, model: Path) -> Row:
    """One geometry from one start; the first run leaves its density, which is the last one's start."""
    settings, kept = PyscfSettings(), folder / "density.npy"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mol = build_system(structure, settings)
        field = make_field(mol, structure, settings)
        field.conv_tol, field.conv_tol_grad = 1e-9, None
        prepared: Row = {}
        if start == PREDICTED:
            calculation, seconds = predicted(
                model, structure, load_model(model).basis.restricted(structure.numbers), folder
            )
            density, prepared["prediction_s"] = pyscf_start(calculation, mol), seconds
        else:
            density = np.load(kept) if start == CONVERGED else field.get_init_guess(mol, start)
        energies: list[float] = []
        field.callback = lambda local: energies.append(float(local["e_tot"]))
        first, began = float(field.energy_tot(density)), time.process_time()
        field.kernel(density)
        if start == PYSCF_STARTS[0]:
            np.save(kept, field.make_rdm1())
    return {
        "start": start,
        "steps": len(energies),
        "converged": bool(field.converged),
        "energy_Eh": float(field.e_tot),
        "first_energy_off_Eh": first - float(field.e_tot),
        "cpu_s": time.process_time() - began,
        **prepared,
    }


def table(rows: list[Row], code: str) -> str:
    """A line for each structure and start, or for each start with means over geometries."""
    if code == "pyscf":
        return pyscf_table(rows)
    lines = [
        "| structure | start | steps | first energy off, E_h | first change | CPU s | wall s | "
        "energy − that of the first, E_h |",
        "|---|---|---|---|---|---|---|---|",
    ]
    reference = {row["structure"]: row["energy_Eh"] for row in reversed(rows)}
    for row in rows:
        lines.append(
            f"| {row['structure']} ({row['atoms']} atoms) | {row['start']} | {row['steps']} | "
            f"{row['first_energy_off_Eh']:.2e} | {row['first_change']:.1e} | {row['cpu_s']:.0f} | "
            f"{row['wall_s']:.0f} | {row['energy_Eh'] - reference[row['structure']]:.1e} |"
        )
    return "\n".join(lines)


def pyscf_table(rows: list[Row]) -> str:
    """Means over geometries."""
    lines = [
        "| start | cycles, mean (least … most) | first energy off, mean E_h | CPU s | "
        "largest difference of energies, E_h |",
        "|---|---|---|---|---|",
    ]
    reference = {row["structure"]: row["energy_Eh"] for row in rows if row["start"] == "minao"}
    for start in PYSCF_STARTS:
        own = [row for row in rows if row["start"] == start]
        steps = [row["steps"] for row in own]
        off = np.mean([abs(row["first_energy_off_Eh"]) for row in own])
        away = max(abs(row["energy_Eh"] - reference[row["structure"]]) for row in own)
        lines.append(
            f"| {start} | {np.mean(steps):.2f} ({min(steps)} … {max(steps)}) | {off:.1e} | "
            f"{np.mean([row['cpu_s'] for row in own]):.2f} | {away:.0e} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    codes = parser.add_subparsers(dest="code", required=True)
    for code in ("cp2k", "pyscf"):
        own = codes.add_parser(code)
        own.add_argument("model", type=Path, help="a run's folder or a model file")
        own.add_argument("-o", "--output", type=Path, required=True, help="folder; kept between calls")
        own.add_argument("--json", action="store_true")
        if code == "cp2k":
            own.add_argument("structures", type=Path, nargs="+", help=".h5, .npz, or what ASE reads with its cell")
            own.add_argument("--starts", default=",".join(CP2K_STARTS), help="which, with commas")
            own.add_argument("--ot", action="store_true", help="orbital transformation instead of diagonalisation")
            own.add_argument("--eps-scf", type=float, default=1e-6)
            own.add_argument("--mixing", type=float, default=0.3)
            own.add_argument("--memory", type=int, default=8)
        else:
            own.add_argument("--molecule", default="malondialdehyde")
            own.add_argument("--count", type=int, default=20)
            own.add_argument("--temperature", type=float, default=300.0)
    options = parser.parse_args()
    rows = cp2k_rows(options) if options.code == "cp2k" else pyscf_rows(options)
    print(json.dumps(rows, indent=1))
    if not options.json:
        print(table(rows, options.code))


if __name__ == "__main__":
    main()
