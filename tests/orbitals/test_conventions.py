"""Orders and signs of other codes: against PySCF's integrals of rotated molecules, and by name."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.orbitals.basis import BasisSet, def2_svp
from nearsight.orbitals.conventions import (
    AIMS,
    CP2K,
    ORCA,
    PYSCF,
    OrbitalConvention,
    from_internal_order,
    reordered,
    to_internal_order,
)
from nearsight.orbitals.rotations import atom_rotation
from tests.formats.molecules import IN_ORCA, NUMBERS, OURS, POSITIONS, water

EVERY = (CP2K, PYSCF, ORCA, AIMS)


def rotation(seed: int) -> np.ndarray:
    """A random (3, 3) orthogonal matrix, improper for odd seeds."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q if (np.linalg.det(q) > 0) == (seed % 2 == 0) else -q


def overlap(positions: np.ndarray, basis_name: str) -> tuple[np.ndarray, BasisSet]:
    """PySCF's overlap of the atoms of water anywhere, and the shells of O and H."""
    from pyscf import gto

    mol = gto.M(atom=list(zip(NUMBERS.tolist(), positions.tolist())), basis=basis_name, verbose=0)
    shells = {
        int(NUMBERS[atom]): tuple(
            mol.bas_angular(k) for k in range(mol.nbas) if mol.bas_atom(k) == atom for _ in range(mol.bas_nctr(k))
        )
        for atom in range(len(NUMBERS))
    }
    return mol.intor("int1e_ovlp"), BasisSet(basis_name, shells, {})


def rotation_error(convention: OrbitalConvention, basis_name: str, seed: int) -> float:
    """|S(rotated molecule) − D S Dᵀ| with PySCF's integrals taken to be in a convention."""
    turn = rotation(seed)
    s, basis = overlap(POSITIONS, basis_name)
    rotated, _ = overlap(POSITIONS @ turn.T, basis_name)
    order = to_internal_order(convention, basis, NUMBERS)
    d = np.zeros_like(s)
    for z, first, last in zip(NUMBERS, basis.offsets(NUMBERS), basis.offsets(NUMBERS)[1:]):
        d[first:last, first:last] = atom_rotation(basis, int(z), turn)
    return float(np.abs(reordered(rotated, *order) - d @ reordered(s, *order) @ d.T).max())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("basis_name", "highest"), [("def2-svp", 2), ("def2-tzvpp", 3), ("def2-qzvpp", 4)])
def test_integrals_of_pyscf_rotate_as_ours(basis_name: str, highest: int, seed: int) -> None:
    assert max(overlap(POSITIONS, basis_name)[1].shells[8]) == highest
    assert rotation_error(PYSCF, basis_name, seed) < 1e-12


@pytest.mark.parametrize("convention", [CP2K, ORCA, AIMS])
def test_another_convention_does_not(convention: OrbitalConvention) -> None:
    assert rotation_error(convention, "def2-svp", 0) > 1e-2


def test_ours_and_orcas_functions_by_name() -> None:
    molecule = water()
    ours = molecule.in_order(molecule.overlap, OURS)
    orca = molecule.in_order(molecule.overlap, IN_ORCA)
    np.testing.assert_array_equal(reordered(molecule.overlap, *to_internal_order(PYSCF, def2_svp(), NUMBERS)), ours)
    np.testing.assert_array_equal(reordered(orca, *to_internal_order(ORCA, def2_svp(), NUMBERS)), ours)
    assert np.abs(orca - ours).max() > 0.1


def test_signs_of_orca_and_aims() -> None:
    assert ORCA.order[3] == (0, 1, -1, 2, -2, 3, -3)
    assert ORCA.signs[3] == (1, 1, 1, 1, 1, -1, -1)
    assert ORCA.signs[4] == (1, 1, 1, 1, 1, -1, -1, -1, -1)
    assert AIMS.signs[1] == (1, 1, -1)
    assert AIMS.signs[2] == (1, 1, 1, -1, 1)


@pytest.mark.parametrize("convention", EVERY)
def test_there_and_back(convention: OrbitalConvention) -> None:
    basis = BasisSet("any", {1: (0, 1), 22: (1, 0, 3, 2, 3)}, {})
    numbers = np.array([22, 1, 22, 1, 1])
    n = int(basis.offsets(numbers)[-1])
    matrix = np.random.default_rng(0).normal(size=(2, n, n))
    index, sign = to_internal_order(convention, basis, numbers)
    ours = reordered(matrix, index, sign)
    np.testing.assert_array_equal(ours[1], matrix[1][index][:, index] * sign[:, None] * sign[None, :])
    np.testing.assert_array_equal(reordered(ours, *from_internal_order(convention, basis, numbers)), matrix)


@pytest.mark.parametrize("convention", EVERY)
def test_the_inverse_puts_each_function_where_the_code_has_it(convention: OrbitalConvention) -> None:
    basis = BasisSet("f", {1: (3,)}, {})
    index, sign = from_internal_order(convention, basis, np.array([1]))
    np.testing.assert_array_equal(index - 3, convention.order[3])
    np.testing.assert_array_equal(sign, convention.signs[3])


def test_ours_stays_as_it_is() -> None:
    index, sign = to_internal_order(CP2K, def2_svp(), np.array([8, 1, 26]))
    np.testing.assert_array_equal(index, np.arange(14 + 5 + 31))
    assert (sign == 1).all()


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match="expected shells up to g in the orbital convention of ORCA, got h"):
        to_internal_order(ORCA, BasisSet("h", {1: (5,)}, {}), np.array([1]))
    with pytest.raises(InputError, match="expected a basis for every element, got none for U"):
        to_internal_order(ORCA, def2_svp(), np.array([92]))
    with pytest.raises(InputError, match="expected each m of l = 1 once"):
        OrbitalConvention("x", {1: (0, 1, 1)}, {1: (1, 1, 1)})
    with pytest.raises(InputError, match="each with a sign"):
        OrbitalConvention("x", {1: (0, 1, -1)}, {1: (1, 1)})


def test_a_convention_can_be_sent_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(ORCA))
    assert again == ORCA
    assert {again, ORCA, AIMS} == {ORCA, AIMS}


def test_def2_svp_is_that_of_pyscf() -> None:
    from pyscf import gto

    for z in (1, 3, 6, 8, 11, 17, 20, 26, 35):
        mol = gto.M(atom=[(z, (0, 0, 0))], basis="def2-svp", spin=z % 2, verbose=0)
        shells = tuple(mol.bas_angular(k) for k in range(mol.nbas) for _ in range(mol.bas_nctr(k)))
        assert def2_svp().shells[z] == shells
        assert def2_svp().valence[z] == mol.nelectron
