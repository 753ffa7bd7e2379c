"""xyz and extended xyz files: count, comment, then `symbol x y z` (Å); the comment holds the cell somehow.

ASE reads extended xyz alone. Comments such as `Cell: 10 10 20`, labels such as `Hf1` or `Gh`, atomic numbers as symbols
and vacancies written `V` are read here, and the numbers of extended xyz are ASE's; files whose columns are in another
order go to ASE.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nearsight.elements import GHOST, number_of
from nearsight.errors import FormatError
from nearsight.foreign_files import read_text
from nearsight.formats.fortran_numbers import parse_number
from nearsight.formats.sniffing import first_bytes
from nearsight.structures.structure import Structure

_LATTICE = re.compile(r"Lattice\s*=\s*[\"'{\[]([^\"'}\]]*)[\"'}\]]", re.IGNORECASE)
_CELL = re.compile(r"\bcell\s*[:=]\s*[\"(\[]?(.*)$", re.IGNORECASE)
_PBC = re.compile(r"\bpbc\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|\[([^\]]*)\]|\{([^}]*)\}|(\S+))", re.IGNORECASE)
_FLAGS = {"T": True, "TRUE": True, "1": True, ".TRUE.": True, "F": False, "FALSE": False, "0": False, ".FALSE.": False}
_PROPERTIES = re.compile(r"Properties\s*=\s*(\S+)", re.IGNORECASE)

GHOST_BY_V = ("X", "V")
"""Ghost symbols of data sets that call a vacancy V; vanadium is Va there."""


def read_xyz(
    path: str | Path, cell: np.ndarray | None = None, isolated: bool = False, ghosts: Sequence[str] = ("X",)
) -> Structure:
    """Read one structure.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    cell : (3, 3) array of float, optional
        Å, instead of the comment's.
    isolated : bool, default False
        Whether the structure is not periodic and needs no cell.
    ghosts : sequence of str
        Symbols of ghosts. With `V` among them, vanadium is written `Va`.

    Returns
    -------
    Structure
        Atoms and cell.

    Raises
    ------
    FormatError
        If it is not an xyz file, has another number of atoms than it says, an element is not known, or there is no
        cell.
    """
    labels, positions, comment = read_xyz_atoms(path)
    numbers = [_number(path, k, label, ghosts) for k, label in enumerate(labels)]
    if isolated:
        return Structure(np.array(numbers), positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    pbc = _pbc(path, comment)
    if cell is not None:
        return Structure(np.array(numbers), positions, cell, pbc if pbc.any() else np.ones(3, dtype=bool))
    lacking = not pbc.any() and not _LATTICE.search(comment)
    return Structure(np.array(numbers), positions, np.zeros((3, 3)) if lacking else _cell(path, comment), pbc)


def read_xyz_atoms(path: str | Path) -> tuple[list[str], np.ndarray, str]:
    """Read labels, positions and comment of an xyz file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    labels : list of str
        The first word of each line.
    positions : (N, 3) array of float64
        Å.
    comment : str
        The second line.

    Raises
    ------
    FormatError
        If it is not an xyz file, or has another number of atoms than it says.
    """
    first_bytes(path, "an xyz file")
    # A byte order mark is no part of the count, and a comment may be in any encoding.
    lines = read_text(path, "an xyz file", any_encoding=True).splitlines()
    try:
        count = int(lines[0].split()[0])
    except (ValueError, IndexError) as error:
        raise FormatError(path, "expected an xyz file, which begins with the number of atoms") from error
    if len(lines) < 2:
        raise FormatError(path, "expected a comment line and atoms in an xyz file, got one line")
    rows = [line for line in lines[2:] if line.strip()]
    if len(rows) != count:
        more = "; are there several structures in it?" if len(rows) > count else "; is it complete?"
        raise FormatError(path, f"expected {count} atoms as its first line says, got {len(rows)} lines{more}")
    symbol, first = _columns(path, lines[1])
    labels, positions = [], np.empty((count, 3))
    for k, row in enumerate(rows):
        words = row.split()
        try:
            labels.append(words[symbol])
            positions[k] = [_coordinate(word) for word in words[first : first + 3]]
        except (ValueError, IndexError) as error:
            if (symbol, first) != (0, 1):
                raise FormatError(
                    path,
                    f"expected the columns that its comment says (Properties=…), got others in line {k + 3}: {row!r}",
                ) from error
            raise FormatError(path, f"expected `symbol x y z` for atom {k} (line {k + 3}), got {row!r}") from error
    return labels, positions, lines[1]


def _coordinate(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return parse_number(word)


def _columns(path: str | Path, comment: str) -> tuple[int, int]:
    """The column of the symbol and the first of the position: where the comment says, or else the first ones."""
    said = _PROPERTIES.search(comment)
    if said is None:
        return 0, 1
    words, at = said[1].strip("\"'").lower().split(":"), 0
    places: dict[tuple[str, str], int] = {}
    for name, kind, width in zip(words[::3], words[1::3], words[2::3]):
        if not re.fullmatch("[0-9]{1,4}", width) or kind not in ("r", "i", "s", "l"):
            raise _other_columns(path, said[1])
        places.setdefault((name, width), at)
        at += int(width)
    symbol, first = places.get(("species", "1"), places.get(("z", "1"))), places.get(("pos", "3"))
    if len(words) % 3 or symbol is None or first is None:
        raise _other_columns(path, said[1])
    return symbol, first


def _other_columns(path: str | Path, said: str) -> FormatError:
    return FormatError(
        path, f"expected columns such as Properties=species:S:1:pos:R:3 in the comment line, got {said!r:.200}"
    )


def _number(path: str | Path, atom: int, label: str, ghosts: Sequence[str]) -> int:
    symbol = (re.match("[A-Za-z]*", label) or [""])[0].capitalize()
    if symbol in ghosts or symbol.lower() == "gh":
        return GHOST
    if symbol == "Va" and "V" in ghosts:
        symbol = "V"
    number = int(label) if re.fullmatch("[0-9]{1,3}", label) else number_of(symbol)
    if number is None:
        raise FormatError(
            path, f"expected a chemical symbol for atom {atom} (line {atom + 3}), got {label!r}; ghosts are written X"
        )
    return number


def _pbc(path: str | Path, comment: str) -> np.ndarray:
    """Three words or letters after `pbc=`; all periodic where it is not there."""
    found = _PBC.search(comment)
    if found is None:
        return np.ones(3, dtype=bool)
    text = next(group for group in found.groups() if group is not None)
    words = re.split(r"[\s,]+", text.strip(" ,[](){}").upper())
    if len(words) == 1 and len(words[0]) == 3:
        words = list(words[0])
    flags = [_FLAGS.get(word) for word in words]
    if len(flags) != 3 or None in flags:
        raise FormatError(
            path, f'expected pbc="T T F", or words such as True and False, in the comment line, got pbc={text!r}'
        )
    return np.array(flags, dtype=bool)


def _cell(path: str | Path, comment: str) -> np.ndarray:
    """From `Lattice="9 numbers"`, `Cell: 3 or 9 numbers`, or a line of 3 or 9 numbers alone; commas allowed."""
    if lattice := _LATTICE.search(comment):
        numbers, form = _leading_numbers(lattice[1]), "Lattice="
    elif labelled := _CELL.search(comment):
        numbers, form = _leading_numbers(labelled[1]), "Cell:"
    else:
        numbers, form = _only_numbers(comment), "the end"
    if len(numbers) == 9:
        return np.array(numbers).reshape(3, 3)
    if len(numbers) == 3 and form != "Lattice=" and min(numbers) >= 0:
        return np.diag(numbers)
    if numbers:
        raise FormatError(
            path,
            f"expected 3 or 9 numbers (Å) of the cell at {form} in the comment line, lengths above 0, got "
            f"{len(numbers)} in {comment.strip()!r}; give the cell (--cell)",
        )
    raise FormatError(
        path,
        f'expected a cell in the comment line (Lattice="…", `Cell: a b c` or nothing but three lengths, Å), got '
        f"{comment.strip()!r}; give the cell (--cell), or say that it is an isolated molecule "
        "(--cell none)",
    )


def _words(text: str) -> list[str]:
    return text.replace(",", " ").replace("]", " ").replace(")", " ").replace('"', " ").split()


def _leading_numbers(text: str) -> list[float]:
    numbers: list[float] = []
    for word in _words(text):
        value = _float(word)
        if value is None:
            break
        numbers.append(value)
    return numbers


def _only_numbers(text: str) -> list[float]:
    """The words of a line that is nothing but 3 or 9 numbers; numbers after other words may mean anything."""
    words = _words(text)
    values = [value for value in map(_float, words) if value is not None]
    return values if len(values) == len(words) and len(values) in (3, 9) else []


def _float(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
