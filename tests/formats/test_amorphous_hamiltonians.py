"""The public folders: structure.xyz, H.csr, S.csr."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.formats.registry import find_format, read_any
from nearsight.formats.structure_files import read_structure
from nearsight.operators.bloch import to_csr
from nearsight.structures.structure import Structure
from tests.formats.files import H_NAME, MHFO2, S_NAME, entries_of, symmetric, write_text

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1123456789\n"


def write_xyz(path: Path, structure: Structure, comment: str) -> None:
    rows = zip(structure.to_ase().symbols, structure.positions.tolist(), strict=True)
    atoms = "".join(f"{symbol} {x!r} {y!r} {z!r}\n" for symbol, (x, y, z) in rows)
    path.write_text(f"{len(structure)}\n{comment}\n{atoms}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small real run, as the public data would hold it."""
    write_xyz(tmp_path / "structure.xyz", read_structure(MHFO2 / "mhfo2.xyz"), "Cell: 5.117, 5.175, 5.22264237")
    shutil.copy(MHFO2 / "text_upper" / H_NAME, tmp_path / "H.csr")
    shutil.copy(MHFO2 / "text_upper" / S_NAME, tmp_path / "S.csr")
    return tmp_path


def test_a_folder_equals_the_run_it_was_made_of(folder: Path) -> None:
    run = read_any(MHFO2 / "text_upper")
    for source in (folder, folder / "H.csr"):
        calculation = read_any(source, cell=run.structure.cell)
        assert calculation.provenance["format"] == "Amorphous-Hamiltonians folder"
        assert calculation.basis == run.basis
        np.testing.assert_array_equal(calculation.structure.cell, run.structure.cell)
        for first, second in ((calculation.hamiltonian, run.hamiltonian), (calculation.overlap, run.overlap)):
            assert first is not None
            assert second is not None
            np.testing.assert_array_equal(first.values, second.values)


def test_without_overlap(folder: Path) -> None:
    (folder / "S.csr").unlink()
    assert read_any(folder).overlap is None


def test_vacancies_are_ghosts_with_oxygens_orbitals_and_vanadium_is_va(tmp_path: Path) -> None:
    (tmp_path / "structure.xyz").write_text("3\n9.0, 9.0, 9.0\nHf 0 0 0\nO 2 0 0\nV 0 2 0\n")
    matrix = symmetric(18)
    write_text(tmp_path / "H.csr", entries_of(matrix))
    calculation = read_any(tmp_path)
    assert calculation.structure.numbers.tolist() == [72, 8, 0]
    assert calculation.basis.shells[0] == calculation.basis.shells[8]
    assert calculation.n_electrons == 12 + 6
    h = to_csr(calculation.require_hamiltonian()).toarray() / 27.211386245988
    np.testing.assert_allclose(h, matrix, rtol=1e-14)
    (tmp_path / "structure.xyz").write_text("3\n9.0, 9.0, 9.0\nHf 0 0 0\nO 2 0 0\nVa 0 2 0\n")
    with pytest.raises(FormatError, match="expected to recognise the basis"):
        read_any(tmp_path)


def test_the_basis_is_recognised_by_the_size_or_asked_for(tmp_path: Path) -> None:
    (tmp_path / "structure.xyz").write_text("2\n9 9 9\nHf 0 0 0\nO 2 0 0\n")
    for size, name in ((14, "SZV-MOLOPT-SR-GTH"), (39, "DZVP-MOLOPT-SR-GTH")):
        write_text(tmp_path / "H.csr", entries_of(symmetric(size), "lower"))
        assert read_any(tmp_path).basis.name == name
    write_text(tmp_path / "H.csr", entries_of(symmetric(15)))
    with pytest.raises(
        FormatError,
        match=r"recognise the basis by the matrix \(15 orbitals for HfO\), but none of SZV-MOLOPT-"
        r"SR-GTH, DZVP-MOLOPT-SR-GTH fits; say which it is \(option --basis\)",
    ):
        read_any(tmp_path)
    with pytest.raises(FormatError, match="expected indices 1 to 14 for 2 atoms"):
        read_any(tmp_path, basis="SZV-MOLOPT-SR-GTH")


@pytest.mark.parametrize("name", ["H.csr", "S.csr", "structure.xyz"])
def test_a_git_lfs_pointer_is_called_one(folder: Path, name: str) -> None:
    (folder / name).write_text(POINTER)
    with pytest.raises(FormatError, match=rf"{name}: .*got a git-lfs pointer: the content itself was not downloaded"):
        read_any(folder)


def test_a_pointer_in_a_fresh_clone_without_structure_is_called_one_too(folder: Path) -> None:
    (folder / "H.csr").write_text(POINTER)
    (folder / "structure.xyz").unlink()
    with pytest.raises(FormatError, match="got a git-lfs pointer"):
        read_any(folder)


def test_a_missing_structure_and_a_given_one(folder: Path) -> None:
    (folder / "structure.xyz").rename(folder / "other.xyz")
    with pytest.raises(FormatError, match=r"expected structure\.xyz beside H\.csr, got none; give the structure"):
        read_any(folder)
    assert read_any(folder, structure=folder / "other.xyz").structure.formula == "Hf4O8"


def test_the_folder_is_not_taken_for_another_format(folder: Path) -> None:
    assert "Amorphous-Hamiltonians" in find_format(folder).name
    assert "CP2K run" in find_format(MHFO2 / "text_upper").name
