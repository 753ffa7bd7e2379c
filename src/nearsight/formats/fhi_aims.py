"""Runs of FHI-aims with `output_rs_matrices plain`: H and S in real space, one number per line.

`rs_indices.out` lists the cells, for each cell and row the first and the last number, and the column of each number.
Number (cell R, row i, column j) is ⟨i, R|O|j, 0⟩; of two elements that are equal by symmetry, that with j ≤ i is there.
The last cell and the last column are dummies. H is in Hartree. `basis-indices.out` says n, l, m of every function,
`geometry.in` the atoms, which FHI-aims moves into the cell around the origin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.elements import number_of, symbol_of
from nearsight.errors import FormatError
from nearsight.foreign_files import file_if_there, read_text
from nearsight.formats.options import ReadOptions
from nearsight.formats.real_space_blocks import FARTHEST, CellElements, ForeignOrbitals, from_elements
from nearsight.formats.structure_files import read_structure
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet
from nearsight.orbitals.conventions import AIMS
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

HAMILTONIAN, OVERLAP, INDICES, FUNCTIONS, GEOMETRY = (
    "rs_hamiltonian.out",
    "rs_overlap.out",
    "rs_indices.out",
    "basis-indices.out",
    "geometry.in",
)
NEXT_STEP = "geometry.in.next_step"
OF_SPINS = ("rs_hamiltonian_up.out", "rs_hamiltonian_dn.out")
_DUMMY = 99999999
_INSIDE = 1e-8
"""By which FHI-aims moves atoms at half a cell to one side."""
_STILL = 1e-4
"""Å by which atoms may differ between files that write them with other digits."""
_LARGEST_TEXT = 1 << 34
_NO_LETTER = re.compile(r"(?<=\d)([-+]\d{3})\b")


def recognises(path: Path) -> bool:
    """Tell whether a path is the folder of such a run, or its H."""
    folder = path if path.is_dir() else path.parent
    named = path.is_dir() or path.name == HAMILTONIAN
    return named and (folder / INDICES).is_file()


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one run.

    Parameters
    ----------
    path : pathlib.Path
        The folder, or its H.
    options : ReadOptions
        `structure` takes the place of geometry.in.

    Returns
    -------
    Calculation
        H and S in real space, as far as they are there. All electrons are in the basis.

    Raises
    ------
    FormatError
        If a file is missing or damaged, or does not fit the others.
    """
    folder = path if path.is_dir() else path.parent
    files = {name: file_if_there(folder / name, "FHI-aims' matrix") for name in (*OF_SPINS, HAMILTONIAN, OVERLAP)}
    there = [files[name] is not None for name in (*OF_SPINS, HAMILTONIAN)]
    if not any(files.values()):
        raise FormatError(folder, f"expected {HAMILTONIAN} or {OVERLAP} beside {INDICES}, got neither")
    if any(there[:2]) and there != [True, True, False]:
        raise FormatError(
            folder, f"expected {HAMILTONIAN} or both of {', '.join(OF_SPINS)}, got others; are they of one run?"
        )
    given = options.structure
    if given is None:
        _check_still(folder)
    own = folder / GEOMETRY if given is None else given
    is_own = own.name.startswith(GEOMETRY)
    structure = _inside(_read_geometry(own) if is_own else read_structure(own, options.cell))
    basis = _read_functions(folder / FUNCTIONS, structure)
    orbitals = ForeignOrbitals(structure.numbers, basis, AIMS)
    indices = _read_indices(folder / INDICES, orbitals.n_orbitals)
    return Calculation(
        structure,
        basis,
        _matrix(files[HAMILTONIAN], indices, orbitals, HARTREE_IN_EV),
        _matrix(files[OVERLAP], indices, orbitals, 1.0),
        provenance={"format": "FHI-aims", "source": folder.name, "basis": basis.name},
        hamiltonian_up=_matrix(files[OF_SPINS[0]], indices, orbitals, HARTREE_IN_EV),
        hamiltonian_down=_matrix(files[OF_SPINS[1]], indices, orbitals, HARTREE_IN_EV),
    )


def _check_still(folder: Path) -> None:
    """Refuse a relaxation, whose matrices are those of other positions than geometry.in."""
    later = file_if_there(folder / NEXT_STEP, "FHI-aims' geometry")
    if later is None:
        return
    first, last = (_read_geometry(path) for path in (folder / GEOMETRY, later))
    moved = len(first) != len(last) or bool(np.abs(first.cell - last.cell).max() > _STILL)
    if not moved:
        away = last.positions - first.positions
        if first.pbc.any():
            away = away - np.rint(away @ np.linalg.inv(first.cell)) @ first.cell
        moved = bool(np.abs(away).max() > _STILL)
    if moved:
        raise FormatError(
            folder,
            f"expected a run whose atoms do not move, got {NEXT_STEP} with other positions than {GEOMETRY}; give that "
            "of the matrices (--structure)",
        )


def _read_geometry(path: Path) -> Structure:
    vectors: list[list[float]] = []
    symbols: list[int] = []
    atoms: list[tuple[bool, list[float]]] = []
    for number, line in enumerate(read_text(path, "FHI-aims' geometry.in", any_encoding=True).splitlines(), 1):
        word, *rest = line.split("#", 1)[0].split() or [""]
        if word not in ("lattice_vector", "atom", "atom_frac", "empty"):
            continue
        try:
            if word == "empty" or len(rest) < 3:
                raise ValueError(line)
            numbers = [float(part) for part in rest[:3]]
        except ValueError as error:
            raise FormatError(path, f"expected three numbers in line {number}, got {line.strip()!r:.80}") from error
        if word == "lattice_vector":
            vectors.append(numbers)
            continue
        z = number_of(rest[3]) if len(rest) > 3 else None
        if not z:
            raise FormatError(path, f"expected a chemical symbol in line {number}, got {line.strip()!r:.80}")
        symbols.append(z)
        atoms.append((word == "atom_frac", numbers))
    if len(vectors) not in (0, 3) or (not vectors and any(fractional for fractional, _ in atoms)):
        raise FormatError(path, f"expected no or three lattice vectors, got {len(vectors)}")
    cell = np.array(vectors).reshape(-1, 3) if vectors else np.zeros((3, 3))
    positions = [np.array(numbers) @ cell if fractional else np.array(numbers) for fractional, numbers in atoms]
    return Structure(np.array(symbols, dtype=np.int64), np.array(positions), cell, np.full(3, bool(vectors)))


def _inside(structure: Structure) -> Structure:
    """The atoms where FHI-aims has them: fractional coordinates from −½ to ½."""
    if not structure.pbc.any():
        return structure
    fractional = structure.positions @ np.linalg.inv(structure.cell) - _INSIDE
    moved = structure.positions - np.rint(fractional) @ structure.cell
    return Structure(structure.numbers, moved, structure.cell, structure.pbc)


def _read_functions(path: Path, structure: Structure) -> BasisSet:
    rows = []
    for number, line in enumerate(read_text(path, "FHI-aims' list of functions").splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("fn"):
            continue
        if len(parts) != 6 or not all(re.fullmatch(r"-?\d{1,9}", p) for p in (parts[0], *parts[2:])):
            raise FormatError(path, f"expected `fn type atom n l m` in line {number}, got {line.strip()!r:.80}")
        rows.append([int(parts[0]), *(int(p) for p in parts[2:])])
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    if not len(table) or (table[:, 0] != np.arange(1, len(table) + 1)).any():
        raise FormatError(path, "expected functions counted from 1, got others")
    if (np.diff(table[:, 1]) < 0).any() or set(table[:, 1].tolist()) != set(range(1, len(structure) + 1)):
        raise FormatError(path, f"expected the functions of atoms 1 to {len(structure)} one after another, got others")
    shells: dict[int, tuple[int, ...]] = {}
    for atom, z in enumerate(structure.numbers.tolist(), 1):
        own = _shells(path, table[table[:, 1] == atom, 3:], atom)
        if shells.setdefault(z, own) != own:
            raise FormatError(path, f"expected one basis for each element, got two for {symbol_of(z)}")
    return BasisSet("of FHI-aims' files", shells, {z: z for z in shells})


def _shells(path: Path, momenta: np.ndarray, atom: int) -> tuple[int, ...]:
    found, k = [], 0
    while k < len(momenta):
        l = int(momenta[k, 0])
        whole = momenta[k : k + 2 * l + 1] if 0 <= l < len(SHELL_LETTERS) else momenta[:0]
        if len(whole) != 2 * l + 1 or (whole[:, 0] != l).any() or (whole[:, 1] != np.arange(-l, l + 1)).any():
            raise FormatError(path, f"expected m = −l … l in each shell of atom {atom}, got others")
        found.append(l)
        k += 2 * l + 1
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Indices:
    cells: np.ndarray
    cell: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    count: int


def _read_indices(path: Path, size: int) -> _Indices:
    """What each number of a matrix is: its cell, row and column."""
    text = read_text(path, "FHI-aims' indices", largest=_LARGEST_TEXT)
    parts = re.split(
        r"(?m)^ *(cell_index|index_hamiltonian\(1,:,:\)|index_hamiltonian\(2,:,:\)|column_index_hamiltonian) *$", text
    )
    titles = [part.split("(")[0] for part in parts[1::2]]
    if titles != ["cell_index", "index_hamiltonian", "index_hamiltonian", "column_index_hamiltonian"]:
        raise FormatError(
            path, f"expected cell_index, index_hamiltonian (twice), column_index_hamiltonian, got {titles}"
        )
    head = [line.rsplit(":", 1) for line in parts[0].splitlines() if ":" in line]
    named = {part[0].strip(): part[1].strip() for part in head}
    try:
        count, n_cells, n = (
            int(named[f"n_{key}"]) for key in ("hamiltonian_matrix_size", "cells_in_hamiltonian", "basis")
        )
    except (KeyError, ValueError) as error:
        raise FormatError(
            path, f"expected the sizes of the matrix, its cells and its basis, got {named!r:.120}"
        ) from error
    if n != size or min(count, n_cells) < 1 or n_cells * n > len(text):
        raise FormatError(path, f"expected {size} functions as in {FUNCTIONS}, got {n} in {n_cells} cells")
    cells = _whole(path, parts[2], 3 * n_cells).reshape(n_cells, 3)
    first, last = (_whole(path, parts[k], n_cells * n).reshape(n_cells, n) for k in (4, 6))
    columns = _whole(path, parts[8], count)
    kept = (
        np.flatnonzero(np.arange(n_cells) < max(n_cells - 1, 1)) if (cells[-1] >= _DUMMY).all() else np.arange(n_cells)
    )
    cell, row = np.nonzero(last[kept] >= np.maximum(first[kept], 1))
    starts, ends = first[kept][cell, row] - 1, last[kept][cell, row]
    lengths = ends - starts
    if len(lengths) == 0 or ends.max() > count or (lengths > size).any() or lengths.sum() > count:
        raise FormatError(path, f"expected first and last numbers of the rows among {count}, got others")
    order = np.argsort(starts, kind="stable")
    if (starts[order][1:] < ends[order][:-1]).any():
        raise FormatError(path, "expected each number in one row, got rows that overlap")
    where = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
    own = columns[where]
    if own.min() < 1 or own.max() > size or np.abs(cells[kept]).max() > FARTHEST:
        raise FormatError(path, f"expected columns 1 to {size} and cells that are near, got others")
    return _Indices(
        cells[kept], np.repeat(cell, lengths), np.repeat(row, lengths), np.column_stack([own - 1, where]), count
    )


def _whole(path: Path, text: str, count: int) -> np.ndarray:
    try:
        found = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise FormatError(path, f"expected whole numbers, got others ({error})") from error
    if len(found) != count:
        raise FormatError(path, f"expected {count} whole numbers in a table, got {len(found)}; is the file complete?")
    return found


def _matrix(path: Path | None, indices: _Indices, orbitals: ForeignOrbitals, unit: float) -> BlockOperator | None:
    if path is None:
        return None
    text = read_text(path, "FHI-aims' matrix", largest=_LARGEST_TEXT)
    try:
        numbers = np.array(_NO_LETTER.sub(r"E\1", text).split(), dtype=np.float64)
    except ValueError as error:
        raise FormatError(path, f"expected one number per line, got others ({error})") from error
    if len(numbers) != indices.count:
        raise FormatError(
            path, f"expected {indices.count} numbers as {INDICES} says, got {len(numbers)}; is it cut off?"
        )
    if not np.isfinite(numbers).all():
        raise FormatError(
            path, f"expected finite numbers, got others; the first is number {np.argmin(np.isfinite(numbers)) + 1}"
        )
    columns, where = indices.columns.T
    values, twice = numbers[where], columns != indices.rows
    cells = np.concatenate([-indices.cells[indices.cell], indices.cells[indices.cell][twice]])
    rows = np.concatenate([indices.rows, columns[twice]])
    other = np.concatenate([columns, indices.rows[twice]])
    values = np.concatenate([values, values[twice]])
    distinct, which = np.unique(cells, axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(which.ravel(), minlength=len(distinct)))
    parts = []
    for cell, start, end in zip(distinct.tolist(), [0, *ends[:-1]], ends):
        some = order[start:end]
        x, y, z = cell
        parts.append(CellElements((x, y, z), rows[some], other[some], values[some]))
    return from_elements(path, orbitals, parts, unit)
