"""xyz files: every form in which the comment line may hold the cell, ghosts, and what goes wrong."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule

from nearsight.errors import FormatError, InputError
from nearsight.formats.structure_files import as_cell, parse_cell, read_structure
from nearsight.formats.xyz import GHOST_BY_V, read_xyz

ATOMS = "Hf 0 0 0\nO 2.0 0 0\nO 0 2.0 -1.5"


def write(folder: Path, comment: str, atoms: str = ATOMS, count: int = 3) -> Path:
    path = folder / "structure.xyz"
    path.write_text(f"{count}\n{comment}\n{atoms}\n")
    return path


@pytest.mark.parametrize(
    ("comment", "cell"),
    [
        ("Cell: 52.3 26.2 26.4", [52.3, 26.2, 26.4]),
        ("Cell: 52.3, 26.2, 26.4", [52.3, 26.2, 26.4]),
        ("cell: 52.3 26.2 26.4", [52.3, 26.2, 26.4]),
        ("52.3 26.2 26.4", [52.3, 26.2, 26.4]),
        ("52.3, 26.2, 26.4", [52.3, 26.2, 26.4]),
        ("Cell: 26.2 26.2 26.2", [26.2, 26.2, 26.2]),
        ("26.2, 26.2, 26.4,", [26.2, 26.2, 26.4]),
        ("step 5 Cell: 52.3 26.2 26.4 Angstrom", [52.3, 26.2, 26.4]),
        ('Lattice="9 0 0 1 9 0 0 2 9" Properties=species:S:1:pos:R:3 pbc="T T T"', [[9, 0, 0], [1, 9, 0], [0, 2, 9]]),
        ("Cell: 9 0 0 1 9 0 0 2 9", [[9, 0, 0], [1, 9, 0], [0, 2, 9]]),
        ('cell = "9, 9, 9" energy=1', [9, 9, 9]),
    ],
)
def test_forms_of_the_comment_line(tmp_path: Path, comment: str, cell: list[float]) -> None:
    structure = read_structure(write(tmp_path, comment))
    np.testing.assert_array_equal(structure.cell, cell if np.ndim(cell) == 2 else np.diag(cell))
    assert structure.numbers.tolist() == [72, 8, 8]
    np.testing.assert_array_equal(structure.positions, [[0, 0, 0], [2, 0, 0], [0, 2, -1.5]])
    assert structure.pbc.all()


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "a-HfO2",
        "i = 0, time = 0.000, E = -17.5",
        "26.2 26.2",
        "a-HfO2, 3000 atoms, 52.3 26.2 26.4",
        "3000 52.3 26.2 26.4",
        "gdb 7\t800.1\t436.2\t-0.2928\t-76.401867\t-76.400922\t-76.422349\t6.002\t",
    ],
)
def test_without_a_cell_one_is_demanded(tmp_path: Path, comment: str) -> None:
    path = write(tmp_path, comment)
    with pytest.raises(
        FormatError, match=r"structure\.xyz: expected a cell in the comment line .*give the cell \(--cell\)"
    ):
        read_structure(path)
    np.testing.assert_array_equal(read_structure(path, np.array([9.0, 9, 9])).cell, 9 * np.eye(3))
    assert not read_structure(path, isolated=True).pbc.any()


@pytest.mark.parametrize("comment", ["Cell: 26.2 26.2", 'Lattice="9 9 9"', "Cell: 9 9 9 90 90 90"])
def test_other_counts_of_numbers(tmp_path: Path, comment: str) -> None:
    with pytest.raises(FormatError, match=r"expected 3 or 9 numbers \(Å\) of the cell"):
        read_structure(write(tmp_path, comment))


def test_a_given_skewed_cell_overrides_the_files(tmp_path: Path) -> None:
    skewed = np.array([[25.85676, 0, 0], [-17.23784, 29.85682, 0], [0, 0, 41.69124]])
    path = write(tmp_path, "Cell: 25.85676 29.85682 41.69124")
    np.testing.assert_array_equal(read_structure(path, skewed).cell, skewed)
    np.testing.assert_array_equal(read_structure(path, skewed.reshape(-1)).cell, skewed)


def test_extended_xyz_of_ase(tmp_path: Path) -> None:
    atoms = molecule("CH3CH2OH", vacuum=3.0)
    atoms.pbc = [True, False, True]
    atoms.cell[1, 0] = 1.0
    ase.io.write(tmp_path / "a.extxyz", atoms)
    structure = read_structure(tmp_path / "a.extxyz")
    np.testing.assert_array_equal(structure.numbers, atoms.numbers)
    np.testing.assert_allclose(structure.positions, atoms.positions, atol=1e-7)
    np.testing.assert_allclose(structure.cell, atoms.cell.array, atol=1e-7)
    assert structure.pbc.tolist() == [True, False, True]
    ase.io.write(tmp_path / "m.xyz", molecule("H2O"), format="extxyz")
    assert not read_structure(tmp_path / "m.xyz").pbc.any()


def test_columns_in_another_order(tmp_path: Path) -> None:
    comment = 'Lattice="9 0 0 1 9 0 0 2 9" Properties=forces:R:3:pos:R:3:species:S:1 pbc="T T F"'
    atoms = "1 2 3 0 0 0 Hf\n1 2 3 2.0 0 0 X\n1 2 3 0 2.0 -1.5 V"
    structure = read_xyz(write(tmp_path, comment, atoms))
    assert structure.numbers.tolist() == [72, 0, 23]
    assert structure.pbc.tolist() == [True, True, False]
    np.testing.assert_array_equal(structure.positions, [[0, 0, 0], [2, 0, 0], [0, 2, -1.5]])
    np.testing.assert_array_equal(structure.cell, [[9, 0, 0], [1, 9, 0], [0, 2, 9]])
    assert read_xyz(write(tmp_path, comment, atoms), ghosts=GHOST_BY_V).numbers.tolist() == [72, 0, 0]


def test_ghosts_and_vanadium(tmp_path: Path) -> None:
    path = write(tmp_path, "9 9 9", "V 0 0 0\nX 2 0 0\nVa 0 2 0\nHf1 2 2 0", 4)
    assert read_xyz(path, ghosts=GHOST_BY_V).numbers.tolist() == [0, 0, 23, 72]
    with pytest.raises(FormatError, match=r"expected a chemical symbol for atom 2 .*'Va'"):
        read_xyz(path)
    path = write(tmp_path, "9 9 9", "V 0 0 0\nX 2 0 0\n8 0 2 0")
    assert read_xyz(path).numbers.tolist() == [23, 0, 8]


@pytest.mark.parametrize(
    ("comment", "atoms", "count", "message"),
    [
        ("9 9 9", ATOMS, 4, "expected 4 atoms as its first line says, got 3 lines; is it complete?"),
        ("9 9 9", ATOMS, 2, "expected 2 atoms as its first line says, got 3 lines; are there several"),
        ("9 9 9", "Hf 0 0 0\nO 2 0\nO 0 2 0", 3, r"expected `symbol x y z` for atom 1 \(line 4\), got 'O 2 0'"),
        ("9 9 9", "Hf 0 0 0\nO 2 0 zero\nO 0 2 0", 3, "expected `symbol x y z` for atom 1"),
        ("9 9 9", "Hf 0 0 0\nQq 2 0 0\nO 0 2 0", 3, r"expected a chemical symbol for atom 1 \(line 4\), got 'Qq'"),
        ("9 9 9", "Hf 0 0 0\nO 2 0 nan\nO 0 2 0", 3, "expected finite positions"),
        ("0 0 0", ATOMS, 3, "expected a cell with volume"),
        ("9 9 0", ATOMS, 3, "expected a cell with volume"),
        (
            "9 9 9",
            "Hf 0 0 0\nO 2 0 0\nO 2.1 0 0",
            3,
            r"expected atoms at least 0.3 Å apart, got 0.1000 Å between atom 1 \(O\) and atom 2 \(O\)",
        ),
        ("9 9 9", "Hf 0 0 0\nO 2 0 0\nO 0 0 9", 3, r"expected .* got 0.0000 Å between atom 0 \(Hf\) and atom 2"),
        (
            'Lattice="9 0 0 0 9 0 0 0 9" Properties=pos:R:3:species:S:1',
            ATOMS,
            3,
            r"expected the columns that its comment says \(Properties=…\), got others",
        ),
    ],
)
def test_bad_files(tmp_path: Path, comment: str, atoms: str, count: int, message: str) -> None:
    with pytest.raises(InputError, match=rf"structure\.xyz: {message}"):
        read_structure(write(tmp_path, comment, atoms, count))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("version https://git-lfs.github.com/spec/v1\n", "expected an xyz file, got a git-lfs pointer"),
        ("<html>", "got an HTML page"),
        ("ITEM: TIMESTEP\n", "expected an xyz file, which begins with the number of atoms"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.xyz").write_text(content)
    with pytest.raises(FormatError, match=message):
        read_structure(tmp_path / "a.xyz")


def test_cells_from_numbers_and_text() -> None:
    np.testing.assert_array_equal(as_cell([16.5]), 16.5 * np.eye(3))
    for text in ("10 10 20", "10,10,20", "[10, 10, 20]", "10; 10; 20"):
        np.testing.assert_array_equal(parse_cell(text), np.diag([10, 10, 20]))
    assert parse_cell("None") is None
    for text, message in (
        ("10 10", "expected 1, 3 or 9 numbers"),
        ("ten", "expected a cell such as"),
        ("0 10 10", "expected a cell with volume"),
        ("nan", "expected a cell with volume"),
    ):
        with pytest.raises(InputError, match=message):
            parse_cell(text)


LATTICE = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3'


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('pbc="T T F"', [True, True, False]),
        ('pbc="True True False"', [True, True, False]),
        ('pbc="False False False"', [False, False, False]),
        ("pbc=[T, T, F]", [True, True, False]),
        ("pbc='1 0 1'", [True, False, True]),
        ("pbc=TFT", [True, False, True]),
        ('PBC="true FALSE .TRUE."', [True, False, True]),
        ("", [True, True, True]),
    ],
)
def test_periodic_directions(tmp_path: Path, said: str, expected: list[bool]) -> None:
    assert read_structure(write(tmp_path, f"{LATTICE} {said}")).pbc.tolist() == expected


@pytest.mark.parametrize("said", ['pbc="yes yes no"', 'pbc="T T"', "pbc=T", 'pbc="T T T T"', 'pbc=""'])
def test_periodic_directions_that_are_not_understood(tmp_path: Path, said: str) -> None:
    with pytest.raises(FormatError, match='expected pbc="T T F", or words such as True and False'):
        read_structure(write(tmp_path, f"{LATTICE} {said}"))


def test_a_byte_order_mark_and_other_encodings(tmp_path: Path) -> None:
    path = write(tmp_path, "9 9 9")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_structure(path).formula == "HfO2"
    path.write_bytes(f"3\nÅngström {LATTICE}\n{ATOMS}\n".encode("latin-1"))
    assert read_structure(path).formula == "HfO2"


def test_numbers_of_fortran(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text("2\n9 9 9\nO 0.0D0 1.0d-1 0\nO 4.5 1/2 2*1.5\n")
    np.testing.assert_allclose(read_structure(path).positions, [[0, 0.1, 0], [4.5, 0.5, 3.0]])


@pytest.mark.parametrize("comment", ["-9 9 9", "9 -9 9", "Cell: 9 9 -9"])
def test_negative_lengths(tmp_path: Path, comment: str) -> None:
    with pytest.raises(FormatError, match="lengths above 0, got 3 in"):
        read_structure(write(tmp_path, comment))


@pytest.mark.parametrize(
    "columns",
    ["species:S:1:pos:R:2147483648", "species:S:12147483648:pos:R:3", "pos:R:3", "species:S:1", "pos:R:3:species:S"],
)
def test_columns_that_are_none(tmp_path, columns):
    """Their widths were taken at their word, for as long as that takes."""
    (tmp_path / "a.xyz").write_text(f'1\nLattice="5 0 0 0 5 0 0 0 5" Properties={columns}\nO 0 0 0\n')
    with pytest.raises(FormatError, match=r"a\.xyz: expected columns such as"):
        read_xyz(tmp_path / "a.xyz")
