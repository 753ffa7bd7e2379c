"""CP2K's input: the structure, the basis and potential of each kind of atom, and what an input alone leaves open."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from ase.geometry import cellpar_to_cell

from nearsight.elements import GHOST, number_of
from nearsight.errors import FormatError
from nearsight.formats.cp2k_preprocessor import input_lines
from nearsight.formats.fortran_numbers import parse_number
from nearsight.formats.sniffing import first_bytes
from nearsight.formats.xyz import read_xyz_atoms
from nearsight.structures.structure import Structure
from nearsight.units import LENGTHS_IN_ANGSTROM

_ANGLES = {"deg": 1.0, "rad": 180 / np.pi}
_ON = {"", "T", ".T.", "TRUE", ".TRUE.", "ON", "YES", "1"}
_PERIODIC = ("NONE", "X", "Y", "Z", "XY", "XZ", "YZ", "XYZ")
_NO_SYMMETRY = ("NONE", "TRICLINIC")
_SYMMETRIES = (
    *_NO_SYMMETRY,
    "CUBIC",
    "HEXAGONAL",
    "HEXAGONAL_GAMMA_60",
    "HEXAGONAL_GAMMA_120",
    "MONOCLINIC",
    "MONOCLINIC_GAMMA_AB",
    "ORTHORHOMBIC",
    "RHOMBOHEDRAL",
    "TETRAGONAL",
    "TETRAGONAL_AB",
    "TETRAGONAL_AC",
    "TETRAGONAL_BC",
)
RESTRICTED_OPEN = ("ROKS", "RESTRICTED_OPEN_KOHN_SHAM")
_OPEN_SHELL = ("UKS", "UNRESTRICTED_KOHN_SHAM", "LSD", "SPIN_POLARIZED", "ROKS", "RESTRICTED_OPEN_KOHN_SHAM")
SEVERAL = " + "
"""Between the names of basis sets that make up one."""
METHODS = ("GPW", "GAPW", "GAPW_XC")
"""Of Quickstep, those whose H and S are Kohn-Sham matrices in a Gaussian basis."""
STATIC = ("ENERGY", "ENERGY_FORCE", "WAVEFUNCTION_OPTIMIZATION", "WFN_OPT", "LINEAR_RESPONSE", "LR")
"""Run types in which atoms stay where they are."""


@dataclass
class Section:
    """One `&NAME … &END`: its keywords as (first word, rest of the line) and its subsections."""

    name: str
    parameter: str = ""
    keywords: list[tuple[str, str]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def all(self, *names: str) -> list[Section]:
        """Return every subsection at the path of `names`."""
        found = [self]
        for name in names:
            found = [inner for outer in found for inner in outer.sections if inner.name == name]
        return found

    def get(self, *keywords: str) -> str | None:
        """Return the last value of a keyword that has these names, None where it is absent."""
        values = self.values(*keywords)
        return values[-1] if values else None

    def values(self, *keywords: str) -> list[str]:
        """Return every value of a keyword that has these names, in the order of the input."""
        return [rest for word, rest in self.keywords if word.upper() in keywords]

    def flag(self, *keywords: str) -> bool:
        """Return whether a logical keyword is there and on."""
        value = self.get(*keywords)
        return value is not None and value.upper() in _ON


@dataclass(frozen=True)
class Kind:
    """A kind of atom.

    Attributes
    ----------
    number : int
        Atomic number; 0 for a ghost.
    basis, potential : str or None
        Names of the orbital basis and of the potential; None where the input does not name one.
    valence : int or None
        Electrons that the potential leaves; None where its name does not say.
    element : int
        Atomic number, also of a ghost's functions.
    """

    number: int
    basis: str | None
    potential: str | None
    valence: int | None = None
    element: int = 0


@dataclass(frozen=True, eq=False)
class Cp2kInput:
    """An input; what it does not hold, or holds wrongly, is an error only where it is asked for.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    root : Section
        All sections.
    """

    path: Path
    root: Section

    @cached_property
    def force_eval(self) -> Section:
        """The section &FORCE_EVAL."""
        return self.root.all("FORCE_EVAL")[0]

    @cached_property
    def dft(self) -> Section:
        """The section &DFT, empty where there is none."""
        return next(iter(self.force_eval.all("DFT")), Section("DFT"))

    @cached_property
    def subsys(self) -> Section:
        """The section &SUBSYS, empty where there is none."""
        return next(iter(self.force_eval.all("SUBSYS")), Section("SUBSYS"))

    @cached_property
    def structure(self) -> Structure:
        """Atoms and cell as written, Å."""
        return Structure(self.numbers, self.positions, self.cell, self.pbc)

    @cached_property
    def _atoms(self) -> tuple[list[str], np.ndarray]:
        return _atoms(self.path, self.force_eval)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The kind of each atom."""
        return tuple(self._atoms[0])

    @cached_property
    def numbers(self) -> np.ndarray:
        """(N,) int, atomic numbers; 0 for ghosts."""
        return np.array([self.kinds[label].number for label in self.labels])

    @cached_property
    def positions(self) -> np.ndarray:
        """(N, 3) float64, Å."""
        positions = self._atoms[1]
        return positions @ self.cell if _scaled(self.force_eval) else positions

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """Label → kind, for the labels that occur."""
        return {label: self.kind(label) for label in dict.fromkeys(self.labels)}

    def kind(self, label: str) -> Kind:
        """Return the kind of a label, whatever its case.

        Raises
        ------
        FormatError
            If its element is not known, or its basis is not named in one word.
        """
        return _kind(self.path, label, self._kind_section(label))

    def names_of(self, label: str) -> tuple[str | None, str | None]:
        """Return the names of the orbital basis and of the potential of a kind; None where the input has none."""
        section = self._kind_section(label)
        return _orbital_basis(section), _potential(section)

    def _kind_section(self, label: str) -> Section | None:
        sections = {s.parameter.upper(): s for s in reversed(self.subsys.all("KIND"))}  # of two, CP2K takes the first
        return sections.get(label.upper(), sections.get("DEFAULT"))

    @cached_property
    def cell(self) -> np.ndarray:
        """(3, 3) float64, lattice vectors as written, Å."""
        return _cell(self.path, self._cell_section())

    @cached_property
    def pbc(self) -> np.ndarray:
        """(3,) bool, periodic directions."""
        periodic = (self._cell_section().get("PERIODIC") or "XYZ").upper()
        if periodic not in _PERIODIC:
            raise FormatError(
                self.path, f"expected PERIODIC of &CELL to be one of {', '.join(_PERIODIC)}, got {periodic!r}"
            )
        return np.array([axis in periodic for axis in "XYZ"]) & (periodic != "NONE")

    def _cell_section(self) -> Section:
        sections = self.subsys.all("CELL")
        if not sections:
            raise FormatError(self.path, "expected &CELL in the input, got none; give the cell (--cell)")
        return sections[0]

    @property
    def basis_files(self) -> tuple[str, ...]:
        """Names of the basis files, as written; CP2K's BASIS_SET where none is."""
        return tuple(name.strip("'\"") for name in self.dft.values("BASIS_SET_FILE_NAME")) or ("BASIS_SET",)

    @property
    def settings(self) -> dict[str, str]:
        """Some of the settings, plain text, for the provenance."""
        return _settings(self.force_eval)

    @property
    def project(self) -> str:
        """PROJECT, with which the names of CP2K's files begin."""
        return next((s.get("PROJECT", "PROJECT_NAME") for s in self.root.all("GLOBAL")), None) or "PROJECT"

    @property
    def run_type(self) -> str:
        """RUN_TYPE in capitals."""
        return (next((s.get("RUN_TYPE") for s in self.root.all("GLOBAL")), None) or "ENERGY_FORCE").upper()

    @property
    def method(self) -> str:
        """METHOD of &QS in capitals; that of &FORCE_EVAL where it is not Quickstep, KG where molecules are embedded."""
        outer = (self.force_eval.get("METHOD") or "QS").upper()
        if outer not in ("QS", "QUICKSTEP"):
            return outer
        if any(s.flag("KG_METHOD") for s in self.dft.all("QS")):
            return "KG"
        return (next((s.get("METHOD") for s in self.dft.all("QS")), None) or "GPW").upper()

    @property
    def open_shell(self) -> str | None:
        """The keyword that asks for a spin-polarised run; None where none does."""
        return next((name for name in _OPEN_SHELL if self.dft.flag(name)), None)

    @property
    def charge(self) -> int:
        """CHARGE, in units of e."""
        return round(_number_of(self.path, "CHARGE", self.dft.get("CHARGE") or "0"))

    @property
    def multiplicity(self) -> int | None:
        """MULTIPLICITY; None where it is not given or 0."""
        return round(_number_of(self.path, "MULTIPLICITY", self.dft.get("MULTIPLICITY", "MULTIP") or "0")) or None

    def matrix_file(self, which: str) -> str | None:
        """FILENAME of &KS_CSR_WRITE or &S_CSR_WRITE; None where there is no such section, empty where it has none."""
        sections = self.dft.all("PRINT", which)
        return (sections[0].get("FILENAME") or "").strip("'\"") if sections else None

    @property
    def trajectory_unit(self) -> float:
        """Å, the unit of the positions that a run whose atoms move writes.

        Raises
        ------
        FormatError
            If it is not known.
        """
        said = [s.get("UNIT") for s in self.root.all("MOTION", "PRINT", "TRAJECTORY")]
        return _unit_of(self.path, "&TRAJECTORY", next((unit for unit in said if unit), "angstrom"))

    @cached_property
    def leaves_open(self) -> tuple[str, ...]:
        """What makes the atoms or the cell of the run others than those written here."""
        cell = self._cell_section()
        symmetry = (cell.get("SYMMETRY") or "NONE").upper()
        if symmetry not in _SYMMETRIES:
            raise FormatError(
                self.path, f"expected SYMMETRY of &CELL to be one of {', '.join(_SYMMETRIES)}, got {symmetry!r}"
            )
        vectors = any(cell.get(name) for name in "ABC")
        topology = self.subsys.all("TOPOLOGY")
        reasons = {
            "EXT_RESTART": bool(self.root.all("EXT_RESTART")),
            f"SYMMETRY {symmetry}": symmetry not in _NO_SYMMETRY,
            "ABC beside A, B, C": cell.get("ABC") is not None and vectors,
            "CELL_FILE_NAME": cell.get("CELL_FILE_NAME", "CELL_FILE") is not None,
            "MULTIPLE_UNIT_CELL": _repeated(cell) or any(_repeated(section) for section in topology),
            f"RUN_TYPE {self.run_type}": self.run_type not in STATIC,
        }
        return tuple(reason for reason, holds in reasons.items() if holds)

    @property
    def centred(self) -> bool:
        """Whether all atoms are moved together, to the middle of the cell."""
        return any(s.all("CENTER_COORDINATES") for s in self.subsys.all("TOPOLOGY"))

    @property
    def restart_file(self) -> Path | None:
        """The file of &EXT_RESTART, where it is beside the input."""
        names = [s.get("RESTART_FILE_NAME", "EXTERNAL_FILE") for s in self.root.all("EXT_RESTART")]
        found = [self.path.parent / name.strip("'\"") for name in names if name]
        return found[0] if found and found[0].is_file() else None


def is_input(path: str | Path) -> bool:
    """Tell by its content whether a file is an input of CP2K that someone wrote (and not a restart file)."""
    try:
        with open(path, "rb") as raw:
            head = raw.read(200_000)
    except OSError:
        return False
    if b"\0" in head or b"Version information for this restart file" in head:
        return False
    return re.search(rb"^\s*&(FORCE_EVAL|GLOBAL)\b", head, re.IGNORECASE | re.MULTILINE) is not None


def parse_input(path: str | Path) -> Cp2kInput:
    """Parse a CP2K input with its includes, without asking for atoms or a cell.

    Parameters
    ----------
    path : str or pathlib.Path
        The input.

    Returns
    -------
    Cp2kInput
        The input.

    Raises
    ------
    FormatError
        If an include is missing, sections do not close, or there is no &FORCE_EVAL.
    """
    path = Path(path)
    first_bytes(path, "a CP2K input")
    root = parse_sections(path)
    if not root.all("FORCE_EVAL"):
        raise FormatError(path, "expected a CP2K input with &FORCE_EVAL, got a file without")
    return Cp2kInput(path, root)


def read_input(path: str | Path) -> Cp2kInput:
    """Read a CP2K input with its includes.

    Parameters
    ----------
    path : str or pathlib.Path
        The input.

    Returns
    -------
    Cp2kInput
        Structure, kinds and settings.

    Raises
    ------
    FormatError
        If an include is missing, sections do not close, there are no atoms or no cell, or an element is not known.
    """
    given = parse_input(path)
    _ = given.structure
    return given


def parse_sections(path: Path) -> Section:
    """Parse an input into the tree of its sections, with its directives carried out.

    Parameters
    ----------
    path : pathlib.Path
        The input.

    Returns
    -------
    Section
        The root, whose subsections are the top level of the input.

    Raises
    ------
    FormatError
        If sections do not close, or a directive cannot be carried out.
    """
    root = Section("")
    open_sections = [root]
    for where, text in input_lines(path):
        if not text.startswith("&"):
            word, _, rest = text.partition(" ")
            open_sections[-1].keywords.append((word, rest.strip()))
        elif text[1:4].upper() == "END":
            if len(open_sections) == 1:
                raise FormatError(path, f"expected a section before {text!r} in {where}")
            open_sections.pop()
        else:
            name, _, parameter = text[1:].partition(" ")
            section = Section(name.upper(), parameter.strip())
            open_sections[-1].sections.append(section)
            open_sections.append(section)
    if len(open_sections) > 1:
        raise FormatError(path, f"expected &END {open_sections[-1].name} before the end, got a truncated input")
    return root


def _with_places(rows: Sequence[tuple[str, list[str]]]) -> Sequence[tuple[str, list[str]]]:
    """The lines of &COORD, each of which has three coordinates; ValueError names the first that has not."""
    for label, rest in rows:
        if len(rest) < 3:
            raise ValueError(f"got {' '.join([label, *rest])!r:.60}")
    return rows


def _atoms(path: Path, force_eval: Section) -> tuple[list[str], np.ndarray]:
    coord = force_eval.all("SUBSYS", "COORD")
    if not coord:
        return _atoms_of_topology(path, force_eval)
    rows = [(word, rest.split()) for word, rest in coord[0].keywords if word.upper() not in ("UNIT", "SCALED")]
    if not rows:
        raise FormatError(path, "expected atoms in &COORD, got none")
    try:
        positions = np.array([[parse_number(x) for x in rest[:3]] for _, rest in _with_places(rows)])
    except ValueError as error:
        raise FormatError(path, f"expected `label x y z` in every line of &COORD ({error})") from error
    unit = _unit_of(path, "&COORD", coord[0].get("UNIT") or "angstrom")
    return [label for label, _ in rows], positions * (1.0 if _scaled(force_eval) else unit)


def _unit_of(path: Path, section: str, name: str) -> float:
    """Å."""
    unit = name.strip("[]").lower()
    if unit not in LENGTHS_IN_ANGSTROM:
        raise FormatError(
            path, f"expected the UNIT of {section} to be one of {', '.join(LENGTHS_IN_ANGSTROM)}, got {unit}"
        )
    return LENGTHS_IN_ANGSTROM[unit]


def _atoms_of_topology(path: Path, force_eval: Section) -> tuple[list[str], np.ndarray]:
    topology = force_eval.all("SUBSYS", "TOPOLOGY")
    name = topology[0].get("COORD_FILE_NAME", "COORD_FILE") if topology else None
    form = (topology[0].get("COORD_FILE_FORMAT") or topology[0].get("COORDINATE") or "XYZ") if topology else "XYZ"
    if name is None or form.upper() != "XYZ":
        raise FormatError(
            path,
            "expected the atoms in &COORD or in an xyz file of &TOPOLOGY, got neither; "
            "give the structure as a file (--structure)",
        )
    labels, positions, _ = read_xyz_atoms(path.parent / name.strip("'\""))
    return labels, positions


def _scaled(force_eval: Section) -> bool:
    coord = force_eval.all("SUBSYS", "COORD")
    value = coord[0].get("SCALED") if coord else None
    return value is not None and value.upper() in _ON


def _kind(path: Path, label: str, section: Section | None) -> Kind:
    said = section.get("ELEMENT", "ELEMENT_SYMBOL") if section else None
    letters = re.match("[A-Za-z]+", label)
    symbol = (said or (letters[0] if letters else label)).capitalize()
    number = number_of(symbol)
    ghost = section.flag("GHOST") or section.flag("FLOATING_BASIS_CENTER") if section else False
    if number is None and not ghost:
        raise FormatError(path, f"expected an element for the kind {label!r}, got {symbol!r}; add ELEMENT to its &KIND")
    element = GHOST if number is None else number
    name = _potential(section)
    valence = 0 if ghost else potential_valence(name, element)
    return Kind(GHOST if ghost else element, _orbital_basis(section), name, valence, element)


def potential_valence(name: str | None, number: int) -> int | None:
    """Return the number of electrons that a potential leaves.

    Parameters
    ----------
    name : str or None
        The potential, such as `GTH-PBE-q12` or `ALL`.
    number : int
        Atomic number.

    Returns
    -------
    int or None
        The q of the name, Z for all electrons, None where the name does not say.
    """
    charge = re.search(r"-q(\d+)(?:-|$)", name or "", re.IGNORECASE)
    if charge:
        return int(charge[1])
    return number if (name or "").upper() in ("ALL", "ALLELECTRON", "ALL-ELECTRON") else None


def _potential(section: Section | None) -> str | None:
    """The name of the potential: `NAME` or `TYPE NAME`."""
    potential = section.get("POTENTIAL", "POT") if section else None
    return potential.split()[-1] if potential else None


def _orbital_basis(section: Section | None) -> str | None:
    """The name of the orbital basis: `NAME` or `ORB NAME`; other types (AUX_FIT, RI_AUX …) are not H's."""
    names = []
    for value in section.values("BASIS_SET", "ORBITAL_BASIS_SET") if section else ():
        words = value.split()
        if words and (len(words) == 1 or words[0].upper() == "ORB"):
            names.append(words[-1].strip("'\""))
    return SEVERAL.join(names) or None


def _repeated(section: Section) -> bool:
    return (section.get("MULTIPLE_UNIT_CELL") or "1 1 1").split() != ["1", "1", "1"]


def _cell(path: Path, section: Section) -> np.ndarray:
    """ABC counts where A, B and C are there too, as in CP2K."""
    if _repeated(section):
        raise FormatError(path, "expected an input without MULTIPLE_UNIT_CELL, got one; give the whole structure")
    edges = section.get("ABC")
    vectors = [section.get(name) for name in "ABC"]
    if edges is None and all(vector is not None for vector in vectors):
        return np.array([_three(path, vector or "") for vector in vectors])
    if edges is None:
        raise FormatError(path, "expected A, B, C or ABC in &CELL, got neither; give the cell (--cell)")
    angles = section.get("ALPHA_BETA_GAMMA", "ANGLES")
    return np.array(cellpar_to_cell([*_three(path, edges), *_three(path, angles or "90 90 90", _ANGLES, "angles")]))


def _three(path: Path, text: str, units: dict[str, float] = LENGTHS_IN_ANGSTROM, what: str = "lengths") -> list[float]:
    unit = re.match(r"\[(\w+)\]", text)
    words = re.sub(r"\[.*?\]", "", text).split()
    factor = units.get(unit[1].lower()) if unit else 1.0
    try:
        if factor is None or len(words) != 3:
            raise ValueError("three numbers and a unit that is known")
        return [parse_number(word) * factor for word in words]
    except ValueError as error:
        raise FormatError(path, f"expected three {what} in &CELL, got {text!r}") from error


def _number_of(path: Path, keyword: str, text: str) -> float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise FormatError(path, f"expected a number for {keyword}, got {text!r}") from error


def _settings(force_eval: Section) -> dict[str, str]:
    """What a reader of the store wants to know of the calculation."""
    wanted = {
        "CUTOFF": ("DFT", "MGRID"),
        "REL_CUTOFF": ("DFT", "MGRID"),
        "EPS_DEFAULT": ("DFT", "QS"),
        "EPS_SCF": ("DFT", "SCF"),
        "CHARGE": ("DFT",),
        "PLUS_U_METHOD": ("DFT",),
    }
    found = {}
    for keyword, place in wanted.items():
        values = [section.get(keyword) for section in force_eval.all(*place)]
        if values and values[-1]:
            found[keyword] = str(values[-1])
    functional = force_eval.all("DFT", "XC", "XC_FUNCTIONAL")
    if functional and functional[0].parameter:
        found["XC_FUNCTIONAL"] = functional[0].parameter
    return found
