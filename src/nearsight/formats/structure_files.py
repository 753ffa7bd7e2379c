"""Structures from files: xyz, extended xyz, CP2K inputs, stores, and whatever ASE reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import reading, require_readable
from nearsight.formats.ase_files import read_with_ase
from nearsight.formats.cp2k_input import is_input, read_input
from nearsight.formats.npz_file import Kind, read_arrays
from nearsight.formats.sniffing import first_bytes
from nearsight.formats.xyz import read_xyz
from nearsight.operators.store import is_store, read_calculation
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import MINIMUM_DISTANCE, Structure

_TEXTS = (".in", ".input", ".cp2k", ".txt", "")
"""Suffixes that inputs of CP2K have besides .inp; other programs' have them too."""


def read_structure(
    path: str | Path, cell: np.ndarray | None = None, *, isolated: bool = False, ghosts: Sequence[str] = ("X",)
) -> Structure:
    """Read the structure in a file.

    Parameters
    ----------
    path : str or pathlib.Path
        xyz, extended xyz, CP2K input (.inp), store (.h5), .npz with `numbers`, or anything that ASE reads.
    cell : array of float, optional
        Å, instead of the file's: (3,) edges, (9,) or (3, 3) rows = vectors.
    isolated : bool, default False
        Whether the structure is not periodic and needs no cell.
    ghosts : sequence of str
        Symbols of ghosts in xyz files; with `V` among them, vanadium is written `Va`.

    Returns
    -------
    Structure
        Atoms and cell.

    Raises
    ------
    FormatError
        If the file is not what it should be, or holds a structure that cannot be (no cell, a cell without volume, atoms
        on top of each other).
    """
    path = Path(path)
    given = None if cell is None else as_cell(cell)
    require_readable(path, "a structure")
    with reading(path, "a structure"):
        structure = _read(path, given, isolated, ghosts)
        if isolated:
            structure = Structure(structure.numbers, structure.positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
        elif given is not None:
            structure = Structure(
                structure.numbers,
                structure.positions,
                given,
                structure.pbc if structure.pbc.any() else np.ones(3, dtype=bool),
            )
        check_distances(structure)
    return structure


def check_distances(structure: Structure) -> None:
    """Check that no two atoms (or an atom and an image) are on top of each other.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.

    Raises
    ------
    InputError
        If two are nearer than `MINIMUM_DISTANCE`.
    """
    build_graph(structure, MINIMUM_DISTANCE)


def as_cell(cell: np.ndarray | Sequence[float]) -> np.ndarray:
    """Make a cell of 1 (cube), 3 (edges) or 9 numbers.

    Parameters
    ----------
    cell : array or sequence of float
        Å.

    Returns
    -------
    (3, 3) array of float64
        Lattice vectors as rows, Å.

    Raises
    ------
    InputError
        If there are not 1, 3 or 9 numbers, or the cell has no volume.
    """
    numbers = np.asarray(cell, dtype=np.float64).reshape(-1)
    if numbers.size not in (1, 3, 9):
        raise InputError(f"expected 1, 3 or 9 numbers for a cell (Å), got {numbers.size}")
    matrix = numbers.reshape(3, 3) if numbers.size == 9 else np.diag(np.broadcast_to(numbers, (3,)))
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
        raise InputError(f"expected a cell with volume (Å, rows = vectors), got {matrix.tolist()}")
    return matrix


def parse_cell(text: str) -> np.ndarray | None:
    """Parse a cell as it is written on a command line.

    Parameters
    ----------
    text : str
        1, 3 or 9 numbers (Å) with spaces or commas, or `none`.

    Returns
    -------
    (3, 3) array of float64 or None
        Lattice vectors as rows, Å; None for `none`, an isolated structure.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if text.strip().lower() == "none":
        return None
    try:
        return as_cell([float(word) for word in re.split(r"[\s,;]+", text.strip(" []\n\t"))])
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"expected a cell such as `16.5`, `10 10 20`, nine numbers (Å) or `none`, got {text!r}"
        ) from None


def _read(path: Path, cell: np.ndarray | None, isolated: bool, ghosts: Sequence[str]) -> Structure:
    if is_store(path):
        return read_calculation(path, hamiltonian=False, overlap=False, h0=False).structure
    if path.suffix.lower() in (".xyz", ".extxyz"):
        return read_xyz(path, cell, isolated, ghosts)
    if path.suffix.lower() == ".inp" or (path.suffix.lower() in _TEXTS and is_input(path)):
        return _of_input(path)
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    first_bytes(path, "a structure (xyz, extxyz, CP2K input, .h5, or a format that ASE knows)")
    return _read_with_ase(path, np.eye(3) if isolated else cell)


def _of_input(path: Path) -> Structure:
    """The atoms as written, where CP2K takes no others; that they move afterwards does not matter."""
    given = read_input(path)
    open_ = [reason for reason in given.leaves_open if not reason.startswith("RUN_TYPE")]
    if open_:
        raise FormatError(
            path,
            f"expected an input that settles atoms and cell, got one with {', '.join(open_)}; give them as xyz, or "
            "import the run, whose output says them",
        )
    return given.structure


def _read_npz(path: Path) -> Structure:
    expected = "an archive with numbers, positions_ang and cell_ang"
    with reading(path, expected):
        wanted: dict[str, tuple[Kind, int]] = {"numbers": ("float", 1), "positions_ang": ("float", 2)}
        data = read_arrays(path, {**wanted, "cell_ang": ("float", 2)}, expected)
        if len(data) < 3:
            raise FormatError(path, f"expected {expected}, got {', '.join(data) or 'none of them'}")
        return Structure(data["numbers"], data["positions_ang"], data["cell_ang"], np.ones(3, dtype=bool))


def _read_with_ase(path: Path, cell: np.ndarray | None) -> Structure:
    found = read_with_ase(path)
    if cell is None and not found.pbc.any():
        raise FormatError(
            path,
            "expected a cell, got a file without; give it (--cell), or say that it is an isolated "
            "molecule (--cell none)",
        )
    return Structure(
        found.numbers,
        found.positions,
        found.cell if cell is None else cell,
        found.pbc if cell is None else np.ones(3, dtype=bool),
    )
