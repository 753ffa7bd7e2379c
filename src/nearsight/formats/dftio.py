"""Folders of dftio (format "dat"), from which DeePTB learns: one for each structure, maybe of several frames.

`positions.dat`, `cell.dat` (Å), `atomic_numbers.dat` and `pbc.dat` hold the structures, `basis.dat` the shells of each
element in words (`{"Si": "2s2p1d"}`), `hamiltonians.h5` and `overlaps.h5` a group for each frame with a dataset for
each block, named `i_j_Rx_Ry_Rz` with atoms from 0, in eV. Of SIESTA's runs dftio writes the half with Rx ≥ 0. Names
without the plural are dftio's earlier ones. Inside a shell the order is the internal one.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from h5py import h5d, h5s, h5t

from nearsight.atomic_files import write_text_atomically
from nearsight.elements import symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import file_if_there, read_text
from nearsight.formats.basis_words import shells_of_words
from nearsight.formats.deepx import in_a_cell, make_folder
from nearsight.formats.hdf5_files import flat_blocks
from nearsight.formats.number_tables import read_table
from nearsight.formats.options import ReadOptions
from nearsight.formats.real_space_blocks import ForeignOrbitals, from_blocks
from nearsight.formats.structure_files import check_distances
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_writing import hdf5_written_atomically
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet
from nearsight.orbitals.conventions import CP2K
from nearsight.structures.structure import Structure

_POSITIONS, _CELL, _NUMBERS, _PBC, _BASIS = "positions", "cell", "atomic_numbers", "pbc", "basis"
HAMILTONIAN, OVERLAP = "hamiltonians.h5", "overlaps.h5"
_KEY = re.compile(r"(\d{1,9})/(\d{1,9})_(\d{1,9})_(-?\d{1,7})_(-?\d{1,7})_(-?\d{1,7})")
_WORDS = re.compile(r"""["'](\w{1,3})["'] *: *["'](\w{1,40})["']""")
_TRUE = {"true": True, "1": True, "false": False, "0": False}


def recognises(path: Path) -> bool:
    """Tell whether a path is such a folder."""
    return path.is_dir() and (path / "basis.dat").is_file() and _table(path, _POSITIONS) is not None


def _table(folder: Path, name: str) -> Path | None:
    """A file by its name, or its name without the plural."""
    for own in (name, name.rstrip("s")):
        if (folder / f"{own}.dat").is_file():
            return folder / f"{own}.dat"
    return None


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one frame of a folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    options : ReadOptions
        `row` chooses the frame; it need not be given where there is only one.

    Returns
    -------
    Calculation
        H and S, where they are there.

    Raises
    ------
    FormatError
        If a file is missing or damaged, does not fit the others, or there are several frames and none is chosen.
    """
    structure, frame = _structure(path, options.row)
    basis = _basis(path / "basis.dat", structure)
    orbitals = ForeignOrbitals(structure.numbers, basis, CP2K)
    return Calculation(
        structure,
        basis,
        _matrix(path, HAMILTONIAN, frame, orbitals),
        _matrix(path, OVERLAP, frame, orbitals),
        provenance={"format": "dftio", "source": path.name, "frame": str(frame), "basis": basis.name},
    )


def _structure(folder: Path, row: int | None) -> tuple[Structure, int]:
    places, cells, numbers = (_required(folder, name) for name in (_POSITIONS, _CELL, _NUMBERS))
    z = read_table(numbers, "atomic numbers")[:, 0]
    positions, vectors = read_table(places, "positions (Å)"), read_table(cells, "cell vectors (Å)")
    frames = len(positions) // len(z)
    if positions.shape != (frames * len(z), 3):
        raise FormatError(places, f"expected positions of {len(z)} atoms in each frame, got {len(positions)} rows")
    if vectors.shape not in ((3 * frames, 3), (3, 3)):
        raise FormatError(cells, f"expected three vectors in each of {frames} frames, got {len(vectors)} rows")
    if frames > 1 and row is None:
        raise FormatError(folder, f"expected one structure, got {frames} frames; choose one (option --row, from 0)")
    frame = row or 0
    if not 0 <= frame < frames:
        raise FormatError(folder, f"expected a frame from 0 to {frames - 1}, got {frame}")
    own = vectors[3 * frame : 3 * frame + 3] if len(vectors) > 3 else vectors
    structure = Structure(z, positions[frame * len(z) : (frame + 1) * len(z)], own, _periodic(folder))
    check_distances(structure)
    return structure, frame


def _required(folder: Path, name: str) -> Path:
    found = _table(folder, name)
    if found is None:
        raise FormatError(folder, f"expected {name}.dat as dftio writes it, got none")
    return found


def _periodic(folder: Path) -> np.ndarray:
    path = _table(folder, _PBC)
    if path is None:
        return np.ones(3, dtype=bool)
    words = read_text(path, "three truth values").split()
    try:
        flags = [bool(float(w)) if w.lower() not in _TRUE else _TRUE[w.lower()] for w in words]
    except ValueError as error:
        raise FormatError(path, f"expected three truth values, got {' '.join(words)!r:.60}") from error
    if len(flags) not in (1, 3):
        raise FormatError(path, f"expected three truth values, got {len(flags)}")
    return np.broadcast_to(np.array(flags), (3,)).copy()


def _basis(path: Path, structure: Structure) -> BasisSet:
    found = dict(_WORDS.findall(read_text(path, "dftio's basis.dat")))
    if not found:
        raise FormatError(path, "expected the shells of each element, such as {'Si': '2s2p1d'}, got others")
    try:
        given = shells_of_words(found)
        basis = BasisSet("of dftio's files", dict(given.shells), {}).restricted(structure.elements)
    except InputError as error:
        raise FormatError(path, str(error)) from error
    return basis


def _matrix(folder: Path, name: str, frame: int, orbitals: ForeignOrbitals) -> BlockOperator | None:
    several, one = (file_if_there(folder / own, "dftio's matrices") for own in (name, name.replace("s.h5", ".h5")))
    path = several or one
    if path is None:
        return None
    sizes = orbitals.basis.sizes(orbitals.numbers)
    pairs: list[tuple[int, ...]] = []
    blocks: list[np.ndarray] = []
    for key, block in flat_blocks(path, f"dftio's file {path.name} with a dataset for each block"):
        found = _KEY.fullmatch(key)
        if found is None:
            raise FormatError(path, f"expected blocks with names such as 0/0_1_0_0_-1, got {key!r:.80}")
        own, i, j, x, y, z = (int(part) for part in found.groups())
        if own != frame:
            continue
        if i >= len(sizes) or j >= len(sizes):
            raise FormatError(path, f"expected atoms 0 to {len(sizes) - 1}, got the block {key}")
        if block.shape != (sizes[i], sizes[j]):
            raise FormatError(
                path,
                f"expected {sizes[i]} × {sizes[j]} numbers in the block {key}, got shape {block.shape}; is it another "
                "basis, or a matrix with spin?",
            )
        pairs.append((i, j, x, y, z))
        blocks.append(block.reshape(-1))
    if not pairs:
        raise FormatError(path, f"expected blocks of frame {frame}, got none")
    listed, values = np.array(pairs, dtype=np.int64), np.concatenate(blocks, dtype=np.float64)
    return from_blocks(path, orbitals, listed, values, half=not (listed[:, 2] < 0).any())


def write(path: Path, calculation: Calculation) -> list[Path]:
    """Write a folder with one frame.

    Parameters
    ----------
    path : pathlib.Path
        The folder; made if it is not there.
    calculation : Calculation
        Structure, basis, and H or S or both, in real space.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If there is neither H nor S, they are summed at Γ, the shells of an element are not in the order of their l, or
        a file cannot be written.
    """
    h, s = calculation.hamiltonian, calculation.overlap
    if h is None and s is None:
        raise InputError("expected H or S to write, got neither")
    if any(operator is not None and operator.folded for operator in (h, s)):
        raise InputError("expected H and S in real space for dftio, got matrices that are summed at Γ")
    words = {symbol_of(z): _words(calculation.basis, z) for z in calculation.structure.elements}
    structure = in_a_cell(calculation.structure)
    make_folder(path)
    texts = {
        "positions.dat": _rows(structure.positions),
        "cell.dat": _rows(structure.cell),
        "atomic_numbers.dat": "".join(f"{z}\n" for z in structure.numbers.tolist()),
        "pbc.dat": "".join(f"{int(flag)}\n" for flag in structure.pbc.tolist()),
        "basis.dat": str(words),
    }
    for name, text in texts.items():
        write_text_atomically(path / name, text)
    written = [path / name for name in texts]
    for operator, name in ((h, HAMILTONIAN), (s, OVERLAP)):
        if operator is not None:
            written.append(path / name)
            _write_matrix(path / name, operator)
    return written


def _words(basis: BasisSet, z: int) -> str:
    shells = basis.shells[z]
    if list(shells) != sorted(shells):
        raise InputError(f"expected shells of {symbol_of(z)} in the order of their l for dftio, got {list(shells)}")
    return "".join(f"{shells.count(l)}{SHELL_LETTERS[l]}" for l in sorted(set(shells)))


def _rows(table: np.ndarray) -> str:
    return "".join(" ".join(f"{x!r}" for x in row) + "\n" for row in table.tolist())


def _write_matrix(path: Path, operator: BlockOperator) -> None:
    with hdf5_written_atomically(path) as file:
        group = file.create_group("0").id
        for pairs in operator.element_pairs.values():
            blocks = np.ascontiguousarray(operator.stack(pairs), dtype=np.float64)
            space = h5s.create_simple(blocks.shape[1:])
            names = np.column_stack([operator.source[pairs], operator.target[pairs], operator.shift[pairs]])
            for name, block in zip(names.tolist(), blocks):
                dataset = h5d.create(group, "_".join(map(str, name)).encode(), h5t.IEEE_F64LE, space)
                dataset.write(h5s.ALL, h5s.ALL, block)
