"""Databases as SchNOrb writes them, made here of PySCF's matrices in ORCA's order."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.db import connect
from scipy.linalg import eigh

from nearsight.errors import FormatError
from nearsight.formats.registry import read_any
from nearsight.formats.schnorb import calculations, read_database, recognises
from nearsight.operators.bloch import to_csr
from nearsight.operators.calculation import Calculation
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from tests.formats.molecules import IN_ORCA, NUMBERS, OURS, POSITIONS, SHELLS, Molecule, water

ORCA_M = {0: [0], 1: [0, 1, -1], 2: [0, 1, -1, 2, -2]}
OURS_M = {0: [0], 1: [-1, 0, 1], 2: [-2, -1, 0, 1, 2]}


def basisdef(order: Mapping[int, list[int]] = ORCA_M, shells: Mapping[int, tuple[int, ...]] = SHELLS) -> list[Any]:
    """(elements, functions, 5): index, type, n, l, m; n = 0 where there is no function."""
    table = np.zeros((9, 14, 5), dtype=int)
    for z, ls in shells.items():
        rows = [(0, ls[: k + 1].count(l) + l, l, m) for k, l in enumerate(ls) for m in order[l]]
        table[z, : len(rows), 1:] = rows
        table[z, : len(rows), 0] = np.arange(len(rows))
    return table.tolist()


def raw(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """As SchNetPack before version 1 puts arrays into a row: bytes in base64."""
    data: dict[str, Any] = {}
    for name, array in arrays.items():
        data[name] = b64encode(array.tobytes()).decode()
        data["_shape_" + name], data["_dtype_" + name] = array.shape, str(array.dtype)
    return data


def arrays_of(molecule: Molecule, kind: str = "float64") -> dict[str, np.ndarray]:
    return {
        "hamiltonian": molecule.in_order(molecule.hamiltonian, IN_ORCA).astype(kind),
        "overlap": molecule.in_order(molecule.overlap, IN_ORCA).astype(kind),
        "energy": np.array([molecule.energy]),
        "forces": np.zeros((3, 3)),
    }


def write(path: Path, *rows: dict[str, Any], **metadata: Any) -> Path:
    """A database with water in each row."""
    with connect(path, type="db", use_lock_file=False) as database:
        for data in rows:
            database.write(Atoms(NUMBERS, POSITIONS), data=data)
        database.metadata = {"basisdef": basisdef(), **metadata}
    return path


def in_hartree(calculation: Calculation) -> np.ndarray:
    return np.asarray(to_csr(calculation.require_hamiltonian()).toarray()) / HARTREE_IN_EV


@pytest.mark.parametrize("encoded", [raw, dict])
def test_matrices_and_levels_are_pyscfs(tmp_path: Path, encoded: Any) -> None:
    molecule = water()
    path = write(tmp_path / "water.db", encoded(arrays_of(molecule)))
    (calculation,) = read_database(path)
    s = to_csr(calculation.require_overlap()).toarray()
    np.testing.assert_allclose(in_hartree(calculation), molecule.in_order(molecule.hamiltonian, OURS), atol=1e-12)
    np.testing.assert_allclose(s, molecule.in_order(molecule.overlap, OURS), atol=1e-12)
    expected = eigh(molecule.hamiltonian, molecule.overlap, eigvals_only=True)
    np.testing.assert_allclose(eigh(in_hartree(calculation), s, eigvals_only=True), expected, atol=1e-9)
    assert calculation.energy == pytest.approx(molecule.energy * HARTREE_IN_EV, abs=1e-9)
    assert calculation.basis.name == "def2-SVP"
    assert calculation.basis.shells == SHELLS
    assert calculation.basis.n_electrons(NUMBERS) == 10
    assert not calculation.structure.pbc.any()
    np.testing.assert_array_equal(calculation.structure.positions, POSITIONS)


def test_blocks_are_of_an_isolated_molecule_and_symmetric(tmp_path: Path) -> None:
    (calculation,) = read_database(write(tmp_path / "a.db", raw(arrays_of(water(), "float32"))))
    h = calculation.require_hamiltonian()
    assert not h.folded
    assert h.n_pairs == 9
    assert not h.shift.any()
    for pair, mirror in enumerate(h.reverse):
        block, other = h.stack(np.array([pair]))[0], h.stack(np.array([mirror]))[0]
        np.testing.assert_array_equal(block, other.T)


def test_single_precision_costs_its_rounding(tmp_path: Path) -> None:
    molecule = water()
    (calculation,) = read_database(write(tmp_path / "a.db", raw(arrays_of(molecule, "float32"))))
    error = np.abs(in_hartree(calculation) - molecule.in_order(molecule.hamiltonian, OURS)).max()
    assert 0 < error < 2e-6


def test_what_was_subtracted_from_energies_is_added_again(tmp_path: Path) -> None:
    arrays = arrays_of(water()) | {"energy": np.array([water().energy + 76.0 - 0.5])}
    (calculation,) = read_database(write(tmp_path / "a.db", raw(arrays), mean_energy=0.5, energy_offset=-76.0))
    assert calculation.energy == pytest.approx(water().energy * HARTREE_IN_EV, abs=1e-9)


def test_units_of_schnetpack_2(tmp_path: Path) -> None:
    units = {"energy": "eV", "hamiltonian": "eV", "overlap": "dimensionless"}
    path = write(tmp_path / "a.db", dict(arrays_of(water())), _property_unit_dict=units, _distance_unit="Bohr")
    (calculation,) = read_database(path)
    np.testing.assert_allclose(
        in_hartree(calculation) * HARTREE_IN_EV, water().in_order(water().hamiltonian, OURS), atol=1e-12
    )
    np.testing.assert_allclose(calculation.structure.positions, POSITIONS * BOHR_IN_ANGSTROM)
    write(tmp_path / "b.db", dict(arrays_of(water())), _property_unit_dict={"hamiltonian": "kcal/mol"})
    with pytest.raises(FormatError, match=r"b\.db: expected one of the units .*, got kcal/mol"):
        read_database(tmp_path / "b.db")


def test_without_basisdef_it_is_def2_svp_of_orca(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with connect(path, type="db", use_lock_file=False) as database:
        database.write(Atoms(NUMBERS, POSITIONS), data=dict(arrays_of(water())))
    (calculation,) = read_database(path)
    np.testing.assert_allclose(in_hartree(calculation), water().in_order(water().hamiltonian, OURS), atol=1e-12)


def test_the_order_of_m_tells_fhi_aims(tmp_path: Path) -> None:
    molecule = water()
    flipped = np.array([-1.0 if name[1:] in ("x", "xz") else 1.0 for _, _, name in sorted_labels(molecule)])
    matrices = {
        name: molecule.in_order(matrix, OURS) * flipped * flipped[:, None]
        for name, matrix in (("hamiltonian", molecule.hamiltonian), ("overlap", molecule.overlap))
    }
    (calculation,) = read_database(write(tmp_path / "a.db", raw(matrices), basisdef=basisdef(OURS_M)))
    np.testing.assert_allclose(in_hartree(calculation), molecule.in_order(molecule.hamiltonian, OURS), atol=1e-12)
    assert calculation.provenance["orbitals"] == "FHI-aims's order"


def sorted_labels(molecule: Molecule) -> list[tuple[int, str, str]]:
    """PySCF's labels in our order."""
    return sorted(molecule.labels, key=lambda a: (a[0], "spd".index(a[2][0]), a[1], OURS.index(a[2])))


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    rows = [raw(arrays_of(water()) | {"energy": np.array([float(k)])}) for k in range(5)]
    path = write(tmp_path / "a.db", *rows, {"hamiltonian": "no base64"})
    energies = [c.energy for c in read_database(path, slice(1, 5, 2))]
    np.testing.assert_allclose(energies, [HARTREE_IN_EV, 3 * HARTREE_IN_EV])
    np.testing.assert_allclose(read_database(path, 2)[0].energy or 0.0, 2 * HARTREE_IN_EV)
    stream = calculations(path)
    assert [next(stream).provenance["entries"] for _ in range(5)][-1] == "row 4 of 6"
    with pytest.raises(FormatError, match=r"a\.db: row 5: "):
        next(stream)


def test_one_row_of_several_must_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.db", *[raw(arrays_of(water()))] * 3)
    with pytest.raises(FormatError, match=r"a\.db: expected one calculation, got 3 rows .* from 0 to 2 with --row N"):
        read_any(path)
    assert read_any(path, row=2).provenance["entries"] == "row 2 of 3"
    with pytest.raises(FormatError, match="expected a row from 0 to 2, got 3"):
        read_any(path, row=3)
    with pytest.raises(FormatError, match="expected at least one row, got an empty database"):
        read_any(write(tmp_path / "empty.db"))


def cut(data: dict[str, Any]) -> None:
    data["hamiltonian"] = data["hamiltonian"][:-8]


def not_base64(data: dict[str, Any]) -> None:
    data["hamiltonian"] = "!" + data["hamiltonian"][1:]


def without_shape(data: dict[str, Any]) -> None:
    del data["_shape_overlap"]


def without_hamiltonian(data: dict[str, Any]) -> None:
    del data["hamiltonian"]


def of_another_molecule(data: dict[str, Any]) -> None:
    data.update(raw({"hamiltonian": np.eye(19)}))


def not_symmetric(data: dict[str, Any]) -> None:
    data.update(raw({"hamiltonian": np.triu(arrays_of(water())["hamiltonian"])}))


def not_finite(data: dict[str, Any]) -> None:
    data.update(raw({"overlap": np.full((24, 24), np.nan)}))


def two_energies(data: dict[str, Any]) -> None:
    data.update(raw({"energy": np.zeros(2)}))


def shells_in_another_order(data: dict[str, Any]) -> None:
    order = [0, 1, 3, 4, 5, 2, *range(6, 24)]
    data.update(raw({"overlap": arrays_of(water())["overlap"][np.ix_(order, order)]}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, r"expected hamiltonian as float64 of shape .24, 24. in base64"),
        (not_base64, "in base64, got something else"),
        (without_shape, "expected _shape_overlap beside the raw bytes of overlap"),
        (without_hamiltonian, "expected hamiltonian in the row's data, got _dtype_energy"),
        (of_another_molecule, r"expected a matrix of shape \(24, 24\) for 3 atoms in .*, got \(19, 19\)"),
        (not_symmetric, "expected a symmetric matrix"),
        (not_finite, "overlap: expected finite numbers, got 576"),
        (two_energies, "energy: expected one finite number"),
        (shells_in_another_order, "expected shells s s s p p d of O, got functions of different l"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, damage: Any, said: str) -> None:
    data = raw(arrays_of(water()))
    damage(data)
    path = write(tmp_path / "a.db", raw(arrays_of(water())), data)
    with pytest.raises(FormatError, match=rf"a\.db: row 1: .*{said}"):
        read_database(path)
    assert len(read_database(path, slice(0, 1))) == 1


def test_elements_that_basisdef_does_not_have(tmp_path: Path) -> None:
    path = write(tmp_path / "a.db", raw(arrays_of(water())), basisdef=basisdef(shells={8: SHELLS[8]}))
    with pytest.raises(FormatError, match=r"row 0: .*expected a basis for every element, got none for H"):
        read_database(path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([[1, 2]], r"expected `basisdef` of shape \(elements, functions, 5\), got \(1, 2\)"),
        ([["a"]], "expected `basisdef` in the metadata as whole numbers"),
        (basisdef({0: [0], 1: [1, -1, 0], 2: ORCA_M[2]}), "expected m in ORCA's order"),
        ([[[0, 0, 1, 1, 0]]], "expected whole shells of X"),
        (np.zeros((2, 2, 5)).tolist(), "expected functions in `basisdef`, got none"),
    ],
)
def test_a_basisdef_that_cannot_be(tmp_path: Path, table: list[Any], said: str) -> None:
    path = write(tmp_path / "a.db", raw(arrays_of(water())), basisdef=table)
    with pytest.raises(FormatError, match=said):
        read_database(path)


def test_a_file_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path / "a.db", *[raw(arrays_of(water()))] * 60)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for read in (read_any, read_database):
        with pytest.raises(FormatError, match=r"a\.db: expected an SQLite database, got one that cannot be read"):
            read(path)
    with pytest.raises(FormatError, match=r"none\.db: expected an SQLite database"):
        read_database(tmp_path / "none.db")


def test_databases_are_told_apart(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE data (id INTEGER)")
        other.commit()
    assert not recognises(tmp_path / "other.db")
    assert not recognises(tmp_path)
    with pytest.raises(FormatError, match=r"other\.db: expected one of the formats"):
        read_any(tmp_path / "other.db")
