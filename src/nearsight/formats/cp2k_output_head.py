"""What a CP2K output says before the first step: cell, kinds of atoms, positions, charge, method."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from ase.geometry import cellpar_to_cell

from nearsight.elements import GHOST
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.units import LENGTHS_IN_ANGSTROM

_R = r"(-?\d+\.\d+)"
_ONCE = {
    "version": re.compile(r"CP2K\| version string:\s+CP2K version (\S+)"),
    "input": re.compile(r"CP2K\| Input file name\s+(\S.*?)\s*$"),
    "environment": re.compile(r"GLOBAL\| Force Environment number\s+(\d+)"),
    "project": re.compile(r"GLOBAL\| Project name\s+(\S.*?)\s*$"),
    "run type": re.compile(r"GLOBAL\| Run type\s+(\S+)"),
    "method": re.compile(r"^\s*QS\| Method:\s+(\S+)"),
    "spins": re.compile(r"DFT\| Number of spin states\s+(\d+)"),
    "multiplicity": re.compile(r"DFT\| Multiplicity\s+(\d+)"),
    "charge": re.compile(r"DFT\| Charge\s+(-?\d+)"),
    "atoms": re.compile(r"^\s+- Atoms:\s+(\d+)"),
    "orbitals": re.compile(r"Number of orbital functions:\s+(\d+)"),
    "electrons": re.compile(r"Number of electrons:\s+(\d+)"),
    "ensemble": re.compile(r"^\s*MD(?:_PAR)?\| Ensemble type\s+(\S+)"),
    "trajectory": re.compile(r"^\s*MD(?:_PAR)?\| Coordinates\s+\d+\s+(\S+)"),
}
_WORDS = ("|", "Number of", "- Atoms:")
_VECTOR = re.compile(rf"^\s*CELL\| Vector ([abc]) \[(\w+)\]?:?\s+{_R}\s+{_R}\s+{_R}\s+\|[abc]\| =\s+{_R}")
_ANGLE = re.compile(rf"^\s*CELL\| Angle \([abc],[abc]\), (alpha|beta|gamma)\s+\[degree\]:\s+{_R}")
_PERIODIC = re.compile(r"^\s*CELL\| Periodicity\s+([XYZ]+|NONE)")
_KIND = re.compile(r"^\s*\d+\. Atomic kind: (\S+)")
_BASIS = re.compile(r"^\s+(\S.*?)\s+Basis Set(?:\s+(\S+))?\s*$")
INLINE = "of the input's own &BASIS"
"""Name of a basis that has none."""
_POTENTIAL = re.compile(r"^\s+(GTH|AE|SGP|ECP|All-electron)\b.*[Pp]otential information for\s+(\S+)")
_SHELL = re.compile(rf"^\s+(\d+)\s+(\d+)\s+\d+([spdfghi])(\S*)\s+{_R}\s+{_R}\s*$")
_PRIMITIVE = re.compile(rf"^\s+{_R}\s+{_R}\s*$")
_SITES = re.compile(r"ATOMIC COORDINATES IN (\w+)", re.IGNORECASE)
_SITE = re.compile(rf"^\s*\d+\s+(\d+)\s+([A-Z][a-z]?)\s+(\d+)\s+{_R}\s+{_R}\s+{_R}\s+{_R}")


@dataclass(frozen=True, eq=False)
class PrintedCell:
    """A cell as CP2K prints it: vectors to 0.001 Å, lengths and angles to a millionth.

    Attributes
    ----------
    vectors : (3, 3) array of float64
        Rows, Å, rounded.
    parameters : tuple of float
        Lengths (Å) and angles (degrees); fewer than six where some are not printed.
    pbc : (3,) array of bool
        Periodic directions.
    rounding : float
        Å, that the printed digits of the vectors leave.
    """

    vectors: np.ndarray
    parameters: tuple[float, ...]
    pbc: np.ndarray
    rounding: float = 6e-4

    def agrees(self, cell: np.ndarray) -> bool:
        """Return whether a cell (rows, Å) is this one within the digits that are printed."""
        return bool(np.abs(cell - self.vectors).max() < self.rounding)

    @property
    def cell(self) -> np.ndarray:
        """(3, 3) float64, Å: of lengths and angles where the vectors are those CP2K makes of them, else as rounded."""
        if len(self.parameters) == 6:
            standard = np.array(cellpar_to_cell(self.parameters))
            standard[np.abs(standard) < 1e-6] = 0.0
            if self.agrees(standard):
                return standard
        return self.vectors


@dataclass(frozen=True, eq=False)
class PrintedKind:
    """A kind of atoms.

    Attributes
    ----------
    label : str
        Its name.
    basis : str or None
        The orbital basis.
    shells : tuple of int
        Angular momenta of its shells in the order of the orbitals; empty where they are not printed.
    potential : str or None
        Its name.
    ghost : bool
        Whether its atoms have functions and no nucleus.
    all_electron : bool
        Whether its potential is the nucleus itself.
    gaussians : tuple of GaussianShell
        The shells themselves, with the digits that are printed; empty where a number did not fit its column.
    """

    label: str
    basis: str | None
    shells: tuple[int, ...]
    potential: str | None
    ghost: bool
    all_electron: bool
    gaussians: tuple[GaussianShell, ...] = ()


@dataclass(frozen=True, eq=False)
class PrintedSites:
    """The table of atomic coordinates.

    Attributes
    ----------
    kinds : (N,) array of int
        Which kind each atom is, from 0.
    elements : (N,) array of int
        Atomic numbers, also of the functions of ghosts.
    positions : (N, 3) array of float64
        Å, rounded.
    charges : (N,) array of float64
        Charges of the cores: the valence.
    rounding : float
        Å, that the printed digits of the positions leave.
    """

    kinds: np.ndarray
    elements: np.ndarray
    positions: np.ndarray
    charges: np.ndarray
    rounding: float = 2e-6

    def numbers(self, kinds: tuple[PrintedKind, ...]) -> np.ndarray:
        """(N,) int, atomic numbers; 0 for ghosts."""
        ghosts = np.array([kinds[k].ghost if k < len(kinds) else False for k in self.kinds])
        return np.where(ghosts, GHOST, self.elements)


@dataclass
class _KindLines:
    label: str
    basis: str | None = None
    potential: str | None = None
    ghost: bool = False
    all_electron: bool = False
    reads_shells: bool = False
    shells: dict[tuple[int, int], int] = field(default_factory=dict)
    component: str | None = None
    primitives: dict[tuple[int, int], list[tuple[float, float]]] = field(default_factory=dict)

    def take_basis(self, line: str) -> None:
        """A line of the table of orbitals; of each shell the first component tells all."""
        if found := _SHELL.match(line):
            key = int(found[1]), int(found[2])
            self.component = found[4] if key not in self.shells else None
            self.shells.setdefault(key, "spdfghi".index(found[3]))
            row = (float(found[5]), float(found[6]))
        elif found := _PRIMITIVE.match(line):
            row = (float(found[1]), float(found[2]))
        else:
            return
        if self.component is not None and self.shells:
            self.primitives.setdefault(next(reversed(self.shells)), []).append(row)

    def gaussians(self) -> tuple[GaussianShell, ...]:
        """The shells with their primitives; nothing where one has none."""
        if any(not any(a > 0 and c for a, c in self.primitives.get(key, [])) for key in self.shells):
            return ()
        tables = {key: np.array([row for row in self.primitives[key] if row[0] > 0]) for key in self.shells}
        return tuple(GaussianShell(l, tables[key][:, 0], tables[key][:, 1]) for key, l in self.shells.items())


class UnknownUnitError(ValueError):
    """An output in a unit that is not known."""


def _unit(name: str) -> float:
    """Å, of a unit that the output names."""
    if name.lower() not in LENGTHS_IN_ANGSTROM:
        raise UnknownUnitError(f"expected lengths in one of {', '.join(LENGTHS_IN_ANGSTROM)}, got {name}")
    return LENGTHS_IN_ANGSTROM[name.lower()]


class Head:
    """The head of an output, taken line by line."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        self._before: dict[str, str] = {}
        self.restricted_open = False
        self._vectors: dict[str, list[float]] = {}
        self._lengths: dict[str, float] = {}
        self._angles: dict[str, float] = {}
        self._periodic: str | None = None
        self._cell: PrintedCell | None = None
        self._cell_unit = 1.0
        self._kinds: list[_KindLines] = []
        self._in_kind = False
        self._rows: list[tuple[float, ...]] = []
        self._unit: float | None = None

    def count(self, key: str) -> int | None:
        """Return a whole number, None where it is not printed."""
        return int(self.last[key]) if key in self.last else None

    @property
    def electrons(self) -> int | None:
        """The number of electrons, which is printed for one spin after the other where there are two."""
        if self.count("spins") != 2 or self.restricted_open or "electrons" not in self.last:
            return self.count("electrons")
        return int(self.last["electrons"]) + int(self._before["electrons"])

    @property
    def cell(self) -> PrintedCell | None:
        """The first cell."""
        return self._cell

    @property
    def kinds(self) -> tuple[PrintedKind, ...]:
        """All kinds in CP2K's order."""
        return tuple(
            PrintedKind(k.label, k.basis, tuple(k.shells.values()), k.potential, k.ghost, k.all_electron, k.gaussians())
            for k in self._kinds
        )

    @property
    def sites(self) -> PrintedSites | None:
        """The first table of coordinates."""
        if not self._rows:
            return None
        table = np.array(self._rows)
        whole = table[:, :2].astype(np.int64)
        unit = self._unit or 1.0
        rounding = PrintedSites.rounding * max(unit, 1.0)
        return PrintedSites(whole[:, 0] - 1, whole[:, 1], table[:, 2:5] * unit, table[:, 5], rounding)

    def take(self, line: str) -> None:
        """One line of the output."""
        if any(word in line for word in _WORDS):
            for key, pattern in _ONCE.items():
                if found := pattern.search(line):
                    self._before[key] = self.last.get(key, "0")
                    self.last[key] = found[1]
            if "DFT|" in line and ("ROKS" in line or "open-shell" in line.lower()):
                self.restricted_open = True
            if " CELL|" in line and self._cell is None:
                self._take_cell(line)
        self._take_kind(line)
        self._take_site(line)

    def _take_cell(self, line: str) -> None:
        if found := _VECTOR.match(line):
            unit = _unit(found[2])
            self._vectors[found[1]] = [float(x) * unit for x in found.groups()[2:5]]
            self._lengths[found[1]] = float(found[6]) * unit
            self._cell_unit = unit
        elif found := _ANGLE.match(line):
            self._angles[found[1]] = float(found[2])
        elif (found := _PERIODIC.match(line)) and len(self._vectors) == 3:
            pbc = np.array([axis in found[1] for axis in "XYZ"]) & (found[1] != "NONE")
            parameters = [self._lengths[a] for a in "abc"] + [
                self._angles[name] for name in ("alpha", "beta", "gamma") if name in self._angles
            ]
            rounding = PrintedCell.rounding * max(self._cell_unit, 1.0)
            self._cell = PrintedCell(np.array([self._vectors[a] for a in "abc"]), tuple(parameters), pbc, rounding)

    def _take_kind(self, line: str) -> None:
        if "Atomic kind:" in line and (found := _KIND.match(line)):
            if not any(k.label == found[1] for k in self._kinds):
                self._kinds.append(_KindLines(found[1]))
                self._in_kind = True
            return
        if not self._in_kind:
            return
        if "MOLECULE KIND" in line or "TOTAL NUMBERS" in line:
            self._in_kind = False
            return
        kind = self._kinds[-1]
        if "Basis Set" in line and (found := _BASIS.match(line)):
            kind.reads_shells = found[1] == "Orbital"
            if kind.reads_shells:
                kind.basis = found[2] or INLINE
        elif "otential information" in line and (found := _POTENTIAL.match(line)):
            kind.potential, kind.reads_shells = found[2], False
            kind.all_electron = found[1] in ("AE", "All-electron")
        elif "are GHOST atoms" in line or "FLOATING BASIS FUNCTIONS" in line:
            kind.ghost = True
        elif kind.reads_shells:
            kind.take_basis(line)

    def _take_site(self, line: str) -> None:
        if found := _SITES.search(line):
            if not self._rows:
                self._unit = _unit(found[1])
        elif self._unit is not None and (found := _SITE.match(line)) and not self._done:
            kind, element, place = int(found[1]), int(found[3]), [float(x) for x in found.groups()[3:]]
            self._rows.append((kind, element, *place))
        elif self._rows and not line.strip():
            self._done = True

    _done = False
