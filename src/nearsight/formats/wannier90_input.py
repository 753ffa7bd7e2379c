"""Wannier90's input (`.win`): cell, atoms, and on which functions the Wannier functions were projected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.elements import number_of
from nearsight.errors import FormatError
from nearsight.foreign_files import read_text
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM

_UNITS = {"bohr": BOHR_IN_ANGSTROM, "ang": 1.0, "angstrom": 1.0}
_NAMES = {"s": (0,), "p": (1,), "d": (2,), "f": (3,)}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([de][-+]?\d+)?")
_SPINORS = re.compile(r"^ *spinors *[=:]? *(\.?t|1)", re.M | re.I)
_FERMI = re.compile(r"^ *fermi_energy *[=:]? *(\S+)", re.M | re.I)


@dataclass(frozen=True, eq=False)
class Wannier90Input:
    """What the input says.

    Attributes
    ----------
    structure : Structure
        Cell and atoms, Å; periodic in all directions.
    shells : tuple of (int, tuple of int), or None
        For each group of Wannier functions in their order the atom (from 0) and the l of its whole shells; None where
        they were projected on hybrids, on single functions of a shell, or on functions that are not on atoms.
    fermi : float or None
        `fermi_energy`, eV.
    """

    structure: Structure
    shells: tuple[tuple[int, tuple[int, ...]], ...] | None
    fermi: float | None


def read_wannier90_input(path: Path) -> Wannier90Input:
    """Read an input.

    Parameters
    ----------
    path : pathlib.Path
        The file `SEEDNAME.win`.

    Returns
    -------
    Wannier90Input
        Cell, atoms and projections.

    Raises
    ------
    FormatError
        If cell or atoms are missing or damaged, or the functions are spinors.
    """
    said = read_text(path, "Wannier90's input", any_encoding=True)
    lines = [re.split(r"[!#]", line)[0].rstrip() for line in said.splitlines()]
    text = "\n".join(lines)
    if _SPINORS.search(text):
        raise FormatError(path, "expected Wannier functions without spin, got spinors; they are not supported")
    cell = _numbers_of(path, _block(path, lines, "unit_cell_cart") or [], "unit_cell_cart", 1.0)
    if cell.shape != (3, 3):
        raise FormatError(path, f"expected three vectors in unit_cell_cart, got {len(cell)}")
    structure, labels = _atoms(path, lines, cell)
    level = _FERMI.search(text)
    return Wannier90Input(
        structure,
        _projections(_block(path, lines, "projections"), labels),
        None if level is None else _number(path, level[1]),
    )


def _block(path: Path, lines: list[str], name: str) -> list[str] | None:
    """The lines between begin and end of a block; None where there is none."""
    marks = [line.split() for line in lines]
    begins = [k for k, words in enumerate(marks) if [w.lower() for w in words[:2]] == ["begin", name]]
    if not begins:
        return None
    ends = [k for k, words in enumerate(marks) if [w.lower() for w in words[:2]] == ["end", name] and k > begins[0]]
    if len(begins) > 1 or not ends:
        raise FormatError(path, f"expected one whole block {name}, got {len(begins)} begun and {len(ends)} ended")
    return [line for line in lines[begins[0] + 1 : ends[0]] if line.strip()]


def _number(path: Path, word: str) -> float:
    if not _NUMBER.fullmatch(word.lower()):
        raise FormatError(path, f"expected a number, got {word!r:.40}")
    value = float(word.lower().replace("d", "e"))
    if not abs(value) < 1e10:
        raise FormatError(path, f"expected a finite number, got {word!r:.40}")
    return value


def _unit(lines: list[str]) -> tuple[float, list[str]]:
    """The unit of lengths, which may stand in a line of its own, and the other lines."""
    first = lines[0].strip().lower() if lines else ""
    return (_UNITS[first], lines[1:]) if first in _UNITS else (1.0, lines)


def _numbers_of(path: Path, lines: list[str], name: str, default: float) -> np.ndarray:
    unit, rows = _unit(lines)
    words = [line.split() for line in rows]
    if any(len(row) != 3 for row in words):
        raise FormatError(path, f"expected rows of three numbers in {name}, got others")
    return np.array([[_number(path, word) for word in row] for row in words]).reshape(-1, 3) * unit * default


def _atoms(path: Path, lines: list[str], cell: np.ndarray) -> tuple[Structure, list[str]]:
    fractional, cartesian = (_block(path, lines, name) for name in ("atoms_frac", "atoms_cart"))
    if (fractional is None) == (cartesian is None):
        raise FormatError(
            path, "expected a block atoms_frac or atoms_cart, got " + ("none" if fractional is None else "both")
        )
    unit, rows = (1.0, fractional) if fractional is not None else _unit(cartesian or [])
    words = [line.split() for line in rows]
    if not words or any(len(row) < 4 for row in words):
        raise FormatError(path, "expected atoms with a label and three coordinates, got others")
    places = np.array([[_number(path, word) for word in row[1:4]] for row in words])
    labels = [row[0].capitalize() for row in words]
    numbers = [number_of(re.sub(r"\d+$", "", label)) for label in labels]
    unknown = [label for label, z in zip(labels, numbers) if not z]
    if unknown:
        raise FormatError(path, f"expected chemical symbols as labels of atoms, got {unknown[0]!r:.40}")
    positions = places @ cell if fractional is not None else places * unit
    return Structure(np.array(numbers, dtype=np.int64), positions, cell, np.ones(3, dtype=bool)), labels


def _projections(lines: list[str] | None, labels: list[str]) -> tuple[tuple[int, tuple[int, ...]], ...] | None:
    """Whole shells of atoms in Wannier90's order: lines, then atoms, then l."""
    result: list[tuple[int, tuple[int, ...]]] = []
    for line in lines or []:
        site, _, functions = line.strip().partition(":")
        momenta = _momenta(functions)
        atoms = [k for k, label in enumerate(labels) if label == site.strip().capitalize()]
        if momenta is None or not atoms:
            return None
        result += [(atom, momenta) for atom in atoms]
    return tuple(result) or None


def _momenta(functions: str) -> tuple[int, ...] | None:
    """`s;p` or `l=0;l=1` as l in ascending order; None where there is anything else, such as axes of its own."""
    found: list[int] = []
    for part in functions.replace(" ", "").lower().split(";"):
        own = _NAMES.get(part) or (int(part[2:]),) if part in _NAMES or re.fullmatch(r"l=[0-3]", part) else None
        if own is None:
            return None
        found += own
    return tuple(sorted(found)) if len(set(found)) == len(found) else None
