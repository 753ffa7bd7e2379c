"""CP2K's output: what a run was, and the energies and levels of each of its steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.formats.cp2k_output_head import Head, PrintedCell, PrintedKind, PrintedSites, UnknownUnitError
from nearsight.formats.sniffing import first_bytes
from nearsight.units import HARTREE_IN_EV

_NUMBER = r"(-?\d+\.\d+(?:E[-+]?\d+)?)"
_ENERGY = re.compile(rf"ENERGY\| Total FORCE_EVAL \( (\w+) \) energy \[?([\w.]+)\]?:?\s+{_NUMBER}")
_ENERGY_OLD = re.compile(rf"ENERGY\| Total FORCE_EVAL \( (\w+) \) energy \(a\.u\.\):\s+{_NUMBER}")
_FERMI_HARTREE = re.compile(rf"(?:E\(Fermi\):|Fermi energy:)\s+{_NUMBER}")
_FERMI_EV = re.compile(rf"Fermi Energy \[eV\]\s*:\s+{_NUMBER}")
_TABLE = re.compile(r"(BETA )?(?:MO )?EIGENVALUES AND (?:MO )?OCCUPATION NUMBERS(?: FOR K POINT\s+(\d+))?")
_EIGENVALUE = re.compile(rf"^\s*(?:MO\|)?\s+(\d+)\s+{_NUMBER}\s+(?:{_NUMBER}\s+)?\d+\.\d+\s*$")
_K_POINT = re.compile(r"BRILLOUIN\|\s+(\d+)\s+\d+\.\d+\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s*$")
_K_SCHEME = re.compile(r"BRILLOUIN\|\s+K-point scheme\s+(\S.*?)\s*$")
_K_GRID = re.compile(r"BRILLOUIN\|\s+K-Point grid\s+(\d+)\s+(\d+)\s+(\d+)\s*$")
_K_GAMMA = re.compile(r"BRILLOUIN\|\s+Gamma-point calculation")
_MD_STEP = re.compile(r"^\s*(?:MD\| Step number|STEP NUMBER\s+=)\s+(\d+)")
_OPTIMISATION_STEP = re.compile(r"^\s*OPTIMIZATION STEP:\s+(\d+)")
_NEXT = re.compile(r"SCF WAVEFUNCTION OPTIMIZATION|^ Number of electrons:|ATOMIC COORDINATES IN")
"""Where, after an energy, the next evaluation begins."""
_IMAGES = re.compile(r"^\s*(KS|S) CSR write\|\s*(\d+) periodic images")
_IMAGE = re.compile(r"^\s*(\d+|\*+)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)\s*$")
"""Their numbers go up from 1; from 1000 on there are stars, for they do not fit their column."""

_ENERGIES = {"a.u.": HARTREE_IN_EV, "hartree": HARTREE_IN_EV, "ry": HARTREE_IN_EV / 2, "ev": 1.0, "kev": 1e3}
"""eV, of the units of energy that are read; since 2024 the input may choose one (ENERGY_UNIT)."""
_ATOMIC = ("a.u.", "hartree")
_FIXED_CELL = ("NVE", "NVT", "LANGEVIN", "ISOKIN", "NVT_ADIABATIC")
"""Ensembles of MD in which the cell stays as it is."""

ImageTables = dict[str, dict[int, tuple[int, int, int]]]
"""For KS and S: image number → cell vector."""


@dataclass(eq=False)
class Evaluation:
    """The electronic structure of one set of positions.

    Attributes
    ----------
    step : int or None
        The step of the MD run or optimisation; None where the atoms do not move.
    energy, fermi : float or None
        eV.
    converged : bool or None
        Whether its SCF run converged; None where there was none.
    tables : dict of int to list of float
        k-point (0 without &KPOINTS) → printed eigenvalues, E_h; of spin up where there are two.
    tables_down : dict of int to list of float
        Those of spin down.
    images : dict
        For KS and S: image number → cell vector, of real-space matrices.
    in_atomic_units : bool
        Whether the energy was printed in Hartree, so that no other constant of CP2K's is in it.
    """

    step: int | None = None
    energy: float | None = None
    fermi: float | None = None
    converged: bool | None = None
    tables: dict[int, list[float]] = field(default_factory=dict)
    tables_down: dict[int, list[float]] = field(default_factory=dict)
    images: ImageTables = field(default_factory=dict)
    in_atomic_units: bool = True


@dataclass(frozen=True, eq=False)
class Cp2kOutput:
    """The content of an output; None where it does not say. Of several runs in one file, the last that got anywhere.

    Attributes
    ----------
    version : str or None
        Such as `2023.1`.
    energy, fermi : float or None
        eV, of the last step.
    eigenvalues : (n,) array of float or None
        eV at Γ, ascending, as printed (occupied and maybe some empty); None where Γ is not among the k-points. Of spin
        up where there are two.
    converged : bool or None
        Whether the last SCF run converged; None where there was none.
    n_atoms, n_orbitals, n_electrons : int or None
        Sizes, to compare with the matrices.
    n_spins : int or None
        2 for an open shell.
    k_points : (k, 3) array of float or None
        In units of the reciprocal lattice vectors; None without &KPOINTS.
    k_eigenvalues : (k, n) array of float or None
        eV at each of them, as printed; None where they are not printed. Of spin up where there are two.
    eigenvalues_down, k_eigenvalues_down : arrays of float or None
        The same of spin down.
    k_scheme : str or None
        Such as `MONKHORST-PACK 2 2 2`, `GAMMA`; None without &KPOINTS.
    images : dict
        For KS and S: image number → cell vector.
    project, run_type, method, input_name : str or None
        As CP2K names them: PROJECT, RUN_TYPE, Quickstep's METHOD (that of &FORCE_EVAL where there is more than
        Quickstep, such as QMMM), the input file.
    charge, multiplicity : int or None
        Of the run.
    restricted_open : bool
        Whether it is a restricted open-shell (ROKS) run.
    cell : PrintedCell or None
        The cell in which the run began.
    kinds : tuple of PrintedKind
        The kinds of atoms, with the shells of their orbital basis.
    sites : PrintedSites or None
        The positions with which the run began.
    trajectory : str or None
        The file of positions of an MD run, as CP2K names it.
    moving_cell : bool
        Whether the cell changes from step to step.
    evaluations : tuple of Evaluation
        Every electronic structure, in the order of the run.
    n_environments : int
        Number of &FORCE_EVAL.
    """

    version: str | None
    energy: float | None
    fermi: float | None
    eigenvalues: np.ndarray | None
    converged: bool | None
    n_atoms: int | None
    n_orbitals: int | None
    n_electrons: int | None
    n_spins: int | None
    k_points: np.ndarray | None = None
    k_eigenvalues: np.ndarray | None = None
    k_scheme: str | None = None
    images: ImageTables = field(default_factory=dict)
    project: str | None = None
    run_type: str | None = None
    method: str | None = None
    input_name: str | None = None
    charge: int | None = None
    multiplicity: int | None = None
    restricted_open: bool = False
    cell: PrintedCell | None = None
    kinds: tuple[PrintedKind, ...] = ()
    sites: PrintedSites | None = None
    trajectory: str | None = None
    moving_cell: bool = False
    evaluations: tuple[Evaluation, ...] = ()
    n_environments: int = 1
    eigenvalues_down: np.ndarray | None = None
    k_eigenvalues_down: np.ndarray | None = None


def is_output(path: str | Path) -> bool:
    """Tell whether a text file was printed by CP2K (and not, say, by the queue)."""
    try:
        with open(path, "rb") as raw:
            head = raw.read(20_000)
    except OSError:
        return False
    return b"\0" not in head and (b" CP2K|" in head or b" DBCSR|" in head)


def read_output(path: str | Path, evaluation: int = -1) -> Cp2kOutput:
    """Read an output.

    Parameters
    ----------
    path : str or pathlib.Path
        The output.
    evaluation : int, default -1
        Whose energy and levels the result has: place among the evaluations of the run, the last one by default.

    Returns
    -------
    Cp2kOutput
        What it says.

    Raises
    ------
    FormatError
        If it is not an output of CP2K, or a table of eigenvalues breaks off.
    """
    run = _last_run(path)
    chosen = run.evaluations[evaluation] if run.evaluations else Evaluation()
    at_gamma, at_k = _eigenvalues(path, chosen.tables, run.k_points)
    gamma_down, k_down = _eigenvalues(path, chosen.tables_down, run.k_points)
    head = run.head
    return Cp2kOutput(
        head.last.get("version"),
        chosen.energy,
        chosen.fermi,
        at_gamma,
        chosen.converged,
        head.count("atoms"),
        head.count("orbitals"),
        head.electrons,
        head.count("spins"),
        np.array([run.k_points[k] for k in sorted(run.k_points)]) if run.k_points else None,
        at_k,
        " ".join(run.scheme[key] for key in ("name", "grid") if key in run.scheme) or None,
        chosen.images,
        head.last.get("project"),
        head.last.get("run type"),
        run.foreign or head.last.get("method"),
        head.last.get("input"),
        head.count("charge"),
        head.count("multiplicity"),
        head.restricted_open,
        head.cell,
        head.kinds,
        head.sites,
        head.last.get("trajectory"),
        head.last.get("run type") == "CELL_OPT" or head.last.get("ensemble", _FIXED_CELL[0]) not in _FIXED_CELL,
        tuple(run.evaluations),
        head.count("environment") or 1,
        gamma_down,
        k_down,
    )


def _last_run(path: str | Path) -> _Run:
    first_bytes(path, "an output of CP2K")
    if not is_output(path):
        raise FormatError(path, "expected an output of CP2K, got a file without its banner `CP2K|`")
    runs = [_Run(path)]
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if "CP2K| version string" in line:  # CP2K appends: what an earlier run printed is not of this one
                runs.append(_Run(path))
            try:
                runs[-1].take(line)
            except UnknownUnitError as error:
                raise FormatError(path, str(error)) from error
    for run in runs:
        run.finish()
    return next((run for run in reversed(runs) if run.evaluations), runs[-1])


class _Run:
    """One run of the program, line by line."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.head = path, Head()
        self.evaluations: list[Evaluation] = []
        self.k_points: dict[int, tuple[float, ...]] = {}
        self.scheme: dict[str, str] = {}
        self.foreign: str | None = None
        self._now, self._complete, self._step = Evaluation(), False, 0
        self._table: list[float] | None = None
        self._images: dict[int, tuple[int, int, int]] | None = None
        self._images_left = 0

    def take(self, line: str) -> None:
        """One line."""
        if self._complete and _NEXT.search(line):
            self._close()
        if title := _TABLE.search(line):
            tables = self._now.tables_down if title[1] else self._now.tables
            self._table = tables[int(title[2] or 0)] = []
        elif self._table is not None and (row := _EIGENVALUE.match(line)):
            if not self._table and int(row[1]) > 1:  # MO_INDEX_RANGE: levels from the middle of the spectrum
                self._table = None
                return
            _append(self.path, self._table, int(row[1]), float(row[2]))
        elif self._table:
            self._table = None  # rows of other tables look like these
        if "SCF run" in line and "converged" in line:
            self._now.converged = "NOT" not in line
        if found := _K_POINT.search(line):
            self.k_points[int(found[1])] = tuple(float(x) for x in found.groups()[1:])
        elif "BRILLOUIN|" in line:
            _collect_scheme(line, self.scheme, self.k_points)
        self._take_images(line)
        self._take_energies(line)
        self._take_steps(line)
        self.head.take(line)

    def _take_images(self, line: str) -> None:
        if title := _IMAGES.match(line):
            self._images = self._now.images[title[1]] = {}
            self._images_left = int(title[2])
        elif self._images is not None and self._images_left and (row := _IMAGE.match(line)):
            number = len(self._images) + 1
            if row[1].isdigit() and int(row[1]) != number:
                raise FormatError(self.path, f"expected image {number} in the table of periodic images, got {row[1]}")
            self._images[number] = (int(row[2]), int(row[3]), int(row[4]))
            self._images_left -= 1

    def _take_energies(self, line: str) -> None:
        if "KG coloring result" in line:
            self.foreign = "KG"
        if found := _ENERGY.search(line) or _ENERGY_OLD.search(line):
            if self._complete:
                self._close()
            if found[1] in ("QS", "QUICKSTEP"):
                self._now.energy = self._energy(found)
            else:
                self.foreign = found[1]
            self._now.step, self._complete = self._step, True
        if found := _FERMI_HARTREE.search(line):
            self._now.fermi = float(found[1]) * HARTREE_IN_EV
        elif found := _FERMI_EV.search(line):
            self._now.fermi = float(found[1])

    def _energy(self, found: re.Match[str]) -> float:
        """eV, of the total energy in the unit that is printed."""
        if found.re is _ENERGY_OLD:
            return float(found[2]) * HARTREE_IN_EV
        if found[2].lower() not in _ENERGIES:
            raise FormatError(self.path, f"expected energies in hartree, Ry or eV, got {found[2]} (ENERGY_UNIT)")
        self._now.in_atomic_units = found[2].lower() in _ATOMIC
        return float(found[3]) * _ENERGIES[found[2].lower()]

    def _take_steps(self, line: str) -> None:
        if found := _OPTIMISATION_STEP.match(line):
            self._step = int(found[1])
            if self._complete:
                self._close()
        elif found := _MD_STEP.match(line):
            self._now.step = int(found[1])

    def _close(self) -> None:
        self.evaluations.append(self._now)
        self._now, self._complete, self._table = Evaluation(step=self._step), False, None

    def finish(self) -> None:
        """After the last line: of an output that was cut, what is not complete does not count where anything is."""
        if self._images_left:
            raise FormatError(
                self.path,
                f"expected a whole table of periodic images, got one that lacks {self._images_left}; is the output "
                "truncated?",
            )
        now = self._now
        if self._complete or (not self.evaluations and (now.tables or now.fermi or now.converged is not None)):
            self._close()
        first = self.evaluations[0] if self.evaluations else None
        after = [e.step for e in self.evaluations[1:2] if e.step is not None]
        if first is not None and first.step == 0 and after and after[0] > 1:
            first.step = after[0] - 1  # a run that goes on counts on


def _eigenvalues(
    path: str | Path, tables: dict[int, list[float]], k_points: dict[int, tuple[float, ...]]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Those at Γ, and those at every k-point, eV; none where all are zero, for orbitals were not computed (ALMO)."""
    tables = {k: table for k, table in tables.items() if any(table)}
    if not k_points:
        found = tables.get(0) or None
        return (np.sort(np.array(found)) * HARTREE_IN_EV if found else None), None
    rows = [tables[k] for k in sorted(k_points) if tables.get(k)]
    if not rows:
        return None, None
    if len(rows) != len(k_points) or len({len(row) for row in rows}) > 1:
        raise FormatError(
            path,
            f"expected eigenvalues at each of {len(k_points)} k-points, got {len(rows)} tables of "
            f"{min(map(len, rows))} to {max(map(len, rows))}; was the output cut?",
        )
    values = np.sort(np.array(rows), axis=1) * HARTREE_IN_EV
    gamma = [n for n, k in enumerate(sorted(k_points)) if not any(k_points[k])]
    return (values[gamma[0]] if gamma else None), values


def _collect_scheme(line: str, scheme: dict[str, str], k_points: dict[int, tuple[float, ...]]) -> None:
    """What the lines before the list of k-points say."""
    if _K_GAMMA.search(line):
        scheme["name"] = "GAMMA"
        k_points[1] = (0.0, 0.0, 0.0)
    elif found := _K_SCHEME.search(line):
        scheme["name"] = found[1].upper()
    elif found := _K_GRID.search(line):
        scheme["grid"] = " ".join(found.groups())


def _append(path: str | Path, table: list[float], index: int, value: float) -> None:
    if index != len(table) + 1:
        raise FormatError(path, f"expected eigenvalue {len(table) + 1}, got {index}; was the table cut?")
    table.append(value)


def steps_of(output: Cp2kOutput) -> Iterator[int]:
    """Yield the steps of a run, each once, in its order.

    Parameters
    ----------
    output : Cp2kOutput
        An output.

    Yields
    ------
    int
        The step.
    """
    yield from dict.fromkeys(e.step for e in output.evaluations if e.step is not None)
