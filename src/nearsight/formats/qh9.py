"""QH9, databases of molecules of QM9 in B3LYP/def2-SVP: QH9Stable.db and QH9Dynamic_*.db.

The format is that of the repository divelab/AIRS (OpenDFT/QHBench/QH9: datasets.py, dataset_generation_examples):
SQLite with one table `data`. Its columns are `id` (of the molecule in QM9), `N` (atoms), and the raw little-endian
bytes of `Z` (N, int32), `pos` (N, 3, float64) and `Ham` (n, n, float64, the Fock matrix in Hartree); for trajectories
also `geo_id`, `ekin`, `epot`, `etot` (Hartree), `time` and `converged`. Positions are in Å, those of trajectories in
Bohr. Orbitals are in PySCF's order. There is no overlap. The LMDB that AIRS makes of such a file holds pickles and is
not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.errors import FormatError, InputError
from nearsight.formats import sqlite_file
from nearsight.formats.dense_matrices import from_dense
from nearsight.formats.options import ReadOptions
from nearsight.formats.sqlite_file import Rows, chosen, only_row, reading_row
from nearsight.formats.structure_files import check_distances
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import def2_svp
from nearsight.orbitals.conventions import PYSCF
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

_NEEDED = ("id", "N", "Z", "pos", "Ham")
_WANTED = (*_NEEDED, "geo_id", "epot", "converged")

Row = Mapping[str, Any]


def recognises(path: Path) -> bool:
    """Tell whether a path is such a database, or the LMDB that is made of one."""
    return _is_lmdb(path) or set(_NEEDED) <= set(sqlite_file.columns(path, "data"))


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one calculation of a database.

    Parameters
    ----------
    path : pathlib.Path
        The database.
    options : ReadOptions
        `row` chooses the calculation; it need not be given where there is only one.

    Returns
    -------
    Calculation
        The molecule and its H.

    Raises
    ------
    FormatError
        If there is no such row, there are several and none is chosen, or it is damaged.
    """
    (calculation,) = calculations(path, only_row(path, options.row, count_rows(path)))
    return calculation


def read_database(path: str | Path, rows: Rows = slice(None)) -> list[Calculation]:
    """Read some calculations of a database.

    Parameters
    ----------
    path : str or pathlib.Path
        The database.
    rows : int or slice
        One row by its position from 0, or several; by default all.

    Returns
    -------
    list of Calculation
        One for each row.

    Raises
    ------
    FormatError
        If it is not such a database, there is no such row, or one is damaged.
    """
    return list(calculations(Path(path), rows))


def count_rows(path: Path) -> int:
    """Return the number of calculations in a database."""
    _refuse_lmdb(path)
    with sqlite_file.opened(path) as connection:
        return len(sqlite_file.row_ids(connection, "data"))


def calculations(path: Path, rows: Rows = slice(None)) -> Iterator[Calculation]:
    """Yield one calculation after another, each read when it is asked for.

    Parameters
    ----------
    path : pathlib.Path
        The database.
    rows : int or slice
        As in `read_database`.

    Yields
    ------
    Calculation
        The molecule and its H.

    Raises
    ------
    FormatError
        As in `read_database`.
    """
    _refuse_lmdb(path)
    names = [name for name in _WANTED if name in sqlite_file.columns(path, "data")]
    with sqlite_file.opened(path) as connection:
        identifiers = sqlite_file.row_ids(connection, "data")
        query = f"SELECT {', '.join(names)} FROM data WHERE rowid = ?"
        for row in chosen(path, rows, len(identifiers)):
            with reading_row(path, row):
                values = dict(zip(names, connection.execute(query, (identifiers[row],)).fetchone(), strict=True))
                yield _calculation(path, values, f"{row} of {len(identifiers)}")


def _calculation(path: Path, row: Row, position: str) -> Calculation:
    structure = _structure(row)
    basis = def2_svp().restricted(structure.elements)
    n = int(basis.offsets(structure.numbers)[-1])
    try:
        hamiltonian = from_dense(_array(row, "Ham", (n, n), "f"), structure.numbers, basis, PYSCF)
    except InputError as error:
        raise InputError(f"Ham: {error}") from error
    energy = row.get("epot")
    if energy is not None and (not isinstance(energy, (int, float)) or not math.isfinite(energy)):
        raise InputError(f"expected a finite number in epot, got {energy!r:.80}")
    return Calculation(
        structure,
        basis,
        hamiltonian.with_values(hamiltonian.values * HARTREE_IN_EV),
        energy=None if energy is None else float(energy) * HARTREE_IN_EV,
        provenance=_provenance(path, row, position),
    )


def _structure(row: Row) -> Structure:
    n = row["N"]
    if not isinstance(n, int) or n < 1:
        raise InputError(f"expected a number of atoms in N, got {n!r}")
    unit = BOHR_IN_ANGSTROM if "geo_id" in row else 1.0
    positions = _array(row, "pos", (n, 3), "f") * unit
    structure = Structure(_array(row, "Z", (n,), "i"), positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    check_distances(structure)
    return structure


def _array(row: Row, name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Raw bytes as an array; 4 or 8 bytes a number, as their count says."""
    raw, count = row[name], math.prod(shape)
    if not isinstance(raw, bytes) or len(raw) not in (4 * count, 8 * count):
        got = f"{len(raw)}" if isinstance(raw, bytes) else f"{type(raw).__name__}"
        raise InputError(f"expected {8 * count} or {4 * count} bytes in {name} for shape {shape}, got {got}")
    return np.frombuffer(raw, dtype=f"<{kind}{len(raw) // count}").reshape(shape)


def _provenance(path: Path, row: Row, position: str) -> dict[str, str]:
    said = {
        "format": "QH9 database",
        "source": path.name,
        "entries": f"row {position}",
        "settings": "B3LYP/def2-SVP",
        "code": "PySCF",
        "molecule": f"QM9 {_whole(row['id'])}",
    }
    if "geo_id" in row:
        said["geometry"] = str(_whole(row["geo_id"]))
    if row.get("converged") is not None:
        said["scf"] = "converged" if _whole(row["converged"]) else "NOT converged"
    return said


def _whole(value: Any) -> int | str:
    """A whole number; NumPy's reach SQLite as their bytes."""
    if isinstance(value, bytes):
        return int.from_bytes(value, "little", signed=True)
    return value if isinstance(value, int) else str(value)


def _is_lmdb(path: Path) -> bool:
    return (path.is_dir() and (path / "data.mdb").is_file()) or (path.is_file() and path.name == "data.mdb")


def _refuse_lmdb(path: Path) -> None:
    if _is_lmdb(path):
        raise FormatError(
            path,
            "expected QH9's database as it is published (QH9Stable.db, QH9Dynamic_*.db), got the LMDB made of it; its "
            "pickles can run any program and are not read: give the .db",
        )
