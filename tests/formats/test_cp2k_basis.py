"""BASIS_MOLOPT: the shells of the file are those of the shipped table."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearsight.elements import GHOST, number_of
from nearsight.errors import FormatError, InputError
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.orbitals.basis import basis_named, shipped_names
from tests.formats.files import BASIS_EXCERPT


@pytest.mark.parametrize("name", shipped_names())
def test_the_shipped_table_is_cp2ks(name: str) -> None:
    shipped, file = basis_named(name), read_basis_file(BASIS_EXCERPT, name)
    symbols = ("H", "N", "O", "Al", "Ti", "Ge", "Sb", "Te", "Hf", "Pt", *(("Li",) if name.startswith("SZV") else ()))
    assert set(shipped.shells) == {GHOST, *(number_of(symbol) for symbol in symbols)}
    assert dict(file.shells) == dict(shipped.shells)
    assert dict(file.valence) == dict(shipped.valence)


def test_shells_of_several_l() -> None:
    assert read_basis_file(BASIS_EXCERPT, "TZVP-MOLOPT-GTH").shells[8] == (0, 0, 0, 1, 1, 1, 2)
    assert read_basis_file(BASIS_EXCERPT, "DZVP-MOLOPT-SR-GTH-q12").shells[72] == (0, 0, 0, 1, 1, 2, 2, 3)


def test_shells_follow_set_after_set(tmp_path: Path) -> None:
    path = tmp_path / "BASIS"
    path.write_text(
        "# two sets\nO two two-q6\n 2\n 1 0 1 2 1 1\n 1.0 0.5 0.5\n 0.5 0.5 0.5 ! last\n 2 0 2 1 2 1 1\n"
        " 0.1 1 1 1 1\n\nHF two\n 1\n 1 2 2 1 1\n 1.0 1.0\n"
    )
    basis = read_basis_file(path, "two")
    assert basis.shells[8] == (0, 1, 0, 0, 1, 2)
    assert basis.shells[72] == (2,)
    assert dict(basis.valence) == {8: 6, GHOST: 0}


def test_what_is_wrong_with_a_basis_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the basis 'SZP' in .*got a file with DZVP-MOLOPT-SR-GTH"):
        read_basis_file(BASIS_EXCERPT, "SZP")
    path = tmp_path / "BASIS"
    path.write_text("O two\n 1\n 1 0 1 2 1\n")
    with pytest.raises(FormatError, match=r"in line 3, got ' ?1 0 1 2 1' .*1 counts for l = 0 to 1"):
        read_basis_file(path, "two")
    path.write_text("O two\n 1\n")
    with pytest.raises(FormatError, match="in line the end, got 'nothing'"):
        read_basis_file(path, "two")
    path.write_text("O two\n 1\n 1 0 0 1 1\n 1 1\nO two\n 1\n 1 0 0 1 1\n 1 1\n")
    with pytest.raises(FormatError, match="expected two once for O, got it again in line 5"):
        read_basis_file(path, "two")
    with pytest.raises(FormatError, match="expected a CP2K basis file"):
        read_basis_file(tmp_path / "none", "two")
