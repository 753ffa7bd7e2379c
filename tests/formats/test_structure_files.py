"""Structures from our own stores, archives, and what ASE reads."""

from __future__ import annotations

import gzip
import resource
import time
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


LAMMPS = """LAMMPS data file

3 atoms
2 atom types

0 10 xlo xhi
0 11 ylo yhi
0 12 zlo zhi
{masses}
Atoms # {style}

1 1 {charge}0.0 0.0 0.0
2 2 {charge}2.0 0.0 0.0
3 2 {charge}0.0 2.0 0.0
"""
MASSES = "\nMasses\n\n1 178.49 # Hf\n2 15.999\n"


@pytest.mark.parametrize("name", ["a.data", "a.lmp", "a.lammps-data", "a.txt"])
@pytest.mark.parametrize(("style", "charge"), [("charge", "0.5 "), ("atomic", "")])
def test_data_files_of_lammps(tmp_path: Path, name: str, style: str, charge: str) -> None:
    (tmp_path / name).write_text(LAMMPS.format(masses=MASSES, style=style, charge=charge))
    structure = read_structure(tmp_path / name)
    assert structure.numbers.tolist() == [72, 8, 8]
    np.testing.assert_allclose(structure.cell, np.diag([10, 11, 12]))
    np.testing.assert_allclose(structure.positions[1], [2, 0, 0])


@pytest.mark.parametrize(
    ("masses", "message"),
    [
        ("", "expected the section Masses, which says what the atom types are"),
        ("\nMasses\n\n1 1.0\n2 2.0\n", r"expected masses of elements, got 2 for the type 2"),
    ],
)
def test_types_of_lammps_without_elements(tmp_path: Path, masses: str, message: str) -> None:
    (tmp_path / "a.data").write_text(LAMMPS.format(masses=masses, style="atomic", charge=""))
    with pytest.raises(FormatError, match=message):
        read_structure(tmp_path / "a.data")


DUMP = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 10\n0 10\n0 10\nITEM: ATOMS id type "


def test_dumps_of_lammps(tmp_path: Path) -> None:
    (tmp_path / "a.lammpstrj").write_text(DUMP + "x y z\n1 1 0 0 0\n2 2 2 0 0\n")
    with pytest.raises(FormatError, match="expected a column `element` in the dump"):
        read_structure(tmp_path / "a.lammpstrj")
    (tmp_path / "a.lammpstrj").write_text(DUMP + "element x y z\n1 1 Hf 0 0 0\n2 2 O 2 0 0\n")
    assert read_structure(tmp_path / "a.lammpstrj").numbers.tolist() == [72, 8]


CIF = """data_x
_cell_length_a 5.6
_cell_length_b 5.6
_cell_length_c 5.6
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{sites}
"""


@pytest.mark.parametrize(
    "sites", ["Hf1 Hf 0 0 0 0.75\nTi1 Ti 0 0 0 0.25\nO1 O 0.3 0.3 0.3 1.0", "Hf1 Hf 0 0 0 1.0\nO1 O 0.3 0.3 0.3 0.5"]
)
def test_partial_occupancies(tmp_path: Path, sites: str) -> None:
    (tmp_path / "a.cif").write_text(CIF.format(sites=sites))
    with pytest.raises(FormatError, match=r"expected every site filled by one element, got . partial occupancies"):
        read_structure(tmp_path / "a.cif")
    (tmp_path / "a.cif").write_text(CIF.format(sites="Hf1 Hf 0 0 0 1.0\nO1 O 0.3 0.3 0.3 1.0"))
    assert read_structure(tmp_path / "a.cif").formula == "HfO"


COUNTS = {
    "POSCAR": "HfO2\n1.0\n5 0 0\n0 5 0\n0 0 5\nHf O\n2147483648 2\nDirect\n0 0 0\n0.4 0.4 0.4\n",
    "a.data": "x\n\n2147483648 atoms\n1 atom types\n\n0 5 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n\nMasses\n\n1 28.086\n\n"
    "Atoms # atomic\n\n1 1 0 0 0\n",
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_that_ase_takes_at_their_word(tmp_path, name):
    """It asks for 17 GB, or counts to two thousand million."""
    (tmp_path / name).write_text(COUNTS[name])
    began = time.process_time()
    with pytest.raises(FormatError, match=r"expected a structure .* got a file") as error:
        read_structure(tmp_path / name)
    assert name in str(error.value)
    assert time.process_time() - began < 5


def test_a_packed_file_that_unfolds_is_refused(tmp_path):
    (tmp_path / "a.cif.gz").write_bytes(gzip.compress(b" " * 20_000_000) * 100)
    assert (tmp_path / "a.cif.gz").stat().st_size < 3_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match=r"a\.cif\.gz: expected a structure"):
        read_structure(tmp_path / "a.cif.gz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000


def test_names_are_names(tmp_path):
    """ASE takes what follows an at sign for the number of a frame."""
    ase.io.write(tmp_path / "a@1.cif", ase.Atoms("Si", cell=[5, 5, 5], pbc=True))
    assert read_structure(tmp_path / "a@1.cif").numbers.tolist() == [14]
