"""Wannier90's H(R): `SEEDNAME_tb.dat`, which has the cell and the centres, or `SEEDNAME_hr.dat`, with `SEEDNAME.win`.

Both list, for each cell vector R with the number of its equivalent ones, all elements ⟨m, 0|H|n, R⟩ in eV, m running
fastest. Wannier functions are orthonormal, so S = 1. They belong to atoms, with their l, where they were projected on
whole shells of atoms. Otherwise they are sites of their own (ghosts at their centres), with one function each that
turns like nothing: levels can be computed from them, but nothing be learnt.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.atomic_files import write_text_atomically
from nearsight.elements import GHOST, symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import LARGEST_TEXT, file_if_there, read_text
from nearsight.formats.basis_words import shells_of_words
from nearsight.formats.deepx import make_folder
from nearsight.formats.options import BasisChoice, ReadOptions
from nearsight.formats.real_space_blocks import (
    FARTHEST,
    CellElements,
    ForeignOrbitals,
    elements_of,
    from_elements,
    places_by_l,
    unit_overlap,
)
from nearsight.formats.sniffing import first_bytes
from nearsight.formats.structure_files import check_distances
from nearsight.formats.wannier90_input import Wannier90Input, read_wannier90_input
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet
from nearsight.orbitals.conventions import WANNIER90
from nearsight.structures.structure import Structure

TB, HR = "_tb.dat", "_hr.dat"
ORBITALS = "orbitals"
"""Key of the provenance that says what the functions are."""
WITHOUT_L = "Wannier functions without l, as sites of their own"
_IMAGINARY = 1e-4
"""Largest imaginary part (eV) that is left out; numbers have six or eight digits."""
_AT_ITS_ATOM = 0.7
"""Å from its atom within which the centre of a function of a whole shell is."""
_UNIT = 1e-10
"""Largest |S − 1| of an orthonormal basis."""
_MOST = 20_000


@dataclass(frozen=True, eq=False)
class _Elements:
    """What a file holds: H (nR, n, n) as [R, m, n], eV, divided by the numbers of equivalent cells."""

    cells: np.ndarray
    values: np.ndarray
    cell: np.ndarray | None
    centres: np.ndarray | None


def recognises(path: Path) -> bool:
    """Tell whether a path is such a file, or a folder with one."""
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.name.endswith((TB, HR)) else []
    if not path.is_dir():
        return []
    full = sorted(path.glob(f"*{TB}"))
    seeds = {file.name.removesuffix(TB) for file in full}
    return full + [file for file in sorted(path.glob(f"*{HR}")) if file.name.removesuffix(HR) not in seeds]


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one set of Wannier functions.

    Parameters
    ----------
    path : pathlib.Path
        `SEEDNAME_tb.dat`, `SEEDNAME_hr.dat`, or the folder in which one seed's lie.
    options : ReadOptions
        `input` for `.win` under another name; `basis` for the shells of each element, such as ``{"Si": "2s2p1d"}``,
        where the functions are those of atoms and the projections do not say so.

    Returns
    -------
    Calculation
        H in real space and S = 1. The number of electrons is not known.

    Raises
    ------
    FormatError
        If a file is damaged or missing, or H is not real (spinors).
    """
    files = _files(path)
    if len(files) > 1:
        raise FormatError(path, f"expected one seed, got {', '.join(f.name for f in files)}; name the file you mean")
    source = files[0]
    seed = source.name.removesuffix(TB).removesuffix(HR)
    found = _read_elements(source, has_cell=source.name.endswith(TB))
    win = options.input or file_if_there(source.with_name(f"{seed}.win"), "Wannier90's input")
    given = None if win is None else read_wannier90_input(win)
    cell = found.cell if found.cell is not None else None if given is None else given.structure.cell
    if cell is None:
        raise FormatError(source, f"expected {seed}.win with the cell beside it, or {seed}{TB}, got neither")
    if given is not None and np.abs(given.structure.cell - cell).max() > 1e-3:
        raise FormatError(win, f"expected the cell of {source.name}, got another one; are they of one run?")
    centres = found.centres
    beside = file_if_there(source.with_name(f"{seed}_centres.xyz"), "centres of Wannier functions")
    if centres is None and beside is not None:
        centres = _read_centres(beside, found.values.shape[1])
    n = found.values.shape[1]
    if options.basis is not None and given is not None:
        structure, basis, moved, said = _given(source, given, options.basis, n)
    else:
        structure, basis, moved, said = _sites(source, given, cell, centres, n)
    orbitals = ForeignOrbitals(structure.numbers, basis, WANNIER90)
    return Calculation(
        structure,
        basis,
        from_elements(source, orbitals, _cells(found, moved)),
        unit_overlap(structure.numbers, basis),
        fermi=None if given is None else given.fermi,
        provenance={
            "format": f"Wannier90 ({source.name[-7:]})",
            "source": source.name,
            "basis": basis.name,
            ORBITALS: said,
        },
    )


def _read_elements(path: Path, has_cell: bool) -> _Elements:
    expected = f"Wannier90's {path.name[-7:]}"
    first_bytes(path, expected)
    if path.stat().st_size > LARGEST_TEXT:
        raise FormatError(path, f"expected {expected} of at most {LARGEST_TEXT / 1e6:.0f} MB, got a larger file")
    with open(path, "rb") as file:
        file.readline()
        numbers = _numbers(path, file.read())
    start = 9 if has_cell else 0
    cell = numbers[:9].reshape(3, 3) if has_cell and len(numbers) >= 9 else None
    if len(numbers) < start + 2:
        raise FormatError(path, "expected the number of Wannier functions and of cell vectors, got the end of the file")
    n, count = (_whole(path, x, 1, _MOST) for x in numbers[start : start + 2])
    start += 2
    rows, width = n * n, 4 if has_cell else 7
    block = 3 + 4 * rows if has_cell else 7 * rows
    needed = start + count + count * block
    if len(numbers) < needed:
        raise FormatError(
            path, f"expected {needed} numbers of {n} functions in {count} cells, got {len(numbers)}; is it cut off?"
        )
    equivalent = numbers[start : start + count]
    if (equivalent != np.round(equivalent)).any() or equivalent.min() < 1 or equivalent.max() > 1000:
        raise FormatError(path, "expected how many cells are equivalent to each, from 1 on, got others")
    table = numbers[start + count : needed].reshape(count, block)
    if has_cell:
        cells, elements = table[:, :3], table[:, 3:].reshape(count, rows, width)
    else:
        every = table.reshape(count, rows, width)
        cells, elements = every[:, 0, :3], every[:, :, 3:]
        if (every[:, :, :3] != cells[:, None]).any():
            raise FormatError(path, f"expected {rows} rows of each cell vector together, got others")
    _check_rows(path, cells, elements, n)
    values = (elements[:, :, 2] + 1j * elements[:, :, 3]) / equivalent[:, None]
    largest = float(np.abs(values.imag).max())
    if largest > _IMAGINARY:
        raise FormatError(
            path,
            f"expected real elements of H, got imaginary parts up to {largest:.3g} eV: the Wannier functions are "
            "spinors or not real, which is not supported",
        )
    rest = numbers[needed:]
    if not has_cell and len(rest):
        raise FormatError(path, f"expected the end of the file, got {len(rest)} more numbers; are there two in one?")
    centres = _centres(path, rest, cells, n) if has_cell else None
    return _Elements(cells.astype(np.int64), values.real.reshape(count, n, n).transpose(0, 2, 1), cell, centres)


def _check_rows(path: Path, cells: np.ndarray, elements: np.ndarray, n: int) -> None:
    if (cells != np.round(cells)).any() or np.abs(cells).max() > FARTHEST:
        raise FormatError(path, "expected cell vectors in whole numbers, got others")
    if len(np.unique(cells, axis=0)) != len(cells):
        raise FormatError(path, "expected every cell vector once, got one twice")
    second, first = np.divmod(np.arange(n * n), n)
    if (elements[:, :, 0] != first + 1).any() or (elements[:, :, 1] != second + 1).any():
        raise FormatError(path, "expected elements m, n with m running fastest, got another order; is a row missing?")


def _centres(path: Path, rest: np.ndarray, cells: np.ndarray, n: int) -> np.ndarray | None:
    """⟨n, 0|r|n, 0⟩ of the second half of a file `_tb.dat`, Å; None where it has none."""
    block = 3 + 8 * n * n
    if len(rest) == 0:
        return None
    if len(rest) != block * len(cells):
        raise FormatError(
            path, f"expected {block * len(cells)} numbers of positions, got {len(rest)}; is it cut off, or two in one?"
        )
    table = rest.reshape(len(cells), block)
    home = np.flatnonzero(~table[:, :3].any(axis=1))
    if len(home) != 1:
        raise FormatError(path, "expected positions of the home cell, got none")
    return table[home[0], 3:].reshape(n, n, 8)[np.arange(n), np.arange(n)][:, 2::2]


def _read_centres(path: Path, n: int) -> np.ndarray:
    """The lines of `_centres.xyz` that begin with X."""
    rows = [line.split() for line in read_text(path, "centres of Wannier functions").splitlines()[2:]]
    found = [row[1:4] for row in rows if row and row[0] == "X"]
    if len(found) != n:
        raise FormatError(path, f"expected the centres of {n} Wannier functions, got {len(found)}")
    return _numbers(path, " ".join(word for row in found for word in row).encode()).reshape(n, 3)


def _sites(
    path: Path, given: Wannier90Input | None, cell: np.ndarray, centres: np.ndarray | None, n: int
) -> tuple[Structure, BasisSet, np.ndarray, str]:
    """Atoms or ghosts, their shells, the cell (n, 3) in which each function is, and what they are in words."""
    if given is not None and given.shells is not None:
        found = _on_atoms(path, given, centres, n)
        if found is not None:
            return found
    if centres is None:
        raise FormatError(
            path,
            f"expected the centres of the Wannier functions ({path.name[:-7]}_centres.xyz by write_xyz = true, or "
            f"{path.name[:-7]}_tb.dat), or projections on whole shells of atoms in .win, got neither",
        )
    structure = Structure(np.full(n, GHOST), centres, cell, np.ones(3, dtype=bool))
    try:
        check_distances(structure)
    except InputError as error:
        raise FormatError(
            path,
            "expected functions of whole shells of atoms, or at places of their own, got several at one place; say the "
            f"shells in the projections of {path.name[:-7]}.win (Si:s;p), or give them (--basis Si=1s1p)",
        ) from error
    return structure, BasisSet("Wannier functions", {GHOST: (0,)}, {}), np.zeros((n, 3), dtype=np.int64), WITHOUT_L


def _given(
    path: Path, given: Wannier90Input, words: BasisChoice, n: int
) -> tuple[Structure, BasisSet, np.ndarray, str]:
    """The shells that the user says, all atoms in their order."""
    basis = shells_of_words(words)
    basis.check(given.structure.numbers)
    size = int(basis.offsets(given.structure.numbers)[-1])
    if size != n:
        raise FormatError(path, f"expected {size} functions of {basis.describe()}, got {n}")
    return given.structure, basis, np.zeros((n, 3), dtype=np.int64), "shells that were given"


def _on_atoms(
    path: Path, given: Wannier90Input, centres: np.ndarray | None, n: int
) -> tuple[Structure, BasisSet, np.ndarray, str] | None:
    """Functions that are whole shells of atoms, every atom of an element having the same."""
    structure, shells = given.structure, given.shells or ()
    sizes = [sum(2 * l + 1 for l in own) for _, own in shells]
    atoms = [atom for atom, _ in shells]
    kept = [int(structure.numbers[atom]) for atom in atoms]
    of_element: dict[int, tuple[int, ...]] = {}
    for z, (_, own) in zip(kept, shells):
        of_element.setdefault(z, own)
    every = set(of_element) == set(structure.elements) and sorted(atoms) == list(range(len(structure)))
    if sum(sizes) != n or not every or any(of_element[z] != own for z, (_, own) in zip(kept, shells)):
        return None
    ordered = structure.permuted(np.array(atoms))
    places = np.repeat(ordered.positions, sizes, axis=0)
    moved = np.zeros((n, 3), dtype=np.int64)
    if centres is not None:
        moved = np.rint((centres - places) @ np.linalg.inv(ordered.cell)).astype(np.int64)
        away = np.linalg.norm(centres - places - moved @ ordered.cell, axis=1)
        if away.max() > _AT_ITS_ATOM:
            return None
    return ordered, BasisSet("Wannier functions", of_element, {}), moved, "Wannier functions of whole shells"


def _cells(found: _Elements, moved: np.ndarray) -> list[CellElements]:
    """All elements by the cell between their sites, which differs from R where functions are in other cells."""
    count, n, _ = found.values.shape
    rows, columns = np.divmod(np.arange(n * n), n)
    shift = (found.cells[:, None] + moved[columns] - moved[rows]).reshape(-1, 3)
    values = found.values.reshape(-1)
    distinct, which = np.unique(shift, axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(which.ravel(), minlength=len(distinct)))
    parts = []
    for cell, start, end in zip(distinct.tolist(), [0, *ends[:-1]], ends):
        some = order[start:end]
        x, y, z = cell
        parts.append(CellElements((x, y, z), np.tile(rows, count)[some], np.tile(columns, count)[some], values[some]))
    return parts


def _numbers(path: Path, raw: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = np.fromstring(raw.decode("ascii"), dtype=np.float64, sep=" ")
        except (DeprecationWarning, ValueError, OverflowError) as error:
            raise FormatError(path, f"expected numbers after the first line, got others ({error})") from error
    if not np.isfinite(found).all():
        raise FormatError(path, "expected finite numbers, got some that are NaN or infinite")
    return found


def _whole(path: Path, value: float, lowest: int, highest: int) -> int:
    if value != round(value) or not lowest <= value <= highest:
        raise FormatError(path, f"expected a whole number from {lowest} to {highest}, got {value:g}")
    return round(value)


def write(path: Path, calculation: Calculation) -> list[Path]:
    """Write `wannier90_hr.dat` and `wannier90.win` (cell, atoms, projections), as WannierTools and others read them.

    Parameters
    ----------
    path : pathlib.Path
        The folder; made if it is not there.
    calculation : Calculation
        H in real space, in an orthonormal basis.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If H is missing or summed at Γ, S is not 1, or a file cannot be written.

    Notes
    -----
    The shells of an atom are listed by their l. Every element of every R is written with twelve decimals; each R has
    one equivalent cell. Where an atom has several shells of one l, projections cannot say so, and are left out.
    """
    h = calculation.require_hamiltonian()
    if h.folded:
        raise InputError("expected H in real space for Wannier90's files, got one that is summed at Γ")
    if not is_orthonormal(calculation.require_overlap()):
        raise InputError(
            "expected an orthonormal basis (S = 1) for Wannier90's files, got another S; atomic orbitals made "
            "orthonormal (Löwdin) reach too many cells to be written"
        )
    make_folder(path)
    files = [path / f"wannier90{HR}", path / "wannier90.win"]
    write_text_atomically(files[0], _hr_text(h))
    write_text_atomically(files[1], _win_text(calculation, h.n_orbitals))
    return files


def is_orthonormal(overlap: BlockOperator) -> bool:
    """Tell whether S is 1."""
    unit = unit_overlap(overlap.numbers, overlap.basis).on_pairs(overlap.source, overlap.target, overlap.shift)
    return bool(np.abs(overlap.values - unit.values).max(initial=0) <= _UNIT)


def _hr_text(h: BlockOperator) -> str:
    n = h.n_orbitals
    cells = list(elements_of(h, *places_by_l(WANNIER90, h)))
    lines = [" written by nearsight", f"{n:12d}", f"{len(cells):12d}"]
    lines += ["".join(f"{1:5d}" for _ in cells[k : k + 15]) for k in range(0, len(cells), 15)]
    second, first = (x + 1 for x in np.divmod(np.arange(n * n), n))
    for cell in cells:
        values = np.zeros((n, n))
        values[cell.rows, cell.columns] = cell.values
        place = "{:5d}{:5d}{:5d}".format(*cell.cell)
        rows = zip(first.tolist(), second.tolist(), values.T.ravel().tolist())
        lines += [f"{place}{m:5d}{k:5d}{value:22.12f}{0.0:22.12f}" for m, k, value in rows]
    return "\n".join(lines) + "\n"


def _win_text(calculation: Calculation, n: int) -> str:
    structure, basis = calculation.structure, calculation.basis
    lines = ["! written by nearsight", f"num_wann = {n}"]
    if calculation.fermi is not None:
        lines.append(f"fermi_energy = {calculation.fermi!r}")
    lines += ["begin unit_cell_cart", "ang", *(" ".join(map(repr, row)) for row in structure.cell.tolist())]
    lines += ["end unit_cell_cart", "begin atoms_cart", "ang"]
    symbols = [symbol_of(z) for z in structure.numbers.tolist()]
    lines += [f"{symbol} " + " ".join(map(repr, row)) for symbol, row in zip(symbols, structure.positions.tolist())]
    lines.append("end atoms_cart")
    grouped = [z for k, z in enumerate(structure.numbers.tolist()) if k == 0 or z != structure.numbers[k - 1]]
    shells = {z: sorted(basis.shells[z]) for z in structure.elements}
    if len(set(grouped)) == len(grouped) and all(len(set(own)) == len(own) and max(own) < 4 for own in shells.values()):
        lines.append("begin projections")
        lines += [f"{symbol_of(z)}:" + ";".join(SHELL_LETTERS[l] for l in shells[z]) for z in grouped]
        lines.append("end projections")
    return "\n".join(lines) + "\n"
