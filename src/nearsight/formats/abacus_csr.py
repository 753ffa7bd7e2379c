"""ABACUS' files of H(R) and S(R) in CSR, in the layout of versions before 3.11 and in the one since.

Both are text. The former has a head of three lines (`STEP`, `Matrix Dimension of …`, `Matrix number of …`) and, for
each cell vector, a line `Rx Ry Rz n` and, where n > 0, one line each of values, columns and row pointers. The present
one (`hrs1_nao.csr`) has a head in words that ends in the unit cell, and breaks the lines. H is in Rydberg.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from nearsight.atomic_files import written_atomically
from nearsight.elements import number_of, symbol_of
from nearsight.errors import FormatError
from nearsight.formats.real_space_blocks import FARTHEST, CellElements
from nearsight.formats.sniffing import first_bytes
from nearsight.progress import Event, Progress
from nearsight.structures.structure import Structure

_EXPECTED = "a matrix of ABACUS in CSR"
_MOST_CELLS = 10_000_000
_LABEL = re.compile(rb"([A-Z][a-z]?)\d*_?\w*")
_AT_ONCE = 1 << 18
_BOX = """
 #----------------------------------------------------------------------#
 #                               CSR Format                             #
 # The outer loop corresponds to the number of Bravais lattice vectors. #
 # The first line contains the index of the Bravais lattice vector      #
 # (Rx, Ry, Rz), followed by the number of non-zero elements.           #
 # The subsequent lines consist of three blocks of data, which are      #
 # values, column indices, row pointers.                                #
 #----------------------------------------------------------------------#
"""
"""As ABACUS writes it; some of its versions count these lines when they read a file (`csrFileReader::parseFile`)."""
_GAMMA_ONLY = b"gamma-only folded matrix"
_VALUES, _COLUMNS, _POINTERS = b"# CSR values", b"# CSR column indices", b"# CSR row pointers"


@dataclass(frozen=True, eq=False)
class AbacusMatrix:
    """What a file holds.

    Attributes
    ----------
    size : int
        Orbitals.
    cells : tuple of CellElements
        The elements, in Rydberg or 1.
    structure : Structure or None
        The unit cell that stands in the file, in the present layout.
    fermi : float or None
        Fermi level, eV, where it stands in the file.
    spins, spin : int
        Number of spin directions, and which one this is, from 1; 1 and 1 where the file does not say.
    step : int or None
        The ionic step, where the file says it.
    constant : float or None
        Lattice constant, Å, of the unit cell in the file.
    folded : bool
        Whether it is summed at Γ, as runs with gamma_only write it and say in the present layout.
    layout : str
        In words.
    """

    size: int
    cells: tuple[CellElements, ...]
    structure: Structure | None
    fermi: float | None
    layout: str
    spins: int = 1
    spin: int = 1
    step: int | None = None
    folded: bool = False
    constant: float | None = None


def is_present_layout(path: Path) -> bool:
    """Tell whether a file is of the layout since 3.11."""
    with open(path, "rb") as file:
        return b"# print" in file.read(200)


def read_abacus_csr(path: Path, progress: Progress) -> AbacusMatrix:
    """Read a file of either layout.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    progress : Progress
        Told the bytes that are read.

    Returns
    -------
    AbacusMatrix
        Its elements, not yet checked against atoms.

    Raises
    ------
    FormatError
        If it is damaged, or there is spin-orbit coupling; the message names the line.
    """
    first_bytes(path, _EXPECTED)
    with open(path, "rb") as file:
        lines = _Lines(path, file, progress)
        return _present(lines) if is_present_layout(path) else _former(lines)


class _Lines:
    """Lines with their numbers."""

    def __init__(self, path: Path, file: IO[bytes], progress: Progress) -> None:
        self.path, self.file, self.number = path, file, 0
        self.total, self._progress = path.stat().st_size, progress
        progress(Event(f"reading {path.name}", 0, self.total))

    def next(self) -> bytes:
        self.number += 1
        return self.file.readline()

    def filled(self) -> bytes:
        """The next line that is not empty; nothing at the end."""
        line = self.next()
        while line and not line.strip():
            line = self.next()
        return line

    def left(self) -> int:
        """Bytes that are not read yet."""
        at = self.file.tell()
        self._progress(Event(done=at, total=self.total))
        return self.total - at

    def error(self, expected: str, got: object) -> FormatError:
        shown = got[:60].decode("utf-8", "replace").strip() if isinstance(got, bytes) else got
        return FormatError(self.path, f"expected {expected} in line {self.number}, got {shown!r}")


def _former(lines: _Lines) -> AbacusMatrix:
    line = lines.filled()
    step = None
    if b"TEP:" in line:
        step = _integer(lines, line.split(b":")[1].strip())
        line = lines.filled()
    size = _last_number(lines, line, b"Matrix Dimension of", "the size of the matrix")
    count = _last_number(lines, lines.filled(), b"Matrix number of", "the number of cell vectors")
    cells = []
    for _ in range(_bounded(lines, count)):
        cell, n = _cell_line(lines, lines.filled())
        if n:
            values = _numbers(lines, lines.next(), n, np.float64)
            columns = _numbers(lines, lines.next(), n, np.int32)
            pointers = _numbers(lines, lines.next(), size + 1, np.int64)
            cells.append(_elements(lines, cell, size, values, columns, pointers))
    _end(lines)
    return AbacusMatrix(size, _each_once(lines, cells), None, None, "of versions before 3.11", step=step)


def _end(lines: _Lines) -> None:
    rest = lines.filled()
    if rest:
        raise lines.error("the end of the file, or a run of one step,", rest)


def _present(lines: _Lines) -> AbacusMatrix:
    spins, index, size, count, fermi, step = _head(lines)
    if spins not in (1, 2):
        raise FormatError(
            lines.path,
            f"expected a matrix without spin or of one of two spins (nspin = 1 or 2), got one of {spins} spin "
            "directions; spin-orbit coupling is not supported",
        )
    if not 1 <= index <= spins:
        raise FormatError(lines.path, f"expected a spin index from 1 to {spins}, got {index}")
    structure, constant = _unit_cell(lines)
    cells = []
    line = lines.filled()
    folded = False
    while line.lstrip().startswith(b"#"):
        folded = folded or _GAMMA_ONLY in line
        line = lines.filled()
    for k in range(_bounded(lines, count)):
        cell, n = _cell_line(lines, lines.filled() if k else line)
        if n:
            values = _numbers(lines, _section(lines, _VALUES, n), n, np.float64)
            columns = _numbers(lines, _section(lines, _COLUMNS, n), n, np.int32)
            pointers = _numbers(lines, _section(lines, _POINTERS, size + 1), size + 1, np.int64)
            cells.append(_elements(lines, cell, size, values, columns, pointers))
    _end(lines)
    said = "of versions since 3.11"
    return AbacusMatrix(size, _each_once(lines, cells), structure, fermi, said, spins, index, step, folded, constant)


def _head(lines: _Lines) -> tuple[int, int, int, int, float | None, int | None]:
    """Spin directions, spin index, orbitals, cell vectors, Fermi level, ionic step."""
    wanted = (b"number of spin directions", b"spin index", b"number of localized basis", b"number of Bravais")
    found: list[int] = []
    fermi = step = None
    for name in wanted:
        line = lines.filled()
        while line and (b"--- Ionic Step" in line or line.strip().startswith(b"# print")):
            said = re.search(rb"Ionic Step +(\d{1,9})\b", line)
            step = int(said[1]) if said else step
            line = lines.filled()
        if name not in line:
            raise lines.error(f"a line with # {name.decode()}", line)
        found.append(_integer(lines, line.split()[0]))
        level = re.search(rb"E_Fermi\s*=\s*([-+.\deE]+)\s*eV", line)
        if level:
            fermi = _real(lines, level[1])
    return found[0], found[1], found[2], found[3], fermi, step


def _unit_cell(lines: _Lines) -> tuple[Structure, float]:
    """A unit cell: a name, the lattice constant, vectors, elements, counts, Direct, positions.

    The constant is in Å (`UcellIO::write_ucell` writes lat0 · BOHR_TO_A), unlike that of STRU and of the log.
    """
    lines.filled()
    constant = _reals(lines, lines.filled(), 1)[0]
    cell = np.array([_reals(lines, lines.filled(), 3) for _ in range(3)]) * constant
    labels = lines.filled().split()
    counts = [_integer(lines, part) for part in lines.filled().split()]
    if len(labels) != len(counts) or not labels or min(counts) < 1 or sum(counts) > lines.left():
        raise lines.error(f"numbers of atoms for {len(labels)} elements", counts)
    kind = lines.filled().strip().lower()
    if kind not in (b"direct", b"cartesian"):
        raise lines.error("Direct or Cartesian", kind)
    numbers = np.repeat([_element(lines, label) for label in labels], counts)
    positions = np.array([_reals(lines, lines.filled(), 3) for _ in range(sum(counts))])
    positions = positions @ cell if kind == b"direct" else positions * constant
    return Structure(numbers, positions, cell, np.ones(3, dtype=bool)), constant


def _element(lines: _Lines, label: bytes) -> int:
    found = _LABEL.fullmatch(label)
    z = number_of(found[1].decode()) if found else None
    if z is None:
        raise lines.error("chemical symbols", label)
    return z


def _section(lines: _Lines, title: bytes, count: int) -> bytes:
    """The text of as many numbers, which follow a title over several lines."""
    line = lines.filled()
    if line.strip() != title:
        raise lines.error(title.decode(), line)
    parts, found = [], 0
    while found < count:
        line = lines.next()
        if not line or b"#" in line:
            raise lines.error(f"{count} numbers under {title.decode()!r}", f"{found} and {line[:40]!r}")
        parts.append(line)
        found += len(line.split())
    return b" ".join(parts)


def _cell_line(lines: _Lines, line: bytes) -> tuple[tuple[int, int, int], int]:
    parts = line.split()
    if len(parts) != 4:
        raise lines.error("a line `Rx Ry Rz n`; is the file complete?", line)
    x, y, z, n = (_integer(lines, part) for part in parts)
    if max(abs(x), abs(y), abs(z)) > FARTHEST:
        raise lines.error("a cell that is near", line)
    if n < 0 or n > lines.left() // 3:
        raise lines.error("a number of elements for which the file has room; is it cut off?", n)
    return (x, y, z), n


def _numbers(lines: _Lines, text: bytes, count: int, dtype: type) -> np.ndarray:
    if b"(" in text[:4096]:
        raise FormatError(
            lines.path,
            f"expected real numbers, got complex ones in line {lines.number} (nspin = 4); spin-orbit coupling is not "
            "supported",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = np.fromstring(text.decode("ascii"), dtype=np.float64 if dtype is np.float64 else np.int64, sep=" ")
        except (DeprecationWarning, ValueError, OverflowError) as error:
            raise lines.error(f"{count} numbers", text) from error
    if len(found) != count:
        raise lines.error(f"{count} numbers", f"{len(found)} of them")
    if dtype is np.float64 and not np.isfinite(found).all():
        raise lines.error("finite numbers", found[~np.isfinite(found)][0])
    return found


def _elements(
    lines: _Lines, cell: tuple[int, int, int], size: int, values: np.ndarray, columns: np.ndarray, pointers: np.ndarray
) -> CellElements:
    steps = np.diff(pointers)
    if pointers[0] != 0 or pointers[-1] != len(values) or (steps < 0).any():
        raise lines.error(f"row pointers from 0 to {len(values)}", f"{pointers[0]} … {pointers[-1]}")
    if columns.min() < 0 or columns.max() >= size:
        raise lines.error(f"columns 0 to {size - 1}", f"{columns.min()} to {columns.max()}")
    rows = np.repeat(np.arange(size, dtype=np.int32), steps)
    return CellElements(cell, rows, columns.astype(np.int32), values)


def _each_once(lines: _Lines, cells: Sequence[CellElements]) -> tuple[CellElements, ...]:
    seen: set[tuple[int, int, int]] = set()
    for cell in cells:
        if cell.cell in seen:
            raise FormatError(lines.path, f"expected every cell vector once, got {cell.cell} twice")
        seen.add(cell.cell)
    return tuple(cells)


def _bounded(lines: _Lines, count: int) -> int:
    if not 0 <= count <= min(_MOST_CELLS, lines.total):
        raise lines.error("a number of cell vectors", count)
    return count


def _last_number(lines: _Lines, line: bytes, words: bytes, what: str) -> int:
    if words not in line:
        raise lines.error(f"{what} ({words.decode()} …)", line)
    found = _integer(lines, line.split()[-1])
    if not 0 < found < 2**31 - 1 or found > lines.total:
        raise lines.error(what, found)
    return found


def _integer(lines: _Lines, text: bytes) -> int:
    if not re.fullmatch(rb"[-+]?\d{1,18}", text):
        raise lines.error("a whole number", text)
    return int(text)


def _real(lines: _Lines, text: bytes) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise lines.error("a number", text) from error
    if not abs(value) < 1e10:
        raise lines.error("a finite number", text)
    return value


def _reals(lines: _Lines, line: bytes, count: int) -> list[float]:
    parts = line.split()
    if len(parts) < count:
        raise lines.error(f"{count} numbers", line)
    return [_real(lines, part) for part in parts[:count]]


def write_abacus_csr(
    path: Path, letter: str, structure: Structure, size: int, cells: Sequence[CellElements], fermi: float | None = None
) -> None:
    """Write a file of the layout since 3.11, with all digits.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    letter : {"H", "S"}
        The matrix.
    structure : Structure
        Atoms grouped by element.
    size : int
        Orbitals.
    cells : sequence of CellElements
        In ABACUS' order, in Rydberg or 1; elements sorted by row and column.
    fermi : float, optional
        Fermi level in ABACUS' eV.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    level = "" if fermi is None else f", E_Fermi = {fermi!r} eV"
    cells = [cell for cell in cells if len(cell.values)]
    with written_atomically(path) as temporary, open(temporary, "w", encoding="ascii") as file:
        file.write(
            f" --- Ionic Step 1 ---\n # print {letter} matrix in real space {letter}(R)\n"
            f" 1 # number of spin directions\n 1 # spin index{level}\n {size} # number of localized basis\n"
            f" {len(cells)} # number of Bravais lattice vector R\n\n"
        )
        file.write(_cell_text(structure))
        file.write(_BOX)
        for cell in cells:
            file.write("\n {} {} {} {}\n".format(*cell.cell, len(cell.values)))
            pointers = np.concatenate([[0], np.cumsum(np.bincount(cell.rows, minlength=size))])
            for title, numbers in ((_VALUES, cell.values), (_COLUMNS, cell.columns), (_POINTERS, pointers)):
                file.write(f" {title.decode()}\n")
                for text in _texts(numbers):
                    file.write(text)


def _cell_text(structure: Structure) -> str:
    lines = [" user_defined_lattice", " 1.0"]
    lines += [" " + " ".join(repr(x) for x in row) for row in structure.cell.tolist()]
    groups = np.split(structure.numbers, np.flatnonzero(np.diff(structure.numbers)) + 1)
    lines.append(" " + " ".join(symbol_of(int(group[0])) for group in groups))
    lines.append(" " + " ".join(str(len(group)) for group in groups))
    lines.append(" Direct")
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    lines += [" " + " ".join(repr(x) for x in row) for row in fractional.tolist()]
    return "\n".join(lines) + "\n"


def _texts(numbers: np.ndarray) -> Iterator[str]:
    if numbers.dtype.kind == "i" and len(numbers) and numbers.min() >= 0 and numbers.max() < len(numbers):
        words = np.array([str(k) for k in range(int(numbers.max()) + 1)], dtype=object)
        for first in range(0, len(numbers), _AT_ONCE):
            yield " " + " ".join(words[numbers[first : first + _AT_ONCE]].tolist()) + "\n"
        return
    for first in range(0, len(numbers), _AT_ONCE):
        yield " " + " ".join(map(repr, numbers[first : first + _AT_ONCE].tolist())) + "\n"
