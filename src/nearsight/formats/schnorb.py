"""Databases of molecules as SchNOrb wrote them and PhiSNet, QHNet and others read them (MD17: water, ethanol, …).

The format is that of the repository atomistic-machine-learning/SchNOrb (src/schnorb/data.py,
scripts/extract_data.py): a database of ASE with Å in its rows and in the `data` of each `hamiltonian` and `overlap`
(n, n), mostly float32, `energy` and `forces`, in Hartree and Å. An array is ASE's own, or raw bytes in base64 beside
`_shape_NAME` and `_dtype_NAME` (old SchNetPack). The metadata have `basisdef` (elements, functions, 5), with (index,
type, n, l, m) of each function and n = 0 where there is none; `mean_energy` and `energy_offset`, which the writer
subtracted from the energies; and, after SchNetPack 2's `spkconvert`, the units. The order of m says which code it
was: ORCA, or FHI-aims. Without `basisdef`, it is ORCA's def2-SVP, as PhiSNet (transform_hamiltonians.py) and QHNet of
divelab/AIRS (ori_dataset.py) take it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.elements import symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.formats import sqlite_file
from nearsight.formats.dense_matrices import check_shells, from_dense
from nearsight.formats.options import ReadOptions
from nearsight.formats.sqlite_file import Rows, chosen, only_row, reading_row
from nearsight.formats.structure_files import check_distances
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet, def2_svp
from nearsight.orbitals.conventions import AIMS, ORCA, OrbitalConvention
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

_ENERGIES = {"hartree": HARTREE_IN_EV, "ha": HARTREE_IN_EV, "ev": 1.0}
_LENGTHS = {"angstrom": 1.0, "ang": 1.0, "a": 1.0, "bohr": BOHR_IN_ANGSTROM}


@dataclass(frozen=True)
class _Header:
    """What the database says about all of its rows."""

    basis: BasisSet
    convention: OrbitalConvention
    energy_unit: float
    length_unit: float
    energy_shift: float


def recognises(path: Path) -> bool:
    """Tell whether a path is a database of ASE's."""
    return "data" in sqlite_file.columns(path, "systems")


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
        The molecule with H and S.

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
    with sqlite_file.opened(path) as connection:
        return len(sqlite_file.row_ids(connection, "systems"))


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
        The molecule with H and S.

    Raises
    ------
    FormatError
        As in `read_database`.
    """
    with sqlite_file.opened(path) as connection:
        identifiers = sqlite_file.row_ids(connection, "systems")
    positions = chosen(path, rows, len(identifiers))
    with _ase_database(path) as database:
        header: _Header | None = None
        for row in positions:
            with reading_row(path, row):
                atoms, data = _fetch(database, identifiers[row])
                header = header or _header(path, database.metadata)
                yield _calculation(path, header, atoms, data, f"{row} of {len(identifiers)}")


@contextmanager
def _ase_database(path: Path) -> Iterator[Any]:
    import ase.db  # not needed for any other format

    with ase.db.connect(path, type="db", use_lock_file=False) as database:
        yield database


def _fetch(database: Any, identifier: int) -> tuple[Any, Mapping[str, Any]]:
    """ASE's row and its data."""
    try:
        row = database.get(id=identifier)
        return row, row.data
    except Exception as error:  # ASE's decoding raises whatever comes up
        raise InputError(
            f"expected a row of ASE's, got one that cannot be decoded ({type(error).__name__}: {error})"
        ) from error


def _calculation(path: Path, header: _Header, row: Any, data: Mapping[str, Any], position: str) -> Calculation:
    structure = Structure(row.numbers, row.positions * header.length_unit, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    check_distances(structure)
    hamiltonian = _operator(header, data, "hamiltonian", structure)
    overlap = _operator(header, data, "overlap", structure) if "overlap" in data else None
    if overlap is not None:
        check_shells(overlap)
    return Calculation(
        structure,
        header.basis.restricted(structure.elements),
        hamiltonian.with_values(hamiltonian.values * header.energy_unit),
        overlap,
        energy=_energy(header, data),
        provenance={
            "format": "SchNOrb database",
            "source": path.name,
            "entries": f"row {position}",
            "orbitals": f"{header.convention.name}'s order",
        },
    )


def _operator(header: _Header, data: Mapping[str, Any], name: str, structure: Structure) -> BlockOperator:
    try:
        return from_dense(_array(data, name), structure.numbers, header.basis, header.convention)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _energy(header: _Header, data: Mapping[str, Any]) -> float | None:
    """eV, with what the writer subtracted."""
    if "energy" not in data:
        return None
    energy = _array(data, "energy").reshape(-1)
    if energy.size != 1 or not np.isfinite(energy).all():
        raise InputError(f"energy: expected one finite number, got {energy}")
    return float(energy[0]) * header.energy_unit + header.energy_shift


def _array(data: Mapping[str, Any], name: str) -> np.ndarray:
    """An array of a row's data, in either encoding."""
    if name not in data:
        raise InputError(f"expected {name} in the row's data, got {', '.join(sorted(data)) or 'none'}")
    value = data[name]
    if not isinstance(value, str | bytes):
        return np.asarray(value, dtype=np.float64)
    missing = [key for key in (f"_shape_{name}", f"_dtype_{name}") if key not in data]
    if missing:
        raise InputError(f"expected {' and '.join(missing)} beside the raw bytes of {name}, got none")
    shape, kind = data[f"_shape_{name}"], data[f"_dtype_{name}"]
    try:
        array = np.frombuffer(b64decode(value, validate=True), dtype=np.dtype(kind)).reshape(tuple(shape))
        return array.astype(np.float64)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InputError(
            f"expected {name} as {kind} of shape {shape} in base64, got something else ({error})"
        ) from error


def _header(path: Path, metadata: Mapping[str, Any]) -> _Header:
    units = metadata.get("_property_unit_dict") or {}
    energy = _unit(path, _ENERGIES, units.get("hamiltonian") or "Hartree")
    shift = sum(float(np.sum(metadata.get(key) or 0.0)) for key in ("mean_energy", "energy_offset")) * energy
    length = _unit(path, _LENGTHS, metadata.get("_distance_unit") or "Angstrom")
    if "basisdef" not in metadata:
        return _Header(def2_svp(), ORCA, energy, length, shift)
    basis, convention = _basis(path, metadata["basisdef"])
    return _Header(basis, convention, energy, length, shift)


def _unit(path: Path, known: Mapping[str, float], name: str) -> float:
    if str(name).lower() not in known:
        raise FormatError(path, f"expected one of the units {', '.join(known)} in the metadata, got {name}")
    return known[str(name).lower()]


def _basis(path: Path, definition: Any) -> tuple[BasisSet, OrbitalConvention]:
    """Shells of each element and the order inside them."""
    try:
        table = np.asarray(definition, dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise FormatError(path, f"expected `basisdef` in the metadata as whole numbers, got {error}") from error
    if table.ndim != 3 or table.shape[2] != 5:
        raise FormatError(path, f"expected `basisdef` of shape (elements, functions, 5), got {table.shape}")
    functions = {z: rows[rows[:, 2] > 0] for z, rows in enumerate(table) if (rows[:, 2] > 0).any()}
    shells = {z: _shells(path, z, rows[:, 3]) for z, rows in functions.items()}
    if not shells:
        raise FormatError(path, "expected functions in `basisdef`, got none")
    for convention in (ORCA, AIMS):
        if all(_in_order(convention, shells[z], rows[:, 4]) for z, rows in functions.items()):
            known = def2_svp().shells
            same = all(known.get(z) == ls for z, ls in shells.items())
            return BasisSet(def2_svp().name if same else f"of {path.name}", shells, {z: z for z in shells}), convention
    raise FormatError(path, "expected m in ORCA's order (0, 1, −1, …) or FHI-aims' (−l … l) in `basisdef`, got another")


def _shells(path: Path, number: int, degrees: np.ndarray) -> tuple[int, ...]:
    """l of each shell from l of each function."""
    shells: list[int] = []
    at = 0
    while at < len(degrees):
        l = int(degrees[at])
        if l < 0 or not np.array_equal(degrees[at : at + 2 * l + 1], np.full(2 * l + 1, l)):
            raise FormatError(
                path, f"expected whole shells of {symbol_of(number)} in `basisdef`, got l = {degrees.tolist()}"
            )
        shells.append(l)
        at += 2 * l + 1
    return tuple(shells)


def _in_order(convention: OrbitalConvention, shells: tuple[int, ...], m: np.ndarray) -> bool:
    return all(l in convention.order for l in shells) and m.tolist() == [k for l in shells for k in convention.order[l]]
