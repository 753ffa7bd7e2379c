"""QH9's databases, made here of PySCF's matrices as its own scripts make them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import eigh

from nearsight.errors import FormatError
from nearsight.formats.qh9 import calculations, read_database, recognises
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.operators.calculation import Calculation
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from tests.formats.molecules import NUMBERS, OURS, POSITIONS, water

STABLE = "id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB, pos BLOB, Ham BLOB"
DYNAMIC = (
    "id INTEGER NOT NULL, geo_id INTEGER NOT NULL, N INTEGER, Z BLOB, pos BLOB, ekin FLOAT, epot FLOAT, etot FLOAT, "
    "time FLOAT, Ham BLOB, converged INT"
)


def row(**changes: Any) -> dict[str, Any]:
    said = {
        "id": 3,
        "N": 3,
        "Z": NUMBERS.astype(np.int32).tobytes(),
        "pos": POSITIONS.tobytes(),
        "Ham": water().hamiltonian.tobytes(),
    }
    return said | changes


def frame(step: int, **changes: Any) -> dict[str, Any]:
    return row(
        id=np.int64(77).tobytes(),
        geo_id=step,
        pos=(POSITIONS / BOHR_IN_ANGSTROM).tobytes(),
        ekin=0.01,
        epot=water().energy,
        etot=water().energy + 0.01,
        time=50.0 * step,
        converged=1,
        **changes,
    )


def write(path: Path, columns: str, *rows: dict[str, Any]) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE data ({columns})")
        for values in rows:
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO data ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
        connection.commit()
    return path


def in_hartree(calculation: Calculation) -> np.ndarray:
    return np.asarray(to_csr(calculation.require_hamiltonian()).toarray()) / HARTREE_IN_EV


def test_a_stable_molecule(tmp_path: Path) -> None:
    molecule = water()
    calculation = read_any(write(tmp_path / "QH9Stable.db", STABLE, row()))
    np.testing.assert_allclose(in_hartree(calculation), molecule.in_order(molecule.hamiltonian, OURS), atol=1e-12)
    s = molecule.in_order(molecule.overlap, OURS)
    expected = eigh(molecule.hamiltonian, molecule.overlap, eigvals_only=True)
    np.testing.assert_allclose(eigh(in_hartree(calculation), s, eigvals_only=True), expected, atol=1e-9)
    np.testing.assert_array_equal(calculation.structure.positions, POSITIONS)
    assert calculation.overlap is None
    assert calculation.energy is None
    assert calculation.basis.name == "def2-SVP"
    assert calculation.provenance["molecule"] == "QM9 3"


def test_a_trajectory_is_in_bohr_and_has_energies(tmp_path: Path) -> None:
    first, last = read_database(write(tmp_path / "QH9Dynamic_300k.db", DYNAMIC, frame(0), frame(1) | {"converged": 0}))
    np.testing.assert_allclose(first.structure.positions, POSITIONS, rtol=1e-15)
    assert first.energy == pytest.approx(water().energy * HARTREE_IN_EV, rel=1e-15)
    assert (first.provenance["molecule"], first.provenance["geometry"]) == ("QM9 77", "0")
    assert (first.provenance["scf"], last.provenance["scf"]) == ("converged", "NOT converged")
    assert last.provenance["entries"] == "row 1 of 2"


def test_numbers_of_eight_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.db", STABLE, row(Z=NUMBERS.astype(np.int64).tobytes()))
    np.testing.assert_array_equal(read_any(path).structure.numbers, NUMBERS)


def test_rows_and_their_choice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.db", STABLE, *[row(id=k) for k in (2, 5, 9, 11)])
    assert [c.provenance["molecule"] for c in read_database(path, slice(None, None, 2))] == ["QM9 2", "QM9 9"]
    assert read_database(path, -1)[0].provenance["molecule"] == "QM9 11"
    assert next(calculations(path)).provenance["molecule"] == "QM9 2"
    with pytest.raises(FormatError, match=r"a\.db: expected one calculation, got 4 rows"):
        read_any(path)
    assert read_any(path, row=1).provenance["molecule"] == "QM9 5"
    with pytest.raises(FormatError, match="expected a row from 0 to 3, got -5"):
        read_database(path, -5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Ham": b"12345"}, r"Ham: expected 4608 or 2304 bytes in Ham for shape \(24, 24\), got 5"),
        ({"Ham": None}, "expected 4608 or 2304 bytes in Ham .*, got NoneType"),
        ({"Ham": np.triu(np.ones((24, 24))).tobytes()}, "Ham: expected a symmetric matrix"),
        ({"Ham": np.full((24, 24), np.nan).tobytes()}, "Ham: expected finite numbers"),
        ({"pos": POSITIONS[:2].tobytes()}, "expected 72 or 36 bytes in pos"),
        ({"pos": (POSITIONS * 0.1).tobytes()}, "expected .* got"),
        ({"Z": np.array([92, 1, 1], dtype=np.int32).tobytes()}, "expected a basis for every element, got none for U"),
        ({"N": 0}, "expected a number of atoms in N, got 0"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "a.db", STABLE, row(), row(id=4, **change))
    with pytest.raises(FormatError, match=rf"a\.db: row 1: .*{said}"):
        read_database(path)


def test_a_file_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path / "a.db", STABLE, *[row(id=k) for k in range(30)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"a\.db: expected an SQLite database, got one that cannot be read"):
        read_database(path)


def test_the_lmdb_of_pickles_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "QH9Stable.lmdb").mkdir()
    (tmp_path / "QH9Stable.lmdb" / "data.mdb").write_bytes(b"\0" * 100)
    assert recognises(tmp_path / "QH9Stable.lmdb")
    for path in (tmp_path / "QH9Stable.lmdb", tmp_path / "QH9Stable.lmdb" / "data.mdb"):
        with pytest.raises(FormatError, match=r"QH9Stable\.lmdb.*: expected QH9's database .*give the \.db"):
            read_any(path)
