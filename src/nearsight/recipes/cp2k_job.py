"""One CP2K calculation: input written, program run and watched, retried where it does not converge, results read."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nearsight.atomic_files import write_text_atomically
from nearsight.errors import NearsightError, RecipeError
from nearsight.formats import cp2k
from nearsight.formats.basis_choice import named_basis
from nearsight.formats.cp2k_output import is_output, read_output
from nearsight.formats.h0 import read_h0
from nearsight.formats.options import BasisChoice, ReadOptions
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.progress import Event, Progress, labelled, silent
from nearsight.recipes.cp2k_settings import FALLBACKS, Cp2kSettings, fallback
from nearsight.recipes.cp2k_text import H0_FILE, h0_text, input_text
from nearsight.recipes.program import find_program, last_lines, run_program
from nearsight.structures.structure import Structure

INSTALL = "on Debian and Ubuntu: apt-get install cp2k cp2k-data libopenblas0-openmp"
INPUT, OUTPUT, H0_INPUT, H0_OUTPUT, SCRIPT = "job.inp", "job.out", "initial.inp", "initial.log", "run.sh"

_DATA = ("/usr/share/cp2k", "/usr/local/share/cp2k", "/usr/share/cp2k/data", "/opt/cp2k/data")

SAME_PLACE = 1e-6
"""Å, by which atoms of a run that was done elsewhere may be away from their places."""

_STEP = re.compile(r"^ +(\d+) (?:\S+/\S+|OT \w+) +\S+ +\S+ +(\S+) +(-?\d+\.\d+)")
_WINDOW = 8
"""Steps from which the speed of convergence is taken."""


@dataclass(frozen=True)
class Cp2kJob:
    """A structure and how CP2K shall compute it.

    Attributes
    ----------
    structure : Structure
        The atoms, ghosts and the cell.
    settings : Cp2kSettings
        How they are computed.
    """

    structure: Structure
    settings: Cp2kSettings

    @property
    def basis(self) -> BasisSet:
        """The basis of the structure's elements, ghosts among them.

        Raises
        ------
        InputError
            Where the basis is unknown, or lacks an element.
        """
        choice: BasisChoice = self.settings.basis
        if not isinstance(choice, str) and 0 in self.structure.elements:
            choice = {**choice, "X": choice[self.settings.ghost_element]}
        file = Path(self.settings.basis_file)
        return named_basis(choice, file if file.is_file() else None, self.structure.elements)

    def write(self, folder: Path, attempt: int = 0) -> None:
        """Write the input of a try, and a script that runs it where there is no nearsight.

        Parameters
        ----------
        folder : Path
            Where the files go; made if it is not there.
        attempt : int, optional
            The number of the try, from 0: an index of `FALLBACKS`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        settings = fallback(self.settings, attempt)
        own = Path(settings.basis_file)
        if own.is_file():  # CP2K runs in another folder
            settings = settings.model_copy(update={"basis_file": str(own.resolve())})
        text = input_text(self.structure, settings, self.basis, FALLBACKS[attempt].goes_on)
        write_text_atomically(folder / INPUT, text)
        if settings.h0:
            write_text_atomically(folder / H0_INPUT, h0_text(self.structure, settings, self.basis))
        script = folder / SCRIPT
        write_text_atomically(script, _script(settings))
        script.chmod(0o755)

    def run(self, folder: Path, progress: Progress = silent) -> Calculation:
        """Run CP2K, again with other settings where it does not converge, and read the result.

        Parameters
        ----------
        folder : Path
            Where CP2K runs; it is emptied before each try.
        progress : callable, optional
            Told the steps of the self-consistent field.

        Raises
        ------
        RecipeError
            Where CP2K is not installed, fails, or does not converge with any of `FALLBACKS`.
        """
        program = find_program(("cp2k.psmp", "cp2k.ssmp", "cp2k"), "CP2K", INSTALL)
        tried = self._converge(program, folder, progress)
        if self.settings.h0:
            progress(Event("H₀, superposed atomic densities"))
            self._cp2k(program, folder, H0_INPUT, H0_OUTPUT, self.settings, silent)
        return self.collect(folder, tried)

    def _converge(self, program: str, folder: Path, progress: Progress) -> str:
        """Try one of `FALLBACKS` after another; returns what it took, empty for the settings as given."""
        for attempt, way in enumerate(FALLBACKS):
            _empty(folder, keep="*-RESTART.*" if way.goes_on else "")
            self.write(folder, attempt)
            settings = fallback(self.settings, attempt)
            note = "" if attempt == 0 else f" (try {attempt + 1}: {way.text})"
            self._cp2k(program, folder, INPUT, OUTPUT, settings, labelled(progress, after=note))
            if converged(folder):
                return way.text if attempt else ""
            if settings.solver == "ot":
                raise RecipeError(
                    f"{folder / OUTPUT}: expected CP2K's OT to converge, got no convergence in "
                    f"{settings.max_scf} steps; use solver: diagonalisation"
                )
        raise RecipeError(
            f"{folder / OUTPUT}: expected a self-consistent field, got none with any of: "
            + "; ".join(way.text for way in FALLBACKS)
            + ". For a metal give `smearing: 1000` and `kpoints`; look at the last lines:\n"
            + last_lines(folder / OUTPUT, 6)
        )

    def collect(self, folder: Path, tried: str = "") -> Calculation:
        """Read the calculation that a finished run left in its folder.

        Parameters
        ----------
        folder : Path
            Where CP2K ran.
        tried : str, optional
            What it took to converge, for the provenance.

        Raises
        ------
        FormatError
            Where files are missing or damaged.
        RecipeError
            Where the run did not converge, or was one of another structure.
        """
        if not converged(folder):
            raise RecipeError(
                f"{folder / OUTPUT}: expected a converged, finished run, got none; last lines:\n"
                + last_lines(folder / OUTPUT, 6)
            )
        calculation = cp2k.read(folder / INPUT, ReadOptions())
        _check_same(folder, calculation.structure, self.structure)
        # The structure as it was given, to the last bit; the input holds 15 digits.
        calculation = replace(calculation, structure=self.structure)
        if self.settings.h0:
            calculation = replace(calculation, h0=read_h0(folder / H0_FILE, calculation))
        said = {"recipe": json.dumps(self.settings.model_dump(mode="json")), "input": (folder / INPUT).read_text()}
        if tried:
            said["fallback"] = tried
        return replace(calculation, provenance={**calculation.provenance, **said, "source": "nearsight generate"})

    def _cp2k(
        self, program: str, folder: Path, given: str, output: str, settings: Cp2kSettings, progress: Progress
    ) -> None:
        """Run CP2K once, and tell the steps of its field."""
        scf = ScfWatch(settings.eps_scf, settings.max_scf)

        def watch(text: str) -> None:
            state = scf.read(text)
            if state:
                progress(Event(state))

        progress(Event("CP2K begins"))
        run_program(
            [program, "-i", given],
            folder,
            output,
            "CP2K",
            watch=watch,
            allowed=(0, 1),
            environment={"OMP_NUM_THREADS": str(settings.threads), **data_folder()},
        )
        if not ended(folder / output) and not _unconverged(folder / output):
            raise RecipeError(
                f"expected CP2K to end well in {folder}, got a run that broke off; its last words in "
                f"{output}:\n{_abort(folder / output)}"
            )


def _empty(folder: Path, keep: str) -> None:
    """Remove what an earlier try left: CP2K appends to its output and numbers its files."""
    if not folder.is_dir():
        return
    kept = set(folder.glob(keep)) if keep else set()
    for path in set(folder.iterdir()) - kept:
        path.unlink()


def _check_same(folder: Path, found: Structure, wanted: Structure) -> None:
    """Raise RecipeError where a run was one of another structure."""
    same = np.array_equal(found.numbers, wanted.numbers) and np.array_equal(found.pbc, wanted.pbc)
    if (
        not same
        or np.abs(found.positions - wanted.positions).max() > SAME_PLACE
        or (wanted.pbc.all() and np.abs(found.cell - wanted.cell).max() > SAME_PLACE)
    ):
        raise RecipeError(
            f"{folder / INPUT}: expected the run of {wanted.formula} with its atoms where this job has "
            "them, got one of another structure; run the input that was written for it"
        )


def data_folder() -> dict[str, str]:
    """Return CP2K_DATA_DIR for the environment, where it is not set and CP2K's data lie in one of the usual places."""
    if "CP2K_DATA_DIR" in os.environ:
        return {}
    return next(({"CP2K_DATA_DIR": place} for place in _DATA if (Path(place) / "BASIS_MOLOPT").is_file()), {})


def ended(output: Path) -> bool:
    """Return whether CP2K came to its end, as its output says."""
    if not output.is_file():
        return False
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - 4000))
        return b"PROGRAM ENDED AT" in file.read()


def converged(folder: Path) -> bool:
    """Return whether the run in a folder ended and its field converged."""
    output = folder / OUTPUT
    try:
        return ended(output) and is_output(output) and read_output(output).converged is True
    except NearsightError:
        return False


def _unconverged(output: Path) -> bool:
    """Return whether CP2K stopped since the field did not converge, as newer versions do, with an error."""
    return "SCF run NOT converged" in output.read_text(errors="replace") if output.is_file() else False


def _abort(output: Path) -> str:
    """Return the box that CP2K draws around its reason, else the last lines."""
    text = output.read_text(errors="replace") if output.is_file() else ""
    rows = [line.strip(" *|/\\_O") for line in text.splitlines() if line.lstrip().startswith("*") and "\\___/" in line]
    return "\n".join(rows) or last_lines(output)


def _script(settings: Cp2kSettings) -> str:
    h0 = f"cp2k.psmp -i {H0_INPUT} -o {H0_OUTPUT}\n" if settings.h0 else ""
    return (
        "#!/bin/sh\n# Needs CP2K_DATA_DIR. CP2K appends: remove old output before a second run.\n"
        f'cd "$(dirname "$0")"\nexport OMP_NUM_THREADS={settings.threads}\n{h0}'
        f"cp2k.psmp -i {INPUT} -o {OUTPUT}\n"
    )


class ScfWatch:
    """Reads CP2K's output as it grows and says how far the self-consistent field is.

    Parameters
    ----------
    eps : float
        The convergence that is aimed at (EPS_SCF).
    most : int
        The largest number of steps (MAX_SCF).
    clock : callable, optional
        Returns seconds, as `time.monotonic`.
    """

    def __init__(self, eps: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.eps, self.most, self.clock = eps, most, clock
        self._rest = ""
        self._steps: list[tuple[float, float]] = []

    def read(self, text: str) -> str | None:
        """Return the state after a further piece of output, in words; None where it holds no new step."""
        *lines, self._rest = (self._rest + text).split("\n")
        said = None
        for line in lines:
            if found := _STEP.match(line):
                change, energy = float(found[2]), float(found[3])
                self._steps = [] if found[1] == "1" else self._steps
                self._steps.append((self.clock(), change))
                said = (
                    f"SCF step {found[1]} of at most {self.most}: change {change:.0e}, energy {energy:.4f} E_h"
                    f"{self._eta()}"
                )
        return said

    def _eta(self) -> str:
        """Return how long it takes to converge at the speed of the last steps, which fall about exponentially."""
        recent = self._steps[-_WINDOW:]
        if len(recent) < 4 or recent[-1][1] <= 0 or recent[0][1] <= recent[-1][1]:
            return ""
        (began, first), (now, last) = recent[0], recent[-1]
        speed = math.log(first / last) / (len(recent) - 1)
        steps = min(max(math.log(last / self.eps), 0.0) / speed, self.most - len(self._steps))
        seconds = round(steps * (now - began) / (len(recent) - 1))
        return f", about {seconds // 60}:{seconds % 60:02d} left"
