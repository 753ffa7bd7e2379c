"""DeepH's first layout, which many codes and data sets of the field still use: a folder for each structure.

`lat.dat` holds the lattice vectors as columns (Å), `site_positions.dat` the atoms as columns, `element.dat` Z per line,
`orbital_types.dat` one line of l's per atom, `info.json` whether there is spin, and the Fermi level. `hamiltonians.h5`
(or `hamiltonians_pred.h5`, what a network made) and `overlaps.h5` have a dataset for each block ⟨i, 0|O|j, R⟩ in eV,
named `[Rx, Ry, Rz, i, j]` with atoms from 1. Inside a shell the order is OpenMX's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from h5py import h5d, h5s, h5t

from nearsight.atomic_files import write_text_atomically
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import file_if_there, read_text
from nearsight.formats.deepx import (
    OwnWords,
    charge_of,
    count,
    in_a_cell,
    make_folder,
    of_orthogonal,
    optional_number,
    own_words,
    read_json,
    read_own_words,
)
from nearsight.formats.hdf5_files import flat_blocks
from nearsight.formats.number_tables import read_table
from nearsight.formats.options import ReadOptions
from nearsight.formats.real_space_blocks import ForeignOrbitals, from_blocks
from nearsight.formats.sniffing import is_folder_of
from nearsight.formats.structure_files import check_distances
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_writing import hdf5_written_atomically
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet
from nearsight.orbitals.conventions import OPENMX, from_internal_order
from nearsight.structures.structure import Structure

LATTICE, RECIPROCAL, POSITIONS, ELEMENTS, SHELLS, INFO = (
    "lat.dat",
    "rlat.dat",
    "site_positions.dat",
    "element.dat",
    "orbital_types.dat",
    "info.json",
)
OVERLAP, HAMILTONIAN, PREDICTION = "overlaps.h5", "hamiltonians.h5", "hamiltonians_pred.h5"
_MATRICES = (HAMILTONIAN, PREDICTION, OVERLAP)
_KEY = re.compile(r"\[ *(-?\d{1,7}), *(-?\d{1,7}), *(-?\d{1,7}), *(\d{1,9}), *(\d{1,9}) *\]")


def recognises(path: Path) -> bool:
    """Tell whether a path is such a folder, or one of its matrices."""
    return is_folder_of(path, SHELLS, _MATRICES)


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder, or one of its two Hamiltonians.
    options : ReadOptions
        `overlap` takes the place of overlaps.h5, `cell` that of lat.dat.

    Returns
    -------
    Calculation
        H (its Hermitian part where it is a prediction) and S, where they are there.

    Raises
    ------
    FormatError
        If a file is missing or damaged, does not fit the others, or there is spin.
    """
    folder = path if path.is_dir() else path.parent
    said, own = _read_info(folder)
    structure = _structure(folder, options, own)
    basis = _basis(folder / SHELLS, structure, own)
    _check_counts(folder / INFO, said, structure, basis)
    orbitals = ForeignOrbitals(structure.numbers, basis, OPENMX)
    named = path if path.name in (HAMILTONIAN, PREDICTION) and path.is_file() else None
    beside = (file_if_there(folder / name, "DeepH's file of H") for name in (HAMILTONIAN, PREDICTION))
    source = named or next((file for file in beside if file is not None), None)
    overlap_file = options.overlap or file_if_there(folder / OVERLAP, "DeepH's file of S")
    h = None if source is None else _read_matrix(source, orbitals, "H", hermitian=source.name != PREDICTION)
    s = None if overlap_file is None else _read_matrix(overlap_file, orbitals, "S")
    s = of_orthogonal(folder / INFO, said.get("isorthogonal") is True, orbitals, s)
    words = {"format": "DeepH (first layout)", "source": folder.name, "basis": basis.name}
    if source is not None and source.name == PREDICTION:
        words["hamiltonian"] = "a prediction; its Hermitian part"
    fermi = optional_number(folder / INFO, said, "fermi_level")
    charge = charge_of(folder / INFO, own, None, basis, structure)
    return Calculation(structure, basis, h, s, fermi=fermi, charge=charge, provenance=words)


def _check_counts(path: Path, said: Mapping[str, Any], structure: Structure, basis: BasisSet) -> None:
    known = {"nsites": len(structure), "norbits": int(basis.offsets(structure.numbers)[-1])}
    for key, expected in known.items():
        if count(path, said, key) not in (None, expected):
            raise FormatError(path, f"expected {key} {expected} as in the other files of the folder, got {said[key]}")


def _read_info(folder: Path) -> tuple[dict[str, Any], OwnWords]:
    """What stands there and what nearsight added, of a file that may be missing and must not speak of spin."""
    path = folder / INFO
    said = {} if file_if_there(path, "DeepH's info.json") is None else read_json(path, "DeepH's info.json")
    if said.get("isspinful", False) is not False:
        raise FormatError(
            path, "expected matrices without spin, got spinful matrices; spin and spin-orbit coupling are not supported"
        )
    return said, read_own_words(path, said)


def _structure(folder: Path, options: ReadOptions, own: OwnWords) -> Structure:
    cell = read_table(folder / LATTICE, "lattice vectors as columns (Å)", 3).T
    positions = read_table(folder / POSITIONS, "positions of the atoms as columns (Å)", 3).T
    numbers = read_table(folder / ELEMENTS, "one atomic number per line")[:, 0]
    if len(numbers) != len(positions):
        raise FormatError(folder / ELEMENTS, f"expected {len(positions)} atoms as in {POSITIONS}, got {len(numbers)}")
    if cell.shape != (3, 3):
        raise FormatError(folder / LATTICE, f"expected three lattice vectors, got {len(cell)}")
    reciprocal = file_if_there(folder / RECIPROCAL, "reciprocal lattice vectors")
    if reciprocal is not None:
        _check_reciprocal(reciprocal, cell)
    pbc = np.full(3, not options.isolated) & np.array(own.pbc or (True, True, True))
    structure = Structure(numbers, positions, cell if options.cell is None else options.cell, pbc)
    check_distances(structure)
    return structure


def _check_reciprocal(path: Path, cell: np.ndarray) -> None:
    """That of another cell, or of a transposed one, shows that files were mixed or changed."""
    columns = read_table(path, "reciprocal lattice vectors as columns (1/Å)", 3)
    product = cell @ columns if columns.shape == (3, 3) else np.zeros((3, 3))
    if np.abs(product - 2 * np.pi * np.eye(3)).max() > 1e-2:
        raise FormatError(
            path, f"expected the reciprocal lattice of {LATTICE} (both with vectors as columns), got another one"
        )


def _basis(path: Path, structure: Structure, own_words: OwnWords) -> BasisSet:
    lines = [line.split() for line in read_text(path, "one line of l's per atom", largest=1 << 28).splitlines()]
    lines = [line for line in lines if line]
    if len(lines) != len(structure):
        raise FormatError(path, f"expected a line of l's for each of {len(structure)} atoms, got {len(lines)}")
    shells: dict[int, tuple[int, ...]] = {}
    for atom, (z, line) in enumerate(zip(structure.numbers.tolist(), lines)):
        if not all(part.isascii() and part.isdigit() and int(part) < len(SHELL_LETTERS) for part in line[:200]):
            raise FormatError(path, f"expected l's such as `0 0 1` for atom {atom}, got {' '.join(line)!r:.80}")
        own = tuple(int(part) for part in line[:200])
        if shells.setdefault(z, own) != own:
            raise FormatError(
                path,
                f"expected the same shells for all atoms of an element, got {own} for atom {atom} after {shells[z]}",
            )
    return BasisSet(own_words.basis or "of DeepH's files", shells, own_words.valence_of(shells))


def _read_matrix(path: Path, orbitals: ForeignOrbitals, name: str, hermitian: bool = True) -> BlockOperator:
    expected = f"DeepH's file of {name} with a dataset for each block"
    sizes = orbitals.basis.sizes(orbitals.numbers)
    pairs: list[tuple[int, ...]] = []
    blocks: list[np.ndarray] = []
    for key, block in flat_blocks(path, expected):
        found = _KEY.fullmatch(key)
        if found is None:
            raise FormatError(path, f"expected blocks with names such as [0, 0, -1, 1, 2], got {key!r:.80}")
        x, y, z, i, j = (int(part) for part in found.groups())
        if not (1 <= i <= len(sizes) and 1 <= j <= len(sizes)):
            raise FormatError(path, f"expected atoms 1 to {len(sizes)}, got the block {key}")
        if block.shape != (sizes[i - 1], sizes[j - 1]):
            raise FormatError(
                path,
                f"expected {sizes[i - 1]} × {sizes[j - 1]} numbers in the block {key}, got shape {block.shape}; is it "
                "another basis, or a matrix with spin?",
            )
        pairs.append((i - 1, j - 1, x, y, z))
        blocks.append(block.reshape(-1))
    values = np.concatenate(blocks, dtype=np.float64) if blocks else np.zeros(0)
    del blocks
    listed = np.array(pairs, dtype=np.int64).reshape(-1, 5)
    return from_blocks(path, orbitals, listed, values, hermitian=hermitian)


def write(path: Path, calculation: Calculation, *, prediction: bool = False) -> list[Path]:
    """Write a folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder; made if it is not there.
    calculation : Calculation
        Structure, basis, and H or S or both, in real space.
    prediction : bool, default False
        Whether H is written as `hamiltonians_pred.h5`.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If there is neither H nor S, they are summed at Γ, or a file cannot be written.
    """
    h, s = calculation.hamiltonian, calculation.overlap
    if h is None and s is None:
        raise InputError("expected H or S to write, got neither")
    if any(operator is not None and operator.folded for operator in (h, s)):
        raise InputError(
            "expected H and S in real space for DeepH's first layout, got matrices that are summed at Γ; "
            "deepx can say that they are"
        )
    structure = in_a_cell(calculation.structure)
    make_folder(path)
    shells = [calculation.basis.shells[z] for z in structure.numbers.tolist()]
    reciprocal = 2 * np.pi * np.linalg.inv(structure.cell)
    texts = {
        LATTICE: _columns(structure.cell.T),
        RECIPROCAL: _columns(reciprocal),
        POSITIONS: _columns(structure.positions.T),
        ELEMENTS: "".join(f"{z}\n" for z in structure.numbers.tolist()),
        SHELLS: "".join("  ".join(map(str, ls)) + "\n" for ls in shells),
        INFO: _info(calculation),
    }
    for name, text in texts.items():
        write_text_atomically(path / name, text)
    written = [path / name for name in texts]
    for operator, name in ((s, OVERLAP), (h, PREDICTION if prediction else HAMILTONIAN)):
        if operator is not None:
            written.append(path / name)
            _write_matrix(path / name, operator)
    return written


def _columns(table: np.ndarray) -> str:
    return "".join(" ".join(f"{x!r}" for x in row) + "\n" for row in table.tolist())


def _info(calculation: Calculation) -> str:
    said = {
        "nsites": len(calculation.structure),
        "isorthogonal": False,
        "isspinful": False,
        "norbits": int(calculation.basis.offsets(calculation.structure.numbers)[-1]),
    }
    level = {} if calculation.fermi is None else {"fermi_level": calculation.fermi}
    return json.dumps(said | level | own_words(calculation)) + "\n"


def _write_matrix(path: Path, operator: BlockOperator) -> None:
    atoms = {z: from_internal_order(OPENMX, operator.basis, np.array([z])) for z in {int(z) for z in operator.numbers}}
    with hdf5_written_atomically(path) as file:
        for (zi, zj), pairs in operator.element_pairs.items():
            (rows, _), (columns, _) = atoms[zi], atoms[zj]
            space = h5s.create_simple((len(rows), len(columns)))
            for first in range(0, len(pairs), 1 << 13):
                some = pairs[first : first + (1 << 13)]
                blocks = np.ascontiguousarray(operator.stack(some)[:, rows[:, None], columns], dtype=np.float64)
                names = np.column_stack([operator.shift[some], operator.source[some] + 1, operator.target[some] + 1])
                for name, block in zip(names.tolist(), blocks):
                    dataset = h5d.create(file.id, str(name).encode(), h5t.IEEE_F64LE, space)
                    dataset.write(h5s.ALL, h5s.ALL, block)
