"""Structures from our own stores, archives, and what ASE reads."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.formats.structure_files import read_structure
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import write_calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure


@pytest.mark.parametrize("name", ["a.cif", "POSCAR", "a.gen", "a.extxyz"])
def test_what_ase_writes_is_read(tmp_path: Path, hfo2: Structure, name: str) -> None:
    ase.io.write(tmp_path / name, hfo2.to_ase())
    structure = read_structure(tmp_path / name)
    assert structure.formula == hfo2.formula
    assert structure.volume == pytest.approx(hfo2.volume, rel=1e-5)
    assert structure.pbc.all()


def test_a_store_and_an_archive(tmp_path: Path, hfo2: Structure, basis: BasisSet) -> None:
    write_calculation(tmp_path / "a.h5", Calculation(hfo2, basis))
    np.savez(tmp_path / "a.npz", numbers=hfo2.numbers, positions_ang=hfo2.positions, cell_ang=hfo2.cell)
    for name in ("a.h5", "a.npz"):
        np.testing.assert_array_equal(read_structure(tmp_path / name).positions, hfo2.positions)
        np.testing.assert_array_equal(read_structure(tmp_path / name).cell, hfo2.cell)


def test_a_cell_is_demanded_of_every_format(tmp_path: Path, hfo2: Structure) -> None:
    atoms = hfo2.to_ase()
    atoms.pbc = False
    atoms.cell = None
    ase.io.write(tmp_path / "a.gen", atoms)
    with pytest.raises(FormatError, match=r"expected a cell, got a file without; give it \(--cell\)"):
        read_structure(tmp_path / "a.gen")
    np.testing.assert_array_equal(read_structure(tmp_path / "a.gen", np.array([50.0])).cell, 50 * np.eye(3))
    assert not read_structure(tmp_path / "a.gen", isolated=True).pbc.any()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text("nonsense")
    with pytest.raises(FormatError, match=r"a\.cif: expected a structure .*cannot be read as one"):
        read_structure(tmp_path / "a.cif")
    with pytest.raises(FormatError, match="got no such file"):
        read_structure(tmp_path / "none.cif")
    np.savez(tmp_path / "a.npz", numbers=[1])
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(FormatError, match=r"b\.npz: expected an archive with"):
        read_structure(tmp_path / "b.npz")
    with pytest.raises(FormatError, match="expected an archive with numbers, positions_ang and cell_ang"):
        read_structure(tmp_path / "a.npz")
