"""S from PySCF's integrals is CP2K's, in every form it is stored in, and PySCF's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearsight.elements import GHOST
from nearsight.errors import InputError
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import hermiticity_error
from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.orbitals.conventions import PYSCF, reordered, to_internal_order
from nearsight.recipes.overlap import overlap_of, pyscf_name
from nearsight.recipes.packing import pack
from nearsight.recipes.pyscf_system import PyscfSettings, basis_of, build_system
from nearsight.structures.structure import Structure
from tests.formats.molecules import NUMBERS, POSITIONS

DATA = Path(__file__).parents[2] / "data"
WATER = Structure(NUMBERS, POSITIONS, np.zeros((3, 3)), np.zeros(3, dtype=bool))
SHIPPED = 1.05e-6
"""Elements below 1e-6 are left out of the small files, and CP2K neglects as much."""


@pytest.mark.parametrize("name", ["aHfO1.8_96_test", "aGST_70_train", "aPtGe2_96_train"])
def test_resolved_in_r(name: str) -> None:
    """SZV and DZVP, ghosts among them; pairs that only one of them has are small."""
    calculation = read_calculation(DATA / f"{name}.h5", hamiltonian=False)
    own, theirs = overlap_of(calculation.structure, calculation.basis), calculation.require_overlap()
    same = own.on_pairs(theirs.source, theirs.target, theirs.shift)
    assert np.abs(same.values - theirs.values).max() < SHIPPED
    others = own.select(theirs.find(own.source, own.target, own.shift) < 0)
    assert np.abs(others.values).max() < SHIPPED
    if GHOST in calculation.structure.elements:
        assert np.abs(own.block(int(np.argmax(own.numbers == GHOST)), 0)).max() > 0


def test_folded() -> None:
    calculation = read_calculation(DATA / "aHfO2_96_A.h5", hamiltonian=False)
    own, theirs = overlap_of(calculation.structure, calculation.basis), calculation.require_overlap()
    difference = to_csr(own) - to_csr(theirs)
    assert np.abs(difference.data).max() < SHIPPED


@pytest.mark.exact
def test_hermitian_to_the_last_bit_and_positive() -> None:
    structure = pack({"Hf": 1, "O": 2}, 24, 12.17, 1.5, seed=3)
    own = overlap_of(structure, basis_named("DZVP-MOLOPT-SR-GTH"))
    assert hermiticity_error(own) == 0
    np.testing.assert_allclose(to_csr(own.select(own.on_site)).diagonal(), 1, atol=1e-12)
    assert np.linalg.eigvalsh(to_csr(fold(own)).toarray())[0] > 0


@pytest.mark.parametrize(
    ("structure", "settings"),
    [
        (WATER, PyscfSettings()),
        (pack({"Hf": 1, "O": 2}, 6, 14.0, 1.6, seed=2), PyscfSettings(basis="gth-dzvp-molopt-sr", pseudo="gth-pbe")),
    ],
)
def test_against_pyscf(structure: Structure, settings: PyscfSettings) -> None:
    """A molecule in all electrons, and a cell smaller than the functions, whose images PySCF sums; f shells too."""
    system = build_system(structure, settings)
    basis = basis_of(system, structure.numbers, settings)
    whole = system.pbc_intor("int1e_ovlp") if structure.pbc.all() else system.intor("int1e_ovlp")
    expected = reordered(np.real(whole), *to_internal_order(PYSCF, basis, structure.numbers))
    found = to_csr(overlap_of(structure, basis, smallest=1e-11)).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-7 if structure.pbc.all() else 1e-10)


def test_names() -> None:
    mixed = BasisSet("O:DZVP-MOLOPT-SR-GTH, Hf:SZV-MOLOPT-SR-GTH", {8: (0, 0, 1, 1, 2), 72: (0, 0, 1, 2)}, {})
    assert [pyscf_name(mixed, z) for z in (8, 72)] == ["gth-dzvp-molopt-sr", "gth-szv-molopt-sr"]
    assert pyscf_name(BasisSet("def2-SVP", {1: (0, 0, 1)}, {}), 1) == "def2-SVP"
    with pytest.raises(InputError, match="expected the basis of H in 'O:DZVP"):
        pyscf_name(mixed, 1)


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        (BasisSet("NO-SUCH", {1: (0,), 8: (0, 1)}, {}), "expected a basis that PySCF has for H, got 'NO-SUCH'"),
        (BasisSet("def2-SVP", {1: (0,), 8: (0, 1)}, {}), r"expected shells \(0,\) for H .* got \(0, 0, 1\) in PySCF's"),
    ],
)
@pytest.mark.filterwarnings("ignore:Basis may be available")
def test_what_pyscf_does_not_have(basis: BasisSet, said: str) -> None:
    with pytest.raises(InputError, match=said):
        overlap_of(WATER, basis)
