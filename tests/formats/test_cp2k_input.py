"""CP2K inputs: includes, variables, cells and coordinates in all their forms."""

# Why not cp2k-input-tools (0.9.3)? It was tried on every case below. It takes 0.4 s to import and 1.2 to 1.9 s to read
# the shortest input, for it begins with the definition of all of CP2K's keywords; our reader needs 20 ms for 3,000
# atoms. Its [pm] is not a picometre (`b [pm] 0 1000 0` fails with a DimensionalityError), and `[furlong]` is taken. It
# returns &COORD as text, so that lines such as `O 0 0` and `O 0 0 zero` pass, and kinds, ghosts, cells and an xyz of
# the topology have to be worked out all the same.

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError, InputError
from nearsight.formats.cp2k_input import read_input
from nearsight.formats.structure_files import read_structure
from nearsight.units import BOHR_IN_ANGSTROM
from tests.formats.files import MHFO2

TEMPLATE = """
&FORCE_EVAL
  &SUBSYS
    &CELL
      {cell}
    &END CELL
    &COORD
      {coord}
    &END
    {kinds}
  &END SUBSYS
&END FORCE_EVAL
"""
CUBE, WATER = "ABC 9 9 9", "O 0 0 0\nH 0 0.7 0.6\nH 0 -0.7 0.6"


def write(folder: Path, cell: str = CUBE, coord: str = WATER, kinds: str = "") -> Path:
    path = folder / "a.inp"
    path.write_text(TEMPLATE.format(cell=cell, coord=coord, kinds=kinds))
    return path


def test_input_with_includes_is_the_structure_of_the_xyz() -> None:
    from_input = read_structure(MHFO2 / "text_full" / "hfo2.inp")
    from_xyz = read_structure(MHFO2 / "mhfo2.xyz")
    np.testing.assert_array_equal(from_input.numbers, from_xyz.numbers)
    np.testing.assert_allclose(from_input.positions, from_xyz.positions, atol=1e-7)
    np.testing.assert_allclose(from_input.cell, from_xyz.cell, atol=1e-7)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("ABC 9 10 11", np.diag([9, 10, 11])),
        ("ABC [bohr] 9 10 11", np.diag([9, 10, 11]) * BOHR_IN_ANGSTROM),
        ("A 9 0 0\nB 1 10 0\nC 0 2 11 ! skewed", [[9, 0, 0], [1, 10, 0], [0, 2, 11]]),
        ("a [nm] 0.9 0 0\nb [pm] 0 1000 0\nc [angstrom] 0 0 11", np.diag([9, 10, 11])),
        ("ABC 9 9 9\nALPHA_BETA_GAMMA 90 90 60", [[9, 0, 0], [4.5, 9 * np.sqrt(0.75), 0], [0, 0, 9]]),
        ("@SET LENGTH 9\nABC ${LENGTH} $LENGTH ${OTHER-11}", np.diag([9, 9, 11])),
    ],
)
def test_cells(tmp_path: Path, cell: str, expected: np.ndarray) -> None:
    structure = read_input(write(tmp_path, cell)).structure
    np.testing.assert_allclose(structure.cell, expected, atol=1e-12)
    assert structure.pbc.all()


@pytest.mark.parametrize(
    ("lines", "edge"),  # as CP2K 2023.1 takes them (cp2k.psmp -e)
    [
        ("@SET A 1\n@SET a 2\n@IF ${A} == 1\nABC 5 9 9\n@ENDIF\n@IF ${a} == 1\nABC 6 9 9\n@ENDIF", 5),
        ("@SET A 5.0 ! a comment\nABC 5 9 9\n@IF ${A} == 5.0\nABC 6 9 9\n@ENDIF", 5),
        ("ABC 5 9 9\n@IF 1 == 1 ! a comment\nABC 6 9 9\n@ENDIF", 5),
        ("ABC 5 9 9\n@IF (0)\nABC 6 9 9\n@ENDIF", 6),
        ("ABC 5 9 9\n@IF (1 == 1)\nABC 6 9 9\n@ENDIF", 6),
        ("ABC 5 9 9\n@IF 8.0 4.0\nABC 6 9 9\n@ENDIF\n@  nothing", 6),
        ("ABC 5 9 9\n@IF 0\n@IF 1\nABC 6 9 9\n@ENDIF\nABC 7 9 9\n@ENDIF", 7),
        ("ABC 5 9 9\n@IF 1\nABC 6 9 9", 6),
    ],
)
def test_conditions(tmp_path: Path, lines: str, edge: float) -> None:
    assert read_input(write(tmp_path, lines)).cell[0, 0] == edge


@pytest.mark.parametrize(
    ("periodic", "pbc"),
    [("NONE", [False] * 3), ("XZ", [True, False, True]), ("xyz", [True] * 3), ("Z", [False, False, True])],
)
def test_periodic_directions(tmp_path: Path, periodic: str, pbc: list[bool]) -> None:
    assert read_input(write(tmp_path, f"{CUBE}\nPERIODIC {periodic}")).structure.pbc.tolist() == pbc


@pytest.mark.parametrize(
    ("coord", "second"),
    [
        (WATER, [0, 0.7, 0.6]),
        ("UNIT bohr\n" + WATER, np.array([0, 0.7, 0.6]) * BOHR_IN_ANGSTROM),
        ("SCALED\nO 0 0 0\nH 0 .5 0.1 MOL1\nH 0.5 0.5 0", [0, 4.5, 0.9]),
        ("SCALED F\n" + WATER, [0, 0.7, 0.6]),
    ],
)
def test_coordinates(tmp_path: Path, coord: str, second: np.ndarray) -> None:
    structure = read_input(write(tmp_path, coord=coord)).structure
    assert structure.numbers.tolist() == [8, 1, 1]
    np.testing.assert_allclose(structure.positions[1], second, atol=1e-12)


def test_kinds_give_element_ghost_basis_and_potential(tmp_path: Path) -> None:
    kinds = (
        "&KIND Hf_a\nELEMENT Hf\nBASIS_SET ORB SZV-A\nPOTENTIAL GTH GTH-PBE-q12\n&END KIND\n&kind V\n"
        "ELEMENT O\nGHOST\nbasis_set SZV-B\n&end\n&KIND DEFAULT\nBASIS_SET SZV-C\n&END"
    )
    given = read_input(write(tmp_path, coord="Hf_a 0 0 0\nV 2 0 0\nO1 4 0 0", kinds=kinds))
    assert given.structure.numbers.tolist() == [72, 0, 8]
    assert given.labels == ("Hf_a", "V", "O1")
    assert [(k.basis, k.potential) for k in given.kinds.values()] == [
        ("SZV-A", "GTH-PBE-q12"),
        ("SZV-B", None),
        ("SZV-C", None),
    ]


def test_of_two_kinds_of_one_name_cp2k_takes_the_first(tmp_path: Path) -> None:
    kinds = "&KIND O\nBASIS_SET SZV-A\n&END KIND\n&KIND o\nBASIS_SET SZV-B\n&END\n&KIND H\nBASIS_SET SZV-A\n&END"
    assert read_input(write(tmp_path, kinds=kinds)).kinds["O"].basis == "SZV-A"


def test_coordinates_in_an_xyz_of_the_topology(tmp_path: Path) -> None:
    (tmp_path / "w.xyz").write_text("3\n\n" + WATER + "\n")
    path = tmp_path / "a.inp"
    path.write_text(
        "&FORCE_EVAL\n&SUBSYS\n&CELL\nABC 9 9 9\n&END\n&TOPOLOGY\nCOORD_FILE_NAME w.xyz\n"
        "COORD_FILE_FORMAT XYZ\n&END\n&END\n&END\n"
    )
    assert read_input(path).structure.formula == "H2O"


@pytest.mark.parametrize(
    ("cell", "coord", "message"),
    [
        ("ABC 0 9 9", WATER, "expected a cell with volume along the periodic directions"),
        ("ABC 9 9", WATER, "expected three lengths in &CELL, got '9 9'"),
        ("ABC [furlong] 9 9 9", WATER, "expected three lengths in &CELL"),
        ("PERIODIC XYZ", WATER, "expected A, B, C or ABC in &CELL"),
        (CUBE + "\nMULTIPLE_UNIT_CELL 2 1 1", WATER, "expected an input without MULTIPLE_UNIT_CELL"),
        (CUBE, "", "expected atoms in &COORD, got none"),
        (CUBE, "O 0 0", r"expected `label x y z` in every line of &COORD \(got .O 0 0.\)"),
        (CUBE, "O 0 0 zero", "expected `label x y z` in every line of &COORD"),
        (CUBE, "Qq 0 0 0", "expected an element for the kind 'Qq', got 'Qq'; add ELEMENT to its &KIND"),
        (CUBE, "@INCLUDE 'gone.inc'", r"expected the included file 'gone.inc' \(a.inp, line 8\)"),
        (CUBE, "@IF 0\nO 0 0 0", "expected @ENDIF for every @IF"),
        (
            CUBE,
            "@IF a == b /= c\nO 0 0 0\n@ENDIF",
            "expected `@IF value`, `@IF a == b` or `@IF a /= b` in a.inp, line 8",
        ),
        (CUBE, "@SET x 1\nO $X 0 0", "expected @SET X before its use in a.inp, line 9"),
        (CUBE, "@ELSE 1\nO 0 0 0", "expected @INCLUDE, @SET, @IF or @ENDIF in a.inp, line 8, got @ELSE"),
        (CUBE, "@INCLUDE a.inp", "expected at most 20 files within files"),
        (CUBE + "\nPERIODIC XYX", WATER, "expected PERIODIC of &CELL to be one of"),
        (CUBE, "O $X 0 0", "expected @SET X before its use in a.inp, line 8"),
        (CUBE, "O 0 0 0\nO 0 0 0.1", "expected atoms at least 0.3 Å apart"),
    ],
)
def test_bad_inputs(tmp_path: Path, cell: str, coord: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"a\.inp: .*{message}"):
        read_structure(write(tmp_path, cell, coord))


def test_inputs_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_text()
    path.write_text(whole[: whole.index("&END SUBSYS")])
    with pytest.raises(FormatError, match="expected &END SUBSYS before the end, got a truncated input"):
        read_input(path)
    path.write_text("&END\n")
    with pytest.raises(FormatError, match=r"expected a section before '&END' in a.inp, line 1"):
        read_input(path)
    path.write_text("just text\n")
    with pytest.raises(FormatError, match="expected a CP2K input with &FORCE_EVAL"):
        read_input(path)
