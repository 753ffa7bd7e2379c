"""Structures and overlaps through the Python interface."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nearsight.api import structures
from nearsight.api.files import read
from nearsight.api.structures import as_structure, overlap
from nearsight.errors import FormatError, InputError
from tests.formats.files import MHFO2

SILICON = Path("data/silicon_2.h5")


def test_examples() -> None:
    pytest.importorskip("pyscf")
    assert doctest.testmod(structures).failed == 0


def test_one_structure_in_many_forms() -> None:
    calculation = read(SILICON)
    structure = calculation.structure
    assert as_structure(structure) is structure
    assert as_structure(calculation) is structure
    for source in (SILICON, str(SILICON), structure.to_ase()):
        found = as_structure(source)
        np.testing.assert_array_equal(found.numbers, structure.numbers)
        np.testing.assert_allclose(found.positions, structure.positions, atol=1e-12)
        np.testing.assert_allclose(found.cell, structure.cell, atol=1e-12)


def test_a_cell_belongs_to_a_path() -> None:
    np.testing.assert_array_equal(as_structure(MHFO2 / "mhfo2.xyz", cell="20").cell, 20 * np.eye(3))
    assert not as_structure(MHFO2 / "mhfo2.xyz", cell="none").pbc.any()
    with pytest.raises(InputError, match="expected a cell only with the path of a structure, got one with Atoms"):
        as_structure(bulk("Si"), cell="20")


def test_what_is_no_structure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a Structure, a Calculation, ase.Atoms or the path .*, got int"):
        as_structure(3)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="nowhere"):
        as_structure(tmp_path / "nowhere.xyz")
    with pytest.raises(InputError, match="expected at least one atom"):
        as_structure(Atoms())


def test_overlap_needs_one_basis() -> None:
    with pytest.raises(InputError, match="Atoms: expected a basis, such as SZV-MOLOPT-SR-GTH"):
        overlap(bulk("Si"))
    with pytest.raises(InputError, match=r"expected neither a basis nor a cell with an .h5 file"):
        overlap(SILICON, "SZV-MOLOPT-SR-GTH")


def test_overlap_keeps_what_a_calculation_holds() -> None:
    pytest.importorskip("pyscf")
    calculation = read(SILICON)
    for source in (SILICON, calculation):
        found = overlap(source).calculation
        assert found.hamiltonian is not None
        assert found.provenance["overlap"] == "PySCF's integrals"
        exact, own = calculation.require_overlap(), found.require_overlap()
        np.testing.assert_allclose(own.block(0, 1), exact.block(0, 1), atol=1e-6)
    named = overlap(calculation.structure, calculation.basis).calculation
    assert named.hamiltonian is None
    np.testing.assert_array_equal(named.require_overlap().values, own.values)
