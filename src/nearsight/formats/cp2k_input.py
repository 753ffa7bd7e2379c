"""CP2K's input (.inp): the structure, and the basis and potential of each kind of atom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.geometry import cellpar_to_cell

from nearsight.elements import GHOST, number_of
from nearsight.errors import FormatError
from nearsight.formats.sniffing import first_bytes
from nearsight.formats.xyz import read_xyz_atoms
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM

_LENGTHS = {"angstrom": 1.0, "bohr": BOHR_IN_ANGSTROM, "nm": 10.0, "pm": 0.01}
_VARIABLE = re.compile(r"\$\{(\w+)(?:-([^}]*))?\}|\$(\w+)")
_ON = {"", "T", ".T.", "TRUE", ".TRUE.", "ON", "YES"}


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

    def get(self, keyword: str) -> str | None:
        """Return the last value of a keyword, None where it is absent."""
        values = [rest for word, rest in self.keywords if word.upper() == keyword]
        return values[-1] if values else None


@dataclass(frozen=True)
class Kind:
    """A kind of atom: its element, whether it is a ghost, and the names of basis and potential."""

    number: int
    basis: str | None
    potential: str | None


@dataclass(frozen=True, eq=False)
class Cp2kInput:
    """The content of an input that matters here.

    Attributes
    ----------
    structure : Structure
        Atoms and cell, Å.
    labels : tuple of str
        The kind of each atom.
    kinds : dict of str to Kind
        Label → kind, for the labels that occur.
    basis_files : tuple of str
        As named in the input.
    settings : dict of str to str
        Some of the settings, plain text, for the provenance.
    """

    structure: Structure
    labels: tuple[str, ...]
    kinds: dict[str, Kind]
    basis_files: tuple[str, ...]
    settings: dict[str, str]


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
    path = Path(path)
    first_bytes(path, "a CP2K input")
    root = parse_sections(path)
    evals = root.all("FORCE_EVAL")
    if not evals:
        raise FormatError(path, "expected a CP2K input with &FORCE_EVAL, got a file without")
    labels, positions = _atoms(path, evals[0])
    kinds = _kinds(path, evals[0], labels)
    cell, pbc = _cell(path, evals[0])
    positions = positions @ cell if _scaled(evals[0]) else positions
    numbers = np.array([kinds[label].number for label in labels])
    dft = evals[0].all("DFT")
    files = tuple(rest for word, rest in dft[0].keywords if word.upper() == "BASIS_SET_FILE_NAME") if dft else ()
    return Cp2kInput(Structure(numbers, positions, cell, pbc), tuple(labels), kinds, files, _settings(evals[0]))


def parse_sections(path: Path) -> Section:
    """Parse an input into the tree of its sections, with `@INCLUDE` and `@SET` carried out.

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
    for where, text in _lines(path, path.parent, {}):
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


def _lines(path: Path, folder: Path, variables: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(place, text) of every line that is not empty or a comment."""
    try:
        raw = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FormatError(path, f"expected a CP2K input or a file that it includes, got: {error.strerror}") from error
    for number, line in enumerate(raw.splitlines(), 1):
        text = re.split("[#!]", line, maxsplit=1)[0].replace("\t", " ").strip()
        where = f"{path.name}, line {number}"
        text = _substituted(path, where, text, variables)
        if not text:
            continue
        if not text.startswith("@"):
            yield where, text
            continue
        directive, _, rest = text.partition(" ")
        if directive.upper() == "@INCLUDE":
            yield from _lines(_included(path, where, folder, rest.strip().strip("'\"")), folder, variables)
        elif directive.upper() == "@SET":
            name, _, value = rest.strip().partition(" ")
            variables[name.upper()] = value.strip()
        else:
            raise FormatError(
                path,
                f"expected @INCLUDE or @SET in {where}, got {directive}, which is not read; give the structure as xyz",
            )


def _included(path: Path, where: str, folder: Path, name: str) -> Path:
    """CP2K looks in the folder it runs in, which is the input's; a nested one may lie beside its includer."""
    for candidate in (folder / name, path.parent / name):
        if candidate.is_file():
            return candidate
    raise FormatError(path, f"expected the included file {name!r} ({where}) in {folder}, got none there; copy it there")


def _substituted(path: Path, where: str, text: str, variables: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = (found[1] or found[3]).upper()
        if name in variables:
            return variables[name]
        if found[2] is not None:
            return found[2]
        raise FormatError(path, f"expected @SET {name} before its use in {where}, got none")

    return _VARIABLE.sub(value, text)


def _atoms(path: Path, force_eval: Section) -> tuple[list[str], np.ndarray]:
    coord = force_eval.all("SUBSYS", "COORD")
    if not coord:
        return _atoms_of_topology(path, force_eval)
    rows = [(word, rest.split()) for word, rest in coord[0].keywords if word.upper() not in ("UNIT", "SCALED")]
    if not rows:
        raise FormatError(path, "expected atoms in &COORD, got none")
    try:
        positions = np.array([[float(x) for x in rest[:3]] for _, rest in rows]).reshape(len(rows), 3)
    except ValueError as error:
        raise FormatError(path, f"expected `label x y z` in every line of &COORD ({error})") from error
    unit = (coord[0].get("UNIT") or "angstrom").strip("[]").lower()
    if unit not in _LENGTHS:
        raise FormatError(path, f"expected the UNIT of &COORD to be one of {', '.join(_LENGTHS)}, got {unit}")
    return [label for label, _ in rows], positions * (1.0 if _scaled(force_eval) else _LENGTHS[unit])


def _atoms_of_topology(path: Path, force_eval: Section) -> tuple[list[str], np.ndarray]:
    topology = force_eval.all("SUBSYS", "TOPOLOGY")
    name = topology[0].get("COORD_FILE_NAME") if topology else None
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


def _kinds(path: Path, force_eval: Section, labels: list[str]) -> dict[str, Kind]:
    sections = {s.parameter.upper(): s for s in force_eval.all("SUBSYS", "KIND")}
    return {
        label: _kind(path, label, sections.get(label.upper(), sections.get("DEFAULT")))
        for label in dict.fromkeys(labels)
    }


def _kind(path: Path, label: str, section: Section | None) -> Kind:
    said = section.get("ELEMENT") if section else None
    letters = re.match("[A-Za-z]+", label)
    symbol = (said or (letters[0] if letters else label)).capitalize()
    ghost = section.get("GHOST") if section else None
    number = GHOST if ghost is not None and ghost.upper() in _ON else number_of(symbol)
    if number is None:
        raise FormatError(path, f"expected an element for the kind {label!r}, got {symbol!r}; add ELEMENT to its &KIND")
    basis = section.get("BASIS_SET") if section else None
    potential = section.get("POTENTIAL") if section else None
    return Kind(number, basis.split()[-1] if basis else None, potential.split()[-1] if potential else None)


def _cell(path: Path, force_eval: Section) -> tuple[np.ndarray, np.ndarray]:
    sections = force_eval.all("SUBSYS", "CELL")
    if not sections:
        raise FormatError(path, "expected &CELL in the input, got none; give the cell (--cell)")
    section = sections[0]
    periodic = (section.get("PERIODIC") or "XYZ").upper()
    pbc = np.array([axis in periodic for axis in "XYZ"]) & (periodic != "NONE")
    if (section.get("MULTIPLE_UNIT_CELL") or "1 1 1").split() != ["1", "1", "1"]:
        raise FormatError(path, "expected an input without MULTIPLE_UNIT_CELL, got one; give the whole structure")
    vectors = [section.get(name) for name in "ABC"]
    if all(vector is not None for vector in vectors):
        return np.array([_vector(path, vector or "") for vector in vectors]), pbc
    edges = section.get("ABC")
    if edges is None:
        raise FormatError(path, "expected A, B, C or ABC in &CELL, got neither; give the cell (--cell)")
    angles = [float(x) for x in re.sub(r"\[.*?\]", "", section.get("ALPHA_BETA_GAMMA") or "90 90 90").split()]
    return np.array(cellpar_to_cell([*_vector(path, edges), *angles])), pbc


def _vector(path: Path, text: str) -> list[float]:
    unit = re.match(r"\[(\w+)\]", text)
    words = re.sub(r"\[.*?\]", "", text).split()
    factor = _LENGTHS.get(unit[1].lower()) if unit else 1.0
    try:
        if factor is None or len(words) != 3:
            raise ValueError("three numbers and a unit that is known")
        return [float(word) * factor for word in words]
    except ValueError as error:
        raise FormatError(path, f"expected three lengths in &CELL, got {text!r}") from error


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
