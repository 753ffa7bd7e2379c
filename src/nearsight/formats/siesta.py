"""SIESTA's matrices: `.HSX` (versions 1 and 2 of the file, since SIESTA 5) and TranSIESTA's `.TSHS`.

Both are Fortran records: sizes, cell and positions (Bohr), the cell vectors of the supercell's images, and then, for
each orbital of the home cell, the orbitals that it has elements with, counted through the images, H (Rydberg) and S.
H is as SIESTA has it, with the Fermi level beside it; sisl moves it to zero when it reads these files. A `.HSX` holds
species and shells. A `.TSHS` does not: they are taken from `.XV` and `.ion` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.atomic_files import written_atomically
from nearsight.elements import HEAVIEST, number_of, symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import file_if_there, read_text
from nearsight.formats.basis_words import asked_for, shells_of_words
from nearsight.formats.deepx import in_a_cell
from nearsight.formats.fortran_records import Records, record
from nearsight.formats.options import ReadOptions
from nearsight.formats.real_space_blocks import FARTHEST, CellElements, ForeignOrbitals, elements_of, from_elements
from nearsight.formats.siesta_levels import read_levels
from nearsight.formats.structure_files import read_structure
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet
from nearsight.orbitals.conventions import SIESTA, from_internal_order
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

RYDBERG_IN_EV = HARTREE_IN_EV / 2
_HSX, _TSHS, _DM = ".HSX", ".TSHS", ".DM"
_MOVED = 0.5
"""Å by which atoms may be elsewhere in `.XV`, which is written after the last step of a relaxation."""
_MOST = 50_000_000
"""Orbitals, images and elements of a row: beyond any file."""
_ORBITAL = re.compile(r"^\s*(\d+)\s+\d+\s+\d+\s+\S+\s+\S+\s*#\s*orbital", re.M)
_NUMBER = re.compile(r"^\s*(\d+)\s*#\s*Atomic number", re.M)
_VALENCE = re.compile(r"^\s*(\S+)\s*#\s*Valence charge", re.M)


@dataclass(frozen=True, eq=False)
class _File:
    """What a file holds: H (Rydberg) and S, and what it says of atoms and shells."""

    cell: np.ndarray
    positions: np.ndarray
    last: np.ndarray
    numbers: np.ndarray | None
    basis: BasisSet | None
    fermi: float
    images: int
    hamiltonians: tuple[tuple[CellElements, ...], ...]
    overlap: tuple[CellElements, ...]


def recognises(path: Path) -> bool:
    """Tell whether a path is such a file, or a folder with one."""
    return bool(_matrix_files(path))


def _matrix_files(path: Path) -> list[Path]:
    """The file, or those of a folder; `.HSX` before `.TSHS`, for it says more."""
    if path.is_file():
        return [path] if path.suffix in (_HSX, _TSHS) else []
    if not path.is_dir():
        return []
    several, beside = sorted(path.glob(f"*{_HSX}")), sorted(path.glob(f"*{_TSHS}"))
    of_others = [file for file in beside if file.with_suffix(_HSX) not in several]
    return several + of_others if several else beside


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one run.

    Parameters
    ----------
    path : pathlib.Path
        The file, or the folder in which it is the only one.
    options : ReadOptions
        For `.TSHS` without `.XV` and `.ion` beside it: `structure`, and `basis` for the shells of each element, such as
        ``{"C": "1s1p"}``.

    Returns
    -------
    Calculation
        H and S in real space, or at Γ where the run had no other cells; Fermi level and levels.

    Raises
    ------
    FormatError
        If the file is damaged, of SIESTA 4 or older, or there is spin-orbit coupling.
    """
    files = _matrix_files(path)
    if len(files) > 1:
        raise FormatError(path, f"expected one run, got {', '.join(f.name for f in files)}; name the file you mean")
    source = files[0]
    file = _read_hsx(source) if source.suffix == _HSX else _read_tshs(source)
    structure = _structure(source, file, options)
    basis = _basis(source, file, structure, options)
    if not np.array_equal(np.cumsum(basis.sizes(structure.numbers)), file.last[1:]):
        raise FormatError(source, f"expected the orbitals of {basis.describe()}, got other numbers of them")
    orbitals, folded = ForeignOrbitals(structure.numbers, basis, SIESTA), file.images == 1
    spins = len(file.hamiltonians)
    k_points, levels = _levels(source, structure, max(spins, 1))
    of_spins = [from_elements(source, orbitals, h, RYDBERG_IN_EV, folded=folded) for h in file.hamiltonians]
    return Calculation(
        structure,
        basis,
        of_spins[0] if spins == 1 else None,
        from_elements(source, orbitals, file.overlap, folded=folded),
        fermi=file.fermi * RYDBERG_IN_EV,
        k_points=k_points,
        k_eigenvalues=levels,
        provenance={"format": f"SIESTA ({source.suffix})", "source": source.name, "basis": basis.name},
        hamiltonian_up=of_spins[0] if spins == 2 else None,
        hamiltonian_down=of_spins[1] if spins == 2 else None,
    )


def _levels(source: Path, structure: Structure, spins: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What is printed beside the matrices, where both files are there."""
    levels, points = (file_if_there(source.with_suffix(s), f"SIESTA's file {s}") for s in (".EIG", ".KP"))
    if levels is None or points is None:
        return None, None
    return read_levels(levels, points, structure.cell, spins)


def _read_hsx(path: Path) -> _File:
    records = Records(path, "SIESTA's file .HSX")
    head = records.bytes("the version")
    if len(head) == 16:
        raise FormatError(
            path,
            "expected a file of SIESTA 5, got one of SIESTA 4 or older, which holds no positions; "
            "use its .TSHS (TS.HS.Save true)",
        )
    version = int(records.converted("the version", head, "i4")[0]) if len(head) == 4 else 0
    if version not in (1, 2):
        raise FormatError(path, f"expected a file .HSX of version 1 or 2, got {version}")
    double = records.array("its precision", "i4", 1)[0] != 0
    n_atoms, size, spins, species, *counts = records.array("its sizes", "i4", 7).tolist()
    images = _checked_sizes(records, n_atoms, size, spins, counts)
    if not 1 <= species <= 1000:
        raise records.error("the number of species", species)
    numbers_of_cell = records.array("cell and Fermi level", "f8", 12)
    offsets, positions, kinds, last = _split(records, images, n_atoms)
    basis, z_of = _species(records, species)
    if kinds.min() < 1 or kinds.max() > species:
        raise records.error(f"species 1 to {species} of the atoms", kinds.tolist()[:5])
    if version == 2:
        records.bytes("the mesh of k-points")
    return _File(
        numbers_of_cell[:9].reshape(3, 3) * BOHR_IN_ANGSTROM,
        positions * BOHR_IN_ANGSTROM,
        np.concatenate([[0], last]),
        z_of[kinds - 1],
        basis,
        float(numbers_of_cell[9]),
        images,
        *_matrices(records, size, images, offsets, "f8" if double else "f4", s_first=False, spins=spins),
    )


def _read_tshs(path: Path) -> _File:
    records = Records(path, "TranSIESTA's file .TSHS")
    version = records.array("the version", "i4")
    if len(version) != 1 or version[0] != 1:
        raise FormatError(path, f"expected a file .TSHS of version 1, got {version.tolist()[:5]}")
    n_atoms, size, supercell, spins, count = records.array("its sizes", "i4", 5).tolist()
    images = _checked_sizes(records, n_atoms, size, spins, records.array("numbers of cells", "i4", 3).tolist())
    if supercell != images * size or not 0 <= count <= _MOST * 100:
        raise records.error(f"{images * size} orbitals of the supercell", supercell)
    places = records.array("cell and positions", "f8", 9 + 3 * n_atoms).reshape(-1, 3) * BOHR_IN_ANGSTROM
    only_s = bool(records.array("three truth values", "i4", 3)[2])
    records.bytes("the mesh of k-points")
    fermi = float(records.array("the Fermi level", "f8", 3)[0])
    records.bytes("the step")
    last = records.array("the last orbital of each atom", "i4", n_atoms + 1)
    parts = _matrices(records, size, images, None, "f8", s_first=True, spins=0 if only_s else spins)
    return _File(places[:3], places[3:], last, None, None, fermi, images, *parts)


def _checked_sizes(records: Records, n_atoms: int, size: int, spins: int, counts: Sequence[int]) -> int:
    """The number of images, after the numbers were looked at."""
    if not 1 <= n_atoms <= size <= _MOST or min(counts) < 1 or max(counts) > FARTHEST:
        raise records.error("numbers of atoms, orbitals and cells", f"{n_atoms}, {size} and {list(counts)}")
    if spins not in (1, 2):
        raise FormatError(
            records.path,
            f"expected a matrix without spin or of two spins, got one of {spins} spin components; spins that are not "
            "collinear and spin-orbit coupling are not supported",
        )
    images = counts[0] * counts[1] * counts[2]
    if images > _MOST:
        raise records.error("a number of cells", images)
    return images


def _split(records: Records, images: int, n_atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cell vectors of the images, positions, species, and last orbital of each atom, which are one record."""
    what = "cell vectors, positions and species"
    raw = records.bytes(what)
    a, b = 12 * images, 12 * images + 24 * n_atoms
    if len(raw) != b + 8 * n_atoms:
        raise records.error(f"{what} of {n_atoms} atoms and {images} cells", f"{len(raw)} bytes")
    offsets = records.converted(what, raw[:a], "i4").reshape(-1, 3)
    positions = records.converted(what, raw[a:b], "f8").reshape(-1, 3)
    kinds, last = records.converted(what, raw[b:], "i4").reshape(2, -1)
    return offsets, positions, kinds, last


def _species(records: Records, count: int) -> tuple[BasisSet, np.ndarray]:
    """Shells and atomic numbers. Labels say the element; the record holds 20 letters, the valence, and the orbitals."""
    raw = records.bytes("the species")
    if len(raw) != 32 * count:
        raise records.error(f"{count} species", f"{len(raw)} bytes")
    labels, charges, sizes = [], [], []
    for k in range(count):
        part = raw[32 * k : 32 * (k + 1)]
        labels.append(bytes(part[:20]).decode("ascii", "replace").strip())
        charges.append(float(records.converted("the valence", part[20:28], "f8")[0]))
        sizes.append(int(records.converted("the number of orbitals", part[28:], "i4")[0]))
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    z_of = []
    for label, charge, size in zip(labels, charges, sizes):
        z = _element(records.path, label)
        own = _shells(records, records.array(f"the orbitals of {label}", "i4", 3 * size).reshape(-1, 3), label)
        if shells.setdefault(z, own) != own:
            raise FormatError(records.path, f"expected one basis for each element, got two for {symbol_of(z)}")
        if charge.is_integer() and 0 <= charge <= z and valence.setdefault(z, int(charge)) != int(charge):
            raise FormatError(
                records.path,
                f"expected one pseudopotential for each element, got species of {symbol_of(z)} with {valence[z]} and "
                f"{int(charge)} electrons; is one a ghost?",
            )
        z_of.append(z)
    return BasisSet("of SIESTA's files", shells, valence), np.array(z_of)


def _shells(records: Records, orbitals: np.ndarray, label: str) -> tuple[int, ...]:
    """Momenta of the shells, from (n, l, zeta) of every orbital."""
    momenta, shells = orbitals[:, 1].tolist(), []
    k = 0
    while k < len(momenta):
        l = momenta[k]
        whole = 0 <= l < len(SHELL_LETTERS) and momenta[k : k + 2 * l + 1] == [l] * (2 * l + 1)
        if not whole or (orbitals[k : k + 2 * l + 1] != orbitals[k]).any():
            raise records.error(f"whole shells of {label}", f"l = {momenta}")
        shells.append(l)
        k += 2 * l + 1
    return tuple(shells)


def _element(path: Path, label: str) -> int:
    found = re.match(r"([A-Z][a-z]?)(?![a-z])", label)
    z = number_of(found[1]) if found else None
    if z is None:
        raise FormatError(path, f"expected labels of species that begin with a chemical symbol, got {label!r:.40}")
    return z


def _matrices(
    records: Records, size: int, images: int, offsets: np.ndarray | None, kind: str, *, s_first: bool, spins: int
) -> tuple[tuple[tuple[CellElements, ...], ...], tuple[CellElements, ...]]:
    """H of each spin and S. Where the cell vectors of the images are not known yet, they follow the matrices."""
    counts = records.array("numbers of elements of the rows", "i4", size)
    if counts.min() < 0 or counts.max() > size * images:
        raise records.error(f"up to {size * images} elements in a row", f"{counts.min()} to {counts.max()}")
    columns = _rows(records, "columns", "i4", counts) - 1
    s = _rows(records, "S", kind, counts) if s_first else None
    h = [_rows(records, "H", kind, counts) for _ in range(spins)]
    s = _rows(records, "S", kind, counts) if s is None else s
    if offsets is None:
        offsets = np.zeros((1, 3), dtype=np.int32) if images == 1 else None
        if offsets is None or not records.at_end:
            offsets = records.array("cell vectors of the images", "i4", 3 * images).reshape(-1, 3)
    if not records.at_end:
        raise records.error("nothing after the matrices", "more records")
    if len(columns) and (columns.min() < 0 or columns.max() >= size * images):
        raise records.error(f"columns 1 to {size * images}", f"{columns.min() + 1} to {columns.max() + 1}")
    if np.abs(offsets).max() > FARTHEST:
        raise records.error("cells that are near", int(np.abs(offsets).max()))
    rows = np.repeat(np.arange(size), counts)
    every = [_by_cell(rows, columns, values, size, offsets) for values in (*h, s)]
    return tuple(every[:-1]), every[-1]


def _rows(records: Records, what: str, kind: str, counts: np.ndarray) -> np.ndarray:
    parts = [records.array(what, kind, count) for count in counts.tolist()]
    return np.concatenate(parts).astype(np.int64 if kind == "i4" else np.float64) if parts else np.zeros(0)


def _by_cell(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, size: int, offsets: np.ndarray
) -> tuple[CellElements, ...]:
    image, column = np.divmod(columns, size)
    order = np.argsort(image, kind="stable")
    ends = np.cumsum(np.bincount(image, minlength=len(offsets)))
    cells = []
    for cell, start, end in zip(offsets.tolist(), [0, *ends[:-1]], ends):
        some = order[start:end]
        if len(some):
            x, y, z = cell
            cells.append(CellElements((x, y, z), rows[some], column[some], values[some]))
    return tuple(cells)


def _structure(path: Path, file: _File, options: ReadOptions) -> Structure:
    numbers = file.numbers
    if numbers is None:
        numbers = _numbers(path, file, options)
    return Structure(numbers, file.positions, file.cell, np.ones(3, dtype=bool))


def _numbers(path: Path, file: _File, options: ReadOptions) -> np.ndarray:
    """Atomic numbers of a structure whose atoms are those of the matrices, one by one."""
    n_atoms = len(file.positions)
    if options.structure is not None:
        given, beside = read_structure(options.structure, isolated=options.isolated), options.structure
        numbers, positions = given.numbers, given.positions
    else:
        beside = path.with_suffix(".XV")
        if file_if_there(beside, "SIESTA's positions") is None:
            raise FormatError(
                path, f"expected {beside.name} beside it, which says what atoms they are, or --structure; got neither"
            )
        numbers, positions = _of_xv(beside)
    if len(numbers) != n_atoms:
        raise FormatError(path, f"expected {n_atoms} atoms in the structure, got {len(numbers)}")
    apart = (positions - file.positions) @ np.linalg.pinv(file.cell)
    distance = np.linalg.norm((apart - np.rint(apart)) @ file.cell, axis=1)
    if distance.max() > _MOVED:
        k = int(np.argmax(distance))
        raise FormatError(
            beside,
            f"expected the atoms of {path.name} in their order, got atom {k} (from 0) {distance[k]:.2f} Å away from "
            "there; is it of another run?",
        )
    return numbers


def _of_xv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers in the second column of all lines after the fourth, and positions (Å) in the next three."""
    lines = [line.split() for line in read_text(path, "SIESTA's file .XV").splitlines() if line.strip()][4:]
    words = [line[1] if len(line) >= 5 else "" for line in lines]
    if not words or not all(re.fullmatch(r"\d{1,3}", word) and 1 <= int(word) <= HEAVIEST for word in words):
        raise FormatError(path, "expected atoms with atomic numbers in the second column, got others")
    try:
        positions = np.array([[float(word) for word in line[2:5]] for line in lines]) * BOHR_IN_ANGSTROM
    except ValueError as error:
        raise FormatError(path, f"expected three coordinates of every atom, got others ({error})") from error
    if not (np.abs(positions) < 1e6).all():
        raise FormatError(path, "expected coordinates of every atom, got numbers that are not finite or huge")
    return np.array([int(word) for word in words]), positions


def _basis(path: Path, file: _File, structure: Structure, options: ReadOptions) -> BasisSet:
    if file.basis is not None:
        return file.basis.restricted(structure.elements)
    if options.basis is not None:
        return shells_of_words(options.basis)
    shells, valence = _of_ions(path)
    if not set(structure.elements) <= set(shells):
        raise FormatError(
            path,
            "expected the files .ion of its elements beside it, which say the shells, got none; give them, such as "
            + asked_for(structure.elements),
        )
    return BasisSet("of SIESTA's files", shells, valence).restricted(structure.elements)


def _of_ions(path: Path) -> tuple[dict[int, tuple[int, ...]], dict[int, int]]:
    """Shells and valences in the files .ion of a folder and of the one above."""
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    for file in [*sorted(path.parent.glob("*.ion")), *sorted(path.resolve().parent.parent.glob("*.ion"))][:200]:
        text = read_text(file, "SIESTA's file .ion")
        z, charge = _NUMBER.search(text), _VALENCE.search(text)
        own = tuple(int(l) for l in _ORBITAL.findall(text))
        if z is None or not own or max(own) >= len(SHELL_LETTERS) or not 1 <= int(z[1]) <= HEAVIEST:
            raise FormatError(file, "expected an atomic number and lines `# orbital l, n, z`, got others")
        if int(z[1]) in shells and shells[int(z[1])] != own:
            raise FormatError(file, f"expected one basis for each element, got two for {symbol_of(int(z[1]))}")
        shells[int(z[1])] = own
        if charge and re.fullmatch(r"\d+(\.0*)?", charge[1]) and int(float(charge[1])) <= int(z[1]):
            valence[int(z[1])] = int(float(charge[1]))
    return shells, valence


def write(path: Path, calculation: Calculation) -> list[Path]:
    """Write `NAME.TSHS`, which TranSIESTA, TBtrans and sisl read, and `NAME.XV` beside it.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    calculation : Calculation
        H and S.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If H or S is missing, or a file cannot be written.

    Notes
    -----
    Orbitals keep the order of their shells, with SIESTA's signs. Matrices that are summed at Γ become those of a run at
    Γ. Elements exist where H or S has a block. Where the Fermi level is not known it is 0.
    """
    if path.suffix != _TSHS:
        raise InputError(f"expected a name that ends in {_TSHS}, got {path.name}")
    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    if h.folded != s.folded:
        raise InputError("expected H and S both in real space or both at Γ, got one of each")
    structure = in_a_cell(calculation.structure)
    with written_atomically(path) as temporary, open(temporary, "wb") as raw:
        for part in _tshs(structure, h, s, calculation.fermi or 0.0):
            raw.write(part)
    beside = path.with_suffix(".XV")
    with written_atomically(beside) as temporary:
        temporary.write_text(_xv(structure))
    return [path, beside]


def write_density(path: Path, density: BlockOperator) -> None:
    """Write `NAME.DM`, from which a run of SIESTA with `DM.UseSaveDM true` starts.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    density : BlockOperator
        P of both spins, in real space or at Γ.

    Raises
    ------
    InputError
        If the name is another one, or the file cannot be written.
    """
    if path.suffix != _DM:
        raise InputError(f"expected a name that ends in {_DM}, got {path.name}")
    pattern, (values,) = _rows_of((density,), (1.0,))
    size = density.n_orbitals
    with written_atomically(path) as temporary, open(temporary, "wb") as raw:
        raw.write(record(np.array([size, 1, *pattern.counts], np.int32)))
        for part in [record(pattern.per_row), *map(record, pattern.columns), *map(record, values)]:
            raw.write(part)


@dataclass(frozen=True, eq=False)
class _Pattern:
    """Which elements of a supercell's matrix there are, by rows."""

    counts: np.ndarray
    offsets: np.ndarray
    per_row: np.ndarray
    columns: list[np.ndarray]


def _rows_of(operators: Sequence[BlockOperator], units: Sequence[float]) -> tuple[_Pattern, list[list[np.ndarray]]]:
    """The rows of operators on the pairs that any of them has, in SIESTA's order and signs, and their pattern."""
    reach = np.max(np.abs(np.concatenate([o.shift for o in operators])), axis=0, initial=0)
    steps = [np.array([*range(r + 1), *range(-r, 0)]) for r in reach.tolist()]
    z, y, x = (g.ravel() for g in np.meshgrid(*steps[::-1], indexing="ij"))
    offsets = np.column_stack([x, y, z]).astype(np.int32)
    image = {cell: k for k, cell in enumerate(map(tuple, offsets.tolist()))}
    first = operators[0]
    size = first.n_orbitals
    index, sign = from_internal_order(SIESTA, first.basis, first.numbers)
    place, own = np.argsort(index), np.empty_like(sign)
    own[index] = sign
    pairs = np.unique(np.concatenate([np.column_stack([o.source, o.target, o.shift]) for o in operators]), axis=0)
    wide = [o.on_pairs(pairs[:, 0], pairs[:, 1], pairs[:, 2:]) for o in operators]
    every = [list(elements_of(o, place, own, unit, zeros_too=True)) for o, unit in zip(wide, units)]
    rows = np.concatenate([cell.rows for cell in every[0]])
    columns = np.concatenate([cell.columns + image[cell.cell] * size for cell in every[0]])
    order = np.lexsort((columns, rows))
    per_row = np.bincount(rows, minlength=size).astype(np.int32)
    cuts = np.cumsum(per_row)[:-1]
    pattern = _Pattern(
        (2 * reach + 1).astype(np.int32), offsets, per_row, np.split((columns[order] + 1).astype(np.int32), cuts)
    )
    return pattern, [np.split(np.concatenate([cell.values for cell in own])[order], cuts) for own in every]


def _tshs(structure: Structure, h: BlockOperator, s: BlockOperator, fermi: float) -> list[bytes]:
    pattern, (h_rows, s_rows) = _rows_of((h, s), (1 / RYDBERG_IN_EV, 1.0))
    size, n_atoms, n_images = h.n_orbitals, len(structure), len(pattern.offsets)
    i4 = np.int32
    gamma = np.array([n_images == 1, n_images == 1, False], dtype=i4)
    head = [
        record(np.array([1], i4)),
        record(np.array([n_atoms, size, size * n_images, 1, pattern.per_row.sum()], i4)),
        record(pattern.counts),
        record(np.concatenate([structure.cell, structure.positions]) / BOHR_IN_ANGSTROM),
        record(gamma),
        record(np.eye(3, dtype=i4), np.zeros(3)),
        record(np.array([fermi / RYDBERG_IN_EV, 0.0, 0.0])),
        record(np.zeros(2, i4)),
        record(h.orbital_offsets.astype(i4)),
        record(pattern.per_row),
    ]
    body = [record(part) for part in [*pattern.columns, *s_rows, *h_rows]]
    return [*head, *body] if n_images == 1 else [*head, *body, record(pattern.offsets)]


def _xv(structure: Structure) -> str:
    still = " 0.0 0.0 0.0"
    lines = [" ".join(repr(x / BOHR_IN_ANGSTROM) for x in row) + still for row in structure.cell.tolist()]
    lines.append(str(len(structure)))
    kinds = {z: k for k, z in enumerate(dict.fromkeys(structure.numbers.tolist()), 1)}
    for z, row in zip(structure.numbers.tolist(), structure.positions.tolist()):
        lines.append(f"{kinds[z]} {z} " + " ".join(repr(x / BOHR_IN_ANGSTROM) for x in row) + still)
    return "\n".join(lines) + "\n"
